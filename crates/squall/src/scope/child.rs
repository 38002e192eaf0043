//! The handle of a scope's child.

use super::family::Family;
use super::node::{self, Head, Status};
use crate::task::{JoinHandle, WaitingOn, note_waiting_for, report_panic};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

/// The handle of a child: await it for its value, abort it, or drop it and let the scope wait.
///
/// In a [`try_scope`](super::try_scope) the value is plain: a child that fails ends the scope, and with it whoever awaits. Dropping the handle changes nothing for the child.
///
/// # Cancellation
/// Awaiting it by reference (`(&mut child).await`) may be given up and begun again.
///
/// # Panics
/// Awaited when the child has ended without a value while its scope goes on: it was aborted, or dropped after a grace period. [`outcome`](Self::outcome) gives `None` then.
pub struct Child<'scope, T> {
    inner: Inner<T>,
    family: &'scope Family,
    // It may drop a value.
    value: PhantomData<T>,
}

/// # Invariant
/// A node is owned by the handle, and gives a `T`.
enum Inner<T> {
    Node(node::Child),
    Task(JoinHandle<Option<T>>),
    Refused,
    Taken,
}

impl<'scope, T> Child<'scope, T> {
    /// # Safety
    /// The node is owned by a handle, which this becomes, and gives a `T`.
    pub(super) unsafe fn of_node(node: node::Child, family: &'scope Family) -> Self {
        Child { inner: Inner::Node(node), family, value: PhantomData }
    }

    pub(super) fn of_task(task: JoinHandle<Option<T>>, family: &'scope Family) -> Self {
        Child { inner: Inner::Task(task), family, value: PhantomData }
    }

    pub(super) fn refused(family: &'scope Family) -> Self {
        Child { inner: Inner::Refused, family, value: PhantomData }
    }

    /// What is known of a child that is not a task.
    fn head(&self) -> Option<&Head> {
        match &self.inner {
            // SAFETY: the handle owns it, so it is live.
            Inner::Node(node) => Some(unsafe { node.as_ref() }),
            Inner::Task(_) | Inner::Refused | Inner::Taken => None,
        }
    }

    /// Drops the child, in the scope's next poll (a task at once, unless it is on the call stack). Nothing if it has ended.
    ///
    /// Others are not concerned. To cancel some children with a reason, and to hear of it, give them a [`try_scope`](super::try_scope) of their own.
    pub fn abort(&self) {
        if let Some(head) = self.head() {
            head.abort();
        } else if let Inner::Task(task) = &self.inner {
            task.abort();
        }
    }

    /// True if the child has ended, with a value or without.
    pub fn is_finished(&self) -> bool {
        match (self.head(), &self.inner) {
            (Some(head), _) => matches!(head.status(), Status::Done | Status::Gone),
            (None, Inner::Task(task)) => task.is_finished(),
            (None, _) => true,
        }
    }

    /// Waits for the child's end: its value, or `None` if it has none, because it was aborted, dropped after a grace period, or refused by a scope that was ending.
    ///
    /// Dropping the future drops the handle.
    pub fn outcome(self) -> ChildOutcome<'scope, T> {
        ChildOutcome(self)
    }

    /// The value, or `None` if there is none.
    #[inline]
    fn poll_outcome(&mut self, cx: &mut Context<'_>, place: &'static Location<'static>) -> Poll<Option<T>> {
        let node = match &mut self.inner {
            Inner::Node(node) => *node,
            Inner::Task(task) => {
                let Poll::Ready(output) = Pin::new(task).poll(cx) else { return Poll::Pending };
                let output = output.ok().flatten();
                self.inner = if output.is_some() { Inner::Taken } else { Inner::Refused };
                return Poll::Ready(output);
            }
            Inner::Refused => return Poll::Ready(None),
            Inner::Taken => panic!("the handle of a scope's child was polled after it gave its value"),
        };
        // SAFETY: the handle owns it, so it is live.
        let head = unsafe { node.as_ref() };
        let is_over = |status| matches!(status, Status::Done | Status::Gone);
        if !is_over(head.status()) {
            head.set_joiner(cx.waker());
            // Cloning a foreign waker may have done anything.
            if !is_over(head.status()) {
                let slot = head.member.handle().map_or(0, |handle| handle.slot());
                note_waiting_for(WaitingOn::Join, slot, Some(place));
                return Poll::Pending;
            }
        }
        // SAFETY: it is live and gives a `T`: the invariant.
        let value = unsafe { Head::take(node) };
        if value.is_some() {
            self.inner = Inner::Taken;
            // SAFETY: this handle lets go of it. There is no value any more whose destructor could panic.
            let _none = unsafe { Head::leave_handle(node) };
        }
        Poll::Ready(value)
    }
}

impl<T> Unpin for Child<'_, T> {}

impl<T> Drop for Child<'_, T> {
    fn drop(&mut self) {
        if let Inner::Node(node) = self.inner {
            self.inner = Inner::Taken;
            // SAFETY: this handle lets go of it.
            if let Some(panic) = unsafe { Head::leave_handle(node) } {
                if thread::panicking() {
                    report_panic("a value of a scope's child panicked in its destructor", panic);
                } else {
                    resume_unwind(panic);
                }
            }
        }
    }
}

impl<T> Future for Child<'_, T> {
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.poll_outcome(cx, Location::caller()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(value)) => Poll::Ready(value),
            // The scope is about to drop whoever awaits.
            Poll::Ready(None) if !self.family.is_open() => Poll::Pending,
            Poll::Ready(None) => panic!(
                "a scope's child was awaited that has no value: it was aborted, or dropped after a grace period; where that may be, await `child.outcome()`"
            ),
        }
    }
}

impl<T> fmt::Debug for Child<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("is_finished", &self.is_finished()).finish()
    }
}

/// The future of [`Child::outcome`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ChildOutcome<'scope, T>(Child<'scope, T>);

impl<T> Future for ChildOutcome<'_, T> {
    type Output = Option<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_outcome(cx, Location::caller())
    }
}
