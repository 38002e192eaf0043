//! Operations by one nonblocking system call each, with what the socket table knows of their direction: all of the readiness driver, and what a
//! completion driver does where that is cheaper.
//!
//! A direction counts as ready until a try would block, or gave less than there was room for (then the next arrival makes a new edge), except after a
//! hang-up, which makes no second one.

use super::Role;
use super::chunk::{Chunk, ChunkPool};
use super::poll;
use super::socket::Direction;
use super::socket_table::{Entry, SocketKey, SocketTable};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The kernel takes no more slices in one call; the rest waits for the next.
const MOST_SLICES: usize = 1024;

/// Takes one connection: nonblocking, closed on exec.
pub(super) fn accept(entry: &mut Entry, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    if !entry.ready_recv {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    loop {
        match poll::accept(fd) {
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

/// `Ok` = connected; `WouldBlock` = wait for the send direction, then [`connect_result`].
pub(super) fn connect(entry: &mut Entry, fd: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
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

pub(super) fn connect_result(entry: &mut Entry, fd: BorrowedFd<'_>) -> io::Result<()> {
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

#[inline]
pub(super) fn recv(
    sockets: &mut SocketTable,
    key: SocketKey,
    fd: BorrowedFd<'_>,
    into: &mut [u8],
) -> io::Result<usize> {
    receive(sockets, key, into.len(), || Ok(rustix::net::recv(fd, &mut *into, RECV)?.0))
}

pub(super) fn recv_vectored(
    sockets: &mut SocketTable,
    key: SocketKey,
    fd: BorrowedFd<'_>,
    into: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    let first = into.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
    let most = into.len().min(first + MOST_SLICES);
    let into = &mut into[first..most];
    let room = into.iter().map(|slice| slice.len()).sum();
    receive(sockets, key, room, || rustix::io::readv(fd, &mut *into))
}

pub(super) fn peek(entry: &mut Entry, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
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

#[inline]
pub(super) fn recv_chunk(
    sockets: &mut SocketTable,
    chunks: &ChunkPool,
    key: SocketKey,
    fd: BorrowedFd<'_>,
) -> io::Result<Option<Chunk>> {
    if sockets.get(key)?.waits_for_data() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    chunks.fill(|into| recv(sockets, key, fd, into))
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

#[inline]
pub(super) fn send(entry: &mut Entry, fd: BorrowedFd<'_>, from: &[u8]) -> io::Result<usize> {
    transmit(entry, from.len(), || rustix::net::send(fd, from, SEND))
}

pub(super) fn send_vectored(
    entry: &mut Entry,
    fd: BorrowedFd<'_>,
    from: &[IoSlice<'_>],
) -> io::Result<usize> {
    let first = from.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
    let from = &from[first..from.len().min(first + MOST_SLICES)];
    let bytes = from.iter().map(|slice| slice.len()).sum();
    transmit(entry, bytes, || {
        rustix::net::sendmsg(fd, from, &mut rustix::net::SendAncillaryBuffer::default(), SEND)
    })
}

#[inline]
fn transmit(
    entry: &mut Entry,
    bytes: usize,
    try_it: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
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

pub(super) fn shutdown(entry: &mut Entry, fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
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

/// Asks the kernel whether a descriptor is ready now.
pub(super) fn ask(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let flags = match direction {
        Direction::Recv => PollFlags::IN | PollFlags::PRI,
        Direction::Send => PollFlags::OUT,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    until_uninterrupted(|| poll(&mut fds, Some(&Timespec::default())))?;
    Ok(!fds[0].revents().is_empty())
}

/// The mode is a descriptor's only for all its duplicates together, in other processes too; a call of ours must never block.
const RECV: RecvFlags = RecvFlags::DONTWAIT;

/// A peer that is gone must come back as an error, not as a signal that ends the process.
#[cfg(not(target_os = "macos"))]
const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// macOS has no such flag: sockets get `SO_NOSIGPIPE` when they are made.
#[cfg(target_os = "macos")]
const SEND: SendFlags = SendFlags::DONTWAIT;

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cold]
pub(super) fn watched_already() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "this descriptor is watched by the event loop already; give try_clone()'s duplicate to a second owner",
    )
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cold]
pub(super) fn no_readiness() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this descriptor has no readiness to wait for (a regular file or a directory is always ready: use blocking::run for its calls)",
    )
}

#[inline]
pub(super) fn until_uninterrupted<T>(
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}
