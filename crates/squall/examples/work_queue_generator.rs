//! The article's second program as it stands there: two generators, and a scheduler of ten lines that lets them take turns.
//!
//! A generator pauses at `yield_` and knows nothing of any loop; whoever holds it decides when it goes on. `next(t)` and `StopIteration` are
//! `next()` and `None` of an iterator here.
//!
//! Run it: `cargo run --example work_queue_generator`

use squall::generator::Generator;
use std::cell::RefCell;
use std::collections::VecDeque;

type WorkQueue = RefCell<VecDeque<u32>>;

fn task<'a>(name: &'a str, work_queue: &'a WorkQueue) -> Generator<'a, ()> {
    Generator::new(async move |co| {
        loop {
            let Some(count) = work_queue.borrow_mut().pop_front() else { return };
            println!("Task {name} running");
            let mut total = 0;
            for _ in 0..count {
                total += 1;
                co.yield_(()).await;
            }
            println!("Task {name} total: {total}");
        }
    })
}

fn main() {
    let work_queue = RefCell::new(VecDeque::from([15, 10, 5, 2]));
    let mut tasks = vec![task("One", &work_queue), task("Two", &work_queue)];

    // Run them, one step each in turn, until all have ended.
    while !tasks.is_empty() {
        tasks.retain_mut(|task| task.next().is_some());
    }
}
