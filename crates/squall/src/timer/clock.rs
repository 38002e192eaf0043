//! Where time comes from: the one place of the crate that asks the operating system.
//!
//! The real clock is monotonic and counts from one base for the whole process, so that an instant means the same on
//! every loop and can be handed from thread to thread. A base per loop was rejected: a deadline that travels with a
//! message would silently mean another time on arrival. The raw kernel value was rejected too: std does not give it,
//! and the operating systems do not agree on its origin.
//!
//! The count starts at [`BASE_NS`], not at zero, because programs ask for times before they started ("an hour
//! ago") and get them from others (a `std::time::Instant` taken before the first loop ran).
//!
//! A virtual clock belongs to one loop and stands still until the loop moves it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What the real clock shows at its base: some nine years, which leaves 575 years to come.
const BASE_NS: u64 = 1 << 58;

/// The same for all loops: fixed when somebody first asks.
fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// A loop's clock.
#[derive(Debug)]
pub(crate) enum Clock {
    /// Holds a copy of the base: a read is one call and one subtraction.
    Real {
        base: Instant,
    },
    Virtual {
        now_ns: Cell<u64>,
    },
}

impl Clock {
    pub(crate) fn real() -> Clock {
        Clock::Real { base: base() }
    }

    pub(crate) fn virtual_from(now_ns: u64) -> Clock {
        Clock::Virtual { now_ns: Cell::new(now_ns) }
    }

    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        match self {
            Clock::Real { base } => since(*base, Instant::now()),
            Clock::Virtual { now_ns } => now_ns.get(),
        }
    }

    #[inline]
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Clock::Virtual { .. })
    }

    /// Moves a virtual clock. It never goes back: an earlier time changes nothing.
    ///
    /// # Panics
    /// On the real clock, which nobody moves.
    pub(crate) fn advance_to(&self, to_ns: u64) {
        match self {
            Clock::Virtual { now_ns } => now_ns.set(now_ns.get().max(to_ns)),
            Clock::Real { .. } => panic!("the real clock cannot be advanced: give the loop a virtual one"),
        }
    }
}

/// The real clock's count for an instant of std, before the base too. Instants out of range give the nearest end.
pub(crate) fn real_from_std(instant: Instant) -> u64 {
    let base = base();
    if instant >= base {
        since(base, instant)
    } else {
        BASE_NS.saturating_sub(nanos(base.duration_since(instant)))
    }
}

/// The instant of std for a count of the real clock.
pub(crate) fn real_to_std(ns: u64) -> Instant {
    let base = base();
    let instant = match ns.checked_sub(BASE_NS) {
        Some(after) => base.checked_add(Duration::from_nanos(after)),
        None => base.checked_sub(Duration::from_nanos(BASE_NS - ns)),
    };
    // Unix counts seconds in a signed 64-bit number: nine years back and 575 ahead are far from its ends.
    instant.expect("std::time::Instant spans every time of the real clock")
}

#[inline]
fn since(base: Instant, now: Instant) -> u64 {
    BASE_NS.saturating_add(nanos(now.saturating_duration_since(base)))
}

/// `as_nanos` would go through 128 bits, at every read of the clock.
#[inline]
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_clocks_share_one_count_that_never_goes_back() {
        let (one, other) = (Clock::real(), Clock::real());
        let first = one.now_ns();
        let second = other.now_ns();
        let third = one.now_ns();
        assert!(BASE_NS <= first && first <= second && second <= third);
        assert!(!one.is_virtual());
    }

    #[test]
    fn a_virtual_clock_moves_when_told_and_never_back() {
        let clock = Clock::virtual_from(5);
        assert!(clock.is_virtual());
        assert_eq!(clock.now_ns(), 5);
        clock.advance_to(9);
        clock.advance_to(7);
        assert_eq!(clock.now_ns(), 9);
        clock.advance_to(u64::MAX);
        assert_eq!(clock.now_ns(), u64::MAX);
    }

    #[test]
    #[should_panic(expected = "cannot be advanced")]
    fn the_real_clock_cannot_be_moved() {
        Clock::real().advance_to(u64::MAX);
    }

    #[test]
    fn instants_of_std_go_there_and_back_unchanged() {
        for ns in [0, 1, BASE_NS - 1, BASE_NS, BASE_NS + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!(real_from_std(real_to_std(ns)), ns);
        }
        let now = Instant::now();
        assert_eq!(real_to_std(real_from_std(now)), now);
        let before = real_to_std(0).checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(real_from_std(before), 0, "before the count began: its beginning");
    }
}
