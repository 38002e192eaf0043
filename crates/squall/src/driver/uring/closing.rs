//! The end of sockets, and of the driver.
//!
//! A closed socket's entry stays until the kernel has completed all that names it; what completes too late finds the entry retired and gives back
//! what it brought (a buffer, a descriptor). A stream with bytes still to be sent is *draining*: the driver holds its descriptor until they
//! are the kernel's, within bounds of time and memory, then it is closed; beyond them it is reset.
//!
//! A descriptor's number must not go to another file while a queued operation names it, because the kernel looks it up when it takes the operation in.
//! So descriptors with operations that were not handed over are closed after the next call.

use super::ring::Wait;
use super::{Kind, UringDriver};
use crate::driver::Role;
use crate::driver::socket_table::{Orphans, SocketKey};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Draining sockets are looked at so often,
pub(super) const TICK_SECONDS: u64 = 5;
/// and reset when they have drained for so long: half a minute.
const MOST_TICKS: u32 = 6;
/// Bytes to be sent of all sockets, beyond which a closed one is reset instead of drained.
const MOST_UNSENT: usize = 64 * 1024 * 1024;
/// How long the end of a loop waits for what is to be sent, in pieces: half a second.
const LAST_WAITS: u32 = 50;
const LAST_WAIT: Wait = Wait::Nanoseconds(10_000_000);

impl UringDriver {
    pub(in crate::driver) fn close(&mut self, key: SocketKey, fd: OwnedFd) -> Orphans {
        let Some(orphans) = self.retire(key) else { return [None; 2] };
        let index = key.index();
        self.unwatch(index, fd.as_fd());
        if self.sockets.at(index).role == Role::Listener {
            self.close_listener(index, fd);
            return orphans;
        }
        let socket = socket2::SockRef::from(&fd);
        if self.conn(index).unread() > 0 {
            // The kernel does not know that it was not read, and would close in good order.
            _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.discard_unread(index);
        if self.conn(index).has_unsent() {
            let is_reset = matches!(socket.linger(), Ok(Some(Duration::ZERO)));
            if !is_reset {
                self.push_out(index);
            }
            if is_reset || self.outgoing.unsent() > MOST_UNSENT {
                _ = socket.set_linger(Some(Duration::ZERO));
                self.give_up_sending(index);
            }
        }
        if self.conn(index).has_unsent() {
            self.drain(index, fd);
        } else {
            self.let_go(index, fd);
        }
        orphans
    }

    fn retire(&mut self, key: SocketKey) -> Option<Orphans> {
        let orphans = self.sockets.retire(key)?;
        self.retired += 1;
        self.conn(key.index()).is_retired = true;
        Some(orphans)
    }

    pub(super) fn unwatch(&mut self, index: u32, fd: BorrowedFd<'_>) {
        let entry = self.sockets.at(index);
        if entry.watched().is_some() {
            entry.set_unwatched();
            self.watches.unwatch(fd);
        }
    }

    /// Lets a descriptor go, open. The caller has [settled](Self::settle) it if that matters to what happens next.
    pub(in crate::driver) fn detach(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> Orphans {
        let Some(orphans) = self.retire(key) else { return [None; 2] };
        let index = key.index();
        self.unwatch(index, fd);
        self.discard_unread(index);
        self.give_up_sending(index);
        self.cancel_all(index);
        // Its number is the caller's from now on: nothing that names it may be in the queue.
        self.hand_over_now();
        self.free_if_done(index);
        orphans
    }

    /// Lets a descriptor go that is closed already.
    pub(in crate::driver) fn forget(&mut self, key: SocketKey) -> Orphans {
        let Some(orphans) = self.retire(key) else { return [None; 2] };
        if let Some(fd) = self.sockets.at(key.index()).watched() {
            self.watches.abandon(fd);
        }
        self.cancel_all(key.index());
        self.free_if_done(key.index());
        orphans
    }

    /// Ends what is under way at a socket, so that all that has arrived is here and all that was written is the kernel's.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel has no room for what was written.
    pub(in crate::driver) fn settle(&mut self, key: SocketKey) -> io::Result<()> {
        self.sockets.get(key)?;
        let index = key.index();
        self.stop_receiving(index);
        for _ in 0..LAST_WAITS {
            self.hand_over();
            self.ring.enter(Wait::Not)?;
            self.reap()?;
            if !self.conn(index).is_receiving() {
                break;
            }
            self.ring.enter(LAST_WAIT)?;
        }
        if self.conn(index).has_unsent() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    fn close_listener(&mut self, index: u32, fd: OwnedFd) {
        self.cancel_all(index);
        // Its address is free when this returns, as it is when a descriptor is closed.
        self.hand_over_now();
        self.let_go(index, fd);
    }

    /// Hands over all that is queued, and takes what that completes.
    fn hand_over_now(&mut self) {
        for _ in 0..LAST_WAITS {
            let is_taken_in = self.ring.enter(Wait::Not).is_ok();
            if !is_taken_in || self.reap().is_err() || self.ring.is_handed_over() {
                return;
            }
        }
    }

    fn discard_unread(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        let piece = std::mem::replace(&mut conn.piece, super::buffers::Piece::NONE);
        let rest = conn.rest().len();
        conn.advance_if_any(rest);
        if piece.len > 0 {
            self.buffers.as_ref().expect("it stays while the driver does").release(piece);
        }
    }

    fn cancel_all(&mut self, index: u32) {
        self.stop_receiving(index);
        if let Some(more) = self.conn(index).more.as_mut() {
            let is_connecting =
                more.connecting.as_ref().is_some_and(|connecting| connecting.result.is_none());
            let places = more.accepting.as_mut().map(|accepting| {
                accepting.is_cancelling = true;
                // What was accepted and not taken is closed, as the backlog of a listener is.
                accepting.ready.clear();
                accepting.places_under_way()
            });
            for place in places.into_iter().flatten() {
                self.cancel(index, Kind::Accept, place);
            }
            if is_connecting {
                self.cancel(index, Kind::Connect, 0);
            }
        }
    }

    /// Ends what is under way and closes the descriptor, now or as soon as nothing queued names it.
    fn let_go(&mut self, index: u32, fd: OwnedFd) {
        let may_be_queued = self.conn(index).in_flight > 0 && !self.ring.is_handed_over();
        self.cancel_all(index);
        if may_be_queued {
            self.to_close.push(fd);
        } else {
            drop(fd);
        }
        self.free_if_done(index);
    }

    fn free_if_done(&mut self, index: u32) {
        let conn = self.conn(index);
        if conn.is_retired && conn.in_flight == 0 && !conn.is_draining() {
            self.free(index);
        }
    }

    /// Nothing names the entry any more.
    pub(super) fn free(&mut self, index: u32) {
        let conn = std::mem::replace(self.conn(index), super::Conn::new());
        self.outgoing.release(conn.queued);
        self.outgoing.release(conn.flying);
        self.retired -= 1;
        self.sockets.release(index);
    }

    // --- draining ------------------------------------------------------------------------------------------------

    fn drain(&mut self, index: u32, fd: OwnedFd) {
        self.stop_receiving(index);
        let since = self.ticks;
        self.conn(index).more().draining = Some((fd, since));
        self.draining.push(index);
        self.start_ticking();
    }

    /// All is sent, or nothing more can be.
    pub(super) fn finish_draining(&mut self, index: u32) {
        let Some((fd, _)) = self.conn(index).more().draining.take() else { return };
        self.draining.retain(|draining| *draining != index);
        self.cancel_all(index);
        self.to_close.push(fd);
    }

    fn start_ticking(&mut self) {
        if !self.is_ticking && !self.is_ending {
            self.is_ticking = true;
            let entry = opcode::Timeout::new(&raw const *self.tick).build();
            // SAFETY: the time is boxed and stays while the driver does.
            unsafe { self.ring.push(entry.user_data(Kind::Tick.of(0, 0))) };
        }
    }

    /// Resets those that have drained for too long.
    pub(super) fn tick(&mut self) {
        self.is_ticking = false;
        self.ticks = self.ticks.wrapping_add(1);
        let ticks = self.ticks;
        for index in self.draining.clone() {
            let draining = self.conn(index).more().draining.as_ref();
            if draining.is_some_and(|(_, since)| ticks.wrapping_sub(*since) >= MOST_TICKS) {
                self.reset(index);
            }
        }
        if !self.draining.is_empty() {
            self.start_ticking();
        }
    }

    fn reset(&mut self, index: u32) {
        if let Some((fd, _)) = &self.conn(index).more().draining {
            _ = socket2::SockRef::from(fd).set_linger(Some(Duration::ZERO));
        }
        self.give_up_sending(index);
        if self.conn(index).flying.is_none() {
            self.finish_draining(index);
            self.free_if_done(index);
        } else {
            // Its completion finishes.
            self.cancel(index, Kind::Send, 0);
        }
    }

    // --- the driver's end ----------------------------------------------------------------------------------------

    fn end(&mut self) -> io::Result<()> {
        for _ in 0..LAST_WAITS {
            self.hand_over();
            self.ring.enter(Wait::Not)?;
            self.reap()?;
            if self.draining.is_empty() {
                break;
            }
            self.ring.enter(LAST_WAIT)?;
        }
        for index in self.draining.clone() {
            self.reset(index);
        }
        self.is_ending = true;
        let everything = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        // SAFETY: it points to nothing.
        unsafe { self.ring.push(everything.user_data(Kind::Cancel.of(0, 0))) };
        for _ in 0..LAST_WAITS {
            self.ring.enter(Wait::Not)?;
            self.reap()?;
            if self.ring.outstanding() == 0 {
                break;
            }
            self.ring.enter(LAST_WAIT)?;
        }
        Ok(())
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            // The rings are the parent's, whose operations go on: nothing is taken from them. The memory here is a copy.
            self.conns.iter_mut().for_each(|conn| conn.abandon());
            return;
        }
        let ended = self.end();
        self.to_close.clear();
        if ended.is_ok() && self.ring.outstanding() == 0 {
            if let Some(buffers) = &self.buffers {
                buffers.unregister(&self.ring.submitter());
            }
            return;
        }
        // The kernel may still write or read: the memory must stay for as long as the process does.
        eprintln!(
            "squall: {} operations of an event loop could not be ended; its memory is kept",
            self.ring.outstanding()
        );
        if let Some(buffers) = self.buffers.take() {
            buffers.leak();
        }
        std::mem::forget((
            std::mem::take(&mut self.conns),
            std::mem::take(&mut self.outgoing),
            std::mem::replace(&mut self.tick, Box::new(types::Timespec::new())),
        ));
    }
}
