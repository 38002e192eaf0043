//! Panics: where they come out, and that each comes out once. The first of several is kept, the rest are reported, the loop goes on.
//!
//! Reports go to the standard error stream, so what they say is read from a process of its own.

mod trace;

use squall::{catch_unwind, spawn, spawn_named, yield_now};
use std::future::{Future, pending};
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use trace::{Trace, alone, alone_as, at_drop, check, impatient, panic_of, reports_of, text_of};

fn run<F: Future>(main: F) -> F::Output {
    impatient().run(main).unwrap()
}

fn bomb(text: &'static str) -> impl Drop {
    at_drop(move || panic_any(text))
}

/// A panic payload whose own destructor panics.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic_any("the payload");
    }
}

/// What a process of its own, which runs `act`, reports.
fn reports(test: &str, act: impl Future<Output = ()>) -> Option<Vec<String>> {
    alone(test, &[], || run(act)).map(|output| {
        check(&output);
        reports_of(&output)
    })
}

#[test]
fn a_panic_of_a_poll_comes_out_of_the_handle() {
    run(async {
        let task = spawn(async { panic_any("in poll") });
        let error = task.await.unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled() && !error.is_wrong_loop());
        assert_eq!(error.to_string(), "the task panicked: in poll");
        assert_eq!(text_of(&*error.into_panic()), "in poll");

        let task = spawn(async { panic_any(7_u32) });
        let error = task.await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: (a panic value that is not text)");
        assert_eq!(error.try_into_panic().unwrap().downcast_ref::<u32>(), Some(&7));

        let task = spawn(pending::<()>());
        task.abort();
        let error = task.await.unwrap_err().try_into_panic().unwrap_err();
        let refused = panic_of(|| error.into_panic());
        assert_eq!(refused, "JoinError::into_panic: the task did not panic: the task was cancelled");
    });
}

#[test]
fn a_panic_of_a_destructor_comes_out_of_the_handle() {
    run(async {
        // The future's, when the task has ended: its output is dropped.
        struct Bomb(bool);
        impl Future for Bomb {
            type Output = u32;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
                if self.0 { Poll::Ready(1) } else { Poll::Pending }
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic_any("in destructor");
            }
        }
        assert_eq!(spawn(Bomb(true)).await.unwrap_err().to_string(), "the task panicked: in destructor");
        // And when it was aborted.
        let task = spawn(Bomb(false));
        yield_now().await;
        task.abort();
        assert_eq!(task.await.unwrap_err().to_string(), "the task panicked: in destructor");
    });
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn after_a_panic_of_a_poll_that_of_the_destructor_is_reported() {
    let test = "after_a_panic_of_a_poll_that_of_the_destructor_is_reported";
    let reported = reports(test, async {
        struct Both;
        impl Future for Both {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                panic_any("first")
            }
        }
        impl Drop for Both {
            fn drop(&mut self) {
                panic_any("second");
            }
        }
        assert_eq!(spawn(Both).await.unwrap_err().to_string(), "the task panicked: first");
    });
    if let Some(reported) = reported {
        assert_eq!(reported, ["squall: a destructor panicked after its task had panicked: second"]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn when_a_destructor_has_panicked_that_of_the_output_is_reported() {
    let test = "when_a_destructor_has_panicked_that_of_the_output_is_reported";
    let reported = reports(test, async {
        struct Bomb;
        impl Future for Bomb {
            type Output = Box<dyn std::any::Any>;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
                Poll::Ready(Box::new(at_drop(|| panic_any("output"))))
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic_any("future");
            }
        }
        assert_eq!(spawn(Bomb).await.unwrap_err().to_string(), "the task panicked: future");
    });
    if let Some(reported) = reported {
        assert_eq!(reported, ["squall: an output's destructor panicked after its task's had: output"]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_detached_task_that_panics_is_reported_by_name_and_place_and_the_loop_goes_on() {
    let test = "a_detached_task_that_panics_is_reported_by_name_and_place_and_the_loop_goes_on";
    let line = line!() + 3;
    let trace = Trace::default();
    let reported = reports(test, async {
        drop(spawn(async { panic_any("nobody hears") }));
        drop(spawn_named("last words", async { panic_any("said") }));
        drop(spawn(async { bomb("output") }));
        let kept = spawn(async { panic_any("dropped unread") });
        let said = trace.clone();
        spawn(async move { said.say("a later task") }).await.unwrap();
        drop(kept);
        assert_eq!(trace.take(), ["a later task"]);
    });
    if let Some(reported) = reported {
        let at = |line: u32| format!("(spawned at {}:{line}:", file!());
        let expected = [
            format!("squall: task 2 {}14) panicked and nobody awaits it: nobody hears", at(line)),
            format!("squall: task 3 \"last words\" {}14) panicked and nobody awaits it: said", at(line + 1)),
            format!("squall: task 4 {}14) panicked and nobody awaits it: output", at(line + 2)),
            format!("squall: task 5 {}20) panicked and nobody awaits it: dropped unread", at(line + 3)),
        ];
        assert_eq!(reported, expected);
    }
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_report_that_nobody_can_read_does_not_end_the_loop() {
    let test = "a_report_that_nobody_can_read_does_not_end_the_loop";
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = alone_as(
        test,
        |command| _ = command.stderr(writer),
        || {
            run(async {
                drop(spawn(async { panic_any("unheard") }));
                drop(spawn(async { bomb("unheard") }));
                yield_now().await;
                assert_eq!(spawn(async { 7 }).await.unwrap(), 7);
            });
        },
    );
    output.iter().for_each(check);
}

#[test]
fn a_panic_of_main_comes_out_of_run_after_all_tasks_were_dropped() {
    let trace = Trace::default();
    let said = trace.clone();
    let panic = panic_of(|| {
        run(async move {
            let held = said.at_drop("task");
            drop(spawn(async move {
                let _held = held;
                pending::<()>().await;
            }));
            yield_now().await;
            let _held = said.at_drop("main");
            panic_any("main")
        })
    });
    assert_eq!((panic.as_str(), trace.take()), ("main", vec!["main".to_owned(), "task".into()]));
}

#[test]
#[cfg_attr(miri, ignore = "a payload that panics twice is leaked on purpose")]
fn destructors_that_panic_at_the_end_of_the_loop_do_not_end_the_teardown() {
    for in_panic in [false, true] {
        let trace = Trace::default();
        let said = trace.clone();
        let end = move || {
            run(async move {
                for n in 1..=3 {
                    let held = said.at_drop(&format!("task {n}"));
                    drop(spawn(async move {
                        let _held = held;
                        let _bomb = bomb("teardown");
                        pending::<()>().await;
                    }));
                }
                // Outputs that nobody took, and a panic that nobody has read.
                let outputs = (spawn(async { bomb("output") }), spawn(async { panic_any(Spiteful) }));
                yield_now().await;
                std::mem::forget(outputs);
                if in_panic {
                    panic_any("main");
                }
            });
        };
        if in_panic {
            assert_eq!(panic_of(end), "main");
        } else {
            end();
        }
        assert_eq!(trace.take(), ["task 3", "task 2", "task 1"]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "a payload that panics twice is leaked on purpose")]
fn a_payload_whose_destructor_panics_is_survived_wherever_it_is_dropped() {
    run(async {
        drop(spawn(async { panic_any(Spiteful) }));
        let unread = spawn(async { panic_any(Spiteful) });
        let read = spawn(async { panic_any(Spiteful) });
        yield_now().await;
        drop(unread);
        let error = read.await.unwrap_err();
        assert_eq!(panic_of(|| drop(error)), "the payload");
    });
}

#[test]
fn a_task_that_panics_while_it_is_aborted_has_panicked() {
    run(async {
        let own = std::rc::Rc::new(std::cell::OnceCell::<squall::JoinHandle<()>>::new());
        let me = own.clone();
        own.set(spawn(async move {
            me.get().unwrap().abort();
            panic_any("anyway");
        }))
        .unwrap();
        yield_now().await;
        let task = std::rc::Rc::into_inner(own).unwrap().into_inner().unwrap();
        assert_eq!(task.await.unwrap_err().to_string(), "the task panicked: anyway");
    });
}

/// A waker that panics when it is woken.
struct Alarmed;

impl Wake for Alarmed {
    fn wake(self: Arc<Self>) {
        panic_any("waker");
    }
}

#[test]
fn a_foreign_waker_that_panics_does_not_stop_the_loop() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let mut awaited = spawn(yield_now());
        let mut sleep = squall::time::sleep(std::time::Duration::from_secs(1));
        let waker = Waker::from(Arc::new(Alarmed));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut awaited).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut sleep).poll(&mut cx).is_pending());
        squall::time::sleep(std::time::Duration::from_secs(2)).await;
        assert!(awaited.is_finished() && sleep.is_elapsed());
        said.say("went on");
    });
    assert_eq!(trace.take(), ["went on"]);
}

// --- catch_unwind ----------------------------------------------------------------------------------------------------

#[test]
fn catch_unwind_gives_the_panic_of_a_poll_after_it_has_dropped_the_future() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let (held, unpolled) = (said.at_drop("held"), said.clone());
        let error = catch_unwind(async move {
            let _held = held;
            yield_now().await;
            panic_any("caught")
        })
        .await
        .unwrap_err();
        unpolled.say("given");
        assert_eq!(error.to_string(), "panicked: caught");
        assert_eq!(format!("{error:?}"), "Panicked(panicked: caught)");
        assert_eq!(text_of(&*error.into_payload()), "caught");
        assert_eq!(catch_unwind(async { 7 }).await.unwrap(), 7);
    });
    assert_eq!(trace.take(), ["held", "given"]);
}

/// Is ready at the given poll; panics in the places named. It may be moved between polls.
struct Fragile {
    polls: u32,
    in_poll: bool,
    in_drop: bool,
}

impl Future for Fragile {
    type Output = Option<Box<dyn std::any::Any>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls > 0 {
            self.polls -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        assert!(!self.in_poll, "in poll");
        Poll::Ready(self.in_drop.then(|| Box::new(bomb("output")) as _))
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        if self.in_drop {
            panic_any("in destructor");
        }
    }
}

#[test]
fn catch_unwind_keeps_the_first_of_several_panics() {
    run(async {
        for (in_poll, in_drop, caught) in [
            (true, false, "panicked: in poll"),
            (false, true, "panicked: in destructor"),
            (true, true, "panicked: in poll"),
        ] {
            let error = catch_unwind(Fragile { polls: 1, in_poll, in_drop }).await.err().unwrap();
            assert_eq!(error.to_string(), caught);
        }
    });
}

#[test]
fn catch_unwind_may_be_moved_between_polls_and_dropped_at_any_time() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = catch_unwind(Fragile { polls: 2, in_poll: true, in_drop: false });
    assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
    let mut second = Box::new(first);
    assert!(Pin::new(&mut *second).poll(&mut cx).is_pending());
    let mut third = *second;
    let Poll::Ready(output) = Pin::new(&mut third).poll(&mut cx) else { panic!("ready at the third poll") };
    assert_eq!(output.err().unwrap().to_string(), "panicked: in poll");
    assert_eq!(
        panic_of(|| Pin::new(&mut third).poll(&mut cx)),
        "CatchUnwind polled after it gave its output"
    );
    // Its future is gone: there is nothing to drop twice.
    drop(third);

    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    let mut half = Box::pin(catch_unwind(async move {
        let _held = held;
        pending::<()>().await;
    }));
    assert!(half.as_mut().poll(&mut cx).is_pending());
    drop(half);
    assert_eq!(trace.take(), ["dropped"]);
}
