//! A task's entry in its loop's table: 32 bytes that are touched at every wake and every poll, and a cold half that is
//! written at spawn and read when somebody asks.
//!
//! Slots live in pages that are never unmapped while the process lives, so a waker may be used after its
//! task, its loop and its thread have ended. One big reserved mapping was rejected: strict overcommit and small containers
//! refuse it; doubling pages cost one `lzcnt` per lookup. Pages of a past peak are kept for the next loop
//! that leases the same cell: 64 bytes for every task of the largest number that ever lived there at once.
//!
//! # Ownership states
//!
//! ```text
//!            spawn                 popped from the ready queue
//!   FREE ───────────▶ IDLE ◀──────────────────────────────▶ RUNNING
//!    ▲                 │            returned Pending            │
//!    │                 │ abort, teardown          returned Ready, panicked,
//!    │                 ▼                          abort asked while running
//!    │   output ◀── DROPPING ◀──────────────────────────────────┘
//!    │  is taken       │  generation is odd from here: wakes of the task go stale
//!    │  or dropped     ▼  before its future is dropped
//!    └─────────────── DONE  (only while a JoinHandle stands; else straight to FREE)
//! ```
//!
//! | while it is | abort | wake | spawn | JoinHandle dropped |
//! |---|---|---|---|---|
//! | IDLE | drops the future now | queues it, once | – | detaches |
//! | RUNNING (from its own poll) | noted, done when the poll returns | queues it for the next turn | new task, next turn | detaches |
//! | RUNNING (held: a fiber runs that borrows from it) | noted; it is woken, and dropped in its turn | queues it | – | detaches |
//! | DROPPING (from its destructor) | nothing left to do | stale | new task; on a closing loop the future is dropped, the handle has ended | detaches; the output is dropped after |
//! | DONE | nothing | stale | – | the output is dropped, the slot freed |
//! | MEMBER | – | queues it; in its turn the task that polls it is polled | – | – |
//! | FREE | stale | stale (at worst a spurious poll of a later task) | – | – |
//! | any, from another thread | a message to the loop | the inbox, once per slot | a message | a message |

use super::ambient::Ambient;
use super::atomics::{AtomicBool, AtomicU32, Ordering};
use super::context::WaitingOn;
use super::handle::LAST_GENERATION;
use super::inbox::WakeLink;
use super::raw::Header;
use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    Free = 0,
    Idle = 1,
    Running = 2,
    Dropping = 3,
    Done = 4,
    /// A coroutine that a future polls: see `members.rs`.
    Member = 5,
}

const PHASE: u8 = 0b0000_0111;
/// `abort` came while the task was on the call stack.
pub(crate) const ABORTED: u8 = 0b0001_0000;
/// A callback: what is called a task in messages is one of the user's functions here.
pub(crate) const CALLBACK: u8 = 0b1000_0000;
/// A member that is the body of a scope, and stands for the scope.
pub(crate) const SCOPE: u8 = 0b0000_1000;
/// The cold half holds a name, or an ambient.
pub(crate) const NAMED: u8 = 0b0100_0000;
/// A `JoinHandle` stands.
pub(crate) const JOINED: u8 = 0b0010_0000;

/// The hot half.
///
/// # Invariant
/// The cells are touched only by the thread whose loop holds the lease of the page's registry cell. `generation`
/// and the two `wake_` fields may be touched by any thread at any time. All-zero bytes are a valid, free slot.
#[repr(C)]
pub(crate) struct Slot {
    generation: AtomicU32,
    wake_next: AtomicU32,
    wake_queued: AtomicBool,
    state: Cell<u8>,
    waiting_on: Cell<WaitingOn>,
    /// Stands in the ready queue. Set by the first wake, cleared when the slot is popped. A byte of its own: a wake then only stores,
    /// and the state is not carried from wake to poll to wake through memory.
    pub(crate) scheduled: Cell<bool>,
    /// What it waits on, in `waiting_on`'s own terms (a descriptor, a task); in a free slot, the free list's link.
    pub(crate) detail: Cell<u32>,
    pub(crate) place: Cell<Option<&'static Location<'static>>>,
    pub(crate) task: Cell<*mut Header>,
}

// SAFETY: by the invariant above only atomics are ever shared.
unsafe impl Sync for Slot {}

const _: () = assert!(std::mem::size_of::<Slot>() == 32);

impl Slot {
    /// What all-zero bytes are.
    pub(crate) const fn free() -> Slot {
        Slot {
            generation: AtomicU32::new(0),
            wake_next: AtomicU32::new(0),
            wake_queued: AtomicBool::new(false),
            state: Cell::new(Phase::Free as u8),
            waiting_on: Cell::new(WaitingOn::Nothing),
            scheduled: Cell::new(false),
            detail: Cell::new(0),
            place: Cell::new(None),
            task: Cell::new(std::ptr::null_mut()),
        }
    }

    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn link(&self) -> WakeLink<'_> {
        WakeLink { queued: &self.wake_queued, next: &self.wake_next }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        match self.state.get() & PHASE {
            0 => Phase::Free,
            1 => Phase::Idle,
            2 => Phase::Running,
            3 => Phase::Dropping,
            4 => Phase::Done,
            _ => Phase::Member,
        }
    }

    #[inline]
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.state.set(self.state.get() & !PHASE | phase as u8);
    }

    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.state.get() & flag != 0
    }

    #[inline]
    pub(crate) fn set(&self, flag: u8) {
        self.state.set(self.state.get() | flag);
    }

    #[inline]
    pub(crate) fn clear(&self, flag: u8) {
        self.state.set(self.state.get() & !flag);
    }

    /// A new task moves in: idle, queued, with a handle.
    #[inline]
    pub(crate) fn occupy(&self, task: *mut Header, flags: u8) {
        self.task.set(task);
        self.state.set(Phase::Idle as u8 | flags);
        self.scheduled.set(true);
        self.place.set(None);
        self.waiting_on.set(WaitingOn::Nothing);
    }

    /// Begins a poll: off the queue, on the stack, waiting on nothing.
    #[inline]
    pub(crate) fn begin_poll(&self) {
        self.scheduled.set(false);
        self.state.set(self.state.get() & !PHASE | Phase::Running as u8);
        self.waiting_on.set(WaitingOn::Nothing);
    }

    /// The task's own wakes go stale from here; its future may now be dropped.
    #[inline]
    pub(crate) fn begin_drop(&self) {
        let generation = self.generation();
        debug_assert!(generation.is_multiple_of(2), "a task ends once");
        self.generation.store(generation + 1, Ordering::Release);
        self.set_phase(Phase::Dropping);
    }

    /// The output is gone too. False if the slot is used up and must never be handed out again.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        let generation = self.generation();
        debug_assert!(!generation.is_multiple_of(2), "freed before it ended");
        self.task.set(std::ptr::null_mut());
        self.state.set(0);
        if generation > LAST_GENERATION {
            return false;
        }
        self.generation.store(generation + 1, Ordering::Release);
        true
    }

    /// True if a slot of a past lease may never be handed out again: it is used up, or its task was being dropped on a fiber's stack that was given up.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        let generation = self.generation();
        generation > LAST_GENERATION || !generation.is_multiple_of(2)
    }

    #[inline]
    pub(crate) fn note_waiting(&self, on: WaitingOn, detail: u32, place: Option<&'static Location<'static>>) {
        self.waiting_on.set(on);
        self.detail.set(detail);
        self.place.set(place);
    }

    /// A poll begins: what an earlier one has noted is over.
    #[inline]
    pub(crate) fn forget_wait(&self) {
        self.waiting_on.set(WaitingOn::Nothing);
    }

    #[inline]
    pub(crate) fn waiting_on(&self) -> WaitingOn {
        self.waiting_on.get()
    }

    #[cfg(test)]
    pub(crate) fn age_to(&self, generation: u32) {
        self.generation.store(generation, Ordering::Relaxed);
    }
}

/// The cold half: who it is. Same invariant as [`Slot`]; all-zero bytes are valid.
pub(crate) struct Cold {
    /// Counted per loop run, from 1.
    pub(crate) id: Cell<u64>,
    /// The id of the task that spawned it, 0 for none.
    pub(crate) parent: Cell<u64>,
    pub(crate) spawned_at: Cell<Option<&'static Location<'static>>>,
    pub(crate) name: Cell<Option<Box<Box<str>>>>,
    /// What it has around it, and hands on to what it spawns.
    pub(crate) ambient: Cell<Option<Rc<Ambient>>>,
}

// SAFETY: reached only through the lease holder's table.
unsafe impl Sync for Cold {}

const _: () = assert!(std::mem::size_of::<Cold>() == 40);

// All-zero bytes are valid for a niche of std's that is not promised.
const _: () = {
    // SAFETY: both are one word, and without a value there is no pointer.
    let nothing = unsafe { std::mem::transmute::<Option<Rc<Ambient>>, usize>(None) };
    assert!(nothing == 0);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// One life of a slot; true if it may have another.
    fn live(slot: &Slot) -> bool {
        slot.occupy(std::ptr::null_mut(), 0);
        slot.begin_poll();
        slot.begin_drop();
        slot.release()
    }

    #[test]
    fn every_life_has_generations_of_its_own() {
        let slot = Slot::free();
        for life in 0..5 {
            assert_eq!(slot.generation(), 2 * life);
            assert!(live(&slot));
        }
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_is_never_handed_out_again() {
        let slot = Slot::free();
        slot.age_to(LAST_GENERATION - 2);
        assert!(live(&slot) && !slot.is_retired());
        assert!(!live(&slot) && slot.is_retired());
        assert_eq!(slot.phase(), Phase::Free);
    }
}
