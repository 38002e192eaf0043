//! The system's signals, as streams: `SIGINT` (Ctrl-C), `SIGTERM`, `SIGHUP`…
//!
//! ```
//! use squall::signal::{SignalKind, signal};
//!
//! # fn main() -> std::io::Result<()> {
//! squall::run(async {
//!     let mut hangups = signal(SignalKind::HANGUP)?;
//!     # std::process::Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status()?;
//!     hangups.recv().await;
//!     println!("reading the configuration again");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Any number of listeners, on any number of loops, each learn of every signal. As long as there is one, the signal does not do what it does by
//! default; when the last is dropped, it does again (the system's default, or what another library of the process has installed
//! before; such a library is called in any case). A signal that finds nobody thus ends the process that it ended before.
//!
//! The system itself merges signals: of two that come before the first is handled, one may be all that is seen. Signals are the real world's: under virtual
//! time they come at moments of their own.
//!
//! After a `fork` the child's listeners of before hear nothing; new ones do.
//!
//! *How.* The handler adds to a counter and writes a byte to a pipe, which is all that may be done there; a thread, started with the first listener,
//! reads the pipe and wakes the listeners. (`signalfd` was rejected: the signal must be blocked in all threads of the process, and in the programs it starts.)

mod hub;
mod kind;
mod listen;

pub use kind::SignalKind;
pub use listen::{CtrlC, RecvSignal, Signal, ctrl_c, signal};
