//! A future with a deadline.
//!
//! The future is polled first, the clock second: what is ready counts even if it is late, and a future that is ready at once never
//! sets a timer. The order was chosen by tokio too; the other one loses results that lie there.

use super::instant::Instant;
use super::sleep::{Here, Sleep};
use crate::task::UnderTimeout;
use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Runs a future for at most so long: gives its output, or [`Elapsed`] once the time is over.
///
/// The time runs from this call. The future is polled first and may still win when the time is over: with `Duration::ZERO` it gets
/// one poll, twice if it used up the task's budget in the first. `Duration::MAX` sets no limit.
///
/// # Cancellation
/// The future is not told that time is over: it is dropped, together with the `Timeout`, when the caller drops that (after
/// `.await`: at once). What the drop loses is the future's own affair and stands in its documentation. Dropping the
/// `Timeout` earlier drops the future and unsets the timer.
///
/// A future that never gives way (it computes, or blocks the thread) cannot be stopped in time by anybody.
///
/// On another loop: as [`Sleep`].
///
/// ```
/// use squall::time::{sleep, timeout};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let quick = async {
///         sleep(Duration::from_secs(1)).await;
///         7
///     };
///     assert_eq!(timeout(Duration::from_secs(2), quick).await, Ok(7));
///
///     let slow = sleep(Duration::from_secs(3));
///     let error = timeout(Duration::from_secs(2), slow).await.unwrap_err();
///     assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
/// })
/// # }
/// ```
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    let here = Here::find();
    let made = here.now;
    Timeout {
        future: future.into_future(),
        sleep: Sleep::new(made + duration, here, Location::caller()),
        made,
    }
}

/// Runs a future until a moment at most. Otherwise as [`timeout`].
///
/// ```
/// use squall::time::{Instant, sleep, timeout_at};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     // Two steps under one limit.
///     let deadline = Instant::now() + Duration::from_secs(5);
///     assert!(timeout_at(deadline, sleep(Duration::from_secs(3))).await.is_ok());
///     let error = timeout_at(deadline, sleep(Duration::from_secs(3))).await.unwrap_err();
///     assert_eq!(error.after(), Duration::from_secs(2));
/// })
/// # }
/// ```
#[track_caller]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    let here = Here::find();
    let made = here.now;
    Timeout { future: future.into_future(), sleep: Sleep::new(deadline, here, Location::caller()), made }
}

/// The future of [`timeout`] and [`timeout_at`].
#[must_use = "futures do nothing unless awaited"]
pub struct Timeout<F> {
    // Pinned whenever the Timeout is.
    future: F,
    sleep: Sleep,
    made: Instant,
}

impl<F> Timeout<F> {
    /// When the time is over.
    pub fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// The future inside.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future inside.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// The future, without a limit.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned structurally: nothing moves it out of a pinned Timeout (`get_mut` and `into_inner` need one
        // that is not pinned), Timeout has no Drop, is not packed, and is Unpin only if F is.
        let (future, sleep, made) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.sleep, this.made)
        };
        let under = UnderTimeout::until(sleep.deadline().ns());
        let polled = future.poll(cx);
        drop(under);
        if let Poll::Ready(output) = polled {
            sleep.release();
            return Poll::Ready(Ok(output));
        }
        sleep.poll_beside(cx).map(|()| Err(Elapsed { after: sleep.deadline() - made }))
    }
}

impl<F: fmt::Debug> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("deadline", &self.deadline()).field("future", &self.future).finish()
    }
}

/// Time was over before the future was ready. Converts into an [`io::Error`] of the kind [`TimedOut`](io::ErrorKind::TimedOut).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed {
    after: Duration,
}

impl Elapsed {
    /// The time that the future was given.
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.after)
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
