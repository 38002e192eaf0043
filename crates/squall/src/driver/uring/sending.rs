//! Sending: small writes are taken into memory of the driver's and leave together when the turn ends; large ones go to the kernel at once.

use super::conn::Conn;
use super::outgoing::SendId;
use super::{Kind, LARGE, UringDriver};
use crate::driver::direct;
use crate::driver::socket_table::SocketKey;
use io_uring::{opcode, types};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;

impl UringDriver {
    #[inline]
    pub(in crate::driver) fn send(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        from: &[u8],
    ) -> io::Result<usize> {
        let entry = self.sockets.get(key)?;
        if let Some(known) = entry.state.before_send(from.len()) {
            return known;
        }
        if self.goes_at_once(key.index(), from.len()) {
            let n = direct::send(self.sockets.get(key)?, fd, from);
            self.note_write(key, &n, from.len());
            return n;
        }
        self.note_descriptor(key, fd)?;
        self.queue(key.index(), from)
    }

    pub(in crate::driver) fn send_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        from: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let bytes = from.iter().map(|slice| slice.len()).sum();
        let entry = self.sockets.get(key)?;
        if let Some(known) = entry.state.before_send(bytes) {
            return known;
        }
        if self.goes_at_once(key.index(), bytes) {
            let n = direct::send_vectored(self.sockets.get(key)?, fd, from);
            self.note_write(key, &n, bytes);
            return n;
        }
        self.note_descriptor(key, fd)?;
        let mut total = 0;
        for slice in from.iter().filter(|slice| !slice.is_empty()) {
            match self.queue(key.index(), slice) {
                Ok(n) => {
                    total += n;
                    if n < slice.len() {
                        break;
                    }
                }
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(total)
    }

    /// A system call for this write, with nothing to be sent before it.
    #[inline]
    fn goes_at_once(&self, index: u32, bytes: usize) -> bool {
        let conn = &self.conns[index as usize];
        (conn.is_direct || bytes >= LARGE) && !conn.has_unsent()
    }

    /// The kernel took a part of a large write, or nothing: from now on readiness tells when there is room.
    fn note_write(&mut self, key: SocketKey, answer: &io::Result<usize>, bytes: usize) {
        let is_short = match answer {
            Ok(n) => *n < bytes,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        // (In a child process, where a write comes so far before it is refused, the queue is the parent's, in shared memory.)
        if is_short && !self.conn(key.index()).is_direct && self.owner == std::process::id() {
            self.go_direct(key.index());
        }
    }

    /// Takes as much as there is room for.
    #[inline]
    fn queue(&mut self, index: u32, from: &[u8]) -> io::Result<usize> {
        let UringDriver { conns, outgoing, dirty, .. } = self;
        let conn: &mut Conn = &mut conns[index as usize];
        let (queued, taken) = outgoing.append(conn.queued, from);
        conn.queued = queued;
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if conn.flying.is_none() && !conn.is_dirty {
            conn.is_dirty = true;
            dirty.push(index);
        }
        Ok(taken)
    }

    /// Queues the sends of this turn.
    #[inline]
    pub(super) fn hand_over(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let conn = self.conn(index);
            conn.is_dirty = false;
            if conn.flying.is_none() && !conn.queued.is_none() {
                conn.flying = std::mem::replace(&mut conn.queued, SendId::NONE);
                self.fly(index);
            }
        }
        // Its memory is kept for the next turn.
        self.dirty = dirty;
    }

    /// Lets the kernel send what is in flight, as much as there is room for; the completion sends the rest. (With `MSG_WAITALL` the kernel would go on
    /// by itself, but a reset in the midst of it would be told as a short send and as nothing else: the reader would take the end for a clean one.)
    pub(super) fn fly(&mut self, index: u32) {
        let conn = &self.conns[index as usize];
        let bytes = self.outgoing.rest(conn.flying);
        let bytes = &bytes[..bytes.len().min(self.limits.most_per_send as usize)];
        let entry = opcode::Send::new(types::Fd(conn.fd), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        // SAFETY: a buffer in flight stays as it is until its completion (see `outgoing`).
        unsafe { self.push(index, Kind::Send, 0, entry) };
    }

    pub(in crate::driver) fn flush(&mut self, key: SocketKey) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        entry.state.flush()?;
        if !self.conn(key.index()).has_unsent() {
            return Ok(());
        }
        self.push_out(key.index());
        self.sockets.get(key)?.state.flush()?;
        if self.conn(key.index()).has_unsent() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// Sends what is queued by a system call, as far as that goes without waiting and nothing is in flight before it.
    pub(super) fn push_out(&mut self, index: u32) {
        let conn = &self.conns[index as usize];
        let (queued, fd) = (conn.queued, conn.fd);
        if !conn.flying.is_none() || queued.is_none() {
            return;
        }
        // SAFETY: the descriptor is the socket's, which is open: its owner, or the driver if it drains, holds it.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let entry = self.sockets.at(index);
        entry.ready_send = true;
        match direct::send(entry, fd, self.outgoing.rest(queued)) {
            Ok(n) => {
                if self.outgoing.advance(queued, n) {
                    self.outgoing.release(queued);
                    self.conn(index).queued = SendId::NONE;
                }
            }
            Err(error) => {
                // A passing trouble leaves it queued: it goes with the turn.
                if self.sockets.at(index).state.flush().is_err() {
                    self.give_up_sending(index);
                } else if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS)) {
                    self.fail_sending(index, error.raw_os_error().unwrap_or(libc::EIO));
                }
            }
        }
        let entry = self.sockets.at(index);
        entry.ready_send = true;
    }

    pub(super) fn fail_sending(&mut self, index: u32, errno: i32) {
        self.sockets.at(index).state.fail_send(errno);
        self.give_up_sending(index);
    }

    /// Nothing more of this socket's is sent. (What is in flight is given back by its completion.)
    pub(super) fn give_up_sending(&mut self, index: u32) {
        let queued = std::mem::replace(&mut self.conn(index).queued, SendId::NONE);
        self.outgoing.release(queued);
    }

    /// The write half is gone, with bytes that found no room yet.
    pub(in crate::driver) fn shut_when_sent(&mut self, key: SocketKey) -> io::Result<()> {
        self.sockets.get(key)?;
        self.conn(key.index()).is_shutting = true;
        Ok(())
    }

    pub(in crate::driver) fn shutdown(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        how: Shutdown,
    ) -> io::Result<()> {
        if how != Shutdown::Read {
            match self.flush(key) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // Of a direction that has failed, the table of outcomes knows what to say.
                _ => {}
            }
        }
        direct::shutdown(self.sockets.get(key)?, fd, how)
    }
}
