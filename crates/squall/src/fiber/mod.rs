//! Fibers: functions that wait at any depth of calls, each on a stack of its own. Code that looks as if it blocked, and libraries that do, run on the loop beside tasks.
//!
//! ```
//! use squall::fiber::{self, Blocking};
//! use squall::net::{TcpListener, TcpStream};
//! use std::io::{self, BufRead, BufReader};
//!
//! /// No async in sight: it could be anybody's.
//! fn longest_line(text: impl io::Read) -> io::Result<usize> {
//!     BufReader::new(text).lines().try_fold(0, |longest, line| Ok(longest.max(line?.len())))
//! }
//!
//! # fn main() -> io::Result<()> {
//! squall::run(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let client = TcpStream::connect(listener.local_addr()?).await?;
//!     let (conn, _) = listener.accept().await?;
//!     let fiber = fiber::spawn(move || longest_line(Blocking::new(conn)));
//!     client.write_all(b"one\nseven\ntwo\n").await?;
//!     drop(client);
//!     assert_eq!(fiber.await??, 5);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! A fiber is a task: it has a [`JoinHandle`](crate::JoinHandle), a place in the turn, a line in reports. Async code awaits fibers, and a fiber [`wait`]s for any future. It never changes
//! threads, so thread-locals are what they are in any code (shared with everything on the thread: another fiber may change one between two waits).
//!
//! # Fiber or task?
//! A task pauses where `await` stands, and only there; it takes some hundred bytes. A fiber pauses in any call, also deep in code that was not written for it; it takes
//! a page of memory at least. So fibers are for code that exists already, for recursion that waits, and for callbacks of others. `docs/fibers.md` says more.
//!
//! # Waiting
//! [`wait`] and its kin may be called by the fiber's own code only, never inside a future that is polled on its stack: that is a panic which says to await. Nothing may be held
//! across a wait that others on the thread need: a `RefCell`'s borrow, a lock of std's. The compiler, which sees this in async code, does not see it here.
//!
//! # Cancelling
//! An aborted fiber, one whose scope is cancelled, and one whose loop ends, is cancelled in two steps:
//!
//! 1. Calls that wait return: [`try_wait`] gives [`Cancelled`], [`Blocking`] an `io::Error` of it, so that `?` leads the code out in order.
//! 2. What has no error to return ([`wait`], [`sleep`], [`scope()`]), and a fiber that has been given 64 such errors, is unwound: a panic without a message
//!    runs the destructors on the stack. `catch_unwind` catches it; whoever does should pass it on (see [`is_cancellation`]). The next call that waits raises it again, so a loop that
//!    catches everything does not keep a fiber alive: after 64 times its stack is given up, which leaks it, and is reported. What it borrowed may be half changed then, so if it is a
//!    scope's child, that scope does not return: its fiber is given up too.
//!
//! Both happen on the spot, before `abort` returns, unless the fiber is on the call stack: then when it next waits. In a destructor that runs because of an unwinding, `Blocking` and
//! `try_wait` return an error rather than wait; `wait` ends the process if it cannot return, because a stack that unwinds must not be paused (the thread would count as panicking for everybody).
//!
//! Under `panic = "abort"` nothing can unwind: a fiber that does not come out by itself in step 1 is given up silently, and what is on its stack is leaked
//! (and with a scope's child, the fiber of the scope).
//!
//! # Stacks
//! A stack is 256 KiB of addresses ([`Builder::stack_size`]), of which what is touched takes memory: 4 KiB for a fiber that does little. Stacks are pooled. Below each lies a guard; a fiber
//! that runs into it ends the process with a report of its name, its place and its size. How much one needs tells [`stack_high_water`].

// Level 5. Read current.rs first, then body.rs.
mod arena;
mod blocking;
mod body;
mod current;
mod overflow;
mod scope;
mod scoped;
mod spawn;
mod wait;

pub use arena::StackTotals;
pub use blocking::Blocking;
pub use scope::{Scope, scope};
pub use scoped::ScopedHandle;
pub use spawn::{Builder, spawn, stacks};
pub use wait::{
    Cancelled, is_cancellation, is_cancelled, is_current, sleep, stack_high_water, try_wait, wait, yield_now,
};

/// The chapters of the guide: their code is compiled and run.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../../docs/fibers.md")]
    mod english {}
    #[doc = include_str!("../../../../docs/fibers.zh-CN.md")]
    mod chinese {}
}
