//! A task's handle away from home: on another loop, in another thread, after its loop has ended, and polled by executors that are not squall's.

// Handles are what these tests carry about, unawaited.
#![allow(clippy::async_yields_async)]

mod trace;

use futures::executor::{LocalPool, block_on};
use futures::future::{Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::LocalSpawnExt;
use squall::time::sleep;
use squall::{JoinHandle, spawn, yield_now};
use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use trace::{Gate, Trace, impatient, settle, virtual_loop};

const ON_ANOTHER_LOOP: &str = "the task lives on another event loop: await it there, or spawn it with LoopHandle::spawn, whose handle can be awaited anywhere";
const LOOP_ENDED: &str = "the task's event loop has ended, and the task with it";

fn poll_once<T>(task: &mut JoinHandle<T>) -> Poll<Result<T, squall::JoinError>> {
    Pin::new(task).poll(&mut Context::from_waker(Waker::noop()))
}

fn error_of<T>(task: &mut JoinHandle<T>) -> String {
    let Poll::Ready(Err(error)) = poll_once(task) else { panic!("it should have been an error") };
    assert!(error.is_wrong_loop() && !error.is_cancelled() && !error.is_panic());
    error.to_string()
}

#[test]
fn a_handle_awaited_on_another_loop_says_so_and_can_still_be_awaited_at_home() {
    let (home, other) = (virtual_loop(), virtual_loop());
    let mut task = home.spawn(async { Rc::new(7) });
    let mut task = other.run_until(async move {
        assert_eq!(error_of(&mut task), ON_ANOTHER_LOOP);
        assert_eq!(task.name(), None);
        task
    });
    assert_eq!(error_of(&mut task), ON_ANOTHER_LOOP, "outside of every loop too");
    assert_eq!(*home.run_until(task).unwrap(), 7);
}

#[test]
fn a_handle_awaited_after_its_loop_ended_says_so_whoever_has_the_loops_place_now() {
    let trace = Trace::default();
    let (mut done, mut waiting) = {
        let home = virtual_loop();
        let (output, held) = (trace.at_drop("output"), trace.at_drop("future"));
        let done = home.spawn(async move { Rc::new(output) });
        let waiting = home.spawn(async move {
            let _held = held;
            pending::<Rc<()>>().await
        });
        settle(&home);
        (done, waiting)
    };
    // Nothing of them outlives the loop: what is not Send never waits for a handle in another thread.
    assert_eq!(trace.take(), ["future", "output"]);
    assert!(done.is_finished() && waiting.is_finished());
    assert_eq!((error_of(&mut done), error_of(&mut waiting)), (LOOP_ENDED.into(), LOOP_ENDED.into()));
    thread::spawn(move || {
        // The last cell released is the first one leased: this loop has the place of that one.
        let next = virtual_loop();
        let _tasks = [(); 3].map(|()| next.spawn(async {}));
        next.run_until(async move {
            yield_now().await;
            assert_eq!((error_of(&mut done), error_of(&mut waiting)), (LOOP_ENDED.into(), LOOP_ENDED.into()));
        });
    })
    .join()
    .unwrap();
}

#[test]
fn an_output_that_is_not_send_is_dropped_at_home_when_its_handle_is_dropped_elsewhere() {
    let (home, trace) = (virtual_loop(), Trace::default());
    let (held, said) = (Rc::new(trace.at_drop("output")), trace.clone());
    let done = home.spawn(async move { held });
    let gate = Gate::default();
    let (held, waiting) = (Rc::new(trace.at_drop("later output")), gate.clone());
    let later = home.spawn(async move {
        waiting.wait().await;
        held
    });
    settle(&home);
    thread::spawn(move || {
        drop((done, later));
        said.say("handles dropped");
    })
    .join()
    .unwrap();
    assert_eq!(trace.take(), ["handles dropped"]);
    home.turn();
    assert_eq!(trace.take(), ["output"]);
    gate.open();
    settle(&home);
    assert_eq!(trace.take(), ["later output"]);
    assert_eq!(home.tasks(), 0);
}

#[test]
fn handles_of_a_loop_that_ended_may_be_aborted_and_dropped_anywhere() {
    let tasks: Vec<_> = {
        let home = virtual_loop();
        let tasks = (0..4).map(|_| home.spawn(pending::<()>())).collect();
        settle(&home);
        tasks
    };
    let next = virtual_loop();
    let survivors: Vec<_> = (0..4).map(|n| next.spawn(async move { n })).collect();
    next.run_until(async move {
        for task in &tasks {
            task.abort();
        }
        drop(tasks);
        yield_now().await;
    });
    let outputs = next.run_until(join_all(survivors));
    assert_eq!(outputs.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn two_tasks_that_await_one_another_are_a_deadlock_that_names_both() {
    let line = line!() + 4;
    let text = trace::panic_of(|| {
        impatient().run(async {
            let (first, second) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
            let task = |other: &Rc<Cell<Option<JoinHandle<()>>>>, name| {
                let other = other.clone();
                squall::spawn_named(name, async move { other.take().unwrap().await.unwrap() })
            };
            first.set(Some(task(&second, "alice")));
            second.set(Some(task(&first, "bob")));
            pending::<()>().await;
        })
    });
    let expected = format!(
        "deadlock: no task is ready, no timer is set and no work is pending, so nothing can ever happen again. 3 tasks wait:
└── task 1 \"main\" (spawned at {file}:{main}:21) waits for something that is not squall's
    ├── task 2 \"alice\" (spawned at {file}:{task}:17) waits for the end of task 3 at {file}:{task}:78
    └── task 3 \"bob\" (spawned at {file}:{task}:17) waits for the end of task 2 at {file}:{task}:78
",
        file = file!(),
        main = line - 2,
        task = line + 2,
    );
    assert_eq!(text, expected);
}

// --- executors that are not squall's ---------------------------------------------------------------------------------

#[test]
fn handles_in_unordered_futures_come_in_the_order_of_their_ends() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let mut tasks: FuturesUnordered<_> = [3, 1, 2]
                .map(|n| {
                    spawn(async move {
                        sleep(Duration::from_millis(n)).await;
                        n
                    })
                })
                .into_iter()
                .collect();
            while let Some(n) = tasks.next().await {
                said.say(n.unwrap().to_string());
            }
        })
        .unwrap();
    assert_eq!(trace.take(), ["1", "2", "3"]);
}

#[test]
fn a_handle_that_loses_a_race_can_be_awaited_after_it() {
    impatient()
        .run(async {
            let slow = spawn(async {
                sleep(Duration::from_secs(1)).await;
                "slow"
            });
            let slow = match select(slow, Box::pin(sleep(Duration::from_millis(1)))).await {
                Either::Right(((), slow)) => slow,
                Either::Left(_) => panic!("a millisecond is less than a second"),
            };
            assert_eq!(slow.await.unwrap(), "slow");
        })
        .unwrap();
}

#[test]
fn a_handle_may_wait_in_an_executor_that_runs_inside_a_task() {
    let trace = Trace::default();
    let said = trace.clone();
    impatient()
        .run(async move {
            let mut pool = LocalPool::new();
            let (gate, inner) = (Gate::default(), said.clone());
            let waiting = gate.clone();
            let task = spawn(async move { waiting.wait().await });
            pool.spawner()
                .spawn_local(async move {
                    task.await.unwrap();
                    inner.say("joined");
                })
                .unwrap();
            pool.run_until_stalled();
            gate.open();
            yield_now().await;
            said.say("task has ended");
            pool.run_until_stalled();
        })
        .unwrap();
    assert_eq!(trace.take(), ["task has ended", "joined"]);
}

#[test]
fn an_executor_outside_of_every_loop_is_told_that_it_is_elsewhere() {
    let home = virtual_loop();
    let task = home.spawn(async {});
    assert_eq!(block_on(task).unwrap_err().to_string(), ON_ANOTHER_LOOP);
}

#[test]
fn a_handle_is_send_and_sync_whatever_the_task_gives() {
    fn check<T: Send + Sync + Unpin>() {}
    check::<JoinHandle<Rc<Cell<*mut u8>>>>();
}

#[test]
fn a_foreign_waker_is_let_go_when_the_task_ends_or_its_handle_is_dropped() {
    use std::sync::Arc;
    struct Idle;
    impl std::task::Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
    impatient()
        .run(async {
            let idle = Arc::new(Idle);
            let waker = Waker::from(idle.clone());
            let mut cx = Context::from_waker(&waker);
            let mut ends = spawn(async {});
            let mut aborted = spawn(pending::<()>());
            let mut dropped = spawn(sleep(Duration::from_millis(1)));
            let mut timer = sleep(Duration::from_secs(1));
            for task in [&mut ends, &mut aborted, &mut dropped] {
                assert!(Pin::new(task).poll(&mut cx).is_pending());
            }
            assert!(Pin::new(&mut timer).poll(&mut cx).is_pending());
            assert_eq!(Arc::strong_count(&idle), 6);
            aborted.abort();
            drop((timer, dropped));
            yield_now().await;
            assert_eq!(Arc::strong_count(&idle), 3, "one is kept by the task that runs on");
            sleep(Duration::from_millis(1)).await;
            yield_now().await;
            assert_eq!(Arc::strong_count(&idle), 2);
        })
        .unwrap();
}
