//! The life of a loop: how it begins, what ends it, and what is dropped when. What other threads ask of it is in `remote.rs`, what a loop leaves
//! behind in `afterlife.rs`, what tests and reports say in `reports.rs`.

mod trace;

use squall::time::{Instant, sleep};
use squall::{EventLoop, LoopHandle, run, run_forever, spawn, stop, stopping, yield_now};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use trace::{Trace, at_drop, impatient, panic_of, settle, virtual_loop};

#[test]
fn main_may_borrow_and_give_back_what_it_borrows() {
    let (mut words, mut longest) = (vec!["a".to_owned(), "ccc".into(), "bb".into()], 0);
    let word = impatient()
        .run(async {
            words.push("dddd".into());
            yield_now().await;
            longest = words.iter().map(String::len).max().unwrap();
            words.iter().find(|word| word.len() == 3).unwrap()
        })
        .unwrap();
    assert_eq!((word.as_str(), longest), ("ccc", 4));
}

#[test]
fn tasks_that_are_left_are_dropped_the_youngest_first_after_main() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let _main = said.at_drop("main's future");
            for n in 1..=4 {
                let held = said.at_drop(&format!("task {n}"));
                drop(spawn(async move {
                    let _held = held;
                    if n == 2 {
                        return;
                    }
                    pending::<()>().await;
                }));
            }
            yield_now().await;
        })
        .unwrap();
    assert_eq!(trace.take(), ["task 2", "main's future", "task 4", "task 3", "task 1"]);
}

#[test]
fn the_output_of_main_outlives_the_tasks_and_outputs_outlive_futures() {
    let trace = Trace::default();
    let said = trace.clone();
    let output = impatient()
        .run(async move {
            let (output, future) = (said.at_drop("a task's output"), said.at_drop("a task's future"));
            let done = spawn(async move { output });
            drop(spawn(async move {
                let _held = future;
                pending::<()>().await;
            }));
            yield_now().await;
            (said.at_drop("main's output"), done)
        })
        .unwrap();
    trace.say("run returned");
    drop(output);
    assert_eq!(trace.take(), ["a task's future", "a task's output", "run returned", "main's output"]);
}

#[test]
fn tasks_spawned_while_the_loop_ends_are_dropped_at_once() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let inner = said.clone();
            drop(spawn(async move {
                let _held = at_drop(move || {
                    let held = inner.at_drop("refused");
                    drop(spawn(async move { drop(held) }));
                    inner.say("destructor ends");
                });
                pending::<()>().await;
            }));
            yield_now().await;
        })
        .unwrap();
    assert_eq!(trace.take(), ["refused", "destructor ends"]);
}

#[test]
fn a_nested_run_is_refused_with_advice_and_another_loop_may_be_turned() {
    let advice = |what| {
        format!(
            "squall::{what} was called inside an event loop: this thread runs one already; await the future, or squall::spawn it"
        )
    };
    impatient()
        .run(async {
            assert_eq!(panic_of(|| run(async {})), advice("run"));
            assert_eq!(panic_of(|| impatient().run(async {})), advice("run"));
            assert_eq!(panic_of(|| run_forever(async { Ok::<_, ()>(()) })), advice("run_forever"));
            assert_eq!(
                panic_of(|| impatient().run_forever(async { io::Result::Ok(()) })),
                advice("run_forever")
            );
            assert_eq!(virtual_loop().run_until(async { 7 }), 7);
            // A thread of its own has no loop.
            assert_eq!(squall::blocking::run(|| impatient().run(async { 8 }).unwrap()).await, 8);
        })
        .unwrap();
}

#[test]
fn outside_of_a_loop_the_message_names_the_call_and_the_way() {
    let advice = |what| {
        format!(
            "{what} was called outside an event loop: call it inside squall::run(async {{ … }}), or use LoopHandle::spawn from another thread"
        )
    };
    assert_eq!(panic_of(|| spawn(async {})), advice("squall::spawn"));
    assert_eq!(panic_of(|| squall::spawn_named("n", async {})), advice("squall::spawn_named"));
    let of_stop = panic_of(stop);
    assert!(
        of_stop.ends_with(
            "call it inside squall::run(async { … }), or use LoopHandle::stop from another thread"
        ),
        "{of_stop}"
    );
    assert_eq!(panic_of(squall::driver), advice("squall::driver"));
    let handle = panic_of(LoopHandle::current);
    assert!(handle.ends_with("or send the handle to where it is used (it is Copy and Send)"), "{handle}");
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(panic_of(|| Pin::new(&mut stopping()).poll(&mut cx)), advice("squall::stopping"));
}

// --- run_forever and stop --------------------------------------------------------------------------------------------

#[test]
fn run_forever_ends_when_a_task_stops_it() {
    let trace = Trace::default();
    let said = trace.clone();
    let ended: Result<(), ()> = virtual_loop().run_forever(async move {
        let inner = said.clone();
        drop(spawn(async move {
            sleep(Duration::from_secs(60)).await;
            inner.say("stops");
            stop();
            yield_now().await;
            inner.say("goes on while others end");
        }));
        said.say("set up");
        Ok(())
    });
    // The turn in which the loop's main future ends is a whole one: it runs everything that was ready when it began.
    let whole = ["set up", "stops", "goes on while others end"].map(str::to_owned).to_vec();
    assert_eq!((ended, trace.take()), (Ok(()), whole));
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn run_forever_ends_when_another_thread_stops_it() {
    let ended: Result<(), ()> = run_forever(async {
        let here = LoopHandle::current();
        thread::spawn(move || here.stop());
        Ok(())
    });
    assert_eq!(ended, Ok(()));
}

#[test]
fn a_stop_that_comes_before_run_forever_waits_is_not_lost() {
    let ended: Result<(), ()> = virtual_loop().run_forever(async {
        stop();
        stop();
        Ok(())
    });
    assert_eq!(ended, Ok(()));

    let event_loop = virtual_loop();
    event_loop.handle().stop();
    let ended: Result<(), ()> = event_loop.run_forever(async { Ok(()) });
    assert_eq!(ended, Ok(()), "even before it began");
}

#[test]
fn an_error_of_the_setup_ends_it_at_once() {
    let trace = Trace::default();
    let held = trace.at_drop("task");
    let ended = impatient().run_forever(async {
        drop(spawn(async move {
            let _held = held;
            pending::<()>().await;
        }));
        Err(io::Error::other("the port is taken"))
    });
    assert_eq!(ended.unwrap_err().to_string(), "the port is taken");
    assert_eq!(trace.take(), ["task"]);
}

#[test]
fn under_run_a_stop_is_a_request_that_all_who_wait_see_in_the_order_of_their_coming() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let tasks: Vec<_> = (0..6)
                .map(|n| {
                    let said = said.clone();
                    spawn(async move {
                        stopping().await;
                        said.say(format!("{n} sees it"));
                    })
                })
                .collect();
            yield_now().await;
            for cancelled in [0, 3, 5] {
                tasks[cancelled].abort();
            }
            LoopHandle::current().stop();
            said.say("asked");
            yield_now().await;
            stopping().await;
            said.say("late, and at once");
        })
        .unwrap();
    assert_eq!(trace.take(), ["asked", "1 sees it", "2 sees it", "4 sees it", "late, and at once"]);
}

#[test]
fn a_request_to_stop_does_not_reach_the_next_loop_in_the_same_place() {
    let mut old = virtual_loop().handle();
    for _ in 0..3 {
        let event_loop = virtual_loop();
        old.stop();
        let asked = event_loop.run_until(async {
            let mut asked = stopping();
            poll_fn(|cx| Poll::Ready(Pin::new(&mut asked).poll(cx).is_ready())).await
        });
        assert!(!asked && old.has_ended() && !event_loop.handle().has_ended());
        old = event_loop.handle();
    }
}

// --- stepping --------------------------------------------------------------------------------------------------------

#[test]
fn run_until_leaves_other_tasks_where_they_are() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let said = trace.clone();
    drop(event_loop.spawn(async move {
        for n in 1..=3 {
            said.say(n.to_string());
            yield_now().await;
        }
    }));
    event_loop.run_until(async {});
    assert_eq!((trace.take(), event_loop.tasks()), (vec!["1".to_owned()], 1));
    event_loop.run_until(yield_now());
    settle(&event_loop);
    assert_eq!((trace.take(), event_loop.tasks()), (vec!["2".to_owned(), "3".into()], 0));
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn a_run_whose_main_has_ended_waits_for_nothing_more() {
    // With a timer set for tomorrow, and with none.
    let real = EventLoop::new().unwrap();
    for _ in 0..3 {
        real.run_until(async {});
        drop(real.spawn(sleep(Duration::from_secs(86_400))));
        real.run_until(yield_now());
    }
    let start = virtual_loop().run_until(async {
        drop(spawn(sleep(Duration::from_secs(86_400))));
        Instant::now()
    });
    assert_eq!(virtual_loop().run_until(async { Instant::now() }), start);
}

#[test]
fn a_loop_goes_on_after_a_deadlock_was_reported_and_main_is_gone_by_then() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let mut borrowed = 1;
    let (held, reference) = (trace.at_drop("main"), &mut borrowed);
    let report = panic_of(|| {
        event_loop.run_until(async {
            let _held = held;
            *reference += 1;
            pending::<()>().await;
            *reference += 1;
        })
    });
    assert!(report.starts_with("deadlock: "), "{report}");
    assert_eq!((trace.take(), borrowed), (vec!["main".to_owned()], 2));
    assert_eq!(event_loop.run_until(async { sleep(Duration::from_secs(1)).await }), ());
    assert_eq!(event_loop.tasks(), 0);
}

#[test]
fn a_destructor_of_main_may_run_its_loop_further_after_a_deadlock() {
    let (event_loop, trace) = (Rc::new(virtual_loop()), Trace::default());
    let (again, said) = (event_loop.clone(), trace.clone());
    let report = panic_of(|| {
        let borrowed = trace.clone();
        event_loop.run_until(async {
            let inner = said.clone();
            drop(spawn(async move {
                sleep(Duration::from_secs(1)).await;
                stopping().await;
                inner.say("a task goes on");
            }));
            let _held = at_drop(|| {
                let text = again.run_until(async {
                    stop();
                    sleep(Duration::from_secs(1)).await;
                    borrowed.say("another main");
                    "its output"
                });
                said.say(text);
            });
            stopping().await;
            unreachable!("nobody asks before");
        })
    });
    assert!(report.starts_with("deadlock: "), "{report}");
    assert_eq!(trace.take(), ["a task goes on", "another main", "its output"]);
    assert_eq!(event_loop.tasks(), 0);
}

#[test]
fn wait_turn_jumps_to_the_next_timer_and_turn_does_not() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let said = trace.clone();
    drop(event_loop.spawn(async move {
        sleep(Duration::from_secs(5)).await;
        said.say("five seconds");
    }));
    assert_eq!((event_loop.turn(), event_loop.turn(), event_loop.turn()), (1, 0, 0));
    assert_eq!((event_loop.wait_turn(), event_loop.turn()), (0, 1));
    assert_eq!(trace.take(), ["five seconds"]);
}

// --- loops inside of loops -------------------------------------------------------------------------------------------

#[test]
fn a_loop_may_be_made_turned_and_dropped_inside_a_task_of_another() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let inner = virtual_loop();
            let home = LoopHandle::current();
            let (held, seen) = (said.at_drop("inner task"), inner.handle());
            let task = inner.spawn(async move {
                let _held = at_drop(move || {
                    assert!(LoopHandle::current() == seen, "its own loop is the current one while it ends");
                    drop(held);
                });
                pending::<()>().await;
            });
            settle(&inner);
            drop(inner);
            assert!(LoopHandle::current() == home && task.is_finished());
            said.say("outer goes on");
            yield_now().await;
        })
        .unwrap();
    assert_eq!(trace.take(), ["inner task", "outer goes on"]);
}

#[test]
fn loops_that_hold_each_other_in_tasks_end_together() {
    let trace = Trace::default();
    let outer = virtual_loop();
    let mut innermost = virtual_loop();
    for n in 0..50 {
        let held = (innermost, trace.at_drop(&n.to_string()));
        innermost = virtual_loop();
        drop(innermost.spawn(async move {
            let _held = held;
            pending::<()>().await;
        }));
        settle(&innermost);
    }
    outer.run_until(async move { drop(innermost) });
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(trace.take(), expected);
}
