//! What completions do: state of sockets changes, waiters are collected to be woken. No user code runs here.

use super::conn::{Ended, Flight};
use super::outgoing::SendId;
use super::ring::{Completion, Wait};
use super::{Kind, UringDriver};
use crate::driver::direct;
use crate::driver::socket::Direction;
use std::io;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

impl UringDriver {
    /// Takes all completions that are there.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        loop {
            let mut completions = std::mem::take(&mut self.completions);
            self.ring.take(&mut completions);
            let found = completions.len();
            for completion in completions.drain(..) {
                self.complete(completion);
            }
            self.completions = completions;
            if self.ring.has_overflowed() {
                // The kernel kept what found no room; there is room now.
                self.ring.enter(Wait::Not)?;
            } else if found == 0 {
                return Ok(());
            }
        }
    }

    fn complete(&mut self, completion: Completion) {
        let kind = Kind::ALL[(completion.user_data >> 56) as usize];
        let (index, place) = (completion.user_data as u32, (completion.user_data >> 32) as u8);
        let has_more = completion.has_more();
        if !has_more {
            self.ring.is_finished();
        }
        match kind {
            Kind::Cancel => return,
            Kind::Notifier => {
                self.notifier.drain();
                if !has_more && !self.is_ending {
                    self.watch_notifier();
                }
                return;
            }
            Kind::Watches => {
                self.is_listening = false;
                return;
            }
            Kind::Tick => return self.tick(),
            _ => {}
        }
        if !has_more {
            self.conn(index).in_flight -= 1;
        }
        match kind {
            Kind::Recv => self.received(index, completion),
            Kind::Send => self.sent(index, completion.result),
            Kind::Accept => self.accepted(index, place, completion.result),
            _ => self.connected(index, completion.result),
        }
        let conn = self.conn(index);
        if conn.is_retired && conn.in_flight == 0 && !conn.is_draining() {
            self.free(index);
        }
    }

    fn received(&mut self, index: u32, completion: Completion) {
        let is_retired = self.conn(index).is_retired;
        if !completion.has_more() {
            self.conn(index).recv = Flight::Idle;
            self.sockets.at(index).is_received = false;
        }
        let result = completion.result;
        if let Some((buffer, has_more_room)) = completion.buffer() {
            let buffers = self.buffers.as_mut().expect("it stays while a receive is in flight");
            let piece = buffers.take(buffer, result.max(0) as u32, has_more_room);
            if piece.len == 0 || is_retired {
                buffers.release(piece);
            } else {
                self.arrive(index, piece);
            }
        }
        if is_retired {
            return;
        }
        self.conn(index).is_doubtful = result < 0;
        match -result {
            ..0 => {}
            0 => self.conn(index).ended = Ended::STREAM,
            // All buffers are in use. Whoever reads next does it by a system call.
            libc::ENOBUFS => self.buffers.as_mut().expect("as above").note_shortage(),
            libc::ECANCELED | libc::EINTR | libc::EAGAIN | libc::ENOMEM => {}
            errno => self.conn(index).ended = Ended::failed(errno),
        }
        self.sockets.at(index).mark_ready(Direction::Recv, &mut self.woken);
    }

    fn sent(&mut self, index: u32, result: i32) {
        let flying = self.conn(index).flying;
        let is_done = match result {
            0.. => self.outgoing.advance(flying, result as usize),
            // Passing troubles: it is tried again.
            _ if matches!(-result, libc::EINTR | libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS) => false,
            _ => {
                self.fail_sending(index, -result);
                true
            }
        };
        let gives_up = self.is_ending || self.conn(index).is_reset();
        if !is_done && !gives_up {
            return self.fly(index);
        }
        self.outgoing.release(flying);
        let conn = self.conn(index);
        conn.flying = std::mem::replace(&mut conn.queued, SendId::NONE);
        if !conn.flying.is_none() && self.is_ending {
            let left = std::mem::replace(&mut self.conn(index).flying, SendId::NONE);
            self.outgoing.release(left);
        }
        let conn = self.conn(index);
        if !conn.flying.is_none() {
            self.fly(index);
        } else if conn.is_draining() {
            return self.finish_draining(index);
        } else if conn.is_shutting {
            conn.is_shutting = false;
            // SAFETY: the socket is not retired, so its owner holds the descriptor open.
            let fd = unsafe { BorrowedFd::borrow_raw(conn.fd) };
            // What stands in the way has stuck to the direction.
            _ = direct::shutdown(self.sockets.at(index), fd, Shutdown::Write);
        }
        self.sockets.at(index).mark_ready(Direction::Send, &mut self.woken);
    }

    fn accepted(&mut self, index: u32, place: u8, result: i32) {
        let conn = &mut self.conns[index as usize];
        let is_retired = conn.is_retired;
        let accepting = conn.more().accepting.as_mut().expect("it stays while an accept is in flight");
        let peer = accepting.finish(place);
        if result >= 0 {
            // SAFETY: the kernel has made this descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            match peer {
                Ok(peer) if !is_retired => accepting.ready.push_back((fd, peer)),
                // Nobody will take it, or the peer has gone again.
                _ => drop(fd),
            }
        } else {
            match -result {
                libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN => {}
                errno => accepting.error = Some(errno),
            }
        }
        if !is_retired {
            self.conn(index).is_doubtful = true;
            self.sockets.at(index).mark_ready(Direction::Recv, &mut self.woken);
        }
    }

    fn connected(&mut self, index: u32, result: i32) {
        let conn = self.conn(index);
        let is_retired = conn.is_retired;
        if let Some(connecting) = &mut conn.more().connecting {
            connecting.result = Some(-result);
        }
        if !is_retired {
            self.sockets.at(index).mark_ready(Direction::Send, &mut self.woken);
        }
    }
}
