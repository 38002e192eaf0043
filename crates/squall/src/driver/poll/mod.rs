//! The readiness driver: an operation is tried first, and only what would block waits for the kernel's word.
//!
//! Edge-triggered, both directions registered once, at the first wait: a connection costs one registration in its life and an echo costs
//! three system calls, of which the wait is shared. Level-triggered with re-registration was rejected (a system call for every change of
//! interest), one-shot too. What edges demand is kept here: a direction counts as ready until a try would block,
//! or gave less than there was room for (then the next arrival makes a new edge), except after a hang-up, which makes no second one.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
use epoll as sys;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod slack;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
mod kqueue;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use kqueue as sys;

mod watches;

pub(crate) use sys::Notifier;
pub(super) use sys::accept;
pub(super) use watches::Watches;

use super::chunk::{Chunk, ChunkPool};
use super::socket::Direction;
use super::socket_table::{Armed, OpId, Orphans, SocketKey, SocketTable, WatchState};
use super::{Cause, IoTotals, Role, Waiter, direct};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) struct PollDriver {
    watches: Watches,
    sockets: SocketTable,
    chunks: ChunkPool,
    notifier: &'static Notifier,
}

impl PollDriver {
    pub(super) fn new(notifier: &'static Notifier, first_generation: u64) -> io::Result<PollDriver> {
        let watches = Watches::new()?;
        watches.add_notifier(notifier)?;
        let sockets = SocketTable::new(first_generation);
        Ok(PollDriver { watches, sockets, chunks: ChunkPool::default(), notifier })
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.sockets.next_generation()
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn totals(&self) -> IoTotals {
        IoTotals::default()
    }

    /// Nothing is under way but in the kernel's own memory.
    pub(super) fn settle(&mut self, key: SocketKey) -> io::Result<()> {
        self.sockets.get(key).map(drop)
    }

    pub(super) fn take_unread(&mut self, _: SocketKey) -> Vec<u8> {
        Vec::new()
    }

    pub(super) fn put_unread(&mut self, _: SocketKey, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the stream comes from a loop of another driver, with bytes that were received there and not read: read them before detach()",
        ))
    }

    pub(super) fn attach(&mut self, role: Role) -> io::Result<SocketKey> {
        Ok(self.sockets.insert(role))
    }

    pub(super) fn detach(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> Orphans {
        let Some((orphans, watched)) = self.sockets.remove(key) else { return [None; 2] };
        if watched.is_some() {
            self.watches.unwatch(fd);
        }
        orphans
    }

    pub(super) fn forget(&mut self, key: SocketKey) -> Orphans {
        let Some((orphans, watched)) = self.sockets.remove(key) else { return [None; 2] };
        if let Some(fd) = watched {
            self.watches.abandon(fd);
        }
        orphans
    }

    fn watch(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.watches.watch(&mut self.sockets, key, fd)
    }

    pub(super) fn close(&mut self, key: SocketKey, fd: OwnedFd) -> Orphans {
        self.detach(key, fd.as_fd())
    }

    pub(super) fn accept(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
        direct::accept(self.sockets.get(key)?, fd)
    }

    pub(super) fn connect(&mut self, key: SocketKey, fd: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
        direct::connect(self.sockets.get(key)?, fd, to)
    }

    pub(super) fn connect_result(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        direct::connect_result(self.sockets.get(key)?, fd)
    }

    #[inline]
    pub(super) fn recv(&mut self, key: SocketKey, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        direct::recv(&mut self.sockets, key, fd, into)
    }

    pub(super) fn recv_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        direct::recv_vectored(&mut self.sockets, key, fd, into)
    }

    pub(super) fn peek(&mut self, key: SocketKey, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        direct::peek(self.sockets.get(key)?, fd, into)
    }

    #[inline]
    pub(super) fn recv_chunk(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<Option<Chunk>> {
        direct::recv_chunk(&mut self.sockets, &self.chunks, key, fd)
    }

    #[inline]
    pub(super) fn send(&mut self, key: SocketKey, fd: BorrowedFd<'_>, from: &[u8]) -> io::Result<usize> {
        direct::send(self.sockets.get(key)?, fd, from)
    }

    pub(super) fn send_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        from: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        direct::send_vectored(self.sockets.get(key)?, fd, from)
    }

    pub(super) fn flush(&mut self, key: SocketKey) -> io::Result<()> {
        // Whatever `send` accepted is the kernel's already.
        self.sockets.get(key)?.state.flush()
    }

    pub(super) fn shutdown(&mut self, key: SocketKey, fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
        direct::shutdown(self.sockets.get(key)?, fd, how)
    }

    pub(super) fn is_ready(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        // Before the question, so that what cannot be watched says so each time, whether or not it is ready now.
        self.watch(key, fd)?;
        direct::ask(fd, direction)
    }

    pub(super) fn begin_watch(
        &mut self,
        key: SocketKey,
        direction: Direction,
        op: OpId,
        waiter: Waiter,
    ) -> io::Result<Option<Waiter>> {
        self.sockets.begin_watch(key, direction, op, waiter)
    }

    pub(super) fn new_watch(&mut self) -> io::Result<OpId> {
        Ok(self.sockets.new_watch())
    }

    /// Level-triggered over edges. The kernel reports a descriptor that is new to it and ready, so one is not asked about; one that it knows is, if
    /// whoever used it last has not drained it.
    pub(super) fn arm_watch(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        let entry = self.sockets.get(key)?;
        if entry.watched().is_none() {
            self.watch(key, fd)?;
        } else if entry.seems_ready(direction) {
            if direct::ask(fd, direction)? {
                return Ok(true);
            }
            entry.mark_drained(direction);
        }
        self.sockets.arm_watch(key, direction)?;
        Ok(false)
    }

    pub(super) fn watcher(&mut self, key: SocketKey, direction: Direction) -> Option<(OpId, Waiter)> {
        self.sockets.watcher(key, direction)
    }

    #[inline]
    pub(super) fn watch_state(&mut self, key: SocketKey, direction: Direction, op: OpId) -> WatchState {
        self.sockets.watch_state(key, direction, op)
    }

    #[inline]
    pub(super) fn check_turn(
        &self,
        key: SocketKey,
        direction: Direction,
        op: Option<OpId>,
    ) -> Result<(), Armed> {
        self.sockets.check_turn(key, direction, op)
    }

    pub(super) fn arm(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
        op: Option<OpId>,
        waiter: Waiter,
    ) -> io::Result<(OpId, Option<Waiter>)> {
        self.watch(key, fd)?;
        self.sockets.arm(key, direction, op, waiter)
    }

    pub(super) fn finish(&mut self, key: SocketKey, direction: Direction, op: OpId) -> Option<Waiter> {
        self.sockets.finish(key, direction, op)
    }

    pub(super) fn park(
        &mut self,
        timeout_ns: Option<u64>,
        woken: &mut Vec<(Waiter, Cause)>,
    ) -> io::Result<()> {
        if self.watches.wait(timeout_ns, &mut self.sockets, woken)? {
            self.notifier.drain();
        }
        Ok(())
    }
}
