//! The loop's table of foreign wakers, so that timers and sockets can keep one 64-bit [`Waiter`] for everybody.
//!
//! A future of ours polled by `FuturesUnordered`, `select` or another executor sees a waker that is not a handle. It is
//! cloned into an entry here; the entry's number goes where a task's handle would go. Storing a `Waker` in every
//! timer and socket was rejected: it doubles their size for the rare case.

use super::handle::{Handle, MAX_SLOTS};
use super::table::drop_foreign;
use crate::driver::Waiter;
use std::cell::RefCell;
use std::task::Waker;

#[derive(Default)]
struct Entry {
    waker: Option<Waker>,
    generation: u32,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Default)]
pub(crate) struct ForeignWakers {
    table: RefCell<Table>,
}

impl ForeignWakers {
    /// Takes an owned waker (cloned by the caller: cloning runs foreign code, which must find no borrow here).
    ///
    /// # Panics
    /// With four million of them on one loop.
    pub(crate) fn insert(&self, waker: Waker) -> Waiter {
        let mut table = self.table.borrow_mut();
        let index = table.free.pop().unwrap_or_else(|| {
            let index = table.entries.len() as u32;
            assert!(
                index < MAX_SLOTS,
                "four million foreign wakers wait on one event loop: their table is full"
            );
            table.entries.push(Entry::default());
            index
        });
        let entry = &mut table.entries[index as usize];
        entry.waker = Some(waker);
        Waiter(Handle::foreign(index, entry.generation).bits())
    }

    /// Takes the waker out and frees the entry. The caller wakes or drops it, without a borrow of the loop.
    pub(crate) fn take(&self, waiter: Waiter) -> Option<Waker> {
        let handle = Handle::from_bits(waiter.0);
        let mut table = self.table.borrow_mut();
        let entry = table.entries.get_mut(handle.slot() as usize)?;
        if Handle::foreign(handle.slot(), entry.generation) != handle {
            return None;
        }
        let waker = entry.waker.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        table.free.push(handle.slot());
        Some(waker)
    }

    /// True if the entry's waker would wake what `waker` wakes. (`will_wake` compares two words; it runs no foreign code.)
    pub(crate) fn will_wake(&self, waiter: Waiter, waker: &Waker) -> bool {
        let handle = Handle::from_bits(waiter.0);
        let table = self.table.borrow();
        table.entries.get(handle.slot() as usize).is_some_and(|entry| {
            Handle::foreign(handle.slot(), entry.generation) == handle
                && entry.waker.as_ref().is_some_and(|mine| mine.will_wake(waker))
        })
    }

    /// The number of wakers held now.
    pub(crate) fn len(&self) -> usize {
        let table = self.table.borrow();
        table.entries.len() - table.free.len()
    }

    /// Empties the table; the caller drops what comes out.
    pub(crate) fn drain(&self) -> Vec<Waker> {
        let mut table = std::mem::take(&mut *self.table.borrow_mut());
        table.entries.iter_mut().filter_map(|entry| entry.waker.take()).collect()
    }
}

/// Those that came while the loop was emptying the table: a waker's own destructor may leave another one.
impl Drop for ForeignWakers {
    fn drop(&mut self) {
        for waker in self.drain() {
            drop_foreign(Some(waker));
        }
    }
}
