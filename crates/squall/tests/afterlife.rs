//! What a loop leaves behind: wakers and handles that outlive it, its thread and that thread's locals; memory and descriptors that do not grow
//! with the number of loops; and no trace of one run in the next.

mod trace;

use squall::time::sleep;
use squall::{EventLoop, JoinHandle, LoopHandle, spawn, spawn_named, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future as _, pending};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;
use trace::{Gate, Trace, alone, at_drop, check, settle, virtual_loop};

/// The waker of a task that has ended or not, on a loop that has ended or not.
fn waker_of_a_task(task_ends: bool, loop_ends: bool) -> (Waker, Option<EventLoop>) {
    let (event_loop, gate) = (virtual_loop(), Gate::default());
    let waiting = gate.clone();
    drop(event_loop.spawn(async move { waiting.wait().await }));
    event_loop.turn();
    let waker = gate.waker().unwrap();
    if task_ends {
        gate.open();
        settle(&event_loop);
    }
    (waker, (!loop_ends).then_some(event_loop))
}

fn use_in_every_way(waker: &Waker) {
    let clone = waker.clone();
    assert!(clone.will_wake(waker));
    waker.wake_by_ref();
    clone.wake();
    drop(waker.clone());
}

#[test]
fn wakers_may_be_used_whatever_has_ended_and_wherever_they_are() {
    for (task_ends, loop_ends) in [(false, false), (true, false), (false, true), (true, true)] {
        let (waker, home) = waker_of_a_task(task_ends, loop_ends);
        use_in_every_way(&waker);
        let other = virtual_loop();
        let inside = waker.clone();
        other.run_until(async move { use_in_every_way(&inside) });
        let waker = thread::spawn(move || {
            use_in_every_way(&waker);
            waker
        })
        .join()
        .unwrap();
        use_in_every_way(&waker);
        if let Some(home) = home {
            // A task that waits is polled once for all of that, one that has ended not at all.
            assert_eq!((home.turn(), home.turn()), (usize::from(!task_ends), 0));
        }
    }
}

#[test]
fn a_waker_outlives_the_thread_of_its_loop_and_wakes_nobody_on_the_loop_that_comes_after() {
    let wakers: Vec<_> =
        (0..4).map(|n| thread::spawn(move || waker_of_a_task(n % 2 == 0, true).0).join().unwrap()).collect();
    let next = virtual_loop();
    let _tasks: Vec<_> = (0..4).map(|_| next.spawn(pending::<()>())).collect();
    assert_eq!(next.turn(), 4);
    wakers.iter().for_each(use_in_every_way);
    thread::spawn(move || wakers.iter().for_each(use_in_every_way)).join().unwrap();
    assert_eq!(next.turn(), 0);
}

/// What a thread-local keeps and uses as the thread ends. (Destructors of thread-locals run in an order of the platform's choice.)
struct Last {
    waker: Waker,
    handle: LoopHandle,
    task: JoinHandle<()>,
}

impl Drop for Last {
    fn drop(&mut self) {
        use_in_every_way(&self.waker);
        assert!(LoopHandle::try_current().is_none());
        self.handle.stop();
        drop(self.handle.spawn(|| async {}));
        self.task.abort();
        let _ = Pin::new(&mut self.task).poll(&mut Context::from_waker(&self.waker));
        let _ = (self.task.is_finished(), self.task.name(), self.handle.has_ended());
        // Even a loop may live now.
        assert_eq!(virtual_loop().run_until(async { spawn(async { 7 }).await.unwrap() }), 7);
    }
}

thread_local! {
    static EARLY: RefCell<Vec<Last>> = const { RefCell::new(Vec::new()) };
    static KEPT: RefCell<Option<EventLoop>> = const { RefCell::new(None) };
    static LATE: RefCell<Vec<Last>> = const { RefCell::new(Vec::new()) };
}

fn last(event_loop: &EventLoop, gate: &Gate) -> Last {
    Last { waker: gate.waker().unwrap(), handle: event_loop.handle(), task: event_loop.spawn(pending()) }
}

#[test]
fn destructors_of_thread_locals_may_use_what_was_kept_of_a_loop_that_lives_elsewhere() {
    let (event_loop, gate) = (virtual_loop(), Gate::default());
    let waiting = gate.clone();
    drop(event_loop.spawn(async move { waiting.wait().await }));
    event_loop.turn();
    let kept = last(&event_loop, &gate);
    thread::spawn(move || EARLY.with(|early| early.borrow_mut().push(kept))).join().unwrap();
    // The waiting task, the one that was spawned from there; the one that was aborted is gone.
    assert_eq!(event_loop.turn(), 2);
    assert_eq!(event_loop.tasks(), 1);
}

#[test]
fn a_loop_in_a_thread_local_ends_with_its_thread() {
    let trace = Trace::default();
    let said = trace.clone();
    let waker = thread::spawn(move || {
        // Whichever of the three is destroyed first.
        EARLY.with(|_| {});
        let (event_loop, gate) = (virtual_loop(), Gate::default());
        let (waiting, own) = (gate.clone(), gate.clone());
        drop(event_loop.spawn(async move {
            let _held = at_drop(move || {
                use_in_every_way(&own.waker().unwrap());
                drop(spawn(async {}));
                said.say("task dropped");
            });
            waiting.wait().await;
        }));
        event_loop.turn();
        EARLY.with(|early| early.borrow_mut().push(last(&event_loop, &gate)));
        let late = last(&event_loop, &gate);
        let waker = gate.waker();
        KEPT.with(|kept| *kept.borrow_mut() = Some(event_loop));
        LATE.with(|kept| kept.borrow_mut().push(late));
        waker
    })
    .join()
    .unwrap();
    assert_eq!(trace.take(), ["task dropped"]);
    use_in_every_way(&waker.unwrap());
}

#[test]
fn a_loop_that_was_forgotten_disturbs_no_other() {
    let (gate, trace) = (Gate::default(), Trace::default());
    let (forgotten, waiting) = (virtual_loop(), gate.clone());
    let held = trace.at_drop("never");
    let task = forgotten.spawn(async move {
        let _held = held;
        waiting.wait().await;
    });
    forgotten.turn();
    let handle = forgotten.handle();
    std::mem::forget(forgotten);
    gate.open();
    task.abort();
    let remote = handle.spawn(|| async {});
    for _ in 0..3 {
        let event_loop = virtual_loop();
        assert_ne!(event_loop.handle(), handle);
        gate.wake();
        event_loop.run_until(yield_now());
    }
    assert!(!handle.has_ended() && !task.is_finished() && !remote.is_finished());
    drop((task, remote));
    assert_eq!(trace.take(), Vec::<String>::new());
}

// --- nothing grows ---------------------------------------------------------------------------------------------------

fn resident_pages() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs `live` many times; what the process holds at the end must be what it held after the first few.
fn stays_flat(times: u32, live: impl Fn()) {
    (0..times / 10).for_each(|_| live());
    let (pages, descriptors) = (resident_pages(), open_descriptors());
    (0..times).for_each(|_| live());
    assert_eq!(open_descriptors(), descriptors);
    let grown = resident_pages().saturating_sub(pages);
    assert!(grown < 64, "{grown} pages more after {times} loops");
}

fn live_a_little(event_loop: EventLoop) {
    let gate = Gate::default();
    let waiting = gate.clone();
    drop(event_loop.spawn(async move { waiting.wait().await }));
    drop(event_loop.spawn(sleep(Duration::from_secs(86_400))));
    event_loop.run_until(async {
        let tasks: Vec<_> = (0..10).map(|n| spawn_named(n.to_string(), yield_now())).collect();
        for task in tasks {
            task.await.unwrap();
        }
        gate.wake();
    });
    drop(event_loop);
    gate.wake();
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "no processes there")]
fn ten_thousand_loops_one_after_another_keep_memory_and_descriptors_flat() {
    let test = "ten_thousand_loops_one_after_another_keep_memory_and_descriptors_flat";
    let output = alone(test, &[], || {
        stays_flat(10_000, || live_a_little(virtual_loop()));
        stays_flat(10_000, || live_a_little(EventLoop::new().unwrap()));
        stays_flat(1_000, || thread::spawn(|| live_a_little(EventLoop::new().unwrap())).join().unwrap());
        let crowd = || {
            let loops: Vec<_> = (0..20).map(|_| EventLoop::new().unwrap()).collect();
            loops.into_iter().for_each(live_a_little);
        };
        stays_flat(200, crowd);
    });
    output.iter().for_each(check);
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_hundred_thousand_tasks_one_after_another_keep_memory_flat() {
    let test = "a_hundred_thousand_tasks_one_after_another_keep_memory_flat";
    let output = alone(test, &[], || {
        let event_loop = virtual_loop();
        stays_flat(100, || {
            let handle = event_loop.handle();
            event_loop.run_until(async move {
                for n in 0..1_000 {
                    let task = spawn(yield_now());
                    match n % 5 {
                        0 => drop(task),
                        1 => task.abort(),
                        2 => assert!(task.await.is_ok()),
                        3 => drop(handle.spawn(|| async {})),
                        _ => _ = futures::future::select(task, yield_now()).await,
                    }
                }
            });
            settle(&event_loop);
        });
        assert_eq!(event_loop.tasks(), 0);
    });
    output.iter().for_each(check);
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn more_loops_than_wakers_can_name_are_an_error_until_one_ends() {
    let test = "more_loops_than_wakers_can_name_are_an_error_until_one_ends";
    let output = alone(test, &[], || {
        let mut loops: Vec<_> = (0..4094).map(|_| virtual_loop()).collect();
        let error = trace::impatient().build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "4094 event loops exist in this process already, the most that wakers can name: end some first"
        );
        loops.swap_remove(1000);
        assert_eq!(virtual_loop().run_until(async { spawn(async { 7 }).await.unwrap() }), 7);
    });
    output.iter().for_each(check);
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_loop_that_gets_no_descriptors_is_an_error_and_the_next_one_works() {
    let test = "a_loop_that_gets_no_descriptors_is_an_error_and_the_next_one_works";
    let output = alone(test, &[], || {
        let loops = [EventLoop::new().unwrap(), EventLoop::new().unwrap()];
        // A cell that has its notifier, and none that has not.
        drop(loops);
        let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: a plain system call with a struct that outlives it.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        for _ in 0..3 {
            let error = EventLoop::new().unwrap_err().to_string();
            assert!(error.starts_with("cannot start an event loop's driver: "), "{error}");
            assert_eq!(virtual_loop().run_until(async { 7 }), 7);
        }
        drop(files);
        assert_eq!(squall::run(async { spawn(async { 8 }).await.unwrap() }), 8);
    });
    output.iter().for_each(check);
}

// --- nothing is remembered -------------------------------------------------------------------------------------------

/// A run that shows whatever could differ: ids, names, order of ties, and a report.
fn a_run() -> Vec<String> {
    let trace = Trace::default();
    let said = trace.clone();
    let report = trace::panic_of(|| {
        virtual_loop().run_until(async move {
            let tasks: Vec<_> = (0..200)
                .map(|n| {
                    let said = said.clone();
                    spawn(async move {
                        sleep(Duration::from_millis(n * 7919 % 10)).await;
                        said.say(n.to_string());
                    })
                })
                .collect();
            tasks.iter().step_by(3).for_each(JoinHandle::abort);
            for task in tasks {
                let _ = task.await;
            }
            for name in ["a", "b", "c"] {
                let task = spawn_named(name, pending::<()>());
                said.say(task.id().to_string());
                drop(task);
            }
            pending::<()>().await;
        });
    });
    trace.say(report);
    trace.take()
}

#[test]
fn a_run_is_the_same_a_second_time_whatever_ran_between() {
    let first = a_run();
    assert_eq!(first.len(), 133 + 3 + 1);
    assert_eq!(a_run(), first);
    let messy = Cell::new(virtual_loop().run_until(async {
        let tasks: Vec<_> = (0..999).map(|_| spawn_named("mess", pending::<()>())).collect();
        for n in [500, 3, 998, 7] {
            tasks[n].abort();
        }
        tasks
    }));
    assert_eq!(a_run(), first);
    messy.take();
    assert_eq!(a_run(), first);
    assert_eq!(thread::spawn(a_run).join().unwrap(), first);
}
