//! Programs that mean ill, in safe code: wakers that come back into the loop while they are cloned, woken or dropped, values that are forgotten or
//! carried off, loops that end at the worst moment. Each names what it once broke, or could.

mod foreign;
mod trace;

use foreign::Event;
use squall::time::{Sleep, sleep};
use squall::{EventLoop, JoinHandle, LoopHandle, Stopping, spawn, stop, stopping, yield_now};
use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::mem::forget;
use std::panic::panic_any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use trace::{Gate, Trace, at_drop, impatient, panic_of, settle, virtual_loop};

const SECOND: Duration = Duration::from_secs(1);

fn poll_by<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn run<F: Future>(main: F) -> F::Output {
    impatient().run(main).unwrap()
}

/// A waker that does nothing but panic at one event.
fn panics_when(event: Event) -> Waker {
    let is_over = Cell::new(false);
    foreign::waker(move |now| {
        if now == event && !is_over.replace(true) {
            panic_any(format!("{now:?}"));
        }
    })
}

// --- wakers that come back -------------------------------------------------------------------------------------------

#[test]
fn a_waker_whose_clone_ends_the_awaited_task_is_woken_at_once() {
    let (home, trace) = (Rc::new(virtual_loop()), Trace::default());
    let gate = Gate::default();
    let waiting = gate.clone();
    let mut awaited = home.spawn(async move {
        waiting.wait().await;
        7
    });
    let (turned, said) = (home.clone(), trace.clone());
    // After a deadlock the loop is still the current one, and in no turn: so it can be turned inside of a clone.
    let held = at_drop(move || {
        let inner = said.clone();
        let waker = foreign::waker(move |event| {
            inner.say(format!("{event:?}"));
            if event == Event::Cloned {
                gate.open();
                settle(&turned);
            }
        });
        assert!(poll_by(&mut awaited, &waker).is_pending());
        let Poll::Ready(output) = poll_by(&mut awaited, Waker::noop()) else {
            panic!("woken, so it has ended")
        };
        said.say(format!("output {}", output.unwrap()));
    });
    let report = panic_of(|| {
        home.run_until(async move {
            let _held = held;
            pending::<()>().await;
        });
    });
    assert!(report.starts_with("deadlock"));
    assert_eq!(trace.take(), ["Cloned", "Woken", "output 7", "Dropped"]);
}

#[test]
fn a_waker_may_use_the_loop_for_anything_while_it_is_cloned_woken_and_dropped() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let gate = Gate::default();
        let waiting = gate.clone();
        let waiter = spawn(async move { waiting.wait().await });
        let victims: Rc<RefCell<Vec<JoinHandle<()>>>> =
            Rc::new(RefCell::new((0..64).map(|_| spawn(pending::<()>())).collect()));
        let sleeps: Rc<RefCell<Vec<Sleep>>> = Rc::default();
        yield_now().await;
        let (left, timers, opening) = (victims.clone(), sleeps.clone(), gate.clone());
        let waker = foreign::waker(move |_| {
            let victim = left.borrow_mut().pop();
            if let Some(victim) = victim {
                victim.abort();
            }
            drop(spawn(yield_now()));
            let mut timer = sleep(SECOND);
            let _ = poll_by(&mut timer, Waker::noop());
            timers.borrow_mut().push(timer);
            if timers.borrow().len() > 3 {
                let old = timers.borrow_mut().remove(0);
                drop(old);
            }
            let inner = virtual_loop();
            inner.run_until(spawn_on(&inner, yield_now())).unwrap();
            opening.open();
        });
        let mut futures =
            (spawn(yield_now()), sleep(SECOND), stopping(), LoopHandle::current().spawn(yield_now));
        for waker in [waker.clone(), waker] {
            assert!(poll_by(&mut futures.0, &waker).is_pending());
            assert!(poll_by(&mut futures.1, &waker).is_pending());
            assert!(poll_by(&mut futures.2, &waker).is_pending());
            assert!(poll_by(&mut futures.3, &waker).is_pending());
        }
        sleep(2 * SECOND).await;
        stop();
        yield_now().await;
        assert!(poll_by(&mut futures.0, Waker::noop()).is_ready());
        assert!(poll_by(&mut futures.1, Waker::noop()).is_ready());
        assert!(poll_by(&mut futures.2, Waker::noop()).is_ready());
        assert!(poll_by(&mut futures.3, Waker::noop()).is_ready());
        waiter.await.unwrap();
        said.say("went on");
    });
    assert_eq!(trace.take(), ["went on"]);
}

fn spawn_on<F: Future + 'static>(event_loop: &EventLoop, future: F) -> JoinHandle<F::Output> {
    event_loop.spawn(future)
}

#[test]
fn a_waker_that_turns_the_loop_that_wakes_it_is_refused_and_nothing_is_lost() {
    let (home, trace) = (Rc::new(virtual_loop()), Trace::default());
    let (turned, said) = (home.clone(), trace.clone());
    let waker = foreign::waker(move |event| {
        if event == Event::Woken {
            said.say(panic_of(|| turned.turn()));
            turned.turn();
        }
    });
    home.run_until(async {
        let (mut task, mut timer) = (spawn(yield_now()), sleep(SECOND));
        assert!(poll_by(&mut task, &waker).is_pending() && poll_by(&mut timer, &waker).is_pending());
        sleep(2 * SECOND).await;
        assert!(task.is_finished() && timer.is_elapsed());
    });
    let refused =
        "this event loop is in a turn already: a task cannot turn the loop it runs on; await instead";
    assert_eq!(trace.take(), [refused, refused]);
}

#[test]
#[cfg_attr(miri, ignore = "the waker of this test leaks itself then")]
fn a_waker_that_panics_when_it_is_cloned_fails_the_poll_and_not_the_loop() {
    run(async {
        let task = spawn(async {
            let mut awaited = spawn(yield_now());
            let texts = [
                panic_of(|| poll_by(&mut awaited, &panics_when(Event::Cloned))),
                panic_of(|| poll_by(&mut sleep(SECOND), &panics_when(Event::Cloned))),
                panic_of(|| poll_by(&mut stopping(), &panics_when(Event::Cloned))),
                panic_of(|| {
                    poll_by(&mut LoopHandle::current().spawn(|| async {}), &panics_when(Event::Cloned))
                }),
            ];
            assert_eq!(texts, ["Cloned"; 4]);
            awaited.await.unwrap();
        });
        task.await.unwrap();
        sleep(SECOND).await;
    });
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_does_not_end_a_loop() {
    run(async {
        let mut awaited = spawn(yield_now());
        let mut timer = sleep(SECOND);
        let mut request = stopping();
        let wakers = [(); 3].map(|()| [(); 3].map(|()| panics_when(Event::Dropped)));
        for [one, two, three] in &wakers {
            // Each replaces the one before.
            assert!(poll_by(&mut awaited, one).is_pending());
            assert!(poll_by(&mut timer, two).is_pending());
            assert!(poll_by(&mut request, three).is_pending());
        }
        drop((timer, request));
        awaited.await.unwrap();
        // Each had its one panic in the loop.
        drop(wakers);
    });
}

#[test]
fn wakers_that_panic_when_dropped_and_were_left_in_a_loop_do_not_end_its_teardown() {
    for in_panic in [false, true] {
        let (trace, mut originals) = (Trace::default(), Vec::new());
        let (said, kept) = (trace.clone(), &mut originals);
        let mut end = move || {
            let home = virtual_loop();
            home.run_until(async {
                let held = said.at_drop("task");
                drop(spawn(async move {
                    let _held = held;
                    pending::<()>().await;
                }));
                for _ in 0..3 {
                    let wakers = [(); 2].map(|()| panics_when(Event::Dropped));
                    let (mut timer, mut request) = (sleep(SECOND), stopping());
                    assert!(poll_by(&mut timer, &wakers[0]).is_pending());
                    assert!(poll_by(&mut request, &wakers[1]).is_pending());
                    forget((timer, request));
                    kept.push(wakers);
                }
                yield_now().await;
            });
            if in_panic {
                panic_any("first");
            }
            drop(home);
        };
        if in_panic {
            assert_eq!(panic_of(end), "first");
        } else {
            end();
        }
        assert_eq!(trace.take(), ["task"]);
        // Each had its one panic in the loop.
        drop(originals);
    }
    // The next loop has the same place.
    run(async { sleep(SECOND).await });
}

#[test]
fn a_waker_that_registers_another_one_when_it_is_dropped_does_not_keep_a_loop_from_ending() {
    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(100) };
    }
    fn hydra() -> Waker {
        // The first to be dropped is the original, in the hand of whoever polls; the second is its clone.
        let is_original = Cell::new(true);
        foreign::waker(move |event| {
            if event == Event::Dropped && !is_original.replace(false) && LEFT.get() > 0 {
                LEFT.set(LEFT.get() - 1);
                if LoopHandle::try_current().is_some() {
                    let mut timer = sleep(SECOND);
                    let _ = poll_by(&mut timer, &hydra());
                    let mut request = stopping();
                    let _ = poll_by(&mut request, &hydra());
                    forget((timer, request));
                } else {
                    panic_any("too late to register another one");
                }
            }
        })
    }
    run(async {
        let mut timer = sleep(SECOND);
        assert!(poll_by(&mut timer, &hydra()).is_pending());
        forget(timer);
    });
    run(async { sleep(SECOND).await });
}

#[test]
fn a_loop_may_end_inside_a_waker_that_another_loop_wakes() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let inner = virtual_loop();
    let held = trace.at_drop("inner task");
    drop(inner.spawn(async move {
        let _held = held;
        pending::<()>().await;
    }));
    inner.turn();
    let (inner, said) = (Cell::new(Some(inner)), trace.clone());
    let waker = foreign::waker(move |event| {
        if event == Event::Woken {
            drop(inner.take());
            said.say(format!("outer is current: {}", LoopHandle::try_current().is_some()));
        }
    });
    home.run_until(async {
        let mut timer = sleep(SECOND);
        assert!(poll_by(&mut timer, &waker).is_pending());
        sleep(2 * SECOND).await;
    });
    assert_eq!(trace.take(), ["inner task", "outer is current: true"]);
}

// --- forgotten, moved, kept ------------------------------------------------------------------------------------------

#[test]
fn forgotten_futures_cost_no_one_else_a_wake() {
    run(async {
        for _ in 0..100 {
            // Polled by this task, then forgotten: what they leave in the loop wakes it for nothing at worst.
            let (mut timer, mut request, mut task) = (sleep(SECOND), stopping(), spawn(yield_now()));
            poll_fn(|cx| {
                assert!(Pin::new(&mut timer).poll(cx).is_pending());
                assert!(Pin::new(&mut request).poll(cx).is_pending());
                assert!(Pin::new(&mut task).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            forget((timer, request, task));
        }
        let sees = spawn(stopping());
        sleep(2 * SECOND).await;
        stop();
        sees.await.unwrap();
    });
}

#[test]
fn a_future_that_moves_to_another_task_takes_its_wake_along() {
    run(async {
        let mut moving: (Sleep, Pin<Box<Stopping>>, JoinHandle<()>) =
            (sleep(SECOND), Box::pin(stopping()), spawn(sleep(SECOND)));
        for _ in 0..3 {
            moving = spawn(async move {
                poll_fn(|cx| {
                    assert!(Pin::new(&mut moving.0).poll(cx).is_pending());
                    assert!(moving.1.as_mut().poll(cx).is_pending());
                    assert!(Pin::new(&mut moving.2).poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                moving
            })
            .await
            .unwrap();
        }
        moving.0.await;
        moving.2.await.unwrap();
        stop();
        moving.1.await;
    });
}

#[test]
fn a_wait_for_a_stop_that_was_carried_to_another_loop_fails_there_and_harms_neither() {
    let (home, other) = (virtual_loop(), virtual_loop());
    let carried = home.run_until(async {
        let mut request = stopping();
        assert!(poll_by(&mut request, Waker::noop()).is_pending());
        let mut dropped_there = stopping();
        assert!(poll_by(&mut dropped_there, Waker::noop()).is_pending());
        (request, dropped_there)
    });
    other.run_until(async {
        let (mut request, dropped) = carried;
        drop(dropped);
        let refused = "squall::stopping() was polled on another event loop than it began to wait on";
        assert_eq!(panic_of(|| poll_by(&mut request, Waker::noop())), refused);
        // Its place in the line is gone; it may begin anew.
        stop();
        assert!(poll_by(&mut request, Waker::noop()).is_ready());
    });
    home.run_until(async {
        let sees = spawn(stopping());
        yield_now().await;
        stop();
        sees.await.unwrap();
    });
}

#[test]
fn a_deadlock_inside_a_loop_that_a_task_turns_is_that_tasks_panic_only() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let home = LoopHandle::current();
        let inner = virtual_loop();
        let held = said.at_drop("inner main");
        let report = panic_of(|| {
            inner.run_until(async move {
                let _held = held;
                pending::<()>().await;
            });
        });
        assert!(report.starts_with("deadlock"));
        assert!(LoopHandle::current() == home);
        assert!(panic_of(|| inner.wait_turn()).starts_with("deadlock"));
        inner.run_until(yield_now());
        sleep(SECOND).await;
        said.say("outer goes on");
    });
    assert_eq!(trace.take(), ["inner main", "outer goes on"]);
}

#[test]
fn loops_may_be_made_run_and_dropped_in_destructors_of_a_loop_that_ends_by_a_panic() {
    let trace = Trace::default();
    let said = trace.clone();
    let text = panic_of(|| {
        run(async move {
            drop(spawn(async move {
                let _held = at_drop(move || {
                    let inner = virtual_loop();
                    let nested = said.clone();
                    let task = inner.spawn(async move {
                        sleep(SECOND).await;
                        let _bomb = at_drop(|| panic_any("inside"));
                        nested.say("inner task");
                    });
                    assert!(inner.run_until(task).unwrap_err().is_panic());
                    assert_eq!(panic_of(|| run(async {})), NESTED);
                    said.say("destructor ends");
                });
                pending::<()>().await;
            }));
            yield_now().await;
            panic_any("main");
        })
    });
    assert_eq!(
        (text.as_str(), trace.take()),
        ("main", vec!["inner task".to_owned(), "destructor ends".into()])
    );
}

const NESTED: &str = "squall::run was called inside an event loop: this thread runs one already; await the future, or squall::spawn it";

#[test]
fn a_task_that_holds_its_own_handle_and_its_loop_is_dropped_with_what_it_holds() {
    let trace = Trace::default();
    let own: Rc<OnceCell<JoinHandle<()>>> = Rc::default();
    {
        let home = virtual_loop();
        let (mine, held) = (own.clone(), trace.at_drop("future"));
        own.set(home.spawn(async move {
            let _held = (mine, held);
            pending::<()>().await;
        }))
        .unwrap();
        settle(&home);
        drop(own);
    }
    assert_eq!(trace.take(), ["future"]);
}

#[test]
fn a_slot_that_is_taken_again_while_its_old_entry_stands_in_the_queue_is_polled_once_a_turn() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let said = trace.clone();
    drop(home.spawn(async move {
        for round in 0..50 {
            // Ready, ended while it stands in the queue, and its slot free: again and again within one turn.
            for _ in 0..round {
                let task = spawn(async { panic_any("never polled") });
                task.abort();
                drop(task);
            }
            let said = said.clone();
            drop(spawn(async move { said.say(round.to_string()) }));
            yield_now().await;
        }
    }));
    settle(&home);
    let expected: Vec<_> = (0..50).map(|round| round.to_string()).collect();
    assert_eq!(trace.take(), expected);
}

#[test]
fn a_remote_wake_that_is_older_than_the_task_in_its_slot_polls_it_for_nothing_at_worst() {
    let home = virtual_loop();
    let polls = Rc::new(Cell::new(0));
    home.run_until(async {
        for round in 1..=20 {
            let gate = Gate::default();
            let old = spawn(gate.wait());
            yield_now().await;
            // The entry stands in the inbox while its task ends and another moves in.
            thread::scope(|scope| {
                scope.spawn(|| gate.wake());
            });
            old.abort();
            drop(old);
            let counted = polls.clone();
            let next = spawn(poll_fn(move |_| {
                counted.set(counted.get() + 1);
                Poll::<()>::Pending
            }));
            yield_now().await;
            yield_now().await;
            yield_now().await;
            assert!((round..=2 * round).contains(&polls.get()), "{} polls in round {round}", polls.get());
            next.abort();
        }
    });
}
