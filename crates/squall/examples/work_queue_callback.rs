//! The article's second program once more, without `yield`: a function that is split where it would pause can do the same.
//!
//! What the generator keeps in local variables, the callbacks hand on in a struct; where it says `yield`, a step asks the loop to call the next one
//! soon, and returns. The loop calls in order, so the two take turns as the coroutines do: the same eight lines.
//!
//! Run it: `cargo run --example work_queue_callback`

use squall::callback::call_soon;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

type WorkQueue = Rc<RefCell<VecDeque<u32>>>;

/// Everything that a pause must not lose.
struct Task {
    name: &'static str,
    work_queue: WorkQueue,
    count: u32,
    total: u32,
}

fn start(name: &'static str, work_queue: &WorkQueue) {
    let task = Task { name, work_queue: work_queue.clone(), count: 0, total: 0 };
    call_soon(|| next_item(task));
}

fn next_item(mut task: Task) {
    let item = task.work_queue.borrow_mut().pop_front();
    let Some(count) = item else {
        // The last one to go lets the loop stop.
        if Rc::strong_count(&task.work_queue) == 1 {
            squall::stop();
        }
        return;
    };
    println!("Task {} running", task.name);
    (task.count, task.total) = (count, 0);
    step(task);
}

fn step(mut task: Task) {
    if task.total < task.count {
        task.total += 1;
        call_soon(|| step(task));
    } else {
        println!("Task {} total: {}", task.name, task.total);
        next_item(task);
    }
}

fn main() -> Result<(), std::convert::Infallible> {
    squall::run_forever(async {
        let work_queue: WorkQueue = Rc::new(RefCell::new(VecDeque::from([15, 10, 5, 2])));
        start("One", &work_queue);
        start("Two", &work_queue);
        Ok(())
    })
}
