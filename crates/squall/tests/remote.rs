//! A loop as other threads use it: spawning on it, waiting for what comes back, and doing so while it ends.

mod trace;

use futures::executor::block_on;
use squall::{LoopHandle, RemoteHandle, blocking, spawn, yield_now};
use std::cell::Cell;
use std::future::{Future, pending};
use std::panic::panic_any;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;
use trace::{Gate, Trace, impatient, panic_of, settle, virtual_loop};

/// Runs `act` in another thread, to its end.
fn elsewhere<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(act).join().unwrap()
}

/// Longer than any wake takes: a loop that waits so long has lost one.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOP_ENDED: &str = "the task's event loop has ended, and the task with it";

#[test]
fn a_closure_travels_its_future_stays_and_its_output_travels_back() {
    let output = impatient().run(async {
        let here = LoopHandle::current();
        let home = thread::current().id();
        blocking::run(move || {
            let task = here.spawn(move || {
                let made_at = thread::current().id();
                async move {
                    let stays = Rc::new(Cell::new(6));
                    yield_now().await;
                    (made_at == home && thread::current().id() == home, stays.get() * 7)
                }
            });
            task.wait()
        })
        .await
    });
    assert_eq!(output.unwrap().unwrap(), (true, 42));
}

#[test]
fn a_remote_handle_may_be_awaited_on_any_loop_and_on_none() {
    let (home, other) = (virtual_loop(), virtual_loop());
    let here = home.handle();
    let tasks = elsewhere(move || [1, 2, 3].map(|n| here.spawn(move || async move { n })));
    settle(&home);
    let [a, b, c] = tasks;
    assert!(a.is_finished());
    assert_eq!(home.run_until(a).unwrap(), 1);
    assert_eq!(other.run_until(b).unwrap(), 2);
    assert_eq!(block_on(c).unwrap(), 3);
}

#[test]
fn a_dropped_remote_handle_lets_the_task_run_on_and_its_output_is_dropped_at_home() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let (here, said) = (home.handle(), trace.clone());
    elsewhere(move || {
        drop(here.spawn(move || async move {
            yield_now().await;
            said.say("ran on");
            said.at_drop("output")
        }));
    });
    settle(&home);
    assert_eq!(trace.take(), ["ran on", "output"]);
}

#[test]
fn panics_of_the_closure_and_of_the_future_come_out_of_the_handle() {
    let home = virtual_loop();
    let here = home.handle();
    let (in_closure, in_future) = elsewhere(move || {
        fn bad() -> std::future::Ready<()> {
            panic_any("in closure")
        }
        (here.spawn(bad), here.spawn(|| async { panic_any("in future") }))
    });
    settle(&home);
    let error = block_on(in_closure).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(error.to_string(), "the task panicked: in closure");
    assert_eq!(block_on(in_future).unwrap_err().to_string(), "the task panicked: in future");
}

#[test]
fn an_abort_reaches_the_task_before_it_began_while_it_waits_and_after_it_ended() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let (here, said) = (home.handle(), trace.clone());
    let [before, running, ended] = elsewhere(move || {
        ["before", "running", "ended"].map(|name| {
            let said = said.clone();
            let task = here.spawn(move || {
                said.say(format!("{name} made"));
                async move {
                    let _held = said.at_drop(name);
                    if name != "ended" {
                        pending::<()>().await;
                    }
                }
            });
            if name == "before" {
                task.abort();
                task.abort();
            }
            task
        })
    });
    settle(&home);
    assert_eq!(trace.take(), ["running made", "ended made", "ended"]);
    running.abort();
    ended.abort();
    settle(&home);
    assert_eq!(trace.take(), ["running"]);
    assert!(before.wait().unwrap_err().is_cancelled());
    assert!(running.wait().unwrap_err().is_cancelled());
    ended.wait().unwrap();
}

#[test]
fn an_abort_on_the_tasks_own_loop_takes_effect_at_once() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let inner = said.clone();
            let task = LoopHandle::current().spawn(move || async move {
                let _held = inner.at_drop("dropped");
                pending::<()>().await;
            });
            yield_now().await;
            yield_now().await;
            task.abort();
            said.say("aborted");
            assert!(task.await.unwrap_err().is_cancelled());
        })
        .unwrap();
    assert_eq!(trace.take(), ["dropped", "aborted"]);
}

#[test]
fn spawning_on_a_loop_that_has_ended_says_so_and_drops_the_closure() {
    let trace = Trace::default();
    let ended = virtual_loop().handle();
    // The next loop is in the same place.
    let next = virtual_loop();
    let held = trace.at_drop("closure");
    let task = ended.spawn(move || async move { drop(held) });
    assert_eq!(trace.take(), ["closure"]);
    assert!(ended.has_ended() && task.is_finished());
    task.abort();
    assert_eq!(task.wait().unwrap_err().to_string(), LOOP_ENDED);
    settle(&next);
}

#[test]
fn a_request_that_a_loop_ends_without_reading_is_dropped_and_told() {
    let trace = Trace::default();
    let home = virtual_loop();
    let (here, held) = (home.handle(), trace.at_drop("closure"));
    let task = elsewhere(move || here.spawn(move || async move { drop(held) }));
    let inside = here.spawn(|| async { pending::<()>().await });
    settle(&home);
    let unread = here.spawn(|| async {});
    drop(home);
    assert!(task.wait().is_ok(), "read and run");
    assert!(inside.wait().unwrap_err().is_cancelled());
    assert_eq!(unread.wait().unwrap_err().to_string(), LOOP_ENDED);
    assert_eq!(trace.take(), ["closure"]);
}

#[test]
fn destructors_of_a_loop_that_ends_may_ask_it_for_things_in_vain() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let (here, said) = (home.handle(), trace.clone());
    let task = home.spawn(async move {
        let _held = trace::at_drop(move || {
            let inner = said.clone();
            let task = here.spawn(move || async move { inner.say("never") });
            here.stop();
            said.say(format!("asked, ended: {}", here.has_ended()));
            std::mem::forget(task);
        });
        pending::<()>().await;
    });
    settle(&home);
    drop(home);
    assert!(task.is_finished());
    assert_eq!(trace.take(), ["asked, ended: false"]);
}

#[test]
fn waiting_on_a_thread_that_runs_a_loop_is_refused() {
    let refused = panic_of(|| {
        impatient().run(async {
            let task = LoopHandle::current().spawn(|| async {});
            task.wait()
        })
    });
    assert_eq!(refused, "RemoteHandle::wait would block this thread's event loop: await the handle instead");
}

#[test]
fn a_remote_handle_that_is_awaited_is_named_as_such_in_reports() {
    let report = panic_of(|| {
        impatient().run(async {
            drop(spawn(async {}));
            LoopHandle::current().spawn(|| async { pending::<()>().await }).await
        })
    });
    let line = line!() - 3;
    let lines: Vec<_> = report.lines().skip(1).collect();
    let (main, task) = (format!("{}:{}", file!(), line - 2), format!("{}:{line}", file!()));
    let expected = [
        format!(
            "├── task 1 \"main\" (spawned at {main}:21) waits for the end of a task on another loop at {task}:77"
        ),
        format!("└── task 3 (spawned at {task}:35) waits for something that is not squall's"),
    ];
    assert_eq!(lines, expected);
}

// --- many threads ----------------------------------------------------------------------------------------------------

#[test]
fn every_task_spawned_while_a_loop_ends_comes_to_an_end_that_its_handle_tells() {
    let rounds = if cfg!(miri) { 5 } else { 200 };
    for round in 0..rounds {
        let barrier = Arc::new(Barrier::new(3));
        let (give, take) = channel::<LoopHandle>();
        let (give_more, take_more) = channel::<LoopHandle>();
        let spawners = [take, take_more].map(|take| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                let here = take.recv().unwrap();
                barrier.wait();
                let tasks: Vec<RemoteHandle<Rc0>> =
                    (0..20).map(|n| here.spawn(move || async move { Rc0(n) })).collect();
                tasks.into_iter().map(|task| task.wait().map(|output| output.0)).collect::<Vec<_>>()
            })
        });
        let home = virtual_loop();
        give.send(home.handle()).unwrap();
        give_more.send(home.handle()).unwrap();
        barrier.wait();
        for _ in 0..round % 7 {
            home.turn();
        }
        drop(home);
        for spawner in spawners {
            for (n, output) in spawner.join().unwrap().into_iter().enumerate() {
                match output {
                    Ok(output) => assert_eq!(output, n),
                    Err(error) => assert!(error.is_cancelled() || error.is_wrong_loop(), "{error}"),
                }
            }
        }
    }
}

struct Rc0(usize);

#[test]
fn wakes_from_many_threads_while_loops_end_and_begin_are_lost_by_none() {
    let rounds = if cfg!(miri) { 3 } else { 300 };
    let gates: Arc<Vec<Gate>> = Arc::new((0..8).map(|_| Gate::default()).collect());
    let (stop, stopped) = channel::<()>();
    let waking = gates.clone();
    let waker = thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            for gate in waking.iter() {
                gate.wake();
            }
            thread::yield_now();
        }
    });
    for _ in 0..rounds {
        // The wakers of the loop before are woken all the while: its tasks have this one's slots.
        let woken = Gate::default();
        let home = squall::Builder::new().virtual_time().deadlock_patience(PATIENCE).build().unwrap();
        for gate in gates.iter() {
            drop(home.spawn(gate.wait()));
        }
        let opening = woken.clone();
        let task = home.spawn(async move { woken.wait().await });
        home.turn();
        let opener = thread::spawn(move || opening.open());
        home.run_until(task).unwrap();
        opener.join().unwrap();
    }
    stop.send(()).unwrap();
    waker.join().unwrap();
}

#[test]
fn loops_in_many_threads_at_once_are_each_others_strangers() {
    let threads = if cfg!(miri) { 3 } else { 16 };
    let barrier = Arc::new(Barrier::new(threads));
    let threads: Vec<_> = (0..threads)
        .map(|n| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                let home = virtual_loop();
                barrier.wait();
                home.run_until(async {
                    let tasks: Vec<_> = (0..100).map(|k| spawn(async move { k * n })).collect();
                    let ids: Vec<_> = tasks.iter().map(|task| task.id().to_string()).collect();
                    assert_eq!((ids[0].as_str(), ids[99].as_str()), ("2", "101"));
                    let mut sum = 0;
                    for task in tasks {
                        sum += task.await.unwrap();
                    }
                    assert_eq!(sum, 4950 * n);
                });
                home.handle()
            })
        })
        .collect();
    let handles: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for (n, handle) in handles.iter().enumerate() {
        assert!(handle.has_ended());
        assert!(handles[..n].iter().all(|other| other != handle));
    }
}

/// A waker that spawns on a loop when it is woken, which may be in any thread, while locks of the runtime could be held.
struct Spawner(LoopHandle, Trace);

impl Wake for Spawner {
    fn wake(self: Arc<Self>) {
        let said = self.1.clone();
        drop(self.0.spawn(move || async move { said.say("spawned by a waker") }));
    }
}

#[test]
fn a_foreign_waker_may_spawn_where_its_remote_handle_ended() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let mut task = home.handle().spawn(|| async {});
    let waker = Waker::from(Arc::new(Spawner(home.handle(), trace.clone())));
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    settle(&home);
    assert_eq!(trace.take(), ["spawned by a waker"]);
    task.wait().unwrap();
}
