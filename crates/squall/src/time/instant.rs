//! A moment in a loop's time.
//!
//! std's `Instant` was rejected as the public type: its `now()` and `elapsed()` ask the operating system, so under virtual
//! time they would be lies that compile. It converts both ways, for the libraries that know nothing else.

use crate::event_loop;
use crate::timer::{Clock, real_from_std, real_to_std};
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// A moment in the time of the event loop: like [`std::time::Instant`], but it follows the loop's clock, real or virtual.
///
/// Under the real clock all loops of a process count the same, so an instant may be sent to another thread and means the same
/// there. A virtual clock belongs to one loop: its instants say nothing on another one.
///
/// # Arithmetic
/// `+` and `-` never panic. They stop at the ends of the clock: at the far end, some 575 years from now, which stands for *never*
/// (so `Instant::now() + Duration::MAX` is a deadline that does not come), and at its beginning, nine years before
/// the process under the real clock and the start of the run under a virtual one. The difference of two instants is zero if it
/// would be negative. [`checked_add`](Self::checked_add) and [`checked_sub`](Self::checked_sub) tell when an end is passed.
///
/// ```
/// use squall::time::Instant;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let start = Instant::now();
///     squall::time::sleep(Duration::from_secs(3)).await;
///     assert_eq!(Instant::now() - start, Duration::from_secs(3));
///     assert_eq!(start - Instant::now(), Duration::ZERO);
///     assert_eq!(start.checked_add(Duration::MAX), None);
/// })
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The time of the current turn.
    ///
    /// A loop reads its clock once a turn at most, when somebody first asks, and again when it has asked the driver. So all that
    /// happens in one turn happens at one time, and asking costs next to nothing; but two calls with no `.await`
    /// between them usually give the same, and the second does not show how long the code between them took. To
    /// measure computing, use [`std::time::Instant`].
    ///
    /// Outside an event loop it is the time of the real clock, read anew.
    pub fn now() -> Instant {
        Instant(event_loop::try_with(|core| core.now_ns()).unwrap_or_else(|| Clock::real().now_ns()))
    }

    /// The time from this moment until [`now`](Self::now); zero if it lies in the future.
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(*self)
    }

    /// The time from `earlier` until this moment; zero if `earlier` is the later one.
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// [`duration_since`](Self::duration_since) by the name it has in std where it must not be mistaken.
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }

    /// The time from `earlier` until this moment; `None` if `earlier` is the later one.
    pub fn checked_duration_since(&self, earlier: Instant) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// The moment so much later; `None` beyond the clock's far end.
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Instant)
    }

    /// The moment so much earlier; `None` before the clock's beginning.
    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_sub(u64::try_from(duration.as_nanos()).ok()?).map(Instant)
    }

    /// The loop's time for an instant of std: see [`into_std`](Self::into_std).
    pub fn from_std(instant: std::time::Instant) -> Instant {
        Instant(real_from_std(instant))
    }

    /// The instant of std for this moment, for libraries that take no other.
    ///
    /// The two differ by a constant, so differences and order stay, and [`from_std`](Self::from_std) gives the same moment back.
    /// Under the real clock it is the instant that std's clock showed then. Under a virtual clock it is
    /// only a name for the moment: good to hand back to a `sleep_until` of ours, meaningless beside `std::time::Instant::now()`.
    pub fn into_std(self) -> std::time::Instant {
        real_to_std(self.0)
    }

    pub(crate) const fn from_ns(ns: u64) -> Instant {
        Instant(ns)
    }

    pub(crate) const fn ns(self) -> u64 {
        self.0
    }
}

/// Nanoseconds, at most as many as a clock can count.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl From<std::time::Instant> for Instant {
    fn from(instant: std::time::Instant) -> Instant {
        Instant::from_std(instant)
    }
}

impl From<Instant> for std::time::Instant {
    fn from(instant: Instant) -> std::time::Instant {
        instant.into_std()
    }
}

/// The time on the loop's clock, such as `Instant(12.5s)`.
impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({:?})", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends_of_the_clock() {
        let (first, last) = (Instant(0), Instant(u64::MAX));
        let second = Duration::from_secs(1);
        assert_eq!(last + second, last);
        assert_eq!(first + Duration::MAX, last);
        assert_eq!(first - second, first);
        assert_eq!(first - last, Duration::ZERO);
        assert_eq!(
            (last.checked_add(second), first.checked_add(Duration::MAX), first.checked_sub(second)),
            (None, None, None)
        );
        assert_eq!(first.checked_add(second).and_then(|later| later.checked_sub(second)), Some(first));
        assert_eq!(first.checked_duration_since(last), None);
        let mut moment = first;
        moment += second;
        moment -= Duration::from_millis(1);
        assert_eq!(format!("{moment:?}"), "Instant(999ms)");
    }

    #[test]
    fn outside_a_loop_it_is_the_real_time_of_std() {
        let before = std::time::Instant::now();
        let between = Instant::now();
        let after = std::time::Instant::now();
        assert!(Instant::from(before) <= between && between <= Instant::from(after));
        assert_eq!(Instant::from(std::time::Instant::from(between)), between);
    }
}
