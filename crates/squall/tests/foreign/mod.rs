//! A waker of nobody's making: it calls a closure for whatever is done to it, and that closure may do anything.
//!
//! `std::task::Wake` was not enough: it cannot see a clone.

use std::rc::Rc;
use std::task::{RawWaker, RawWakerVTable, Waker};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Cloned,
    Woken,
    Dropped,
}

struct Hook(Box<dyn Fn(Event)>);

/// A waker that calls `hook`. It must stay on the thread that made it.
pub(crate) fn waker(hook: impl Fn(Event) + 'static) -> Waker {
    let hook = Rc::new(Hook(Box::new(hook)));
    // SAFETY: the vtable's functions count the Rc as the contract asks; the waker stays on this thread.
    unsafe { Waker::new(Rc::into_raw(hook).cast(), &VTABLE) }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: `data` is an Rc<Hook> that the waker being cloned counts for.
    unsafe { Rc::increment_strong_count(data.cast::<Hook>()) };
    call(data, Event::Cloned);
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker is used up, so its count is ours; it is given back even if the hook panics.
    let hook = unsafe { Rc::from_raw(data.cast::<Hook>()) };
    (hook.0)(Event::Woken);
}

unsafe fn wake_by_ref(data: *const ()) {
    call(data, Event::Woken);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: as in `wake`.
    let hook = unsafe { Rc::from_raw(data.cast::<Hook>()) };
    (hook.0)(Event::Dropped);
}

fn call(data: *const (), event: Event) {
    // SAFETY: the waker whose function called us counts for the Rc.
    let hook = unsafe { &*data.cast::<Hook>() };
    (hook.0)(event);
}
