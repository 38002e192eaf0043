//! The timers of the tick that is now: few, in exact order.
//!
//! Most of them come from the wheel, one slot at a time: they are sorted once and taken from the end (`run`). Those that are set for
//! this tick while it lasts, and those set for the past, go to a heap (`late`). One heap for both was rejected: a million sleepers with one
//! deadline would each pay for twenty levels of it, although they came out of the wheel in order.
//!
//! A cancelled timer stays behind as a dead item until it comes to the front or until the dead outnumber the living.
//! Tracking positions for an exact removal was rejected: every step of a sift would write to a timer's entry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Dead items that are not worth a sweep.
const TOLERATED: usize = 64;
/// Room for so many items is kept when a burst is over.
const KEPT: usize = 1024;

/// A timer here. Its generation counts up with every timer set, so among equal deadlines it is also the order of setting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Item {
    pub(super) deadline: u64,
    pub(super) generation: u64,
    pub(super) index: u32,
}

/// # Invariant
/// Between calls the last of `run` and the top of `late` are living, and `live` counts the living of both.
#[derive(Default)]
pub(super) struct Near {
    /// The next one last.
    run: Vec<Item>,
    late: BinaryHeap<Reverse<Item>>,
    live: usize,
}

impl Near {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Item> {
        match (self.run.last(), self.late.peek()) {
            (Some(run), Some(Reverse(late))) => Some(*run.min(late)),
            (Some(item), None) | (None, Some(Reverse(item))) => Some(*item),
            (None, None) => None,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, item: Item) {
        self.live += 1;
        self.late.push(Reverse(item));
    }

    /// Takes over a timer from the wheel; `sort` follows the last one.
    #[inline]
    pub(super) fn load(&mut self, item: Item) {
        self.live += 1;
        self.run.push(item);
    }

    /// Puts what was loaded in order. Linear if it came in order, as timers of one duration do.
    pub(super) fn sort(&mut self) {
        self.run.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Takes the first one out. `is_live` tells the living from the dead.
    #[inline]
    pub(super) fn pop(&mut self, is_live: impl Fn(&Item) -> bool) -> Option<Item> {
        let first = self.first()?;
        if self.run.last() == Some(&first) {
            self.run.pop();
        } else {
            self.late.pop();
        }
        self.live -= 1;
        self.bury(is_live);
        Some(first)
    }

    /// One of the timers was cancelled: `is_live` says no to it already.
    #[inline]
    pub(super) fn cancelled(&mut self, is_live: impl Fn(&Item) -> bool) {
        self.live -= 1;
        self.bury(&is_live);
        let dead = self.run.len() + self.late.len() - self.live;
        if dead > self.live + TOLERATED {
            self.run.retain(&is_live);
            self.late.retain(|item| is_live(&item.0));
        }
    }

    /// Removes the dead at both fronts. The room that a burst needed is given back after it.
    #[inline]
    fn bury(&mut self, is_live: impl Fn(&Item) -> bool) {
        while self.run.pop_if(|item| !is_live(item)).is_some() {}
        while self.late.peek().is_some_and(|item| !is_live(&item.0)) {
            self.late.pop();
        }
        if self.live == 0 && self.run.capacity() + self.late.capacity() > KEPT {
            *self = Near::default();
        }
    }

    /// Items held, the dead ones too.
    #[cfg(test)]
    pub(super) fn items(&self) -> usize {
        self.run.len() + self.late.len()
    }
}
