//! A coroutine runtime in which one thread runs one event loop, and every kind of coroutine lives on it.
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
//! [`blocking`] the pool for work that blocks.
//!
//! # Features
//!
//! `macros` (default): `#[squall::main]` and `#[squall::test]`.
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
pub mod io;
pub mod net;
pub mod sync;
pub mod time;

pub use driver::DriverKind;
pub use event_loop::{
    Builder, CatchUnwind, DriverChoice, EventLoop, LoopHandle, MOST_POLLS_BETWEEN_LOOKS, Panicked,
    RemoteHandle, Stopping, YieldNow, catch_unwind, driver, run, run_forever, spawn, spawn_named, stop,
    stopping, yield_now,
};
pub use task::{JoinError, JoinHandle, TaskId};

#[cfg(feature = "macros")]
pub use squall_macros::{main, test};

/// For the expansion of this crate's macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::event_loop::test;
}
