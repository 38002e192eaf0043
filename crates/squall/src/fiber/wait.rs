//! How a fiber's code waits for anything that is asynchronous.

use super::current::{current, here};
use crate::task::ForcedUnwind;
use crate::time;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits for a future: the fiber is paused until it is ready, and the loop runs others meanwhile.
///
/// Any future will do: a socket's, a sleep, a queue's, the handle of a task or of another fiber, an `async` block. It may borrow from the fiber's stack.
///
/// # Cancellation
/// When the fiber is cancelled (its handle was aborted, its scope cancelled, its loop has ended) this does not return: it unwinds the fiber's
/// stack, as a panic would. [`try_wait`] returns instead.
///
/// # Panics
/// Outside a fiber; and inside a future that is polled on the fiber's stack: await there. (A foreign executor's polls cannot be seen; they are
/// paused with the fiber, as they would be with a thread.)
///
/// # Aborts
/// In a destructor that runs because the fiber unwinds, the future is polled once. If it is not ready then, there is no way to wait
/// for it and no way not to: that is reported, and the process ends. `try_wait` returns.
///
/// ```
/// use squall::fiber;
/// use squall::net::{TcpListener, TcpStream};
/// use std::io;
///
/// # fn main() -> io::Result<()> {
/// squall::run(async {
///     let fiber = fiber::spawn(|| -> io::Result<usize> {
///         let listener = fiber::wait(TcpListener::bind("127.0.0.1:0"))?;
///         let client = fiber::wait(TcpStream::connect(listener.local_addr()?))?;
///         let (conn, _) = fiber::wait(listener.accept())?;
///         fiber::wait(client.write_all(b"hello"))?;
///         let mut text = [0; 16];
///         fiber::wait(conn.read(&mut text))
///     });
///     assert_eq!(fiber.await??, 5);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn wait<F: IntoFuture>(future: F) -> F::Output {
    const WHAT: &str = "fiber::wait";
    let fiber = here(WHAT);
    let mut future = pin!(future.into_future());
    loop {
        let polling = fiber.begin_poll();
        let polled = future.as_mut().poll(&mut Context::from_waker(fiber.waker()));
        drop(polling);
        if let Poll::Ready(output) = polled {
            return output;
        }
        fiber.note(Location::caller());
        if !fiber.park() {
            fiber.unwind(WHAT);
        }
    }
}

/// Like [`wait`], but returns an error when the fiber is cancelled, so that its code can end in order.
///
/// A cancelled fiber does not wait any more: this returns the output of a future that is ready at once, and the error for any other. A fiber that goes
/// on all the same is unwound after 64 such errors.
///
/// # Errors
/// [`Cancelled`]; also in a destructor that runs because the fiber unwinds.
///
/// # Panics
/// As [`wait`].
///
/// ```
/// use squall::fiber;
/// use std::{cell::Cell, future::pending, rc::Rc};
///
/// squall::run(async {
///     let said = Rc::new(Cell::new(""));
///     let fiber = fiber::spawn({
///         let said = said.clone();
///         move || {
///             if fiber::try_wait(pending::<()>()).is_err() {
///                 said.set("goodbye");
///             }
///         }
///     });
///     squall::yield_now().await;
///     fiber.abort();
///     assert_eq!(said.get(), "goodbye");
/// });
/// ```
#[track_caller]
pub fn try_wait<F: IntoFuture>(future: F) -> Result<F::Output, Cancelled> {
    const WHAT: &str = "fiber::try_wait";
    let fiber = here(WHAT);
    let mut future = pin!(future.into_future());
    loop {
        let polling = fiber.begin_poll();
        let polled = future.as_mut().poll(&mut Context::from_waker(fiber.waker()));
        drop(polling);
        if let Poll::Ready(output) = polled {
            return Ok(output);
        }
        fiber.note(Location::caller());
        if !fiber.park() && fiber.may_return_cancelled(WHAT) {
            return Err(Cancelled(()));
        }
    }
}

/// Gives way: the fiber goes to the end of the ready queue and continues next turn, after everything that is ready now. In async code it is
/// [`squall::yield_now`](crate::yield_now).
///
/// In a destructor that runs because the fiber unwinds it returns at once.
///
/// # Panics
/// As [`wait`], which also says what happens upon cancellation.
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// use squall::fiber;
///
/// squall::run(async {
///     let trace = Rc::new(RefCell::new(Vec::new()));
///     let fibers = ["one", "two"].map(|name| {
///         let trace = trace.clone();
///         fiber::spawn(move || {
///             for step in 1..=2 {
///                 trace.borrow_mut().push((name, step));
///                 fiber::yield_now();
///             }
///         })
///     });
///     for fiber in fibers {
///         fiber.await.unwrap();
///     }
///     assert_eq!(*trace.borrow(), [("one", 1), ("two", 1), ("one", 2), ("two", 2)]);
/// });
/// ```
#[inline]
#[track_caller]
pub fn yield_now() {
    let fiber = here("fiber::yield_now");
    // As the future of that name does, without the poll.
    fiber.waker().wake_by_ref();
    if !fiber.park() && !fiber.may_unwind() {
        fiber.unwind("fiber::yield_now");
    }
}

/// Waits for so long, by the loop's clock: [`time::sleep`](crate::time::sleep) for fibers.
///
/// # Panics
/// As [`wait`], which also says what happens upon cancellation.
///
/// ```
/// use squall::{fiber, time::Instant};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let begin = Instant::now();
///     fiber::spawn(|| fiber::sleep(Duration::from_secs(3600))).await.unwrap();
///     assert_eq!(begin.elapsed(), Duration::from_secs(3600));
/// })
/// # }
/// ```
#[track_caller]
pub fn sleep(duration: Duration) {
    wait(time::sleep(duration));
}

/// True if this code may wait: it runs on a fiber, and not in a future that is polled there.
///
/// ```
/// use squall::fiber;
///
/// squall::run(async {
///     assert!(!fiber::is_current());
///     assert!(fiber::spawn(fiber::is_current).await.unwrap());
///     assert!(!fiber::spawn(|| fiber::wait(async { fiber::is_current() })).await.unwrap());
/// });
/// ```
pub fn is_current() -> bool {
    current().is_some_and(|fiber| fiber.may_wait())
}

/// The most bytes that the current fiber has used of its stack so far, if it was spawned with [`Builder::measure_stack`](super::Builder::measure_stack).
///
/// It is what the deepest calls have left behind, down to the last word that is not zero; frames that were never written to do not show. Looking costs a
/// pass over what is unused.
///
/// ```
/// use squall::fiber;
///
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     let fiber = fiber::Builder::new().measure_stack().spawn(|| {
///         let text = format!("{:?}", [0.1; 9]);
///         (text.len(), fiber::stack_high_water().unwrap())
///     })?;
///     let (_, bytes) = fiber.await?;
///     assert!((500..100_000).contains(&bytes), "{bytes}");
///     Ok(())
/// })
/// # }
/// ```
pub fn stack_high_water() -> Option<usize> {
    let fiber = current().filter(|fiber| fiber.cold().is_measured)?;
    // SAFETY: this runs on the stack, so it is live.
    Some(unsafe { fiber.cold().span.get().used() })
}

/// Whether somebody has asked the current fiber to end: its calls return [`Cancelled`], or unwind it. For a fiber that computes for long without
/// waiting. False outside a fiber.
pub fn is_cancelled() -> bool {
    current().is_some_and(super::current::Fiber::is_cancelled)
}

/// True if what `catch_unwind` has caught is the unwinding of a cancelled fiber and not a panic: pass it on with [`resume_unwind`](std::panic::resume_unwind).
///
/// ```
/// use squall::fiber;
/// use std::panic::{catch_unwind, resume_unwind};
///
/// fn serve_one() { /* reads a request, and may panic */ }
///
/// fn serve_all() {
///     for _ in 0..3 {
///         if let Err(panic) = catch_unwind(serve_one) {
///             if fiber::is_cancellation(&*panic) {
///                 resume_unwind(panic);
///             }
///             eprintln!("a request has panicked");
///         }
///     }
/// }
/// # squall::run(async { fiber::spawn(serve_all).await.unwrap() });
/// ```
pub fn is_cancellation(caught: &(dyn Any + Send)) -> bool {
    caught.is::<ForcedUnwind>()
}

/// Why a fiber's call did not wait: the fiber is cancelled, or unwinds.
///
/// As an `io::Error` its kind is `Other`, and `get_ref` leads to it. (`Interrupted` would be retried by everything in std.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancelled(pub(super) ());

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fiber was cancelled")
    }
}

impl Error for Cancelled {}

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> io::Error {
        io::Error::other(cancelled)
    }
}
