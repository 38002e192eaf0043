//! Spawning, awaiting, aborting: what each party sees, whichever state the task is in. Panics are in `panics.rs`, what crosses loops and
//! threads in `handles.rs`.

mod trace;

use squall::{JoinHandle, spawn, spawn_named, yield_now};
use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use trace::{Gate, Trace, at_drop, impatient, panic_of, settle, virtual_loop};

fn run<F: Future>(main: F) -> F::Output {
    impatient().run(main).unwrap()
}

/// A place for a task's own handle.
type Own = Rc<OnceCell<JoinHandle<()>>>;

#[test]
fn a_task_gives_its_output_to_whoever_awaits_it_early_or_late() {
    run(async {
        let late = spawn(async { "late" });
        yield_now().await;
        assert!(late.is_finished());
        assert_eq!(late.await.unwrap(), "late");

        let early = spawn(async {
            yield_now().await;
            Rc::new("early")
        });
        assert!(!early.is_finished());
        assert_eq!(*early.await.unwrap(), "early");
    });
}

#[test]
fn a_task_begins_next_turn_and_never_inside_spawn() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let child = said.clone();
        let task = spawn(async move { child.say("child") });
        said.say("parent");
        task.await.unwrap();
        said.say("joined");
    });
    assert_eq!(trace.take(), ["parent", "child", "joined"]);
}

#[test]
fn a_dropped_handle_lets_the_task_run_on_and_its_output_is_dropped_when_it_ends() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let inner = said.clone();
        drop(spawn(async move {
            yield_now().await;
            inner.say("ran on");
            inner.at_drop("output")
        }));
        yield_now().await;
        yield_now().await;
        said.say("main");
    });
    assert_eq!(trace.take(), ["ran on", "output", "main"]);
}

#[test]
fn an_output_that_nobody_took_is_dropped_with_its_handle() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let held = said.at_drop("output");
        let task = spawn(async move { held });
        yield_now().await;
        said.say("before");
        drop(task);
        said.say("after");
    });
    assert_eq!(trace.take(), ["before", "output", "after"]);
}

#[test]
fn the_future_is_dropped_before_its_output_is_given() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let inner = said.clone();
        let task = spawn(async move {
            let _held = inner.at_drop("future");
            yield_now().await;
        });
        task.await.unwrap();
        said.say("joined");
    });
    assert_eq!(trace.take(), ["future", "joined"]);
}

#[test]
fn ids_count_from_one_main_first_and_names_are_kept_while_there_is_a_task() {
    run(async {
        let plain = spawn(async {});
        let named = spawn_named("answer", async { 42 });
        assert_eq!((plain.id().to_string(), named.id().to_string()), ("2".into(), "3".into()));
        assert_eq!((plain.name(), named.name().as_deref()), (None, Some("answer")));
        yield_now().await;
        assert_eq!(named.name().as_deref(), Some("answer"), "until the output is taken");
        assert_eq!(format!("{named:?}"), "JoinHandle { id: 3, is_finished: true }");
        let mut named = named;
        assert_eq!((&mut named).await.unwrap(), 42);
        assert_eq!((named.name(), named.id().to_string()), (None, "3".into()));
        assert!(named.is_finished());
    });
}

#[test]
fn polling_a_handle_again_after_its_output_panics() {
    run(async {
        let mut task = spawn(async {});
        (&mut task).await.unwrap();
        let again = panic_of(|| pin!(&mut task).poll(&mut Context::from_waker(Waker::noop())));
        assert_eq!(again, "JoinHandle polled after it gave its output");
    });
}

#[test]
fn the_last_waker_that_awaited_a_task_is_the_one_that_is_woken() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let gate = Gate::default();
    let waiting = gate.clone();
    let awaited = Rc::new(RefCell::new(event_loop.spawn(async move { waiting.wait().await })));
    let joiners: Vec<_> = ["first", "second"]
        .map(|name| {
            let (awaited, said) = (awaited.clone(), trace.clone());
            event_loop.spawn(std::future::poll_fn(move |cx| {
                let mut task = awaited.borrow_mut();
                let polled = pin!(&mut *task).poll(cx);
                said.say(format!("{name} {}", if polled.is_ready() { "joined" } else { "waits" }));
                polled.map(|_| ())
            }))
        })
        .into();
    settle(&event_loop);
    gate.open();
    settle(&event_loop);
    assert_eq!(trace.take(), ["first waits", "second waits", "second joined"]);
    assert_eq!(joiners.iter().map(JoinHandle::is_finished).collect::<Vec<_>>(), [false, true]);
}

// --- abort × every state ---------------------------------------------------------------------------------------------

#[test]
fn abort_of_a_waiting_task_drops_its_future_at_once() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let held = said.at_drop("future");
        let task = spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        said.say("aborted");
        assert!(task.is_finished());
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["future", "aborted"]);
}

#[test]
fn abort_of_a_task_that_has_not_begun_drops_it_unpolled() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let (held, inner) = (said.at_drop("future"), said.clone());
        let task = spawn(async move {
            let _held = held;
            inner.say("polled");
        });
        task.abort();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["future"]);
}

#[test]
fn a_task_that_aborts_itself_runs_to_its_next_wait() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let own = Own::default();
        let (me, inner) = (own.clone(), said.clone());
        own.set(spawn(async move {
            let _held = inner.at_drop("future");
            me.get().unwrap().abort();
            me.get().unwrap().abort();
            inner.say("still runs");
            yield_now().await;
            inner.say("never");
        }))
        .unwrap();
        yield_now().await;
        assert!(own.get().unwrap().is_finished());
    });
    assert_eq!(trace.take(), ["still runs", "future"]);
}

#[test]
fn a_task_that_aborts_itself_and_ends_in_the_same_poll_has_ended() {
    run(async {
        let own = Rc::new(OnceCell::<JoinHandle<u32>>::new());
        let me = own.clone();
        own.set(spawn(async move {
            me.get().unwrap().abort();
            7
        }))
        .unwrap();
        yield_now().await;
        assert_eq!(Rc::into_inner(own).unwrap().into_inner().unwrap().await.unwrap(), 7);
    });
}

#[test]
fn a_task_that_another_one_aborts_from_within_its_poll_is_dropped_when_that_poll_returns() {
    let (outer, inner, trace) = (Rc::new(virtual_loop()), virtual_loop(), Trace::default());
    let own = Own::default();
    let (me, said) = (own.clone(), trace.clone());
    own.set(outer.spawn(async move {
        let _held = said.at_drop("future");
        // Another loop's turn on top of this poll: the request travels through the inbox.
        let aborter = inner.spawn(async move { me.get().unwrap().abort() });
        inner.run_until(aborter).unwrap();
        said.say("still runs");
        yield_now().await;
        said.say("never");
    }))
    .unwrap();
    outer.turn();
    assert_eq!(trace.take(), ["still runs"]);
    outer.turn();
    assert_eq!(trace.take(), ["future"]);
}

#[test]
fn abort_from_the_tasks_own_destructor_changes_nothing() {
    for ends in [false, true] {
        let trace = Trace::default();
        let said = trace.clone();
        run(async move {
            let own = Own::default();
            let (me, inner) = (own.clone(), said.clone());
            own.set(spawn(async move {
                let _held = at_drop(move || {
                    me.get().unwrap().abort();
                    inner.say(format!("finished: {}", me.get().unwrap().is_finished()));
                });
                if !ends {
                    pending::<()>().await;
                }
                yield_now().await;
            }))
            .unwrap();
            yield_now().await;
            if !ends {
                own.get().unwrap().abort();
            }
            yield_now().await;
            said.say("went on");
        });
        // A local that is dropped as the body ends is dropped by the last poll.
        assert_eq!(trace.take(), [format!("finished: {}", !ends), "went on".into()]);
    }
}

#[test]
fn abort_from_another_thread_takes_effect_when_the_inbox_is_taken() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let held = trace.at_drop("future");
    let task = event_loop.spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
    event_loop.turn();
    let task = thread::spawn(move || {
        task.abort();
        task.abort();
        task
    })
    .join()
    .unwrap();
    assert!(!task.is_finished());
    event_loop.turn();
    assert_eq!(trace.take(), ["future"]);
    assert!(event_loop.run_until(task).unwrap_err().is_cancelled());
}

#[test]
fn abort_after_the_end_leaves_the_output_to_be_taken() {
    let event_loop = virtual_loop();
    let task = event_loop.spawn(async { 7 });
    settle(&event_loop);
    let output = event_loop.run_until(async move {
        task.abort();
        let task = thread::spawn(move || {
            task.abort();
            task
        })
        .join()
        .unwrap();
        yield_now().await;
        task.await
    });
    assert_eq!(output.unwrap(), 7);
}

#[test]
fn a_stale_handle_does_not_reach_the_next_task_of_its_slot() {
    run(async {
        let mut first = spawn(async {});
        (&mut first).await.unwrap();
        let mut ended = spawn(async { 1 });
        yield_now().await;
        assert_eq!((&mut ended).await.unwrap(), 1);
        let second = spawn(async {
            yield_now().await;
            2
        });
        first.abort();
        ended.abort();
        drop((first, ended));
        yield_now().await;
        assert_eq!(second.await.unwrap(), 2);
    });
}

// --- what destructors may do -----------------------------------------------------------------------------------------

#[test]
fn a_destructor_may_spawn_wake_abort_and_drop_handles() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        let gate = Gate::default();
        let (waiting, inner) = (gate.clone(), said.clone());
        let waiter = spawn(async move {
            waiting.wait().await;
            inner.say("woken");
        });
        let held = said.at_drop("victim");
        let victim = spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        let held = said.at_drop("output nobody wants");
        let done = spawn(async move { held });
        let inner = said.clone();
        let task = spawn(async move {
            let _held = at_drop(move || {
                inner.say("destructor begins");
                let child = inner.clone();
                drop(spawn(async move { child.say("spawned") }));
                gate.open();
                victim.abort();
                drop(done);
                drop(victim);
                inner.say("destructor ends");
            });
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        said.say("aborted");
        waiter.await.unwrap();
    });
    let expected = [
        "destructor begins",
        "victim",
        "output nobody wants",
        "destructor ends",
        "aborted",
        "spawned",
        "woken",
    ];
    assert_eq!(trace.take(), expected);
}

#[test]
fn wakes_of_a_task_whose_future_is_being_dropped_do_nothing() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let gate = Gate::default();
    let (waiting, waking, said) = (gate.clone(), gate.clone(), trace.clone());
    let task = event_loop.spawn(async move {
        let _held = at_drop(move || {
            waking.wake();
            thread::spawn(move || waking.wake()).join().unwrap();
            said.say("woke itself");
        });
        waiting.wait().await;
    });
    settle(&event_loop);
    event_loop.run_until(async { task.abort() });
    assert_eq!(trace.take(), ["woke itself"]);
    gate.wake();
    assert_eq!((event_loop.turn(), event_loop.tasks()), (0, 0));
}

#[test]
fn a_task_spawned_from_a_destructor_at_the_end_of_the_loop_is_refused() {
    let trace = Trace::default();
    let said = trace.clone();
    let refused = run(async move {
        let refused = Rc::new(Cell::new(None));
        let (out, inner) = (refused.clone(), said.clone());
        drop(spawn(async move {
            let _held = at_drop(move || {
                let held = inner.at_drop("refused future");
                let task = spawn(async move { drop(held) });
                inner.say(format!("finished: {}, task {}", task.is_finished(), task.id()));
                out.set(Some(task));
            });
            pending::<()>().await;
        }));
        yield_now().await;
        refused
    });
    assert_eq!(trace.take(), ["refused future", "finished: true, task 0"]);
    let mut task = refused.take().unwrap();
    task.abort();
    let Poll::Ready(output) = pin!(&mut task).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a refused task has ended")
    };
    assert!(output.unwrap_err().is_cancelled());
}

#[test]
fn a_tasks_own_handle_may_be_dropped_in_its_poll_and_in_its_destructor() {
    let trace = Trace::default();
    let said = trace.clone();
    run(async move {
        for in_destructor in [false, true] {
            let own = Rc::new(Cell::new(None));
            let (mine, inner) = (own.clone(), said.clone());
            own.set(Some(spawn(async move {
                let output = inner.at_drop("output");
                if in_destructor {
                    let _held = at_drop(move || drop(mine.take()));
                } else {
                    drop(mine.take());
                }
                yield_now().await;
                output
            })));
            yield_now().await;
            yield_now().await;
            said.say("next");
        }
    });
    assert_eq!(trace.take(), ["output", "next", "output", "next"]);
}
