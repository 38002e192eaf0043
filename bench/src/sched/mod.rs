//! `sched`: what the heart of a runtime costs. Each row is one function, the same code on every runtime.

pub mod generators;
pub mod hand_over;
pub mod ready;
pub mod scopes;
pub mod timers;
pub mod work_queue;

use crate::on_every_runtime;
use crate::rounds::{Case, Measure, Row};
use crate::runtimes::{FLOOR, SQUALL, Squall};

const fn row(name: &'static str, unit: &'static str, what: &'static str) -> Row {
    Row { name, unit, what }
}

pub const ROWS: &[Row] = &[
    row("spawn+join", "ns", "spawn a task that ends at once, and await it"),
    row("spawn x1000", "ns", "spawn 1,000 such tasks, then await them all; per task"),
    row(
        "scope x1000",
        "ns",
        "a scope spawns 1,000 children that end at once, and its body awaits them all; per child. Beside it tokio's `JoinSet`",
    ),
    row("FuturesUnordered x1000", "ns", "the same futures in a `FuturesUnordered`"),
    row("yield x1", "ns", "one task yields over and over"),
    row("callback x1", "ns", "one callback of `call_soon` schedules itself over and over"),
    row("yield x1k", "ns", "1,000 tasks do"),
    row("fiber yield x1k", "ns", "1,000 fibers do"),
    row("fiber spawn+join", "ns", "spawn a fiber that ends at once, on a pooled stack, and await it"),
    row("yield x100k", "ns", "100,000 tasks do"),
    row(
        "boxed poll",
        "ns",
        "a boxed future is polled and is pending; no runtime in it, but what the next two stand beside",
    ),
    row("generator send", "ns", "a value is sent to a generator, which yields another"),
    row("generator send, 1k deep", "ns", "the same through 1,000 levels of `yield_from`"),
    row(
        "local-slot ping-pong",
        "ns",
        "two tasks hand a number to and fro through a Cell beside a waker; per round trip",
    ),
    row(
        "oneshot request",
        "ns",
        "a request in a local slot with a oneshot for the answer; the runtime's own oneshot",
    ),
    row(
        "timer insert+cancel",
        "ns",
        "a sleep is made, polled once and dropped, beside 1,000,000 sleeps that are set",
    ),
    row("queue, 1 consumer", "ns", "an item through a bounded local queue (capacity 128)"),
    row("queue, 100 consumers", "ns", "the same with 100 tasks taking"),
    row("sleep 1 ms late p50", "µs", "how late a sleep of 1 ms ends on an idle runtime"),
    row("sleep 1 ms late p99", "µs", "the same, of the latest hundredth"),
    row(
        "cross-thread round trip",
        "µs",
        "a task wakes a thread that blocks, which wakes the task of a runtime that blocks",
    ),
];

/// The function on every runtime, as the cases of these rows.
fn on_all(
    rows: &'static [&'static str],
    functions: impl Iterator<Item = (&'static str, Measure)>,
    known: impl Fn(&str) -> Known,
) -> Vec<Case> {
    let case = |(runtime, run)| match known(runtime) {
        Known::Nothing => Case { rows, runtime, note: None, run: Ok(run) },
        Known::Note(note) => Case { rows, runtime, note: Some(note), run: Ok(run) },
        Known::Cannot(why) => Case { rows, runtime, note: None, run: Err(why) },
    };
    functions.map(case).collect()
}

/// A row of squall's own.
fn alone(rows: &'static [&'static str], run: Measure) -> Case {
    Case { rows, runtime: SQUALL, note: None, run: Ok(run) }
}

/// What is known of a row on a runtime.
enum Known {
    Nothing,
    Note(&'static str),
    Cannot(&'static str),
}

pub fn cases() -> Vec<Case> {
    use hand_over::{cross_thread, oneshot_request, ping_pong};
    use ready::{callbacks, spawn_and_join, spawn_many, yield_1, yield_1k, yield_100k};
    use timers::{insert_and_cancel, lateness};
    use work_queue::{consumers_1, consumers_100};

    let any = |_: &str| Known::Nothing;
    let yields = |runtime: &str| match runtime {
        "monoio" => Known::Note(
            "polls a task that has woken itself again at once, before the others: this is not a yield, only its poll",
        ),
        _ => Known::Nothing,
    };
    let has_no_outside = |runtime: &str| match runtime {
        FLOOR => Known::Cannot("has no outside to wait for"),
        _ => Known::Nothing,
    };
    [
        on_all(&["spawn+join"], on_every_runtime!(spawn_and_join as Measure), any),
        on_all(&["spawn x1000"], on_every_runtime!(spawn_many as Measure), any),
        on_all(&["yield x1"], on_every_runtime!(yield_1 as Measure), yields),
        vec![
            alone(&["boxed poll"], generators::boxed_poll),
            alone(&["generator send"], generators::send),
            alone(&["generator send, 1k deep"], generators::send_1000_deep),
        ],
        vec![
            alone(&["scope x1000"], scopes::scope),
            Case {
                rows: &["scope x1000"],
                runtime: "tokio",
                note: Some("JoinSet"),
                run: Ok(scopes::join_set),
            },
            alone(&["FuturesUnordered x1000"], scopes::futures_unordered),
        ],
        vec![
            alone(&["callback x1"], callbacks::<Squall>),
            alone(&["fiber yield x1k"], crate::kinds::fiber_1000),
            alone(&["fiber spawn+join"], crate::kinds::create_fiber),
        ],
        on_all(&["yield x1k"], on_every_runtime!(yield_1k as Measure), yields),
        on_all(&["yield x100k"], on_every_runtime!(yield_100k as Measure), yields),
        on_all(&["local-slot ping-pong"], on_every_runtime!(ping_pong as Measure), any),
        on_all(&["oneshot request"], on_every_runtime!(oneshot_request as Measure), any),
        on_all(&["queue, 1 consumer"], on_every_runtime!(consumers_1 as Measure), any),
        on_all(&["queue, 100 consumers"], on_every_runtime!(consumers_100 as Measure), any),
        on_all(
            &["sleep 1 ms late p50", "sleep 1 ms late p99"],
            on_every_runtime!(lateness as Measure),
            has_no_outside,
        ),
        on_all(&["cross-thread round trip"], on_every_runtime!(cross_thread as Measure), has_no_outside),
        on_all(&["timer insert+cancel"], on_every_runtime!(insert_and_cancel as Measure), any),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The CPU time of the whole process, kernel and helper threads included: what other programs of a shared machine do
/// beside it does not count. Rows that wait use the wall clock.
#[derive(Clone, Copy)]
pub struct CpuTime {
    ns: i64,
}

impl CpuTime {
    pub fn now() -> CpuTime {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a timespec of ours.
        let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        assert_eq!(done, 0, "the process has a CPU clock");
        CpuTime { ns: time.tv_sec * 1_000_000_000 + time.tv_nsec }
    }

    /// Nanoseconds since then for each of so many things.
    pub fn each(self, times: u64) -> f64 {
        (CpuTime::now().ns - self.ns) as f64 / times as f64
    }
}
