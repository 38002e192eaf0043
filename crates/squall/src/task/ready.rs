//! The ready queue: a ring of slot numbers, first in, first out.
//!
//! A slot stands in it at most once (its `scheduled` flag says so), so a ring as long as the slot table, and the callbacks that wait in it,
//! never overflows: a wake writes one word, checks no capacity and allocates nothing. It grows when the table grows, or a
//! callback finds no room. Links through the slots
//! were rejected: with 100,000 ready tasks the next slot's address would be known only after a cache miss,
//! and a seeded order could not pick from the middle.

use std::cell::{Cell, UnsafeCell};

/// # Invariant
/// `ring.len()` is a power of two (so never zero, and a masked index is always below it) and `tail - head <= ring.len()`. No reference into `ring` outlives a method, and no
/// method calls anything that could come back here.
pub(crate) struct ReadyQueue {
    ring: UnsafeCell<Box<[u32]>>,
    head: Cell<u32>,
    tail: Cell<u32>,
}

impl ReadyQueue {
    pub(crate) fn new() -> ReadyQueue {
        ReadyQueue { ring: UnsafeCell::new(vec![0; 64].into()), head: Cell::new(0), tail: Cell::new(0) }
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.tail.get().wrapping_sub(self.head.get())
    }

    /// Makes room for so many entries in all.
    #[inline]
    pub(crate) fn reserve(&self, entries: usize) {
        // SAFETY: by the invariant nobody else holds a reference into the ring.
        if unsafe { (&*self.ring.get()).len() } < entries {
            self.grow(entries);
        }
    }

    #[cold]
    fn grow(&self, entries: usize) {
        // SAFETY: as in `reserve`.
        let ring = unsafe { &mut *self.ring.get() };
        let mut wider = vec![0; entries.next_power_of_two()].into_boxed_slice();
        let (head, len) = (self.head.get(), self.len());
        let (from, to) = (ring.len() - 1, wider.len() - 1);
        for entry in (0..len).map(|n| head.wrapping_add(n) as usize) {
            wider[entry & to] = ring[entry & from];
        }
        *ring = wider;
    }

    #[inline]
    pub(crate) fn push(&self, slot: u32) {
        // SAFETY: as in `reserve`.
        let ring = unsafe { &mut *self.ring.get() };
        debug_assert!((self.len() as usize) < ring.len(), "a slot stands in the queue twice");
        let tail = self.tail.get();
        let mask = ring.len() - 1;
        // SAFETY: by the invariant the masked index is in bounds.
        unsafe { *ring.get_unchecked_mut(tail as usize & mask) = slot };
        self.tail.set(tail.wrapping_add(1));
    }

    /// How many were taken out so far, modulo 2^32.
    #[inline]
    pub(crate) fn head(&self) -> u32 {
        self.head.get()
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<u32> {
        if self.len() == 0 { None } else { Some(self.pop_known()) }
    }

    /// The head of a queue that is known not to be empty.
    #[inline]
    pub(crate) fn pop_known(&self) -> u32 {
        debug_assert!(self.len() > 0, "popped from an empty queue");
        let head = self.head.get();
        self.head.set(head.wrapping_add(1));
        // SAFETY: as in `reserve`.
        let ring = unsafe { &*self.ring.get() };
        // SAFETY: as in `push`.
        unsafe { *ring.get_unchecked(head as usize & (ring.len() - 1)) }
    }

    /// What stands so many places behind the head; beyond the end, something that stood there once.
    #[inline]
    pub(crate) fn peek(&self, places: u32) -> u32 {
        // SAFETY: as in `reserve`.
        let ring = unsafe { &*self.ring.get() };
        // SAFETY: as in `push`.
        unsafe { *ring.get_unchecked(self.head.get().wrapping_add(places) as usize & (ring.len() - 1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_first_in_first_out_across_growth_and_wrap() {
        let queue = ReadyQueue::new();
        let (mut pushed, mut popped) = (0, 0);
        for round in 0..200 {
            queue.reserve(64 + round);
            while queue.len() < 60 + round as u32 {
                queue.push(pushed);
                pushed += 1;
            }
            for _ in 0..37 {
                assert_eq!(queue.pop(), Some(popped));
                popped += 1;
            }
        }
        while let Some(slot) = queue.pop() {
            assert_eq!(slot, popped);
            popped += 1;
        }
        assert_eq!((pushed, queue.len()), (popped, 0));
    }
}
