//! Work on the pool as the loop sees it: panics, work that nobody waits for (any more), and a virtual clock that must not run away from it.

mod trace;

use squall::time::sleep;
use squall::{blocking, spawn, yield_now};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use trace::{Trace, at_drop, impatient};

#[test]
fn a_virtual_clock_stands_still_for_blocking_work() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let inner = said.clone();
            let sleeper = spawn(async move {
                sleep(Duration::from_nanos(1)).await;
                inner.say("timer");
            });
            yield_now().await;
            assert_eq!(blocking::run(|| 6 * 7).await, 42);
            said.say("work");
            sleeper.await.unwrap();
        })
        .unwrap();
    assert_eq!(trace.take(), ["work", "timer"]);
}

#[test]
fn blocking_work_that_nobody_awaits_yet_does_not_stop_the_clock_for_ever() {
    impatient()
        .run(async {
            let work = blocking::run(|| 7);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(work.await, 7);
            drop(blocking::run(|| 8));
            std::mem::forget(blocking::run(|| 9));
            sleep(Duration::from_secs(1)).await;
        })
        .unwrap();
}

#[test]
fn a_panic_of_blocking_work_passes_to_whoever_awaits_it() {
    impatient()
        .run(async {
            let error =
                spawn(async { blocking::run(|| std::panic::panic_any("at work")).await }).await.unwrap_err();
            assert_eq!(error.to_string(), "the task panicked: at work");
            let error =
                squall::catch_unwind(blocking::run(|| std::panic::panic_any("again"))).await.unwrap_err();
            assert_eq!(error.to_string(), "panicked: again");
        })
        .unwrap();
}

#[test]
fn blocking_work_whose_waiter_was_aborted_ends_on_its_own_and_its_output_is_dropped() {
    let trace = Trace::default();
    let said = trace.clone();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (done, over) = std::sync::mpsc::channel::<()>();
    impatient()
        .run(async move {
            let task = spawn(async move {
                blocking::run(move || {
                    wait.recv().unwrap();
                    at_drop(move || {
                        said.say("output");
                        done.send(()).unwrap();
                    })
                })
                .await;
            });
            yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            go.send(()).unwrap_or_default();
        })
        .unwrap();
    // Forgotten if it had not begun, else it ran to its end.
    let _ = over.recv();
    let said = trace.take();
    assert!(said.is_empty() || said == ["output"], "{said:?}");
}

#[test]
fn blocking_work_may_be_awaited_by_several_tasks_in_turn_and_outside_of_a_loop() {
    // Held back until the first to poll it has given up, or it would take the output with it.
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let job = Rc::new(RefCell::new(blocking::run(move || {
        may_go.recv().unwrap();
        7
    })));
    let output = impatient()
        .run(async move {
            let first = job.clone();
            let given_up = spawn(poll_fn(move |cx| {
                let _ = Pin::new(&mut *first.borrow_mut()).poll(cx);
                Poll::<()>::Pending
            }));
            yield_now().await;
            given_up.abort();
            drop(given_up);
            go.send(()).unwrap();
            match Rc::into_inner(job) {
                Some(job) => job.into_inner().await,
                None => unreachable!("the other owner was dropped"),
            }
        })
        .unwrap();
    assert_eq!(output, 7);
}

#[test]
fn a_virtual_clock_never_overtakes_the_wake_of_work_that_ends_just_now() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    impatient()
        .run(async move {
            let late = Rc::new(RefCell::new(0));
            for _ in 0..rounds {
                let overtaken = late.clone();
                let sleeper = spawn(async move {
                    sleep(Duration::from_nanos(1)).await;
                    *overtaken.borrow_mut() += 1;
                });
                yield_now().await;
                blocking::run(|| ()).await;
                assert_eq!(*late.borrow(), 0, "the timer came first");
                sleeper.abort();
            }
        })
        .unwrap();
}
