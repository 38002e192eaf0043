//! Accepting: a fixed number of accepts lies in the kernel for each listener that is waited at, each with memory for its peer's address.
//!
//! One multishot accept was rejected: the kernel takes all that the backlog holds at once (up to the completions that fit), so the number of
//! connections that are accepted and not yet taken has no bound of ours; and it tells no addresses, which costs a system call for each
//! connection. So many single accepts go in with the same system call and bound it.
//!
//! # Invariant
//! A place's memory is written by the kernel from when its accept is queued until its completion was taken. It is a heap allocation of its own, reached by
//! raw pointer only, and freed with the socket's entry, which goes after the last completion.

use super::{Kind, UringDriver};
use crate::driver::direct;
use crate::driver::socket_table::SocketKey;
use io_uring::{opcode, types};
use socket2::{SockAddr, SockAddrStorage};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// Connections that may be accepted and not yet taken.
pub(super) const MOST: usize = 16;

struct Place {
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

pub(super) struct Accepting {
    places: NonNull<[Place; MOST]>,
    /// A bit for each place whose accept is under way.
    under_way: u16,
    pub(super) is_cancelling: bool,
    pub(super) ready: VecDeque<(OwnedFd, SocketAddr)>,
    pub(super) error: Option<i32>,
}

impl Accepting {
    pub(super) fn new() -> Accepting {
        let places = Box::new(std::array::from_fn(|_| Place { storage: SockAddrStorage::zeroed(), len: 0 }));
        Accepting {
            places: NonNull::from(Box::leak(places)),
            under_way: 0,
            is_cancelling: false,
            ready: VecDeque::new(),
            error: None,
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way != 0
    }

    /// Numbers of the places whose accepts are under way.
    pub(super) fn places_under_way(&self) -> impl Iterator<Item = u8> + use<> {
        let under_way = self.under_way;
        (0..MOST as u8).filter(move |place| under_way & 1 << place != 0)
    }

    /// In a child process: the parent's kernel operations do not write here.
    pub(super) fn abandon(&mut self) {
        self.under_way = 0;
    }

    /// A place for one more accept, if the bound allows it.
    pub(super) fn begin(&mut self) -> Option<(u8, *mut libc::sockaddr, *mut libc::socklen_t)> {
        if self.ready.len() + self.under_way.count_ones() as usize >= MOST || self.is_cancelling {
            return None;
        }
        let number = (!self.under_way).trailing_zeros() as u8;
        self.under_way |= 1 << number;
        // SAFETY: the place is free (its bit was not set), so nobody else uses it.
        unsafe {
            let place = &raw mut (*self.places.as_ptr())[usize::from(number)];
            (*place).storage = SockAddrStorage::zeroed();
            (*place).len = size_of::<SockAddrStorage>() as libc::socklen_t;
            Some((number, (&raw mut (*place).storage).cast(), &raw mut (*place).len))
        }
    }

    /// Its completion was taken: the peer's address, if the kernel wrote one.
    pub(super) fn finish(&mut self, number: u8) -> io::Result<SocketAddr> {
        self.under_way &= !(1 << number);
        // SAFETY: the kernel is done with the place; it has written an address and its length, or nothing, which is the address of no family.
        let address = unsafe {
            let place = &raw const (*self.places.as_ptr())[usize::from(number)];
            SockAddr::new((&raw const (*place).storage).read(), (*place).len)
        };
        address.as_socket().ok_or_else(|| io::Error::other("the peer has no address"))
    }
}

impl UringDriver {
    pub(in crate::driver) fn accept(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
    ) -> io::Result<(OwnedFd, SocketAddr)> {
        let entry = self.sockets.get(key)?;
        if let Some(accepting) = self.conns[key.index() as usize].more().accepting.as_mut() {
            if let Some(accepted) = accepting.ready.pop_front() {
                return Ok(accepted);
            }
            if let Some(errno) = accepting.error.take() {
                return Err(io::Error::from_raw_os_error(errno));
            }
            if accepting.is_under_way() {
                entry.ready_recv = false;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        entry.ready_recv = true;
        direct::accept(entry, fd)
    }

    /// Lets as many accepts lie in the kernel as the bound allows.
    pub(super) fn arm_accepts(&mut self, index: u32) {
        loop {
            let conn = self.conn(index);
            let fd = types::Fd(conn.fd);
            let Some((place, address, len)) =
                conn.more().accepting.get_or_insert_with(Accepting::new).begin()
            else {
                return;
            };
            let entry =
                opcode::Accept::new(fd, address, len).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build();
            // SAFETY: the place is this accept's until its completion (see `accepting`).
            unsafe { self.push(index, Kind::Accept, place, entry) };
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        debug_assert!(!self.is_under_way(), "the kernel still writes here");
        // SAFETY: made by `Box::leak`, and no accept is under way (see the invariant).
        drop(unsafe { Box::from_raw(self.places.as_ptr()) });
    }
}
