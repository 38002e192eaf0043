//! The handle of a child of [`fiber::scope`](super::scope()), and how it learns of the child's end.
//!
//! `JoinHandle` was rejected: it reaches the output in the task, and a scope's child leaves nothing there that could outlive what it borrows.

use super::wait::wait;
use crate::task::{Handle, JoinError, WaitingOn, abort_anywhere, drop_foreign, note_waiting_for};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The end of a child, and who waits for it. Not a channel's: one whose sender is leaked would never end.
#[derive(Default)]
pub(super) struct End {
    pub(super) has_come: Cell<bool>,
    pub(super) waiter: Cell<Option<Waker>>,
}

/// The handle of a scope's child: [`join`](Self::join) it, await it, or drop it and leave it to the scope.
pub struct ScopedHandle<'scope, T> {
    /// `None` for one that never was.
    pub(super) child: Option<(Handle, Rc<End>)>,
    /// Where the child leaves its value.
    pub(super) value: Rc<Cell<Option<Result<T, JoinError>>>>,
    pub(super) place: &'static Location<'static>,
    pub(super) scope: PhantomData<&'scope ()>,
}

impl<T> ScopedHandle<'_, T> {
    /// Waits for the child's value.
    ///
    /// # Errors
    /// If the child was cancelled, could not be started, or panicked (then the scope goes on with the panic itself, when all its children have ended).
    ///
    /// # Panics
    /// Where [`wait`] does.
    #[track_caller]
    pub fn join(mut self) -> Result<T, JoinError> {
        self.place = Location::caller();
        wait(self)
    }

    /// Ends the child where it waits, at once unless it is on the call stack.
    pub fn abort(&self) {
        if let Some((handle, _)) = &self.child {
            abort_anywhere(*handle);
        }
    }
}

impl<T> Future for ScopedHandle<'_, T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((handle, end)) = &self.child {
            if !end.has_come.get() {
                drop_foreign(end.waiter.replace(Some(cx.waker().clone())));
                note_waiting_for(WaitingOn::Join, handle.slot(), Some(self.place));
                return Poll::Pending;
            }
        }
        Poll::Ready(self.value.take().unwrap_or_else(|| Err(JoinError::cancelled())))
    }
}

impl<T> fmt::Debug for ScopedHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedHandle").finish_non_exhaustive()
    }
}
