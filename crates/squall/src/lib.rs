//! A coroutine runtime in which one thread runs one event loop, and callbacks, generators, tasks and fibers live on it.
//!
//! ```
//! use squall::net::{TcpListener, TcpStream};
//! use std::io;
//!
//! async fn echo(conn: TcpStream) -> io::Result<()> {
//!     while let Some(chunk) = conn.recv().await? {
//!         conn.write_all(&chunk).await?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> io::Result<()> {
//!     squall::run(async {
//!         let listener = TcpListener::bind("127.0.0.1:0").await?;
//!         let address = listener.local_addr()?;
//!         let server = squall::spawn(async move {
//!             let (conn, _) = listener.accept().await?;
//!             echo(conn).await
//!         });
//!
//!         let client = TcpStream::connect(address).await?;
//!         client.write_all(b"hello").await?;
//!         assert_eq!(client.recv().await?.as_deref(), Some(&b"hello"[..]));
//!         drop(client);
//!         server.await?
//!     })
//! }
//! ```
//!
//! # What to expect
//!
//! * **One thread, one loop.** Futures need not be `Send`; state is shared by `Rc` and `Cell`. Work that blocks goes to
//!   [`blocking::run`]; other threads reach a loop through a [`LoopHandle`].
//! * **A turn is fair.** It runs exactly the tasks that were ready when it began, first in first out; what they wake runs next turn. However
//!   many are ready, the driver is asked after at most [`MOST_POLLS_BETWEEN_LOOKS`] polls.
//! * **Handles are numbers.** Wakers, sockets, sleeps and join handles can be kept for ever and sent anywhere. On the wrong loop, or after their loop has ended,
//!   they give a clear error, and a stale wake does nothing.
//! * **Dropping a future is always safe**, and each one's documentation says what is lost: mostly nothing.
//! * **Waiting tasks say what they wait on.** Where nothing can happen any more (a deadlock under virtual time, a test that leaks tasks) the
//!   report is a tree of the tasks: where each was spawned, on what it waits, and where.
//!
//! # Modules
//!
//! [`mod@scope`] structured concurrency · [`time`] sleeps, timeouts and intervals · [`sync`] work queue and oneshot · [`net`] TCP · [`io`] readiness of any descriptor ·
//! [`blocking`] the pool for work that blocks · [`callback`] functions that the loop calls · [`signal`] the system's signals ·
//! [`mod@generator`] functions that pause at `yield`, with or without a loop · [`fiber`] functions that wait at any depth of calls, on stacks of their own.
//!
//! # Features
//!
//! `macros` (default): `#[squall::main]`, `#[squall::test]`, `squall::generator!`, `squall::async_generator!`. `fiber` (default): [`fiber`]. `uring` (default): the
//! driver on io_uring (Linux), which loops run on where it works.
//!
//! # Platforms
//!
//! 64-bit Linux is run and tested; macOS and FreeBSD are type-checked. Anything else does not compile.

#[cfg(not(all(
    target_pointer_width = "64",
    any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")
)))]
compile_error!(
    "squall runs on 64-bit Linux, and is checked for macOS and FreeBSD: its wakers are 64-bit handles, and its drivers are epoll and kqueue"
);

mod driver;
mod event_loop;
mod task;
mod timer;

pub mod blocking;
pub mod callback;
#[cfg(feature = "fiber")]
pub mod fiber;
pub mod generator;
pub mod io;
pub mod net;
pub mod scope;
pub mod signal;
pub mod sync;
pub mod time;

pub use driver::{DriverKind, IoTotals};
pub use event_loop::{
    Builder, CatchUnwind, DriverChoice, EventLoop, LoopHandle, MOST_POLLS_BETWEEN_LOOKS, Panicked,
    RemoteHandle, Stopping, YieldNow, catch_unwind, driver, io_totals, run, run_forever, spawn, spawn_named,
    stop, stopping, yield_now,
};
pub use scope::{
    Scope, ScopeError, TaskLocal, deadline, first_ok, for_each_concurrent, join_all, race, scope, time_left,
    try_for_each_concurrent, try_join_all, try_scope,
};
pub use task::{CallbackPanics, JoinError, JoinHandle, TaskId};

/// Runs an async function on an event loop of its own: `main`, mostly.
///
/// The loop ends when the function returns, as with [`run`], which this is a short way to write; it panics where `run` does.
///
/// ```
/// use squall::net::{TcpListener, TcpStream};
/// use std::io;
///
/// #[squall::main]
/// async fn main() -> io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     client.write_all(b"hello").await?;
///     let (server, _) = listener.accept().await?;
///     assert_eq!(server.recv().await?.as_deref(), Some(&b"hello"[..]));
///     Ok(())
/// }
/// ```
#[cfg(feature = "macros")]
pub use squall_macros::main;

/// Makes an async function a test: it runs on an event loop of its own, in virtual time and without an outside world, and
/// fails if it leaves tasks behind that wait for something.
///
/// Time jumps to the next timer when nothing is ready, so a test of timeouts is exact and takes no time. A test that can
/// never go on fails with the tree of its waiting tasks. (A repeating timer can always go on: cancel it, or put a `timeout` around the test.) Sockets need `#[squall::test(real)]`.
///
/// ```
/// use squall::time::{Instant, timeout};
/// use std::future::pending;
/// use std::time::Duration;
///
/// #[squall::test]
/// async fn a_timeout_ends_what_never_ends() {
///     let begin = Instant::now();
///     assert!(timeout(Duration::from_secs(3600), pending::<()>()).await.is_err());
///     assert_eq!(begin.elapsed(), Duration::from_secs(3600));
/// }
///
/// #[squall::test(real)]
/// async fn a_port_can_be_had() -> std::io::Result<()> {
///     squall::net::TcpListener::bind("127.0.0.1:0").await?;
///     Ok(())
/// }
/// ```
#[cfg(feature = "macros")]
pub use squall_macros::test;

/// A generator, written with `yield`: short for [`Generator::new`](generator::Generator::new), which needs no macro.
///
/// ```
/// use squall::generator::{Generator, Step};
///
/// fn averager<'a>() -> Generator<'a, (), Option<f64>, f64> {
///     squall::generator! {
///         let (mut sum, mut n) = (0.0, 0);
///         while let Some(x) = yield () {
///             (sum, n) = (sum + x, n + 1);
///         }
///         sum / f64::from(n)
///     }
/// }
///
/// fn report<'a>(names: &'a [&'a str]) -> Generator<'a, (), Option<f64>, Vec<(&'a str, f64)>> {
///     squall::generator! {
///         let mut rows = Vec::new();
///         for name in names {
///             rows.push((*name, yield_from!(averager())));
///         }
///         rows
///     }
/// }
///
/// let mut rows = report(&["girls"]);
/// assert_eq!(rows.start(), Ok(Step::Yielded(())));
/// for weight in [Some(40.0), Some(42.0)] {
///     assert_eq!(rows.send(weight), Ok(Step::Yielded(())));
/// }
/// assert_eq!(rows.send(None), Ok(Step::Returned(vec![("girls", 41.0)])));
/// ```
#[cfg(feature = "macros")]
pub use squall_macros::generator;

/// An asynchronous generator, written with `yield` and `.await`: short for [`AsyncGenerator::new`](generator::AsyncGenerator::new), which needs no macro.
///
/// ```
/// use futures::StreamExt;
/// use squall::generator::AsyncGenerator;
/// use squall::time::sleep;
/// use std::time::Duration;
///
/// fn ticks<'a>(every: Duration, times: u32) -> AsyncGenerator<'a, u32> {
///     squall::async_generator! {
///         for n in 0..times {
///             sleep(every).await;
///             yield n;
///         }
///     }
/// }
///
/// # squall::Builder::new().virtual_time().run(async {
/// assert_eq!(ticks(Duration::from_secs(60), 3).collect::<Vec<_>>().await, [0, 1, 2]);
/// # }).unwrap();
/// ```
#[cfg(feature = "macros")]
pub use squall_macros::async_generator;

/// For the expansion of this crate's macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::driver::Limits;
    pub use crate::event_loop::test;
}
