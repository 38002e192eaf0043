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

pub(crate) use sys::Notifier;

use super::chunk::{Chunk, ChunkPool};
use super::socket::Direction;
use super::socket_table::{Armed, OpId, Orphans, SocketKey, SocketTable, WatchState};
use super::{Cause, Role, Waiter};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What the kernel said of one descriptor.
struct Event {
    token: u64,
    readable: bool,
    writable: bool,
    hung_up: bool,
}

/// The notifier's token; no socket has it, as there are fewer sockets than 2^32 - 1.
const NOTIFIER: u64 = u64::MAX;

/// The kernel takes no more slices in one call; the rest waits for the next.
const MOST_SLICES: usize = 1024;

pub(crate) struct PollDriver {
    selector: sys::Selector,
    sockets: SocketTable,
    chunks: ChunkPool,
    /// Descriptors that were forgotten without a word to the kernel, since they were another thread's by then. If one was not closed, the kernel
    /// watches it still, in vain.
    abandoned: Vec<RawFd>,
    notifier: &'static Notifier,
}

impl PollDriver {
    pub(super) fn new(notifier: &'static Notifier, first_generation: u64) -> io::Result<PollDriver> {
        let selector = sys::Selector::new()?;
        selector.add(notifier.as_fd(), NOTIFIER)?;
        let sockets = SocketTable::new(first_generation);
        Ok(PollDriver { selector, sockets, chunks: ChunkPool::default(), abandoned: Vec::new(), notifier })
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.sockets.next_generation()
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn attach(&mut self, role: Role) -> io::Result<SocketKey> {
        Ok(self.sockets.insert(role))
    }

    pub(super) fn detach(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> Orphans {
        let Some((orphans, watched)) = self.sockets.remove(key) else { return [None; 2] };
        if watched.is_some() {
            self.selector.remove(fd);
        }
        orphans
    }

    pub(super) fn forget(&mut self, key: SocketKey) -> Orphans {
        let Some((orphans, watched)) = self.sockets.remove(key) else { return [None; 2] };
        self.abandoned.extend(watched.filter(|fd| !self.abandoned.contains(fd)));
        orphans
    }

    /// Tells the kernel of a descriptor, once.
    fn watch(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        if entry.watched().is_some() {
            return Ok(());
        }
        if let Some(at) = self.abandoned.iter().position(|abandoned| *abandoned == fd.as_raw_fd()) {
            self.abandoned.swap_remove(at);
            self.selector.remove(fd);
        }
        self.selector.add(fd, key.token())?;
        entry.set_watched(fd.as_raw_fd());
        Ok(())
    }

    pub(super) fn close(&mut self, key: SocketKey, fd: OwnedFd) -> Orphans {
        // Closing alone would end the registration only if nobody holds a duplicate of the descriptor.
        self.detach(key, fd.as_fd())
    }

    pub(super) fn accept(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
        let entry = self.sockets.get(key)?;
        if !entry.ready_recv {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            match sys::accept(fd) {
                Ok((stream, Some(peer))) => return Ok((stream, peer)),
                // A peer without an address has gone again (macOS), or gave up while it stood in the backlog.
                Ok((_, None)) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::WOULDBLOCK) => {
                    entry.mark_drained(Direction::Recv);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    pub(super) fn connect(&mut self, key: SocketKey, fd: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        match rustix::net::connect(fd, &to) {
            Ok(()) => {
                entry.role = Role::Stream;
                (entry.ready_recv, entry.ready_send) = (true, true);
                Ok(())
            }
            Err(Errno::INPROGRESS | Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn connect_result(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        if !entry.ready_send {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Err(errno) = rustix::net::sockopt::socket_error(fd)? {
            return Err(errno.into());
        }
        // A spurious wake: neither failed nor connected.
        if matches!(rustix::net::getpeername(fd), Err(Errno::NOTCONN)) {
            entry.ready_send = false;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        entry.role = Role::Stream;
        entry.ready_recv = true;
        Ok(())
    }

    pub(super) fn recv(&mut self, key: SocketKey, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        receive_into(&mut self.sockets, key, fd, into)
    }

    pub(super) fn recv_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        let first = into.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let most = into.len().min(first + MOST_SLICES);
        let into = &mut into[first..most];
        let room = into.iter().map(|slice| slice.len()).sum();
        receive(&mut self.sockets, key, room, || rustix::io::readv(fd, &mut *into))
    }

    pub(super) fn peek(&mut self, key: SocketKey, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        let entry = self.sockets.get(key)?;
        if let Some(known) = entry.state.before_recv(into.len()) {
            return known;
        }
        if !entry.ready_recv {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let answer = until_uninterrupted(|| Ok(rustix::net::recv(fd, &mut *into, RECV | RecvFlags::PEEK)?.0));
        if answer == Err(Errno::WOULDBLOCK) {
            entry.mark_drained(Direction::Recv);
        }
        // Nothing comes after the end, so a look may find it.
        entry.state.after_recv(answer.map_err(io::Error::from))
    }

    pub(super) fn recv_chunk(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<Option<Chunk>> {
        let PollDriver { sockets, chunks, .. } = self;
        if sockets.get(key)?.waits_for_data() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        chunks.fill(|into| receive_into(sockets, key, fd, into))
    }

    #[inline]
    fn transmit(
        &mut self,
        key: SocketKey,
        bytes: usize,
        try_it: impl FnMut() -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let entry = self.sockets.get(key)?;
        if let Some(known) = entry.state.before_send(bytes) {
            return known;
        }
        if !entry.ready_send {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let answer = until_uninterrupted(try_it);
        match &answer {
            Ok(n) if *n == bytes || entry.has_hung_up => {}
            Ok(_) | Err(Errno::WOULDBLOCK) => entry.mark_drained(Direction::Send),
            Err(_) => {}
        }
        entry.state.after_send(answer.map_err(io::Error::from))
    }

    pub(super) fn send(&mut self, key: SocketKey, fd: BorrowedFd<'_>, from: &[u8]) -> io::Result<usize> {
        self.transmit(key, from.len(), || rustix::net::send(fd, from, SEND))
    }

    pub(super) fn send_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        from: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let first = from.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let from = &from[first..from.len().min(first + MOST_SLICES)];
        let bytes = from.iter().map(|slice| slice.len()).sum();
        self.transmit(key, bytes, || {
            rustix::net::sendmsg(fd, from, &mut rustix::net::SendAncillaryBuffer::default(), SEND)
        })
    }

    pub(super) fn flush(&mut self, key: SocketKey) -> io::Result<()> {
        // Whatever `send` accepted is the kernel's already.
        self.sockets.get(key)?.state.flush()
    }

    pub(super) fn shutdown(&mut self, key: SocketKey, fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        let rustix_how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        let sent = if matches!(how, Shutdown::Read) { None } else { entry.state.before_shutdown_send() };
        match sent {
            Some(known) if matches!(how, Shutdown::Write) => return known,
            _ => {}
        }
        // The kernel reports a shutdown of its own doing as an edge, but a waiter here must not depend on that.
        (entry.ready_recv, entry.ready_send) = (true, true);
        match rustix::net::shutdown(fd, rustix_how) {
            // No connection is left to be shut down: that is what was asked for.
            Ok(()) | Err(Errno::NOTCONN) => sent.unwrap_or(Ok(())),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn is_ready(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        // Before the question, so that what cannot be watched says so each time, whether or not it is ready now.
        self.watch(key, fd)?;
        ask(fd, direction)
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
            if ask(fd, direction)? {
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
        let (sockets, notifier) = (&mut self.sockets, self.notifier);
        self.selector.wait(timeout_ns, |event| {
            if event.token == NOTIFIER {
                return notifier.drain();
            }
            let Some(entry) = sockets.by_token(event.token) else { return };
            entry.has_hung_up |= event.hung_up;
            if event.readable {
                entry.mark_ready(Direction::Recv, woken);
            }
            if event.writable {
                entry.mark_ready(Direction::Send, woken);
            }
        })
    }
}

/// The mode is a descriptor's only for all its duplicates together, in other processes too; a call of ours must never block.
const RECV: RecvFlags = RecvFlags::DONTWAIT;

/// A peer that is gone must come back as an error, not as a signal that ends the process.
#[cfg(not(target_os = "macos"))]
const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// macOS has no such flag: sockets get `SO_NOSIGPIPE` when they are made.
#[cfg(target_os = "macos")]
const SEND: SendFlags = SendFlags::DONTWAIT;

#[inline]
fn receive_into(
    sockets: &mut SocketTable,
    key: SocketKey,
    fd: BorrowedFd<'_>,
    into: &mut [u8],
) -> io::Result<usize> {
    receive(sockets, key, into.len(), || Ok(rustix::net::recv(fd, &mut *into, RECV)?.0))
}

/// A receive into so much room, if it may be tried.
#[inline]
fn receive(
    sockets: &mut SocketTable,
    key: SocketKey,
    room: usize,
    try_it: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let entry = sockets.get(key)?;
    if let Some(known) = entry.state.before_recv(room) {
        return known;
    }
    if !entry.ready_recv {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let answer = until_uninterrupted(try_it);
    match &answer {
        Ok(n) if *n == room || *n == 0 || entry.has_hung_up => {}
        Ok(_) | Err(Errno::WOULDBLOCK) => entry.mark_drained(Direction::Recv),
        Err(_) => {}
    }
    entry.state.after_recv(answer.map_err(io::Error::from))
}

/// Asks the kernel whether a descriptor is ready now.
fn ask(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let flags = match direction {
        Direction::Recv => PollFlags::IN | PollFlags::PRI,
        Direction::Send => PollFlags::OUT,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    until_uninterrupted(|| poll(&mut fds, Some(&Timespec::default())))?;
    Ok(!fds[0].revents().is_empty())
}

#[inline]
fn until_uninterrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}
