//! Who is to be woken when: any number of timers, set and cancelled in constant time, fired in exact order.
//!
//! A deadline is an exact nanosecond, but timers far away are kept only by the *tick* (2^18 ns, a quarter of a millisecond) in which
//! it lies: a hierarchy of eight levels with 64 slots each, a list per slot. When the clock comes to a slot of a higher
//! level its timers move down; when it comes to a tick its timers go to `near.rs` and are put in exact order. So a sleep
//! is late by the kernel's slack and not by a tick, and yet only the few timers of one tick are ever compared.
//!
//! Rejected: a heap of everything (a million timers are twenty cache misses per insert, and a cancelled one stays or must be found);
//! ticks as the resolution (a sleep of 100 µs would last a millisecond); one level of slots with rounds counted down (the next
//! deadline cannot be told without looking through all of them, and a virtual clock jumps exactly there).
//!
//! # Where a timer lies
//! Let `cursor` be the tick that the wheel has come to. A timer of a later tick lies on the level of the highest
//! 6-bit digit in which its tick differs from the cursor, in the slot that this digit names:
//! * timers of a lower level are all earlier than those of a higher one, and on a level slots never wrap around:
//!   the first occupied slot of the lowest occupied level holds the next timer, found with two bit scans;
//! * the cursor may jump to any tick before the first occupied slot, or to its start, without moving anything else, so hours cost
//!   no more than a tick;
//! * a timer moves down at most seven times, and in practice two or three times.
//!
//! # Cost
//! 32 bytes a timer (and 24 more during its last tick); 4 KiB for the slots. Entries of a past peak are kept for the wheel's life.

use super::near::{Item, Near};
use std::num::NonZeroU64;

const TICK_BITS: u32 = 18;
const DIGIT_BITS: u32 = 6;
const LEVELS: usize = 8;
const SLOTS: usize = LEVELS << DIGIT_BITS;
const DIGIT: u64 = (1 << DIGIT_BITS) - 1;
/// This deadline never comes: such timers lie in no slot.
const NEVER: u64 = u64::MAX;

const _: () = assert!(TICK_BITS + DIGIT_BITS * LEVELS as u32 >= u64::BITS, "the levels span every deadline");

/// A link of a slot's list, a ring that the slot itself closes: below `SLOT` an entry, from there on a slot.
const SLOT: u32 = 1 << 31;
/// In `Entry::prev`: in no list, but in `near`.
const IN_NEAR: u32 = u32::MAX;
/// In `Entry::prev`: in no list, because it never fires.
const IN_NONE: u32 = u32::MAX - 1;
/// More timers than are looked at to find the earliest of them.
const CROWD: usize = 64;
/// Fewer timers than this are never a multitude (so few stay in the cache). Small in tests, so that they come there.
const LEAST_MULTITUDE: usize = if cfg!(test) { 8 } else { 4096 };
/// The end of the free list.
const NIL: u32 = u32::MAX;

/// A timer's name. Its generation never wraps (one a nanosecond lasts 584 years), so a stale name never finds a later timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerKey {
    index: u32,
    generation: NonZeroU64,
}

#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    waiter: NonZeroU64,
    /// Zero in a free entry.
    generation: u64,
    /// In a free entry, the next free one.
    next: u32,
    prev: u32,
}

const _: () = assert!(std::mem::size_of::<Entry>() == 32);

/// The ends of a slot's list, or the slot's own link when it is empty.
#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

/// # Invariant
/// Every timer in a slot is of a tick after `cursor`, every timer in `near` is not.
pub(crate) struct Wheel {
    entries: Vec<Entry>,
    free: u32,
    len: usize,
    next_generation: u64,
    cursor: u64,
    /// Bit n of a level: its slot n holds a timer.
    occupied: [u64; LEVELS],
    /// Bit n of a level: the list of its slot n is not in the order of deadlines (it usually is: most timers of a program
    /// have the same few durations).
    unsorted: [u64; LEVELS],
    slots: Box<[Ends; SLOTS]>,
    /// The earliest deadline in the slots, or zero if it is not known.
    earliest: u64,
    near: Near,
}

impl Wheel {
    /// `first_generation` is where an earlier wheel stopped whose keys may still be around: they are stale here.
    pub(crate) fn new(now_ns: u64, first_generation: u64) -> Wheel {
        Wheel {
            entries: Vec::new(),
            free: NIL,
            len: 0,
            next_generation: first_generation.max(1),
            cursor: now_ns >> TICK_BITS,
            occupied: [0; LEVELS],
            unsorted: [0; LEVELS],
            slots: Box::new(std::array::from_fn(empty)),
            earliest: 0,
            near: Near::default(),
        }
    }

    /// The timers that are set, those that never fire among them.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where a later wheel must start counting so that the keys of this one are stale there.
    pub(crate) fn next_generation(&self) -> u64 {
        self.next_generation
    }

    /// Sets a timer. A deadline in the past fires at the next `pop_due`, one of `u64::MAX` never.
    ///
    /// # Panics
    /// With two thousand million timers set.
    #[inline]
    pub(crate) fn insert(&mut self, deadline: u64, waiter: NonZeroU64) -> TimerKey {
        let generation =
            NonZeroU64::new(self.next_generation).expect("generations start at 1 and never wrap");
        self.next_generation += 1;
        self.len += 1;
        let index = self.free;
        let index = match self.entries.get_mut(index as usize) {
            Some(place) => {
                self.free = place.next;
                place.deadline = deadline;
                place.waiter = waiter;
                place.generation = generation.get();
                place.prev = IN_NONE;
                index
            }
            None => {
                self.grow(Entry { deadline, waiter, generation: generation.get(), next: NIL, prev: IN_NONE })
            }
        };
        if deadline == NEVER {
            return TimerKey { index, generation };
        }
        if deadline >> TICK_BITS > self.cursor {
            self.link(index, deadline);
            self.earliest = self.earliest.min(deadline);
        } else {
            self.entries[index as usize].prev = IN_NEAR;
            self.near.push(Item { deadline, generation: generation.get(), index });
        }
        TimerKey { index, generation }
    }

    #[cold]
    fn grow(&mut self, entry: Entry) -> u32 {
        let index = self.entries.len();
        assert!(index < SLOT as usize, "two thousand million timers are set on one event loop");
        self.entries.push(entry);
        index as u32
    }

    /// Unsets a timer and gives its waiter back. `None` if it has fired or was cancelled before.
    #[inline]
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<NonZeroU64> {
        let entry =
            *self.entries.get(key.index as usize).filter(|entry| entry.generation == key.generation.get())?;
        self.release(key.index);
        match entry.prev {
            IN_NEAR => {
                let entries = &self.entries;
                self.near.cancelled(|item| is_live(entries, item));
            }
            IN_NONE => {}
            _ => {
                self.unlink(entry);
                if entry.deadline == self.earliest {
                    self.earliest = 0;
                }
            }
        }
        Some(entry.waiter)
    }

    /// Whom a timer will wake; `None` if it has fired or was cancelled.
    #[inline]
    pub(crate) fn waiter_of(&self, key: TimerKey) -> Option<NonZeroU64> {
        let entry =
            self.entries.get(key.index as usize).filter(|entry| entry.generation == key.generation.get())?;
        Some(entry.waiter)
    }

    /// Lets a timer wake somebody else, and gives the waiter before. `None` if it has fired or was cancelled.
    #[inline]
    pub(crate) fn replace_waiter(&mut self, key: TimerKey, waiter: NonZeroU64) -> Option<NonZeroU64> {
        let entry = self
            .entries
            .get_mut(key.index as usize)
            .filter(|entry| entry.generation == key.generation.get())?;
        Some(std::mem::replace(&mut entry.waiter, waiter))
    }

    /// When the next timer is due, exactly; `None` if there is none that ever fires.
    ///
    /// Constant time, and the timers of a slot moved down now and then: where the next timer is one of a crowd that came out of
    /// order, the cursor goes there ahead of the clock. Looking through the crowd instead was measured at a millisecond a call
    /// where 100,000 timers are refreshed one after the other; a lower bound would stop a virtual clock at a time that is nobody's.
    #[inline]
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        loop {
            if let Some(item) = self.near.first() {
                return Some(item.deadline);
            }
            let (level, digit) = self.first_slot()?;
            if self.earliest == 0 {
                self.earliest = self.earliest_of(level, digit);
            }
            if self.earliest != 0 {
                return Some(self.earliest);
            }
            self.unload(level, digit);
        }
    }

    /// Takes out a timer that is due, and gives its waiter: the earliest deadline first, among equal ones the one that was set first.
    #[inline]
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<NonZeroU64> {
        if self.near.is_empty() {
            self.advance(now_ns >> TICK_BITS);
        }
        self.near.first().filter(|first| first.deadline <= now_ns)?;
        let entries = &mut self.entries;
        // It is alive while it is being taken out: only what comes after it is asked about.
        let item = self.near.pop(|item| is_live(entries, item))?;
        let waiter = self.entries[item.index as usize].waiter;
        self.release(item.index);
        Some(waiter)
    }

    #[inline]
    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.generation = 0;
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
    }

    // --- the slots -----------------------------------------------------------------------------------------------

    /// The slot that is next in time: its level and its digit.
    #[inline]
    fn first_slot(&self) -> Option<(usize, u32)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros()))
    }

    /// Puts an entry of a tick after the cursor at the end of its slot's list.
    #[inline]
    fn link(&mut self, index: u32, deadline: u64) {
        let (level, digit) = place(self.cursor, deadline);
        let slot = slot_of(level, digit);
        let last = std::mem::replace(&mut self.slots[slot].last, index);
        let entry = &mut self.entries[index as usize];
        entry.prev = last;
        entry.next = SLOT | slot as u32;
        if last >= SLOT {
            self.slots[slot].first = index;
            self.occupied[level] |= 1 << digit;
        } else {
            let last = &mut self.entries[last as usize];
            last.next = index;
            // Not a branch: with deadlines in no order half of them would be mispredicted.
            self.unsorted[level] |= u64::from(last.deadline > deadline) << digit;
        }
    }

    /// Takes an entry out of its list.
    #[inline]
    fn unlink(&mut self, entry: Entry) {
        let (next, prev) = (entry.next, entry.prev);
        if prev >= SLOT {
            self.slots[slot_of_link(prev)].first = next;
        } else {
            self.entries[prev as usize].next = next;
        }
        if next >= SLOT {
            self.slots[slot_of_link(next)].last = prev;
        } else {
            self.entries[next as usize].prev = prev;
        }
        // Both its neighbours are the slot: it was alone there.
        if prev == next {
            self.vacate(slot_of_link(next));
        }
    }

    #[inline]
    fn vacate(&mut self, slot: usize) {
        let (level, bit) = (slot >> DIGIT_BITS, 1 << (slot as u64 & DIGIT));
        self.occupied[level] &= !bit;
        self.unsorted[level] &= !bit;
    }

    /// The earliest deadline of an occupied slot, or zero if too many timers would have to be looked at.
    #[inline]
    fn earliest_of(&self, level: usize, digit: u32) -> u64 {
        let mut entry = &self.entries[self.slots[slot_of(level, digit)].first as usize];
        let mut earliest = entry.deadline;
        if self.unsorted[level] & 1 << digit == 0 {
            return earliest;
        }
        for _ in 0..CROWD {
            if entry.next >= SLOT {
                return earliest;
            }
            entry = &self.entries[entry.next as usize];
            earliest = earliest.min(entry.deadline);
        }
        0
    }

    // --- the cursor ----------------------------------------------------------------------------------------------

    /// Moves the cursor on until a tick that holds timers, at most to `tick`; the timers of that tick are then in `near`, which was empty.
    fn advance(&mut self, tick: u64) {
        while let Some((level, digit)) = self.first_slot() {
            if self.start_of(level, digit) > tick {
                break;
            }
            self.unload(level, digit);
            if !self.near.is_empty() {
                return;
            }
        }
        self.cursor = self.cursor.max(tick);
    }

    /// The first tick of a slot.
    #[inline]
    fn start_of(&self, level: usize, digit: u32) -> u64 {
        let shift = DIGIT_BITS * level as u32;
        (self.cursor >> shift & !DIGIT | u64::from(digit)) << shift
    }

    /// Moves the cursor to the first slot, and the slot's timers down the levels or out to `near`, which was empty.
    fn unload(&mut self, level: usize, digit: u32) {
        self.cursor = self.start_of(level, digit);
        let slot = slot_of(level, digit);
        let first = std::mem::replace(&mut self.slots[slot], empty(slot)).first;
        self.vacate(slot);
        self.earliest = 0;
        if self.is_multitude(first) {
            let shift = TICK_BITS + DIGIT_BITS * level as u32;
            let here = self.cursor << TICK_BITS >> shift;
            for index in 0..self.entries.len() as u32 {
                let entry = &self.entries[index as usize];
                if entry.deadline >> shift == here && entry.generation != 0 && entry.prev < IN_NONE {
                    self.unload_one(index);
                }
            }
        } else {
            let mut link = first;
            while link < SLOT {
                link = self.unload_one(link);
            }
        }
        self.near.sort();
    }

    /// Gives the link to the next one.
    #[inline]
    fn unload_one(&mut self, index: u32) -> u32 {
        let entry = &mut self.entries[index as usize];
        let (deadline, generation, next) = (entry.deadline, entry.generation, entry.next);
        if deadline >> TICK_BITS > self.cursor {
            self.link(index, deadline);
        } else {
            entry.prev = IN_NEAR;
            self.near.load(Item { deadline, generation, index });
        }
        next
    }

    /// True if a list holds a good part of all timers. Then all entries are read in a row: following the list is a cache miss for
    /// each, which was measured at 80 ms for a million timers that lie in one slot.
    #[inline]
    fn is_multitude(&self, first: u32) -> bool {
        let many = self.entries.len() / 16;
        if many < LEAST_MULTITUDE {
            return false;
        }
        let (mut link, mut count) = (first, 0);
        while link < SLOT && count < many {
            link = self.entries[link as usize].next;
            count += 1;
        }
        count == many
    }
}

/// The level and the digit of a deadline whose tick is after the cursor.
#[inline]
fn place(cursor: u64, deadline: u64) -> (usize, u32) {
    let tick = deadline >> TICK_BITS;
    let level = (tick ^ cursor | 1).ilog2() / DIGIT_BITS;
    (level as usize % LEVELS, (tick >> (level * DIGIT_BITS) & DIGIT) as u32)
}

#[inline]
fn slot_of(level: usize, digit: u32) -> usize {
    (level << DIGIT_BITS | digit as usize) % SLOTS
}

#[inline]
fn slot_of_link(link: u32) -> usize {
    link as usize % SLOTS
}

fn empty(slot: usize) -> Ends {
    Ends { first: SLOT | slot as u32, last: SLOT | slot as u32 }
}

#[inline]
fn is_live(entries: &[Entry], item: &Item) -> bool {
    entries.get(item.index as usize).is_some_and(|entry| entry.generation == item.generation)
}

#[cfg(test)]
mod tests;
