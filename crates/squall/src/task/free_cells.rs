//! The stack of free registry cells: last released, first leased.
//!
//! It has no lock (a lock could be held by another thread at the moment of a `fork`, and the child could never lease
//! again). `tests/loom.rs` includes this file with loom's atomics, so nothing here names `std::sync::atomic`.

use super::atomics::{AtomicU32, AtomicU64, Ordering};

/// A change counter (against ABA) over the home number of the top cell, 0 for none. Cells link to the next below.
///
/// # Invariant
/// A cell stands in the stack at most once, and its link is written only by whoever holds the cell. A link that is read by
/// somebody whose exchange then fails may be out of date: the value is not used.
pub(crate) struct FreeCells {
    top: AtomicU64,
}

impl FreeCells {
    /// An empty stack in that word, which must be 0 (loom's atomics have no `const` constructor, a static needs one).
    pub(crate) const fn over(top: AtomicU64) -> FreeCells {
        FreeCells { top }
    }

    /// Takes the cell that was put back last. All that its last holder did happens before.
    pub(crate) fn pop<'a>(&self, link_of: impl Fn(u32) -> &'a AtomicU32) -> Option<u32> {
        let mut top = self.top.load(Ordering::Acquire);
        loop {
            let home = top as u32;
            if home == 0 {
                return None;
            }
            let below = link_of(home).load(Ordering::Relaxed);
            match self.top.compare_exchange_weak(
                top,
                changed(top, below),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(home),
                Err(now) => top = now,
            }
        }
    }

    /// Puts a cell back.
    pub(crate) fn push(&self, home: u32, link: &AtomicU32) {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            link.store(top as u32, Ordering::Relaxed);
            match self.top.compare_exchange_weak(top, changed(top, home), Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

fn changed(top: u64, home: u32) -> u64 {
    (top >> 32).wrapping_add(1) << 32 | u64::from(home)
}
