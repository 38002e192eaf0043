//! What a child of a scope borrowed when its stack was given up is in the state in which the child stood: in the middle of a poll, of a sort. Nobody may find it again, so
//! what encloses the scope is given up too.
#![cfg(feature = "fiber")]

mod trace;

use squall::fiber::{self, Scope};
use squall::generator::Generator;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};
use trace::{Trace, alone, at_drop, check, reports_of};

/// Catches whatever would end it.
fn stands_still() -> ! {
    loop {
        _ = catch_unwind(|| fiber::wait(pending::<()>()));
    }
}

/// A scope with one child that stands still, and is cancelled.
fn lose_a_child<'env>(child: impl FnOnce() + 'env) {
    fiber::scope(move |s: &Scope<'_, 'env>| {
        _ = s.spawn(child);
        fiber::yield_now();
        s.cancel();
    });
}

fn given_up(body: impl FnOnce() + 'static) {
    let ended = squall::Builder::new().virtual_time().run(async { fiber::spawn(body).await }).unwrap();
    assert!(ended.unwrap_err().is_cancelled());
}

#[test]
fn a_body_that_was_being_polled_by_a_child_that_is_given_up_is_never_polled_or_dropped_again() {
    let told = alone(
        "a_body_that_was_being_polled_by_a_child_that_is_given_up_is_never_polled_or_dropped_again",
        &[],
        || {
            let trace = Trace::default();
            let said = trace.clone();
            given_up(move || {
                let says = &said;
                let mut generator: Generator<'_, u32> = Generator::new(async |co| {
                    let held = says.at_drop("what the body held");
                    co.yield_(1).await;
                    drop(held);
                    stands_still();
                });
                assert_eq!(generator.next(), Some(1));
                lose_a_child(|| _ = generator.next());
                // It waits at its first yield still, as far as can be seen.
                said.say("the scope has returned");
                _ = catch_unwind(AssertUnwindSafe(|| generator.next()));
            });
            assert_eq!(trace.take(), ["what the body held"]);

            let said = trace.clone();
            given_up(move || {
                let mut future = pin!(async {
                    let _held = said.at_drop("what the future holds");
                    stands_still()
                });
                lose_a_child(|| _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
                said.say("the scope has returned");
            });
            assert!(trace.take().is_empty());
        },
    );
    if let Some(output) = told {
        check(&output);
        let reports = reports_of(&output);
        assert_eq!(reports.len(), 4, "{reports:?}");
        for pair in reports.chunks(2) {
            assert!(pair[0].contains("has caught the unwinding of its stack"), "{pair:?}");
            assert!(pair[1].contains("has lost a child of its fiber::scope"), "{pair:?}");
        }
    }
}

/// Up to a fiber that borrows nothing: what is lent through several scopes is not found in any of them. Children beside are ended first, and panics are told.
#[test]
fn all_scopes_that_enclose_a_child_that_is_given_up_are_given_up_and_nothing_beside() {
    let told = alone(
        "all_scopes_that_enclose_a_child_that_is_given_up_are_given_up_and_nothing_beside",
        &[],
        || {
            let trace = Trace::default();
            let said = trace.clone();
            given_up(move || {
                let mut numbers = vec![3, 1, 2];
                let _guard = said.at_drop("a destructor of the outermost");
                fiber::scope(|outer| {
                    outer.spawn(|| {
                        let _guard = at_drop(|| said.say("a sibling of the middle one"));
                        fiber::wait(pending::<()>());
                    });
                    let middle = outer.spawn(|| {
                        let _guard = said.at_drop("a destructor of the middle one");
                        lose_a_child(|| numbers.sort_by(|_, _| stands_still()));
                        said.say("the inner scope has returned");
                    });
                    assert!(middle.join().unwrap_err().is_cancelled());
                    said.say("the body of the outer scope goes on");
                    outer.cancel();
                    panic!("of the body");
                });
                said.say(format!("the outer scope has returned {numbers:?}"));
            });
            assert_eq!(trace.take(), ["the body of the outer scope goes on", "a sibling of the middle one"]);
            // The loop, and other fibers, are none the worse.
            let other = squall::Builder::new().virtual_time().run(async { fiber::spawn(|| 7).await });
            assert_eq!(other.unwrap().unwrap(), 7);
        },
    );
    if let Some(output) = told {
        check(&output);
        let reports = reports_of(&output);
        let told = |what| reports.iter().filter(|report| report.contains(what)).count();
        assert_eq!(told("has lost a child of its fiber::scope"), 2, "{reports:?}");
        assert_eq!(told("the body of a fiber::scope panicked"), 1, "{reports:?}");
    }
}

/// An aborted fiber unwinds from its scope; not where a child was lost. What is on its stack already unwinding cannot be left.
#[test]
fn an_aborted_fiber_whose_child_is_given_up_does_not_unwind_through_what_it_lent() {
    let told =
        alone("an_aborted_fiber_whose_child_is_given_up_does_not_unwind_through_what_it_lent", &[], || {
            let trace = Trace::default();
            let said = trace.clone();
            squall::Builder::new()
                .virtual_time()
                .run(async {
                    let fiber = fiber::spawn(move || {
                        let lent = said.at_drop("what was lent");
                        fiber::scope(|s| {
                            s.spawn(|| {
                                let _lent = &lent;
                                stands_still();
                            });
                        });
                    });
                    squall::yield_now().await;
                    squall::yield_now().await;
                    fiber.abort();
                    assert!(fiber.await.unwrap_err().is_cancelled());
                })
                .unwrap();
            assert!(trace.take().is_empty());
        });
    if let Some(output) = told {
        check(&output);
        assert_eq!(reports_of(&output).len(), 2);
    }
}
