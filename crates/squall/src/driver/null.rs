//! No outside world: the driver of a loop under virtual time until there is a simulated one. Timers and tasks work; sockets
//! are refused, because data from a real network would arrive at times that virtual time knows nothing of.

use super::{Armed, Cause, Chunk, Direction, IoTotals, OpId, Orphans, Role, SocketKey, Waiter, WatchState};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

pub(crate) struct NullDriver {
    next_generation: u64,
}

#[cold]
fn refused() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "real sockets cannot be used under virtual time: mark the test #[squall::test(real)], or build the loop without virtual_time()",
    )
}

#[rustfmt::skip]
impl NullDriver {
    pub(super) fn new(first_generation: u64) -> NullDriver {
        NullDriver { next_generation: first_generation }
    }

    pub(super) fn next_generation(&self) -> u64 { self.next_generation }
    pub(super) fn sockets(&self) -> usize { 0 }
    pub(super) fn totals(&self) -> IoTotals { IoTotals::default() }
    pub(super) fn settle(&mut self, _: SocketKey) -> io::Result<()> { Ok(()) }
    pub(super) fn take_unread(&mut self, _: SocketKey) -> Vec<u8> { Vec::new() }
    pub(super) fn put_unread(&mut self, _: SocketKey, _: &[u8]) -> io::Result<()> { Err(refused()) }
    pub(super) fn attach(&mut self, _: Role) -> io::Result<SocketKey> { Err(refused()) }
    pub(super) fn detach(&mut self, _: SocketKey, _: BorrowedFd<'_>) -> Orphans { [None; 2] }
    pub(super) fn forget(&mut self, _: SocketKey) -> Orphans { [None; 2] }
    pub(super) fn close(&mut self, _: SocketKey, _: OwnedFd) -> Orphans { [None; 2] }
    pub(super) fn accept(&mut self, _: SocketKey, _: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> { Err(refused()) }
    pub(super) fn connect(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: SocketAddr) -> io::Result<()> { Err(refused()) }
    pub(super) fn connect_result(&mut self, _: SocketKey, _: BorrowedFd<'_>) -> io::Result<()> { Err(refused()) }
    pub(super) fn recv(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<usize> { Err(refused()) }
    pub(super) fn recv_vectored(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: &mut [IoSliceMut<'_>]) -> io::Result<usize> { Err(refused()) }
    pub(super) fn peek(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: &mut [u8]) -> io::Result<usize> { Err(refused()) }
    pub(super) fn recv_chunk(&mut self, _: SocketKey, _: BorrowedFd<'_>) -> io::Result<Option<Chunk>> { Err(refused()) }
    pub(super) fn send(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: &[u8]) -> io::Result<usize> { Err(refused()) }
    pub(super) fn send_vectored(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: &[IoSlice<'_>]) -> io::Result<usize> { Err(refused()) }
    pub(super) fn flush(&mut self, _: SocketKey) -> io::Result<()> { Err(refused()) }
    pub(super) fn shutdown(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: Shutdown) -> io::Result<()> { Err(refused()) }
    pub(super) fn is_ready(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: Direction) -> io::Result<bool> { Err(refused()) }
    pub(super) fn check_turn(&self, _: SocketKey, _: Direction, _: Option<OpId>) -> Result<(), Armed> { Ok(()) }
    pub(super) fn arm(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: Direction, _: Option<OpId>, _: Waiter) -> io::Result<(OpId, Option<Waiter>)> { Err(refused()) }
    pub(super) fn finish(&mut self, _: SocketKey, _: Direction, _: OpId) -> Option<Waiter> { None }
    pub(super) fn new_watch(&mut self) -> io::Result<OpId> { Err(refused()) }
    pub(super) fn begin_watch(&mut self, _: SocketKey, _: Direction, _: OpId, _: Waiter) -> io::Result<Option<Waiter>> { Err(refused()) }
    pub(super) fn arm_watch(&mut self, _: SocketKey, _: BorrowedFd<'_>, _: Direction) -> io::Result<bool> { Err(refused()) }
    pub(super) fn watcher(&mut self, _: SocketKey, _: Direction) -> Option<(OpId, Waiter)> { None }
    pub(super) fn watch_state(&mut self, _: SocketKey, _: Direction, _: OpId) -> WatchState { WatchState::Gone }
    /// A loop on this driver sleeps on its bell, never here.
    pub(super) fn park(&mut self, _: Option<u64>, _: &mut Vec<(Waiter, Cause)>) -> io::Result<()> { Ok(()) }
}
