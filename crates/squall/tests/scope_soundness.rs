//! What must hold whatever safe code does: a scope that is forgotten never runs or drops its children again, one that is dropped drops them first, and nobody from outside
//! reaches what is behind a child. Run under Miri and the address sanitizer, which see a breach that these assertions do not.

mod trace;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use squall::scope::CancelToken;
use squall::{EventLoop, scope, spawn, try_scope, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::mem::forget;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use trace::{Trace, at_drop, settle, virtual_loop};

type BoxedScope = Pin<Box<dyn Future<Output = ()>>>;

/// Polls a future on the current loop as the task that runs, once.
fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> impl Future<Output = Poll<F::Output>> {
    poll_fn(move |cx| Poll::Ready(future.as_mut().poll(cx)))
}

/// A scope whose child borrows from a box and leaves its waker; the body awaits the child.
async fn borrower(data: &Cell<u32>, left: &RefCell<Vec<Waker>>, trace: &Trace) {
    scope(async |s| {
        let _body = trace.at_drop("the body is dropped");
        let child = s.spawn(async {
            let _child = trace.at_drop("the child is dropped");
            for _ in 0..1_000_000 {
                data.set(data.get() + 1);
                poll_fn(|cx| {
                    left.borrow_mut().push(cx.waker().clone());
                    Poll::Ready(())
                })
                .await;
                let mut is_first = true;
                poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) })
                    .await;
            }
        });
        child.await
    })
    .await
}

#[test]
fn a_forgotten_scope_never_runs_its_children_again_whenever_it_is_forgotten() {
    for polls in 0..5 {
        let event_loop = virtual_loop();
        let trace = Trace::default();
        let left = Rc::new(RefCell::new(Vec::new()));
        event_loop.run_until(async {
            let data = Box::new(Cell::new(0));
            // The box is leaked by `forget` only as far as the future goes: what it borrows is freed below.
            let mut future = Box::pin(borrower(&data, &left, &trace));
            for _ in 0..polls {
                assert!(poll_once(&mut future).await.is_pending());
                yield_now().await;
            }
            let so_far = data.get();
            assert_eq!(so_far > 0, polls > 1);
            forget(future);
            drop(data);
            for waker in left.take() {
                waker.wake();
            }
            for _ in 0..3 {
                yield_now().await;
            }
        });
        drop(event_loop);
        assert_eq!(trace.take(), [] as [&str; 0], "nothing of it was dropped");
        // The slots are the next loop's: stale wakers wake nobody there.
        virtual_loop().run_until(async {
            let task = spawn(async { 1 });
            left.borrow().iter().for_each(Waker::wake_by_ref);
            assert_eq!(task.await.unwrap(), 1);
        });
    }
}

#[test]
fn a_scope_that_is_dropped_drops_its_children_and_then_its_body_whenever_it_is_dropped() {
    for polls in 0..5 {
        let trace = Trace::default();
        virtual_loop().run_until(async {
            let left = RefCell::new(Vec::new());
            let data = Cell::new(0);
            let mut future = Box::pin(borrower(&data, &left, &trace));
            for _ in 0..polls {
                assert!(poll_once(&mut future).await.is_pending());
                yield_now().await;
            }
            drop(future);
            left.borrow().iter().for_each(Waker::wake_by_ref);
            yield_now().await;
        });
        let expected: &[&str] = match polls {
            0 => &[],
            // The child was not begun, so nothing in it says that it goes.
            1 => &["the body is dropped"],
            _ => &["the child is dropped", "the body is dropped"],
        };
        assert_eq!(trace.take(), expected, "{polls} polls");
    }
}

#[test]
fn a_scope_may_be_dropped_between_turns_under_another_loop_and_after_its_own_has_ended() {
    for place in 0..3 {
        let trace = Trace::default();
        let shared: Rc<RefCell<Option<BoxedScope>>> = Rc::default();
        let left = Rc::new(RefCell::new(Vec::new()));
        let event_loop = virtual_loop();
        *shared.borrow_mut() = Some(Box::pin({
            let (left, trace) = (left.clone(), trace.clone());
            async move { borrower(&Cell::new(0), &left, &trace).await }
        }));
        event_loop.spawn({
            let shared = shared.clone();
            poll_fn(move |cx| shared.borrow_mut().as_mut().unwrap().as_mut().poll(cx))
        });
        settle(&event_loop);
        assert_eq!(left.borrow().len(), 1);
        match place {
            0 => {
                let scope = shared.take();
                drop(scope);
                left.borrow().iter().for_each(Waker::wake_by_ref);
                // The task polls what is not there any more, if it is woken: it is not.
                settle(&event_loop);
            }
            1 => virtual_loop().run_until(async {
                drop(shared.take());
                yield_now().await;
            }),
            _ => {
                let scope = shared.borrow_mut().replace(Box::pin(pending()));
                drop(event_loop);
                drop(scope);
                assert_eq!(trace.take(), ["the child is dropped", "the body is dropped"]);
                continue;
            }
        }
        assert_eq!(trace.take(), ["the child is dropped", "the body is dropped"]);
        // Its slots are used again.
        settle(&event_loop);
        let before = event_loop.tasks();
        let task = event_loop.spawn(async { 7 });
        settle(&event_loop);
        assert!(task.is_finished());
        assert_eq!(event_loop.tasks(), before);
    }
}

#[test]
#[should_panic(expected = "a scope was used on another event loop than it was opened on")]
fn a_scope_that_is_polled_on_another_loop_says_so() {
    let shared: Rc<RefCell<BoxedScope>> = Rc::new(RefCell::new(Box::pin(async {
        scope(async |s| {
            s.spawn(pending::<()>());
        })
        .await;
    })));
    let poll = |event_loop: &EventLoop| {
        event_loop.run_until(poll_fn(|cx| Poll::Ready(shared.borrow_mut().as_mut().poll(cx))))
    };
    let (one, other) = (virtual_loop(), virtual_loop());
    assert!(poll(&one).is_pending());
    _ = poll(&other);
}

#[test]
fn handles_that_are_leaked_or_hold_one_another_keep_nothing_running() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        type Slot<'scope> = RefCell<Option<squall::scope::Child<'scope, ()>>>;
        let error = try_scope(async |s| {
            // Each child holds the other's handle.
            let (one, two): (Rc<Slot<'_>>, Rc<Slot<'_>>) = Default::default();
            for (mine, other, name) in [(&one, &two, "one"), (&two, &one, "two")] {
                let said = trace.at_drop(name);
                let other = other.clone();
                let child = s.spawn(async move {
                    let _said = said;
                    yield_now().await;
                    let handle = other.take();
                    if let Some(handle) = handle {
                        handle.await;
                    }
                });
                *mine.borrow_mut() = Some(child);
            }
            forget(s.spawn(async { 42 }.map(drop)));
            drop((one, two));
            yield_now().await;
            yield_now().await;
            yield_now().await;
            s.cancel("they wait for each other");
            pending::<Result<(), ()>>().await
        })
        .await
        .unwrap_err();
        assert!(error.is_cancelled());
    });
    assert_eq!(trace.take(), ["two", "one"]);
}

#[test]
fn a_value_that_nobody_takes_is_dropped_once_and_a_leaked_handles_value_never() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        scope(async |s| {
            drop(s.spawn({
                let value = trace.at_drop("of a dropped handle");
                async move { value }
            }));
            let kept = s.spawn({
                let value = trace.at_drop("of a kept handle");
                async move { value }
            });
            forget(s.spawn({
                let value = trace.at_drop("of a leaked handle");
                async move { value }
            }));
            yield_now().await;
            yield_now().await;
            assert_eq!(trace.take(), ["of a dropped handle"]);
            assert!(kept.is_finished());
            drop(kept);
            assert_eq!(trace.take(), ["of a kept handle"]);
        })
        .await;
    });
    assert_eq!(trace.take(), [] as [&str; 0]);
}

#[test]
fn scopes_move_between_combinators_and_foreign_wakers() {
    virtual_loop().run_until(async {
        let sum = Cell::new(0);
        let one = async |n: u32| {
            scope(async |s| {
                for k in 0..3 {
                    let sum = &sum;
                    s.spawn(async move {
                        for _ in 0..k {
                            yield_now().await;
                        }
                        sum.set(sum.get() + n);
                    });
                }
            })
            .await;
        };
        let mut scopes: FuturesUnordered<_> = (1..4).map(one).collect();
        while scopes.next().await.is_some() {}
        assert_eq!(sum.get(), 18);
        // Begun under a foreign waker, gone on with under the task's own.
        let mut moved = Box::pin(one(10));
        assert!(moved.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        moved.await;
        assert_eq!(sum.get(), 48);
    });
}

#[test]
fn a_token_that_outlives_its_scope_cancels_nobody() {
    virtual_loop().run_until(async {
        let token = CancelToken::new();
        let data = Box::new(Cell::new(1));
        let mut future = Box::pin(async {
            try_scope(async |s| {
                s.cancel_with(&token);
                s.spawn(async {
                    loop {
                        data.set(data.get() + 1);
                        yield_now().await;
                    }
                });
                pending::<Result<(), ()>>().await
            })
            .await
        });
        assert!(poll_once(&mut future).await.is_pending());
        yield_now().await;
        forget(future);
        let token = token.clone();
        drop(data);
        token.cancel("nobody is there to hear it");
        for _ in 0..3 {
            yield_now().await;
        }
    });
}

#[test]
fn a_child_may_cancel_its_scope_abort_itself_or_abort_the_task_that_polls_it() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        // Its scope.
        let error = try_scope(async |s| {
            let said = trace.at_drop("cancels");
            s.spawn(async move {
                let _said = said;
                s.cancel("from inside");
                pending::<()>().await;
            });
            Ok::<(), ()>(())
        })
        .await
        .unwrap_err();
        assert!(error.is_cancelled());
        // Itself.
        scope(async |s| {
            let handle: Rc<RefCell<Option<squall::scope::Child<'_, ()>>>> = Rc::default();
            let said = trace.at_drop("aborts itself");
            let child = s.spawn({
                let handle = handle.clone();
                async move {
                    let _said = said;
                    handle.borrow().as_ref().unwrap().abort();
                    pending::<()>().await;
                }
            });
            *handle.borrow_mut() = Some(child);
            yield_now().await;
            yield_now().await;
            let child = handle.take().unwrap();
            assert_eq!(child.outcome().await, None);
        })
        .await;
        // The task.
        let task: Rc<Cell<Option<squall::JoinHandle<()>>>> = Rc::default();
        let handle = spawn({
            let (task, trace) = (task.clone(), trace.clone());
            async move {
                let (task, trace) = (&task, &trace);
                scope(async |s| {
                    s.spawn(async move {
                        let _said = trace.at_drop("aborts the task");
                        let handle = task.take().unwrap();
                        handle.abort();
                        task.set(Some(handle));
                        trace.say("goes on until it waits");
                        pending::<()>().await;
                    });
                })
                .await;
            }
        });
        task.set(Some(handle));
        yield_now().await;
        yield_now().await;
        assert!(task.take().unwrap().await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cancels", "aborts itself", "goes on until it waits", "aborts the task"]);
}

#[test]
fn a_destructor_may_spawn_cancel_shield_and_open_scopes() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        let error = try_scope(async |s| {
            let trace = &trace;
            s.spawn(async move {
                let _guard = at_drop(|| {
                    trace.say("dropped");
                    let refused = s.spawn(async { trace.say("never") });
                    assert!(refused.is_finished());
                    s.cancel("again");
                    s.abort_children();
                    let shielded = trace.clone();
                    drop(s.shield(Duration::from_secs(5), async move {
                        squall::time::sleep(Duration::from_secs(1)).await;
                        shielded.say("said goodbye");
                    }));
                    let mut inner = Box::pin(scope(async |s| {
                        s.spawn(pending::<()>());
                    }));
                    assert!(inner.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                });
                pending::<()>().await;
            });
            yield_now().await;
            yield_now().await;
            Err::<(), _>("the error")
        })
        .await
        .unwrap_err();
        trace.say("the scope has ended");
        assert_eq!(error.first(), Some(&"the error"));
    });
    assert_eq!(trace.take(), ["dropped", "said goodbye", "the scope has ended"]);
}

#[test]
fn an_ending_loop_drops_scopes_in_order_and_forgotten_ones_not_at_all() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    for name in ["older", "younger"] {
        let trace = trace.clone();
        event_loop.spawn(async move {
            let trace = &trace;
            scope(async |s| {
                let _body = trace.at_drop(&format!("{name}'s body"));
                for n in 0..2 {
                    s.spawn(async move {
                        let _child = trace.at_drop(&format!("{name}'s child {n}"));
                        pending::<()>().await;
                    });
                }
                let said = trace.at_drop(&format!("{name}'s task"));
                s.spawn_task(async move {
                    let _said = said;
                    pending::<()>().await;
                });
                pending::<()>().await;
            })
            .await;
        });
    }
    event_loop.spawn(async {
        let mut forgotten = Box::pin(scope(async |s| {
            s.spawn(pending::<()>());
        }));
        assert!(poll_once(&mut forgotten).await.is_pending());
        forget(forgotten);
    });
    settle(&event_loop);
    assert_eq!(event_loop.tasks(), 2 * 4 + 1, "the tasks, their children, and a forgotten one's slot");
    drop(event_loop);
    assert_eq!(
        trace.take(),
        [
            "younger's task",
            "older's task",
            "younger's child 1",
            "younger's child 0",
            "younger's body",
            "older's child 1",
            "older's child 0",
            "older's body"
        ]
    );
}
