//! Callbacks and their order: soon, later, again and again, cancelled. Loops are stepped by hand on a virtual clock.
//!
//! CPython's tests of the same things (`Lib/test/test_asyncio/`), and where ours stand:
//!
//! | CPython | here |
//! |---|---|
//! | `test_call_soon`, `test__add_callback_handle` | `callbacks_are_called_in_their_order_and_not_at_once` |
//! | `test__run_once_schedule_handle` | `what_a_callback_schedules_is_called_in_the_next_turn` |
//! | `test_call_later`, `test_time_and_call_at`, `test__run_once` | `later_is_in_the_order_of_the_moments_and_equal_ones_first_come_first_served` |
//! | `test_call_later_negative_delays` | the same: a moment that has passed (a `Duration` is not negative) |
//! | `test__add_callback_cancelled_handle`, `test_handle` | `a_cancelled_callback_is_dropped_at_once_and_never_called` |
//! | `test__run_once_cancelled_event_cleanup` | `a_cancelled_timer_is_unset` |
//! | `TimerTests.test_when`, `test_timer_repr` | `a_timer_callback_tells_when_and_can_be_cancelled_until_it_is_called` |
//! | `HandleTests.test_callback_with_exception`, `test__run_once`'s exceptions | `callback_ends.rs`: `a_panicking_callback_ends_itself_and_nothing_else`, `a_panic_ends_the_run_where_that_is_asked_for` |
//! | `test_call_soon_threadsafe`, `…_same_thread` | `callback_ends.rs`: `another_thread_calls_soon_and_learns_that_the_loop_has_ended` |
//! | `test_check_thread` | `outside_of_a_loop_the_message_names_the_function`; the rest does not compile (closures of a loop are not `Send`) |
//! | `test_reader_callback` | `callback_io.rs`: `a_reader_is_called_when_there_is_something_and_not_before`, `the_end_of_a_stream_and_a_reset_call_the_reader` |
//! | `test_writer_callback` | `callback_io.rs`: `a_writer_is_called_while_there_is_room` |
//! | `test_add_reader_existing`, `test_add_writer_existing` | `callback_io.rs`: `another_reader_replaces_the_first` |
//! | `test_add_reader_existing_writer`, `test_remove_reader_read_write` | `callback_io.rs`: `both_directions_are_free_of_each_other` |
//! | `test_remove_reader`, `test_remove_reader_unknown`, and the writers' | `callback_io.rs`: `a_reader_is_called…`, `a_writer_is_called…` (removed twice: false) |
//! | `test_process_events_read_cancelled`, `…_write_cancelled` | `callback_io.rs`: `callbacks_remove_each_other_in_one_turn`, `cancelling_a_reader_from_its_own_call…` |
//! | `test_add_fds_after_closing` | `callback_ends.rs`: `a_destructor_at_the_loops_end_schedules_in_vain` |
//! | `test_add_signal_handler`, `test_signal_handling_while_selecting`, `test_handle_signal_no_handler` | `signals.rs`: `a_handler_is_called_on_the_loop_until_it_is_removed_or_replaced` |
//! | `test_remove_signal_handler`, `…_2` | the same, and `after_the_last_listener_a_signal_ends_the_process_again` |
//! | `test_handle_signal_cancelled_handler` | `signals.rs`: `a_handler_removes_itself_and_one_that_panics_is_removed` |
//! | `test_check_signal`, `test_add_signal_handler_install_error` | `signals.rs`: `what_cannot_be_listened_to_is_an_error_that_says_so` |
//! | `test_run_in_executor`, `test_default_exc_handler…` | `blocking.rs`; `callback_ends.rs` |
//!
//! Left out: arguments of handlers (closures capture), subclasses, mocks of the selector, debug mode.

mod trace;

use squall::callback::{Scheduled, call_at, call_every, call_later, call_soon};
use squall::sync::oneshot;
use squall::time::{Instant, sleep};
use squall::{Builder, EventLoop, LoopHandle, spawn, yield_now};
use std::cell::Cell;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::time::Duration;
use trace::{Trace, panic_of, said, say, virtual_loop};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn callbacks_are_called_in_their_order_and_not_at_once() {
    let said = said(async |trace| {
        for name in ["a", "b", "c"] {
            call_soon(say(&trace, name));
        }
        trace.say("scheduled");
        yield_now().await;
    });
    assert_eq!(said, ["scheduled", "a", "b", "c"]);
}

#[test]
fn callbacks_and_tasks_stand_in_one_line() {
    let said = said(async |trace| {
        let task = |name: &str| {
            drop(spawn({
                let say = say(&trace, name);
                async move { say() }
            }))
        };
        task("task 1");
        call_soon(say(&trace, "callback 1"));
        task("task 2");
        call_soon(say(&trace, "callback 2"));
        yield_now().await;
    });
    assert_eq!(said, ["task 1", "callback 1", "task 2", "callback 2"]);
}

#[test]
fn what_a_callback_schedules_is_called_in_the_next_turn() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let again = trace.clone();
    event_loop.spawn(async move {
        call_soon(move || {
            again.say("first");
            call_soon(move || again.say("second"));
        });
    });
    assert_eq!((event_loop.turn(), trace.take()), (1, vec![]));
    assert_eq!((event_loop.turn(), trace.take()), (1, vec!["first".to_string()]));
    assert_eq!((event_loop.turn(), trace.take()), (1, vec!["second".to_string()]));
    assert_eq!(event_loop.turn(), 0);
}

#[test]
fn a_chain_of_callbacks_starves_nobody() {
    fn for_ever(calls: Rc<Cell<u64>>) {
        calls.set(calls.get() + 1);
        call_soon(move || for_ever(calls));
    }
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    virtual_loop().run_until(async move {
        call_soon(move || for_ever(counted));
        for _ in 0..100 {
            yield_now().await;
        }
    });
    assert!((99..=101).contains(&calls.get()), "{}", calls.get());
}

#[test]
fn a_million_callbacks_find_room_beside_a_thousand_tasks() {
    let calls = Rc::new(Cell::new(0));
    let most = if cfg!(miri) { 1_000 } else { 1_000_000 };
    let counted = calls.clone();
    virtual_loop().run_until(async move {
        let tasks: Vec<_> = (0..1000).map(|_| spawn(yield_now())).collect();
        for _ in 0..most {
            let counted = counted.clone();
            call_soon(move || counted.set(counted.get() + 1));
        }
        let more: Vec<_> = (0..1000).map(|_| spawn(yield_now())).collect();
        for task in tasks.into_iter().chain(more) {
            task.await.unwrap();
        }
    });
    assert_eq!(calls.get(), most);
}

#[test]
fn a_callback_spawns_and_completes_what_a_task_awaits() {
    let said = said(async |trace| {
        let (sender, receiver) = oneshot::channel();
        let spawns = trace.clone();
        call_soon(move || {
            drop(spawn(async move { spawns.say("spawned") }));
            sender.send("answer").unwrap();
        });
        trace.say(receiver.await.unwrap());
    });
    assert_eq!(said, ["spawned", "answer"]);
}

#[test]
fn a_cancelled_callback_is_dropped_at_once_and_never_called() {
    let said = said(async |trace| {
        let held = trace.at_drop("dropped");
        let scheduled = call_soon(move || drop(held));
        call_soon(say(&trace, "another"));
        assert!(scheduled.is_pending());
        scheduled.cancel();
        trace.say("cancelled");
        assert!(!scheduled.is_pending());
        scheduled.cancel();
        yield_now().await;
    });
    assert_eq!(said, ["dropped", "cancelled", "another"]);
}

#[test]
fn a_callback_cancels_another_of_its_turn_and_itself_in_vain() {
    let said = said(async |trace| {
        let other: Rc<Cell<Option<Scheduled>>> = Rc::default();
        let (cancels, own): (_, Rc<Cell<Option<Scheduled>>>) = (other.clone(), Rc::default());
        let (first, me) = (trace.clone(), own.clone());
        own.set(Some(call_soon(move || {
            let me = me.get().unwrap();
            assert!(!me.is_pending(), "it runs");
            me.cancel();
            cancels.get().unwrap().cancel();
            first.say("first");
        })));
        other.set(Some(call_soon(say(&trace, "second"))));
        call_soon(say(&trace, "third"));
        yield_now().await;
    });
    assert_eq!(said, ["first", "third"]);
}

#[test]
fn a_name_of_a_callback_that_was_called_never_names_another() {
    virtual_loop().run_until(async {
        let calls = Rc::new(Cell::new(0));
        let count = || {
            let calls = calls.clone();
            move || calls.set(calls.get() + 1)
        };
        let (soon, later) = (call_soon(count()), call_later(Duration::ZERO, count()));
        sleep(SECOND).await;
        assert_eq!(calls.get(), 2);
        let (again, later_again) = (call_soon(count()), call_later(Duration::ZERO, count()));
        soon.cancel();
        later.cancel();
        assert!(!soon.is_pending() && !later.is_pending() && again.is_pending() && later_again.is_pending());
        sleep(SECOND).await;
        assert_eq!(calls.get(), 4);
    });
}

#[test]
fn cancelling_in_a_loop_of_another_life_does_nothing() {
    let names: Vec<Scheduled> = virtual_loop().run_until(async {
        vec![call_soon(|| unreachable!()), call_later(SECOND, || unreachable!()), call_every(SECOND, || {})]
    });
    let called = Rc::new(Cell::new(0));
    let counted = called.clone();
    virtual_loop().run_until(async move {
        let count = || {
            let counted = counted.clone();
            move || counted.set(counted.get() + 1)
        };
        call_soon(count());
        call_later(SECOND, count());
        for name in names {
            assert!(!name.is_pending());
            name.cancel();
        }
        sleep(2 * SECOND).await;
    });
    assert_eq!(called.get(), 2);
}

#[test]
fn later_is_in_the_order_of_the_moments_and_equal_ones_first_come_first_served() {
    let said = said(async |trace| {
        let start = Instant::now();
        call_later(2 * SECOND, say(&trace, "2 s"));
        call_at(start + SECOND, say(&trace, "1 s, first"));
        let asleep = trace.clone();
        drop(spawn(async move {
            squall::time::sleep_until(start + SECOND).await;
            asleep.say("1 s, a task");
        }));
        yield_now().await;
        call_at(start + SECOND, say(&trace, "1 s, last"));
        call_at(start - SECOND, say(&trace, "long ago"));
        call_later(Duration::ZERO, say(&trace, "now"));
        let never = call_later(Duration::MAX, say(&trace, "never"));
        sleep(3 * SECOND).await;
        assert!(never.is_pending());
        trace.say(format!("after {:?}", start.elapsed()));
    });
    assert_eq!(said, ["long ago", "now", "1 s, first", "1 s, a task", "1 s, last", "2 s", "after 3s"]);
}

#[test]
fn a_timer_callback_tells_when_and_can_be_cancelled_until_it_is_called() {
    let said = said(async |trace| {
        let start = Instant::now();
        let (one, two, three) = (
            call_later(SECOND, say(&trace, "one")),
            call_at(start + 2 * SECOND, say(&trace, "two")),
            call_at(start + 2 * SECOND, say(&trace, "three")),
        );
        assert_eq!((one.when(), two.when()), (Some(start + SECOND), Some(start + 2 * SECOND)));
        assert_eq!(call_soon(|| {}).when(), None);
        one.cancel();
        // Due together with `three`, and cancelled by a callback that is due before.
        call_at(start + 2 * SECOND - Duration::from_nanos(1), move || two.cancel());
        sleep(3 * SECOND).await;
        assert!(!one.is_pending() && !two.is_pending() && !three.is_pending());
        assert!(format!("{three:?}").contains("is_pending: false"), "{three:?}");
    });
    assert_eq!(said, ["three"]);
}

#[test]
fn a_cancelled_timer_is_unset() {
    let start = Cell::new(None);
    virtual_loop().run_until(async {
        start.set(Some(Instant::now()));
        for _ in 0..1000 {
            call_later(3600 * SECOND, || unreachable!()).cancel();
        }
        assert!(format!("{:?}", LoopHandle::current()).contains("has_ended: false"));
        sleep(SECOND).await;
        assert_eq!(start.get().unwrap().elapsed(), SECOND, "no timer was left to wait for");
    });
}

#[test]
fn periods_are_kept_missed_ones_skipped_and_the_callback_may_end_itself() {
    let said = said(async |trace| {
        let (start, calls) = (Instant::now(), Rc::new(Cell::new(0)));
        let own: Rc<Cell<Option<Scheduled>>> = Rc::default();
        let (ticks, me) = (trace.clone(), own.clone());
        own.set(Some(call_every(SECOND, move || {
            calls.set(calls.get() + 1);
            ticks.say(format!("{:?}", start.elapsed()));
            if calls.get() == 3 {
                me.get().unwrap().cancel();
                ticks.say("cancelled, and goes on");
            }
        })));
        sleep(10 * SECOND).await;
        assert!(!own.get().unwrap().is_pending());
    });
    assert_eq!(said, ["1s", "2s", "3s", "cancelled, and goes on"]);
}

#[test]
fn a_period_of_zero_is_refused() {
    let panicked = catch_unwind(|| virtual_loop().run_until(async { call_every(Duration::ZERO, || {}) }));
    assert!(panicked.is_err());
}

#[test]
fn outside_of_a_loop_the_message_names_the_function() {
    let message = panic_of(|| call_soon(|| {}));
    assert!(message.contains("callback::call_soon was called outside an event loop"), "{message}");
    let message = panic_of(|| call_later(SECOND, || {}));
    assert!(message.contains("callback::call_later was called outside an event loop"), "{message}");
}

#[test]
fn a_waiting_callback_stands_in_the_tree_with_its_place() {
    let patience = Builder::new().virtual_time().deadlock_patience(Duration::ZERO);
    let line = line!() + 3;
    let message = panic_of(|| {
        patience.run(async {
            call_later(Duration::MAX, || {});
            std::future::pending::<()>().await;
        })
    });
    let expected =
        format!("callback 2 (registered at crates/squall/tests/callback.rs:{line}:13) waits for a timer");
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn a_callback_counts_as_a_poll() {
    let event_loop: EventLoop = virtual_loop();
    drop(event_loop.spawn(async {
        for _ in 0..3 {
            call_soon(|| {});
        }
        call_soon(|| {}).cancel();
    }));
    assert_eq!((event_loop.turn(), event_loop.turn(), event_loop.turn()), (1, 3, 0));
}
