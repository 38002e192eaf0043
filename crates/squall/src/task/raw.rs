//! A task's one allocation: a header, then its future, then (in the same place) its output.
//!
//! ```text
//! ┌────────────┬──────────────────────┬───────────────────────────────┐
//! │ vtable   8 │ joiner: Waker?    16 │ future, later Result<T, Join…> │
//! └────────────┴──────────────────────┴───────────────────────────────┘
//! ```
//!
//! There is no reference count: the slot owns the allocation until it is freed, and every other party holds a handle.

use super::error::{ForcedUnwind, JoinError};
use super::slot::Slot;
use std::alloc::{Layout, dealloc};
use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::mem::{ManuallyDrop, needs_drop, offset_of};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// What the loop knows of a task without its types.
///
/// # Invariant
/// A `*mut Header` in a slot points to the start of a live `RawTask<F>` made by [`allocate`], and the vtable is that
/// `RawTask<F>`'s. Its body holds the future while the slot is IDLE or RUNNING, is being replaced while
/// DROPPING, and holds the output while DONE. Only the lease holder's thread reaches it.
#[repr(C)]
pub(crate) struct Header {
    vtable: &'static VTable,
    joiner: UnsafeCell<Option<Waker>>,
}

struct VTable {
    poll: unsafe fn(*mut Header, &mut Context<'_>, &Slot) -> Polled,
    cancel: unsafe fn(*mut Header, &Slot) -> Option<Panic>,
    drop_output: unsafe fn(*mut Header) -> Option<Panic>,
    /// Where the body lies, and what the allocation is: numbers, so that taking the output and freeing need no call.
    body: usize,
    layout: Layout,
}

#[repr(C)]
struct RawTask<F: Future> {
    header: Header,
    body: UnsafeCell<Body<F>>,
}

union Body<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<Result<F::Output, JoinError>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Polled {
    Pending,
    /// The output is in place and the slot is DROPPING.
    Ended,
}

pub(crate) type Panic = Box<dyn Any + Send>;

/// Puts a future on the heap as a task. The future need not be `'static`: the caller answers for its life.
pub(crate) fn allocate<F: Future>(future: F) -> *mut Header {
    let vtable = const {
        &VTable {
            poll: poll::<F>,
            cancel: cancel::<F>,
            drop_output: drop_output::<F>,
            body: offset_of!(RawTask<F>, body),
            layout: Layout::new::<RawTask<F>>(),
        }
    };
    let task = RawTask {
        header: Header { vtable, joiner: UnsafeCell::new(None) },
        body: UnsafeCell::new(Body { future: ManuallyDrop::new(future) }),
    };
    Box::into_raw(Box::new(task)).cast()
}

impl Header {
    /// # Safety
    /// `task` as in the invariant, its body holding the future, the slot RUNNING and no poll of it on the stack.
    #[inline]
    pub(crate) unsafe fn poll(task: *mut Header, cx: &mut Context<'_>, slot: &Slot) -> Polled {
        // SAFETY: the vtable is the one of this allocation.
        unsafe { ((*task).vtable.poll)(task, cx, slot) }
    }

    /// Drops the future and leaves `Err(cancelled)`, or its destructor's panic, as the output. Gives the forced unwind of the fiber that this was
    /// called on, if a destructor waited and the fiber was cancelled then: the caller passes it on, once all is in order.
    ///
    /// # Safety
    /// As for `poll`, with the slot in any state in which the body holds the future.
    pub(crate) unsafe fn cancel(task: *mut Header, slot: &Slot) -> Option<Panic> {
        // SAFETY: as in `poll`.
        unsafe { ((*task).vtable.cancel)(task, slot) }
    }

    /// Drops the output; gives the panic that was in it or came out of dropping it.
    ///
    /// # Safety
    /// The body holds the output, and afterwards nothing: only `free` may follow.
    pub(crate) unsafe fn drop_output(task: *mut Header) -> Option<Panic> {
        // SAFETY: as in `poll`.
        unsafe { ((*task).vtable.drop_output)(task) }
    }

    /// Moves the output out. Only `free` may follow.
    ///
    /// # Safety
    /// The body holds the output and `T` is the output type of the future given to `allocate`.
    #[inline]
    pub(crate) unsafe fn take_output<T>(task: *mut Header) -> Result<T, JoinError> {
        // SAFETY: the body of this allocation lies there and holds a `Result<F::Output, _>`, which is `Result<T, _>`.
        unsafe { task.byte_add((*task).vtable.body).cast::<Result<T, JoinError>>().read() }
    }

    /// # Safety
    /// `task` as in the invariant, its body empty. It is gone afterwards.
    #[inline]
    pub(crate) unsafe fn free(task: *mut Header) {
        // SAFETY: made by `Box::new` in `allocate`, with this layout. The body is a union and drops nothing; the joiner was taken
        // out before.
        unsafe { dealloc(task.cast(), (*task).vtable.layout) }
    }

    /// Replaces the waker of whoever awaits the task. The caller drops or wakes what comes back.
    ///
    /// # Safety
    /// `task` as in the invariant. (The cell is touched only here, and nothing is called while it is.)
    #[inline]
    pub(crate) unsafe fn replace_joiner(task: *mut Header, waker: Option<Waker>) -> Option<Waker> {
        // SAFETY: a raw place, not through `&Header`, and no user code runs before the value is moved out.
        unsafe { std::mem::replace(&mut *(*task).joiner.get(), waker) }
    }

    /// # Safety
    /// As for `replace_joiner`.
    #[inline]
    pub(crate) unsafe fn joiner_will_wake(task: *mut Header, waker: &Waker) -> bool {
        // SAFETY: as in `replace_joiner`; `will_wake` compares two words and runs no user code.
        unsafe { (*(*task).joiner.get()).as_ref().is_some_and(|mine| mine.will_wake(waker)) }
    }
}

/// The body of a task, by its real type.
///
/// # Safety
/// `task` points to a live `RawTask<F>`.
unsafe fn body<F: Future>(task: *mut Header) -> *mut Body<F> {
    // SAFETY: `RawTask` is `repr(C)` with the header first, so the pointers are interchangeable, and the pointer carries
    // the provenance of the whole allocation (it came from `Box::into_raw`).
    unsafe { (*task.cast::<RawTask<F>>()).body.get() }
}

unsafe fn poll<F: Future>(task: *mut Header, cx: &mut Context<'_>, slot: &Slot) -> Polled {
    // SAFETY: the body holds the future; it is pinned because the allocation never moves and is dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut *(*body::<F>(task)).future) };
    match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(Poll::Pending) => return Polled::Pending,
        // A fiber may wait only while it is itself what runs, so none is unwound through the destructors of another task's poll.
        // SAFETY: the poll is over, so nothing borrows the future any more.
        Ok(Poll::Ready(output)) => _ = unsafe { end::<F>(task, slot, Ok(output)) },
        // SAFETY: as above.
        Err(panic) => _ = unsafe { end::<F>(task, slot, Err(JoinError::panicked(panic))) },
    }
    Polled::Ended
}

unsafe fn cancel<F: Future>(task: *mut Header, slot: &Slot) -> Option<Panic> {
    // SAFETY: the caller says that the body holds the future and that no poll of it is on the stack.
    unsafe { end::<F>(task, slot, Err(JoinError::cancelled())) }
}

/// Replaces the future by the output. A panicking destructor turns success or cancellation into a panic; after a
/// panicking poll it is reported and the first is kept. A forced unwind is neither: it comes back.
///
/// # Safety
/// The body holds the future and nothing borrows it.
unsafe fn end<F: Future>(
    task: *mut Header,
    slot: &Slot,
    mut output: Result<F::Output, JoinError>,
) -> Option<Panic> {
    slot.begin_drop();
    let mut forced = None;
    let drop_future = || {
        // SAFETY: `body` as documented there; the future is dropped once, in place.
        unsafe { ManuallyDrop::drop(&mut (*body::<F>(task)).future) }
    };
    let dropped = if needs_drop::<F>() { catch_unwind(AssertUnwindSafe(drop_future)) } else { Ok(()) };
    if let Err(panic) = dropped {
        if panic.is::<ForcedUnwind>() {
            forced = Some(panic);
        } else if output.as_ref().is_err_and(JoinError::is_panic) {
            report_panic("a destructor panicked after its task had panicked", panic);
        } else if let Some(second) =
            drop_quietly(std::mem::replace(&mut output, Err(JoinError::panicked(panic))))
        {
            report_panic("an output's destructor panicked after its task's had", second);
        }
    }
    // SAFETY: the future is gone; the output takes its place.
    unsafe { body::<F>(task).write(Body { output: ManuallyDrop::new(output) }) };
    forced
}

unsafe fn drop_output<F: Future>(task: *mut Header) -> Option<Panic> {
    // SAFETY: the body holds the output, and the caller never looks at it again.
    let output = unsafe { ManuallyDrop::take(&mut (*body::<F>(task)).output) };
    match output {
        Err(error) => error.into_panic_payload(),
        Ok(output) => drop_quietly(output),
    }
}

/// Drops a user's value; gives the panic instead of passing it on.
pub(crate) fn drop_quietly<T>(value: T) -> Option<Panic> {
    catch_unwind(AssertUnwindSafe(|| drop(value))).err()
}

/// Tells of a panic that has nobody to go to. (Its message was already printed by the panic hook.) Called when all is in order, since the
/// forced unwind of a fiber goes on from here.
pub(crate) fn report_panic(what: &str, panic: Panic) {
    if panic.is::<ForcedUnwind>() {
        resume_unwind(panic);
    }
    // Printing panics where nobody reads any more; then there is nobody to tell.
    drop(catch_unwind(AssertUnwindSafe(|| eprintln!("squall: {what}: {}", message_of(&*panic)))));
    // A payload whose own destructor panics must not end the loop either; there is nothing left to tell it with.
    if let Some(again) = drop_quietly(panic) {
        std::mem::forget(again);
    }
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(a panic value that is not text)"
    }
}
