//! The queue as a state machine: who gets what, and whom to wake.
//!
//! No user code runs in here: items move and are never dropped, wakers come out for the caller to wake or drop once it has let go
//! of its borrow. So every method goes from one consistent state to another in one step, and whatever runs between two
//! steps (a destructor, a foreign waker) may use the queue.

use super::error::{Closed, PutError};
use crate::task::{Cancelled, Key, WaitList};
use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;

/// # Invariants
/// - While getters wait, nothing is in the queue. While putters wait, it holds at least its capacity. So whoever finds an item, or
///   room, overtakes nobody, and the ready paths need not look at the lines.
/// - Items in `handed_back` entered before all in `items`, for an item is handed over only when both are empty.
/// - A closed queue has neither waiting getters nor waiting putters.
/// - `unfinished` ≥ items in the queue + items granted and not taken + items taken and not done.
pub(super) struct State<T> {
    items: VecDeque<T>,
    /// Items of getters that were cancelled between grant and take, ordered by `turn`. Nearly always empty.
    handed_back: VecDeque<Handed<T>>,
    capacity: usize,
    closed: bool,
    unfinished: usize,
    /// Items handed over so far.
    turns: u64,
    getters: WaitList<(), Result<Handed<T>, Closed>>,
    putters: WaitList<T, Result<(), PutError<T>>>,
    joiners: WaitList<(), ()>,
}

/// An item on its way to a getter. `turn` tells its old place should it come back: two getters may be cancelled in any order.
pub(super) struct Handed<T> {
    turn: u64,
    pub(super) item: T,
}

impl<T> State<T> {
    pub(super) fn new(capacity: usize) -> State<T> {
        State {
            items: VecDeque::new(),
            handed_back: VecDeque::new(),
            capacity,
            closed: false,
            unfinished: 0,
            turns: 0,
            getters: WaitList::new(),
            putters: WaitList::new(),
            joiners: WaitList::new(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.items.len() + self.handed_back.len()
    }

    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    #[inline]
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// True if a getter need not wait.
    #[inline]
    pub(super) fn can_get(&self) -> bool {
        !self.items.is_empty() || !self.handed_back.is_empty() || self.closed
    }

    /// True if a putter need not wait.
    #[inline]
    pub(super) fn can_put(&self) -> bool {
        self.len() < self.capacity || self.closed
    }

    /// Takes an item in. The waker is that of the getter who got it.
    #[inline]
    pub(super) fn enter(&mut self, item: T) -> Result<Option<Waker>, PutError<T>> {
        if self.closed {
            return Err(PutError(item));
        }
        self.unfinished += 1;
        if self.getters.is_empty() {
            self.items.push_back(item);
            return Ok(None);
        }
        let turn = self.turns;
        self.turns += 1;
        Ok(self.getters.grant_oldest(|()| Ok(Handed { turn, item })))
    }

    /// Takes the oldest item out. The waker is that of the putter whose item took the room.
    #[inline]
    pub(super) fn take(&mut self) -> Option<(T, Option<Waker>)> {
        let item = match self.handed_back.pop_front() {
            None => self.items.pop_front()?,
            Some(handed) => handed.item,
        };
        if self.putters.is_empty() || self.len() >= self.capacity {
            return Some((item, None));
        }
        let items = &mut self.items;
        let putter = self.putters.grant_oldest(|item| {
            items.push_back(item);
            Ok(())
        });
        self.unfinished += 1;
        Some((item, putter))
    }

    #[inline]
    pub(super) fn getters(&mut self) -> &mut WaitList<(), Result<Handed<T>, Closed>> {
        &mut self.getters
    }

    #[inline]
    pub(super) fn putters(&mut self) -> &mut WaitList<T, Result<(), PutError<T>>> {
        &mut self.putters
    }

    #[inline]
    pub(super) fn joiners(&mut self) -> &mut WaitList<(), ()> {
        &mut self.joiners
    }

    /// A getter leaves the line.
    pub(super) fn leave_getters(&mut self, key: Key) -> Left {
        match self.getters.cancel(key) {
            Cancelled::Waiting(waker, ()) => Left { wake: None, discard: Some(waker) },
            Cancelled::Granted(Ok(handed)) => Left { wake: self.hand_on(handed), discard: None },
            Cancelled::Granted(Err(Closed)) => Left { wake: None, discard: None },
        }
    }

    /// An item that was handed over and not taken goes to the next in line, or back to its old place.
    fn hand_on(&mut self, handed: Handed<T>) -> Option<Waker> {
        if !self.getters.is_empty() {
            return self.getters.grant_oldest(|()| Ok(handed));
        }
        let place = self.handed_back.partition_point(|other| other.turn < handed.turn);
        self.handed_back.insert(place, handed);
        None
    }

    /// One item less is unfinished. True if that was the last one and somebody waits for it.
    #[inline]
    pub(super) fn finish_one(&mut self) -> bool {
        self.unfinished -= 1;
        self.unfinished == 0 && !self.joiners.is_empty()
    }

    /// The getters and putters to wake.
    pub(super) fn close(&mut self) -> (Vec<Waker>, Vec<Waker>) {
        self.closed = true;
        (self.getters.grant_all(|()| Err(Closed)), self.putters.grant_all(|item| Err(PutError(item))))
    }
}

/// What a waiter that left the line leaves to do, once the borrow is gone.
#[derive(Default)]
pub(super) struct Left {
    pub(super) wake: Option<Waker>,
    pub(super) discard: Option<Waker>,
}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &Some(self.capacity).filter(|capacity| *capacity != usize::MAX))
            .field("closed", &self.closed)
            .field("unfinished", &self.unfinished)
            .field("getters", &self.getters.len())
            .field("putters", &self.putters.len())
            .field("joiners", &self.joiners.len())
            .finish()
    }
}
