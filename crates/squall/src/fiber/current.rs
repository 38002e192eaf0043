//! The fiber that this code runs on: how it pauses, and what ends it.
//!
//! The thread-local is one pointer, set and restored by whoever switches stacks: a fiber may run a loop of its own with fibers on it, and each
//! switch is left in the order in which it was entered. What surrounds a fiber (deadline, budget, what it waits on) lies in its task's slot. A
//! guard that saved and restored such things around polls, as one may around an `async` body's, would be wrong here: a fiber parks in the midst of
//! its frames, and others run before it comes to the guard's end.
//!
//! # When a fiber may wait
//! Only when it is itself what the loop polls. A future that is polled on its stack must not pause it: that would stop the future half-way, and all
//! that polls it. Two things say so: `depth`, the polls by `wait` on its stack, and the slot that the loop runs (another one for a child of a scope, or
//! for a task of another loop that is turned on this stack).
//!
//! # How a fiber ends before its time
//! ```text
//!   cancelled ─▶ the call it is parked in, and each later one that would have to wait, returns Cancelled    (try_wait, Blocking)
//!        │       or raises the forced unwind, where it has no error to return                               (wait, sleep, scope)
//!        ├─▶ 64 calls have returned Cancelled: they raise it too
//!        └─▶ it was raised 64 times and caught each time: the stack is given up, and never runs again
//! ```
//! The forced unwind is a panic with a payload of ours rather than corosensei's own, which is private: so that every `catch_unwind` of ours can
//! tell it and pass it on.

use super::arena::Span;
use super::scope::{Children, Membership};
use crate::task::{self, ForcedUnwind, Slot, Tasks, WaitingOn, note_waiting};
use corosensei::Yielder;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::ptr::null;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread;

thread_local! {
    static CURRENT: Cell<*const Fiber> = const { Cell::new(null()) };
}

/// So many calls return `Cancelled` before they unwind, and so many unwinds may be caught before the stack is given up.
pub(super) const PATIENCE: u32 = 64;

/// What a fiber's code and the loop both know of it. It lies in the task, beside the coroutine.
///
/// # Invariant
/// Pinned from the first resume on, and alive while anything runs on the stack. `yielder` is the one on that stack. `waker` is valid while the
/// fiber is resumed. `cold` leads to the task's own, which is pinned as well.
///
/// It is what every switch touches, so it is small, and lies between the task's header and the coroutine.
pub(super) struct Fiber {
    yielder: Cell<*const Yielder<(), ()>>,
    waker: Cell<*const Waker>,
    /// What the loop polls when this is what runs.
    task: Cell<Running>,
    depth: Cell<u32>,
    is_cancelled: Cell<bool>,
    /// The thread was unwinding when it was resumed, so `thread::panicking` says nothing of the fiber.
    resumed_in_panic: Cell<bool>,
    is_given_up: Cell<bool>,
    /// It is a scope's child, or has scopes on its stack.
    has_relatives: Cell<bool>,
    cold: Cell<*const Cold>,
}

/// What only some calls look at: it lies behind the coroutine.
pub(super) struct Cold {
    returned: Cell<u32>,
    raised: Cell<u32>,
    /// The forced unwind that was raised last: whether it is under way.
    forced: RefCell<Option<Arc<AtomicBool>>>,
    pub(super) is_measured: bool,
    pub(super) span: Cell<Span>,
    name: Option<Box<str>>,
    pub(super) spawned_at: &'static Location<'static>,
    /// The `fiber::scope` that it is a child of.
    pub(super) membership: Option<Membership>,
    /// Those that are on its stack, the innermost last.
    scopes: RefCell<Vec<Rc<Children>>>,
}

impl Cold {
    pub(super) fn new(
        name: Option<&str>,
        spawned_at: &'static Location<'static>,
        is_measured: bool,
        membership: Option<Membership>,
    ) -> Cold {
        Cold {
            returned: Cell::new(0),
            raised: Cell::new(0),
            forced: RefCell::new(None),
            is_measured,
            span: Cell::new(Span::default()),
            name: name.map(Into::into),
            spawned_at,
            membership,
            scopes: RefCell::new(Vec::new()),
        }
    }
}

/// The fiber whose stack this is.
///
/// The reference may be kept by frames of that stack: they run only while it is valid.
#[inline]
pub(super) fn current<'a>() -> Option<&'a Fiber> {
    // SAFETY: `Switch` puts the pointer there, and takes it away before the fiber ends; by the invariant it is valid meanwhile.
    unsafe { CURRENT.get().as_ref() }
}

/// On the stack of a fiber until dropped.
pub(super) struct Switch {
    before: *const Fiber,
}

impl Switch {
    #[inline]
    pub(super) fn to(fiber: &Fiber) -> Switch {
        Switch { before: CURRENT.replace(fiber) }
    }
}

impl Drop for Switch {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// The current fiber, if it may wait here.
///
/// # Panics
/// If not, with what to do instead.
#[inline]
#[track_caller]
pub(super) fn here<'a>(what: &str) -> &'a Fiber {
    match current() {
        Some(fiber) if fiber.may_wait() => fiber,
        Some(fiber) => fiber.refuse(what),
        None => panic!(
            "{what} was called outside a fiber: in async code await the future itself; code that blocks goes into fiber::spawn, or to blocking::run"
        ),
    }
}

impl Fiber {
    pub(super) fn new(cold: &Cold) -> Fiber {
        Fiber {
            yielder: Cell::new(null()),
            waker: Cell::new(null()),
            task: Cell::new(Running::NOTHING),
            depth: Cell::new(0),
            is_cancelled: Cell::new(false),
            resumed_in_panic: Cell::new(false),
            is_given_up: Cell::new(false),
            has_relatives: Cell::new(cold.membership.is_some()),
            cold: Cell::new(null()),
        }
    }

    /// Both are pinned, and the stack is about to be run on for the first time.
    pub(super) fn begin(&self, cold: &Cold, span: Span) {
        cold.span.set(span);
        self.cold.set(cold);
    }

    pub(super) fn cold(&self) -> &Cold {
        // SAFETY: by the invariant, and nobody asks before `begin`: the fiber is current, or its stack has run.
        unsafe { &*self.cold.get() }
    }

    #[inline]
    pub(super) fn has_relatives(&self) -> bool {
        self.has_relatives.get()
    }

    /// A scope begins on its stack.
    pub(super) fn push_scope(&self, children: Rc<Children>) {
        self.has_relatives.set(true);
        self.cold().scopes.borrow_mut().push(children);
    }

    /// The innermost scope on its stack ends.
    pub(super) fn pop_scope(&self) {
        let mut scopes = self.cold().scopes.borrow_mut();
        scopes.pop();
        self.has_relatives.set(self.cold().membership.is_some() || !scopes.is_empty());
    }

    /// The scopes of a stack that was given up.
    pub(super) fn take_scopes(&self) -> Vec<Rc<Children>> {
        self.cold().scopes.take()
    }

    /// Before each resume of a poll.
    #[inline]
    pub(super) fn prepare(&self, waker: &Waker) {
        self.waker.set(waker);
        self.task.set(Running::now());
    }

    /// Before the last resume: nothing will wake it any more.
    pub(super) fn prepare_to_end(&self) {
        self.is_cancelled.set(true);
        self.waker.set(Waker::noop());
        // Whoever has aborted it runs, or nobody: in any case not what a loop polls that is turned on this stack.
        self.task.set(Running::now());
        self.resumed_in_panic.set(thread::panicking());
    }

    pub(super) fn has_begun(&self, yielder: &Yielder<(), ()>) {
        self.yielder.set(yielder);
    }

    #[inline]
    pub(super) fn waker(&self) -> &Waker {
        // SAFETY: by the invariant; the fiber's code runs, so it is resumed.
        unsafe { &*self.waker.get() }
    }

    #[inline]
    pub(super) fn may_wait(&self) -> bool {
        self.depth.get() == 0 && self.task.get() == Running::now()
    }

    #[cold]
    #[track_caller]
    fn refuse(&self, what: &str) -> ! {
        panic!(
            "{what} was called while a future is polled on the stack of {self}: pausing the fiber would stop that future half-way. \
             Await inside the future; only the fiber's own code may wait"
        );
    }

    /// A future is polled on its stack until that is dropped.
    #[inline]
    pub(super) fn begin_poll(&self) -> Polling<'_> {
        self.depth.set(self.depth.get() + 1);
        Polling(self)
    }

    /// True if its calls shall not wait any more.
    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.get()
            || self.has_relatives.get()
                && self.cold().membership.as_ref().is_some_and(Membership::is_cancelled)
    }

    /// True while destructors run that a panic, or the forced unwind, has brought about.
    #[inline]
    pub(super) fn is_unwinding(&self) -> bool {
        thread::panicking() && (!self.resumed_in_panic.get() || self.is_forced())
    }

    #[cold]
    fn is_forced(&self) -> bool {
        self.cold().forced.borrow().as_ref().is_some_and(|is_under_way| is_under_way.load(Ordering::Relaxed))
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.get()
    }

    /// Pauses until the task is polled again. False if the caller shall not wait (any more).
    #[inline]
    pub(super) fn park(&self) -> bool {
        if self.is_cancelled() || self.is_unwinding() {
            return false;
        }
        self.suspend();
        !self.is_cancelled()
    }

    #[inline]
    fn suspend(&self) {
        // SAFETY: by the invariant; this is the fiber's own code, so the yielder's frame is below.
        unsafe { (*self.yielder.get()).suspend(()) };
    }

    /// For a call that need not wait: true if it had better return. A fiber that ends while its thread unwinds cannot tell whether a panic of its own does.
    #[cold]
    pub(super) fn may_unwind(&self) -> bool {
        self.is_unwinding() || self.resumed_in_panic.get() && self.may_return_cancelled("fiber::yield_now")
    }

    /// For a call that has an error to return: true if it shall. Does not return when there have been too many.
    pub(super) fn may_return_cancelled(&self, what: &str) -> bool {
        self.cold().returned.set(self.cold().returned.get() + 1);
        if self.cold().returned.get() > PATIENCE {
            self.unwind(what);
        }
        true
    }

    /// Ends the fiber from inside: the caller was to wait, and cannot.
    #[cold]
    pub(super) fn unwind(&self, what: &str) -> ! {
        if self.is_unwinding() {
            eprintln!(
                "squall: {what} has to wait in a destructor while {self} unwinds, and a stack that unwinds cannot be paused; the process ends. \
                 Use fiber::try_wait there, or wait before"
            );
            std::process::abort();
        }
        self.cold().raised.set(self.cold().raised.get() + 1);
        if self.cold().raised.get() > PATIENCE || cfg!(panic = "abort") {
            self.give_up(what);
        }
        let is_under_way = Arc::new(AtomicBool::new(true));
        self.cold().forced.replace(Some(is_under_way.clone()));
        resume_unwind(Box::new(ForcedUnwind(is_under_way)));
    }

    /// Leaves the stack as it is, for ever.
    #[cold]
    pub(super) fn give_up(&self, what: &str) -> ! {
        if self.is_unwinding() {
            eprintln!(
                "squall: in {what} the stack of {self} would have to be given up with that of a child while it unwinds, and a stack that unwinds cannot be \
                 left; the process ends. Where panics are caught in a loop, end the loop when fiber::is_cancelled()"
            );
            std::process::abort();
        }
        self.is_given_up.set(true);
        self.suspend();
        unreachable!("a stack that was given up is never resumed");
    }

    /// Notes where it waits, if what it waits on has not said so.
    #[inline]
    pub(super) fn note(&self, place: &'static Location<'static>) {
        if self.noted() == WaitingOn::Nothing {
            note_waiting(WaitingOn::Fiber, place);
        }
    }

    /// What the future that was polled last has noted to wait on.
    #[inline]
    pub(super) fn noted(&self) -> WaitingOn {
        task::current().and_then(Tasks::current_slot).map_or(WaitingOn::Nothing, Slot::waiting_on)
    }
}

/// See [`Fiber::begin_poll`].
pub(super) struct Polling<'a>(&'a Fiber);

impl Drop for Polling<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() - 1);
    }
}

/// What a loop runs: which loop, and which of its slots.
#[derive(Clone, Copy, PartialEq)]
struct Running {
    tasks: *const Tasks,
    slot: u32,
}

impl Running {
    const NOTHING: Running = Running { tasks: null(), slot: u32::MAX };

    #[inline]
    fn now() -> Running {
        task::current().map_or(Running::NOTHING, |tasks| Running { tasks, slot: tasks.running_slot() })
    }
}

impl fmt::Display for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cold().name {
            Some(name) => write!(f, "fiber {name:?} (spawned at {})", self.cold().spawned_at),
            None => write!(f, "the fiber spawned at {}", self.cold().spawned_at),
        }
    }
}
