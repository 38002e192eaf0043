//! The sockets under a driver's care, by key, and who waits at each direction.
//!
//! One waiter for each direction: a second reader would get every other piece of the stream, so it is refused, and the error
//! can name the first. What holds a direction is the *operation*, not the waker: a future that moves to another task keeps its turn, and
//! a woken reader that was not polled yet is not overtaken.

use super::socket::{Direction, SocketState};
use super::{Cause, Role, Waiter};
use std::io;
use std::os::fd::RawFd;

/// A socket's name for its driver: plain numbers. Generations never wrap, so a key never names another socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SocketKey {
    index: u32,
    generation: u64,
}

impl SocketKey {
    /// 64 bits for the kernel to give back with an event. A stale event at worst marks a later socket ready, and a
    /// try that finds nothing corrects it.
    #[inline]
    pub(super) fn token(self) -> u64 {
        u64::from(self.index) << 32 | self.generation & 0xFFFF_FFFF
    }

    /// The entry's place in the table.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    #[inline]
    pub(super) fn index(self) -> u32 {
        self.index
    }
}

/// The number of an operation that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpId(u32);

impl OpId {
    /// Operations that are not futures, so nobody tells when they are given up (`poll_read` and its like): anyone may replace them.
    pub(crate) const POLLED: OpId = OpId(u32::MAX);
    const NONE: OpId = OpId(0);
    /// Operations of this bit are watches: callbacks for as long as a direction is ready.
    const WATCH: u32 = 1 << 31;

    fn is_watch(self) -> bool {
        self.0 & OpId::WATCH != 0 && self != OpId::POLLED
    }
}

/// Where a watch stands, when its callback's turn has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WatchState {
    /// The direction is ready: the callback is to be called.
    Due,
    /// It was ready, and somebody else took what was there.
    Drained,
    /// Nothing has happened: whoever woke the callback was mistaken.
    Waiting,
    /// It was removed, or replaced.
    Gone,
}

/// Another operation holds the direction; who that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Armed(pub(crate) Option<Waiter>);

/// Waiters of a socket that went away: their operations will find it gone.
pub(crate) type Orphans = [Option<Waiter>; 2];

#[derive(Clone, Copy)]
struct Wait {
    op: OpId,
    is_armed: bool,
    waiter: Option<Waiter>,
}

impl Wait {
    const NONE: Wait = Wait { op: OpId::NONE, is_armed: false, waiter: None };

    fn take_armed(&mut self) -> Option<Waiter> {
        if std::mem::take(&mut self.is_armed) { self.waiter } else { None }
    }
}

/// One socket. `ready_*` are guesses: true until a try would block, true again at the kernel's word.
///
/// One line of the cache: with a thousand busy connections each entry has to be fetched for each message.
#[repr(align(64))]
pub(super) struct Entry {
    generation: u64,
    recv: Wait,
    send: Wait,
    pub(super) state: SocketState,
    pub(super) role: Role,
    watched: RawFd,
    pub(super) ready_recv: bool,
    pub(super) ready_send: bool,
    /// The peer has ended or has sent urgent data, or the socket has failed: a short read does not mean that nothing is left to be told.
    pub(super) has_hung_up: bool,
    /// Data is received on the driver's account: that some was there is no news by the time it is told.
    pub(super) is_received: bool,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// Stands for no descriptor.
const UNWATCHED: RawFd = -1;

impl Entry {
    /// The descriptor's number, once the kernel was told of it.
    #[inline]
    pub(super) fn watched(&self) -> Option<RawFd> {
        (self.watched != UNWATCHED).then_some(self.watched)
    }

    pub(super) fn set_watched(&mut self, fd: RawFd) {
        self.watched = fd;
    }

    /// The kernel watches no more, so it is asked each time.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    pub(super) fn set_unwatched(&mut self) {
        self.watched = UNWATCHED;
        (self.ready_recv, self.ready_send) = (true, true);
    }

    /// Somebody waits for the kernel's word, in either direction.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    pub(super) fn is_waited_at(&self) -> bool {
        self.recv.is_armed || self.send.is_armed
    }

    /// A receive into some room would wait, as is known without asking.
    #[inline]
    pub(super) fn waits_for_data(&self) -> bool {
        !self.ready_recv && self.state.is_open_for_recv()
    }

    fn wait(&mut self, direction: Direction) -> &mut Wait {
        match direction {
            Direction::Recv => &mut self.recv,
            Direction::Send => &mut self.send,
        }
    }

    /// A direction may go on as far as is known.
    #[inline]
    pub(super) fn seems_ready(&mut self, direction: Direction) -> bool {
        *self.ready(direction)
    }

    #[cfg(all(feature = "uring", target_os = "linux"))]
    pub(super) fn set_ready(&mut self, direction: Direction, is_ready: bool) {
        *self.ready(direction) = is_ready;
    }

    fn ready(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::Recv => &mut self.ready_recv,
            Direction::Send => &mut self.ready_send,
        }
    }

    /// A try has taken all that was there, or all the room: the kernel will say when there is more. Of a descriptor that it does not watch it
    /// says nothing, so that one is tried each time.
    #[inline]
    pub(super) fn mark_drained(&mut self, direction: Direction) {
        *self.ready(direction) = self.watched == UNWATCHED;
    }

    /// The kernel says that a direction may go on.
    pub(super) fn mark_ready(&mut self, direction: Direction, woken: &mut Vec<(Waiter, Cause)>) {
        *self.ready(direction) = true;
        let cause = match direction {
            Direction::Recv => Cause::Readable,
            Direction::Send => Cause::Writable,
        };
        if let Some(waiter) = self.wait(direction).take_armed() {
            woken.push((waiter, cause));
        }
    }
}

const FREE: u64 = 0;

pub(super) struct SocketTable {
    entries: Vec<Entry>,
    free: Vec<u32>,
    next_generation: u64,
    next_op: u32,
}

impl SocketTable {
    pub(super) fn new(first_generation: u64) -> SocketTable {
        SocketTable {
            entries: Vec::new(),
            free: Vec::new(),
            next_generation: first_generation.max(1),
            next_op: 1,
        }
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.next_generation
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, role: Role) -> SocketKey {
        let generation = self.next_generation;
        self.next_generation += 1;
        let is_connected = !matches!(role, Role::Connecting);
        let entry = Entry {
            generation,
            recv: Wait::NONE,
            send: Wait::NONE,
            state: SocketState::OPEN,
            role,
            watched: UNWATCHED,
            ready_recv: is_connected,
            ready_send: is_connected,
            has_hung_up: false,
            is_received: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer sockets than descriptors")
            }
        };
        SocketKey { index, generation }
    }

    /// Forgets a socket, and gives the number it was watched by. `None` if it was gone already.
    pub(super) fn remove(&mut self, key: SocketKey) -> Option<(Orphans, Option<RawFd>)> {
        let orphans = self.retire(key)?;
        let watched = self.entries[key.index as usize].watched();
        self.release(key.index);
        Some((orphans, watched))
    }

    /// Makes a key name nothing any more. The entry stays, with its state, until it is [released](Self::release): operations of the kernel
    /// may still name it. `None` if it was gone already.
    pub(super) fn retire(&mut self, key: SocketKey) -> Option<Orphans> {
        let entry =
            self.entries.get_mut(key.index as usize).filter(|entry| entry.generation == key.generation)?;
        entry.generation = FREE;
        Some([entry.recv.take_armed(), entry.send.take_armed()])
    }

    /// Gives a retired entry to the next socket.
    pub(super) fn release(&mut self, index: u32) {
        debug_assert_eq!(self.entries[index as usize].generation, FREE);
        self.free.push(index);
    }

    /// An entry by its place, retired or not.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    #[inline]
    pub(super) fn at(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    #[inline]
    pub(super) fn get(&mut self, key: SocketKey) -> io::Result<&mut Entry> {
        match self.entries.get_mut(key.index as usize) {
            Some(entry) if entry.generation == key.generation => Ok(entry),
            _ => Err(gone()),
        }
    }

    /// The socket of a token, if it is still the same one.
    #[inline]
    pub(super) fn by_token(&mut self, token: u64) -> Option<&mut Entry> {
        let entry = self.entries.get_mut((token >> 32) as usize)?;
        (entry.generation != FREE && entry.generation & 0xFFFF_FFFF == token & 0xFFFF_FFFF).then_some(entry)
    }

    #[inline]
    pub(super) fn check_turn(
        &self,
        key: SocketKey,
        direction: Direction,
        op: Option<OpId>,
    ) -> Result<(), Armed> {
        let Some(entry) =
            self.entries.get(key.index as usize).filter(|entry| entry.generation == key.generation)
        else {
            return Ok(());
        };
        let wait = match direction {
            Direction::Recv => &entry.recv,
            Direction::Send => &entry.send,
        };
        if wait.op == OpId::NONE || wait.op == OpId::POLLED || Some(wait.op) == op {
            return Ok(());
        }
        Err(Armed(wait.waiter))
    }

    /// Leaves a waiter; the caller has checked its turn. Gives the operation's number and the waiter that was replaced.
    pub(super) fn arm(
        &mut self,
        key: SocketKey,
        direction: Direction,
        op: Option<OpId>,
        waiter: Waiter,
    ) -> io::Result<(OpId, Option<Waiter>)> {
        let op = op.unwrap_or_else(|| self.new_op());
        let wait = self.get(key)?.wait(direction);
        let replaced = wait.take_armed();
        *wait = Wait { op, is_armed: true, waiter: Some(waiter) };
        Ok((op, replaced))
    }

    fn new_op(&mut self) -> OpId {
        let op = self.next_op;
        self.next_op = if op + 1 == OpId::WATCH { 1 } else { op + 1 };
        OpId(op)
    }

    // --- watches -------------------------------------------------------------------------------------------------

    pub(super) fn new_watch(&mut self) -> OpId {
        OpId(self.new_op().0 | OpId::WATCH)
    }

    /// Takes the turn for a watch, from nobody, a polled operation or another watch; the caller has checked. It begins unarmed. Gives the waiter
    /// that was replaced.
    pub(super) fn begin_watch(
        &mut self,
        key: SocketKey,
        direction: Direction,
        op: OpId,
        waiter: Waiter,
    ) -> io::Result<Option<Waiter>> {
        let wait = self.get(key)?.wait(direction);
        let replaced = wait.take_armed();
        *wait = Wait { op, is_armed: false, waiter: Some(waiter) };
        Ok(replaced)
    }

    /// Whoever watches a direction.
    pub(super) fn watcher(&mut self, key: SocketKey, direction: Direction) -> Option<(OpId, Waiter)> {
        let wait = self.get(key).ok()?.wait(direction);
        if wait.op.is_watch() { Some((wait.op, wait.waiter?)) } else { None }
    }

    /// Where a watch stands.
    pub(super) fn watch_state(&mut self, key: SocketKey, direction: Direction, op: OpId) -> WatchState {
        let Ok(entry) = self.get(key) else { return WatchState::Gone };
        let wait = entry.wait(direction);
        if wait.op != op {
            WatchState::Gone
        } else if wait.is_armed {
            WatchState::Waiting
        } else if entry.seems_ready(direction) {
            WatchState::Due
        } else {
            WatchState::Drained
        }
    }

    /// Lets a watch wait for the next word of the kernel.
    pub(super) fn arm_watch(&mut self, key: SocketKey, direction: Direction) -> io::Result<()> {
        self.get(key)?.wait(direction).is_armed = true;
        Ok(())
    }

    pub(super) fn finish(&mut self, key: SocketKey, direction: Direction, op: OpId) -> Option<Waiter> {
        let wait = self.get(key).ok()?.wait(direction);
        if wait.op != op {
            return None;
        }
        let waiter = wait.take_armed();
        *wait = Wait::NONE;
        waiter
    }
}

#[cold]
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this socket was closed or detached from its event loop")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn waiter(n: u64) -> Waiter {
        Waiter(NonZeroU64::new(n).unwrap())
    }

    #[test]
    fn a_direction_belongs_to_the_operation_that_waits_until_it_finishes() {
        let mut table = SocketTable::new(1);
        let key = table.insert(Role::Stream);
        let (first, replaced) = table.arm(key, Direction::Recv, None, waiter(1)).unwrap();
        assert_eq!(replaced, None);
        assert_eq!(table.check_turn(key, Direction::Recv, None), Err(Armed(Some(waiter(1)))));
        assert_eq!(table.check_turn(key, Direction::Send, None), Ok(()), "the other direction is free");

        let mut woken = Vec::new();
        table.get(key).unwrap().mark_ready(Direction::Recv, &mut woken);
        assert_eq!(woken, [(waiter(1), Cause::Readable)]);
        assert!(table.check_turn(key, Direction::Recv, None).is_err(), "woken, but not polled yet");
        assert_eq!(table.check_turn(key, Direction::Recv, Some(first)), Ok(()));

        let (again, replaced) = table.arm(key, Direction::Recv, Some(first), waiter(2)).unwrap();
        assert_eq!((again, replaced), (first, None), "the operation moved to another task");
        assert_eq!(table.finish(key, Direction::Recv, first), Some(waiter(2)));
        assert_eq!(table.finish(key, Direction::Recv, first), None);
        assert_eq!(table.check_turn(key, Direction::Recv, None), Ok(()));
    }

    #[test]
    fn a_polled_operation_is_replaced_without_complaint() {
        let mut table = SocketTable::new(1);
        let key = table.insert(Role::Stream);
        table.arm(key, Direction::Send, Some(OpId::POLLED), waiter(1)).unwrap();
        assert_eq!(table.check_turn(key, Direction::Send, None), Ok(()));
        let (_, replaced) = table.arm(key, Direction::Send, None, waiter(2)).unwrap();
        assert_eq!(replaced, Some(waiter(1)));
    }

    #[test]
    fn a_stale_key_reaches_nothing() {
        let mut table = SocketTable::new(7);
        let old = table.insert(Role::Stream);
        table.arm(old, Direction::Send, None, waiter(3)).unwrap();
        assert_eq!(table.remove(old), Some(([None, Some(waiter(3))], None)));
        let new = table.insert(Role::Listener);
        assert!(table.get(old).is_err() && table.get(new).is_ok());
        assert_eq!(table.remove(old), None);
        assert!(table.by_token(old.token()).is_none() && table.by_token(new.token()).is_some());
        assert_eq!((table.len(), table.next_generation()), (1, 9));
    }
}
