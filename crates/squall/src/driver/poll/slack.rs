//! Sleeps that end on time: the kernel's timer slack of a thread that runs a loop.
//!
//! Linux ends every wait up to 50 µs late, so as to wake up for several timers at once. For the thread of a loop, whose timers
//! are batched already, that is two thirds of a short sleep's lateness. Rejected: a timerfd among the watched descriptors (not subject to slack, but
//! one more system call for every wait with another deadline); waking early and spinning (it burns what others could use).
//! Threads and programs that are started meanwhile inherit the slack, as they do whatever it is.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    /// How many drivers of this thread want exact waits, and the slack to go back to.
    static EXACT: Cell<(usize, libc::c_ulong)> = const { Cell::new((0, 0)) };
}

/// While one stands, waits of this thread end when they should.
pub(super) struct ExactWaits {
    /// It is a property of the thread.
    _not_send: PhantomData<*const ()>,
}

impl ExactWaits {
    pub(super) fn new() -> ExactWaits {
        let (drivers, before) = EXACT.get();
        let before = if drivers > 0 { before } else { replace_slack(1) };
        EXACT.set((drivers + 1, before));
        ExactWaits { _not_send: PhantomData }
    }
}

impl Drop for ExactWaits {
    fn drop(&mut self) {
        let (drivers, before) = EXACT.get();
        EXACT.set((drivers - 1, before));
        // Zero is what a thread under a real-time policy has: it means the default to the kernel, and is no slack at all there.
        if drivers == 1 {
            replace_slack(before);
        }
    }
}

/// Gives the slack before, in nanoseconds. Where the kernel or a sandbox refuses, waits are late and nothing else is wrong.
fn replace_slack(ns: libc::c_ulong) -> libc::c_ulong {
    // Miri knows neither option.
    if cfg!(miri) {
        return ns;
    }
    // SAFETY: neither option takes a pointer.
    unsafe {
        let before = libc::prctl(libc::PR_GET_TIMERSLACK);
        libc::prctl(libc::PR_SET_TIMERSLACK, ns);
        libc::c_ulong::try_from(before).unwrap_or(0)
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn slack() -> libc::c_int {
        // SAFETY: as in `replace_slack`.
        unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }
    }

    #[test]
    fn the_last_loop_of_a_thread_restores_what_was() {
        let before = slack();
        let first = ExactWaits::new();
        let second = ExactWaits::new();
        drop(first);
        // Where the change is refused, all of it changes nothing.
        let during = slack();
        drop(second);
        assert!(during == 1 || during == before, "{during} ns");
        assert_eq!(slack(), before);
    }
}
