//! Descriptors whose readiness the kernel tells, edge-triggered, both directions registered once: for this driver all that wait, for a completion
//! driver those that it moves bytes of by system calls.

use super::sys;
use crate::driver::socket::Direction;
use crate::driver::socket_table::{SocketKey, SocketTable};
use crate::driver::{Cause, Waiter};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// What the kernel said of one descriptor.
pub(super) struct Event {
    pub(super) token: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hung_up: bool,
}

/// The notifier's token; no socket has it, as there are fewer sockets than 2^32 - 1.
const NOTIFIER: u64 = u64::MAX;

pub(in crate::driver) struct Watches {
    selector: sys::Selector,
    /// Descriptors that were forgotten without a word to the kernel, since they were another thread's by then. If one was not closed, the kernel
    /// watches it still, in vain.
    abandoned: Vec<RawFd>,
    watched: usize,
}

impl Watches {
    pub(in crate::driver) fn new() -> io::Result<Watches> {
        Ok(Watches { selector: sys::Selector::new()?, abandoned: Vec::new(), watched: 0 })
    }

    pub(super) fn add_notifier(&self, notifier: &sys::Notifier) -> io::Result<()> {
        self.selector.add(notifier.as_fd(), NOTIFIER)
    }

    /// None is watched.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    #[inline]
    pub(in crate::driver) fn is_empty(&self) -> bool {
        self.watched == 0
    }

    /// Ready to be read when there is something to take.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    pub(in crate::driver) fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.as_fd()
    }

    /// Tells the kernel of a descriptor, once.
    pub(in crate::driver) fn watch(
        &mut self,
        sockets: &mut SocketTable,
        key: SocketKey,
        fd: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let entry = sockets.get(key)?;
        if entry.watched().is_some() {
            return Ok(());
        }
        if let Some(at) = self.abandoned.iter().position(|abandoned| *abandoned == fd.as_raw_fd()) {
            self.abandoned.swap_remove(at);
            self.selector.remove(fd);
        }
        self.selector.add(fd, key.token())?;
        entry.set_watched(fd.as_raw_fd());
        self.watched += 1;
        Ok(())
    }

    /// Ends the watch of a descriptor that is open. (Closing it alone would do so only if nobody holds a duplicate of it.)
    pub(in crate::driver) fn unwatch(&mut self, fd: BorrowedFd<'_>) {
        self.selector.remove(fd);
        self.watched -= 1;
    }

    /// Ends the watch of a descriptor that may be anybody's by now.
    pub(in crate::driver) fn abandon(&mut self, fd: RawFd) {
        if !self.abandoned.contains(&fd) {
            self.abandoned.push(fd);
        }
        self.watched -= 1;
    }

    /// Waits at most that long, and marks what is ready. True if the notifier was among it.
    pub(in crate::driver) fn wait(
        &mut self,
        timeout_ns: Option<u64>,
        sockets: &mut SocketTable,
        woken: &mut Vec<(Waiter, Cause)>,
    ) -> io::Result<bool> {
        let mut is_notified = false;
        self.selector.wait(timeout_ns, |event| {
            if event.token == NOTIFIER {
                is_notified = true;
                return;
            }
            let Some(entry) = sockets.by_token(event.token) else { return };
            entry.has_hung_up |= event.hung_up;
            if event.readable && !entry.is_received {
                entry.mark_ready(Direction::Recv, woken);
            }
            if event.writable {
                entry.mark_ready(Direction::Send, woken);
            }
        })?;
        Ok(is_notified)
    }
}
