//! What once went wrong in scopes: rings of wakers, panics of tasks that nobody heard, a destructor in which a fiber is unwound.

mod trace;

use squall::time::sleep;
use squall::{scope, yield_now};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use trace::{alone, at_drop, check, panic_of, reports_of, virtual_loop};

#[test]
fn a_scope_that_is_polled_with_a_waker_of_its_own_child_wakes_nobody() {
    virtual_loop().run_until(async {
        let left = RefCell::<Vec<Waker>>::default();
        let mut future = Box::pin(scope(async |s| {
            for _ in 0..2 {
                s.spawn(poll_fn::<(), _>(|cx| {
                    left.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }));
            }
        }));
        for _ in 0..2 {
            assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await.is_pending());
            yield_now().await;
        }
        let wakers = left.take();
        assert_eq!(wakers.len(), 2);
        assert!(future.as_mut().poll(&mut Context::from_waker(&wakers[0])).is_pending());
        // The way up from here leads round in a ring.
        wakers[1].wake_by_ref();
        yield_now().await;
        yield_now().await;
        assert!(left.borrow().is_empty());
        // Polled as it should be it goes on.
        assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await.is_pending());
        assert_eq!(left.borrow().len(), 2);
    });
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn a_panic_of_a_shielded_task_whose_scope_was_dropped_is_reported() {
    let output = alone("a_panic_of_a_shielded_task_whose_scope_was_dropped_is_reported", &[], || {
        virtual_loop().run_until(async {
            let mut future = Box::pin(scope(async |s| {
                drop(s.shield(Duration::from_secs(9), async {
                    sleep(Duration::from_secs(1)).await;
                    panic!("the farewell's");
                }));
                pending::<()>().await;
            }));
            assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await.is_pending());
            yield_now().await;
            drop(future);
            sleep(Duration::from_secs(2)).await;
        });
    });
    let Some(output) = output else { return };
    check(&output);
    assert_eq!(reports_of(&output), ["squall: a task panicked after its scope was dropped: the farewell's"]);
}

#[test]
fn a_panic_of_a_tasks_destructor_is_the_scopes_also_if_its_outcome_is_awaited() {
    let text = panic_of(|| {
        virtual_loop().run_until(async {
            scope(async |s| {
                let child = s.spawn_task(async {
                    let _bomb = at_drop(|| panic!("the destructor's"));
                    pending::<()>().await;
                });
                yield_now().await;
                yield_now().await;
                child.abort();
                assert_eq!(child.outcome().await, None);
            })
            .await;
        });
    });
    assert_eq!(text, "the destructor's");
}

#[cfg(feature = "fiber")]
#[test]
fn a_fiber_that_is_unwound_in_a_childs_destructor_drops_the_other_children_all_the_same() {
    use squall::fiber;
    let trace = trace::Trace::default();
    virtual_loop().run_until(async {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                let mut future = Box::pin(scope(async |s| {
                    let _body = trace.at_drop("body");
                    for n in 0..3 {
                        let trace = &trace;
                        s.spawn(async move {
                            let _said = trace.at_drop(&format!("child {n}"));
                            let _waits = (n == 2).then(|| at_drop(|| fiber::wait(pending::<()>())));
                            pending::<()>().await;
                        });
                    }
                    pending::<()>().await;
                }));
                // As an executor of others does: so its destructors may pause the fiber.
                for _ in 0..2 {
                    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                    fiber::yield_now();
                }
                drop(future);
            }
        });
        for _ in 0..6 {
            yield_now().await;
        }
        assert_eq!(trace.take(), [] as [&str; 0], "it waits in the destructor");
        fiber.abort();
    });
    assert_eq!(trace.take(), ["child 2", "child 1", "child 0", "body"]);
}

#[cfg(feature = "fiber")]
#[test]
fn a_child_that_is_woken_while_a_destructor_pauses_the_fiber_that_drops_it_is_not_looked_at_again() {
    use squall::fiber;
    virtual_loop().run_until(async {
        let fiber = fiber::spawn(|| {
            let left = RefCell::<Option<Waker>>::default();
            let mut future = Box::pin(scope(async |s| {
                drop(s.spawn(poll_fn::<(), _>(|cx| {
                    *left.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                })));
                s.spawn(async {
                    let _waits = at_drop(|| {
                        // The older one is marked in the turn that passes here, and then dropped.
                        left.take().unwrap().wake();
                        fiber::yield_now();
                        fiber::yield_now();
                    });
                    pending::<()>().await;
                });
                yield_now().await;
                yield_now().await;
                s.stop(Duration::ZERO);
                pending::<()>().await;
            }));
            for _ in 0..6 {
                assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                fiber::yield_now();
            }
            assert!(left.borrow().is_none(), "it was dropped");
        });
        fiber.await.unwrap();
    });
}
