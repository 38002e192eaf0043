//! The handle of a scope's child.

use super::family::{Family, Shared};
use super::mode::Mode;
use super::node::{Awaited, Status};
use crate::task::{JoinHandle, WaitingOn, note_waiting_for, wake};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

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
    inner: Inner<'scope, T>,
    place: &'static Location<'static>,
}

enum Inner<'scope, T> {
    Node(Rc<dyn Awaited<T> + 'scope>),
    Task(JoinHandle<Option<T>>, Rc<dyn Familiar + 'scope>),
    Refused(Rc<dyn Familiar + 'scope>),
    Taken,
}

/// A scope's state, whatever its kind.
trait Familiar {
    fn family(&self) -> &Family;
}

impl<M: Mode> Familiar for Shared<M> {
    fn family(&self) -> &Family {
        &self.family
    }
}

impl<'scope, T> Child<'scope, T> {
    pub(super) fn of_node(node: Rc<dyn Awaited<T> + 'scope>, place: &'static Location<'static>) -> Self {
        Child { inner: Inner::Node(node), place }
    }

    pub(super) fn of_task<M: Mode + 'scope>(
        task: JoinHandle<Option<T>>,
        shared: Rc<Shared<M>>,
        place: &'static Location<'static>,
    ) -> Self {
        Child { inner: Inner::Task(task, shared), place }
    }

    pub(super) fn refused<M: Mode + 'scope>(
        shared: Rc<Shared<M>>,
        place: &'static Location<'static>,
    ) -> Self {
        Child { inner: Inner::Refused(shared), place }
    }

    /// Drops the child, in the scope's next poll (a task at once, unless it is on the call stack). Nothing if it has ended.
    ///
    /// Others are not concerned. To cancel some children with a reason, and to hear of it, give them a [`try_scope`](super::try_scope) of their own.
    pub fn abort(&self) {
        match &self.inner {
            Inner::Node(node) => {
                let head = node.head();
                head.is_aborted.set(true);
                if let Some(handle) = head.member.handle() {
                    wake(handle);
                }
            }
            Inner::Task(task, _) => task.abort(),
            Inner::Refused(_) | Inner::Taken => {}
        }
    }

    /// True if the child has ended, with a value or without.
    pub fn is_finished(&self) -> bool {
        match &self.inner {
            Inner::Node(node) => matches!(node.head().status(), Status::Done | Status::Gone),
            Inner::Task(task, _) => task.is_finished(),
            Inner::Refused(_) | Inner::Taken => true,
        }
    }

    /// Waits for the child's end: its value, or `None` if it has none, because it was aborted, dropped after a grace period, or refused by a scope that was ending.
    ///
    /// Dropping the future drops the handle.
    pub fn outcome(self) -> ChildOutcome<'scope, T> {
        ChildOutcome(self)
    }

    /// The value, or `None` if there is none.
    fn poll_outcome(&mut self, cx: &mut Context<'_>, place: &'static Location<'static>) -> Poll<Option<T>> {
        let polled = match &mut self.inner {
            Inner::Node(node) => {
                let mut status = node.head().status();
                if matches!(status, Status::Waiting | Status::Running | Status::Dropping) {
                    node.head().set_joiner(cx.waker());
                    // Cloning a foreign waker may have done anything.
                    status = node.head().status();
                }
                match status {
                    Status::Done => Poll::Ready(node.take()),
                    Status::Gone => return Poll::Ready(None),
                    Status::Waiting | Status::Running | Status::Dropping => {
                        let slot = node.head().member.handle().map_or(0, |handle| handle.slot());
                        note_waiting_for(WaitingOn::Join, slot, Some(place));
                        return Poll::Pending;
                    }
                }
            }
            Inner::Task(task, _) => match Pin::new(task).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(output) => Poll::Ready(output.ok().flatten()),
            },
            Inner::Refused(_) => return Poll::Ready(None),
            Inner::Taken => panic!("the handle of a scope's child was polled after it gave its value"),
        };
        if let Poll::Ready(Some(_)) = polled {
            self.inner = Inner::Taken;
        } else if let Inner::Task(_, shared) = &self.inner {
            self.inner = Inner::Refused(shared.clone());
        }
        polled
    }

    fn family(&self) -> Option<&Family> {
        match &self.inner {
            Inner::Node(node) => Some(node.family()),
            Inner::Task(_, shared) | Inner::Refused(shared) => Some(shared.family()),
            Inner::Taken => None,
        }
    }
}

impl<T> Unpin for Child<'_, T> {}

impl<T> Future for Child<'_, T> {
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.poll_outcome(cx, Location::caller()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(value)) => Poll::Ready(value),
            // The scope is about to drop whoever awaits.
            Poll::Ready(None) if !self.family().is_some_and(Family::is_open) => Poll::Pending,
            Poll::Ready(None) => panic!(
                "a scope's child (spawned at {}) was awaited and has no value: it was aborted, or dropped after a grace period; where that may be, await `child.outcome()`",
                self.place
            ),
        }
    }
}

impl<T> fmt::Debug for Child<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("spawned_at", &format_args!("{}", self.place))
            .field("is_finished", &self.is_finished())
            .finish()
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
