//! A child's one allocation: its future, later its value, and how far it is.
//!
//! ```text
//!   WAITING ◀─poll─▶ RUNNING ─ready─▶ DROPPING (the future) ─▶ DONE (the value is here) ─the handle takes it─▶ GONE
//!      └──────── dropped by its scope ──▶ DROPPING ──────────────────────────────────────────────────────────▶ GONE
//! ```

use super::family::{Family, Shared};
use super::mode::{Mode, Outcome, ValueOf};
use crate::task::{Member, drop_foreign, drop_quietly, report_panic, wake_quietly};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Waiting,
    Running,
    Dropping,
    Done,
    Gone,
}

/// What the scope, the handle and the loop know of a child without its types.
pub(super) struct Head {
    pub(super) member: Member,
    status: Cell<Status>,
    pub(super) is_aborted: Cell<bool>,
    joiner: Cell<Option<Waker>>,
    pub(super) spawned_at: &'static Location<'static>,
}

impl Head {
    pub(super) fn new(member: Member, spawned_at: &'static Location<'static>) -> Head {
        Head {
            member,
            status: Cell::new(Status::Waiting),
            is_aborted: Cell::new(false),
            joiner: Cell::new(None),
            spawned_at,
        }
    }

    pub(super) fn status(&self) -> Status {
        self.status.get()
    }

    /// Whoever awaits the child; one that awaited before is forgotten.
    pub(super) fn set_joiner(&self, waker: &Waker) {
        let waker = waker.clone();
        drop_foreign(self.joiner.replace(Some(waker)));
    }

    fn wake_joiner(&self) {
        if let Some(joiner) = self.joiner.take() {
            wake_quietly(joiner);
        }
    }
}

/// A child for its scope.
pub(super) trait AnyChild {
    fn head(&self) -> &Head;
    /// Polls the future. Ready when it has ended and what it gave is settled. Panics of the future and of its destructor come out.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Drops the future, if it is here; gives its destructor's panic.
    fn drop_future(&self) -> Option<Box<dyn Any + Send>>;
}

/// A child for its handle.
pub(super) trait Awaited<T> {
    fn head(&self) -> &Head;
    fn family(&self) -> &Family;
    fn take(&self) -> Option<T>;
}

/// # Invariant
/// `stage` is referred to only by a method that has moved `status` away from WAITING or DONE and has not moved it on yet: so by one at a time, whatever user code
/// does meanwhile. It holds the future while WAITING, RUNNING and DROPPING, and never moves it: the node lies in an `Rc`, and the future is dropped in place. It
/// holds the value while DONE.
///
/// A future is polled and dropped by its scope only, in the scope's poll or drop: what it borrows lives at least until then. A forgotten scope never does either, and
/// keeps the node for ever.
pub(super) struct Node<F: Future, M: Mode>
where
    F::Output: Outcome<M>,
{
    head: Head,
    stage: UnsafeCell<Stage<F, ValueOf<F, M>>>,
    shared: Rc<Shared<M>>,
}

enum Stage<F, V> {
    Future(F),
    Value(V),
    Empty,
}

impl<F: Future, M: Mode> Node<F, M>
where
    F::Output: Outcome<M>,
{
    pub(super) fn new(head: Head, future: F, shared: Rc<Shared<M>>) -> Rc<Node<F, M>> {
        Rc::new(Node { head, stage: UnsafeCell::new(Stage::Future(future)), shared })
    }

    /// Drops the future in place: the status is on its way from WAITING to something else.
    fn drop_in_place(&self) -> Option<Box<dyn Any + Send>> {
        self.head.member.end();
        self.head.status.set(Status::Dropping);
        if const { !needs_drop::<F>() } {
            // SAFETY: as below; nothing runs.
            unsafe { *self.stage.get() = Stage::Empty };
            self.head.status.set(Status::Gone);
            return None;
        }
        // SAFETY: by the invariant nobody refers to it, and the status, which has just been moved, keeps others away. Assigning drops in place.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { *self.stage.get() = Stage::Empty }));
        self.head.status.set(Status::Gone);
        dropped.err()
    }
}

impl<F: Future, M: Mode> AnyChild for Node<F, M>
where
    F::Output: Outcome<M>,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        struct Back<'a>(&'a Cell<Status>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.set(Status::Waiting);
            }
        }
        let status = &self.head.status;
        assert_eq!(status.replace(Status::Running), Status::Waiting, "a child is polled while it waits");
        let polling = Back(status);
        // SAFETY: by the invariant: the status was WAITING and is RUNNING now, until `polling` is dropped, and the reference ends before.
        let polled = match unsafe { &mut *self.stage.get() } {
            // SAFETY: it is never moved, by the invariant.
            Stage::Future(future) => unsafe { Pin::new_unchecked(future) }.poll(cx),
            Stage::Value(_) | Stage::Empty => unreachable!("a child that waits has its future"),
        };
        drop(polling);
        let Poll::Ready(output) = polled else { return Poll::Pending };
        if let Some(panic) = self.drop_in_place() {
            if let Some(second) = drop_quietly(output) {
                report_panic("an output's destructor panicked after its future's had", second);
            }
            self.head.wake_joiner();
            resume_unwind(panic);
        }
        match output.settle() {
            Ok(value) => {
                // SAFETY: GONE, so nobody refers to it.
                unsafe { *self.stage.get() = Stage::Value(value) };
                self.head.status.set(Status::Done);
            }
            Err(failure) => self.shared.fail(failure),
        }
        self.head.wake_joiner();
        Poll::Ready(())
    }

    fn drop_future(&self) -> Option<Box<dyn Any + Send>> {
        if self.head.status.get() != Status::Waiting {
            return None;
        }
        let panic = self.drop_in_place();
        self.head.wake_joiner();
        panic
    }
}

impl<F: Future, M: Mode> Awaited<ValueOf<F, M>> for Node<F, M>
where
    F::Output: Outcome<M>,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn family(&self) -> &Family {
        &self.shared.family
    }

    fn take(&self) -> Option<ValueOf<F, M>> {
        if self.head.status.get() != Status::Done {
            return None;
        }
        self.head.status.set(Status::Gone);
        // SAFETY: the status was DONE and is GONE, so nobody else refers to it; no user code runs here.
        match unsafe { std::mem::replace(&mut *self.stage.get(), Stage::Empty) } {
            Stage::Value(value) => Some(value),
            Stage::Future(_) | Stage::Empty => unreachable!("a child that is done has its value"),
        }
    }
}
