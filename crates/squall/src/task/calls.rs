//! Callbacks that run once and soon: closures in a queue of their own, each with a mark in the ready queue.
//!
//! A mark is a number that no task's slot has, so callbacks and tasks share one order: what was ready first runs first. The closures lie in the queue
//! itself, up to four words each; only larger ones are boxed. A slot for each was rejected: a slot is for what waits, is woken and stands in
//! the tree, and to fill one in and free it again costs more than the callback.

use super::raw::{Panic, drop_quietly};
use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

/// The mark of a callback in the ready queue: the number of no task. It has a slot all the same, one for all loops and free for ever.
pub(super) const CALL: u32 = u32::MAX - 1;

type Words = MaybeUninit<[usize; 4]>;

/// What is done with a closure: called, or dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Run,
    Drop,
}

/// # Invariant
/// `closure` holds what `act` was made for, and `act` has not been called. Only [`Call::end`] calls it, and takes the `Call` by value.
struct Call {
    act: unsafe fn(*mut Words, Fate),
    place: &'static Location<'static>,
    closure: Words,
}

impl Call {
    #[inline]
    fn new<F: FnOnce() + 'static>(f: F, place: &'static Location<'static>) -> Call {
        let mut closure = Words::uninit();
        if const { fits::<F>() } {
            // SAFETY: it fits, and the words are aligned for it.
            unsafe { closure.as_mut_ptr().cast::<F>().write(f) };
            return Call { act: act::<F>, place, closure };
        }
        let f = Box::new(f);
        // SAFETY: a thin pointer fits.
        unsafe { closure.as_mut_ptr().cast::<Box<F>>().write(f) };
        Call { act: act_on_box::<F>, place, closure }
    }

    #[inline]
    fn end(mut self, fate: Fate) -> Result<(), Panic> {
        // SAFETY: the invariant of the type.
        catch_unwind(AssertUnwindSafe(|| unsafe { (self.act)(&raw mut self.closure, fate) }))
    }
}

const fn fits<F>() -> bool {
    size_of::<F>() <= size_of::<Words>() && align_of::<F>() <= align_of::<Words>()
}

/// # Safety
/// The words hold an `F`, which is gone from there afterwards.
unsafe fn act<F: FnOnce()>(words: *mut Words, fate: Fate) {
    // SAFETY: by the contract.
    let f = unsafe { words.cast::<F>().read() };
    if fate == Fate::Run {
        f();
    }
}

/// # Safety
/// The words hold a `Box<F>`, which is gone from there afterwards.
unsafe fn act_on_box<F: FnOnce()>(words: *mut Words, fate: Fate) {
    // SAFETY: by the contract.
    let f = unsafe { words.cast::<Box<F>>().read() };
    if fate == Fate::Run {
        f();
    }
}

/// # Invariant
/// No reference into `queue` outlives a method, and no method runs a closure or drops one while it holds such a reference.
pub(super) struct Calls {
    /// `None` stands for one that was cancelled: its mark is in the ready queue still.
    queue: UnsafeCell<VecDeque<Option<Call>>>,
    /// The number of the one in front; they are counted from zero in each lease.
    first: Cell<u64>,
}

impl Calls {
    pub(super) fn new() -> Calls {
        Calls { queue: UnsafeCell::new(VecDeque::new()), first: Cell::new(0) }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: by the invariant, here and below.
        unsafe { (*self.queue.get()).len() }
    }

    /// Gives its number.
    #[inline]
    pub(super) fn push<F: FnOnce() + 'static>(&self, f: F, place: &'static Location<'static>) -> u64 {
        let call = Call::new(f, place);
        // SAFETY: as above.
        let queue = unsafe { &mut *self.queue.get() };
        queue.push_back(Some(call));
        self.first.get() + (queue.len() - 1) as u64
    }

    #[inline]
    fn pop(&self) -> Option<Option<Call>> {
        // SAFETY: as above.
        let call = unsafe { (*self.queue.get()).pop_front() };
        self.first.set(self.first.get() + u64::from(call.is_some()));
        call
    }

    /// Runs the one in front. `None` if it was cancelled; else its panic, with the place where it was scheduled.
    #[inline]
    pub(super) fn run_first(&self) -> Option<Result<(), (Panic, &'static Location<'static>)>> {
        let call = self.pop()??;
        let place = call.place;
        Some(call.end(Fate::Run).map_err(|panic| (panic, place)))
    }

    /// Takes one out of the line and drops it. `None` if it has run, or runs, or was cancelled before.
    pub(super) fn cancel(&self, number: u64) -> Option<Result<(), Panic>> {
        let at = usize::try_from(number.checked_sub(self.first.get())?).ok()?;
        // SAFETY: as above; the closure is moved out before it is dropped.
        let call = unsafe { (*self.queue.get()).get_mut(at)?.take()? };
        Some(call.end(Fate::Drop))
    }

    pub(super) fn is_pending(&self, number: u64) -> bool {
        let at = number.checked_sub(self.first.get()).and_then(|at| usize::try_from(at).ok());
        // SAFETY: as above.
        at.is_some_and(|at| unsafe { (*self.queue.get()).get(at).is_some_and(Option::is_some) })
    }

    /// Drops all of them, also those that their destructors add. Gives the panics.
    pub(super) fn clear(&self) -> Vec<Panic> {
        let mut panics = Vec::new();
        while let Some(call) = self.pop() {
            panics.extend(call.and_then(|call| call.end(Fate::Drop).err()));
        }
        panics
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for panic in self.clear() {
            // Nobody is left to be told: the loop has reported what it dropped.
            drop_quietly(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn push(calls: &Calls, f: impl FnOnce() + 'static) -> u64 {
        calls.push(f, Location::caller())
    }

    #[test]
    fn small_large_and_overaligned_closures_run_and_drop_once() {
        #[repr(align(64))]
        struct Aligned(#[allow(dead_code)] u8);
        let calls = Calls::new();
        let token = Rc::new(Cell::new(0_u64));
        for fate in [Fate::Run, Fate::Drop] {
            let (small, large, aligned) = (token.clone(), token.clone(), token.clone());
            let (words, wide) = ([1_u64; 9], Aligned(1));
            push(&calls, move || small.set(small.get() + 1));
            push(&calls, move || large.set(large.get() + words.iter().sum::<u64>()));
            push(&calls, move || {
                let wide = &wide;
                assert_eq!(&raw const *wide as usize % 64, 0);
                aligned.set(aligned.get() + 100);
            });
            push(&calls, || {});
            assert_eq!(Rc::strong_count(&token), 4);
            match fate {
                Fate::Run => while calls.run_first().is_some() {},
                Fate::Drop => assert!(calls.clear().is_empty()),
            }
            assert_eq!((Rc::strong_count(&token), calls.len()), (1, 0));
        }
        assert_eq!(token.get(), 110);
    }

    #[test]
    fn numbers_name_one_callback_each_for_ever() {
        let calls = Calls::new();
        let (first, second) = (push(&calls, || {}), push(&calls, || {}));
        assert!(calls.is_pending(first) && calls.is_pending(second));
        assert!(calls.cancel(second).is_some() && calls.cancel(second).is_none());
        assert!(calls.run_first().is_some(), "the first runs");
        assert!(calls.cancel(first).is_none() && !calls.is_pending(first));
        assert!(calls.run_first().is_none(), "the second was cancelled");
        let third = push(&calls, || {});
        assert_eq!((first, second, third), (0, 1, 2));
    }

    #[test]
    fn what_a_destructor_adds_is_dropped_too() {
        struct Adds(Rc<Calls>, u8);
        impl Drop for Adds {
            fn drop(&mut self) {
                if self.1 > 0 {
                    let next = Adds(self.0.clone(), self.1 - 1);
                    push(&self.0, move || drop(next));
                }
            }
        }
        let calls = Rc::new(Calls::new());
        let adds = Adds(calls.clone(), 3);
        push(&calls, move || drop(adds));
        assert!(calls.clear().is_empty());
        assert_eq!(Rc::strong_count(&calls), 1);
    }
}
