//! Where stacks come from: a few large mappings for each loop, cut into stacks with a guard below each.
//!
//! A mapping for each stack was rejected: with its guard it is two areas to the kernel, which allows a process 65,530, so fibers would end at
//! 32,700; and making one costs a hundred times what a switch does. Here a mapping is reserved for many, twice as many each time, and opened
//! piece by piece. The guards are marks in the page tables (`MADV_GUARD_INSTALL`, Linux 6.13), which split no area; older kernels and other
//! systems leave the guard unopened instead, and there the limit holds.
//!
//! ```text
//!   one mapping:   │ guard │ stack 0 │ guard │ stack 1 │ … │ guard │ stack n │ not opened yet … │
//!   one stack:     limit   floor ◀───────── grows down ───── base │ colour │ top
//! ```
//!
//! Tops would all be at the same place of their pages, and a thousand fibers would share a few lines of each cache: so the first frame
//! of each stack lies a little lower than that of the one before (its *colour*), within the page that it uses anyway.
//!
//! # What becomes of a stack
//! It goes back to its pool when its coroutine has ended. The pool keeps the memory of the last few, and a little of some more; that of the others is
//! given back to the system and only their addresses are kept. A coroutine that is leaked (forgotten with its loop, or given up) keeps its stack for ever: nothing is ever unmapped,
//! and only a `Stack` that is dropped goes back. So what borrows from a leaked stack stays valid.

use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// Guards and stacks are as long at least; a guard is longer than a page where it can be, for foreign code whose large frames skip one. (Rust
/// touches every page it passes.)
const LEAST_BYTES: usize = 16 * 1024;
const MOST_BYTES: usize = 1 << 30;
/// So many pooled stacks keep their memory, whatever it is,
const HOT: usize = 64;
/// and so many what lies next to their tops.
const WARM: usize = 1024;
const WARM_BYTES: usize = 8 * 1024;
/// What is looked at to see whether more was used. Code touches every page that it passes, and none is smaller.
const PROBED_BYTES: usize = 4096;
/// So many stacks are opened by one system call.
const OPENED_AT_ONCE: usize = 16;
const FIRST_MAPPING_BYTES: usize = 16 << 20;
const LARGEST_MAPPING_BYTES: usize = 8 << 30;
/// A power of two.
const COLOURS: usize = 8;
const COLOUR_BYTES: usize = 256;
/// Handles have twelve bits for the loop.
const LOOPS: usize = 1 << 12;

/// How a guard is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Guards {
    /// Marks in the page tables.
    Marks,
    /// Memory that is never opened: an area of its own to the kernel.
    Gaps,
}

/// The stacks of one loop's cell, of all sizes. They carry on from lease to lease, like its slots.
pub(super) struct Stacks {
    pools: RefCell<Vec<&'static Pool>>,
}

/// How many stacks there are on a loop, and what they take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct StackTotals {
    /// Stacks of fibers that have not ended, and those that were leaked.
    pub in_use: usize,
    /// Stacks that wait for the next fiber.
    pub pooled: usize,
    /// Addresses that are reserved for stacks, in bytes. Memory is used only where a stack was touched.
    pub reserved_bytes: usize,
}

impl Stacks {
    /// Those of a loop, by its place in the registry.
    pub(super) fn of_loop(home: u32) -> &'static Stacks {
        static ALL: [AtomicPtr<Stacks>; LOOPS] = [const { AtomicPtr::new(null_mut()) }; LOOPS];
        let place = &ALL[home as usize];
        // Written by the thread that holds the lease only; a release and an acquire of the lease lie between two of them.
        let mut stacks = place.load(Ordering::Acquire);
        if stacks.is_null() {
            stacks = Box::into_raw(Box::new(Stacks { pools: RefCell::new(Vec::new()) }));
            place.store(stacks, Ordering::Release);
        }
        // SAFETY: made by `Box` above and never freed.
        unsafe { &*stacks }
    }

    /// A stack with room for at least so many bytes.
    pub(super) fn take(&self, bytes: usize) -> io::Result<Stack> {
        self.pool(bytes)?.take()
    }

    /// One whose memory is all zeros.
    pub(super) fn take_clean(&self, bytes: usize) -> io::Result<Stack> {
        let stack = self.pool(bytes)?.take()?;
        stack.clear();
        Ok(stack)
    }

    fn pool(&self, bytes: usize) -> io::Result<&'static Pool> {
        if bytes > MOST_BYTES {
            let text = format!("a fiber's stack of {bytes} bytes: {MOST_BYTES} are the most");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let bytes = bytes.max(least_bytes()).next_power_of_two();
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| pool.bytes == bytes) {
            return Ok(pool);
        }
        let pool: &'static Pool = Box::leak(Box::new(Pool::new(bytes, guards())));
        pools.push(pool);
        Ok(pool)
    }

    pub(super) fn totals(&self) -> StackTotals {
        let mut totals = StackTotals::default();
        for pool in self.pools.borrow().iter() {
            totals.in_use += pool.in_use.get();
            totals.pooled += pool.warm.borrow().len() + pool.cold.borrow().len();
            totals.reserved_bytes += pool.reserved.get();
        }
        totals
    }
}

/// Stacks of one size.
///
/// # Invariant
/// Touched only by the thread whose loop holds the lease of the cell. Addresses in `warm`, `cold` and from `next` on belong to no `Stack`; the
/// memory between `next` and `opened` may be read and written, that of its guards excepted.
pub(super) struct Pool {
    bytes: usize,
    guard_bytes: usize,
    guards: Guards,
    warm: RefCell<Vec<usize>>,
    cold: RefCell<Vec<usize>>,
    /// Of the newest mapping: where the next stack begins (its guard), up to where memory is open, and the end.
    next: Cell<usize>,
    opened: Cell<usize>,
    end: Cell<usize>,
    next_mapping: Cell<usize>,
    reserved: Cell<usize>,
    in_use: Cell<usize>,
}

impl Pool {
    fn new(bytes: usize, guards: Guards) -> Pool {
        let guard_bytes = least_bytes();
        let stride = bytes + guard_bytes;
        Pool {
            bytes,
            guard_bytes,
            guards,
            warm: RefCell::new(Vec::with_capacity(WARM)),
            cold: RefCell::new(Vec::new()),
            next: Cell::new(0),
            opened: Cell::new(0),
            end: Cell::new(0),
            next_mapping: Cell::new((FIRST_MAPPING_BYTES / stride).max(1) * stride),
            reserved: Cell::new(0),
            in_use: Cell::new(0),
        }
    }

    fn take(&'static self) -> io::Result<Stack> {
        let pooled = self.warm.borrow_mut().pop();
        let limit = match pooled {
            Some(limit) => limit,
            None => self.take_another()?,
        };
        self.in_use.set(self.in_use.get() + 1);
        let colour = limit / LEAST_BYTES % COLOURS * COLOUR_BYTES;
        Ok(Stack { pool: self, limit, base: limit + self.stride() - colour })
    }

    #[cold]
    fn take_another(&self) -> io::Result<usize> {
        if let Some(limit) = self.cold.borrow_mut().pop() {
            return Ok(limit);
        }
        let limit = self.cut().map_err(|error| self.explain(&error))?;
        self.next.set(limit + self.stride());
        Ok(limit)
    }

    /// The next piece of the newest mapping, open and guarded.
    fn cut(&self) -> io::Result<usize> {
        if self.next.get() == self.end.get() {
            self.reserve()?;
        }
        let limit = self.next.get();
        if limit == self.opened.get() {
            let stacks = if self.guards == Guards::Marks { OPENED_AT_ONCE } else { 1 };
            let to = (limit + stacks * self.stride()).min(self.end.get());
            let from = if self.guards == Guards::Marks { limit } else { limit + self.guard_bytes };
            open(from, to - from)?;
            self.opened.set(to);
        }
        if self.guards == Guards::Marks {
            guard(limit, self.guard_bytes)?;
        }
        Ok(limit)
    }

    /// Another mapping: as large as the system lets it be, down to a single stack.
    fn reserve(&self) -> io::Result<()> {
        let mut bytes = self.next_mapping.get();
        let begin = loop {
            match map(bytes) {
                Ok(begin) => break begin,
                Err(error) if bytes == self.stride() => return Err(error),
                Err(_) => bytes = (bytes / 2 / self.stride()).max(1) * self.stride(),
            }
        };
        self.next.set(begin);
        self.opened.set(begin);
        self.end.set(begin + bytes);
        self.reserved.set(self.reserved.get() + bytes);
        self.next_mapping
            .set((bytes * 2).min(LARGEST_MAPPING_BYTES / self.stride() * self.stride()).max(self.stride()));
        Ok(())
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        let advice = match self.guards {
            Guards::Marks => {
                "let fewer fibers live at once, give them smaller stacks, or raise the limit of the process's address space"
            }
            Guards::Gaps => {
                "let fewer fibers live at once, or raise the sysctl vm.max_map_count: on this kernel every stack takes two areas"
            }
        };
        io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "no stack of {} bytes can be had beside the {} in use ({error}): {advice}",
                self.bytes,
                self.in_use.get()
            ),
        )
    }

    fn stride(&self) -> usize {
        self.bytes + self.guard_bytes
    }

    #[inline]
    fn put_back(&self, limit: usize) {
        self.in_use.set(self.in_use.get() - 1);
        let mut warm = self.warm.borrow_mut();
        if warm.len() < HOT {
            warm.push(limit);
        } else {
            drop(warm);
            self.put_back_cooler(limit);
        }
    }

    #[inline(never)]
    fn put_back_cooler(&self, limit: usize) {
        let floor = limit + self.guard_bytes;
        let mut warm = self.warm.borrow_mut();
        if warm.len() < WARM {
            let lower = self.bytes.saturating_sub(WARM_BYTES);
            if lower > 0 && is_used(floor + lower - PROBED_BYTES) {
                forget(floor, lower);
            }
            warm.push(limit);
        } else {
            drop(warm);
            forget(floor, self.bytes);
            self.cold.borrow_mut().push(limit);
        }
    }
}

/// A stack and the right to run on it. Dropped, it goes back to its pool.
///
/// # Invariant
/// The only one with its `limit`. From `limit` on lie a guard, and then `pool.bytes` bytes that may be read and written. It is dropped on the thread
/// that holds the lease, and only when nothing on it will ever run again or be looked at.
pub(super) struct Stack {
    pool: &'static Pool,
    limit: usize,
    /// Where its first frame begins.
    base: usize,
}

impl Stack {
    pub(super) fn span(&self) -> Span {
        let floor = self.limit + self.pool.guard_bytes;
        Span { limit: self.limit, floor, top: floor + self.pool.bytes }
    }

    fn clear(&self) {
        let span = self.span();
        forget(span.floor, span.bytes());
        if cfg!(not(any(target_os = "linux", target_os = "android"))) {
            // Elsewhere the advice need not clear anything.
            // SAFETY: the stack's own bytes, and nothing runs on it yet.
            unsafe { std::ptr::write_bytes(span.floor as *mut u8, 0, span.bytes()) };
        }
    }
}

// SAFETY: the memory between the two is a stack of at least 16 KiB less its colour, with a guard at its lower end (the invariant of `Stack`), and it is
// nobody else's until this is dropped.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.base).expect("no mapping lies at zero")
    }

    #[inline]
    fn limit(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.limit).expect("no mapping lies at zero")
    }
}

impl Drop for Stack {
    #[inline]
    fn drop(&mut self) {
        self.pool.put_back(self.limit);
    }
}

/// Where a stack lies: its guard from `limit` to `floor`, and its usable bytes up to `top`.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Span {
    pub(super) limit: usize,
    pub(super) floor: usize,
    pub(super) top: usize,
}

impl Span {
    pub(super) fn bytes(self) -> usize {
        self.top - self.floor
    }

    /// How many bytes of a stack that began clean were ever used: down to the lowest word that is not zero.
    ///
    /// # Safety
    /// The span of a live stack, whose memory stays until this returns.
    pub(super) unsafe fn used(self) -> usize {
        let mut at = self.floor;
        // SAFETY: by the contract. Volatile, since to the compiler nobody has written here.
        while at < self.top && unsafe { (at as *const usize).read_volatile() } == 0 {
            at += size_of::<usize>();
        }
        self.top - at
    }
}

/// Whether this piece of a stack on which nothing runs was used since its memory was given back. A page that was not is the system's page of zeros,
/// which is in the cache; asking the system (`mincore`) takes ten times as long.
fn is_used(begin: usize) -> bool {
    // SAFETY: usable memory of a stack that is nobody's, aligned to a page.
    let words = unsafe { std::slice::from_raw_parts(begin as *const u64, PROBED_BYTES / size_of::<u64>()) };
    words.iter().fold(0, |all, word| all | word) != 0
}

// --- the system ------------------------------------------------------------------------------------------------------

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reserves addresses; nothing of them may be touched.
fn map(bytes: usize) -> io::Result<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let begin = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if begin == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A huge page would make the first word that a fiber writes cost two megabytes. Kernels without them refuse the advice.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: advice about the mapping made above.
    unsafe {
        libc::madvise(begin, bytes, libc::MADV_NOHUGEPAGE)
    };
    Ok(begin as usize)
}

/// Makes reserved memory usable.
fn open(begin: usize, bytes: usize) -> io::Result<()> {
    // SAFETY: called for pieces of a pool's own mapping that belong to no stack yet.
    done(unsafe { libc::mprotect(begin as *mut _, bytes, libc::PROT_READ | libc::PROT_WRITE) })
}

/// Makes a guard of opened memory.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn guard(begin: usize, bytes: usize) -> io::Result<()> {
    const MADV_GUARD_INSTALL: libc::c_int = 102;
    // SAFETY: called for the lowest bytes of a piece of a pool's own mapping that belongs to no stack yet.
    done(unsafe { libc::madvise(begin as *mut _, bytes, MADV_GUARD_INSTALL) })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn guard(_: usize, _: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives memory back to the system; the addresses stay.
fn forget(begin: usize, bytes: usize) {
    // SAFETY: called for the usable bytes of a stack on which nothing runs. A refusal would keep the memory, which is no harm.
    unsafe { libc::madvise(begin as *mut _, bytes, libc::MADV_DONTNEED) };
}

/// `LEAST_BYTES`, or a page where that is more.
fn least_bytes() -> usize {
    // SAFETY: a query without arguments that can be wrong.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(0).max(LEAST_BYTES)
}

/// What this kernel can do, tried once on a page of its own.
fn guards() -> Guards {
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        1 => Guards::Marks,
        2 => Guards::Gaps,
        _ => {
            let bytes = least_bytes();
            let has_marks = map(bytes).is_ok_and(|page| {
                let installed = open(page, bytes).and_then(|()| guard(page, bytes)).is_ok();
                // SAFETY: mapped above, and used by nobody.
                unsafe { libc::munmap(page as *mut _, bytes) };
                installed
            });
            KNOWN.store(if has_marks { 1 } else { 2 }, Ordering::Relaxed);
            if has_marks { Guards::Marks } else { Guards::Gaps }
        }
    }
}

#[cfg(all(test, not(miri)))]
mod tests;
