//! The handle of a spawned task.

use super::context::{self, WaitingOn, note_waiting_for};
use super::error::JoinError;
use super::handle::Handle;
use super::info::TaskId;
use super::joins::Standing;
use super::message::{Envelope, Message};
use super::raw::Header;
use super::registry;
use super::table::drop_foreign;
use super::waker::{handle_of, waker_of};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The handle of a spawned task: await it for the output, abort it, or drop it and let the task run on.
///
/// Awaiting gives `Ok(output)`, or a [`JoinError`] that says whether the task was cancelled, panicked, or cannot be
/// awaited here. The rules are those of tokio's `JoinHandle`: dropping it detaches the task.
///
/// The handle is a plain number, so it is `Send` and `Sync` for every output type. Awaited on another loop or after the loop ended it gives
/// an error ([`JoinError::is_wrong_loop`]); aborted or dropped there it sends word to its own loop.
///
/// ```
/// squall::run(async {
///     let task = squall::spawn(async { 6 * 7 });
///     assert_eq!(task.await.unwrap(), 42);
///
///     let endless = squall::spawn(std::future::pending::<()>());
///     endless.abort();
///     assert!(endless.await.unwrap_err().is_cancelled());
/// });
/// ```
pub struct JoinHandle<T> {
    /// `None` once the output was taken, and for a task that an ending loop refused.
    ///
    /// Two words in all and no more, so that it is passed in registers. With a third it went through memory, written in parts and read as
    /// a whole, which stalled every spawn for 10 ns.
    handle: Option<Handle>,
    /// Zero until a refused task's handle has said so.
    id: u64,
    // Not a T: the handle owns none, and reaches one only on the task's own loop.
    output: PhantomData<fn() -> T>,
}

impl<T> JoinHandle<T> {
    /// # Safety
    /// `T` is the output type of the handle's future, and this is the only `JoinHandle` of the task.
    pub(crate) unsafe fn new(handle: Option<Handle>, id: u64) -> JoinHandle<T> {
        JoinHandle { handle, id: if handle.is_none() { 0 } else { id }, output: PhantomData }
    }

    /// Stops the task: its future is dropped on its loop, at once unless it is on the call stack, then when its poll returns.
    /// Awaiting the handle then gives an error for which [`is_cancelled`](JoinError::is_cancelled) holds, or the
    /// output if the task had ended before. From another thread the request travels through the loop's inbox.
    ///
    /// A fiber has frames instead of a future: it is told first, and then unwound, in the same call (`squall::fiber`).
    pub fn abort(&self) {
        if let Some(handle) = self.handle {
            abort_anywhere(handle);
        }
    }

    pub(crate) fn raw(&self) -> Option<Handle> {
        self.handle
    }

    /// True if the task has ended, whether or not its output was taken. May be asked from any thread.
    pub fn is_finished(&self) -> bool {
        let Some(handle) = self.handle else { return true };
        registry::cell_of(handle.home())
            .and_then(|cell| cell.slot(handle.slot()))
            .is_none_or(|slot| slot.generation() != handle.generation())
    }

    /// The task's number in this run of its loop.
    pub fn id(&self) -> TaskId {
        TaskId(self.id)
    }

    /// The name given by [`spawn_named`](crate::spawn_named), while the task or its output is there; `None` on another loop.
    pub fn name(&self) -> Option<String> {
        let handle = self.handle?;
        let tasks = context::current().filter(|tasks| tasks.home() == handle.home())?;
        tasks.info_of(handle)?.name
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = self.handle else {
            assert!(self.id == 0, "JoinHandle polled after it gave its output");
            self.id = u64::MAX;
            return Poll::Ready(Err(JoinError::cancelled()));
        };
        let Some(tasks) = context::current().filter(|tasks| tasks.home() == handle.home()) else {
            let ended = has_ended_with_its_loop(handle);
            return Poll::Ready(Err(if ended { JoinError::loop_ended() } else { JoinError::wrong_loop() }));
        };
        match tasks.look(handle) {
            Standing::Done(task) => {
                self.handle = None;
                // SAFETY: `T` is right by the contract of `new`.
                Poll::Ready(unsafe { tasks.take_output(handle, task) })
            }
            Standing::Live(task) => {
                if let Some(own) = handle_of(cx.waker()) {
                    // Copying one of ours runs no code of others: nothing has changed meanwhile.
                    let waker = ManuallyDrop::into_inner(waker_of(own));
                    // SAFETY: the slot owns the task while it is live.
                    drop_foreign(unsafe { Header::replace_joiner(task, Some(waker)) });
                // SAFETY: as above.
                } else if unsafe { !Header::joiner_will_wake(task, cx.waker()) } {
                    let waker = cx.waker().clone();
                    // Cloning may have run foreign code: look again.
                    if let Standing::Live(task) = tasks.look(handle) {
                        // SAFETY: as above.
                        drop_foreign(unsafe { Header::replace_joiner(task, Some(waker)) });
                    } else {
                        waker.wake();
                    }
                }
                note_waiting_for(WaitingOn::Join, handle.slot(), Some(Location::caller()));
                Poll::Pending
            }
            Standing::Gone => {
                self.handle = None;
                Poll::Ready(Err(JoinError::loop_ended()))
            }
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let Some(handle) = self.handle else { return };
        match context::current() {
            Some(tasks) if tasks.home() == handle.home() => tasks.detach(handle),
            _ => send(handle, Message::Detach(handle)),
        }
    }
}

/// Aborts a task from wherever this is.
pub(crate) fn abort_anywhere(handle: Handle) {
    match context::current() {
        Some(tasks) if tasks.home() == handle.home() => tasks.abort(handle),
        _ => send(handle, Message::Abort(handle)),
    }
}

/// For a handle away from home: the lease is over, or a later one has the slot.
fn has_ended_with_its_loop(handle: Handle) -> bool {
    let cell = registry::cell_of(handle.home());
    let is_leased = cell.is_some_and(|cell| !cell.current_lease().is_multiple_of(2));
    let generation = cell.and_then(|cell| cell.slot(handle.slot())).map_or(0, |slot| slot.generation());
    // One more is the output, which waits for this very handle.
    !is_leased || !(handle.generation()..=handle.generation() + 1).contains(&generation)
}

/// Leaves a message for the handle's loop; if that loop has ended there is nothing left to ask of it.
fn send(handle: Handle, message: Message) {
    if let Some(cell) = registry::cell_of(handle.home()) {
        let lease = cell.current_lease();
        if cell.is_leased_here(lease) && cell.messages.push(Envelope { lease, message }).is_ok() {
            cell.notify_if_asleep();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id).field("is_finished", &self.is_finished()).finish()
    }
}

/// A handle is only a number: it may travel whatever the task gives.
const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<JoinHandle<std::rc::Rc<()>>>();
};
