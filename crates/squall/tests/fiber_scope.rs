//! Fibers that borrow: none of them outlives what it borrowed, whoever ends first.

mod trace;

use squall::fiber;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use trace::{Trace, alone, at_drop, check, reports_of, said, text_of, virtual_loop};

/// Runs a function on a fiber under virtual time.
fn on_a_fiber<R: 'static>(body: impl FnOnce() -> R + 'static) -> R {
    virtual_loop().run_until(async { fiber::spawn(body).await.unwrap() })
}

fn on_a_fiber_that_is_given_up(body: impl FnOnce() + 'static) {
    let ended = virtual_loop().run_until(async { fiber::spawn(body).await });
    assert!(ended.unwrap_err().is_cancelled());
}

#[test]
fn children_borrow_from_the_stack_and_are_waited_for() {
    let total = on_a_fiber(|| {
        let numbers = [1, 2, 3];
        let total = Cell::new(0);
        let lengths: Vec<u64> = fiber::scope(|s| {
            for number in &numbers {
                s.spawn(|| {
                    fiber::sleep(Duration::from_secs(*number));
                    total.set(total.get() + *number);
                });
            }
            let children: Vec<_> = numbers.iter().map(|number| s.spawn(move || number * 10)).collect();
            children.into_iter().map(|child| child.join().unwrap()).collect()
        });
        assert_eq!(lengths, [10, 20, 30]);
        total.get()
    });
    assert_eq!(total, 6);
}

#[test]
fn children_have_children_and_scopes_of_their_own() {
    let said = said(async |trace| {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                let names = ["a", "b"];
                fiber::scope(|s| {
                    for name in &names {
                        let trace = &trace;
                        s.spawn(move || {
                            s.spawn(move || trace.say(format!("sibling of {name}")));
                            let own = format!("{name} alone");
                            fiber::scope(|inner| {
                                inner.spawn(|| {
                                    fiber::yield_now();
                                    trace.say(&*own);
                                });
                            });
                            trace.say(*name);
                        });
                    }
                });
                trace.say("all ended");
            }
        });
        fiber.await.unwrap();
    });
    assert_eq!(said, ["sibling of a", "sibling of b", "a alone", "b alone", "a", "b", "all ended"]);
}

#[test]
fn a_panicking_child_ends_its_siblings_and_goes_on_from_the_scope() {
    let trace = Trace::default();
    let said = trace.clone();
    let text = on_a_fiber(move || {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            fiber::scope(|s| {
                let waits = s.spawn(|| {
                    let _guard = said.at_drop("sibling unwound");
                    fiber::wait(pending::<()>());
                });
                let asks = s.spawn(|| {
                    assert!(fiber::try_wait(pending::<()>()).is_err());
                    said.say("sibling ended in order");
                });
                let panics = s.spawn(|| {
                    fiber::yield_now();
                    panic!("the child's");
                });
                let error = panics.join().unwrap_err();
                assert!(error.is_panic());
                said.say(error.to_string());
                assert!(waits.join().unwrap_err().is_cancelled());
                assert!(asks.join().is_ok());
                assert!(s.is_cancelled());
                assert!(
                    s.spawn(|| ()).join().unwrap_err().is_cancelled(),
                    "a cancelled scope takes no more children"
                );
                said.say("body ends");
            });
        }));
        text_of(&*panic.unwrap_err())
    });
    assert_eq!(text, "the child's");
    assert_eq!(
        trace.take(),
        ["sibling unwound", "sibling ended in order", "the task panicked: the child's", "body ends"]
    );
}

#[test]
fn a_panicking_body_lets_its_children_end_first() {
    let trace = Trace::default();
    let said = trace.clone();
    let text = on_a_fiber(move || {
        let borrowed = Cell::new(0);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            fiber::scope(|s| {
                s.spawn(|| {
                    _ = fiber::try_wait(pending::<()>());
                    borrowed.set(1);
                    said.say("child ends in order");
                });
                fiber::yield_now();
                panic!("the body's");
            })
        }));
        assert_eq!(borrowed.get(), 1);
        text_of(&*panic.unwrap_err())
    });
    assert_eq!(text, "the body's");
    assert_eq!(trace.take(), ["child ends in order"]);
}

#[test]
fn cancel_asks_and_the_children_end_in_their_turn() {
    let trace = Trace::default();
    let said = trace.clone();
    on_a_fiber(move || {
        fiber::scope(|s| {
            for name in ["one", "two"] {
                let said = &said;
                s.spawn(move || {
                    let _guard = said.at_drop(&format!("{name} dropped"));
                    if fiber::try_wait(pending::<()>()).is_err() {
                        said.say(format!("{name} asked"));
                    }
                });
            }
            fiber::yield_now();
            s.cancel();
            said.say("has asked");
            fiber::yield_now();
            said.say("body ends");
        });
    });
    assert_eq!(
        trace.take(),
        ["has asked", "one asked", "one dropped", "two asked", "two dropped", "body ends"]
    );
}

#[test]
fn aborting_the_parent_ends_the_children_first() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                let _parent = trace.at_drop("parent");
                let borrowed = String::from("borrowed");
                fiber::scope(|s| {
                    for name in ["elder", "younger"] {
                        let (trace, borrowed) = (&trace, &borrowed);
                        s.spawn(move || {
                            let _guard = at_drop(|| trace.say(format!("{name} has {borrowed}")));
                            fiber::wait(pending::<()>());
                        });
                    }
                    s.spawn(|| trace.say("never runs"));
                    fiber::wait(pending::<()>());
                });
            }
        });
        squall::yield_now().await;
        squall::yield_now().await;
        trace.take();
        fiber.abort();
        assert!(fiber.is_finished());
    });
    assert_eq!(trace.take(), ["younger has borrowed", "elder has borrowed", "parent"]);
}

#[test]
fn a_parent_aborted_by_its_child_ends_after_the_child_has_paused() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        let handle: Rc<RefCell<Option<squall::JoinHandle<()>>>> = Rc::default();
        let fiber = fiber::spawn({
            let (trace, handle) = (trace.clone(), handle.clone());
            move || {
                let _parent = trace.at_drop("parent");
                let borrowed = String::from("still there");
                fiber::scope(|s| {
                    s.spawn(|| {
                        fiber::scope(|inner| {
                            inner.spawn(|| {
                                let _guard = at_drop(|| trace.say(format!("child: {borrowed}")));
                                handle.borrow().as_ref().unwrap().abort();
                                trace.say(format!("grandparent aborted; {borrowed}"));
                                fiber::wait(pending::<()>());
                                trace.say("not reached");
                            });
                        });
                    });
                });
            }
        });
        *handle.borrow_mut() = Some(fiber);
        let fiber = async {
            std::future::poll_fn(|cx| {
                let mut handle = handle.borrow_mut();
                std::pin::Pin::new(handle.as_mut().unwrap()).poll(cx)
            })
            .await
        };
        // The child needs the handle meanwhile: nothing is borrowed between polls.
        assert!(fiber.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["grandparent aborted; still there", "child: still there", "parent"]);
}

#[test]
fn a_child_that_aborts_its_parent_from_a_destructor_is_safe_too() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    let handle: Rc<RefCell<Option<squall::JoinHandle<()>>>> = Rc::default();
    event_loop.run_until(async {
        let fiber = fiber::spawn({
            let (trace, handle) = (trace.clone(), handle.clone());
            move || {
                let _parent = trace.at_drop("parent");
                let borrowed = String::from("still there");
                fiber::scope(|s| {
                    // One that runs, and one that never does.
                    let started = s.spawn(|| {
                        let _guard = at_drop(|| {
                            handle.borrow().as_ref().unwrap().abort();
                            trace.say(format!("child: {borrowed}"));
                        });
                        fiber::wait(pending::<()>());
                    });
                    fiber::yield_now();
                    fiber::yield_now();
                    started.abort();
                    let guard = at_drop(|| {
                        handle.borrow().as_ref().unwrap().abort();
                        trace.say(format!("closure: {borrowed}"));
                    });
                    s.spawn(move || drop(guard)).abort();
                    fiber::wait(pending::<()>());
                });
            }
        });
        *handle.borrow_mut() = Some(fiber);
        for _ in 0..6 {
            squall::yield_now().await;
        }
    });
    drop(event_loop);
    assert_eq!(trace.take(), ["child: still there", "closure: still there", "parent"]);
}

#[test]
fn a_forgotten_loop_leaks_the_stacks_and_what_they_lend() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    event_loop.run_until(async {
        fiber::spawn({
            let trace = trace.clone();
            move || {
                let borrowed = trace.at_drop("never dropped");
                fiber::scope(|s| {
                    s.spawn(|| {
                        let _borrow = &borrowed;
                        fiber::wait(pending::<()>());
                    });
                });
            }
        });
        squall::yield_now().await;
        squall::yield_now().await;
    });
    std::mem::forget(event_loop);
    assert!(trace.take().is_empty());
}

#[test]
fn children_of_a_fiber_that_is_given_up_end_all_the_same() {
    let told = alone("children_of_a_fiber_that_is_given_up_end_all_the_same", &[], || {
        let trace = Trace::default();
        let said = trace.clone();
        on_a_fiber_that_is_given_up(move || {
            let borrowed = String::from("from two stacks up");
            fiber::scope(|s| {
                let stubborn = s.spawn(|| {
                    fiber::scope(|inner| {
                        inner.spawn(|| {
                            let _guard = at_drop(|| said.say(format!("grandchild ends, {borrowed}")));
                            fiber::wait(pending::<()>());
                        });
                        loop {
                            _ = catch_unwind(|| fiber::wait(pending::<()>()));
                        }
                    })
                });
                fiber::yield_now();
                fiber::yield_now();
                fiber::yield_now();
                stubborn.abort();
                said.say("given up");
            });
            drop(borrowed);
        });
        assert_eq!(trace.take(), ["grandchild ends, from two stacks up", "given up"]);
    });
    if let Some(output) = told {
        check(&output);
        assert_eq!(reports_of(&output).len(), 2);
    }
}

#[test]
fn a_child_that_will_not_end_when_asked_is_given_up() {
    let told = alone("a_child_that_will_not_end_when_asked_is_given_up", &[], || {
        on_a_fiber_that_is_given_up(|| {
            fiber::scope(|s| {
                let stubborn = s.spawn(|| {
                    loop {
                        _ = catch_unwind(|| fiber::wait(pending::<()>()));
                    }
                });
                fiber::yield_now();
                s.cancel();
                let ended: Result<(), _> = stubborn.join();
                assert!(ended.unwrap_err().is_cancelled());
            });
        });
    });
    if let Some(output) = told {
        check(&output);
        assert_eq!(reports_of(&output).len(), 2);
    }
}

#[test]
fn values_may_borrow_too_and_are_dropped_inside_the_scope() {
    let trace = Trace::default();
    let said = trace.clone();
    on_a_fiber(move || {
        let lent = String::from("lent");
        fiber::scope(|s| {
            let child = s.spawn(|| lent.as_str());
            assert_eq!(child.join().unwrap(), "lent");
            drop(s.spawn(|| at_drop(|| said.say(format!("{lent}, and not asked for")))));
        });
        said.say("after the scope");
    });
    assert_eq!(trace.take(), ["lent, and not asked for", "after the scope"]);
}

#[test]
fn a_named_child_with_a_stack_of_its_own_size() {
    on_a_fiber(|| {
        let words = ["recursion"];
        fiber::scope(|s| {
            let child = fiber::Builder::new()
                .name("deep")
                .stack_size(1 << 20)
                .measure_stack()
                .spawn_scoped(s, || (words[0].len(), fiber::stack_high_water().is_some()))
                .unwrap();
            assert_eq!(child.join().unwrap(), (9, true));
            let error = fiber::Builder::new().stack_size(usize::MAX).spawn_scoped(s, || ()).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn cancel_reaches_the_children_from_inside_another_loop() {
    let ended = on_a_fiber(|| {
        let ended = Cell::new(0);
        fiber::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    assert!(fiber::try_wait(pending::<()>()).is_err());
                    ended.set(ended.get() + 1);
                });
            }
            fiber::yield_now();
            virtual_loop().run_until(async { s.cancel() });
            assert_eq!(ended.get(), 0, "in their own turn");
        });
        ended.get()
    });
    assert_eq!(ended, 2);
}

#[test]
fn a_child_whose_destructor_waits_on_an_elder_siblings_stack_ends_with_it() {
    let trace = Trace::default();
    virtual_loop().run_until(async {
        let fiber = fiber::spawn({
            let trace = trace.clone();
            move || {
                let _parent = trace.at_drop("parent");
                let borrowed = String::from("still there");
                fiber::scope(|s| {
                    let younger: Rc<Cell<Option<fiber::ScopedHandle<'_, ()>>>> = Rc::default();
                    s.spawn({
                        let younger = younger.clone();
                        move || younger.take().unwrap().abort()
                    });
                    // It never runs, so it is dropped where it is aborted.
                    let guard = at_drop(|| {
                        trace.say("waits");
                        assert!(fiber::try_wait(pending::<()>()).is_err());
                        trace.say(format!("closure: {borrowed}"));
                    });
                    younger.set(Some(s.spawn(move || drop(guard))));
                });
            }
        });
        squall::yield_now().await;
        squall::yield_now().await;
        assert_eq!(trace.take(), ["waits"]);
        fiber.abort();
        assert!(fiber.is_finished());
    });
    assert_eq!(trace.take(), ["closure: still there", "parent"]);
}

#[test]
fn a_child_whose_destructor_is_on_a_stack_that_is_given_up_is_leaked_with_it() {
    let name = "a_child_whose_destructor_is_on_a_stack_that_is_given_up_is_leaked_with_it";
    let told = alone(name, &[], || {
        let trace = Trace::default();
        virtual_loop().run_until(async {
            let fiber = fiber::spawn({
                let trace = trace.clone();
                move || {
                    let borrowed = String::from("still there");
                    fiber::scope(|s| {
                        s.spawn(|| {
                            let _guard = at_drop(|| trace.say(format!("sibling: {borrowed}")));
                            fiber::wait(pending::<()>());
                        });
                        fiber::yield_now();
                        let stubborn = at_drop(|| {
                            loop {
                                _ = catch_unwind(|| fiber::sleep(Duration::from_secs(1)));
                            }
                        });
                        s.spawn(move || drop(stubborn)).abort();
                    });
                }
            });
            for _ in 0..3 {
                squall::yield_now().await;
            }
            fiber.abort();
            assert!(fiber.await.unwrap_err().is_cancelled());
        });
        assert_eq!(trace.take(), ["sibling: still there"]);
        // The next loop has the same slots, but that of the leaked child.
        virtual_loop().run_until(async {
            let fibers: Vec<_> = (0..8).map(|number| fiber::spawn(move || number)).collect();
            for (number, fiber) in fibers.into_iter().enumerate() {
                assert_eq!(fiber.await.unwrap(), number);
            }
        });
    });
    if let Some(output) = told {
        check(&output);
        let reports = reports_of(&output);
        assert!(reports.len() == 1 && reports[0].contains("its stack is given up"), "{reports:?}");
    }
}
