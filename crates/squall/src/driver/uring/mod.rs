//! The completion driver: what is queued in a turn goes to the kernel with one system call, which brings back what has happened.
//!
//! The kernel only ever sees memory that this driver owns, so a future may be dropped at any moment and programs use plain borrowed buffers.
//! Small messages are received into a ring of buffers and sent from a pool of them. Streams that move much at once go another way
//! ([`Conn::is_direct`]): by system calls, waiting for readiness, as under the `poll` driver. For those a ring loses: the data of all ready
//! connections is copied out of the kernel before the first of it is looked at, so it has left the cache by then, and what is sent
//! is copied twice. (Measured: bench/README.md.)
//!
//! Where things are: [`ring`] the two rings, [`buffers`] memory received into, [`outgoing`] memory sent from, [`accepting`] listeners,
//! [`conn`] the state of one descriptor, [`receiving`] and [`sending`] what operations do, [`completing`] what completions do, [`closing`] the end
//! of sockets and of the driver.

mod accepting;
mod buffers;
mod closing;
mod completing;
mod conn;
mod outgoing;
mod receiving;
mod ring;
mod sending;
#[cfg(all(test, not(miri)))]
mod tests;

pub(super) use buffers::Lent;

use self::buffers::BufferRing;
use self::conn::{Conn, Connecting};
use self::outgoing::SendPool;
use self::ring::{Completion, Ring, Wait};
use super::chunk::ChunkPool;
use super::direct;
use super::poll::{Notifier, Watches};
use super::socket::Direction;
use super::socket_table::{Armed, OpId, SocketKey, SocketTable, WatchState};
use super::{Cause, IoTotals, Limits, Role, Waiter};
use io_uring::{opcode, squeue, types};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Unread bytes of one socket at which it stops receiving: TCP then stops the peer. What the kernel brings with the same look comes on top.
const MOST_UNREAD: usize = 64 * 1024;
/// A receive or a write of so much makes a stream direct.
const LARGE: usize = 8 * 1024;

/// What an operation of the kernel is for; the upper byte of its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    Cancel,
    Notifier,
    Recv,
    Send,
    Watches,
    Accept,
    Connect,
    Tick,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Cancel,
        Kind::Notifier,
        Kind::Recv,
        Kind::Send,
        Kind::Watches,
        Kind::Accept,
        Kind::Connect,
        Kind::Tick,
    ];

    /// The number of an operation at an entry. An entry with operations in flight is never another socket's, so its place names it.
    #[inline]
    fn of(self, index: u32, place: u8) -> u64 {
        (self as u64) << 56 | u64::from(place) << 32 | u64::from(index)
    }
}

pub(crate) struct UringDriver {
    ring: Ring,
    sockets: SocketTable,
    conns: Vec<Conn>,
    buffers: Option<BufferRing>,
    chunks: ChunkPool,
    outgoing: SendPool,
    /// Sockets with bytes to hand over.
    dirty: Vec<u32>,
    completions: Vec<Completion>,
    /// Who was woken by completions that were taken outside of `park`.
    woken: Vec<(Waiter, Cause)>,
    /// Descriptors that queued operations may name: closed when those were handed over.
    to_close: Vec<OwnedFd>,
    is_ending: bool,
    /// Entries whose sockets are gone and that the kernel still names.
    retired: usize,
    /// Closed sockets whose bytes are still being sent.
    draining: Vec<u32>,
    ticks: u32,
    is_ticking: bool,
    tick: Box<types::Timespec>,
    notifier: &'static Notifier,
    owner: u32,
    /// Descriptors that are direct, or sources, and have waited.
    watches: Watches,
    /// The ring waits for them, too.
    is_listening: bool,
    limits: Limits,
}

impl UringDriver {
    pub(super) fn new(
        notifier: &'static Notifier,
        first_generation: u64,
        limits: Limits,
    ) -> io::Result<UringDriver> {
        let ring = Ring::new(limits.submissions, limits.completions)?;
        ring.has_what_is_needed()?;
        let mut driver = UringDriver {
            ring,
            sockets: SocketTable::new(first_generation),
            conns: Vec::new(),
            buffers: None,
            chunks: ChunkPool::default(),
            outgoing: SendPool::default(),
            dirty: Vec::new(),
            completions: Vec::new(),
            woken: Vec::new(),
            to_close: Vec::new(),
            is_ending: false,
            retired: 0,
            draining: Vec::new(),
            ticks: 0,
            is_ticking: false,
            tick: Box::new(types::Timespec::new().sec(closing::TICK_SECONDS)),
            notifier,
            owner: std::process::id(),
            watches: Watches::new()?,
            is_listening: false,
            limits,
        };
        // Both now: that they are refused must be known before anything depends on this driver.
        driver.buffers = Some(BufferRing::new(&driver.ring.submitter(), &limits)?);
        driver.watch_notifier();
        driver.ring.enter(Wait::Not)?;
        Ok(driver)
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.sockets.next_generation()
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets.len() - self.retired + self.draining.len()
    }

    pub(super) fn totals(&self) -> IoTotals {
        IoTotals {
            unread_bytes: self.conns.iter().map(Conn::unread).sum(),
            unsent_bytes: self.outgoing.unsent(),
            draining: self.draining.len(),
            receive_buffers: self.buffers.as_ref().map_or(0, BufferRing::buffers),
            in_flight: self.ring.outstanding(),
            buffer_shortages: self.buffers.as_ref().map_or(0, BufferRing::shortages),
            queue_overflows: self.ring.queue_overflows(),
            completion_overflows: self.ring.completion_overflows(),
            waits: self.ring.entered(),
            ..IoTotals::default()
        }
    }

    pub(super) fn attach(&mut self, role: Role) -> io::Result<SocketKey> {
        let key = self.sockets.insert(role);
        let at = key.index() as usize;
        match self.conns.get_mut(at) {
            Some(conn) => *conn = Conn::new(),
            None => self.conns.push(Conn::new()),
        }
        Ok(key)
    }

    #[inline]
    fn conn(&mut self, index: u32) -> &mut Conn {
        &mut self.conns[index as usize]
    }

    /// Queues an operation at an entry.
    ///
    /// # Safety
    /// What it points to stays valid until its last completion.
    #[inline]
    unsafe fn push(&mut self, index: u32, kind: Kind, place: u8, entry: squeue::Entry) {
        self.conn(index).in_flight += 1;
        // SAFETY: the caller's promise. The descriptor is open when the kernel takes the operation in: it is the socket's, and closing one
        // that is named by a queued operation hands over what is queued first (`closing`).
        unsafe { self.ring.push(entry.user_data(kind.of(index, place))) };
    }

    /// Asks the kernel to end an operation. What it has brought until then still comes.
    fn cancel(&mut self, index: u32, kind: Kind, place: u8) {
        let entry = opcode::AsyncCancel::new(kind.of(index, place)).build();
        // SAFETY: it points to nothing.
        unsafe { self.ring.push(entry.user_data(Kind::Cancel.of(0, 0))) };
    }

    fn watch_notifier(&mut self) {
        let fd = types::Fd(self.notifier.as_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        // SAFETY: it points to nothing, and the notifier is never closed.
        unsafe { self.ring.push(entry.user_data(Kind::Notifier.of(0, 0))) };
    }

    /// Waits for readiness, for as long as the descriptor stays direct.
    fn watch(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.note_descriptor(key, fd)?;
        self.watches.watch(&mut self.sockets, key, fd)
    }

    /// Lets readiness of any watched descriptor end the wait.
    fn listen_to_watches(&mut self) {
        if !self.is_listening && !self.watches.is_empty() {
            self.is_listening = true;
            let fd = types::Fd(self.watches.as_fd().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).build();
            // SAFETY: it points to nothing, and the descriptor stays while the driver does.
            unsafe { self.ring.push(entry.user_data(Kind::Watches.of(0, 0))) };
        }
    }

    #[inline]
    fn note_descriptor(&mut self, key: SocketKey, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.sockets.get(key)?;
        self.conn(key.index()).fd = fd.as_raw_fd();
        Ok(())
    }

    // --- connecting ----------------------------------------------------------------------------------------------

    pub(super) fn connect(&mut self, key: SocketKey, fd: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
        self.note_descriptor(key, fd)?;
        let to = Box::new(socket2::SockAddr::from(to));
        let entry = opcode::Connect::new(types::Fd(fd.as_raw_fd()), to.as_ptr().cast(), to.len()).build();
        self.conn(key.index()).more().connecting = Some(Connecting { _to: to, result: None });
        // SAFETY: the address is boxed, and the box stays with the entry until the completion has come.
        unsafe { self.push(key.index(), Kind::Connect, 0, entry) };
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(super) fn connect_result(&mut self, key: SocketKey, _fd: BorrowedFd<'_>) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        let conn = &mut self.conns[key.index() as usize];
        match conn.more().connecting.as_ref().map(|connecting| connecting.result) {
            Some(None) => {
                entry.ready_send = false;
                Err(io::ErrorKind::WouldBlock.into())
            }
            Some(Some(errno)) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => {
                entry.role = Role::Stream;
                (entry.ready_recv, entry.ready_send) = (true, true);
                conn.more = None;
                Ok(())
            }
        }
    }

    // --- waiting -------------------------------------------------------------------------------------------------

    pub(super) fn is_ready(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        match self.known_readiness(key, direction)? {
            Some(is_ready) => Ok(is_ready),
            None => {
                if self.sockets.get(key)?.role == Role::Source {
                    // Before the question, so that what cannot be watched says so each time, whether or not it is ready now.
                    self.watch(key, fd)?;
                }
                direct::ask(fd, direction)
            }
        }
    }

    /// Whether a direction may go on, if that is known without asking the kernel.
    fn known_readiness(&mut self, key: SocketKey, direction: Direction) -> io::Result<Option<bool>> {
        let role = self.sockets.get(key)?.role;
        let conn = &self.conns[key.index() as usize];
        let known = match (role, direction) {
            (Role::Listener, Direction::Recv) => {
                match conn.more.as_ref().and_then(|more| more.accepting.as_ref()) {
                    Some(accepting) if !accepting.ready.is_empty() || accepting.error.is_some() => Some(true),
                    Some(accepting) if accepting.is_under_way() => Some(false),
                    _ => None,
                }
            }
            (Role::Stream, Direction::Recv) if conn.unread() > 0 || conn.ended.answer().is_some() => {
                Some(true)
            }
            (Role::Stream, Direction::Recv) if conn.is_receiving() => Some(false),
            (Role::Stream, Direction::Send) if conn.has_unsent() => {
                Some(self.outgoing.len(conn.queued) < outgoing::MOST)
            }
            _ => None,
        };
        Ok(known)
    }

    /// Sees to it that the kernel will tell of a direction.
    fn ensure_news(&mut self, key: SocketKey, fd: BorrowedFd<'_>, direction: Direction) -> io::Result<()> {
        let entry = self.sockets.get(key)?;
        let (role, index) = (entry.role, key.index());
        match (role, direction) {
            (Role::Listener, _) => {
                self.note_descriptor(key, fd)?;
                self.arm_accepts(index);
                Ok(())
            }
            // The connection attempt is under way.
            (Role::Connecting, _) => Ok(()),
            (Role::Source, _) => self.watch(key, fd),
            (Role::Stream, Direction::Recv) => {
                let conn = self.conn(index);
                if conn.is_receiving() {
                    return Ok(());
                }
                if conn.is_direct {
                    return self.watch(key, fd);
                }
                self.note_descriptor(key, fd)?;
                self.arm_receive(index);
                Ok(())
            }
            (Role::Stream, Direction::Send) => {
                // What is in flight, or queued, tells when it is done.
                if self.conn(index).has_unsent() { Ok(()) } else { self.watch(key, fd) }
            }
        }
    }

    #[inline]
    pub(super) fn check_turn(
        &self,
        key: SocketKey,
        direction: Direction,
        op: Option<OpId>,
    ) -> Result<(), Armed> {
        self.sockets.check_turn(key, direction, op)
    }

    pub(super) fn arm(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
        op: Option<OpId>,
        waiter: Waiter,
    ) -> io::Result<(OpId, Option<Waiter>)> {
        self.ensure_news(key, fd, direction)?;
        self.sockets.arm(key, direction, op, waiter)
    }

    pub(super) fn finish(&mut self, key: SocketKey, direction: Direction, op: OpId) -> Option<Waiter> {
        self.sockets.finish(key, direction, op)
    }

    // --- watches -------------------------------------------------------------------------------------------------

    pub(super) fn begin_watch(
        &mut self,
        key: SocketKey,
        direction: Direction,
        op: OpId,
        waiter: Waiter,
    ) -> io::Result<Option<Waiter>> {
        self.sockets.begin_watch(key, direction, op, waiter)
    }

    pub(super) fn new_watch(&mut self) -> io::Result<OpId> {
        Ok(self.sockets.new_watch())
    }

    /// Level-triggered over completions and edges.
    pub(super) fn arm_watch(
        &mut self,
        key: SocketKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        let is_ready = match self.known_readiness(key, direction)? {
            Some(is_ready) => is_ready,
            // The kernel tells of a readiness that is new to it as soon as it is asked to watch.
            None if !self.is_writable_stream(key, direction)?
                && self.sockets.get(key)?.watched().is_none() =>
            {
                false
            }
            None => self.sockets.get(key)?.seems_ready(direction) && direct::ask(fd, direction)?,
        };
        self.sockets.get(key)?.set_ready(direction, is_ready);
        if is_ready {
            return Ok(true);
        }
        self.ensure_news(key, fd, direction)?;
        self.sockets.arm_watch(key, direction)?;
        Ok(false)
    }

    /// A stream that is asked for room to write and has all its bytes sent: nothing is under way that would tell.
    fn is_writable_stream(&mut self, key: SocketKey, direction: Direction) -> io::Result<bool> {
        Ok(direction == Direction::Send && self.sockets.get(key)?.role == Role::Stream)
    }

    pub(super) fn watcher(&mut self, key: SocketKey, direction: Direction) -> Option<(OpId, Waiter)> {
        self.sockets.watcher(key, direction)
    }

    #[inline]
    pub(super) fn watch_state(&mut self, key: SocketKey, direction: Direction, op: OpId) -> WatchState {
        let state = self.sockets.watch_state(key, direction, op);
        if state == WatchState::Due && direction == Direction::Recv && self.is_mistaken(key) {
            return WatchState::Drained;
        }
        state
    }

    /// Who was woken to receive would find nothing.
    fn is_mistaken(&mut self, key: SocketKey) -> bool {
        let conn = self.conn(key.index());
        if !std::mem::take(&mut conn.is_doubtful) {
            return false;
        }
        // SAFETY: the socket is not retired, so its owner holds the descriptor open; something was received for it, so its number is known.
        let fd = unsafe { BorrowedFd::borrow_raw(conn.fd) };
        match self.known_readiness(key, Direction::Recv) {
            Ok(Some(is_ready)) => !is_ready,
            _ => matches!(direct::ask(fd, Direction::Recv), Ok(false)),
        }
    }

    // --- the turn ------------------------------------------------------------------------------------------------

    pub(super) fn park(
        &mut self,
        timeout_ns: Option<u64>,
        woken: &mut Vec<(Waiter, Cause)>,
    ) -> io::Result<()> {
        self.hand_over();
        if let Some(buffers) = &mut self.buffers {
            buffers.recycle();
        }
        if !self.watches.is_empty() {
            self.watches.wait(Some(0), &mut self.sockets, &mut self.woken)?;
        }
        let wait = match timeout_ns {
            Some(0) => Wait::Not,
            _ if !self.woken.is_empty() || !self.to_close.is_empty() => Wait::Not,
            Some(ns) => Wait::Nanoseconds(ns),
            None => Wait::Forever,
        };
        if wait != Wait::Not {
            self.listen_to_watches();
        }
        self.ring.enter(wait)?;
        // Before anything new is queued: a busy driver would never come to it else.
        self.close_what_is_due();
        self.reap()?;
        if wait != Wait::Not && !self.is_listening && !self.watches.is_empty() {
            self.watches.wait(Some(0), &mut self.sockets, &mut self.woken)?;
        }
        self.close_what_is_due();
        woken.append(&mut self.woken);
        Ok(())
    }

    /// Closes descriptors that no queued operation names any more. (While there are others, the driver does not wait.)
    #[inline]
    fn close_what_is_due(&mut self) {
        if !self.to_close.is_empty() && self.ring.is_handed_over() {
            self.to_close.clear();
        }
    }
}
