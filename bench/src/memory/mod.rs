//! `memory`: resident bytes of a task that waits.
//!
//! A million tasks, `/proc/self/statm` before and after. Counting allocations instead was rejected: it misses what the
//! allocator adds, tables that double, and pages that a runtime touches.

mod parts;

use crate::on_every_runtime;
use crate::rounds::{Case, Effort, Measure, Row, answer};
use crate::runtimes::{Runtime, SQUALL};
use std::cell::Cell;
use std::fs;
use std::future::pending;
use std::time::Duration;

pub use parts::PARTS;

const PARKED: &str = "parked task";
const SLEEPING: &str = "sleeping task";
const FIBER: &str = "idle fiber";
const TASKS: u64 = 1_000_000;

pub const ROWS: &[Row] = &[
    Row {
        name: PARKED,
        unit: "B",
        what: "one of 1,000,000 tasks that wait for ever on a future without state",
    },
    Row { name: SLEEPING, unit: "B", what: "one of 1,000,000 tasks that sleep for an hour" },
    Row {
        name: FIBER,
        unit: "B",
        what: "one of 100,000 fibers that wait for ever on a future without state",
    },
];

pub fn cases() -> Vec<Case> {
    let all = |rows, functions: &mut dyn Iterator<Item = (&'static str, Measure)>| -> Vec<Case> {
        functions.map(|(runtime, run)| Case { rows, runtime, note: None, run: Ok(run) }).collect()
    };
    let mut cases = all(&[PARKED], &mut on_every_runtime!(parked as Measure));
    cases.extend(all(&[SLEEPING], &mut on_every_runtime!(sleeping as Measure)));
    let fiber: Measure = crate::kinds::keep_fibers;
    cases.push(Case { rows: &[FIBER], runtime: SQUALL, note: None, run: Ok(fiber) });
    cases
}

fn parked<R: Runtime>(effort: Effort) -> Vec<f64> {
    bytes_of_a_task::<R>(false, effort.times(TASKS))
}

fn sleeping<R: Runtime>(effort: Effort) -> Vec<f64> {
    bytes_of_a_task::<R>(true, effort.times(TASKS))
}

thread_local! {
    static WAITING: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    WAITING.set(WAITING.get() + 1);
}

/// The process ends inside the runtime: dropping a million tasks is not measured.
fn bytes_of_a_task<R: Runtime>(is_sleeping: bool, tasks: u64) -> ! {
    R::run(async move {
        // The first of everything is not part of a task's share.
        spawn_waiting::<R>(is_sleeping, 100).await;
        let before = resident_bytes();
        spawn_waiting::<R>(is_sleeping, tasks).await;
        answer(&[(resident_bytes() - before) / tasks as f64])
    })
}

async fn spawn_waiting<R: Runtime>(is_sleeping: bool, tasks: u64) {
    WAITING.set(0);
    for _ in 0..tasks {
        if is_sleeping {
            R::detach(R::spawn(async {
                count();
                R::sleep(Duration::from_secs(3600)).await;
            }));
        } else {
            R::detach(R::spawn(async {
                count();
                pending::<()>().await;
            }));
        }
    }
    while WAITING.get() < tasks {
        R::sleep(Duration::from_millis(1)).await;
    }
}

pub fn resident_bytes() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc/self/statm");
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    // SAFETY: a query without arguments that can be wrong.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64
}
