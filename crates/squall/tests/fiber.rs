//! What a fiber is: a task that waits at any depth of calls. Orders are compared whole; time is virtual.

mod trace;

use futures::StreamExt;
use squall::fiber;
use squall::sync::{Queue, oneshot};
use squall::time::Instant;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;
use trace::{panic_of, said, text_of, virtual_loop};

#[test]
fn fibers_and_tasks_take_turns_in_the_order_of_their_spawning() {
    let said = said(async |trace| {
        let fiber = |name: &'static str| {
            let trace = trace.clone();
            fiber::spawn(move || {
                for step in 1..=2 {
                    trace.say(format!("{name} {step}"));
                    fiber::yield_now();
                }
            })
        };
        let one = fiber("fiber one");
        let task = squall::spawn({
            let trace = trace.clone();
            async move {
                for step in 1..=2 {
                    trace.say(format!("task {step}"));
                    squall::yield_now().await;
                }
            }
        });
        let two = fiber("fiber two");
        trace.say("main");
        one.await.unwrap();
        task.await.unwrap();
        two.await.unwrap();
    });
    assert_eq!(
        said,
        ["main", "fiber one 1", "task 1", "fiber two 1", "fiber one 2", "task 2", "fiber two 2"]
    );
}

#[test]
fn a_fiber_waits_for_every_kind_of_thing_and_async_code_for_it() {
    virtual_loop().run_until(async {
        let queue = Rc::new(Queue::bounded(1));
        let (sender, receiver) = oneshot::channel();
        let begin = Instant::now();
        let fiber = fiber::spawn({
            let queue = queue.clone();
            move || {
                let first = fiber::wait(queue.get()).unwrap();
                fiber::sleep(Duration::from_secs(60));
                let inner = fiber::spawn(move || fiber::wait(receiver).unwrap());
                let task = squall::spawn(async { 100 });
                first + fiber::wait(inner).unwrap() + fiber::wait(task).unwrap()
            }
        });
        queue.put(1).await.unwrap();
        sender.send(10).unwrap();
        assert_eq!(fiber.await.unwrap(), 111);
        assert_eq!(begin.elapsed(), Duration::from_secs(60));
    });
}

#[test]
fn a_fiber_waits_at_any_depth_of_calls() {
    fn count(depth: u32) -> u32 {
        let here = [depth; 8];
        if depth > 0 {
            let below = count(depth - 1);
            fiber::yield_now();
            below + here[7] / depth
        } else {
            fiber::sleep(Duration::from_secs(1));
            0
        }
    }
    virtual_loop().run_until(async {
        let fibers: Vec<_> = (0..3).map(|_| fiber::spawn(|| count(200))).collect();
        for fiber in fibers {
            assert_eq!(fiber.await.unwrap(), 200);
        }
    });
}

#[test]
fn a_deep_recursion_has_the_stack_it_asks_for() {
    fn depth(left: u32) -> u32 {
        if left == 0 { 0 } else { 1 + std::hint::black_box(depth(left - 1)) }
    }
    virtual_loop().run_until(async {
        let deep = fiber::Builder::new().stack_size(64 << 20).spawn(|| depth(100_000)).unwrap();
        assert_eq!(deep.await.unwrap(), 100_000);
    });
}

#[test]
fn waiting_borrows_from_the_stack() {
    virtual_loop().run_until(async {
        let fiber = fiber::spawn(|| {
            let words = vec!["a", "stack", "frame"];
            let lengths = fiber::wait(async {
                squall::yield_now().await;
                words.iter().map(|word| word.len()).collect::<Vec<_>>()
            });
            (words, lengths)
        });
        assert_eq!(fiber.await.unwrap(), (vec!["a", "stack", "frame"], vec![1, 5, 5]));
    });
}

#[test]
fn a_panic_comes_out_of_the_handle_and_its_destructors_have_run() {
    let said = said(async |trace| {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                let _guard = trace.at_drop("dropped");
                fiber::yield_now();
                if trace.take().is_empty() {
                    panic!("no such user");
                }
            }
        });
        let error = fiber.await.unwrap_err();
        assert!(error.is_panic());
        trace.say(text_of(&*error.into_panic()));
    });
    assert_eq!(said, ["dropped", "no such user"]);
}

#[test]
fn a_fiber_may_run_a_loop_of_its_own_with_fibers_on_it() {
    let said = said(async |trace| {
        let outer = fiber::spawn({
            let trace = trace.clone();
            move || {
                let inner = virtual_loop();
                let nested = inner.run_until(async {
                    let (one, two) = (trace.clone(), trace.clone());
                    let one = fiber::spawn(move || {
                        one.say("inner one");
                        fiber::sleep(Duration::from_secs(1));
                        one.say("inner one again");
                    });
                    let two = fiber::spawn(move || two.say("inner two"));
                    one.await.unwrap();
                    two.await.unwrap();
                    !fiber::is_current()
                });
                assert!(nested && fiber::is_current());
                fiber::yield_now();
                trace.say("outer");
            }
        });
        let beside = fiber::spawn({
            let trace = trace.clone();
            move || trace.say("beside")
        });
        outer.await.unwrap();
        beside.await.unwrap();
    });
    assert_eq!(said, ["inner one", "inner two", "inner one again", "beside", "outer"]);
}

#[test]
fn thread_locals_and_panicking_are_those_of_whoever_runs() {
    thread_local! {
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "dropped by the panic");
            // It may not pause: another fiber would find the thread panicking.
            assert!(fiber::try_wait(pending::<()>()).is_err());
        }
    }
    virtual_loop().run_until(async {
        let panics = fiber::spawn(|| {
            let _waits = Waits;
            fiber::yield_now();
            panic!("one fiber's panic");
        });
        let watches = fiber::spawn(|| {
            for _ in 0..4 {
                assert!(!std::thread::panicking());
                COUNT.set(COUNT.get() + 1);
                fiber::yield_now();
            }
        });
        assert!(panics.await.unwrap_err().is_panic());
        watches.await.unwrap();
        assert_eq!(COUNT.get(), 4);
        assert!(!std::thread::panicking());
        // Everything still works after: a panic, caught, and a fiber that waits.
        let again = fiber::spawn(|| {
            let caught = std::panic::catch_unwind(|| panic!("another"));
            fiber::yield_now();
            caught.is_err()
        });
        assert!(again.await.unwrap());
    });
}

#[test]
fn waiting_outside_a_fiber_is_a_panic_that_says_what_to_use() {
    for text in [
        panic_of(|| fiber::wait(async {})),
        panic_of(|| virtual_loop().run_until(async { fiber::wait(async {}) })),
    ] {
        assert_eq!(
            text,
            "fiber::wait was called outside a fiber: in async code await the future itself; code that blocks goes into fiber::spawn, or to blocking::run"
        );
    }
    assert!(panic_of(fiber::yield_now).starts_with("fiber::yield_now was called outside a fiber"));
    assert!(panic_of(|| fiber::scope(|_| ())).starts_with("fiber::scope was called outside a fiber"));
    assert!(panic_of(|| fiber::spawn(|| ())).starts_with("fiber::spawn was called outside an event loop"));
    assert_eq!(fiber::stack_high_water(), None);
    assert!(!fiber::is_cancelled());
}

#[test]
fn a_future_on_a_fibers_stack_must_not_pause_it() {
    fn refused(wait: impl FnOnce() + 'static) -> String {
        let event_loop = virtual_loop();
        event_loop.run_until(async {
            let error = fiber::spawn(wait).await.unwrap_err();
            text_of(&*error.into_panic())
        })
    }
    for text in [
        refused(|| fiber::wait(async { fiber::yield_now() })),
        // Also where it is polled for another task's sake.
        refused(|| {
            fiber::wait(async {
                let many = futures::stream::FuturesUnordered::new();
                many.push(async { fiber::sleep(Duration::from_secs(1)) });
                many.collect::<Vec<_>>().await;
            })
        }),
        // And in a task of another loop.
        refused(|| virtual_loop().run_until(async { fiber::wait(async {}) })),
        refused(|| fiber::wait(async { fiber::scope(|_| ()) })),
    ] {
        assert!(
            text.contains("was called while a future is polled on the stack of the fiber spawned at"),
            "{text}"
        );
        assert!(text.ends_with("Await inside the future; only the fiber's own code may wait"), "{text}");
    }
}

#[test]
fn a_fiber_that_never_has_to_wait_gives_way_when_its_budget_is_used_up() {
    let turns = Rc::new(Cell::new(0));
    virtual_loop().run_until(async {
        let queue = Rc::new(Queue::bounded(1000));
        for n in 0..1000 {
            queue.put(n).await.unwrap();
        }
        let greedy = fiber::spawn(move || (0..1000).for_each(|_| _ = fiber::wait(queue.get()).unwrap()));
        let beside = squall::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.set(turns.get() + 1);
                    squall::yield_now().await;
                }
            }
        });
        greedy.await.unwrap();
        beside.abort();
    });
    assert!(turns.get() >= 5, "{} turns in a thousand items", turns.get());
}

#[test]
fn a_report_says_where_a_fiber_waits_and_on_what() {
    let text = panic_of(|| {
        virtual_loop().run_until(async {
            let named = fiber::Builder::new().name("reader").spawn(|| fiber::wait(pending::<()>())).unwrap();
            let (_sender, receiver) = oneshot::channel::<()>();
            let _typical = fiber::spawn(move || fiber::wait(receiver));
            named.await.unwrap();
        });
    });
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("\"reader\"").contains("waits for a future in a fiber at "), "{text}");
    assert!(line("\"reader\"").contains("fiber.rs"), "{text}");
    assert!(line("oneshot value").contains("fiber.rs"), "{text}");
}

#[test]
fn names_are_the_tasks_names() {
    virtual_loop().run_until(async {
        let fiber = fiber::Builder::new().name("worker").spawn(|| 1).unwrap();
        assert_eq!(fiber.name().as_deref(), Some("worker"));
        assert_eq!(fiber.await.unwrap(), 1);
    });
}

#[test]
fn what_a_fiber_shares_by_rc_is_dropped_once() {
    let shared = Rc::new(RefCell::new(Vec::new()));
    virtual_loop().run_until(async {
        for n in 0..10 {
            let shared = shared.clone();
            let fiber = fiber::spawn(move || {
                fiber::yield_now();
                shared.borrow_mut().push(n);
                shared
            });
            if n % 2 == 0 {
                fiber.await.unwrap();
            }
        }
    });
    assert_eq!(Rc::strong_count(&shared), 1);
    assert!(shared.borrow().len() >= 5);
}

#[test]
fn a_fiber_never_polled_drops_its_closure() {
    let token = Rc::new(());
    let event_loop = virtual_loop();
    let handle = {
        let token = token.clone();
        event_loop.run_until(async {
            // It first runs in the next turn, and there is none.
            [fiber::spawn(move || drop(token))]
        })
    };
    assert_eq!(Rc::strong_count(&token), 2);
    drop(event_loop);
    assert_eq!(Rc::strong_count(&token), 1);
    drop(handle);
}

#[test]
fn other_threads_wake_fibers() {
    squall::run(async {
        let fiber = fiber::spawn(|| fiber::wait(squall::blocking::run(|| 6_u32)).pow(2));
        let (sender, receiver) = async_channel();
        let waits = fiber::spawn(move || fiber::wait(receiver));
        std::thread::spawn(move || sender.send(6)).join().unwrap().unwrap();
        assert_eq!((fiber.await.unwrap(), waits.await.unwrap()), (36, Ok(6)));
    });
}

/// A channel whose sender may be anywhere.
fn async_channel() -> (futures::channel::oneshot::Sender<u32>, futures::channel::oneshot::Receiver<u32>) {
    futures::channel::oneshot::channel()
}

#[test]
fn a_foreign_executor_on_the_stack_is_paused_with_the_fiber() {
    let said = said(async |trace| {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                // Its polls cannot be seen: this is as if it had been a call.
                let answer = futures::executor::block_on(squall::catch_unwind(async {
                    fiber::sleep(Duration::from_secs(1));
                    trace.say("the sleep is over");
                    42
                }));
                answer.unwrap()
            }
        });
        let beside = fiber::spawn({
            let trace = trace.clone();
            move || trace.say("beside")
        });
        beside.await.unwrap();
        assert_eq!(fiber.await.unwrap(), 42);
    });
    assert_eq!(said, ["beside", "the sleep is over"]);
}
