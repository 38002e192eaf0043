//! What a loop says when something is wrong: deadlocks, tests that leave tasks behind, a driver that does not exist. Compared whole: these texts are
//! read by people who have a problem already.

mod trace;

use squall::sync::{Queue, oneshot};
use squall::time::sleep;
use squall::{spawn, spawn_named, yield_now};
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;
use trace::{Trace, alone, check, impatient, panic_of};

/// The report of the deadlock in which `main` ends, without the places' columns.
#[track_caller]
fn deadlock_of(main: impl Future<Output = ()>) -> Vec<String> {
    lines(&panic_of(|| impatient().run(main)))
}

/// Lines without the columns of places, which say how wide a line of this file is.
fn lines(report: &str) -> Vec<String> {
    let here = format!("{}:", file!());
    report
        .lines()
        .map(|line| {
            let mut pieces = line.split(&here);
            let mut short = pieces.next().unwrap().to_owned();
            for piece in pieces {
                let (row, rest) = piece.split_once(':').unwrap();
                short += &format!("+{}", row.parse::<u32>().unwrap());
                short += rest.trim_start_matches(|c: char| c.is_ascii_digit());
            }
            short
        })
        .collect()
}

fn deadlock(count: u32) -> String {
    let wait = if count == 1 { "task waits" } else { "tasks wait" };
    format!(
        "deadlock: no task is ready, no timer is set and no work is pending, so nothing can ever happen again. {count} {wait}:"
    )
}

#[test]
fn a_deadlock_lists_who_waits_where_and_on_what_as_a_tree() {
    let at = line!();
    let report = deadlock_of(async {
        let queue = Rc::new(Queue::bounded(1));
        let (full, empty, unfinished) = (queue.clone(), Rc::new(Queue::<u32>::unbounded()), queue.clone());
        let server = spawn_named("server", async move {
            let worker = spawn_named("worker", async move {
                full.put(1).await.unwrap();
                full.put(2).await.unwrap();
            });
            drop(spawn(async move { unfinished.join().await }));
            worker.await.unwrap();
        });
        drop(spawn(async move { _ = empty.get().await }));
        drop(spawn(squall::stopping()));
        let (_sender, receiver) = oneshot::channel::<()>();
        drop(spawn(async { _ = receiver.await }));
        drop(spawn(async { sleep(Duration::MAX).await }));
        server.await.unwrap();
    });
    let expected = [
        deadlock(8),
        format!("└── task 1 \"main\" (spawned at {}) waits for the end of task 2 at +{}", run_at(), at + 17),
        format!(
            "    ├── task 2 \"server\" (spawned at +{}) waits for the end of task 7 at +{}",
            at + 4,
            at + 10
        ),
        format!(
            "    │   ├── task 7 \"worker\" (spawned at +{}) waits for room in a queue at +{}",
            at + 5,
            at + 7
        ),
        format!(
            "    │   └── task 8 (spawned at +{0}) waits for the items of a queue to be done at +{0}",
            at + 9
        ),
        format!("    ├── task 3 (spawned at +{0}) waits for an item of a queue at +{0}", at + 12),
        format!("    ├── task 4 (spawned at +{0}) waits for a request to stop at +{0}", at + 13),
        format!("    ├── task 5 (spawned at +{0}) waits for a oneshot value at +{0}", at + 15),
        format!("    └── task 6 (spawned at +{0}) waits for a timer at +{0}", at + 16),
    ];
    assert_eq!(report, expected);
}

/// Where `deadlock_of` runs `main`.
fn run_at() -> String {
    deadlock_of(pending())[1].split_once("spawned at ").unwrap().1.split_once(')').unwrap().0.to_owned()
}

#[test]
fn a_child_whose_parent_has_ended_is_a_root_and_foreign_waits_are_named_so() {
    let at = line!();
    let report = deadlock_of(async {
        let parent = spawn(async {
            drop(spawn_named("orphan", pending::<()>()));
        });
        parent.await.unwrap();
        pending::<()>().await;
    });
    let nothing = "waits for something that is not squall's";
    let expected = [
        deadlock(2),
        format!("├── task 1 \"main\" (spawned at {}) {nothing}", run_at()),
        format!("└── task 3 \"orphan\" (spawned at +{}) {nothing}", at + 3),
    ];
    assert_eq!(report, expected);
}

#[test]
fn a_deadlock_of_a_great_many_tasks_is_reported_in_a_text_that_can_be_read() {
    // A chain: each task is the child of the one before.
    fn chain(left: u32) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            if left > 0 {
                drop(spawn(chain(left - 1)));
            }
            pending::<()>().await;
        })
    }
    let (deep, wide) = if cfg!(miri) { (500, 600) } else { (100_000, 100_000) };
    let report = deadlock_of(async move {
        for _ in 0..wide {
            drop(spawn(pending::<()>()));
        }
        drop(spawn(chain(deep)));
        for _ in 0..=deep {
            yield_now().await;
        }
        pending::<()>().await;
    });
    assert_eq!(report[0], deadlock(deep + wide + 2));
    assert!(report[1].starts_with("└── task 1 \"main\""), "{}", report[1]);
    // The first of all, and what is left out counted.
    assert_eq!(report.len(), 1 + 500 + 1);
    assert_eq!(report[501], format!("… and {} more", deep + wide + 2 - 500));
    assert!(report.iter().all(|line| line.len() < 1000));
}

// --- #[squall::test] -------------------------------------------------------------------------------------------------

fn harness(may_leak: bool, test: impl Future<Output = ()>) -> String {
    panic_of(|| squall::__private::test("crate::a_test", false, may_leak, test))
}

#[test]
fn a_test_that_leaves_tasks_behind_fails_with_their_tree() {
    let at = line!();
    let report = harness(false, async {
        let leaked = spawn_named("leaked", async {
            drop(spawn(pending::<()>()));
            pending::<()>().await;
        });
        yield_now().await;
        drop(leaked);
    });
    let expected = [
        "the test crate::a_test has ended and left 2 tasks behind: await or abort them, or say #[squall::test(allow_leaks)]".to_owned(),
        format!("└── task 2 \"leaked\" (spawned at +{}) waits for something that is not squall's", at + 2),
        format!("    └── task 3 (spawned at +{}) waits for something that is not squall's", at + 3),
    ];
    assert_eq!(lines(&report), expected);
}

#[test]
fn tasks_left_by_a_test_may_end_if_they_can_and_none_is_waited_for() {
    let trace = Trace::default();
    let said = trace.clone();
    squall::__private::test("crate::a_test", false, false, async move {
        drop(spawn(async move {
            for n in 0..900 {
                if n % 300 == 0 {
                    said.say(n.to_string());
                }
                yield_now().await;
            }
        }));
    });
    assert_eq!(trace.take(), ["0", "300", "600"]);

    let left_behind = "the test crate::a_test has ended and left 1 task behind: await or abort them, or say #[squall::test(allow_leaks)]";
    let report = harness(false, async {
        drop(spawn(sleep(Duration::from_nanos(1))));
    });
    assert_eq!(report.lines().next(), Some(left_behind));
    let report = harness(false, async {
        drop(spawn(async {
            loop {
                yield_now().await;
            }
        }));
    });
    assert_eq!(report.lines().next(), Some(left_behind));
}

#[test]
fn a_test_that_fails_fails_with_its_own_panic_whatever_it_leaves() {
    for may_leak in [false, true] {
        let report = harness(may_leak, async {
            drop(spawn(pending::<()>()));
            panic!("its own");
        });
        assert_eq!(report, "its own");
    }
    squall::__private::test("crate::a_test", false, true, async { drop(spawn(pending::<()>())) });
}

// --- the environment -------------------------------------------------------------------------------------------------

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_driver_named_by_the_environment_is_used_and_one_that_does_not_exist_is_refused() {
    let test = "a_driver_named_by_the_environment_is_used_and_one_that_does_not_exist_is_refused";
    // By itself a loop takes the best that works here.
    let has_uring = squall::Builder::new().driver(squall::DriverChoice::Uring).build().is_ok();
    let by_itself = if has_uring { "uring" } else { "poll" };
    let names = [
        ("", Ok(by_itself)),
        ("auto", Ok(by_itself)),
        ("poll", Ok("poll")),
        (
            "kqueue",
            Err("SQUALL_DRIVER: there is no driver \"kqueue\": choose \"auto\", \"uring\" or \"poll\""),
        ),
    ];
    for (name, expected) in names {
        let output = alone(test, &[("SQUALL_DRIVER", name)], || {
            match squall::Builder::new().run(async { squall::driver().to_string() }) {
                Ok(driver) => assert_eq!(Ok(driver.as_str()), expected_of(&names)),
                Err(error) => {
                    assert_eq!(Err(error.to_string().as_str()), expected_of(&names));
                    let text = panic_of(|| squall::run(async {}));
                    assert_eq!(text, format!("squall::run: {error}"));
                    let text = panic_of(|| squall::run_forever(async { Ok::<_, ()>(()) }));
                    assert_eq!(text, format!("squall::run_forever: {error}"));
                    // What the program itself chooses is not overridden.
                    let chosen = squall::Builder::new().driver(squall::DriverChoice::Poll);
                    assert_eq!(chosen.run(async { 7 }).unwrap(), 7);
                    assert_eq!(impatient().run(async { 8 }).unwrap(), 8);
                }
            }
        });
        match output {
            Some(output) => check(&output),
            None => return,
        }
        let _ = expected;
    }
}

/// What this process should see.
fn expected_of<'a>(names: &[(&str, Result<&'a str, &'a str>)]) -> Result<&'a str, &'a str> {
    let name = std::env::var("SQUALL_DRIVER").unwrap();
    names.iter().find(|(known, _)| *known == name).unwrap().1
}
