//! What the next polls will touch, brought into the cache while the current one runs.
//!
//! Tasks that the driver has woken were last touched before the kernel served hundreds of other connections: their slot and their future
//! are in the last cache at best, and waiting for them was a quarter of an echo's cost above the kernel's. Tasks that wake each
//! other are in the cache already, so the loop looks ahead only after the driver has woken many.

use super::table::Tasks;

/// How much of a task is fetched: the head, and the state of a future of the usual size.
const LINES: usize = 4;
const LINE_BYTES: usize = 64;

impl Tasks {
    /// To be called before a poll: fetches the slot of the task after next, and the next task, whose slot is there by now.
    #[inline(always)]
    pub(crate) fn fetch_ahead(&self) {
        // Beyond the queue's end are old entries: fetching for those is in vain, not wrong.
        if let Some(slot) = self.cell.slot(self.ready.peek(2)) {
            fetch(slot);
        }
        if let Some(slot) = self.cell.slot(self.ready.peek(1)) {
            let task = slot.task.get().cast::<u8>();
            for line in 0..LINES {
                fetch(task.wrapping_add(line * LINE_BYTES));
            }
        }
    }
}

/// A hint. It reads nothing, so the address may be any.
#[inline(always)]
fn fetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction is part of the architecture's baseline and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    // Elsewhere there is no stable way to say it.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
