//! The static registry of loops: cells that are made once, leased by one loop after another, and never freed.
//!
//! A waker may be used long after its loop has ended, from any thread, so all that a wake touches must be immortal: the
//! cell, its pages of slots, its inbox and its notifier descriptor (closing a descriptor that another thread is about to
//! write to is how a wake ends up in somebody's file). Reference-counted loops were rejected: every waker would have to count.
//!
//! Cells are handed out last released first (`free_cells.rs`). Thousands of loops, one after another, use one cell.

use super::atomics::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use super::calls::CALL;
use super::free_cells::FreeCells;
use super::handle::{Handle, MAX_LOOPS, MAX_SLOTS};
use super::inbox::{MessageStack, Sleep, WakeStack};
use super::message::Envelope;
use super::slot::{Cold, Slot};
use crate::driver::Notifier;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

const FIRST_PAGE: u32 = 64;
/// One for every length in bits of a slot's number + 64: the first six stay empty, and no index is ever out of bounds.
const PAGES: usize = 32;

/// What outlives a loop.
///
/// # Invariant
/// Reached through `&'static` for ever. `pages[k]` is null or belongs to an array of the `1 << k` slots from number `(1 << k) - 64` on, which
/// is never unmapped; the pointer is to where slot 0 would lie, so that a lookup only adds the number. Likewise `cold[k]`. Cells inside slots, and all of `cold`, belong to the thread whose loop holds the lease.
pub(crate) struct LoopCell {
    pub(crate) index: u32,
    next_free: AtomicU32,
    /// Odd while leased; every lease has its own number.
    lease: AtomicU64,
    fork: AtomicU32,
    pages: [AtomicPtr<Slot>; PAGES],
    cold: [AtomicPtr<Cold>; PAGES],
    pub(crate) wakes: WakeStack,
    pub(crate) messages: MessageStack<Envelope>,
    pub(crate) sleep: Sleep,
    notifier: AtomicPtr<Notifier>,
    notifier_fork: AtomicU32,
    /// Where the next lease's sockets and timers start counting their generations. Only the lease holder looks.
    pub(crate) next_generation: AtomicU64,
    /// The lease's number (32 bits of it) over the count of other threads' work that it waits for.
    pending_work: AtomicU64,
    /// Set by a loop that sleeps without a descriptor (the null driver).
    pub(crate) uses_bell: AtomicBool,
    bell: Mutex<bool>,
    rung: Condvar,
}

static CELLS: [AtomicPtr<LoopCell>; MAX_LOOPS as usize] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_LOOPS as usize];
/// Cells ever made.
static MADE: AtomicU32 = AtomicU32::new(0);
static FREE: FreeCells = FreeCells::over(AtomicU64::new(0));
/// Counts the forks behind this process; a lease of an older count belongs to the parent.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is a plain function that adds to an atomic, which is async-signal-safe. If registering fails for
        // want of memory, forks go unnoticed, as they would without it.
        #[cfg(not(miri))]
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
        #[cfg(miri)]
        let _ = in_child;
    });
}

/// Leases a cell: the last one released, else a new one.
pub(crate) fn lease() -> io::Result<&'static LoopCell> {
    watch_forks();
    let cell = match FREE.pop(|home| &made(home).next_free) {
        Some(home) => made(home),
        None => make()?,
    };
    cell.fork.store(FORKS.load(Ordering::Relaxed), Ordering::Relaxed);
    cell.messages.open();
    let lease = cell.lease.fetch_add(1, Ordering::AcqRel) + 1;
    cell.pending_work.store(lease << 32, Ordering::Relaxed);
    Ok(cell)
}

fn make() -> io::Result<&'static LoopCell> {
    let mut made = MADE.load(Ordering::Relaxed);
    loop {
        if made == MAX_LOOPS {
            return Err(io::Error::other(format!(
                "{MAX_LOOPS} event loops exist in this process already, the most that wakers can name: end some first"
            )));
        }
        match MADE.compare_exchange_weak(made, made + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => made = now,
        }
    }
    let cell = Box::leak(Box::new(LoopCell {
        index: made,
        next_free: AtomicU32::new(0),
        lease: AtomicU64::new(0),
        fork: AtomicU32::new(0),
        pages: first_pages(),
        cold: [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES],
        wakes: WakeStack::new(),
        messages: MessageStack::new_closed(),
        sleep: Sleep::new(),
        notifier: AtomicPtr::new(std::ptr::null_mut()),
        notifier_fork: AtomicU32::new(0),
        next_generation: AtomicU64::new(1),
        pending_work: AtomicU64::new(0),
        uses_bell: AtomicBool::new(false),
        bell: Mutex::new(false),
        rung: Condvar::new(),
    }));
    CELLS[made as usize].store(cell, Ordering::Release);
    Ok(cell)
}

/// No pages yet, but for the slot of the callbacks' mark: the loop's look at it finds a slot that is free, and nothing is ever written there.
fn first_pages() -> [AtomicPtr<Slot>; PAGES] {
    static MARK: Slot = Slot::free();
    const { assert!(LoopCell::page_of(CALL) < LoopCell::page_of(0), "the mark's page holds no task's slot") };
    let pages = [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES];
    let base = (&raw const MARK).cast_mut().wrapping_sub(CALL as usize);
    pages[LoopCell::page_of(CALL)].store(base, Ordering::Relaxed);
    pages
}

/// The cell of a home number (index + 1); `None` for 0 and for homes that were never made.
pub(crate) fn cell_of(home: u32) -> Option<&'static LoopCell> {
    let cell = CELLS.get(home.wrapping_sub(1) as usize)?.load(Ordering::Acquire);
    // SAFETY: a non-null entry is a leaked box.
    unsafe { cell.as_ref() }
}

fn made(home: u32) -> &'static LoopCell {
    cell_of(home).expect("a cell is made before it is released")
}

/// A wake from another thread, or from this one while another loop is current.
#[cold]
#[inline(never)]
pub(crate) fn wake_from_afar(handle: Handle) {
    let Some(cell) = cell_of(handle.home()) else { return };
    let Some(slot) = cell.slot(handle.slot()) else { return };
    // A stale number stops here. One that goes stale after this look wakes a later task for nothing, which is legal.
    // After a fork a lease that came along is the parent's: its memory is a copy, its notifier is not.
    if slot.generation() == handle.generation()
        && !cell.is_inherited()
        && cell.wakes.push(handle.slot(), slot.link())
    {
        cell.notify_if_asleep();
    }
}

impl LoopCell {
    pub(crate) fn home(&self) -> u32 {
        self.index + 1
    }

    pub(crate) fn current_lease(&self) -> u64 {
        self.lease.load(Ordering::Acquire)
    }

    /// True if the process forked after the lease began: it is the parent's loop.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.fork.load(Ordering::Relaxed) != FORKS.load(Ordering::Relaxed)
    }

    /// True if that lease stands, and is not the parent's after a `fork`.
    pub(crate) fn is_leased_here(&self, lease: u64) -> bool {
        self.current_lease() == lease && !self.is_inherited()
    }

    /// Ends the lease: messages are refused from here on, and given back here for the caller to drop.
    pub(crate) fn end_lease(&self) -> Vec<Envelope> {
        self.lease.fetch_add(1, Ordering::AcqRel);
        self.messages.close()
    }

    /// Puts the cell back for the next loop. A cell that a `fork` brought along mid-lease is left alone for ever.
    pub(crate) fn release(&'static self) {
        self.wakes.take(|slot| self.slot_at(slot).link(), |_| ());
        if self.is_inherited() {
            return;
        }
        FREE.push(self.home(), &self.next_free);
    }

    #[inline]
    const fn page_of(slot: u32) -> usize {
        // The `| 1` is for the compiler: without it zero would have no logarithm.
        (slot.wrapping_add(FIRST_PAGE) | 1).ilog2() as usize
    }

    /// The slot of that number, if its page exists.
    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> Option<&Slot> {
        let base = self.pages[Self::page_of(slot)].load(Ordering::Acquire);
        if base.is_null() {
            return None;
        }
        // SAFETY: by the invariant that is the slot's place in its array, which is never unmapped.
        Some(unsafe { &*base.wrapping_add(slot as usize) })
    }

    /// The slot of a number that was handed out.
    #[inline]
    pub(crate) fn slot_at(&self, slot: u32) -> &Slot {
        let base = self.pages[Self::page_of(slot)].load(Ordering::Relaxed);
        if base.is_null() {
            no_slot();
        }
        // SAFETY: as in `slot`.
        unsafe { &*base.wrapping_add(slot as usize) }
    }

    /// The cold half of a slot. Only for the lease holder.
    #[inline]
    pub(crate) fn cold_at(&self, slot: u32) -> &Cold {
        let base = self.cold[Self::page_of(slot)].load(Ordering::Relaxed);
        assert!(!base.is_null(), "a slot number comes from the table");
        // SAFETY: as in `slot`.
        unsafe { &*base.wrapping_add(slot as usize) }
    }

    /// Makes sure that a slot of that number exists; gives the number of slots that exist. Only for the lease holder.
    pub(crate) fn ensure_slot(&self, slot: u32) -> Option<u32> {
        if slot >= MAX_SLOTS {
            return None;
        }
        let page = Self::page_of(slot);
        if self.pages[page].load(Ordering::Relaxed).is_null() {
            let slots = 1_usize << page;
            let bias = slots - FIRST_PAGE as usize;
            self.cold[page].store(zeroed_array::<Cold>(slots).wrapping_sub(bias), Ordering::Relaxed);
            self.pages[page].store(zeroed_array::<Slot>(slots).wrapping_sub(bias), Ordering::Release);
        }
        Some(((2_u32 << page) - FIRST_PAGE).min(MAX_SLOTS))
    }

    /// The notifier, made at the first use (and anew in a forked child, which must not ring its parent's).
    pub(crate) fn notifier(&self) -> io::Result<&'static Notifier> {
        let forks = FORKS.load(Ordering::Relaxed);
        let mut notifier = self.notifier.load(Ordering::Acquire);
        if notifier.is_null() || self.notifier_fork.load(Ordering::Relaxed) != forks {
            notifier = Box::into_raw(Box::new(Notifier::new()?));
            self.notifier_fork.store(forks, Ordering::Relaxed);
            self.notifier.store(notifier, Ordering::Release);
        }
        // SAFETY: leaked on purpose: other threads may hold it at any time.
        Ok(unsafe { &*notifier })
    }

    pub(crate) fn notify_if_asleep(&self) {
        if !self.sleep.must_notify() {
            return;
        }
        if self.uses_bell.load(Ordering::Relaxed) {
            *self.bell() = true;
            self.rung.notify_one();
            return;
        }
        // SAFETY: as in `notifier`.
        if let Some(notifier) = unsafe { self.notifier.load(Ordering::Acquire).as_ref() } {
            notifier.notify();
        }
    }

    /// Sleeps without a descriptor, for a loop on the null driver. True if somebody rang.
    pub(crate) fn sleep_on_bell(&self, at_most: Option<Duration>) -> bool {
        let bell = self.bell();
        let wait = |rung: &mut bool| !*rung;
        let mut bell = match at_most {
            None => self.rung.wait_while(bell, wait).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.rung.wait_timeout_while(bell, limit, wait).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        std::mem::take(&mut *bell)
    }

    pub(crate) fn has_pending_work(&self) -> bool {
        self.pending_work.load(Ordering::Acquire) as u32 > 0
    }

    fn bell(&self) -> MutexGuard<'_, bool> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on another thread that a loop waits for. It may be dropped anywhere, at any time, and after its lease means nothing.
pub(crate) struct PendingWork {
    cell: &'static LoopCell,
    lease: u64,
}

impl PendingWork {
    pub(crate) fn new(cell: &'static LoopCell) -> PendingWork {
        cell.pending_work.fetch_add(1, Ordering::Relaxed);
        PendingWork { cell, lease: cell.current_lease() }
    }
}

impl Drop for PendingWork {
    fn drop(&mut self) {
        let ours = self.lease << 32;
        let less = |work: u64| (work & !0xFFFF_FFFF == ours).then(|| work - 1);
        if self.cell.pending_work.fetch_update(Ordering::Release, Ordering::Relaxed, less).is_ok() {
            // The loop announces its sleep before it looks at the count, so it sees this or is notified.
            self.cell.notify_if_asleep();
        }
    }
}

#[cold]
#[inline(never)]
fn no_slot() -> ! {
    panic!("a slot number comes from the table")
}

/// A leaked array of `len` all-zero `T`s; memory that is never touched costs nothing.
fn zeroed_array<T>(len: usize) -> *mut T {
    let layout = Layout::array::<T>(len).expect("a page of slots fits the address space");
    // SAFETY: the layout is not empty. All-zero bytes are a valid Slot and a valid Cold (said at those types).
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        handle_alloc_error(layout);
    }
    memory.cast()
}
