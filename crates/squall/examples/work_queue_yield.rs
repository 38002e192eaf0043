//! The article's second program: two tasks and one queue of work, as coroutines that take turns.
//!
//! Where Python's generator says `yield`, a task says `yield_now().await`: it goes to the end of the loop's ready queue, and whoever
//! stands first there runs next. The scheduler that the article writes by hand (`while not done: …`) is the event loop.
//!
//! Run it: `cargo run --example work_queue_yield`

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

// One thread runs every task, so a plain `Rc<RefCell<…>>` is enough to share the queue: no lock, no atomics.
type WorkQueue = Rc<RefCell<VecDeque<u32>>>;

async fn task(name: &str, work_queue: WorkQueue) {
    loop {
        let Some(count) = work_queue.borrow_mut().pop_front() else { return };
        println!("Task {name} running");
        let mut total = 0;
        for _ in 0..count {
            total += 1;
            squall::yield_now().await;
        }
        println!("Task {name} total: {total}");
    }
}

#[squall::main]
async fn main() {
    let work_queue: WorkQueue = Rc::new(RefCell::new(VecDeque::from([15, 10, 5, 2])));

    // A spawned task begins to run when the loop comes to it; awaiting its handle waits for its end.
    let one = squall::spawn(task("One", work_queue.clone()));
    let two = squall::spawn(task("Two", work_queue));
    one.await.expect("task One panicked");
    two.await.expect("task Two panicked");
}
