//! The article's first program: two tasks and one queue of work, without coroutines.
//!
//! A plain function runs to its end before it returns, so task One empties the queue and leaves nothing for task Two. The
//! example `work_queue_yield` is the same program with coroutines.
//!
//! Run it: `cargo run --example work_queue_sync`

use std::collections::VecDeque;

fn task(name: &str, work_queue: &mut VecDeque<u32>) {
    if work_queue.is_empty() {
        println!("Task {name} nothing to do");
    }
    while let Some(count) = work_queue.pop_front() {
        println!("Task {name} running");
        let mut total = 0;
        for _ in 0..count {
            total += 1;
        }
        println!("Task {name} total: {total}");
    }
}

fn main() {
    let mut work_queue = VecDeque::from([15, 10, 5, 2]);

    task("One", &mut work_queue);
    task("Two", &mut work_queue);
}
