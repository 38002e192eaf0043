//! Readiness of any descriptor that the system can watch: pipes, terminals, devices, sockets of other libraries.
//!
//! Level-triggered: [`Source::readable`] asks the kernel whether the descriptor is ready *now* before it waits, so there is no
//! readiness flag for programs to clear, and none to forget. (An edge-triggered guard that must be cleared after
//! `WouldBlock` was rejected: a missed clear spins, a wrong one hangs.) It costs one `poll(2)` a call.

use super::{Op, Readiness, SocketRef, Watched};
use crate::driver::{Direction, Role, SocketKey};
use crate::event_loop::{self, Home};
use crate::task::{Message, WaitingOn};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A descriptor whose readiness can be awaited. It may be anything with [`AsFd`] that the system can watch; regular files cannot.
///
/// The descriptor should be in nonblocking mode: readiness is a hint, and another process may take what was there.
/// Dropping the source ends the registration, so a later descriptor with the same number is never taken for it.
///
/// ```
/// use squall::io::Source;
/// use std::io::{self, Read, Write};
///
/// # fn main() -> io::Result<()> {
/// squall::run(async {
///     let (reader, mut writer) = io::pipe()?;
///     let reader = Source::new(reader)?;
///     let task = squall::spawn(async move {
///         let mut text = [0; 5];
///         reader.readable().await?;
///         reader.get_ref().read_exact(&mut text)?;
///         io::Result::Ok(text)
///     });
///     squall::yield_now().await;
///     writer.write_all(b"hello")?;
///     assert_eq!(&task.await.unwrap()?, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct Source<T: AsFd> {
    // Some until it is taken apart.
    inner: Option<T>,
    key: SocketKey,
    home: Home,
}

impl<T: AsFd> Source<T> {
    /// Gives a descriptor to the current loop.
    ///
    /// # Errors
    /// Under virtual time. (That the system cannot watch this kind of descriptor comes out of the first wait.)
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn new(inner: T) -> io::Result<Source<T>> {
        event_loop::with("io::Source::new", |core| {
            core.leave_parent();
            let key = core.driver.borrow_mut().attach(Role::Source)?;
            Ok((key, core.home()))
        })
        .map(|(key, home)| Source { inner: Some(inner), key, home })
    }

    /// Waits until the descriptor can be read from (or has ended or failed, which reading will tell).
    ///
    /// # Errors
    /// When the system cannot watch the descriptor, when another task waits for the same direction, on another loop than the source's and
    /// after that loop has ended.
    ///
    /// Cancellation: dropping the future stops waiting, nothing is lost.
    #[track_caller]
    pub fn readable(&self) -> Ready<'_, T> {
        Ready {
            source: self,
            op: Op::new(Direction::Recv, WaitingOn::Readable, Location::caller()),
            what: "readable",
        }
    }

    /// Waits until the descriptor can be written to (or has failed, which writing will tell).
    ///
    /// # Errors
    /// As for [`readable`](Self::readable).
    #[track_caller]
    pub fn writable(&self) -> Ready<'_, T> {
        Ready {
            source: self,
            op: Op::new(Direction::Send, WaitingOn::Writable, Location::caller()),
            what: "writable",
        }
    }

    /// What was given to [`new`](Self::new).
    pub fn get_ref(&self) -> &T {
        self.inner.as_ref().expect("a source has its descriptor until it is taken apart")
    }

    /// What was given to [`new`](Self::new), to change. It must stay the same descriptor.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("a source has its descriptor until it is taken apart")
    }

    /// Ends the registration and gives the descriptor back.
    pub fn into_inner(mut self) -> T {
        self.deregister();
        self.inner.take().expect("a source has its descriptor until it is taken apart")
    }

    fn deregister(&mut self) {
        // The user's `as_fd` runs first, with nothing borrowed.
        let Some(fd) = self.inner.as_ref().map(AsFd::as_fd) else { return };
        let (key, home) = (self.key, self.home);
        let here = home.try_with(|core| {
            core.leave_parent();
            let orphans = core.driver.borrow_mut().detach(key, fd);
            core.wake_orphans(orphans);
        });
        if here.is_none() {
            drop(home.send(Message::Forget(key)));
        }
    }
}

impl<T: AsFd> Watched for Source<T> {
    fn watched(&self) -> SocketRef<'_> {
        SocketRef { home: self.home, key: self.key, fd: self.as_fd() }
    }
}

impl<T: AsFd> Readiness for Source<T> {}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        self.deregister();
    }
}

impl<T: AsFd> AsFd for Source<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(self.get_ref()).finish()
    }
}

/// The future of [`Source::readable`] and [`Source::writable`].
#[must_use = "futures do nothing unless awaited"]
pub struct Ready<'a, T: AsFd> {
    source: &'a Source<T>,
    op: Op,
    what: &'static str,
}

impl<T: AsFd> Future for Ready<'_, T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.op.poll_ready(this.source.watched(), this.what, cx)
    }
}

impl<T: AsFd> Drop for Ready<'_, T> {
    fn drop(&mut self) {
        self.op.finish(self.source.home, self.source.key);
    }
}

impl<T: AsFd> fmt::Debug for Ready<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("op", &self.op).finish_non_exhaustive()
    }
}
