//! The lowest kind of coroutine: functions that the loop calls.
//!
//! A callback *pauses* by returning and *goes on* by having left word who is to be called next, and when: soon ([`call_soon`]), later ([`call_later`],
//! [`call_at`], [`call_every`]), when a socket is ready ([`add_reader`], [`add_writer`]), when a signal comes ([`add_signal_handler`]).
//! Tornado's IOLoop, libuv and asyncio's loop are made of these. Here they live on the same turn as tasks: one ready queue, one order, one
//! fairness bound; a callback may [`spawn`](crate::spawn), and complete a [`oneshot`](crate::sync::oneshot) that a task awaits.
//!
//! # The same server twice
//!
//! With callbacks, as in the article that squall grew from:
//!
//! ```
//! use squall::callback::{add_reader, add_writer, remove_reader, remove_writer};
//! use squall::net::{TcpListener, TcpStream};
//! use std::{io, rc::Rc};
//!
//! fn accept(listener: &Rc<TcpListener>) {
//!     let Ok((conn, _)) = listener.try_accept() else { return };
//!     println!("Accept ...");
//!     add_reader(&Rc::new(conn), connect);
//! }
//!
//! fn connect(conn: &Rc<TcpStream>) {
//!     match conn.try_read(&mut [0; 1024]) {
//!         Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
//!         Ok(0) | Err(_) => {
//!             remove_reader(conn);
//!             return;
//!         }
//!         Ok(_) => println!("Connect ..."),
//!     }
//!     remove_reader(conn);
//!     if conn.try_write(b"ok").is_ok() {
//!         add_writer(conn, write);
//!     }
//! }
//!
//! fn write(conn: &Rc<TcpStream>) {
//!     println!("Write ...");
//!     remove_writer(conn);
//!     add_reader(conn, success);
//! }
//!
//! fn success(conn: &Rc<TcpStream>) {
//!     println!("Success ...");
//!     remove_reader(conn); // The loop held the last Rc: the connection is closed.
//!     # squall::stop();
//! }
//!
//! # fn main() -> io::Result<()> {
//! squall::run_forever(async {
//!     let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
//!     # let address = listener.local_addr()?;
//!     # std::thread::spawn(move || { use io::Write; std::net::TcpStream::connect(address)?.write_all(b"hi") });
//!     add_reader(&listener, accept);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! With a task:
//!
//! ```
//! use squall::net::{TcpListener, TcpStream};
//! use std::io;
//!
//! async fn talk(conn: TcpStream) -> io::Result<()> {
//!     if conn.recv().await?.is_none() {
//!         return Ok(());
//!     }
//!     println!("Connect ...");
//!     conn.write_all(b"ok").await?;
//!     println!("Write ...");
//!     conn.recv().await?;
//!     println!("Success ...");
//!     Ok(())
//! }
//!
//! # fn main() -> io::Result<()> {
//! squall::run(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     # let address = listener.local_addr()?;
//!     # std::thread::spawn(move || { use io::Write; std::net::TcpStream::connect(address)?.write_all(b"hi") });
//!     loop {
//!         let (conn, _) = listener.accept().await?;
//!         println!("Accept ...");
//!         squall::spawn(talk(conn));
//!         # squall::time::sleep(std::time::Duration::from_millis(20)).await; return Ok(());
//!     }
//! })
//! # }
//! ```
//!
//! The second reads better, and not by taste alone:
//! * **Order.** The conversation stands there from top to bottom. With callbacks it is a chain in which each link names the next, and to see the order one
//!   follows the names.
//! * **Memory between the steps.** `conn`, and whatever a step learned, are plain local variables. Callbacks carry them along by hand, in an `Rc`.
//! * **Errors.** `?` leaves the whole conversation, and what it held is closed. Each callback has to know what to tear down, and the one that forgets leaks a
//!   registration.
//! * **Partial writes.** `write_all` waits as often as it must. The callback server above would lose the rest of a write of which the kernel took a part; two
//!   bytes always fit, a page does not.
//! * **Cancelling.** A dropped task is gone with all that it waited for. A chain of callbacks must be found link by link.
//!
//! What callbacks have for themselves: they are the cheapest (nothing is kept but the closure), and they are what an event source of another library can call.
//!
//! # Beside asyncio and Tornado
//!
//! | asyncio's loop | Tornado's IOLoop | here | what differs |
//! |---|---|---|---|
//! | `call_soon` | `spawn_callback` | [`call_soon`] | |
//! | `call_soon_threadsafe` | `add_callback` | [`LoopHandle::call_soon`](crate::LoopHandle::call_soon) | false instead of an exception after the loop has ended |
//! | `call_later` | `call_later` | [`call_later`] | equal moments are called first come, first served; asyncio's heap gives no order |
//! | `call_at` | `call_at`, `add_timeout` | [`call_at`] | as above |
//! | – | `PeriodicCallback` | [`call_every`] | |
//! | `time` | `time` | [`time::Instant::now`](crate::time::Instant::now) | read once a turn, as asyncio and libuv do for timers |
//! | `Handle.cancel` | `remove_timeout` | [`Scheduled::cancel`] | the closure is dropped at once, not when its time comes |
//! | `Handle.cancelled` | – | [`Scheduled::is_pending`] | a handle is a number and remembers nothing: false after a call too |
//! | `TimerHandle.when` | – | [`Scheduled::when`] | |
//! | `add_reader` | `add_handler(fd, f, READ)` | [`add_reader`] | a panic removes it |
//! | `add_writer` | `add_handler(fd, f, WRITE)` | [`add_writer`] | as above |
//! | `remove_reader`, `remove_writer` | `remove_handler` | [`remove_reader`], [`remove_writer`] | |
//! | `add_reader` again | `update_handler` | [`add_reader`] again | it replaces |
//! | `add_signal_handler` | – | [`add_signal_handler`] | any loop on any thread, many of them |
//! | `remove_signal_handler` | – | [`remove_signal_handler`] | |
//! | `call_exception_handler` | `handle_callback_exception` | [`Builder::callback_panics`](crate::Builder::callback_panics) | report and go on, or end the run |
//! | `run_in_executor` | `run_in_executor` | [`blocking::run`](crate::blocking::run) | |
//! | `run_forever`, `stop` | `start`, `stop` | [`run_forever`](crate::run_forever), [`stop`](crate::stop) | |
//! | `run_until_complete` | `run_sync` | [`run`](crate::run) | |
//! | `add_done_callback` of a future | `add_future` | a task that awaits it | |
//!
//! **Order** is that of asyncio's `_run_once`: exactly what was ready when the turn began is called, then the system is asked, what it says is appended, then
//! the timers that are due. With many ready callbacks the system is asked in between too ([`MOST_POLLS_BETWEEN_LOOKS`](crate::MOST_POLLS_BETWEEN_LOOKS)),
//! which asyncio does not; what that wakes still waits for the next turn.

mod scheduled;
mod signals;
mod soon;
mod watch;

pub use scheduled::Scheduled;
pub use signals::{add_signal_handler, remove_signal_handler};
pub use soon::{call_at, call_every, call_later, call_soon};
pub use watch::{add_reader, add_writer, remove_reader, remove_writer, try_add_reader, try_add_writer};
