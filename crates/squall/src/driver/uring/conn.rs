//! What this driver keeps for one descriptor, beside its entry in the socket table: what is under way in the kernel, what has arrived and was
//! not read, what was written and is not the kernel's yet.

use super::accepting::Accepting;
use super::buffers::Piece;
use super::outgoing::SendId;
use std::os::fd::{OwnedFd, RawFd};

/// Where a repeated operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flight {
    Idle,
    /// Queued, or in the kernel.
    Armed,
    /// To be cancelled; it may still bring something.
    Cancelling,
}

/// How receiving ended: nothing yet, the end of the stream, or an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ended(i32);

impl Ended {
    pub(super) const NOT: Ended = Ended(0);
    pub(super) const STREAM: Ended = Ended(-1);

    pub(super) fn failed(errno: i32) -> Ended {
        Ended(errno)
    }

    /// What a receive gives once everything that arrived was read.
    #[inline]
    pub(super) fn answer(self) -> Option<Result<usize, i32>> {
        match self {
            Ended::NOT => None,
            Ended::STREAM => Some(Ok(0)),
            Ended(errno) => Some(Err(errno)),
        }
    }
}

pub(super) struct Conn {
    pub(super) fd: RawFd,
    /// Operations of the kernel that name this entry: it is not given to another socket before they have completed.
    pub(super) in_flight: u16,
    pub(super) recv: Flight,
    /// System calls move its bytes, and readiness is waited for, as under the `poll` driver.
    pub(super) is_direct: bool,
    /// Stands in the list of those with bytes to send.
    pub(super) is_dirty: bool,
    /// Its socket is gone; the entry waits for the kernel.
    pub(super) is_retired: bool,
    /// Whoever waits to receive was woken by something that brought nothing, so a callback asks before it is called.
    pub(super) is_doubtful: bool,
    /// The write side is to be shut down when all is sent.
    pub(super) is_shutting: bool,
    /// Small receives in a row, of a direct one.
    pub(super) small: u8,
    pub(super) ended: Ended,
    /// The oldest of what has arrived.
    pub(super) piece: Piece,
    pub(super) queued: SendId,
    pub(super) flying: SendId,
    pub(super) more: Option<Box<More>>,
}

/// What few descriptors need.
#[derive(Default)]
pub(super) struct More {
    /// What has arrived after `piece`, and how much of it was read.
    rest: Vec<u8>,
    read: usize,
    pub(super) accepting: Option<Accepting>,
    /// The address that the kernel is told to connect to, and its answer.
    pub(super) connecting: Option<Connecting>,
    /// Closed by its owner with bytes still to be sent.
    pub(super) draining: Option<Draining>,
}

pub(super) struct Draining {
    pub(super) fd: OwnedFd,
    /// In ticks.
    pub(super) since: u32,
    /// It is given up: what is in flight is cancelled.
    pub(super) is_reset: bool,
}

pub(super) struct Connecting {
    pub(super) _to: Box<socket2::SockAddr>,
    pub(super) result: Option<i32>,
}

impl Conn {
    pub(super) fn new() -> Conn {
        Conn {
            fd: -1,
            in_flight: 0,
            recv: Flight::Idle,
            is_direct: false,
            is_dirty: false,
            is_retired: false,
            is_doubtful: false,
            is_shutting: false,
            small: 0,
            ended: Ended::NOT,
            piece: Piece::NONE,
            queued: SendId::NONE,
            flying: SendId::NONE,
            more: None,
        }
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        !self.queued.is_none() || !self.flying.is_none()
    }

    /// What has arrived behind the piece.
    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        self.more.as_ref().map_or(&[], |more| &more.rest[more.read..])
    }

    #[inline]
    pub(super) fn unread(&self) -> usize {
        self.piece.len as usize + self.rest().len()
    }

    /// Copies behind everything that has arrived.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let more = self.more();
        if more.read == more.rest.len() {
            more.rest.clear();
            more.read = 0;
        }
        more.rest.extend_from_slice(bytes);
    }

    /// So much of the rest was read.
    pub(super) fn advance(&mut self, bytes: usize) {
        let more = self.more();
        more.read += bytes;
        if more.read == more.rest.len() {
            (more.rest, more.read) = (Vec::new(), 0);
        }
    }

    pub(super) fn advance_if_any(&mut self, bytes: usize) {
        if bytes > 0 {
            self.advance(bytes);
        }
    }

    #[inline]
    pub(super) fn is_draining(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.draining.is_some())
    }

    pub(super) fn is_reset(&self) -> bool {
        let draining = self.more.as_ref().and_then(|more| more.draining.as_ref());
        draining.is_some_and(|draining| draining.is_reset)
    }

    /// The kernel does nothing here: in a process that came along by a fork its operations are the parent's, and so is the memory they use.
    pub(super) fn abandon(&mut self) {
        if let Some(accepting) = self.more.as_mut().and_then(|more| more.accepting.as_mut()) {
            accepting.abandon();
        }
    }

    /// The kernel may still bring data, or connections.
    pub(super) fn is_bringing(&self) -> bool {
        let accepting = self.more.as_ref().and_then(|more| more.accepting.as_ref());
        self.is_receiving() || accepting.is_some_and(|accepting| accepting.is_under_way())
    }

    /// Operations with an end of their own are under way, so that a later receive must wait for what they bring.
    #[inline]
    pub(super) fn is_receiving(&self) -> bool {
        self.recv != Flight::Idle
    }
}
