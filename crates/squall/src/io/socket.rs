//! A descriptor under the care of a loop's driver: the descriptor itself, and the plain numbers that name it there.
//!
//! A reference-counted registration was rejected: numbers make a stream `Send` and `Sync` without any lock, which is what libraries
//! ask for although nothing ever moves; used on the wrong loop it is an error, dropped there it is closed through its own
//! loop's inbox.

use super::SocketRef;
use crate::driver::{Driver, Role, SocketKey};
use crate::event_loop::{self, Core, Home};
use crate::task::Message;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) struct Socket {
    /// `None` only while it is taken apart.
    fd: Option<OwnedFd>,
    key: SocketKey,
    home: Home,
}

impl Socket {
    /// Gives a nonblocking descriptor to the current loop.
    #[track_caller]
    pub(crate) fn new(what: &str, fd: OwnedFd, role: Role) -> io::Result<Socket> {
        event_loop::with(what, |core| {
            core.leave_parent();
            let key = core.driver.borrow_mut().attach(role)?;
            Ok(Socket { fd: Some(fd), key, home: core.home() })
        })
    }

    pub(crate) fn key(&self) -> SocketKey {
        self.key
    }

    pub(crate) fn home(&self) -> Home {
        self.home
    }

    #[inline]
    pub(crate) fn by_ref(&self) -> SocketRef<'_> {
        SocketRef { home: self.home, key: self.key, fd: self.as_fd() }
    }

    /// Runs `f` with its driver. No user code may run inside.
    #[inline]
    pub(crate) fn with_driver<R>(
        &self,
        what: &str,
        f: impl FnOnce(&mut Driver, SocketKey, BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.home.with(what, |core| {
            core.refuse_inherited()?;
            f(&mut core.driver.borrow_mut(), self.key, self.as_fd())
        })
    }

    /// Takes the descriptor back from the loop, and what its driver has received and nobody has read.
    pub(crate) fn detach(mut self, what: &str) -> io::Result<(OwnedFd, Vec<u8>)> {
        let unread = self.home.with(what, |core| {
            core.leave_parent();
            let mut driver = core.driver.borrow_mut();
            driver.settle(self.key).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::Error::new(
                    io::ErrorKind::WouldBlock,
                    format!("{what}: bytes that were written are still to be sent: await flush() before"),
                ),
                _ if error.raw_os_error().is_none() => {
                    io::Error::new(error.kind(), format!("{what}: {error}"))
                }
                _ => error,
            })?;
            let unread = driver.take_unread(self.key);
            let orphans = driver.detach(self.key, self.as_fd());
            drop(driver);
            core.wake_orphans(orphans);
            Ok(unread)
        })?;
        Ok((self.fd.take().expect("a socket has its descriptor until it is taken apart"), unread))
    }

    /// Puts back what another loop's driver had received.
    pub(crate) fn put_unread(&self, what: &str, bytes: &[u8]) -> io::Result<()> {
        self.with_driver(what, |driver, key, _| driver.put_unread(key, bytes))
    }

    fn close(core: &Core, key: SocketKey, fd: OwnedFd) {
        core.leave_parent();
        let orphans = core.driver.borrow_mut().close(key, fd);
        core.wake_orphans(orphans);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        let (key, home) = (self.key, self.home);
        if event_loop::try_with(|core| core.home() == home) == Some(true) {
            event_loop::try_with(|core| Socket::close(core, key, fd));
        } else {
            // A message that comes back is dropped, and the descriptor with it: its loop has ended, and the registration too.
            drop(home.send(Message::Close(key, fd)));
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("a socket has its descriptor until it is taken apart").as_fd()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fd.fmt(f)
    }
}
