//! trio's and asyncio's rules of structured concurrency: a test for each row of the table in `docs/scopes.md`, of the name that stands there.

mod trace;

use squall::scope::{CancelToken, Reason, until_stop};
use squall::sync::Queue;
use squall::time::{Instant, sleep, timeout};
use squall::{TaskLocal, scope, spawn, try_scope, yield_now};
use std::cell::Cell;
use std::future::{Future, pending};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use trace::Trace;

const SECOND: Duration = Duration::from_secs(1);

/// Never ready; says when it is dropped.
fn endless(trace: &Trace, name: &str) -> impl Future<Output = ()> + use<> {
    let said = trace.at_drop(name);
    async move {
        let _said = said;
        pending::<()>().await;
    }
}

#[test]
fn every_row_of_the_table_names_a_test_that_is_here() {
    let source = concat!(include_str!("scope_rules.rs"), include_str!("scope_start.rs"));
    for table in [include_str!("../../../docs/scopes.md"), include_str!("../../../docs/scopes.zh-CN.md")] {
        let head = table.lines().position(|line| line.starts_with("| trio, asyncio")).unwrap();
        let rows = table.lines().skip(head + 2).take_while(|line| line.starts_with('|'));
        let mut names = 0;
        for row in rows {
            let last = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
            for name in last.split('`').filter(|part| part.contains('_') && !part.contains(' ')) {
                assert!(source.contains(&format!("fn {name}()")), "the table names {name}, which is no test");
                names += 1;
            }
        }
        assert!(names >= 25, "the table of the chapter was not found");
    }
}

#[squall::test]
async fn an_error_of_the_body_cancels_the_children() {
    let trace = Trace::default();
    let error = try_scope(async |s| {
        s.spawn(endless(&trace, "child"));
        yield_now().await;
        Err::<(), _>("the body's")
    })
    .await
    .unwrap_err();
    assert_eq!((error.first(), trace.take()), (Some(&"the body's"), vec!["child".to_owned()]));
}

#[squall::test]
async fn the_scope_ends_when_the_last_child_has() {
    let begin = Instant::now();
    scope(async |s| {
        s.spawn(sleep(3 * SECOND));
        s.spawn(sleep(5 * SECOND));
    })
    .await;
    assert_eq!(begin.elapsed(), 5 * SECOND);
}

#[squall::test]
async fn an_error_of_a_child_cancels_siblings_and_body() {
    let trace = Trace::default();
    let error = try_scope(async |s| {
        let _body = trace.at_drop("body");
        s.spawn(endless(&trace, "sibling"));
        s.spawn(async { Err::<(), _>("the child's") });
        pending::<Result<(), _>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.first(), Some(&"the child's"));
    assert_eq!(trace.take(), ["sibling", "body"]);
}

#[squall::test]
async fn one_error_prints_and_converts_as_itself() {
    let failing = || async {
        try_scope(async |s| {
            s.spawn(async { Err::<(), _>(io::Error::new(io::ErrorKind::NotFound, "no such thing")) });
            Ok(())
        })
        .await
        .unwrap_err()
    };
    assert_eq!(failing().await.to_string(), "no such thing");
    let converted = io::Error::from(failing().await);
    assert_eq!((converted.kind(), converted.to_string()), (io::ErrorKind::NotFound, "no such thing".into()));
    let source = failing().await;
    let source = std::error::Error::source(&source).unwrap();
    assert!(source.downcast_ref::<io::Error>().is_some());
}

#[squall::test]
async fn errors_that_come_while_it_ends_are_kept() {
    let error = try_scope(async |s| {
        // Two tasks that fail in the same turn: both have run when the scope is polled next.
        s.spawn_task(async { Err::<(), _>(io::Error::other("first")) });
        s.spawn_task(async { Err::<(), _>(io::Error::other("second\nin two lines")) });
        pending::<io::Result<()>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "2 errors in a scope\n├── first\n└── second\n    in two lines");
    assert_eq!(error.errors().count(), 2);
    let converted = io::Error::from(error);
    assert!(converted.get_ref().unwrap().is::<squall::ScopeError<io::Error>>());
}

#[squall::test]
async fn a_child_belongs_to_its_scope_and_not_to_where_it_was_spawned() {
    let (begin, ended) = (Instant::now(), Cell::new(false));
    scope(async |outer| {
        let inner = try_scope(async |inner| {
            outer.spawn(async {
                sleep(9 * SECOND).await;
                ended.set(true);
            });
            inner.cancel_after(SECOND);
            pending::<Result<(), ()>>().await
        })
        .await;
        assert!(inner.is_err() && begin.elapsed() == SECOND);
    })
    .await;
    assert!(ended.get() && begin.elapsed() == 9 * SECOND);
}

#[squall::test]
async fn spawn_returns_before_the_child_runs() {
    let trace = Trace::default();
    scope(async |s| {
        s.spawn(async { trace.say("child") });
        trace.say("spawned");
    })
    .await;
    assert_eq!(trace.take(), ["spawned", "child"]);
}

#[squall::test]
async fn a_cancelled_child_never_runs_again() {
    let ran = Cell::new(0);
    let error = try_scope(async |s| {
        s.spawn(async {
            loop {
                ran.set(ran.get() + 1);
                sleep(SECOND).await;
            }
        });
        sleep(SECOND / 2).await;
        s.cancel("enough");
        pending::<Result<(), ()>>().await
    })
    .await;
    sleep(10 * SECOND).await;
    assert!(error.is_err() && ran.get() == 1);
}

#[squall::test]
async fn cancelling_twice_keeps_the_first_reason() {
    let error = try_scope(async |s| {
        s.cancel("the first");
        s.cancel("the second");
        pending::<Result<(), ()>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.cancellation().unwrap().reason(), &Reason::Asked("the first".into()));
}

#[squall::test]
async fn cancelling_when_all_have_ended_changes_nothing() {
    let token = CancelToken::new();
    let outcome = try_scope(async |s| {
        s.cancel_with(&token);
        s.spawn(async {}).await;
        s.cancel("too late");
        Ok::<_, ()>("the value")
    })
    .await;
    token.cancel("long after");
    assert_eq!(outcome.unwrap(), "the value");
}

#[squall::test]
async fn a_deadline_in_the_past_cancels_in_the_next_poll() {
    let begin = Instant::now();
    sleep(SECOND).await;
    let error = try_scope(async |s| {
        s.cancel_at(begin);
        pending::<Result<(), ()>>().await
    })
    .await
    .unwrap_err();
    assert!(error.is_deadline());
    assert_eq!(begin.elapsed(), SECOND);
}

#[squall::test]
async fn an_outer_deadline_that_comes_first_is_the_outer_scopes() {
    let mut ids = (None, None);
    let error = try_scope(async |outer| {
        ids.0 = Some(outer.id());
        outer.cancel_after(SECOND);
        try_scope(async |inner| {
            ids.1 = Some(inner.id());
            inner.cancel_after(2 * SECOND);
            pending::<Result<(), ()>>().await
        })
        .await
        .map_err(drop)
    })
    .await
    .unwrap_err();
    let named = Some(error.cancellation().unwrap().scope());
    assert!(named == ids.0 && named != ids.1);
}

#[squall::test]
async fn two_deadlines_at_once_are_the_outer_scopes() {
    let error = try_scope(async |outer| {
        outer.cancel_after(SECOND);
        let inner = try_scope(async |inner| {
            inner.cancel_after(SECOND);
            pending::<Result<(), ()>>().await
        })
        .await;
        // Neither hides the other: whichever is polled first, the outer one ends too.
        drop(inner);
        pending::<Result<(), ()>>().await
    })
    .await
    .unwrap_err();
    assert!(error.is_deadline());
}

#[squall::test]
async fn a_shield_runs_on_while_the_scope_is_cancelled() {
    let (begin, trace) = (Instant::now(), Trace::default());
    let error = try_scope(async |s| {
        let said = trace.clone();
        drop(s.shield(10 * SECOND, async move {
            sleep(3 * SECOND).await;
            said.say("said goodbye");
        }));
        s.cancel("now");
        pending::<Result<(), ()>>().await
    })
    .await;
    assert!(error.unwrap_err().is_cancelled());
    assert_eq!((trace.take(), begin.elapsed()), (vec!["said goodbye".to_owned()], 3 * SECOND));
}

#[squall::test]
async fn a_shield_ends_at_its_limit() {
    let begin = Instant::now();
    scope(async |s| {
        let shielded = s.shield(2 * SECOND, pending::<()>());
        assert!(shielded.await.is_err());
    })
    .await;
    assert_eq!(begin.elapsed(), 2 * SECOND);
}

#[squall::test]
async fn until_stop_loses_nothing() {
    let queue = Queue::unbounded();
    scope(async |s| {
        let stopped = s.spawn(async { s.until_stop(queue.get()).await.is_none() });
        yield_now().await;
        s.stop(SECOND);
        assert!(stopped.await);
    })
    .await;
    queue.put("an item").await.unwrap();
    assert_eq!(queue.get().await.unwrap(), "an item");
}

#[squall::test]
async fn spawning_on_a_cancelled_scope_drops_the_future() {
    let trace = Trace::default();
    let error = try_scope(async |s| {
        s.cancel("closing");
        let child = s.spawn(endless(&trace, "child"));
        assert_eq!(trace.take(), ["child"]);
        let task = s.spawn_task(endless(&trace, "task"));
        assert_eq!(trace.take(), ["task"]);
        assert!(child.is_finished() && task.is_finished());
        assert_eq!(child.outcome().await, None);
        pending::<Result<(), ()>>().await
    })
    .await;
    assert!(error.unwrap_err().is_cancelled());
}

#[squall::test]
async fn timeouts_and_scopes_agree_on_the_deadline() {
    let left = async || squall::time_left().map(|left| left.as_secs());
    let inside = timeout(7 * SECOND, async {
        scope(async |s| {
            (left().await, s.spawn(left()).await, s.spawn_task(async { squall::time_left() }).await)
        })
        .await
    });
    assert_eq!(inside.await.unwrap(), (Some(7), Some(7), Some(7 * SECOND)));
    try_scope(async |s| {
        s.cancel_after(5 * SECOND);
        assert_eq!(left().await, Some(5));
        assert_eq!(timeout(9 * SECOND, left()).await.unwrap(), Some(5));
        assert_eq!(timeout(3 * SECOND, left()).await.unwrap(), Some(3));
        assert_eq!(s.spawn(async { Ok(left().await) }).await, Some(5));
        Ok::<(), ()>(())
    })
    .await
    .unwrap();
    assert_eq!(left().await, None);
}

#[squall::test]
async fn aborting_the_task_drops_scope_and_children() {
    let trace = Trace::default();
    let task = spawn({
        let trace = trace.clone();
        async move {
            scope(async |s| {
                let _body = trace.at_drop("body");
                s.spawn(endless(&trace, "child"));
                s.spawn_task(endless(&trace, "task"));
                pending::<()>().await;
            })
            .await;
        }
    });
    yield_now().await;
    yield_now().await;
    task.abort();
    assert_eq!(trace.take(), ["task", "child", "body"]);
}

#[squall::test]
async fn stop_is_seen_in_inner_scopes() {
    let trace = Trace::default();
    scope(async |outer| {
        let said = trace.clone();
        outer.spawn_task(async move {
            assert_eq!(until_stop(pending::<()>()).await, None);
            said.say("a task");
        });
        outer.spawn(async {
            scope(async |inner| {
                assert_eq!(inner.until_stop(pending::<()>()).await, None);
                trace.say("an inner scope");
            })
            .await;
        });
        sleep(SECOND).await;
        assert!(!outer.is_stopping());
        outer.stop(SECOND);
        assert!(outer.is_stopping());
        // One that is opened later sees it too.
        scope(async |late| assert!(late.is_stopping())).await;
    })
    .await;
    let mut said = trace.take();
    said.sort();
    assert_eq!(said, ["a task", "an inner scope"]);
}

#[squall::test]
async fn a_child_that_never_ends_is_dropped_after_the_grace() {
    let (begin, trace) = (Instant::now(), Trace::default());
    scope(async |s| {
        s.spawn(endless(&trace, "child"));
        s.spawn_task(endless(&trace, "task"));
        s.stop(10 * SECOND);
        s.stop(4 * SECOND);
        s.stop(Duration::MAX);
    })
    .await;
    assert_eq!((trace.take(), begin.elapsed()), (vec!["task".to_owned(), "child".to_owned()], 4 * SECOND));
    let error = try_scope(async |s| {
        s.stop(Duration::ZERO);
        pending::<Result<(), ()>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.cancellation().unwrap().reason(), &Reason::GraceOver);
}

#[squall::test]
async fn a_cancellation_says_who_why_and_where() {
    let mut id = None;
    let error = try_scope(async |s| {
        id = Some(s.id());
        s.spawn(async { s.cancel("disk full") });
        pending::<Result<(), io::Error>>().await
    })
    .await
    .unwrap_err();
    let cancellation = error.cancellation().unwrap();
    assert_eq!(Some(cancellation.scope()), id);
    assert_eq!(cancellation.opened_at().line() + 2, cancellation.cancelled_at().line());
    let text = error.to_string();
    let (head, tail) = text.split_once(") was cancelled: disk full (at ").unwrap();
    assert!(head.starts_with("scope 2 (opened at ") && tail.contains("scope_rules.rs:"), "{text}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other);
}

#[squall::test]
async fn task_locals_are_inherited_and_copied_on_write() {
    static REQUEST: TaskLocal<u32> = TaskLocal::new();
    REQUEST.set(1);
    let seen = Rc::new(Cell::new(None));
    scope(async |s| {
        assert_eq!(REQUEST.get(), Some(1));
        let child = s.spawn(async {
            REQUEST.set(2);
            let grandchild = spawn(async { REQUEST.get() });
            (grandchild.await.unwrap(), REQUEST.get())
        });
        assert_eq!(child.await, (Some(2), Some(2)));
        assert_eq!(REQUEST.get(), Some(1));
        REQUEST.set(3);
        let late = seen.clone();
        s.spawn_task(async move { late.set(REQUEST.get()) }).await;
    })
    .await;
    assert_eq!((REQUEST.get(), seen.get()), (Some(1), Some(3)));
}
