//! What `#[squall::test]` expands to.

use super::Builder;
use super::core::Idle;
use super::current::Entered;
use crate::task;
use std::future::Future;

/// Turns that tasks get after the test has ended, to end too: what is ready may run, but nothing is waited for.
const GRACE_TURNS: u32 = 1000;

/// Runs a test on a loop of its own and fails it if tasks are left that wait for something.
///
/// # Panics
/// With the test's panic, and for leaked tasks with their list.
#[doc(hidden)]
#[track_caller]
pub fn test<F: Future>(name: &'static str, is_real: bool, may_leak: bool, test: F) -> F::Output {
    let builder = if is_real { Builder::new() } else { Builder::new().virtual_time() };
    let event_loop = match builder.build() {
        Ok(event_loop) => event_loop,
        Err(error) => panic!("the test {name} cannot start its event loop: {error}"),
    };
    let output = event_loop.run_until(test);
    if may_leak {
        return output;
    }
    let core = event_loop.core();
    let entered = Entered::new(core);
    for _ in 0..GRACE_TURNS {
        if core.tasks.ready() == 0 {
            break;
        }
        core.turn(Idle::Return);
    }
    drop(entered);
    let left = core.tasks.infos();
    let advice = match left.iter().any(|task| task.is_callback) {
        true => "await or abort tasks, and cancel callbacks",
        false => "await or abort them",
    };
    assert!(
        left.is_empty(),
        "the test {name} has ended and left {} {} behind: {advice}, or say #[squall::test(allow_leaks)]\n{}",
        left.len(),
        if left.len() == 1 { "task" } else { "tasks" },
        task::draw(&left)
    );
    output
}
