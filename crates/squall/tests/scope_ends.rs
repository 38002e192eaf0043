//! How scopes end in the company of others: threads, foreign wakers, tokens in long lines, children by the ten thousand, handles in strange places.

mod trace;

use squall::scope::{CancelToken, Child};
use squall::time::{sleep, timeout};
use squall::{TaskLocal, scope, spawn, try_scope, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Duration;
use trace::{Trace, alone, at_drop, check, reports_of, settle, text_of, virtual_loop};

const MANY: usize = if cfg!(miri) { 50 } else { 20_000 };

/// Runs on a virtual clock that waits for other threads.
fn patient<F: Future>(main: F) -> F::Output {
    squall::Builder::new().virtual_time().run(main).unwrap()
}

#[test]
fn a_token_cancels_from_another_thread_at_any_moment() {
    for round in 0..if cfg!(miri) { 5 } else { 300 } {
        let error = patient(async {
            let token = CancelToken::new();
            let outside = token.child();
            let thread = std::thread::spawn(move || {
                for _ in 0..round {
                    std::hint::spin_loop();
                }
                token.cancel("from a thread");
            });
            let error = try_scope(async |s| {
                s.cancel_with(&outside);
                s.spawn(pending::<()>());
                Ok::<(), ()>(())
            })
            .await
            .unwrap_err();
            thread.join().unwrap();
            error
        });
        assert!(error.cancellation().unwrap().to_string().contains("from a thread"));
    }
}

#[squall::test]
async fn a_token_reaches_through_children_that_nobody_holds_and_through_long_lines() {
    let root = CancelToken::new();
    let mut last = root.child();
    for _ in 0..MANY {
        last = last.child();
    }
    let beside = root.child();
    beside.cancel("only this one");
    assert!(!root.is_cancelled() && !last.is_cancelled());
    let waiting = spawn({
        let last = last.clone();
        async move { last.cancelled().await }
    });
    yield_now().await;
    root.cancel("all");
    waiting.await.unwrap();
    assert_eq!(last.reason().as_deref(), Some("all"));
    assert_eq!(beside.reason().as_deref(), Some("only this one"));
    assert!(root.child().is_cancelled());
    drop(root);
    drop(last);
}

#[test]
fn a_foreign_waker_may_end_the_scope_that_it_is_to_wake() {
    type Shared = Rc<RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>>;
    fn waker_of(scope: &Shared) -> Waker {
        static VTABLE: RawWakerVTable = RawWakerVTable::new(
            |data| {
                // SAFETY: `data` is an `Rc` that its waker owns.
                unsafe {
                    Rc::increment_strong_count(
                        data.cast::<RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>>(),
                    )
                };
                RawWaker::new(data, &VTABLE)
            },
            |data| {
                // SAFETY: as above; the waker is used up.
                let scope: Shared = unsafe { Rc::from_raw(data.cast()) };
                let ended = scope.borrow_mut().take();
                drop(ended);
            },
            |_| {},
            // SAFETY: as above.
            |data| drop::<Shared>(unsafe { Rc::from_raw(data.cast()) }),
        );
        // SAFETY: the functions above keep the count; everything is on this thread.
        unsafe { Waker::from_raw(RawWaker::new(Rc::into_raw(scope.clone()).cast(), &VTABLE)) }
    }
    let (trace, left) = (Trace::default(), Rc::new(RefCell::new(Vec::<Waker>::new())));
    let event_loop = virtual_loop();
    let shared: Shared = Rc::default();
    *shared.borrow_mut() = Some(Box::pin({
        let (trace, left) = (trace.clone(), left.clone());
        async move {
            let (trace, left) = (&trace, &left);
            scope(async |s| {
                for n in 0..2 {
                    s.spawn(async move {
                        let _said = trace.at_drop(&format!("child {n}"));
                        poll_fn::<(), _>(|cx| {
                            left.borrow_mut().push(cx.waker().clone());
                            Poll::Pending
                        })
                        .await;
                    });
                }
            })
            .await;
        }
    }));
    event_loop.run_until(async {
        for _ in 0..2 {
            let mut scope = shared.borrow_mut().take().unwrap();
            assert!(scope.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            *shared.borrow_mut() = Some(scope);
            yield_now().await;
            yield_now().await;
        }
        let mut scope = shared.borrow_mut().take().unwrap();
        assert!(scope.as_mut().poll(&mut Context::from_waker(&waker_of(&shared))).is_pending());
        *shared.borrow_mut() = Some(scope);
        assert_eq!(left.borrow().len(), 2);
        let wakers = left.take();
        wakers.into_iter().for_each(Waker::wake);
        yield_now().await;
        yield_now().await;
        assert!(shared.borrow().is_none());
    });
    assert_eq!(trace.take(), ["child 1", "child 0"]);
}

#[squall::test]
async fn a_child_may_hold_its_own_handle_and_drop_it_while_it_runs() {
    let trace = Trace::default();
    scope(async |s| {
        let slot: Rc<RefCell<Option<Child<'_, trace::AtDrop<_>>>>> = Rc::default();
        let value = trace.at_drop("the value");
        let child = s.spawn({
            let slot = slot.clone();
            async move {
                drop(slot.take());
                yield_now().await;
                value
            }
        });
        *slot.borrow_mut() = Some(child);
    })
    .await;
    assert_eq!(trace.take(), ["the value"]);
}

#[squall::test]
async fn children_by_the_ten_thousand_end_in_any_order() {
    let ended = Cell::new(0);
    let error = try_scope(async |s| {
        for n in 0..MANY {
            let ended = &ended;
            s.spawn(async move {
                if n % 3 == 0 {
                    sleep(Duration::from_millis((n * 7919 % 1000) as u64)).await;
                } else if n % 3 == 1 {
                    yield_now().await;
                } else {
                    pending::<()>().await;
                }
                ended.set(ended.get() + 1);
            });
        }
        sleep(Duration::from_secs(2)).await;
        s.cancel("the rest");
        pending::<Result<(), ()>>().await
    })
    .await;
    assert!(error.is_err());
    assert_eq!(ended.get(), (0..MANY).filter(|n| n % 3 != 2).count());
}

#[test]
fn wakes_of_children_from_other_threads_poll_them() {
    struct Remote(AtomicU32);
    impl Wake for Remote {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    patient(async {
        let unrelated = Arc::new(Remote(AtomicU32::new(0)));
        let counted = scope(async |s| {
            let children: Vec<_> = (0..4)
                .map(|n| {
                    s.spawn(async move {
                        let mut thread = None;
                        poll_fn(|cx| {
                            if thread.is_some() {
                                return Poll::Ready(());
                            }
                            let waker = cx.waker().clone();
                            thread = Some(std::thread::spawn(move || waker.wake()));
                            Poll::Pending
                        })
                        .await;
                        thread.unwrap().join().unwrap();
                        n
                    })
                })
                .collect();
            squall::join_all(children).await
        })
        .await;
        assert_eq!(counted, [0, 1, 2, 3]);
        Waker::from(unrelated.clone()).wake();
        assert_eq!(unrelated.0.load(Ordering::Relaxed), 1);
    });
}

#[squall::test]
async fn scopes_in_scopes_in_children_end_from_the_innermost() {
    fn nest<'a>(depth: u32, trace: &'a Trace) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            scope(async |s| {
                let _said = trace.at_drop(&format!("{depth}"));
                if depth > 0 {
                    s.spawn(nest(depth - 1, trace)).await;
                } else {
                    pending::<()>().await;
                }
            })
            .await;
        })
    }
    let trace = Trace::default();
    assert!(timeout(Duration::from_secs(1), nest(20, &trace)).await.is_err());
    let expected: Vec<_> = (0..=20).map(|depth| depth.to_string()).collect();
    assert_eq!(trace.take(), expected);
}

#[test]
#[cfg_attr(miri, ignore = "no processes there")]
fn what_a_scope_would_have_given_does_not_hide_the_panic_that_goes_on() {
    let name = "what_a_scope_would_have_given_does_not_hide_the_panic_that_goes_on";
    let output = alone(name, &[], || {
        let panic = std::panic::catch_unwind(|| {
            virtual_loop().run_until(async {
                scope(async |s| {
                    s.spawn(async {
                        yield_now().await;
                        panic!("the child's");
                    });
                    at_drop(|| panic!("the output's"))
                })
                .await
            });
        });
        assert_eq!(text_of(&*panic.unwrap_err()), "the child's");
    });
    let Some(output) = output else { return };
    check(&output);
    assert_eq!(reports_of(&output).len(), 1, "{:?}", reports_of(&output));
}

#[test]
fn a_task_local_that_was_given_a_future_is_kept_while_no_task_polls_it() {
    static NAME: TaskLocal<&str> = TaskLocal::new();
    let mut named = Box::pin(NAME.scoped("kept", async {
        yield_now().await;
        NAME.get()
    }));
    // Outside any loop there is nothing to swap with.
    assert!(named.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(virtual_loop().run_until(async { (named.await, NAME.get()) }), (Some("kept"), None));
}

#[test]
fn task_locals_and_their_destructors_may_do_what_they_like() {
    type Noise = trace::AtDrop<Box<dyn FnOnce()>>;
    static NOISY: TaskLocal<Rc<Noise>> = TaskLocal::new();
    let trace = Trace::default();
    let event_loop = virtual_loop();
    event_loop.spawn({
        let trace = trace.clone();
        async move {
            for n in 0..3 {
                let trace = trace.clone();
                let value: Box<dyn FnOnce()> = Box::new(move || {
                    trace.say(format!("{n} of {}", NOISY.get().is_some()));
                    drop(spawn(async {}));
                    if n == 1 {
                        // One that is set by a destructor replaces the one that was to be.
                        NOISY.set(Rc::new(at_drop(Box::new(|| ()))));
                    }
                });
                NOISY.set(Rc::new(at_drop(value)));
            }
        }
    });
    settle(&event_loop);
    drop(event_loop);
    let said = trace.take();
    assert_eq!(said.len(), 3, "{said:?}");
}

#[squall::test]
async fn a_deadline_a_stop_and_a_token_at_once_end_it_once() {
    let token = CancelToken::new();
    let error = try_scope(async |s| {
        s.cancel_with(&token);
        s.cancel_after(Duration::from_secs(1));
        s.stop(Duration::from_secs(1));
        s.spawn(async {
            sleep(Duration::from_secs(1)).await;
            token.cancel("a token");
            s.cancel("a child");
        });
        pending::<Result<(), ()>>().await
    })
    .await
    .unwrap_err();
    assert!(error.is_cancelled());
}
