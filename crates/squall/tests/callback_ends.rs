//! How callbacks end otherwise than by being called: their panics, their destructors, the loop's end, and what other loops and threads do to them.

mod trace;

use squall::callback::{Scheduled, call_every, call_later, call_soon};
use squall::time::sleep;
use squall::{Builder, CallbackPanics, spawn, yield_now};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use trace::{Trace, at_drop, said, say, settle, virtual_loop};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_panicking_callback_ends_itself_and_nothing_else() {
    let said = said(async |trace| {
        let held = trace.at_drop("dropped");
        call_soon(move || {
            let _held = held;
            panic!("as tested");
        });
        call_soon(say(&trace, "soon"));
        call_later(SECOND, || panic!("as tested"));
        call_later(SECOND, say(&trace, "later"));
        let every = call_every(SECOND, || panic!("as tested"));
        sleep(3 * SECOND).await;
        assert!(!every.is_pending(), "the period ends with its panic");
    });
    assert_eq!(said, ["dropped", "soon", "later"]);
}

#[test]
fn a_panic_ends_the_run_where_that_is_asked_for() {
    for (name, schedule) in [
        ("soon", (|| _ = call_soon(|| panic!("as tested"))) as fn()),
        ("later", || _ = call_later(SECOND, || panic!("as tested"))),
        ("every", || _ = call_every(SECOND, || panic!("as tested"))),
    ] {
        let event_loop =
            Builder::new().virtual_time().callback_panics(CallbackPanics::EndRun).build().unwrap();
        let trace = Trace::default();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let held = trace.at_drop("main dropped");
            event_loop.run_until(async move {
                let _held = held;
                schedule();
                std::future::pending::<()>().await;
            })
        }));
        let panic = ended.expect_err("the panic comes out");
        assert_eq!(panic.downcast_ref(), Some(&"as tested"), "{name}");
        assert_eq!(trace.take(), ["main dropped"], "{name}");
        // The loop can be used again.
        assert_eq!(
            event_loop.run_until(async {
                yield_now().await;
                1
            }),
            1,
            "{name}"
        );
    }
}

#[test]
fn a_panic_that_ends_the_run_loses_no_other_callback_or_task() {
    let event_loop = Builder::new().virtual_time().callback_panics(CallbackPanics::EndRun).build().unwrap();
    let trace = Trace::default();
    for round in 0..3 {
        let trace = trace.clone();
        drop(event_loop.spawn(async move {
            let task = trace.clone();
            drop(spawn(async move { task.say(format!("task {round}")) }));
            call_soon(|| panic!("as tested"));
            call_soon(move || trace.say(format!("callback {round}")));
        }));
    }
    let mut panics = 0;
    while panics < 3 {
        panics += usize::from(catch_unwind(AssertUnwindSafe(|| event_loop.turn())).is_err());
    }
    settle(&event_loop);
    let expected = ["task 0", "callback 0", "task 1", "callback 1", "task 2", "callback 2"];
    assert_eq!(trace.take(), expected);
}

#[test]
fn at_the_loops_end_callbacks_are_dropped_uncalled() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    event_loop.run_until(async {
        for (name, schedule) in [
            ("soon", (|held| _ = call_soon(move || drop(held))) as fn(_)),
            ("later", |held| _ = call_later(SECOND, move || drop(held))),
            ("every", |held| {
                let mut held = Some(held);
                call_every(SECOND, move || drop(held.take()));
            }),
        ] {
            let trace = trace.clone();
            schedule(at_drop(Box::new(move || trace.say(format!("{name} dropped"))) as Box<dyn FnOnce()>));
        }
    });
    assert_eq!(trace.take(), Vec::<String>::new());
    drop(event_loop);
    let mut said = trace.take();
    said.sort();
    assert_eq!(said, ["every dropped", "later dropped", "soon dropped"]);
}

#[test]
fn a_destructor_at_the_loops_end_schedules_in_vain() {
    let trace = Trace::default();
    let (outer, refused) = (trace.clone(), trace.clone());
    virtual_loop().run_until(async move {
        let held = at_drop(move || {
            let inner = refused.at_drop("refused and dropped");
            let soon = call_soon(move || drop(inner));
            assert!(!soon.is_pending() && soon.when().is_none());
            soon.cancel();
            let inner = refused.at_drop("refused later");
            assert!(!call_later(SECOND, move || drop(inner)).is_pending());
            panic!("as tested");
        });
        call_soon(move || drop(held));
        call_soon(say(&outer, "never called"));
    });
    assert_eq!(trace.take(), ["refused and dropped", "refused later"]);
}

#[test]
fn a_destructor_of_a_cancelled_callback_may_do_anything() {
    let said = said(async |trace| {
        let names: Rc<RefCell<Vec<Scheduled>>> = Rc::default();
        for n in 0..3 {
            let (again, names_, trace_) = (names.clone(), names.clone(), trace.clone());
            let held = at_drop(move || {
                trace_.say(format!("drops {n}"));
                call_soon(say(&trace_, "scheduled by a destructor"));
                // All of them, itself included.
                let all: Vec<_> = again.borrow().clone();
                all.iter().for_each(Scheduled::cancel);
                if n == 1 {
                    panic!("as tested");
                }
            });
            names_.borrow_mut().push(call_soon(move || drop(held)));
        }
        let first = names.borrow()[0];
        first.cancel();
        yield_now().await;
    });
    let (drops, calls): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.starts_with("drops"));
    assert_eq!(drops, ["drops 0", "drops 1", "drops 2"]);
    assert_eq!(calls, ["scheduled by a destructor"; 3]);
}

#[test]
fn a_callback_takes_turns_of_another_loop_and_schedules_there() {
    let said = said(async |trace| {
        let other = Rc::new(virtual_loop());
        let inner = trace.clone();
        call_soon(move || {
            let there = inner.clone();
            drop(other.spawn(async move {
                call_soon(move || there.say("on the other loop"));
            }));
            settle(&other);
            inner.say("on this loop");
        });
        yield_now().await;
    });
    assert_eq!(said, ["on the other loop", "on this loop"]);
}

#[test]
fn a_cancel_from_another_loop_and_from_another_thread_is_a_request() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let (soon, later, every) = event_loop.run_until(async {
        let soon = trace.at_drop("soon");
        let (later, every) = (trace.at_drop("later"), trace.at_drop("every"));
        let mut every = Some(every);
        (
            call_soon(move || drop(soon)),
            call_later(SECOND, move || drop(later)),
            call_every(SECOND, move || drop(every.take())),
        )
    });
    assert!(!soon.is_pending(), "asked outside of the loop");
    virtual_loop().run_until(async { soon.cancel() });
    std::thread::spawn(move || {
        later.cancel();
        every.cancel();
    })
    .join()
    .unwrap();
    assert_eq!(trace.take(), Vec::<String>::new());
    settle(&event_loop);
    assert_eq!(trace.take(), ["soon", "later", "every"]);
}

#[test]
fn another_thread_calls_soon_and_learns_that_the_loop_has_ended() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    let handle = event_loop.handle();
    let from_afar = trace.clone();
    std::thread::spawn(move || {
        for n in 0..3 {
            let trace = from_afar.clone();
            assert!(handle.call_soon(move || trace.say(format!("call {n}"))));
        }
        assert!(handle.call_soon(|| panic!("as tested")));
        let trace = from_afar.clone();
        assert!(handle.call_soon(move || trace.say("after the panic")));
    })
    .join()
    .unwrap();
    settle(&event_loop);
    assert_eq!(trace.take(), ["call 0", "call 1", "call 2", "after the panic"]);
    let held = trace.at_drop("sent and never called");
    assert!(handle.call_soon(move || drop(held)));
    drop(event_loop);
    assert_eq!(trace.take(), ["sent and never called"]);
    let held = trace.at_drop("refused");
    assert!(!handle.call_soon(move || drop(held)));
    assert_eq!(trace.take(), ["refused"]);
}
