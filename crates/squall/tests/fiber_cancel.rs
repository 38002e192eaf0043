//! How fibers end before their time: in two steps, on the spot, whatever their code does about it.

mod trace;

use squall::fiber::{self, Cancelled};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;
use trace::{Trace, alone, at_drop, check, reports_of, said, settle, text_of, virtual_loop};

/// Spawns a fiber, lets it come to its first wait, aborts it, and gives what it said.
fn aborted(body: impl FnOnce(Trace) + 'static) -> Vec<String> {
    aborted_in_turn(1, body)
}

fn aborted_in_turn(turn: u32, body: impl FnOnce(Trace) + 'static) -> Vec<String> {
    said(async move |trace| {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || body(trace)
        });
        for _ in 0..turn {
            squall::yield_now().await;
        }
        fiber.abort();
        trace.say(if fiber.is_finished() { "ended" } else { "goes on" });
        assert!(fiber.await.unwrap_err().is_cancelled());
    })
}

#[test]
fn a_call_that_can_return_an_error_returns_it_and_nothing_unwinds() {
    let said = aborted(|trace| {
        let _guard = trace.at_drop("dropped");
        assert!(!fiber::is_cancelled());
        let error: Cancelled = fiber::try_wait(pending::<()>()).unwrap_err();
        assert_eq!(error.to_string(), "the fiber was cancelled");
        assert!(std::io::Error::from(error).get_ref().unwrap().is::<Cancelled>());
        assert!(fiber::is_cancelled() && !std::thread::panicking());
        trace.say("an orderly end");
    });
    assert_eq!(said, ["an orderly end", "dropped", "ended"]);
}

#[test]
fn a_call_that_has_no_error_to_return_unwinds() {
    let waits: [fn(); 4] = [
        || fiber::wait(pending::<()>()),
        || fiber::sleep(Duration::from_secs(1)),
        fiber::yield_now,
        || fiber::scope(|s| s.spawn(|| fiber::wait(pending())).join().unwrap()),
    ];
    for wait in waits {
        let said = aborted(move |trace| {
            let _outer = trace.at_drop("outer");
            let inner = || {
                let _inner = trace.at_drop("inner");
                wait();
                trace.say("not reached");
            };
            inner();
        });
        assert_eq!(said, ["inner", "outer", "ended"]);
    }
}

#[test]
fn a_cancelled_fiber_waits_for_nothing_and_takes_what_is_ready() {
    let said = aborted(|trace| {
        assert!(fiber::try_wait(pending::<()>()).is_err());
        assert_eq!(fiber::try_wait(async { 42 }), Ok(42));
        assert_eq!(fiber::wait(async { 43 }), 43);
        assert!(fiber::try_wait(squall::time::sleep(Duration::from_secs(1))).is_err());
        trace.say("it takes what is ready");
        fiber::sleep(Duration::from_secs(1));
        trace.say("not reached");
    });
    assert_eq!(said, ["it takes what is ready", "ended"]);
}

#[test]
fn a_loop_that_ignores_the_error_is_unwound() {
    let said = aborted(|trace| {
        let errors = Rc::new(Cell::new(0));
        let counted = errors.clone();
        let _guard = at_drop(move || trace.say(format!("unwound after {}", counted.get())));
        loop {
            assert!(fiber::try_wait(pending::<()>()).is_err());
            errors.set(errors.get() + 1);
        }
    });
    assert_eq!(said, ["unwound after 64", "ended"]);
}

#[test]
fn catching_the_unwinding_does_not_keep_a_fiber_alive() {
    let told = alone("catching_the_unwinding_does_not_keep_a_fiber_alive", &[], || {
        let said = aborted(|trace| {
            let _guard = trace.at_drop("never dropped: the stack is given up");
            let caught = Cell::new(0);
            loop {
                let panic = catch_unwind(|| fiber::sleep(Duration::from_secs(1))).unwrap_err();
                assert!(fiber::is_cancellation(&*panic));
                caught.set(caught.get() + 1);
                if caught.get() == 64 {
                    trace.say("caught 64 times");
                }
            }
        });
        assert_eq!(said, ["caught 64 times", "ended"]);
        // The thread is as it was, and its stack is nobody's.
        assert!(!std::thread::panicking());
        virtual_loop().run_until(async {
            assert_eq!(fiber::stacks().in_use, 1);
            fiber::spawn(fiber::yield_now).await.unwrap();
            assert_eq!(fiber::stacks().in_use, 1);
        });
    });
    if let Some(output) = told {
        check(&output);
        let reports = reports_of(&output);
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].contains("has caught the unwinding of its stack 64 times"), "{reports:?}");
        assert!(reports[0].contains("tests/fiber_cancel.rs:"), "{reports:?}");
    }
}

#[test]
fn one_that_is_caught_a_few_times_ends_in_order() {
    let said = aborted(|trace| {
        let _guard = trace.at_drop("dropped");
        for _ in 0..5 {
            assert!(catch_unwind(|| fiber::sleep(Duration::from_secs(1))).is_err());
        }
        trace.say("returns");
    });
    assert_eq!(said, ["returns", "dropped", "ended"]);
}

#[test]
fn whoever_passes_the_unwinding_on_is_left_at_once() {
    let said = aborted(|trace| {
        let panic = catch_unwind(|| fiber::sleep(Duration::from_secs(1))).unwrap_err();
        trace.say("passes it on");
        resume_unwind(panic);
    });
    assert_eq!(said, ["passes it on", "ended"]);
}

#[test]
fn our_own_catching_passes_it_on() {
    /// Waits when it is dropped.
    struct Late(Trace);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.say("waits in a destructor");
            fiber::sleep(Duration::from_secs(1));
        }
    }
    // A task's output, and a task's future, dropped by a fiber.
    for is_done in [true, false] {
        let said = aborted_in_turn(3, move |trace| {
            let late = Late(trace.clone());
            let task = squall::spawn(async move {
                if !is_done {
                    pending::<()>().await;
                }
                late
            });
            fiber::yield_now();
            if is_done {
                drop(task);
            } else {
                task.abort();
            }
            trace.say("not reached");
        });
        assert_eq!(said, ["waits in a destructor", "ended"], "{is_done}");
    }
}

#[test]
fn the_loops_end_ends_fibers_the_youngest_first() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    event_loop.run_until(async {
        for name in ["one", "two", "three"] {
            let trace = trace.clone();
            fiber::spawn(move || {
                let _guard = trace.at_drop(name);
                fiber::wait(pending::<()>());
            });
        }
        squall::yield_now().await;
    });
    assert!(trace.take().is_empty());
    drop(event_loop);
    assert_eq!(trace.take(), ["three", "two", "one"]);
}

#[test]
fn a_panic_while_it_is_cancelled_is_told() {
    virtual_loop().run_until(async {
        let second = fiber::spawn(|| {
            let _ = fiber::try_wait(pending::<()>());
            panic!("alone");
        });
        squall::yield_now().await;
        second.abort();
        let error = second.await.unwrap_err();
        assert_eq!(text_of(&*error.into_panic()), "alone");
    });
}

#[test]
fn a_fiber_that_aborts_itself_ends_at_its_next_wait() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        let handle: Rc<RefCell<Option<squall::JoinHandle<()>>>> = Rc::default();
        let fiber = fiber::spawn({
            let (trace, handle) = (trace.clone(), handle.clone());
            move || {
                let _guard = trace.at_drop("dropped");
                handle.borrow().as_ref().unwrap().abort();
                trace.say("goes on");
                fiber::sleep(Duration::from_secs(1));
                trace.say("not reached");
            }
        });
        *handle.borrow_mut() = Some(fiber);
        squall::yield_now().await;
        assert!(handle.take().unwrap().await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["goes on", "dropped"]);
}

#[test]
fn fibers_may_end_one_another() {
    let said = said(async |trace| {
        let victim = fiber::spawn({
            let trace = trace.clone();
            move || {
                let _guard = trace.at_drop("victim dropped");
                fiber::wait(pending::<()>());
            }
        });
        let other = fiber::spawn({
            let trace = trace.clone();
            move || {
                victim.abort();
                trace.say("aborted");
                assert!(fiber::is_current());
                fiber::yield_now();
                assert!(fiber::wait(victim).unwrap_err().is_cancelled());
            }
        });
        other.await.unwrap();
    });
    assert_eq!(said, ["victim dropped", "aborted"]);
}

#[test]
fn try_wait_in_a_destructor_returns_while_a_panic_unwinds() {
    struct Closes(Trace);
    impl Drop for Closes {
        fn drop(&mut self) {
            assert_eq!(fiber::try_wait(async { 1 }), Ok(1));
            self.0.say(format!("{:?}", fiber::try_wait(pending::<()>()).is_err()));
            fiber::yield_now();
        }
    }
    let said = said(async |trace| {
        let closes = Closes(trace.clone());
        let fiber = fiber::spawn(move || {
            let _closes = closes;
            panic!("why it unwinds");
        });
        assert!(fiber.await.unwrap_err().is_panic());
    });
    assert_eq!(said, ["true"]);
}

#[test]
fn wait_in_a_destructor_that_cannot_wait_ends_the_process_with_a_word() {
    let told = alone("wait_in_a_destructor_that_cannot_wait_ends_the_process_with_a_word", &[], || {
        virtual_loop().run_until(async {
            let fiber = fiber::Builder::new().name("closer").spawn(|| {
                let _guard = at_drop(|| fiber::sleep(Duration::from_secs(1)));
                panic!("why it unwinds");
            });
            _ = fiber.unwrap().await;
        });
    });
    if let Some(output) = told {
        assert!(!output.status.success());
        let reports = reports_of(&output);
        assert!(
            reports[0].starts_with("squall: fiber::wait has to wait in a destructor while fiber \"closer\""),
            "{reports:?}"
        );
        assert!(reports[0].contains("Use fiber::try_wait there"), "{reports:?}");
    }
}

#[test]
fn fibers_end_while_their_thread_unwinds() {
    let trace = Trace::default();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        virtual_loop().run_until(async {
            for kind in 0..3 {
                let trace = trace.clone();
                fiber::spawn(move || {
                    let _guard = trace.at_drop("dropped");
                    match kind {
                        0 => fiber::wait(pending::<()>()),
                        1 => _ = fiber::try_wait(pending::<()>()),
                        _ => fiber::scope(|s| s.spawn(|| fiber::wait(pending())).join().unwrap()),
                    }
                });
            }
            squall::yield_now().await;
            squall::yield_now().await;
            panic!("the main task's");
        })
    }))
    .unwrap_err();
    assert_eq!(text_of(&*panic), "the main task's");
    assert_eq!(trace.take(), ["dropped"; 3]);
    assert!(!std::thread::panicking());
}

#[test]
fn a_fiber_on_a_loop_that_is_turned_by_a_destructor_ends_with_a_word() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    let [fiber] = event_loop.run_until(async {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                let _guard = trace.at_drop("dropped");
                loop {
                    fiber::yield_now();
                }
            }
        });
        squall::yield_now().await;
        [fiber]
    });
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _turns = at_drop(|| settle(&event_loop));
        panic!("unwinds");
    }));
    assert!(caught.is_err());
    assert_eq!(trace.take(), ["dropped"]);
    let error = event_loop.run_until(fiber).unwrap_err();
    assert!(text_of(&*error.into_panic()).contains("turned while its thread unwinds"));
}

#[test]
fn our_catch_unwind_passes_it_on_through_a_foreign_executor() {
    let said = aborted(|trace| {
        let _guard = trace.at_drop("dropped");
        let caught = futures::executor::block_on(squall::catch_unwind(async {
            let _inner = trace.at_drop("the future's");
            fiber::sleep(Duration::from_secs(1));
        }));
        trace.say(format!("caught: {}", caught.is_err()));
    });
    assert_eq!(said, ["the future's", "dropped", "ended"]);
}

#[test]
fn a_generator_on_the_stack_passes_it_on() {
    use squall::generator::{Co, Generator};
    let said = aborted(|trace| {
        let _guard = trace.at_drop("dropped");
        let mut generator = Generator::<'_, u32>::new(async |co: &Co<'_, u32>| {
            let _inner = trace.at_drop("the generator's");
            fiber::sleep(Duration::from_secs(1));
            co.yield_(1).await;
        });
        let step = generator.resume();
        trace.say(format!("not reached: {step:?}"));
    });
    assert_eq!(said, ["the generator's", "dropped", "ended"]);
}

#[test]
fn what_a_cancelled_fiber_turns_on_its_stack_must_not_wait_either() {
    let said = aborted(|trace| {
        let _guard = trace.at_drop("dropped");
        assert!(fiber::try_wait(pending::<()>()).is_err());
        // A loop of its own still runs to its end, with fibers on it; its tasks are no part of this fiber.
        virtual_loop().run_until(async {
            let nested = fiber::spawn(|| fiber::sleep(Duration::from_secs(1)));
            nested.await.unwrap();
            let task = squall::spawn(async { fiber::try_wait(pending::<()>()).is_ok() });
            let refused = text_of(&*task.await.unwrap_err().into_panic());
            assert!(refused.contains("was called while a future is polled on the stack of"), "{refused}");
        });
        trace.say("its loop has ended");
        assert!(fiber::try_wait(pending::<()>()).is_err());
    });
    assert_eq!(said, ["its loop has ended", "dropped", "ended"]);
}

#[test]
fn aborted_from_another_thread_it_ends_in_the_next_turn() {
    let trace = Trace::default();
    squall::run(async {
        let fiber = std::sync::Arc::new(fiber::spawn({
            let trace = trace.clone();
            move || {
                let _guard = trace.at_drop("dropped");
                assert!(fiber::try_wait(pending::<()>()).is_err());
            }
        }));
        squall::yield_now().await;
        let there = fiber.clone();
        std::thread::spawn(move || there.abort()).join().unwrap();
        while !fiber.is_finished() {
            squall::yield_now().await;
        }
    });
    assert_eq!(trace.take(), ["dropped"]);
}
