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
//! [`time`] sleeps, timeouts and intervals · [`sync`] work queue and oneshot · [`net`] TCP · [`io`] readiness of any descriptor ·
//! [`blocking`] the pool for work that blocks · [`callback`] functions that the loop calls · [`signal`] the system's signals ·
//! [`generator`] functions that pause at `yield`, with or without a loop · [`fiber`] functions that wait at any depth of calls, on stacks of their own.
//!
//! # Features
//!
//! `macros` (default): `#[squall::main]` and `#[squall::test]`. `fiber` (default): [`fiber`].
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
pub mod signal;
pub mod sync;
pub mod time;

pub use driver::DriverKind;
pub use event_loop::{
    Builder, CatchUnwind, DriverChoice, EventLoop, LoopHandle, MOST_POLLS_BETWEEN_LOOKS, Panicked,
    RemoteHandle, Stopping, YieldNow, catch_unwind, driver, run, run_forever, spawn, spawn_named, stop,
    stopping, yield_now,
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

/// For the expansion of this crate's macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::event_loop::test;
}
