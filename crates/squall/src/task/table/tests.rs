//! What only the table itself can show: slots whose generations are used up, and words that come too late.

use super::super::context::Enter;
use super::super::message::{Envelope, Message};
use super::*;
use crate::task::handle::{LAST_GENERATION, MAX_SLOTS};
use std::future::pending;

/// A loop's tasks without the loop.
fn with_tasks(act: impl FnOnce(&Tasks)) {
    let tasks = Tasks::lease().unwrap();
    let entered = Enter::new(&tasks);
    act(&tasks);
    tasks.close(&entered);
    drop((entered, tasks.end_lease()));
    tasks.cell.release();
}

/// Takes the head out of the ready queue. True if it was an entry of a task that had ended.
fn skips(tasks: &Tasks) -> bool {
    let before = tasks.skipped.get();
    tasks.run_next();
    tasks.skipped.get() > before
}

fn spawn(tasks: &Tasks) -> Handle {
    tasks.spawn(pending::<()>(), NewTask { name: None, spawned_at: Location::caller() }).unwrap()
}

fn end(tasks: &Tasks, task: Handle) {
    tasks.abort(task);
    tasks.detach(task);
    while tasks.ready() > 0 {
        tasks.run_next();
    }
}

#[test]
fn a_slot_is_retired_after_its_last_generation_and_the_next_task_has_another() {
    with_tasks(|tasks| {
        let first = spawn(tasks);
        end(tasks, first);
        tasks.slot(first.slot()).age_to(LAST_GENERATION);
        let last = spawn(tasks);
        assert_eq!((last.slot(), last.generation()), (first.slot(), LAST_GENERATION));
        end(tasks, last);
        let next = spawn(tasks);
        assert_ne!(next.slot(), last.slot());
        for stale in [first, last] {
            assert!(matches!(tasks.look(stale), super::super::joins::Standing::Gone));
            tasks.wake(stale);
            tasks.abort(stale);
            tasks.detach(stale);
        }
        assert_eq!((tasks.ready(), tasks.live()), (1, 1), "only the task that is there");
        // A later lease of the table passes over it.
        tasks.fresh.set(last.slot());
        assert_ne!(tasks.take_fresh_slot(), last.slot());
    });
}

#[test]
fn a_slot_that_retires_while_it_stands_in_the_queue_is_not_put_back_when_it_is_popped() {
    with_tasks(|tasks| {
        let first = spawn(tasks);
        end(tasks, first);
        tasks.slot(first.slot()).age_to(LAST_GENERATION);
        let last = spawn(tasks);
        tasks.abort(last);
        tasks.detach(last);
        assert_eq!((tasks.ready(), skips(tasks)), (1, true), "taken out, and not polled");
        assert_ne!(spawn(tasks).slot(), last.slot());
    });
}

#[test]
fn stale_wakes_from_here_and_from_afar_do_nothing_and_early_ones_are_kept() {
    with_tasks(|tasks| {
        let old = spawn(tasks);
        end(tasks, old);
        let new = spawn(tasks);
        assert_eq!((new.slot(), new.generation()), (old.slot(), old.generation() + 2));
        assert!(!skips(tasks));
        tasks.wake(old);
        registry::wake_from_afar(old);
        assert!(tasks.cell.wakes.is_empty());
        tasks.take_remote_wakes();
        assert_eq!(tasks.ready(), 0);
        registry::wake_from_afar(new);
        registry::wake_from_afar(new);
        tasks.wake(new);
        tasks.take_remote_wakes();
        assert_eq!(tasks.ready(), 1, "once, whoever woke it");
    });
}

#[test]
fn a_full_table_refuses_one_task_more_and_stays_as_it_was() {
    with_tasks(|tasks| {
        let first = spawn(tasks);
        let fresh = tasks.fresh.replace(MAX_SLOTS);
        let slots = tasks.slots.replace(MAX_SLOTS);
        assert!(catch_unwind(AssertUnwindSafe(|| spawn(tasks))).is_err());
        assert_eq!((tasks.ready(), tasks.live(), tasks.spawned()), (1, 1, 1));
        tasks.fresh.set(fresh);
        tasks.slots.set(slots);
        end(tasks, first);
        assert_eq!(spawn(tasks).slot(), first.slot());
    });
}

#[test]
fn a_request_of_an_earlier_lease_is_dropped_unread_and_may_panic_in_its_destructor() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any("dropped");
        }
    }
    with_tasks(|tasks| {
        let bomb = Bomb;
        let stale = Message::Spawn(Box::new(move || std::mem::forget(bomb)));
        assert!(tasks.cell.messages.push(Envelope { lease: tasks.lease - 1, message: stale }).is_ok());
        assert!(tasks.cell.messages.push(Envelope { lease: tasks.lease, message: Message::Stop }).is_ok());
        assert!(matches!(tasks.take_messages()[..], [Message::Stop]));
    });
}
