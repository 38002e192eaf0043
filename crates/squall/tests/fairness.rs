//! Nobody keeps the outside waiting: how many polls may pass between something becoming ready and the poll of the task that waits for it. Counted,
//! never timed.
//!
//! The bound: the loop looks at the outside after at most `MOST_POLLS_BETWEEN_LOOKS` polls, and what it finds stands in the ready queue
//! behind the tasks that are ready then, each of which is polled once.

mod trace;

use squall::io::Source;
use squall::sync::Queue;
use squall::time::sleep;
use squall::{MOST_POLLS_BETWEEN_LOOKS, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use trace::{Gate, Trace, virtual_loop};

/// Polls before each event: enough for the stretch between two looks to grow to its longest.
const WARM_UP: u64 = 20_000;
const EVENTS: u64 = 10;

/// What the busy tasks count together.
#[derive(Default)]
struct Count {
    polls: Cell<u64>,
    happened: Cell<u64>,
    happened_at: Cell<u64>,
    seen: Cell<u64>,
    longest: Cell<u64>,
}

impl Count {
    /// The task that waits was polled.
    fn see(&self) {
        self.seen.set(self.seen.get() + 1);
        assert_eq!(self.seen.get(), self.happened.get(), "polled for nothing");
        self.longest.set(self.longest.get().max(self.polls.get() - self.happened_at.get()));
    }
}

/// Keeps `busy` tasks ready, which do nothing but yield. After `WARM_UP` polls, and `EVENTS` times, whichever of them runs just then calls
/// `happen`, which makes something ready for a task that waits.
async fn yield_beside(busy: u64, count: Rc<Count>, happen: impl FnMut() + 'static) {
    let happen = Rc::new(RefCell::new(happen));
    let tasks: Vec<_> = (0..busy)
        .map(|_| {
            let (count, happen) = (count.clone(), happen.clone());
            spawn(async move {
                while count.seen.get() < EVENTS {
                    count.polls.set(count.polls.get() + 1);
                    let since = count.polls.get() - count.happened_at.get();
                    assert!(since < 1_000_000, "it never came");
                    // An odd distance: events fall on all places of the turn.
                    if count.seen.get() == count.happened.get() && since >= WARM_UP + 977 * count.seen.get() {
                        count.happened.set(count.happened.get() + 1);
                        (happen.borrow_mut())();
                        count.happened_at.set(count.polls.get());
                    }
                    yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn bound(busy: u64) -> u64 {
    busy + u64::from(MOST_POLLS_BETWEEN_LOOKS)
}

/// The number of busy tasks: one that only yields, and ten thousand.
const BUSY: [u64; 2] = [1, 10_000];

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn busy_tasks_do_not_delay_a_readable_descriptor() {
    for busy in BUSY {
        let count = Rc::new(Count::default());
        let counted = count.clone();
        squall::run(async move {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let reader = Source::new(reader).unwrap();
            let seen = counted.clone();
            drop(spawn(async move {
                loop {
                    reader.readable().await.unwrap();
                    seen.see();
                    reader.get_ref().read_exact(&mut [0]).unwrap();
                }
            }));
            yield_beside(busy, counted, move || writer.write_all(b"x").unwrap()).await;
        });
        assert!(count.longest.get() <= bound(busy), "{} polls beside {busy} busy tasks", count.longest.get());
    }
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn busy_tasks_do_not_delay_a_timer_that_is_due() {
    for busy in BUSY {
        let count = Rc::new(Count::default());
        let counted = count.clone();
        squall::run(async move {
            let go = Rc::new(Queue::unbounded());
            let (seen, asked) = (counted.clone(), go.clone());
            drop(spawn(async move {
                while asked.get().await.is_ok() {
                    sleep(Duration::from_nanos(1)).await;
                    seen.see();
                }
            }));
            yield_beside(busy, counted, move || go.try_put(()).unwrap()).await;
        });
        // Twice in the line: to set the timer, and when it has fired.
        let bound = busy + bound(busy);
        assert!(count.longest.get() <= bound, "{} polls beside {busy} busy tasks", count.longest.get());
    }
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn busy_tasks_do_not_delay_a_wake_from_another_thread() {
    for busy in BUSY {
        let count = Rc::new(Count::default());
        let counted = count.clone();
        squall::run(async move {
            let gate = Gate::default();
            let (seen, waiting) = (counted.clone(), gate.clone());
            drop(spawn(async move {
                let mut park = Box::pin(waiting.wait());
                poll_fn(move |cx| {
                    if park.as_mut().poll(cx).is_pending() && seen.happened.get() > 0 {
                        seen.see();
                    }
                    Poll::<()>::Pending
                })
                .await;
            }));
            yield_beside(busy, counted, move || {
                let gate = gate.clone();
                thread::spawn(move || gate.wake()).join().unwrap();
            })
            .await;
        });
        assert!(count.longest.get() <= bound(busy), "{} polls beside {busy} busy tasks", count.longest.get());
    }
}

/// The steps of a task, as another one that is polled every turn sees them.
fn steps_between_turns(steps: impl AsyncFn(&Cell<u32>)) -> Vec<u32> {
    let event_loop = virtual_loop();
    let (count, seen) = (Rc::new(Cell::new(0)), Rc::new(Trace::default()));
    let (counted, said) = (count.clone(), seen.clone());
    let watcher = event_loop.spawn(async move {
        loop {
            said.say(counted.get().to_string());
            yield_now().await;
        }
    });
    event_loop.run_until(steps(&count));
    drop(watcher);
    seen.take().iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_task_whose_queue_is_never_empty_gives_way_after_its_budget() {
    let seen = steps_between_turns(async |count| {
        let queue = Queue::unbounded();
        (0..400).for_each(|item| queue.try_put(item).unwrap());
        for _ in 0..400 {
            queue.get().await.unwrap();
            count.set(count.get() + 1);
        }
    });
    assert_eq!(seen, [0, 128, 256, 384]);
}

#[test]
fn the_budget_is_one_for_all_that_a_task_does_and_new_with_each_poll() {
    let seen = steps_between_turns(async |count| {
        let queue = Queue::unbounded();
        for step in 0..300 {
            queue.put(step).await.unwrap();
            count.set(count.get() + 1);
            queue.get().await.unwrap();
            count.set(count.get() + 1);
            if step == 9 {
                yield_now().await;
            }
        }
    });
    assert_eq!(seen, [0, 20, 148, 276, 404, 532]);
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn a_task_whose_descriptor_is_always_ready_gives_way_after_its_budget() {
    let (trace, count) = (Trace::default(), Rc::new(Cell::new(0)));
    let (said, counted) = (trace.clone(), count.clone());
    squall::run(async move {
        drop(spawn(async move {
            loop {
                said.say(counted.get().to_string());
                yield_now().await;
            }
        }));
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer = Source::new(writer).unwrap();
        yield_now().await;
        for _ in 0..300 {
            writer.writable().await.unwrap();
            count.set(count.get() + 1);
        }
    });
    assert_eq!(trace.take(), ["0", "128", "256"]);
}
