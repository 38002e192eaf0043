//! Panics in scopes: of children, the body, destructors, values, several at once. The first goes on where the scope is awaited, when everybody has ended; the rest are reported.

mod trace;

use squall::{scope, spawn, try_scope, yield_now};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use trace::{Trace, alone, at_drop, check, panic_of, reports_of, text_of, virtual_loop};

/// The text with which a scope panics when it is awaited by a task.
fn panic_in(body: impl AsyncFnOnce()) -> String {
    panic_of(|| virtual_loop().run_until(body()))
}

#[test]
fn a_childs_panic_drops_its_siblings_and_the_body_and_goes_on_after_that() {
    let trace = Trace::default();
    let text = panic_in(async || {
        scope(async |s| {
            let _body = trace.at_drop("body");
            s.spawn(async {
                let _child = trace.at_drop("sibling");
                pending::<()>().await;
            });
            s.spawn(async {
                yield_now().await;
                panic!("the child's");
            });
            pending::<()>().await;
        })
        .await;
    });
    assert_eq!(text, "the child's");
    assert_eq!(trace.take(), ["sibling", "body"]);
}

#[test]
fn the_bodys_panic_drops_the_children() {
    let trace = Trace::default();
    let text = panic_in(async || {
        try_scope(async |s| {
            let _body = trace.at_drop("body");
            s.spawn(async {
                let _child = trace.at_drop("child");
                pending::<()>().await;
            });
            yield_now().await;
            yield_now().await;
            if !trace.take().is_empty() {
                return Ok::<(), ()>(());
            }
            panic!("the body's");
        })
        .await
        .unwrap();
    });
    assert_eq!(text, "the body's");
    assert_eq!(trace.take(), ["body", "child"]);
}

#[test]
fn a_tasks_panic_is_the_scopes_too() {
    let text = panic_in(async || {
        scope(async |s| {
            s.spawn_task(async { panic!("the task's") });
            pending::<()>().await;
        })
        .await;
    });
    assert_eq!(text, "the task's");
}

#[test]
fn a_panic_while_the_body_is_called_drops_what_was_spawned_in_the_call() {
    let trace = Trace::default();
    let text = panic_in(async || {
        // Not an async closure: it spawns when it is called, before there is a future of the body.
        fn body<'scope>(
            s: &'scope squall::Scope<'scope, '_>,
            trace: &'scope Trace,
        ) -> std::future::Ready<()> {
            let said = trace.at_drop("child");
            s.spawn(async move {
                let _said = said;
                pending::<()>().await;
            });
            panic!("in the call");
        }
        scope(async |s| body(s, &trace).await).await;
    });
    assert_eq!(text, "in the call");
    assert_eq!(trace.take(), ["child"]);
}

#[test]
fn a_panic_of_a_destructor_ends_the_scope_as_any_other() {
    for place in ["child that ends", "child that is cancelled", "body that is cancelled", "value"] {
        let text = panic_in(async || {
            let bomb = || at_drop(|| panic!("a destructor's"));
            let result = try_scope(async |s| {
                let _body = (place == "body that is cancelled").then(bomb);
                match place {
                    "child that ends" => _ = s.spawn(async { drop(bomb()) }),
                    "child that is cancelled" => {
                        let held = bomb();
                        s.spawn(async move {
                            let _held = held;
                            pending::<()>().await;
                        });
                    }
                    "value" => {
                        let value = bomb();
                        drop(s.spawn(async move { Ok(value) }));
                    }
                    _ => {}
                }
                yield_now().await;
                yield_now().await;
                s.cancel("the end");
                pending::<Result<(), ()>>().await
            })
            .await;
            panic!("it gave {result:?}");
        });
        assert_eq!(text, "a destructor's", "of the {place}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn of_several_panics_the_first_goes_on_and_the_rest_are_reported() {
    let output = alone("of_several_panics_the_first_goes_on_and_the_rest_are_reported", &[], || {
        let text = panic_in(async || {
            scope(async |s| {
                let _body = at_drop(|| panic!("the body's destructor"));
                for n in 0..2 {
                    s.spawn(async move {
                        let _guard = at_drop(move || panic!("destructor {n}"));
                        pending::<()>().await;
                    });
                }
                s.spawn(async {
                    let _guard = at_drop(|| ());
                    yield_now().await;
                    panic!("the first");
                });
                pending::<()>().await;
            })
            .await;
        });
        assert_eq!(text, "the first");
    });
    let Some(output) = output else { return };
    check(&output);
    let another = "squall: another child of a scope panicked after the first: ";
    assert_eq!(
        reports_of(&output),
        ["destructor 1", "destructor 0", "the body's destructor"].map(|text| format!("{another}{text}"))
    );
}

#[test]
fn a_scope_that_is_dropped_passes_a_destructors_panic_to_whoever_drops_it() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        let mut future = Box::pin(scope(async |s| {
            let _body = trace.at_drop("body");
            s.spawn(async {
                let _older = trace.at_drop("older");
                pending::<()>().await;
            });
            s.spawn(async {
                let _bomb = at_drop(|| panic!("a destructor's"));
                pending::<()>().await;
            });
            pending::<()>().await;
        }));
        for _ in 0..2 {
            assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await.is_pending());
            yield_now().await;
        }
        let panic = catch_unwind(AssertUnwindSafe(|| drop(future))).unwrap_err();
        assert_eq!(text_of(&*panic), "a destructor's");
        assert_eq!(trace.take(), ["older", "body"]);
    });
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_scope_that_is_dropped_while_its_thread_unwinds_reports_and_does_not_abort() {
    let output =
        alone("a_scope_that_is_dropped_while_its_thread_unwinds_reports_and_does_not_abort", &[], || {
            let text = panic_in(async || {
                let mut future = Box::pin(scope(async |s| {
                    for n in 0..2 {
                        s.spawn(async move {
                            let _bomb = at_drop(move || panic!("destructor {n}"));
                            pending::<()>().await;
                        });
                    }
                    pending::<()>().await;
                }));
                for _ in 0..2 {
                    assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await.is_pending());
                    yield_now().await;
                }
                panic!("whoever holds the scope");
            });
            assert_eq!(text, "whoever holds the scope");
        });
    let Some(output) = output else { return };
    check(&output);
    assert_eq!(reports_of(&output).len(), 2, "{:?}", reports_of(&output));
}

#[test]
fn a_poll_that_panics_goes_before_the_destructor_that_panics_after_it() {
    struct Both;
    impl Future for Both {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic!("the poll's")
        }
    }
    impl Drop for Both {
        fn drop(&mut self) {
            panic!("the destructor's")
        }
    }
    let text = panic_in(async || {
        scope(async |s| {
            s.spawn(Both);
        })
        .await;
    });
    assert_eq!(text, "the poll's");
}

#[test]
fn a_panicking_task_does_not_reach_the_scope_through_catch_unwind() {
    virtual_loop().run_until(async {
        let served = scope(async |s| {
            let children: Vec<_> = (0..3)
                .map(|n| {
                    s.spawn_task(async move {
                        squall::catch_unwind(async move { assert!(n != 1, "connection {n}") }).await.is_ok()
                    })
                })
                .collect();
            squall::join_all(children).await
        })
        .await;
        assert_eq!(served, [true, false, true]);
    });
}

#[test]
fn a_scope_that_was_left_by_a_panic_leaves_its_loop_as_it_was() {
    let event_loop = virtual_loop();
    event_loop.run_until(async {
        for _ in 0..if cfg!(miri) { 3 } else { 100 } {
            let task = spawn(async {
                scope(async |s| {
                    for _ in 0..10 {
                        s.spawn(pending::<()>());
                    }
                    s.spawn(async { panic!("again and again") });
                })
                .await;
            });
            assert!(task.await.unwrap_err().is_panic());
        }
    });
    assert_eq!(event_loop.tasks(), 0);
}

#[test]
fn polling_outside_a_loop_says_so() {
    let text = panic_of(|| {
        let mut future = pin!(scope(async |_| ()));
        _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    });
    assert!(text.starts_with("squall::scope was called outside an event loop"), "{text}");
}

#[squall::test]
#[should_panic(expected = "a scope's child was awaited that has no value: it was aborted")]
async fn awaiting_an_aborted_child_says_so() {
    scope(async |s| {
        let child = s.spawn(pending::<()>());
        child.abort();
        squall::time::sleep(Duration::from_secs(1)).await;
        child.await;
    })
    .await;
}
