//! Closures that the loop calls: in their turn, at a moment, or again and again.

use super::scheduled::{Scheduled, Which};
use crate::event_loop;
use crate::task::{WaitingOn, note_waiting};
use crate::time::{Instant, Interval, MissedTicks, interval_at};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Calls a closure in its turn: after everything that is ready now, before everything that becomes ready later.
///
/// Like a task that is spawned, it runs in the next turn of the loop if it is scheduled in this one, so a callback that schedules itself
/// again keeps nobody from running. asyncio's method of this name has the same order.
///
/// If the loop is ending the closure is dropped.
///
/// # Panics
/// Outside a loop: use [`LoopHandle::call_soon`](crate::LoopHandle::call_soon) from other threads.
///
/// ```
/// use squall::callback::call_soon;
/// use std::{cell::RefCell, rc::Rc};
///
/// squall::run(async {
///     let order = Rc::new(RefCell::new(Vec::new()));
///     for n in [1, 2] {
///         let order = order.clone();
///         call_soon(move || order.borrow_mut().push(n));
///     }
///     order.borrow_mut().push(0);
///     squall::yield_now().await;
///     assert_eq!(*order.borrow(), [0, 1, 2]);
/// });
/// ```
#[inline]
#[track_caller]
pub fn call_soon(f: impl FnOnce() + 'static) -> Scheduled {
    let place = Location::caller();
    event_loop::with("callback::call_soon", |core| {
        let number = core.tasks.call_soon(f, place);
        Scheduled::new(core, number.map_or(Which::None, Which::Soon))
    })
}

/// Calls a closure after so long, counted from now. `Duration::MAX`, and what passes the clock's far end, is never.
///
/// As [`call_at`].
///
/// ```
/// use squall::{callback::call_later, time::Instant};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let start = Instant::now();
///     let scheduled = call_later(Duration::from_secs(60), squall::stop);
///     assert_eq!(scheduled.when(), Some(start + Duration::from_secs(60)));
///     squall::stopping().await;
///     assert_eq!(start.elapsed(), Duration::from_secs(60));
/// })
/// # }
/// ```
#[track_caller]
pub fn call_later(delay: Duration, f: impl FnOnce() + 'static) -> Scheduled {
    schedule("callback::call_later", Instant::now() + delay, f)
}

/// Calls a closure at a moment, or in the next turn if that has passed. Callbacks of one moment are called in the order in which they were scheduled,
/// among sleeping tasks too.
///
/// If the loop is ending the closure is dropped. While it waits it stands in the tree of tasks, with the place of this call.
///
/// # Panics
/// Outside a loop.
#[track_caller]
pub fn call_at(when: Instant, f: impl FnOnce() + 'static) -> Scheduled {
    schedule("callback::call_at", when, f)
}

#[track_caller]
fn schedule(what: &str, when: Instant, f: impl FnOnce() + 'static) -> Scheduled {
    let place = Location::caller();
    event_loop::with(what, |core| {
        let Some(handle) =
            core.tasks.park_callback(Once { f: Some(f), when, place }, place, WaitingOn::Sleep)
        else {
            return Scheduled::new(core, Which::None);
        };
        let key = core.timers.borrow_mut().insert(when.ns(), handle.bits());
        Scheduled::new(core, Which::Timer(handle, key, when))
    })
}

/// Woken by its timer, and perhaps by a wake that was meant for an earlier task of its slot: those may come late.
struct Once<F> {
    f: Option<F>,
    when: Instant,
    place: &'static Location<'static>,
}

impl<F> Unpin for Once<F> {}

impl<F: FnOnce()> Future for Once<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if event_loop::with("a callback's timer", |core| core.now_ns()) < self.when.ns() {
            note_waiting(WaitingOn::Sleep, self.place);
            return Poll::Pending;
        }
        if let Some(f) = self.f.take() {
            f();
        }
        Poll::Ready(())
    }
}

/// Calls a closure again and again, for the first time after one period. Moments that were missed, because the loop was busy, are skipped.
///
/// What Tornado calls a `PeriodicCallback`. Under virtual time it is something that can always happen next, so a test in which all else waits for ever does not end
/// by itself: cancel it, or put a `timeout` around the test. If the loop is ending the closure is dropped.
///
/// # Panics
/// Outside a loop; if the period is zero.
///
/// ```
/// use squall::callback::call_every;
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let ticks = Rc::new(Cell::new(0));
///     let counted = ticks.clone();
///     let scheduled = call_every(Duration::from_secs(1), move || counted.set(counted.get() + 1));
///     squall::time::sleep(Duration::from_millis(3500)).await;
///     scheduled.cancel();
///     squall::time::sleep(Duration::from_secs(60)).await;
///     assert_eq!(ticks.get(), 3);
/// })
/// # }
/// ```
#[track_caller]
pub fn call_every(period: Duration, f: impl FnMut() + 'static) -> Scheduled {
    let place = Location::caller();
    assert!(
        !period.is_zero(),
        "callback::call_every needs a period longer than zero; to be called every turn, call_soon again from the callback"
    );
    // Here and not in the closure, so that it notes the caller's place.
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_ticks(MissedTicks::Skip);
    event_loop::with("callback::call_every", |core| {
        let Some(handle) = core.tasks.park_callback(Every { ticks, f }, place, WaitingOn::Sleep) else {
            return Scheduled::new(core, Which::None);
        };
        // Its timer is set at the first poll.
        core.tasks.wake(handle);
        Scheduled::new(core, Which::Waiting(handle))
    })
}

struct Every<F> {
    ticks: Interval,
    f: F,
}

impl<F> Unpin for Every<F> {}

impl<F: FnMut()> Future for Every<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.ticks.poll_tick(cx));
        (self.f)();
        // It may have been cancelled by what it called, so the next period is begun in a poll of its own.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
