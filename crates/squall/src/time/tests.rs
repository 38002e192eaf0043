//! Sleeps, timeouts and intervals on a loop, under virtual time unless a test says why not.

use super::*;
use crate::event_loop::{self, Builder, EventLoop, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn virtually<F: Future>(main: F) -> F::Output {
    Builder::new().virtual_time().run(main).unwrap()
}

/// The timers that are set on the current loop.
fn timers() -> usize {
    event_loop::with("timers", |core| core.timers.borrow().len())
}

/// The foreign wakers that the current loop holds.
fn foreign_wakers() -> usize {
    event_loop::with("foreign_wakers", |core| core.tasks.foreign.len())
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A waker that is not a task's.
#[derive(Default)]
struct Counter(AtomicU32);

impl Counter {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> (Arc<Counter>, Waker) {
    let counter = Arc::new(Counter::default());
    (counter.clone(), counter.into())
}

/// The message of the panic that `f` ends with.
fn panic_of(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic");
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

// --- sleep -----------------------------------------------------------------------------------------------------------

#[test]
fn sleepers_wake_in_the_order_of_deadlines_and_equal_ones_first_come_first_served() {
    let trace = Rc::new(RefCell::new(Vec::new()));
    virtually(async {
        let mut tasks = Vec::new();
        for (name, seconds) in [("a", 3), ("b", 1), ("c", 3), ("d", 2), ("e", 1)] {
            let trace = trace.clone();
            tasks.push(crate::event_loop::spawn(async move {
                sleep(seconds * SECOND).await;
                trace.borrow_mut().push((name, Instant::now().ns() / 1_000_000_000));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(*trace.borrow(), [("b", 1), ("e", 1), ("d", 2), ("a", 3), ("c", 3)]);
}

#[test]
fn a_sleep_is_set_when_first_polled_and_unset_when_dropped_or_done() {
    virtually(async {
        let mut nap = sleep(SECOND);
        assert_eq!(timers(), 0);
        assert!(poll_once(&mut nap, Waker::noop()).is_pending());
        assert!(poll_once(&mut nap, Waker::noop()).is_pending());
        assert_eq!(timers(), 1);
        drop(nap);
        assert_eq!((timers(), foreign_wakers()), (0, 0));

        let mut nap = sleep(SECOND);
        assert!(!nap.is_elapsed());
        (&mut nap).await;
        assert!(nap.is_elapsed());
        assert_eq!(timers(), 0);
        (&mut nap).await;
    });
}

#[test]
fn the_time_runs_from_the_call_and_not_from_the_first_poll() {
    virtually(async {
        let start = Instant::now();
        let long = sleep(3 * SECOND);
        sleep(2 * SECOND).await;
        long.await;
        assert_eq!(start.elapsed(), 3 * SECOND);
    });
}

#[test]
fn a_task_that_sleeps_for_zero_gives_way() {
    virtually(async {
        let others = Rc::new(Cell::new(0));
        let other = crate::event_loop::spawn({
            let others = others.clone();
            async move {
                loop {
                    others.set(others.get() + 1);
                    yield_now().await;
                }
            }
        });
        for _ in 0..1000 {
            sleep(Duration::ZERO).await;
        }
        assert!((2..=1000).contains(&others.get()), "{} turns of another task", others.get());
        other.abort();
    });
}

#[test]
fn a_sleep_for_ever_is_no_deadline_that_virtual_time_jumps_to() {
    let message = panic_of(|| virtually(async { sleep(Duration::MAX).await }));
    assert!(message.starts_with("deadlock") && message.contains("waits for a timer at "), "{message}");
    assert!(message.contains(file!()), "the place of the call: {message}");
}

#[test]
fn the_waker_of_the_latest_poll_is_woken_and_no_other_is_kept() {
    virtually(async {
        let ((first, first_waker), (second, second_waker)) = (counter(), counter());
        let mut nap = sleep(SECOND);
        assert!(poll_once(&mut nap, &first_waker).is_pending());
        assert!(poll_once(&mut nap, &second_waker).is_pending());
        assert_eq!((timers(), foreign_wakers(), Arc::strong_count(&first)), (1, 1, 2));
        sleep(2 * SECOND).await;
        assert_eq!((first.count(), second.count(), foreign_wakers()), (0, 1, 0));
        assert!(poll_once(&mut nap, &second_waker).is_ready());
    });
}

#[test]
fn a_waiting_task_is_woken_at_the_deadline_that_was_set_last_without_being_polled_for_it() {
    for (seconds, expected) in [(5, 5), (1, 1)] {
        virtually(async {
            let start = Instant::now();
            let nap = Rc::new(RefCell::new(sleep(3 * SECOND)));
            let polls = Rc::new(Cell::new(0));
            let sleeper = crate::event_loop::spawn({
                let (nap, polls) = (nap.clone(), polls.clone());
                poll_fn(move |cx| {
                    polls.set(polls.get() + 1);
                    Pin::new(&mut *nap.borrow_mut()).poll(cx)
                })
            });
            yield_now().await;
            nap.borrow_mut().reset(start + seconds * SECOND);
            assert_eq!(timers(), 1);
            sleeper.await.unwrap();
            assert_eq!((start.elapsed(), polls.get()), (expected * SECOND, 2));
        });
    }
}

#[test]
fn a_sleep_that_was_ready_waits_again_after_a_reset() {
    virtually(async {
        let mut nap = sleep(SECOND);
        (&mut nap).await;
        nap.reset(Instant::now() + SECOND);
        assert!(!nap.is_elapsed());
        (&mut nap).await;
        assert_eq!(Instant::now(), Instant::from_ns(0) + 2 * SECOND);
        assert_eq!(nap.deadline(), Instant::now());
    });
}

#[test]
fn polled_outside_a_loop_it_says_what_to_do() {
    let message = panic_of(|| assert!(poll_once(&mut sleep(SECOND), Waker::noop()).is_pending()));
    assert!(message.starts_with("awaiting a sleep was called outside an event loop"), "{message}");
}

#[test]
fn under_virtual_time_a_sleep_of_another_clock_is_refused() {
    let made_outside = sleep(SECOND);
    let message = panic_of(|| virtually(made_outside));
    assert!(message.contains("made under another clock"), "{message}");

    let made_elsewhere = virtually(poll_fn(|_| Poll::Ready(sleep(SECOND))));
    assert!(panic_of(|| virtually(made_elsewhere)).contains("made under another clock"));

    // A reset makes it one of this clock.
    let mut moved = virtually(poll_fn(|_| Poll::Ready(sleep(SECOND))));
    virtually(async {
        moved.reset(Instant::now() + SECOND);
        moved.await;
        assert_eq!(Instant::now().ns(), 1_000_000_000);
    });
}

/// Real clocks, because only those are shared; nothing waits: the deadline is far, or has passed.
#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn under_the_real_clock_a_sleep_follows_its_poller() {
    let (a, b) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let mut nap = sleep(3600 * SECOND);
    let poll = |event_loop: &EventLoop, nap: &mut Sleep| {
        event_loop.run_until(async { (poll_once(nap, Waker::noop()), timers()) })
    };
    assert_eq!(poll(&a, &mut nap), (Poll::Pending, 1));
    assert_eq!(poll(&b, &mut nap), (Poll::Pending, 1));
    assert_eq!(a.run_until(async { timers() }), 0, "unset on the loop before, through its inbox");

    // Dropped outside: the same.
    drop(nap);
    assert_eq!(b.run_until(async { (timers(), foreign_wakers()) }), (0, 0));

    // Its loop has ended: it goes on elsewhere.
    let mut nap = sleep(Duration::ZERO);
    nap.reset(Instant::now() + 3600 * SECOND);
    assert_eq!(poll(&b, &mut nap), (Poll::Pending, 1));
    drop(b);
    assert_eq!(poll(&a, &mut nap), (Poll::Pending, 1));
    drop(a);
    drop(nap);
}

// --- timeout ---------------------------------------------------------------------------------------------------------

#[test]
fn a_future_that_is_ready_in_time_gives_its_output_and_leaves_no_timer() {
    virtually(async {
        assert_eq!(timeout(SECOND, async { 7 }).await, Ok(7));
        let mut limited = pin!(timeout(2 * SECOND, sleep(SECOND)));
        assert_eq!(limited.as_mut().await, Ok(()));
        assert_eq!(timers(), 0, "although the Timeout still stands");
    });
}

#[test]
fn what_is_ready_counts_even_when_time_is_over_too() {
    virtually(async {
        assert_eq!(timeout(SECOND, sleep(SECOND)).await, Ok(()));
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert!(timeout(SECOND, sleep(SECOND + NANO)).await.is_err());
    });
}

#[test]
fn elapsed_says_after_how_long_and_is_an_io_error() {
    virtually(async {
        let elapsed = timeout(Duration::from_millis(1500), pending::<()>()).await.unwrap_err();
        assert_eq!(
            (elapsed.to_string().as_str(), elapsed.after()),
            ("timed out after 1.5s", Duration::from_millis(1500))
        );
        let error = std::io::Error::from(elapsed);
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (std::io::ErrorKind::TimedOut, "timed out after 1.5s")
        );

        let past = timeout_at(Instant::now() - SECOND, pending::<()>()).await.unwrap_err();
        assert_eq!(past.after(), Duration::ZERO);
    });
}

#[test]
fn a_future_that_uses_up_every_budget_does_not_starve_its_timeout() {
    virtually(async {
        let start = Instant::now();
        let clock = crate::event_loop::spawn(sleep(SECOND));
        let greedy = async {
            loop {
                sleep(Duration::ZERO).await;
            }
        };
        // Nothing is ever idle here, so virtual time stands still: only a limit that has passed can end it.
        assert!(timeout(Duration::ZERO, greedy).await.is_err());
        assert_eq!(start.elapsed(), Duration::ZERO);
        clock.abort();
    });
}

#[test]
fn a_loop_of_timeouts_that_are_over_at_once_gives_way() {
    virtually(async {
        let turns = Rc::new(Cell::new(0));
        let other = crate::event_loop::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.set(turns.get() + 1);
                    yield_now().await;
                }
            }
        });
        for _ in 0..1000 {
            assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        }
        assert!(turns.get() >= 2);
        other.abort();
    });
}

#[test]
fn without_a_limit_a_timeout_waits_for_ever() {
    virtually(async {
        assert_eq!(timeout(Duration::MAX, sleep(1_000_000 * SECOND)).await, Ok(()));
    });
}

#[test]
fn a_task_under_a_timeout_is_said_to_wait_on_what_the_future_waits_on() {
    virtually(async {
        let inner = crate::event_loop::spawn(pending::<()>());
        let awaited = inner.id();
        let outer = crate::event_loop::spawn(async move { _ = timeout(3600 * SECOND, inner).await });
        let silent = crate::event_loop::spawn(async { _ = timeout(3600 * SECOND, pending::<()>()).await });
        yield_now().await;
        let state = |id| {
            let infos = event_loop::with("infos", |core| core.tasks.infos());
            infos.iter().find(|info| crate::task::TaskId(info.id) == id).unwrap().state()
        };
        assert!(
            state(outer.id()).starts_with(&format!("waits for the end of task {awaited}")),
            "{}",
            state(outer.id())
        );
        assert!(state(silent.id()).starts_with("waits for a timer at "), "{}", state(silent.id()));
        outer.abort();
        silent.abort();
    });
}

#[test]
fn a_future_that_cannot_move_can_have_a_limit() {
    virtually(async {
        let value = 5;
        let borrower = async {
            let own = [value; 4];
            let borrowed = &own;
            sleep(SECOND).await;
            borrowed.iter().sum::<i32>()
        };
        assert_eq!(timeout(2 * SECOND, borrower).await, Ok(20));
    });
}

// --- interval --------------------------------------------------------------------------------------------------------

/// When ticks were taken, in seconds, after the taker was busy for 35 s between the first and the second.
fn ticks_after_a_pause(missed: MissedTicks) -> Vec<(u64, u64)> {
    virtually(async {
        let mut ticks = interval(10 * SECOND);
        ticks.set_missed_ticks(missed);
        let mut taken = Vec::new();
        for n in 0..6 {
            let due = ticks.tick().await;
            taken.push((due.ns() / 1_000_000_000, Instant::now().ns() / 1_000_000_000));
            if n == 0 {
                sleep(35 * SECOND).await;
            }
        }
        taken
    })
}

#[test]
fn missed_ticks_come_in_a_burst_or_delay_the_rest_or_are_skipped() {
    let burst = [(0, 0), (10, 35), (20, 35), (30, 35), (40, 40), (50, 50)];
    let delay = [(0, 0), (10, 35), (45, 45), (55, 55), (65, 65), (75, 75)];
    let skip = [(0, 0), (10, 35), (40, 40), (50, 50), (60, 60), (70, 70)];
    assert_eq!(ticks_after_a_pause(MissedTicks::Burst), burst);
    assert_eq!(ticks_after_a_pause(MissedTicks::Delay), delay);
    assert_eq!(ticks_after_a_pause(MissedTicks::Skip), skip);
}

#[test]
fn a_tick_that_was_given_up_is_not_lost() {
    virtually(async {
        let mut ticks = interval_at(Instant::now() + 10 * SECOND, 10 * SECOND);
        assert!(timeout(SECOND, ticks.tick()).await.is_err());
        assert_eq!(ticks.tick().await.ns(), 10_000_000_000);
        ticks.reset();
        assert_eq!(ticks.tick().await.ns(), 20_000_000_000);
        assert_eq!(ticks.period(), 10 * SECOND);
        drop(ticks);
        assert_eq!(timers(), 0);
    });
}

#[test]
fn a_burst_without_end_gives_way() {
    virtually(async {
        let mut ticks = interval(NANO);
        sleep(SECOND).await;
        let turns = Rc::new(Cell::new(0));
        let other = crate::event_loop::spawn({
            let turns = turns.clone();
            async move {
                yield_now().await;
                turns.set(turns.get() + 1);
            }
        });
        for _ in 0..10_000 {
            ticks.tick().await;
        }
        assert_eq!(turns.get(), 1);
        other.await.unwrap();
    });
}
