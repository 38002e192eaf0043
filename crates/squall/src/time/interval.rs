//! Ticks at a steady pace.
//!
//! One [`Sleep`] that is set anew with each tick. The period is added to the time the tick was due, not to the time it was taken,
//! so kernel slack does not add up; what happens when the taker is too slow is the caller's choice. A task that
//! ticks was rejected: it would need a channel, and would go on ticking for nobody.

use super::instant::{Instant, nanos};
use super::sleep::{Here, Sleep};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How late a tick may be taken, at most and less than a period, before [`MissedTicks::Delay`] shifts the schedule (tokio's figure).
const TOLERANCE_NS: u64 = 5_000_000;

/// Ticks at once, and then after each period.
///
/// ```
/// use squall::time::{Instant, interval};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let start = Instant::now();
///     let mut ticks = interval(Duration::from_secs(10));
///     ticks.tick().await;
///     assert_eq!(start.elapsed(), Duration::ZERO);
///     ticks.tick().await;
///     ticks.tick().await;
///     assert_eq!(start.elapsed(), Duration::from_secs(20));
/// })
/// # }
/// ```
///
/// # Panics
/// If the period is zero: it would tick for ever at once. To give way in a loop use [`yield_now`](crate::yield_now).
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    let here = Here::find();
    Interval::new(here.now, period, here, Location::caller())
}

/// Ticks at `start`, and then after each period.
///
/// ```
/// use squall::time::{Instant, interval_at};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let minute = Duration::from_secs(60);
///     let start = Instant::now() + minute;
///     let mut ticks = interval_at(start, minute);
///     assert_eq!(ticks.tick().await, start);
///     assert_eq!(ticks.tick().await, start + minute);
/// })
/// # }
/// ```
///
/// # Panics
/// If the period is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval::new(start, period, Here::find(), Location::caller())
}

/// What an [`Interval`] does about ticks that were not taken in time: because the taker was busy, or the machine slept.
///
/// With a period of 10 s, a tick taken at 0 s, and the next two at 35 s and at once after that:
///
/// | | 2nd | 3rd | 4th | 5th | 6th |
/// |---|---|---|---|---|---|
/// | `Burst` | due 10 | due 20 | due 30 | due 40 | due 50 |
/// | `Delay` | due 10 | due 45 | due 55 | due 65 | due 75 |
/// | `Skip` | due 10 | due 40 | due 50 | due 60 | due 70 |
///
/// Names and meaning are those of tokio's `MissedTickBehavior`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissedTicks {
    /// They follow at once, one by one, until the schedule is met again: as many ticks as periods.
    #[default]
    Burst,
    /// The schedule starts anew from the time the late tick was taken: at least a period between any two ticks. A tick counts as late
    /// from 5 ms on, or from a whole period if that is shorter.
    Delay,
    /// They are left out, and the schedule stays.
    Skip,
}

/// Ticks at a steady pace: made by [`interval`] and [`interval_at`].
///
/// It is plain data, `Send`, `Sync` and `Unpin`; on another loop it behaves as [`Sleep`]. Dropping it unsets its timer.
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period_ns: u64,
    missed: MissedTicks,
}

impl Interval {
    #[track_caller]
    fn new(start: Instant, period: Duration, here: Here, place: &'static Location<'static>) -> Interval {
        assert!(
            !period.is_zero(),
            "an interval needs a period longer than zero; to give way to other tasks in a loop use squall::yield_now()"
        );
        Interval {
            sleep: Sleep::new(start, here, place),
            period_ns: nanos(period),
            missed: MissedTicks::default(),
        }
    }

    /// Waits for the next tick and gives the moment it was due, which is not later than now.
    ///
    /// Dropping the future loses no tick: the next call waits for the same one.
    #[track_caller]
    pub fn tick(&mut self) -> Tick<'_> {
        self.sleep.note_place(Location::caller());
        Tick { interval: self }
    }

    /// [`tick`](Self::tick) for those who write futures by hand. If it is pending, the task of the latest call is woken when the tick is due.
    #[track_caller]
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let due = self.sleep.deadline();
        let next = next_tick(due.ns(), Instant::now().ns(), self.period_ns, self.missed);
        self.sleep.reset(Instant::from_ns(next));
        Poll::Ready(due)
    }

    /// Starts anew: the next tick is due a period from now.
    pub fn reset(&mut self) {
        self.sleep.reset(Instant::now() + self.period());
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.period_ns)
    }

    /// What is done about ticks that were not taken in time.
    pub fn missed_ticks(&self) -> MissedTicks {
        self.missed
    }

    /// Chooses what is done about ticks that were not taken in time; [`MissedTicks::Burst`] unless this is called.
    ///
    /// ```
    /// use squall::time::{Instant, MissedTicks, interval, sleep};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// squall::Builder::new().virtual_time().run(async {
    ///     let second = Duration::from_secs(1);
    ///     let start = Instant::now();
    ///     let mut ticks = interval(10 * second);
    ///     ticks.set_missed_ticks(MissedTicks::Skip);
    ///     ticks.tick().await;
    ///     sleep(35 * second).await;
    ///     assert_eq!(ticks.tick().await, start + 10 * second);
    ///     assert_eq!(ticks.tick().await, start + 40 * second);
    /// })
    /// # }
    /// ```
    pub fn set_missed_ticks(&mut self, missed: MissedTicks) {
        self.missed = missed;
    }
}

/// When the tick after the one that was due at `due` and is taken at `now` is due.
fn next_tick(due: u64, now: u64, period: u64, missed: MissedTicks) -> u64 {
    let late = now.saturating_sub(due);
    match missed {
        MissedTicks::Delay if late >= period.min(TOLERANCE_NS) => now.saturating_add(period),
        MissedTicks::Skip => due.saturating_add((late / period + 1).saturating_mul(period)),
        MissedTicks::Burst | MissedTicks::Delay => due.saturating_add(period),
    }
}

/// The future of [`Interval::tick`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Tick<'a> {
    interval: &'a mut Interval,
}

impl Future for Tick<'_> {
    type Output = Instant;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        self.interval.poll_tick(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_tick_taken_in_time_is_followed_by_one_a_period_later() {
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            assert_eq!(next_tick(100 * MS, 100 * MS, 10 * MS, missed), 110 * MS);
            assert_eq!(
                next_tick(100 * MS, 101 * MS, 10 * MS, missed),
                110 * MS,
                "kernel slack does not add up"
            );
        }
    }

    #[test]
    fn late_ticks_follow_at_once_or_shift_the_schedule_or_are_left_out() {
        let next = |missed| next_tick(100 * MS, 135 * MS, 10 * MS, missed);
        assert_eq!(next(MissedTicks::Burst), 110 * MS);
        assert_eq!(next(MissedTicks::Delay), 145 * MS);
        assert_eq!(next(MissedTicks::Skip), 140 * MS);
        assert_eq!(
            next_tick(100 * MS, 140 * MS, 10 * MS, MissedTicks::Skip),
            150 * MS,
            "never one that is due already"
        );
        assert_eq!(
            next_tick(0, 4 * MS, MS, MissedTicks::Delay),
            5 * MS,
            "a period shorter than the tolerance"
        );
    }

    #[test]
    fn an_endless_period_ticks_once() {
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            assert_eq!(next_tick(7, 10 * MS, u64::MAX, missed), u64::MAX);
        }
    }

    #[test]
    #[should_panic(expected = "use squall::yield_now()")]
    fn a_period_of_zero_is_refused_with_advice() {
        let _ticks = interval(Duration::ZERO);
    }
}
