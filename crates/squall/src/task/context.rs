//! Which loop's tasks this thread is running, and what a leaf future tells its task.
//!
//! The thread-local is a plain pointer without a destructor, so a waker works at any time of a thread's life, its
//! last destructors included. It is set for the time of a turn and of a teardown, and restored after: loops on
//! one thread can take turns.

use super::table::Tasks;
use std::cell::Cell;
use std::panic::Location;
use std::task::{Context, Poll};

thread_local! {
    static CURRENT: Cell<*const Tasks> = const { Cell::new(std::ptr::null()) };
}

/// The task table of the loop that is running on this thread.
#[inline]
pub(crate) fn current<'a>() -> Option<&'a Tasks> {
    // SAFETY: `Enter` puts the pointer there and takes it away again before the table it borrows can end. Callers use the
    // reference within one call (none is kept across user code that could leave the loop's scope).
    unsafe { CURRENT.get().as_ref() }
}

/// Makes a table the current one until dropped.
pub(crate) struct Enter<'a> {
    before: *const Tasks,
    _tasks: &'a Tasks,
}

impl<'a> Enter<'a> {
    pub(crate) fn new(tasks: &'a Tasks) -> Enter<'a> {
        Enter { before: CURRENT.replace(tasks), _tasks: tasks }
    }
}

impl Drop for Enter<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// What a parked task waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum WaitingOn {
    /// Nothing that said so: a future that is not ours, or one that never wakes.
    Nothing = 0,
    Sleep,
    Read,
    Write,
    Accept,
    Connect,
    Readable,
    Writable,
    QueueGet,
    QueuePut,
    QueueJoin,
    Oneshot,
    /// `detail` is the slot of the awaited task.
    Join,
    RemoteJoin,
    Blocking,
    Stopping,
    Signal,
    /// The children of a scope.
    Scope,
    /// `Scope::start`.
    Start,
    /// `CancelToken::cancelled`.
    Cancellation,
    /// A fiber, and its future did not say for what.
    #[cfg(feature = "fiber")]
    Fiber,
}

impl WaitingOn {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            WaitingOn::Nothing => "something that is not squall's",
            WaitingOn::Sleep => "a timer",
            WaitingOn::Read => "data from a stream",
            WaitingOn::Write => "room to write to a stream",
            WaitingOn::Accept => "a connection to accept",
            WaitingOn::Connect => "a connection attempt",
            WaitingOn::Readable => "a descriptor to become readable",
            WaitingOn::Writable => "a descriptor to become writable",
            WaitingOn::QueueGet => "an item of a queue",
            WaitingOn::QueuePut => "room in a queue",
            WaitingOn::QueueJoin => "the items of a queue to be done",
            WaitingOn::Oneshot => "a oneshot value",
            WaitingOn::Join => "the end of task",
            WaitingOn::RemoteJoin => "the end of a task on another loop",
            WaitingOn::Blocking => "blocking work on the pool",
            WaitingOn::Stopping => "a request to stop",
            WaitingOn::Signal => "a signal",
            WaitingOn::Scope => "the end of a scope",
            WaitingOn::Start => "a child to be ready",
            WaitingOn::Cancellation => "a token to be cancelled",
            #[cfg(feature = "fiber")]
            WaitingOn::Fiber => "a future in a fiber",
        }
    }
}

/// Notes on the current task what it waits on and where. Called by a leaf right before it returns `Pending`; outside a loop
/// it does nothing.
#[inline]
pub(crate) fn note_waiting(on: WaitingOn, place: &'static Location<'static>) {
    note_waiting_for(on, 0, Some(place));
}

#[inline]
pub(crate) fn note_waiting_for(on: WaitingOn, detail: u32, place: Option<&'static Location<'static>>) {
    if let Some(slot) = current().and_then(Tasks::current_slot) {
        slot.note_waiting(on, detail, place);
    }
}

/// The cooperative budget: a leaf that can go on calls this before it does. `Pending` means that this poll of the task has done
/// its share; the task is already woken and continues next turn. Outside a loop there is no budget.
///
/// Only progress is charged. Charging a poll that finds nothing would starve the last children of a task that polls hundreds.
#[inline]
pub(crate) fn poll_proceed(cx: &mut Context<'_>) -> Poll<()> {
    match current() {
        Some(tasks) => tasks.poll_proceed(cx),
        None => Poll::Ready(()),
    }
}
