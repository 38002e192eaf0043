//! The seam between the loop and the outside. Level 1: a driver knows nothing of tasks; it keeps a [`Waiter`] and gives it back.
//!
//! It lies at socket level (accept, receive, send, wait), not at the level of a submission queue: only so can a readiness
//! driver, a completion driver and a simulated network be exchanged beneath one program. A trait object was rejected
//! (an indirect call per receive), generics too (every type of the crate would carry the driver): a driver is picked at run
//! time, so it is an enum.
//!
//! # How an operation waits
//! 1. the operation is tried (`recv`, `send`, `accept`…), no waker in sight;
//! 2. it would block: the caller makes a [`Waiter`] (which may clone a foreign waker, so nothing is borrowed then) and
//!    leaves it with [`Driver::arm`], which also says who waits there already;
//! 3. [`Driver::park`] gives back waiter and cause, the loop wakes, the operation is tried again;
//! 4. [`Driver::finish`] ends the turn at that direction, whether the operation succeeded or its future was dropped.

mod chunk;
mod direct;
mod limits;
mod null;
mod poll;
mod socket;
mod socket_table;
#[cfg(all(feature = "uring", target_os = "linux"))]
mod uring;

pub use chunk::Chunk;
pub use limits::Limits;
pub(crate) use poll::Notifier;
pub(crate) use socket::Direction;
pub(crate) use socket_table::{Armed, OpId, Orphans, SocketKey, WatchState};

use null::NullDriver;
use poll::PollDriver;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
#[cfg(all(feature = "uring", target_os = "linux"))]
use uring::UringDriver;

/// Who waits: a number that only the loop understands (a task's handle, or an entry of its table of foreign wakers).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waiter(pub(crate) NonZeroU64);

/// Why a waiter is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Readable,
    Writable,
}

/// What a descriptor is to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Listener,
    /// A stream whose connection attempt is under way.
    Connecting,
    Stream,
    /// A foreign descriptor, of which only readiness is asked.
    Source,
}

/// The drivers that a program can run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DriverKind {
    /// Completions by io_uring (Linux).
    Uring,
    /// Readiness by epoll (Linux) or kqueue (macOS, FreeBSD).
    Poll,
    /// No outside world: virtual time only.
    Null,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverKind::Uring => "uring",
            DriverKind::Poll => "poll",
            DriverKind::Null => "null",
        })
    }
}

/// What a driver holds at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct IoTotals {
    /// Bytes that have arrived in the driver's memory and were not read.
    pub unread_bytes: usize,
    /// Bytes that were written and are not the kernel's yet.
    pub unsent_bytes: usize,
    /// Streams that were closed with bytes still to be sent.
    pub draining: usize,
    /// Buffers that the kernel receives into.
    pub receive_buffers: usize,
    /// Operations that the kernel has taken in and not completed.
    pub in_flight: usize,
    /// Receives that found all buffers in use, so that a system call received instead, since the loop began.
    pub buffer_shortages: u64,
    /// Operations that found the queue full and waited for the next call, since the loop began.
    pub queue_overflows: u64,
    /// Times that the kernel had more to tell than found room, since the loop began.
    pub completion_overflows: u64,
    /// System calls that handed over operations or waited, since the loop began.
    pub waits: u64,
    /// Time spent looking for news before sleeping ([`Builder::spin`](crate::Builder::spin)), since the loop began.
    pub spun: Duration,
    /// Times that this was done,
    pub spins: u64,
    /// and that it made the sleep unnecessary.
    pub spins_that_paid: u64,
}

pub(crate) enum Driver {
    #[cfg(all(feature = "uring", target_os = "linux"))]
    Uring(Box<UringDriver>),
    Poll(Box<PollDriver>),
    Null(NullDriver),
}

macro_rules! each {
    ($self:expr, $driver:ident => $call:expr) => {
        match $self {
            #[cfg(all(feature = "uring", target_os = "linux"))]
            Driver::Uring($driver) => $call,
            Driver::Poll($driver) => $call,
            Driver::Null($driver) => $call,
        }
    };
}

impl Driver {
    /// `first_generation` continues where the last driver of the same registry cell stopped.
    pub(crate) fn poll(notifier: &'static Notifier, first_generation: u64) -> io::Result<Driver> {
        Ok(Driver::Poll(Box::new(PollDriver::new(notifier, first_generation)?)))
    }

    /// As [`poll`](Self::poll). Fails where the kernel, or whoever runs this process, does not offer what it needs.
    pub(crate) fn uring(
        notifier: &'static Notifier,
        first_generation: u64,
        limits: Limits,
    ) -> io::Result<Driver> {
        #[cfg(all(feature = "uring", target_os = "linux"))]
        return Ok(Driver::Uring(Box::new(UringDriver::new(notifier, first_generation, limits)?)));
        #[cfg(not(all(feature = "uring", target_os = "linux")))]
        {
            let _ = (notifier, first_generation, limits);
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this program was built without it (feature \"uring\", Linux only)",
            ))
        }
    }

    pub(crate) fn null(first_generation: u64) -> Driver {
        Driver::Null(NullDriver::new(first_generation))
    }

    pub(crate) fn kind(&self) -> DriverKind {
        match self {
            #[cfg(all(feature = "uring", target_os = "linux"))]
            Driver::Uring(_) => DriverKind::Uring,
            Driver::Poll(_) => DriverKind::Poll,
            Driver::Null(_) => DriverKind::Null,
        }
    }

    /// Where the next driver of this registry cell starts counting generations.
    pub(crate) fn next_generation(&self) -> u64 {
        each!(self, driver => driver.next_generation())
    }

    /// The descriptors that this driver looks after.
    pub(crate) fn sockets(&self) -> usize {
        each!(self, driver => driver.sockets())
    }

    /// What it holds.
    pub(crate) fn totals(&self) -> IoTotals {
        each!(self, driver => driver.totals())
    }

    /// Ends what is under way at a socket that is to be detached: what has arrived is here, what was written is the kernel's.
    pub(crate) fn settle(&mut self, key: SocketKey) -> io::Result<()> {
        each!(self, driver => driver.settle(key))
    }

    /// Takes what has arrived and was not read.
    pub(crate) fn take_unread(&mut self, key: SocketKey) -> Vec<u8> {
        each!(self, driver => driver.take_unread(key))
    }

    /// Gives a new socket what another loop's driver had received of it.
    pub(crate) fn put_unread(&mut self, key: SocketKey, bytes: &[u8]) -> io::Result<()> {
        each!(self, driver => driver.put_unread(key, bytes))
    }

    /// Takes a nonblocking descriptor under its care. The kernel is told at the first wait.
    pub(crate) fn attach(&mut self, role: Role) -> io::Result<SocketKey> {
        each!(self, driver => driver.attach(role))
    }

    /// Lets a descriptor go, open and in nonblocking mode. The caller wakes the orphans: their operations fail.
    pub(crate) fn detach(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> Orphans {
        each!(self, driver => driver.detach(key, fd))
    }

    /// Lets a descriptor go that is closed already.
    pub(crate) fn forget(&mut self, key: SocketKey) -> Orphans {
        each!(self, driver => driver.forget(key))
    }

    /// Closes a descriptor. A stream's accepted bytes are still sent.
    pub(crate) fn close(&mut self, key: SocketKey, fd: OwnedFd) -> Orphans {
        each!(self, driver => driver.close(key, fd))
    }

    /// Takes one connection: nonblocking, closed on exec.
    pub(crate) fn accept(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
        each!(self, driver => driver.accept(key, fd))
    }

    /// Starts a connection attempt. `Ok` = connected; `WouldBlock` = wait for the send direction, then `connect_result`.
    pub(crate) fn connect(&mut self, key: SocketKey, fd: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
        each!(self, driver => driver.connect(key, fd, to))
    }

    pub(crate) fn connect_result(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        each!(self, driver => driver.connect_result(key, fd))
    }

    /// Receives. `Ok(0)` for a buffer with room is the end of the stream.
    pub(crate) fn recv(&mut self, key: SocketKey, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        each!(self, driver => driver.recv(key, fd, into))
    }

    pub(crate) fn recv_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        each!(self, driver => driver.recv_vectored(key, fd, into))
    }

    /// Receives without taking.
    pub(crate) fn peek(&mut self, key: SocketKey, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        each!(self, driver => driver.peek(key, fd, into))
    }

    /// Receives into memory of the driver's. `None` is the end of the stream.
    pub(crate) fn recv_chunk(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<Option<Chunk>> {
        each!(self, driver => driver.recv_chunk(key, fd))
    }

    pub(crate) fn send(&mut self, key: SocketKey, fd: BorrowedFd<'_>, from: &[u8]) -> io::Result<usize> {
        each!(self, driver => driver.send(key, fd, from))
    }

    pub(crate) fn send_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        from: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        each!(self, driver => driver.send_vectored(key, fd, from))
    }

    /// Ready when everything accepted by `send` was handed to the kernel.
    pub(crate) fn flush(&mut self, key: SocketKey) -> io::Result<()> {
        each!(self, driver => driver.flush(key))
    }

    pub(crate) fn shutdown(&mut self, key: SocketKey, fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
        each!(self, driver => driver.shutdown(key, fd, how))
    }

    /// Shuts the write side down once everything accepted was sent, with nobody waiting for it.
    pub(crate) fn shutdown_after_sending(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self.shutdown(key, fd, Shutdown::Write) {
            #[cfg(all(feature = "uring", target_os = "linux"))]
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                Driver::Uring(driver) => driver.shut_when_sent(key),
                _ => Err(error),
            },
            answer => answer,
        }
    }

    /// The loop ends: from now on the sockets that are left may be closed without a word.
    pub(crate) fn leave_sockets(&mut self) {
        #[cfg(all(feature = "uring", target_os = "linux"))]
        if let Driver::Uring(driver) = self {
            driver.leave_sockets();
        }
    }

    /// Hands over what is queued, without waiting.
    pub(crate) fn push_out(&mut self) {
        #[cfg(all(feature = "uring", target_os = "linux"))]
        if let Driver::Uring(driver) = self {
            driver.hand_over_all();
        }
    }

    /// True if the descriptor is ready now, asked of the kernel: level-triggered, so nobody has to say when it was drained.
    pub(crate) fn is_ready(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        each!(self, driver => driver.is_ready(key, fd, direction))
    }

    /// Fails if another operation waits in that direction: called before the operation is tried, so that a second reader takes
    /// nothing from the first.
    #[inline]
    pub(crate) fn check_turn(
        &self,
        key: SocketKey,
        direction: Direction,
        op: Option<OpId>,
    ) -> Result<(), Armed> {
        each!(self, driver => driver.check_turn(key, direction, op))
    }

    /// Leaves a waiter after `WouldBlock`. What comes back in `Waiting` is a waiter that was replaced.
    pub(crate) fn arm(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
        op: Option<OpId>,
        waiter: Waiter,
    ) -> io::Result<(OpId, Option<Waiter>)> {
        each!(self, driver => driver.arm(key, fd, direction, op, waiter))
    }

    /// Takes the turn for a callback that is called for as long as the direction is ready. Gives a waiter that was replaced.
    pub(crate) fn begin_watch(
        &mut self,
        key: SocketKey,
        direction: Direction,
        op: OpId,
        waiter: Waiter,
    ) -> io::Result<Option<Waiter>> {
        each!(self, driver => driver.begin_watch(key, direction, op, waiter))
    }

    /// The number of a watch to be.
    pub(crate) fn new_watch(&mut self) -> io::Result<OpId> {
        each!(self, driver => driver.new_watch())
    }

    /// Lets a watch wait. True if the direction is ready now: then it waits for nothing.
    pub(crate) fn arm_watch(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        each!(self, driver => driver.arm_watch(key, fd, direction))
    }

    /// Whoever watches a direction.
    pub(crate) fn watcher(&mut self, key: SocketKey, direction: Direction) -> Option<(OpId, Waiter)> {
        each!(self, driver => driver.watcher(key, direction))
    }

    /// Where a watch stands.
    pub(crate) fn watch_state(&mut self, key: SocketKey, direction: Direction, op: OpId) -> WatchState {
        each!(self, driver => driver.watch_state(key, direction, op))
    }

    /// Ends an operation's turn; gives its waiter if it still stands.
    pub(crate) fn finish(&mut self, key: SocketKey, direction: Direction, op: OpId) -> Option<Waiter> {
        each!(self, driver => driver.finish(key, direction, op))
    }

    /// Hands over what is queued and waits at most `timeout_ns` (`None`: until something happens, 0: not at all).
    pub(crate) fn park(
        &mut self,
        timeout_ns: Option<u64>,
        woken: &mut Vec<(Waiter, Cause)>,
    ) -> io::Result<()> {
        each!(self, driver => driver.park(timeout_ns, woken))
    }
}
