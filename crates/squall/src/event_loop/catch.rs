//! Panics of a future as values, so that one connection's bug does not end the others.

use crate::task::{ForcedUnwind, drop_quietly, message_of};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind as catch, resume_unwind};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// Runs a future and gives its panic as an error.
///
/// The panic's message has been printed by the panic hook already. What the future held is dropped before the error is given; state that it shared with
/// others may have been left half-changed, as with [`std::panic::catch_unwind`].
///
/// Cancellation: dropping it drops the future.
///
/// ```
/// # squall::run(async {
/// let error = squall::catch_unwind(async { panic!("no such user") }).await.unwrap_err();
/// assert_eq!(error.to_string(), "panicked: no such user");
/// # });
/// ```
pub fn catch_unwind<F: Future>(future: F) -> CatchUnwind<F> {
    CatchUnwind { future: Some(future) }
}

/// The future of [`catch_unwind`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct CatchUnwind<F> {
    future: Option<F>,
}

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned structurally: it is never moved, only polled in place and dropped in place (by `Pin::set`), the type has
        // no Drop of its own, and it is Unpin only if F is.
        let mut slot = unsafe { self.map_unchecked_mut(|this| &mut this.future) };
        let polled = match slot.as_mut().as_pin_mut() {
            Some(future) => catch(AssertUnwindSafe(|| future.poll(cx))),
            None => panic!("CatchUnwind polled after it gave its output"),
        };
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            // A fiber is being unwound (through an executor of others that polls this on its stack): that is no panic of the future's.
            Err(forced) if forced.is::<ForcedUnwind>() => resume_unwind(forced),
            Err(panic) => Err(Panicked(Mutex::new(panic))),
        };
        match (output, catch(AssertUnwindSafe(|| slot.set(None)))) {
            (output, Ok(())) => Poll::Ready(output),
            (Ok(output), Err(panic)) => {
                if let Some(second) = drop_quietly(output) {
                    crate::task::report_panic(
                        "an output's destructor panicked after its future's had",
                        second,
                    );
                }
                Poll::Ready(Err(Panicked(Mutex::new(panic))))
            }
            (first, Err(second)) => {
                crate::task::report_panic("a destructor panicked after its future had panicked", second);
                Poll::Ready(first)
            }
        }
    }
}

/// The panic of a future that [`catch_unwind`] ran.
pub struct Panicked(Mutex<Box<dyn Any + Send>>);

impl Panicked {
    /// The value that was panicked with, to look at or to pass on with [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", message_of(&**self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panicked({self})")
    }
}

impl std::error::Error for Panicked {}

impl From<Panicked> for io::Error {
    fn from(error: Panicked) -> io::Error {
        io::Error::other(error)
    }
}
