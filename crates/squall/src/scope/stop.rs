//! Waiting until a scope is asked to stop.

use crate::task::{Cancelled, Key, Surroundings, WaitingOn, current, drop_foreign, poll_turn};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Runs a future until it is ready (`Some`), or the innermost scope that this runs in is asked to stop (`None`): [`Scope::until_stop`](super::Scope::until_stop) for code that does not hold the scope, such as the
/// tasks of a server's connections.
///
/// Outside a scope nobody asks.
///
/// # Cancellation
/// The future is dropped with this one, or when it has given `None`.
///
/// ```
/// use squall::scope::until_stop;
/// use std::{future::pending, time::Duration};
///
/// # squall::run(async {
/// squall::scope(async |s| {
///     let task = s.spawn_task(async { until_stop(pending::<()>()).await });
///     s.stop(Duration::from_secs(1));
///     assert_eq!(task.await, None);
/// })
/// .await;
/// # });
/// ```
#[track_caller]
pub fn until_stop<F: IntoFuture>(future: F) -> UntilStop<F::IntoFuture> {
    UntilStop::new(surroundings(), future.into_future(), Location::caller())
}

/// True if the innermost scope that this runs in, or one around it, was asked to stop. False outside a scope.
pub fn is_stopping() -> bool {
    surroundings().is_some_and(|scope| scope.is_stopping())
}

fn surroundings() -> Option<Rc<Surroundings>> {
    current()?.ambient()?.scope.clone()
}

/// The future of [`until_stop`] and [`Scope::until_stop`](super::Scope::until_stop).
#[must_use = "futures do nothing unless awaited"]
pub struct UntilStop<F> {
    // Pinned whenever this is.
    future: F,
    line: Line,
}

/// The place among those who wait for the request.
struct Line {
    scope: Option<Rc<Surroundings>>,
    key: Option<Key>,
    place: &'static Location<'static>,
}

impl<F> UntilStop<F> {
    pub(super) fn new(
        scope: Option<Rc<Surroundings>>,
        future: F,
        place: &'static Location<'static>,
    ) -> UntilStop<F> {
        UntilStop { future, line: Line { scope, key: None, place } }
    }
}

impl Line {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(scope) = &self.scope else { return Poll::Pending };
        if scope.is_stopping() {
            return Poll::Ready(());
        }
        if self.key.is_none() {
            // Cloned before anything is borrowed: a foreign waker may come back here.
            let waker = cx.waker().clone();
            self.key = Some(scope.stop_waiting.borrow_mut().push(waker, ()));
            if scope.is_stopping() {
                return Poll::Ready(());
            }
        }
        poll_turn(&scope.stop_waiting, |list| list, &mut self.key, cx, WaitingOn::Stopping, self.place)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (Some(scope), Some(key)) = (&self.scope, self.key.take()) else { return };
        let cancelled = scope.stop_waiting.borrow_mut().cancel(key);
        if let Cancelled::Waiting(waker, ()) = cancelled {
            drop_foreign(Some(waker));
        }
    }
}

impl<F: Future> Future for UntilStop<F> {
    type Output = Option<F::Output>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        // SAFETY: `future` is pinned structurally: nothing moves it out, the type has no Drop of its own, and is Unpin only if F is.
        let (future, line) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.line)
        };
        // What the future itself waits on is noted last: it says more.
        if line.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        future.poll(cx).map(Some)
    }
}

impl<F> fmt::Debug for UntilStop<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilStop")
            .field("made_at", &format_args!("{}", self.line.place))
            .finish_non_exhaustive()
    }
}
