//! Tasks of the loop that a scope owns: they may not borrow, and each has its own place in the turn whoever polls the scope.

use super::child::Child;
use super::family::{Membership, Shared};
use super::mode::{Mode, Outcome, ValueOf};
use super::{Scope, family};
use crate::event_loop::{self, CatchUnwind, catch_unwind};
use crate::task::{ForcedUnwind, NewTask};
use crate::time::{Elapsed, timeout};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

impl<'scope, M: Mode> Scope<'scope, '_, M> {
    /// Spawns a task of the loop that the scope owns: it is awaited at the scope's end, and aborted where a child is dropped.
    ///
    /// It may not borrow. For that it depends on nobody: it runs also while the scope's future is not polled, and it costs a wake less. Servers use it for their connections.
    ///
    /// On a scope that is cancelled, and on a loop that is ending, the future is dropped and the handle has ended. If the scope's future is forgotten the task runs on.
    ///
    /// # Panics
    /// Inside another event loop than the scope's.
    ///
    /// ```
    /// # squall::run(async {
    /// let sum = squall::scope(async |s| {
    ///     let child = s.spawn_task(async { 40 });
    ///     child.await + 2
    /// })
    /// .await;
    /// assert_eq!(sum, 42);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_task<F>(&'scope self, future: F) -> Child<'scope, ValueOf<F, M>>
    where
        F: Future + 'static,
        F::Output: Outcome<M>,
    {
        self.begin_task(None, future, Location::caller())
    }

    /// As [`spawn_task`](Self::spawn_task), with a name for messages, reports and trees.
    ///
    /// # Panics
    /// As `spawn_task`.
    #[track_caller]
    pub fn spawn_task_named<F>(
        &'scope self,
        name: impl Into<String>,
        future: F,
    ) -> Child<'scope, ValueOf<F, M>>
    where
        F: Future + 'static,
        F::Output: Outcome<M>,
    {
        self.begin_task(Some(name.into()), future, Location::caller())
    }

    #[track_caller]
    fn begin_task<F>(
        &'scope self,
        name: Option<String>,
        future: F,
        place: &'static Location<'static>,
    ) -> Child<'scope, ValueOf<F, M>>
    where
        F: Future + 'static,
        F::Output: Outcome<M>,
    {
        match self.shared.family.admit() {
            Some((_, number)) => own(&self.shared, number, future, Outcome::settle, false, name, place),
            None => Child::refused(&self.shared.family),
        }
    }

    /// Runs what must be done even if the scope is cancelled, for so long at most: a farewell to a peer, a flush. The scope ends when it has ended.
    ///
    /// It is a task that cancelling leaves alone, so it may be begun from a destructor that the cancelling runs, which is where it is mostly needed. If the scope's future itself is dropped it
    /// runs on, within its limit, and at the end of the loop it is dropped like everything.
    ///
    /// Whatever it gives is the handle's value, or [`Elapsed`] once the time is over; nothing of it ends the scope but a panic.
    ///
    /// # Panics
    /// Inside another event loop than the scope's.
    ///
    /// ```
    /// use squall::scope::Scope;
    /// use squall::time::sleep;
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// /// Says goodbye, however it ends.
    /// struct Session<'scope>(&'scope squall::scope::TryScope<'scope, 'scope, std::fmt::Error>, Rc<Cell<bool>>);
    ///
    /// impl Drop for Session<'_> {
    ///     fn drop(&mut self) {
    ///         let said = self.1.clone();
    ///         let _ = self.0.shield(Duration::from_secs(1), async move {
    ///             sleep(Duration::from_millis(10)).await;
    ///             said.set(true);
    ///         });
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn shield<F>(&'scope self, limit: Duration, future: F) -> Child<'scope, Result<F::Output, Elapsed>>
    where
        F: Future + 'static,
    {
        let place = Location::caller();
        match self.shared.family.admit_shielded() {
            Some(number) => own(&self.shared, number, timeout(limit, future), Ok, true, None, place),
            None => Child::refused(&self.shared.family),
        }
    }
}

/// Spawns a task that a scope owns.
pub(super) fn own<'scope, F, M, V>(
    shared: &'scope Rc<Shared<M>>,
    number: u64,
    future: F,
    settle: fn(F::Output) -> Result<V, M::Failure>,
    is_shielded: bool,
    name: Option<String>,
    place: &'static Location<'static>,
) -> Child<'scope, V>
where
    F: Future + 'static,
    M: Mode,
{
    let owned = Owned {
        future: ManuallyDrop::new(catch_unwind(future)),
        settle,
        membership: Membership { shared: shared.clone(), number },
    };
    let new = NewTask { name, spawned_at: place };
    // SAFETY: the scope has taken the task, so the loop is not ending. The future and its output are `'static`. What borrows is the type of the scope's errors, in `Shared`: those that do are
    // cleared when the scope's future has ended (`Run`), or stay for ever if it is forgotten, and a task's own error comes from a future that borrows nothing.
    let task = event_loop::with("Scope::spawn_task", |core| unsafe { core.spawn_unchecked(owned, new) });
    shared.family.own(number, &task, is_shielded);
    Child::of_task(task, &shared.family)
}

/// The future of such a task: what it fails or panics with is the scope's.
///
/// # Invariant
/// `future` is pinned structurally: never moved, and dropped in place, by `drop` alone.
struct Owned<F: Future, M: Mode, V> {
    future: ManuallyDrop<CatchUnwind<F>>,
    settle: fn(F::Output) -> Result<V, M::Failure>,
    // Dropped last: then nothing of the task is left.
    membership: Membership<M>,
}

impl<F: Future, M: Mode, V> Future for Owned<F, M, V> {
    type Output = Option<V>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<V>> {
        // SAFETY: the future is not moved: the invariant.
        let (future, settle, shared) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut *this.future), this.settle, &this.membership.shared)
        };
        let Poll::Ready(output) = future.poll(cx) else { return Poll::Pending };
        Poll::Ready(match output {
            Ok(output) => match settle(output) {
                Ok(value) => Some(value),
                Err(failure) => {
                    shared.fail(failure);
                    None
                }
            },
            Err(panicked) => {
                let panic: family::Panic = panicked.into_payload();
                shared.family.panicked(panic);
                None
            }
        })
    }
}

/// The panic of a destructor is the scope's too: the handle gives no more than that there is no value.
impl<F: Future, M: Mode, V> Drop for Owned<F, M, V> {
    fn drop(&mut self) {
        // SAFETY: dropped in place, once: the invariant.
        let dropping = || unsafe { ManuallyDrop::drop(&mut self.future) };
        match std::panic::catch_unwind(AssertUnwindSafe(dropping)) {
            Ok(()) => {}
            Err(forced) if forced.is::<ForcedUnwind>() => resume_unwind(forced),
            Err(panic) => self.membership.shared.family.panicked(panic),
        }
    }
}
