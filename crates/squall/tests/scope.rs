//! Scopes: what a body and its children see of each other, in what order things run, and what that costs.

mod trace;

use squall::scope::{Scope, TryScope};
use squall::time::{Instant, sleep};
use squall::{scope, spawn, try_scope, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use trace::{panic_of, virtual_loop};

/// Waits until somebody wakes the waker that it leaves, and counts its polls.
fn parked<'a>(left: &'a Cell<Option<Waker>>, polls: &'a Cell<u32>) -> impl Future<Output = ()> + 'a {
    let mut is_first = true;
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        if std::mem::take(&mut is_first) {
            left.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

#[squall::test]
async fn children_borrow_what_encloses_the_scope_and_the_scope_waits_for_them() {
    let words = ["one".to_owned(), "three".to_owned()];
    let total = Cell::new(0);
    scope(async |s| {
        for word in &words {
            s.spawn(async {
                yield_now().await;
                total.set(total.get() + word.len());
            });
        }
    })
    .await;
    assert_eq!(total.get(), 8);
}

#[squall::test]
async fn children_begin_next_turn_in_the_order_of_spawning_among_the_other_tasks() {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let say = |what: &'static str| {
        let trace = trace.clone();
        async move { trace.borrow_mut().push(what) }
    };
    scope(async |s| {
        s.spawn(say("first child"));
        drop(spawn(say("a task")));
        s.spawn(say("second child"));
        trace.borrow_mut().push("body");
    })
    .await;
    assert_eq!(*trace.borrow(), ["body", "first child", "a task", "second child"]);
}

#[squall::test]
async fn a_child_spawns_grandchildren_which_the_scope_waits_for() {
    async fn grow<'scope>(s: &'scope Scope<'scope, '_>, depth: u32, leaves: &'scope Cell<u32>) {
        if depth == 0 {
            return leaves.set(leaves.get() + 1);
        }
        for _ in 0..2 {
            s.spawn(Box::pin(grow(s, depth - 1, leaves)));
        }
    }
    let leaves = Cell::new(0);
    scope(async |s| grow(s, 6, &leaves).await).await;
    assert_eq!(leaves.get(), 64);
}

#[squall::test]
async fn the_first_error_drops_the_siblings_the_youngest_first_and_then_the_body() {
    struct Says<'a>(&'a RefCell<Vec<String>>, String);
    impl Drop for Says<'_> {
        fn drop(&mut self) {
            self.0.borrow_mut().push(self.1.clone());
        }
    }
    let trace = RefCell::new(Vec::new());
    let error = try_scope(async |s| {
        let _body = Says(&trace, "body".into());
        for n in 0..3 {
            let said = Says(&trace, format!("child {n}"));
            s.spawn(async move {
                let _said = said;
                pending::<()>().await;
            });
        }
        s.spawn(async { Err::<(), _>(io::Error::other("the first")) });
        pending::<io::Result<()>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "the first");
    assert_eq!(*trace.borrow(), ["child 2", "child 1", "child 0", "body"]);
}

#[squall::test]
async fn an_error_that_comes_while_the_scope_ends_is_kept() {
    let error = try_scope(async |s: &TryScope<'_, '_, String>| {
        let shielded = s.shield(Duration::from_secs(9), async { sleep(Duration::from_secs(1)).await });
        drop(shielded);
        s.spawn_task(async {
            sleep(Duration::from_secs(2)).await;
            Err::<(), _>("never: it is aborted".to_owned())
        });
        s.spawn(async { Err::<(), _>("a child's".to_owned()) });
        yield_now().await;
        Err::<(), _>("the body's".to_owned())
    })
    .await
    .unwrap_err();
    let errors: Vec<_> = error.errors().collect();
    assert_eq!(errors, ["a child's"], "the child's error drops the body before it gives its own");
}

#[test]
fn a_wake_of_one_child_among_ten_thousand_polls_exactly_one() {
    virtual_loop().run_until(async {
        const MANY: usize = if cfg!(miri) { 100 } else { 10_000 };
        let left: Vec<_> = (0..MANY).map(|_| Cell::new(None::<Waker>)).collect();
        let polls: Vec<_> = (0..MANY).map(|_| Cell::new(0)).collect();
        scope(async |s| {
            for (left, polls) in left.iter().zip(&polls) {
                s.spawn(parked(left, polls));
            }
            yield_now().await;
            yield_now().await;
            assert!(polls.iter().all(|polls| polls.get() == 1));
            left[77].take().unwrap().wake();
            yield_now().await;
            yield_now().await;
            assert_eq!(polls.iter().map(Cell::get).sum::<u32>(), MANY as u32 + 1);
            assert_eq!(polls[77].get(), 2);
            for waker in left.iter().filter_map(Cell::take) {
                waker.wake();
            }
        })
        .await;
        assert_eq!(polls.iter().map(Cell::get).sum::<u32>(), 2 * MANY as u32);
    });
}

#[squall::test]
async fn a_childs_wake_polls_neither_its_siblings_nor_the_body() {
    let (left, body_left) = (Cell::new(None::<Waker>), Cell::new(None::<Waker>));
    let (polls, body_polls) = (Cell::new(0), Cell::new(0));
    scope(async |s| {
        s.spawn(parked(&left, &polls));
        s.spawn(async {
            yield_now().await;
            left.take().unwrap().wake();
            yield_now().await;
            yield_now().await;
            assert_eq!((polls.get(), body_polls.get()), (2, 1));
            body_left.take().unwrap().wake();
        });
        parked(&body_left, &body_polls).await;
    })
    .await;
    assert_eq!(body_polls.get(), 2);
}

#[squall::test]
async fn scopes_nest_through_children_and_a_wake_goes_up_the_chain() {
    let left = Cell::new(None);
    let polls = Cell::new(0);
    scope(async |outer| {
        outer.spawn(async {
            scope(async |middle| {
                middle.spawn(async {
                    scope(async |inner| {
                        inner.spawn(parked(&left, &polls));
                    })
                    .await;
                });
            })
            .await;
        });
        while polls.get() == 0 {
            yield_now().await;
        }
        left.take().unwrap().wake();
    })
    .await;
    assert_eq!(polls.get(), 2);
}

#[squall::test]
async fn a_child_that_is_always_ready_starves_neither_its_siblings_nor_other_tasks() {
    let rounds = Cell::new(0u32);
    let others = Rc::new(Cell::new(0u32));
    let task = spawn({
        let others = others.clone();
        async move {
            for _ in 0..100 {
                others.set(others.get() + 1);
                yield_now().await;
            }
        }
    });
    try_scope(async |s| {
        s.spawn(async {
            loop {
                rounds.set(rounds.get() + 1);
                yield_now().await;
            }
        });
        task.await.unwrap();
        s.cancel("enough");
        pending::<Result<(), ()>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(others.get(), 100);
    assert!((99..=102).contains(&rounds.get()), "each had its turn: {}", rounds.get());
}

#[test]
fn a_scopes_children_stand_below_it_in_the_tree() {
    let report = panic_of(|| {
        virtual_loop().run_until(async {
            scope(async |s| {
                s.spawn(pending::<()>());
                s.spawn_task_named("owned", pending::<()>());
            })
            .await;
        })
    });
    let lines: Vec<_> = report.lines().filter(|line| line.contains("──")).collect();
    assert_eq!(lines.len(), 4, "{report}");
    assert!(
        lines[0].contains("task 1 \"main\"") && lines[0].contains("waits for the end of a scope at"),
        "{report}"
    );
    assert!(lines[1].starts_with("    └── scope 2 (opened at"), "{report}");
    assert!(lines[2].starts_with("        ├── task 3 (spawned at"), "{report}");
    assert!(lines[3].starts_with("        └── task 4 \"owned\""), "{report}");
}

#[squall::test]
async fn a_deadline_drops_what_has_not_ended_and_says_whose_it_was() {
    let begin = Instant::now();
    let mut inner_id = None;
    let error = try_scope(async |outer| {
        outer.cancel_after(Duration::from_secs(10));
        let error = try_scope(async |inner| {
            inner_id = Some(inner.id());
            inner.cancel_after(Duration::from_secs(2));
            inner.cancel_after(Duration::from_secs(5));
            inner.spawn(pending::<()>());
            io::Result::Ok(())
        })
        .await
        .unwrap_err();
        assert!(error.is_deadline());
        assert_eq!(error.cancellation().map(|it| it.scope()), inner_id);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        pending::<io::Result<()>>().await
    })
    .await
    .unwrap_err();
    assert!(error.is_deadline() && error.cancellation().map(|it| it.scope()) != inner_id);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}
