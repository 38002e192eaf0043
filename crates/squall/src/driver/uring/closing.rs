//! The end of sockets, and of the driver.
//!
//! A closed socket's entry stays until the kernel has completed all that names it; what completes too late finds the entry retired and gives back
//! what it brought (a buffer, a descriptor). A stream with bytes still to be sent is *draining*: the driver holds its descriptor until they
//! are the kernel's, within bounds of time and memory, then it is closed; beyond them it is reset.
//!
//! A descriptor's number must not go to another file while a queued operation names it, because the kernel looks it up when it takes the operation in.
//! So descriptors with operations that were not handed over are closed after the next call.

use super::conn::Draining;
use super::ring::Wait;
use super::{Kind, UringDriver};
use crate::driver::Role;
use crate::driver::socket_table::{Orphans, SocketKey};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Draining sockets are looked at so often,
pub(super) const TICK_SECONDS: u64 = 5;
/// and reset when they have drained for so long: half a minute.
pub(super) const MOST_TICKS: u32 = 6;
/// How long the end of a loop waits for what is to be sent, and then for what was cancelled.
const LAST_WAIT: Duration = Duration::from_millis(500);
/// A piece of it.
const ONE_WAIT: Wait = Wait::Nanoseconds(10_000_000);
const UNTAKEN: &str =
    "accepted by the event loop and not taken: take them before, by try_accept() until it gives WouldBlock";
/// Handing over goes on for so many calls.
const MOST_CALLS: u32 = 50;

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
        if self.conn(index).is_draining() {
            // By a duplicate, since its loop ends.
            drop(fd);
            return orphans;
        }
        let mut is_reset = false;
        if self.conn(index).has_unsent() {
            is_reset = matches!(socket.linger(), Ok(Some(Duration::ZERO)));
            if !is_reset {
                self.push_out(index);
            }
            is_reset |= self.outgoing.unsent() > self.limits.most_unsent;
            if is_reset {
                _ = socket.set_linger(Some(Duration::ZERO));
                self.give_up_sending(index);
            }
        }
        if !self.conn(index).has_unsent() {
            self.let_go(index, fd);
            return orphans;
        }
        self.drain(index, fd);
        if is_reset {
            self.reset(index);
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
        self.discard_unread(key.index());
        self.cancel_all(key.index());
        self.free_if_done(key.index());
        orphans
    }

    /// Ends what is under way at a socket, so that all that has arrived is here and all that was written is the kernel's.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel has no room for what was written; when a listener's connections were accepted and not taken.
    pub(in crate::driver) fn settle(&mut self, key: SocketKey) -> io::Result<()> {
        self.sockets.get(key)?;
        let index = key.index();
        self.stop_receiving(index);
        self.cancel_accepts(index);
        let is_settled = self.wait_until(|driver| !driver.conns[index as usize].is_bringing())?;
        let conn = self.conn(index);
        if let Some(accepting) = conn.more.as_mut().and_then(|more| more.accepting.as_mut()) {
            accepting.is_cancelling = false;
            match accepting.ready.len() {
                0 => {}
                1 => return Err(io::Error::other(format!("1 connection was {UNTAKEN}"))),
                n => return Err(io::Error::other(format!("{n} connections were {UNTAKEN}"))),
            }
        }
        if conn.has_unsent() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if is_settled { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Hands over and takes what comes until something is so; false if it is not after half a second.
    fn wait_until(&mut self, is_so: impl Fn(&UringDriver) -> bool) -> io::Result<bool> {
        let deadline = Instant::now() + LAST_WAIT;
        loop {
            self.hand_over();
            self.ring.enter(Wait::Not)?;
            self.reap()?;
            if is_so(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.ring.enter(ONE_WAIT)?;
        }
    }

    fn close_listener(&mut self, index: u32, fd: OwnedFd) {
        self.cancel_all(index);
        // Its address is free when this returns, as it is when a descriptor is closed.
        self.hand_over_now();
        self.let_go(index, fd);
    }

    /// Hands over all that is queued, and takes what that completes.
    fn hand_over_now(&mut self) {
        for _ in 0..MOST_CALLS {
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
        self.cancel_accepts(index);
        if let Some(more) = self.conn(index).more.as_mut() {
            if let Some(accepting) = &mut more.accepting {
                // What was accepted and not taken is closed, as the backlog of a listener is.
                accepting.ready.clear();
            }
            if more.connecting.as_ref().is_some_and(|connecting| connecting.result.is_none()) {
                self.cancel(index, Kind::Connect, 0);
            }
        }
    }

    fn cancel_accepts(&mut self, index: u32) {
        let accepting = self.conn(index).more.as_mut().and_then(|more| more.accepting.as_mut());
        let Some(accepting) = accepting.filter(|accepting| !accepting.is_cancelling) else { return };
        accepting.is_cancelling = true;
        for place in accepting.places_under_way() {
            self.cancel(index, Kind::Accept, place);
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
        self.conn(index).more().draining = Some(Draining { fd, since, is_reset: false });
        self.draining.push(index);
        self.start_ticking();
    }

    /// All is sent, or nothing more can be.
    pub(super) fn finish_draining(&mut self, index: u32) {
        let Some(Draining { fd, .. }) = self.conn(index).more().draining.take() else { return };
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
            if draining.is_some_and(|draining| ticks.wrapping_sub(draining.since) >= MOST_TICKS) {
                self.reset(index);
            }
        }
        if !self.draining.is_empty() {
            self.start_ticking();
        }
    }

    fn reset(&mut self, index: u32) {
        if let Some(draining) = &mut self.conn(index).more().draining {
            draining.is_reset = true;
            _ = socket2::SockRef::from(&draining.fd).set_linger(Some(Duration::ZERO));
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

    /// The loop ends, and sockets that are still there belong to whoever holds them: their descriptors may be closed at any moment by another
    /// thread. So nothing names them any more, and what was written to them is sent by duplicates.
    pub(in crate::driver) fn leave_sockets(&mut self) {
        for index in 0..self.conns.len() as u32 {
            if !self.conn(index).is_retired && self.conn(index).has_unsent() {
                self.push_out(index);
            }
            let conn = self.conn(index);
            if conn.is_retired || !conn.has_unsent() {
                continue;
            }
            // SAFETY: the socket is there, so its owner holds the descriptor open: while its loop lives it is closed by its loop alone.
            let fd = unsafe { BorrowedFd::borrow_raw(conn.fd) };
            if let Ok(fd) = fd.try_clone_to_owned() {
                conn.fd = fd.as_raw_fd();
                self.drain(index, fd);
            } else {
                self.give_up_sending(index);
            }
        }
        self.hand_over_all();
    }

    /// Hands over what was written and what is queued.
    pub(in crate::driver) fn hand_over_all(&mut self) {
        self.hand_over();
        self.hand_over_now();
    }

    fn end(&mut self) -> io::Result<()> {
        self.wait_until(|driver| driver.draining.is_empty())?;
        for index in self.draining.clone() {
            self.reset(index);
        }
        self.is_ending = true;
        let deadline = Instant::now() + LAST_WAIT;
        while self.ring.outstanding() > 0 && Instant::now() < deadline {
            let everything = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
            // SAFETY: it points to nothing.
            unsafe { self.ring.push(everything.user_data(Kind::Cancel.of(0, 0))) };
            self.ring.enter(Wait::Not)?;
            self.reap()?;
            if self.ring.outstanding() > 0 {
                self.ring.enter(ONE_WAIT)?;
                self.reap()?;
            }
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
        // Whether that went well shows in what is left.
        _ = self.end();
        self.to_close.clear();
        if self.ring.in_kernel() == 0 {
            // Of what was never handed over the kernel knows nothing.
            self.conns.iter_mut().for_each(|conn| conn.abandon());
            if let Some(buffers) = &self.buffers {
                buffers.unregister(&self.ring.submitter());
            }
            return;
        }
        // The kernel may still write or read: the memory must stay for as long as the process does.
        eprintln!(
            "squall: {} operations of an event loop could not be ended; its memory is kept",
            self.ring.in_kernel()
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
