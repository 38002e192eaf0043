//! Receiving: what has arrived is handed out first; only then is the kernel asked, or waited for.

use super::buffers::{GROUP, Piece};
use super::conn::{Conn, Flight};
use super::{Kind, LARGE, MOST_UNREAD, UringDriver};
use crate::driver::chunk::Chunk;
use crate::driver::direct;
use crate::driver::socket_table::SocketKey;
use io_uring::{opcode, squeue, types};
use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

/// Receives below this size, so many in a row, bring a direct stream back to the ring of buffers.
const SMALL: usize = 2 * 1024;
const SMALL_IN_A_ROW: u8 = 64;

/// What a receive does.
enum From {
    /// Something has arrived.
    Memory,
    /// Nothing has, and nothing is under way that could bring an earlier byte: a system call may try.
    Kernel,
}

impl UringDriver {
    pub(in crate::driver) fn recv(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        into: &mut [u8],
    ) -> io::Result<usize> {
        match self.source(key, into.len())? {
            Err(known) => Ok(known),
            Ok(From::Memory) => Ok(self.read(key, into)),
            Ok(From::Kernel) => {
                let n = direct::recv(&mut self.sockets, key, fd, into)?;
                self.note_size(key, fd, n);
                Ok(n)
            }
        }
    }

    pub(in crate::driver) fn recv_vectored(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> io::Result<usize> {
        match self.source(key, into.iter().map(|slice| slice.len()).sum())? {
            Err(known) => Ok(known),
            Ok(From::Memory) => {
                let mut total = 0;
                for slice in into {
                    let n = self.read(key, slice);
                    total += n;
                    if n < slice.len() {
                        break;
                    }
                }
                Ok(total)
            }
            Ok(From::Kernel) => direct::recv_vectored(&mut self.sockets, key, fd, into),
        }
    }

    pub(in crate::driver) fn peek(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        into: &mut [u8],
    ) -> io::Result<usize> {
        match self.source(key, into.len())? {
            Err(known) => Ok(known),
            Ok(From::Memory) => {
                let conn = &self.conns[key.index() as usize];
                let piece = conn.piece;
                let mut n = 0;
                if piece.len > 0 {
                    n = into.len().min(piece.len as usize);
                    self.ring_of_buffers().read(piece, |bytes| into[..n].copy_from_slice(&bytes[..n]));
                }
                let rest = self.conns[key.index() as usize].rest();
                let more = rest.len().min(into.len() - n);
                into[n..n + more].copy_from_slice(&rest[..more]);
                Ok(n + more)
            }
            Ok(From::Kernel) => direct::peek(self.sockets.get(key)?, fd, into),
        }
    }

    pub(in crate::driver) fn recv_chunk(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
    ) -> io::Result<Option<Chunk>> {
        match self.source(key, 1)? {
            Err(_) => Ok(None),
            Ok(From::Memory) => {
                let index = key.index();
                let piece = std::mem::replace(&mut self.conn(index).piece, Piece::NONE);
                if piece.len > 0 {
                    let lent = self.ring_of_buffers().lend(piece);
                    self.note_drained(key);
                    return Ok(Some(Chunk::of_ring(lent)));
                }
                let UringDriver { conns, chunks, .. } = self;
                let conn = &mut conns[index as usize];
                let chunk = chunks.fill(|into| {
                    let n = conn.rest().len().min(into.len());
                    into[..n].copy_from_slice(&conn.rest()[..n]);
                    conn.advance(n);
                    Ok::<usize, io::Error>(n)
                });
                self.note_drained(key);
                chunk
            }
            Ok(From::Kernel) => {
                let chunk = direct::recv_chunk(&mut self.sockets, &self.chunks, key, fd)?;
                self.note_size(key, fd, chunk.as_ref().map_or(0, |chunk| chunk.len()));
                Ok(chunk)
            }
        }
    }

    /// Where the next bytes come from. `Err`: there are none, and this is what a receive gives.
    #[inline]
    fn source(&mut self, key: SocketKey, room: usize) -> io::Result<Result<From, usize>> {
        let entry = self.sockets.get(key)?;
        if let Some(known) = entry.state.before_recv(room) {
            return known.map(Err);
        }
        let conn = &self.conns[key.index() as usize];
        if conn.piece.len > 0 || conn.unread() > 0 {
            return Ok(Ok(From::Memory));
        }
        if let Some(answer) = conn.ended.answer() {
            return entry.state.after_recv(answer.map_err(io::Error::from_raw_os_error)).map(Err);
        }
        if conn.is_receiving() {
            entry.ready_recv = false;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !conn.is_direct {
            // Nobody watches, so nobody would say that it is ready.
            entry.ready_recv = true;
        }
        Ok(Ok(From::Kernel))
    }

    fn ring_of_buffers(&self) -> &super::BufferRing {
        self.buffers.as_ref().expect("made with the driver, and taken apart with it")
    }

    /// Copies out what has arrived.
    fn read(&mut self, key: SocketKey, into: &mut [u8]) -> usize {
        let index = key.index();
        let mut piece = self.conn(index).piece;
        let mut done = 0;
        if piece.len > 0 {
            done = into.len().min(piece.len as usize);
            self.ring_of_buffers().read(piece, |bytes| into[..done].copy_from_slice(&bytes[..done]));
            piece.start += done as u32;
            piece.len -= done as u32;
            if piece.len == 0 {
                self.ring_of_buffers().release(piece);
            }
            self.conn(index).piece = piece;
        }
        let conn = self.conn(index);
        let more = conn.rest().len().min(into.len() - done);
        if more > 0 {
            into[done..done + more].copy_from_slice(&conn.rest()[..more]);
            conn.advance(more);
        }
        self.note_drained(key);
        done + more
    }

    /// Whether there is more to read without waiting, for those who watch.
    #[inline]
    fn note_drained(&mut self, key: SocketKey) {
        let conn = &self.conns[key.index() as usize];
        let has_more = conn.unread() > 0 || conn.ended.answer().is_some() || !conn.is_receiving();
        self.sockets.at(key.index()).ready_recv = has_more;
    }

    /// A system call has received so much: is this the right way for this stream?
    #[inline]
    fn note_size(&mut self, key: SocketKey, fd: BorrowedFd<'_>, bytes: usize) {
        let conn = self.conn(key.index());
        if bytes >= LARGE {
            conn.is_direct = true;
            conn.small = 0;
        } else if conn.is_direct && bytes < SMALL {
            conn.small = (conn.small + 1).min(SMALL_IN_A_ROW);
            // Who waits for readiness now would wait for ever: then a later receive does it.
            if conn.small == SMALL_IN_A_ROW && !self.sockets.at(key.index()).is_waited_at() {
                self.leave_direct(key.index(), fd);
            }
        } else {
            conn.small = 0;
        }
    }

    fn leave_direct(&mut self, index: u32, fd: BorrowedFd<'_>) {
        let conn = self.conn(index);
        (conn.is_direct, conn.small) = (false, 0);
        self.unwatch(index, fd);
    }

    /// System calls for this stream from now on.
    pub(super) fn go_direct(&mut self, index: u32) {
        let conn = self.conn(index);
        conn.is_direct = true;
        self.stop_receiving(index);
    }

    /// Lets the kernel receive on its own account.
    pub(super) fn arm_receive(&mut self, index: u32) {
        let conn = self.conn(index);
        conn.recv = Flight::Armed;
        let fd = types::Fd(conn.fd);
        self.sockets.at(index).is_received = true;
        let entry = if self.limits.is_multishot {
            opcode::RecvMulti::new(fd, GROUP).build()
        } else {
            let once = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).build();
            once.flags(squeue::Flags::BUFFER_SELECT)
        };
        // SAFETY: it receives into the ring of buffers, which stays until nothing is in flight.
        unsafe { self.push(index, Kind::Recv, 0, entry) };
    }

    pub(super) fn stop_receiving(&mut self, index: u32) {
        if self.conn(index).recv == Flight::Armed {
            self.conn(index).recv = Flight::Cancelling;
            self.cancel(index, Kind::Recv, 0);
        }
    }

    /// Bytes have arrived in a piece of a buffer.
    pub(super) fn arrive(&mut self, index: u32, piece: Piece) {
        let buffers = self.buffers.as_ref().expect("made with the driver, and taken apart with it");
        let conn: &mut Conn = &mut self.conns[index as usize];
        let has_rest = !conn.rest().is_empty();
        let last = conn.piece;
        if last.len == 0 && !has_rest && !buffers.is_scarce() {
            conn.piece = piece;
        } else if last.len > 0
            && !has_rest
            && (last.buffer, last.start + last.len) == (piece.buffer, piece.start)
        {
            conn.piece.len += piece.len;
            // One piece now, so one loan.
            buffers.release(piece);
        } else {
            // A socket keeps one piece of the ring: nobody who does not read can take it from the others.
            buffers.read(piece, |bytes| conn.append(bytes));
            buffers.release(piece);
        }
        let unread = conn.unread();
        if piece.len as usize >= LARGE {
            self.go_direct(index);
        } else if unread >= MOST_UNREAD {
            self.stop_receiving(index);
        }
    }

    /// What has arrived and was not read.
    pub(in crate::driver) fn take_unread(&mut self, key: SocketKey) -> Vec<u8> {
        let mut unread = Vec::new();
        if self.sockets.get(key).is_ok() {
            unread = vec![0; self.conn(key.index()).unread()];
            self.read(key, &mut unread);
        }
        unread
    }

    /// Puts back what another loop's driver had received.
    pub(in crate::driver) fn put_unread(&mut self, key: SocketKey, bytes: &[u8]) -> io::Result<()> {
        self.sockets.get(key)?;
        if !bytes.is_empty() {
            self.conn(key.index()).append(bytes);
        }
        Ok(())
    }
}
