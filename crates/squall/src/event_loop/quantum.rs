//! How many polls may pass before the driver is consulted inside a turn.
//!
//! The driver is asked after at most [`MOST_POLLS_BETWEEN_LOOKS`] polls, however cheap, and sooner when polls are expensive: the number
//! follows the measured time so that it is about [`TARGET_NS`] of work. A fixed number was rejected: 61 polls of 10 ns make the
//! system call the main cost, 61 polls of 1 ms delay every socket by 61 ms. A clock read per poll costs five yields.

use std::cell::Cell;

/// The most polls between two looks at the driver. A bound that holds from the first turn, before anything is measured.
pub const MOST_POLLS_BETWEEN_LOOKS: u32 = 1024;
const LEAST: u32 = 8;
const START: u32 = 64;
const TARGET_NS: u64 = 100_000;

pub(super) struct Quantum {
    left: Cell<u32>,
    length: Cell<u32>,
    /// Polls up to where this stretch began.
    before: Cell<u64>,
    /// When the driver was consulted last, if that began the stretch of work that goes on now.
    since_ns: Cell<Option<u64>>,
    is_fixed: bool,
}

impl Quantum {
    /// Under virtual time the length is fixed: it must not depend on how fast the machine is.
    pub(super) fn new(is_fixed: bool) -> Quantum {
        Quantum {
            left: Cell::new(START),
            length: Cell::new(START),
            before: Cell::new(0),
            since_ns: Cell::new(None),
            is_fixed,
        }
    }

    #[inline]
    pub(super) fn left(&self) -> u32 {
        self.left.get()
    }

    #[inline]
    pub(super) fn spend(&self, polls: u32) {
        self.left.set(self.left.get() - polls);
    }

    /// Polls so far.
    pub(super) fn spent(&self) -> u64 {
        self.before.get() + u64::from(self.length.get() - self.left.get())
    }

    /// The driver was consulted in the midst of work.
    pub(super) fn renew(&self, now_ns: u64) {
        self.before.set(self.spent());
        if !self.is_fixed {
            if let Some(since) = self.since_ns.replace(Some(now_ns)) {
                self.length.set(adapt(self.length.get(), now_ns.saturating_sub(since)));
            }
        }
        self.left.set(self.length.get());
    }

    /// The loop slept: what comes next is a new stretch.
    #[inline]
    pub(super) fn restart(&self) {
        self.before.set(self.spent());
        self.since_ns.set(None);
        self.left.set(self.length.get());
    }
}

/// The next length, after `length` polls took `took_ns`. It shrinks at once and doubles at most.
fn adapt(length: u32, took_ns: u64) -> u32 {
    let wanted = u64::from(length) * TARGET_NS / took_ns.max(1);
    wanted.clamp(u64::from(LEAST), u64::from((length * 2).min(MOST_POLLS_BETWEEN_LOOKS))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_the_work_and_never_passes_its_bounds() {
        assert_eq!(adapt(64, 640), 128, "cheap polls: doubles at most");
        assert_eq!(adapt(MOST_POLLS_BETWEEN_LOOKS, 1), MOST_POLLS_BETWEEN_LOOKS);
        assert_eq!(adapt(64, 2 * TARGET_NS), 32, "twice the target: half the polls");
        assert_eq!(
            adapt(MOST_POLLS_BETWEEN_LOOKS, u64::MAX),
            LEAST,
            "one endless poll: back to the least at once"
        );
        assert_eq!(adapt(LEAST, 0), 2 * LEAST);
    }

    #[test]
    fn under_virtual_time_the_length_is_fixed() {
        let quantum = Quantum::new(true);
        for now in [0, 1, 1 << 40] {
            quantum.spend(quantum.left());
            quantum.renew(now);
            assert_eq!(quantum.left(), START);
        }
    }
}
