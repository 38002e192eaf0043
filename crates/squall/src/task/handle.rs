//! The number behind every waker: which loop, which slot, which generation.
//!
//! A reference-counted pointer was rejected: each clone and drop touches memory, a wake from another thread
//! must keep the task alive, and every runtime that hand-counts has shipped a use after free. A number can be
//! copied, kept for ever and sent anywhere; at worst it is stale, and a stale wake is a spurious poll or nothing.
//!
//! ```text
//! 63        52 51                    30 29                              0
//! ┌───────────┬────────────────────────┬────────────────────────────────┐
//! │ home: 12  │ slot: 22               │ generation: 30                 │
//! └───────────┴────────────────────────┴────────────────────────────────┘
//! home 1..=4094: a loop's registry cell + 1 (so a handle is never zero);
//! home 4095: not a task, an entry of the loop's table of foreign wakers.
//! ```
//!
//! Generations are even while a task is live and odd once it has ended. They never wrap: a slot whose
//! generation is used up is retired (64 bytes lost for every 2^29 tasks that lived in it), so the same number may also
//! be trusted by what reads results, such as a [`JoinHandle`](super::JoinHandle).

use std::num::NonZeroU64;

pub(crate) const MAX_LOOPS: u32 = 4094;
pub(crate) const MAX_SLOTS: u32 = 1 << SLOT_BITS;
/// The last generation that is handed out; a slot that would pass it is retired.
pub(crate) const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 2;

const SLOT_BITS: u32 = 22;
const GENERATION_BITS: u32 = 30;
const FOREIGN_HOME: u64 = 4095;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

/// A task's (or a foreign waker's) plain 64-bit name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle(NonZeroU64);

impl Handle {
    /// `home` is a registry cell's index + 1.
    #[inline]
    pub(crate) fn task(home: u32, slot: u32, generation: u32) -> Handle {
        debug_assert!(
            (1..=MAX_LOOPS).contains(&home) && slot < MAX_SLOTS && generation <= LAST_GENERATION + 1
        );
        Self::pack(u64::from(home), slot, generation)
    }

    #[inline]
    pub(crate) fn foreign(entry: u32, generation: u32) -> Handle {
        Self::pack(FOREIGN_HOME, entry, generation & GENERATION_MASK as u32)
    }

    #[inline]
    fn pack(home: u64, slot: u32, generation: u32) -> Handle {
        let bits = home << (SLOT_BITS + GENERATION_BITS)
            | u64::from(slot) << GENERATION_BITS
            | u64::from(generation);
        Handle(NonZeroU64::new(bits).expect("home is never zero"))
    }

    #[inline]
    pub(crate) fn from_bits(bits: NonZeroU64) -> Handle {
        Handle(bits)
    }

    #[inline]
    pub(crate) fn bits(self) -> NonZeroU64 {
        self.0
    }

    #[inline]
    pub(crate) fn home(self) -> u32 {
        (self.0.get() >> (SLOT_BITS + GENERATION_BITS)) as u32
    }

    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        u64::from(self.home()) == FOREIGN_HOME
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        (self.0.get() >> GENERATION_BITS & SLOT_MASK) as u32
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0.get() & GENERATION_MASK) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_gives_back_its_parts() {
        for (home, slot, generation) in
            [(1, 0, 0), (MAX_LOOPS, MAX_SLOTS - 1, LAST_GENERATION + 1), (17, 4, 6)]
        {
            let handle = Handle::task(home, slot, generation);
            assert_eq!((handle.home(), handle.slot(), handle.generation()), (home, slot, generation));
            assert_eq!(Handle::from_bits(handle.bits()).bits(), handle.bits());
            assert!(!handle.is_foreign());
        }
        let foreign = Handle::foreign(9, 3);
        assert!(foreign.is_foreign());
        assert_eq!((foreign.slot(), foreign.generation()), (9, 3));
    }
}
