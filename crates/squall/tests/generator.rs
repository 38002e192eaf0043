//! The protocol of generators: PEP 342 row by row, PEP 380, and what only a language with destructors has.

mod trace;

use squall::generator::{Co, Generator, Raised, ResumeError, Step};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use trace::{Trace, panic_of};

use Step::{Returned, Yielded};

/// Yields what is sent to it, from zero on, until zero is sent; returns how often it has.
fn echo<'a>() -> Generator<'a, u32, u32, u32, &'static str> {
    Generator::new(async |co| {
        let (mut value, mut times) = (0, 1);
        loop {
            value = co.yield_(value).await;
            if value == 0 {
                return times;
            }
            times += 1;
        }
    })
}

// --- PEP 342 -----------------------------------------------------------------------------------------------------------

#[test]
fn values_go_in_and_out_and_the_last_is_returned_once() {
    let mut echo = echo();
    assert!(!echo.is_started());
    assert_eq!(echo.start(), Ok(Yielded(0)));
    assert_eq!(echo.send(7), Ok(Yielded(7)));
    assert_eq!(echo.send(0), Ok(Returned(2)));
    assert!(echo.is_finished());
    assert_eq!(echo.send(1), Err(ResumeError::Finished));
    assert_eq!(echo.start(), Err(ResumeError::Finished));
    assert_eq!(echo.resume(), Err(ResumeError::Finished));
}

#[test]
fn a_value_sent_to_a_fresh_generator_comes_back_and_it_stays_fresh() {
    let mut echo = echo();
    assert_eq!(echo.send(7), Err(ResumeError::NotStarted(7)));
    assert!(!echo.is_started());
    assert_eq!(echo.resume(), Ok(Yielded(0)));
    assert_eq!(echo.start(), Err(ResumeError::Started));
    assert_eq!(echo.resume(), Ok(Returned(1)), "the default value is sent");
}

#[test]
fn a_throw_ends_who_does_not_catch_fresh_and_finished_ones_too() {
    let ran = Cell::new(false);
    let mut fresh: Generator<'_, u32, u32, (), &str> = Generator::new(async |_| ran.set(true));
    assert_eq!(fresh.throw("early"), Err(ResumeError::Thrown("early")));
    assert!(fresh.is_finished() && !ran.get());
    assert_eq!(fresh.throw("late"), Err(ResumeError::Thrown("late")));

    let mut echo = echo();
    echo.start().unwrap();
    assert_eq!(echo.throw("now"), Err(ResumeError::Thrown("now")));
    assert_eq!(echo.send(1), Err(ResumeError::Finished));
}

/// Counts what is thrown at it, and yields that; returns when it is closed.
fn catcher<'a>(trace: Trace) -> Generator<'a, u32, (), u32, &'static str> {
    Generator::new(async move |co| {
        let mut caught = 0;
        loop {
            match co.try_yield(caught).await {
                Ok(()) => trace.say("resumed"),
                Err(Raised::Thrown(thrown)) => {
                    trace.say(format!("caught {thrown}"));
                    caught += 1;
                }
                Err(Raised::Closed) => return caught + 100,
            }
        }
    })
}

#[test]
fn a_throw_that_is_caught_gives_what_is_yielded_next() {
    let trace = Trace::default();
    let mut catcher = catcher(trace.clone());
    assert_eq!(catcher.start(), Ok(Yielded(0)));
    assert_eq!(catcher.throw("a"), Ok(Yielded(1)));
    assert_eq!(catcher.resume(), Ok(Yielded(1)));
    assert_eq!(catcher.throw("b"), Ok(Yielded(2)));
    assert_eq!(catcher.close(), Ok(Some(102)), "what is returned upon close");
    assert_eq!(catcher.close(), Ok(None));
    assert_eq!(trace.take(), ["caught a", "resumed", "caught b"]);
}

#[test]
fn close_ends_fresh_waiting_and_finished_ones() {
    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    let mut waiting: Generator<'_, u32> = Generator::new(async move |co| {
        let _held = held;
        co.yield_(1).await;
        unreachable!();
    });
    assert_eq!(waiting.resume(), Ok(Yielded(1)));
    assert_eq!(waiting.close(), Ok(None));
    assert_eq!(trace.take(), ["dropped"]);
    assert_eq!(waiting.close(), Ok(None));
    let mut fresh = echo();
    assert_eq!(fresh.close(), Ok(None));
    assert_eq!(fresh.start(), Err(ResumeError::Finished));
}

#[test]
fn a_yield_upon_close_is_an_error_and_the_generator_goes_on() {
    let mut stubborn: Generator<'_, u32, (), u32> = Generator::new(async |co| {
        let mut closes = 0;
        loop {
            if co.try_yield(closes).await.is_err() {
                closes += 1;
            }
            if closes == 2 {
                return 99;
            }
        }
    });
    stubborn.start().unwrap();
    assert_eq!(stubborn.close(), Err(ResumeError::IgnoredExit));
    assert_eq!(stubborn.resume(), Ok(Yielded(1)));
    assert_eq!(stubborn.close(), Ok(Some(99)));
}

#[test]
fn what_a_body_raises_comes_out_of_the_call_that_resumed_it() {
    let mut raises: Generator<'_, u32, (), (), String> = Generator::new(async |co| {
        co.yield_(1).await;
        match co.try_yield(2).await {
            Err(Raised::Closed) => _ = co.raise("while closing".into()).await,
            _ => _ = co.raise("by itself".into()).await,
        }
    });
    assert_eq!(raises.resume(), Ok(Yielded(1)));
    assert_eq!(raises.resume(), Ok(Yielded(2)));
    assert_eq!(raises.close(), Err(ResumeError::Thrown("while closing".into())));
    assert!(raises.is_finished());
}

#[test]
fn one_that_takes_nothing_is_an_iterator() {
    let mut fibonacci: Generator<'_, u64> = Generator::new(async |co| {
        let (mut a, mut b) = (0, 1);
        while a < 100 {
            co.yield_(a).await;
            (a, b) = (b, a + b);
        }
    });
    assert_eq!(fibonacci.by_ref().take(5).collect::<Vec<_>>(), [0, 1, 1, 2, 3]);
    assert_eq!(fibonacci.by_ref().last(), Some(89));
    assert_eq!(fibonacci.next(), None);
}

// --- PEP 380 -----------------------------------------------------------------------------------------------------------

#[test]
fn a_delegate_speaks_with_the_caller_and_its_value_is_the_expressions() {
    let mut outer: Generator<'_, u32, u32, (u32, u32), &str> = Generator::new(async |co| {
        let first = co.yield_from(echo()).await;
        let second = co.yield_from(echo()).await;
        (first, second)
    });
    assert_eq!(outer.start(), Ok(Yielded(0)));
    assert_eq!(outer.send(5), Ok(Yielded(5)));
    assert_eq!(outer.send(0), Ok(Yielded(0)), "the second begins");
    assert_eq!(outer.send(0), Ok(Returned((2, 1))));
}

#[test]
fn a_throw_goes_to_the_innermost_and_outward_from_there() {
    let trace = Trace::default();
    let inner = catcher(trace.clone());
    let mut outer: Generator<'_, u32, (), u32, &str> = Generator::new(async |co| {
        let value = co.yield_from(inner).await;
        match co.try_yield_from(plain()).await {
            Err(Raised::Thrown(thrown)) => {
                assert_eq!(thrown, "through");
                co.yield_(77).await;
            }
            _ => unreachable!(),
        }
        value
    });
    fn plain<'a>() -> Generator<'a, u32, (), (), &'static str> {
        Generator::new(async |co| co.yield_(50).await)
    }
    assert_eq!(outer.start(), Ok(Yielded(0)));
    assert_eq!(outer.throw("a"), Ok(Yielded(1)), "caught by the delegate");
    assert_eq!(
        outer.close(),
        Ok(None),
        "a delegate that returns upon close does not keep its outer from ending"
    );
    assert_eq!(trace.take(), ["caught a"]);

    let mut outer: Generator<'_, u32, (), (), &str> =
        Generator::new(async |co| match co.try_yield_from(plain()).await {
            Err(Raised::Thrown(thrown)) => _ = co.yield_(thrown.len() as u32).await,
            other => unreachable!("{other:?}"),
        });
    assert_eq!(outer.start(), Ok(Yielded(50)));
    assert_eq!(outer.throw("through"), Ok(Yielded(7)), "the delegate has ended, its outer has caught");
    assert_eq!(outer.resume(), Ok(Returned(())));
}

#[test]
fn closing_finalises_the_innermost_first() {
    let trace = Trace::default();
    fn level<'a>(depth: u32, trace: Trace) -> Generator<'a, u32> {
        Generator::new(async move |co: &Co<'a, u32>| {
            let _held = trace.at_drop(&format!("level {depth}"));
            if depth == 3 {
                co.yield_(depth).await;
            } else {
                co.yield_from(level(depth + 1, trace)).await;
            }
        })
    }
    let mut closed = level(0, trace.clone());
    assert_eq!(closed.resume(), Ok(Yielded(3)));
    assert_eq!(closed.close(), Ok(None));
    assert_eq!(trace.take(), ["level 3", "level 2", "level 1", "level 0"]);
    let mut dropped = level(0, trace.clone());
    dropped.resume().unwrap();
    drop(dropped);
    assert_eq!(trace.take(), ["level 3", "level 2", "level 1", "level 0"]);
    let mut thrown = level(0, trace.clone());
    thrown.resume().unwrap();
    assert_eq!(thrown.resume(), Ok(Returned(())));
    assert_eq!(trace.take(), ["level 3", "level 2", "level 1", "level 0"]);
}

#[test]
fn a_started_generator_goes_on_as_a_delegate_with_its_own_delegates() {
    fn two_levels<'a>() -> Generator<'a, u32, u32, u32, &'static str> {
        Generator::new(async |co| co.yield_from(echo()).await + 10)
    }
    let mut started = two_levels();
    assert_eq!(started.start(), Ok(Yielded(0)));
    let mut outer: Generator<'_, u32, u32, u32, &str> =
        Generator::new(async move |co| co.resume_from(started, 4).await + 100);
    assert_eq!(outer.start(), Ok(Yielded(4)));
    assert_eq!(outer.send(6), Ok(Yielded(6)));
    assert_eq!(outer.send(0), Ok(Returned(113)));

    let mut started = two_levels();
    started.start().unwrap();
    let mut wrong: Generator<'_, u32, u32, u32, &str> =
        Generator::new(async move |co| co.yield_from(started).await);
    assert!(panic_of(|| wrong.start()).contains("use resume_from()"));
    assert!(wrong.is_finished());
    let mut wrong: Generator<'_, u32, u32, u32, &str> =
        Generator::new(async move |co| co.resume_from(echo(), 1).await);
    assert!(panic_of(|| wrong.start()).contains("use yield_from()"));
}

#[test]
fn a_thousand_levels_pass_values_both_ways() {
    fn nest<'a>(depth: u32) -> Generator<'a, u32, u32, u32, &'static str> {
        if depth == 0 {
            echo()
        } else {
            Generator::new(async move |co: &Co<'a, u32, u32, &'static str>| {
                co.yield_from(nest(depth - 1)).await + 1
            })
        }
    }
    let depth = if cfg!(miri) { 50 } else { 1000 };
    let mut nested = nest(depth);
    nested.start().unwrap();
    for n in 1..100 {
        assert_eq!(nested.send(n), Ok(Yielded(n)));
    }
    assert_eq!(nested.send(0), Ok(Returned(100 + depth)));
}

// --- what Rust adds ----------------------------------------------------------------------------------------------------

#[test]
fn a_panic_of_a_body_ends_the_chain_and_drops_what_it_held_once() {
    let trace = Trace::default();
    let (outer_held, inner_held) = (trace.at_drop("outer"), trace.at_drop("inner"));
    let inner: Generator<'_, u32> = Generator::new(async move |co| {
        let _held = inner_held;
        co.yield_(1).await;
        panic!("as tested");
    });
    let mut outer: Generator<'_, u32> = Generator::new(async move |co| {
        let _held = outer_held;
        co.yield_from(inner).await;
    });
    assert_eq!(outer.resume(), Ok(Yielded(1)));
    assert_eq!(panic_of(|| outer.resume()), "as tested");
    assert_eq!(trace.take(), ["inner", "outer"]);
    assert_eq!(outer.resume(), Err(ResumeError::Finished));
}

#[test]
fn destructors_that_panic_end_the_chain_and_one_panic_comes_out() {
    let trace = Trace::default();
    let bomb = |name: &'static str| {
        let trace = trace.clone();
        trace::at_drop(move || {
            trace.say(name);
            panic!("{name}");
        })
    };
    let make = || {
        let (outer_held, inner_held) = (bomb("outer"), bomb("inner"));
        let inner: Generator<'_, u32, (), (), u8> = Generator::new(async move |co| {
            let _held = inner_held;
            co.yield_(1).await;
        });
        let mut outer: Generator<'_, u32, (), (), u8> = Generator::new(async move |co| {
            let _held = outer_held;
            co.yield_from(inner).await;
        });
        outer.start().unwrap();
        outer
    };
    let mut thrown = make();
    assert_eq!(panic_of(|| thrown.throw(1)), "inner");
    assert_eq!((trace.take(), thrown.is_finished()), (vec!["inner".to_string(), "outer".into()], true));
    drop(thrown);
    let dropped = make();
    assert_eq!(panic_of(|| drop(dropped)), "inner");
    assert_eq!(trace.take(), ["inner", "outer"]);
    let mut resumed = make();
    assert_eq!(panic_of(|| resumed.resume()), "inner");
    assert_eq!((trace.take(), resumed.is_finished()), (vec!["inner".to_string(), "outer".into()], true));
}

#[test]
fn awaiting_what_is_no_yield_is_reported_and_what_is_ready_is_not() {
    let mut ready: Generator<'_, u32, (), u32> = Generator::new(async |co| {
        co.yield_(std::future::ready(1).await).await;
        async { 2 }.await
    });
    assert_eq!(ready.resume(), Ok(Yielded(1)));
    assert_eq!(ready.resume(), Ok(Returned(2)));
    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    let mut hangs: Generator<'_, u32> = Generator::new(async move |_| {
        let _held = held;
        std::future::pending().await
    });
    assert!(panic_of(|| hangs.resume()).contains("make it a squall::generator::AsyncGenerator"));
    assert_eq!((trace.take(), hangs.is_finished()), (vec!["dropped".to_string()], true));
}

#[test]
fn a_body_that_races_its_yields_is_told_so() {
    let mut joins: Generator<'_, u32> =
        Generator::new(async |co| _ = futures::future::join(co.yield_(1), co.yield_(2)).await);
    assert!(panic_of(|| joins.resume()).contains("one yield at a time"));
    let mut joins: Generator<'_, u32> = Generator::new(async |co| {
        let count = || Generator::new(async |co: &Co<'_, u32>| co.yield_(1).await);
        _ = futures::future::join(co.yield_from(count()), co.yield_from(count())).await;
    });
    assert!(panic_of(|| joins.resume()).contains("one yield at a time"));
}

#[test]
fn a_yield_that_is_not_polled_when_its_body_is_does_not_hang_unnoticed() {
    use futures::stream::{FuturesUnordered, StreamExt};
    let mut polls_who_was_woken: Generator<'_, u32> = Generator::new(async |co| {
        _ = FuturesUnordered::from_iter([co.yield_(1)]).next().await;
    });
    assert_eq!(polls_who_was_woken.resume(), Ok(Yielded(1)));
    assert!(panic_of(|| polls_who_was_woken.resume()).contains("neither a yield nor ready"));
}

#[test]
fn a_yield_and_a_delegate_that_are_given_up_leave_nothing_behind() {
    let trace = Trace::default();
    let held = trace.at_drop("delegate dropped");
    let mut gives_up: Generator<'_, u32> = Generator::new(async move |co| {
        let delegate = Generator::new(async move |co: &Co<'_, u32>| {
            let _held = held;
            co.yield_(9).await;
        });
        futures::future::select(std::pin::pin!(co.yield_from(delegate)), std::future::ready(())).await;
        futures::future::select(std::pin::pin!(co.yield_(8)), std::future::ready(())).await;
        co.yield_(1).await;
    });
    assert_eq!(gives_up.resume(), Ok(Yielded(1)));
    assert_eq!(gives_up.resume(), Ok(Returned(())));
    assert_eq!(trace.take(), ["delegate dropped"]);
}

#[test]
fn a_forgotten_delegation_goes_on_and_never_dangles() {
    let text = String::from("outlives them all");
    let borrowed = &text;
    let mut outer: Generator<'_, usize> = Generator::new(async move |co| {
        let delegate = Generator::new(async move |co: &Co<'_, usize>| {
            co.yield_(borrowed.len()).await;
            co.yield_(borrowed.len() + 1).await;
        });
        let mut delegation = Box::pin(co.yield_from(delegate));
        std::future::poll_fn(|cx| {
            assert!(delegation.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        std::mem::forget(delegation);
        std::future::pending().await
    });
    assert_eq!(outer.resume(), Ok(Yielded(17)));
    assert_eq!(outer.resume(), Ok(Yielded(18)));
    assert!(catch_unwind(AssertUnwindSafe(|| outer.resume())).is_err(), "its outer waits for nothing");
}

#[test]
fn generators_borrow_nest_and_are_kept_in_collections() {
    let log = RefCell::new(Vec::new());
    {
        let log = &log;
        let mut round: Vec<Generator<'_, ()>> = [3, 1, 2]
            .into_iter()
            .map(|n| {
                Generator::new(async move |co| {
                    for step in 0..n {
                        log.borrow_mut().push((n, step));
                        co.yield_(()).await;
                    }
                })
            })
            .collect();
        while !round.is_empty() {
            round.retain_mut(|generator| generator.next().is_some());
        }
    }
    assert_eq!(log.into_inner(), [(3, 0), (1, 0), (2, 0), (3, 1), (2, 1), (3, 2)]);
}

#[test]
fn a_generator_resumes_another_from_within() {
    let mut outer: Generator<'_, u32> = Generator::new(async |co| {
        let mut inner: Generator<'_, u32> = Generator::new(async |co| {
            for n in 0..3 {
                co.yield_(n).await;
            }
        });
        for n in inner.by_ref() {
            co.yield_(n * 10).await;
        }
    });
    assert_eq!(outer.by_ref().collect::<Vec<_>>(), [0, 10, 20]);
}

#[test]
fn it_has_one_allocation_and_is_small() {
    assert_eq!(size_of::<Generator<'_, u64, u64, u64, String>>(), 2 * size_of::<usize>());
    let shared: Rc<()> = Rc::default();
    let kept = shared.clone();
    let generator: Generator<'_, u32> = Generator::new(async move |co| {
        let _kept = kept;
        co.yield_(1).await;
    });
    drop(generator);
    assert_eq!(Rc::strong_count(&shared), 1);
}
