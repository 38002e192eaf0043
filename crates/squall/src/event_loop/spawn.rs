//! Spawning tasks on the current loop.

use super::core::Core;
use super::current;
use crate::task::{JoinHandle, NewTask};
use std::future::Future;
use std::panic::Location;

/// Spawns a task on the current loop. It is polled for the first time next turn; it need not be `Send`.
///
/// Dropping the handle detaches the task. On a loop that is ending the future is dropped and the handle gives a
/// cancelled [`JoinError`](crate::JoinError).
///
/// # Panics
/// Outside a loop.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// squall::run(async {
///     let hits = Rc::new(Cell::new(0));
///     let task = squall::spawn({
///         let hits = hits.clone();
///         async move { hits.set(hits.get() + 1) }
///     });
///     task.await.unwrap();
///     assert_eq!(hits.get(), 1);
/// });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let new = NewTask { name: None, spawned_at: Location::caller() };
    current::with("squall::spawn", |core| core.spawn(future, new))
}

/// Like [`spawn`], with a name for messages, reports and trees.
///
/// # Panics
/// Outside a loop.
///
/// ```
/// # squall::run(async {
/// let task = squall::spawn_named("answer", async { 42 });
/// assert_eq!(task.name().as_deref(), Some("answer"));
/// assert_eq!(task.await.unwrap(), 42);
/// # });
/// ```
#[track_caller]
pub fn spawn_named<F>(name: impl Into<String>, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let new = NewTask { name: Some(name.into()), spawned_at: Location::caller() };
    current::with("squall::spawn_named", |core| core.spawn(future, new))
}

impl Core {
    pub(crate) fn spawn<F: Future + 'static>(&self, future: F, new: NewTask) -> JoinHandle<F::Output> {
        let handle = self.tasks.spawn(future, new);
        let id = if handle.is_some() { self.tasks.spawned() } else { 0 };
        // SAFETY: the handle was made for this future just now, and this is its only JoinHandle.
        unsafe { JoinHandle::new(handle, id) }
    }

    /// # Safety
    /// The loop is not ending. The future, and later its output, must be gone before what they borrow.
    pub(crate) unsafe fn spawn_unchecked<F: Future>(&self, future: F, new: NewTask) -> JoinHandle<F::Output> {
        // SAFETY: by the contract.
        let handle = unsafe { self.tasks.spawn_unchecked(future, new) };
        // SAFETY: as in `spawn`.
        unsafe { JoinHandle::new(Some(handle), self.tasks.spawned()) }
    }
}
