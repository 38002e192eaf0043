//! Attacks on generators from safe programs: what is polled by hand, given up, forgotten, or runs in destructors.

mod trace;

use squall::generator::{Co, Generator, Raised, ResumeError, Step};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use trace::{Trace, at_drop, panic_of};

use Step::{Returned, Yielded};

/// One poll with a waker of its own.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls once, then pauses, then is ready without having polled again.
async fn pause_at<F: Future + Unpin>(mut future: F) {
    let mut paused = false;
    poll_fn(|_| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        assert!(poll(&mut future).is_pending());
        Poll::Pending
    })
    .await
}

fn two<'a>(trace: &Trace) -> Generator<'a, u32, u32, u32, &'static str> {
    let held = trace.at_drop("delegate dropped");
    Generator::new(async move |co| {
        let _held = held;
        co.yield_(50).await + co.yield_(51).await
    })
}

fn delegate_and_forget<'a>(
    co: &Co<'a, u32, u32, &'static str>,
    delegate: Generator<'a, u32, u32, u32, &'static str>,
) {
    let mut delegation = co.try_yield_from(delegate);
    assert!(poll(&mut delegation).is_pending());
    forget(delegation);
}

// --- answers that nobody took ----------------------------------------------------------------------------------------

#[test]
fn a_delegation_that_was_told_a_stale_error_leaves_no_dangling_frame() {
    let trace = Trace::default();
    let delegate = two(&trace);
    let mut outer: Generator<'_, u32, u32, (), &str> = Generator::new(async move |co| {
        pause_at(co.try_yield(1)).await;
        let mut delegation = co.try_yield_from(delegate);
        _ = poll(&mut delegation);
        _ = poll(&mut delegation);
        drop(delegation);
        co.yield_(2).await;
    });
    assert_eq!(outer.start(), Ok(Yielded(1)));
    assert_eq!(outer.throw("stale"), Ok(Yielded(2)));
    assert_eq!(trace.take(), ["delegate dropped"]);
    assert_eq!(outer.send(1), Ok(Returned(())));
}

#[test]
fn a_value_for_a_yield_that_was_given_up_is_not_the_next_ones() {
    let mut outer: Generator<'_, u32, u32, u32> = Generator::new(async move |co| {
        pause_at(co.yield_(1)).await;
        let mut next = co.yield_(2);
        assert!(poll(&mut next).is_pending());
        next.await
    });
    assert_eq!(outer.start(), Ok(Yielded(1)));
    assert_eq!(outer.send(10), Ok(Yielded(2)));
    assert_eq!(outer.send(20), Ok(Returned(20)));
}

#[test]
fn a_value_for_a_yield_that_was_given_up_is_dropped_with_it() {
    let sent = Rc::new(());
    let seen = sent.clone();
    let mut outer: Generator<'_, u32, Option<Rc<()>>, ()> = Generator::new(async move |co| {
        pause_at(co.yield_(1)).await;
        assert_eq!(Rc::strong_count(&seen), 2, "nobody can take it any more");
    });
    outer.start().unwrap();
    assert_eq!(outer.send(Some(sent.clone())), Ok(Returned(())));
}

#[test]
fn a_raise_that_was_given_up_is_not_raised() {
    let mut outer: Generator<'_, u32, (), (), &str> = Generator::new(async move |co| {
        assert!(poll(&mut co.raise("given up")).is_pending());
        co.yield_(1).await;
        pending().await
    });
    assert_eq!(outer.start(), Ok(Yielded(1)));
    assert!(panic_of(|| outer.resume()).contains("neither a yield nor ready"));
}

// --- frames that return below a delegate that was forgotten ----------------------------------------------------------

#[test]
fn a_delegate_that_forgets_its_delegation_and_returns_has_returned() {
    let trace = Trace::default();
    let forgotten = two(&trace);
    let middle: Generator<'_, u32, u32, u32, &str> = Generator::new(async move |co| {
        delegate_and_forget(co, forgotten);
        7
    });
    let mut outer: Generator<'_, u32, u32, u32, &str> =
        Generator::new(async move |co| co.yield_from(middle).await + 100);
    assert_eq!(outer.start(), Ok(Returned(107)));
}

/// Delegates in a destructor of a body, and forgets it.
#[test]
fn a_destructor_that_delegates_does_not_disturb_the_stack() {
    let trace = Trace::default();
    let make = || {
        let (forgotten, root_forgotten) = (two(&trace), two(&trace));
        let middle: Generator<'_, u32, u32, u32, &str> = Generator::new(async move |co| {
            let _late = at_drop(move || {
                delegate_and_forget(co, forgotten);
            });
            co.yield_(1).await
        });
        let mut outer: Generator<'_, u32, u32, u32, &str> = Generator::new(async move |co| {
            let _late = at_drop(move || {
                delegate_and_forget(co, root_forgotten);
            });
            match co.try_yield_from(middle).await {
                Ok(value) => value,
                Err(Raised::Thrown(_)) => co.yield_(2).await,
                Err(Raised::Closed) => 3,
            }
        });
        assert_eq!(outer.start(), Ok(Yielded(1)));
        outer
    };
    drop(make());
    let mut thrown = make();
    assert_eq!(thrown.throw("x"), Ok(Yielded(2)));
    assert_eq!(thrown.throw("y"), Err(ResumeError::Thrown("y")));
    drop(thrown);
    assert_eq!(make().close(), Ok(Some(3)));
    let mut resumed = make();
    assert_eq!(resumed.send(9), Ok(Returned(9)));
}

// --- panics ----------------------------------------------------------------------------------------------------------

/// A panic's payload whose own destructor panics.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("of a payload");
    }
}

/// Three levels, each with a destructor that panics with that.
fn bombs<'a>(depth: u32) -> Generator<'a, u32> {
    let held = at_drop(|| panic_any(Payload));
    Generator::new(async move |co: &Co<'a, u32>| {
        let _held = held;
        if depth == 0 { co.yield_(1).await } else { co.yield_from(bombs(depth - 1)).await }
    })
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn payloads_of_panics_that_panic_do_not_abort() {
    let output = trace::alone("payloads_of_panics_that_panic_do_not_abort", &[], || {
        let mut dropped = bombs(2);
        dropped.start().unwrap();
        forget(catch_unwind(AssertUnwindSafe(|| drop(dropped))));
        let mut resumed = bombs(2);
        resumed.start().unwrap();
        forget(catch_unwind(AssertUnwindSafe(|| resumed.resume())));
        assert!(resumed.is_finished());
    });
    if let Some(output) = output {
        trace::check(&output);
    }
}

#[test]
fn a_second_panic_is_freed() {
    let make = || {
        let (a, b) = (at_drop(|| panic!("{}", "inner")), at_drop(|| panic!("{}", "outer")));
        let inner: Generator<'_, u32, (), (), u8> = Generator::new(async move |co| {
            let _held = a;
            co.yield_(1).await;
        });
        let mut outer: Generator<'_, u32, (), (), u8> = Generator::new(async move |co| {
            let _held = b;
            co.yield_from(inner).await;
        });
        outer.start().unwrap();
        outer
    };
    let mut thrown = make();
    assert_eq!(panic_of(|| thrown.throw(1)), "inner");
    assert_eq!(panic_of(|| drop(make())), "inner");
}

#[test]
fn a_yielded_value_whose_destructor_panics_leaves_a_body_that_can_yield() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "of a value");
        }
    }
    let mut outer: Generator<'_, Bomb> = Generator::new(async move |co| {
        let mut given_up = co.yield_(Bomb(true));
        assert!(poll(&mut given_up).is_pending());
        assert_eq!(panic_of(|| drop(given_up)), "of a value");
        co.yield_(Bomb(false)).await;
    });
    assert!(matches!(outer.resume(), Ok(Yielded(Bomb(false)))));
    assert!(matches!(outer.resume(), Ok(Returned(()))));
}

// --- generators in generators' bodies and destructors ----------------------------------------------------------------

#[test]
fn an_inner_generator_delegates_in_its_outers_name_and_both_go_on() {
    let trace = Trace::default();
    let delegate = two(&trace);
    let mut outer: Generator<'_, u32, u32, u32, &str> = Generator::new(async move |co| {
        let mut inner: Generator<'_, u32, u32, u32, &str> = Generator::new(async |own| {
            let mut of_outer = co.try_yield_from(delegate);
            assert!(poll(&mut of_outer).is_pending());
            own.yield_(7).await;
            match poll(&mut of_outer) {
                Poll::Ready(ended) => ended.unwrap(),
                Poll::Pending => unreachable!("it has ended"),
            }
        });
        assert_eq!(inner.start(), Ok(Yielded(7)));
        let mut waited = false;
        poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        assert_eq!(inner.send(0), Ok(Returned(3)));
        co.yield_(8).await
    });
    assert_eq!(outer.start(), Ok(Yielded(50)));
    assert_eq!(outer.send(1), Ok(Yielded(51)));
    assert_eq!(outer.send(2), Ok(Yielded(8)));
    assert_eq!(outer.send(4), Ok(Returned(4)));
}

#[test]
fn an_inner_generator_that_delegates_in_its_outers_name_is_dropped_with_it() {
    for throws in [false, true] {
        let trace = Trace::default();
        let delegate = two(&trace);
        let mut outer: Generator<'_, u32, u32, (), &str> = Generator::new(async move |co| {
            let mut inner: Generator<'_, u32> = Generator::new(async |own| {
                let mut of_outer = co.yield_from(delegate);
                assert!(poll(&mut of_outer).is_pending());
                own.yield_(7).await;
            });
            inner.start().unwrap();
            pending().await
        });
        assert_eq!(outer.start(), Ok(Yielded(50)));
        if throws {
            assert_eq!(outer.throw("x"), Err(ResumeError::Thrown("x")));
        }
        drop(outer);
        assert_eq!(trace.take(), ["delegate dropped"]);
    }
}

#[test]
fn first_polls_nest_also_in_destructors_of_bodies_and_values_and_after_a_panic() {
    struct Runs(Rc<RefCell<Vec<u32>>>, u32);
    impl Drop for Runs {
        fn drop(&mut self) {
            let mut inner: Generator<'_, (u64, u32), u8> = Generator::new(async |co| {
                Generator::<'_, String>::new(async |co| co.yield_(String::from("x")).await).for_each(drop);
                let mut panics: Generator<'_, u8> = Generator::new(async |_| panic!("nested"));
                assert_eq!(panic_of(|| panics.start()), "nested");
                co.yield_((9, self.1)).await;
            });
            let Ok(Yielded((9, n))) = inner.start() else { panic!("it yields") };
            self.0.borrow_mut().push(n);
        }
    }
    let log = Rc::default();
    let runs = |n| Runs(Rc::clone(&log), n);
    let (held, yielded) = (runs(1), runs(2));
    let mut outer: Generator<'_, Runs, Option<Runs>, Runs, Runs> = Generator::new(async move |co| {
        drop(runs(0));
        let _held = held;
        drop(co.yield_(yielded).await);
        drop(poll(&mut co.yield_(runs(4))));
        _ = co.try_yield(runs(6)).await;
        runs(8)
    });
    drop(outer.start().map_err(|_| "raised"));
    drop(outer.send(Some(runs(3))));
    drop(outer.throw(runs(7)));
    assert!(outer.is_finished());
    assert_eq!(*log.borrow(), [0, 2, 3, 4, 6, 7, 1, 8]);
}

// --- depth -----------------------------------------------------------------------------------------------------------

#[test]
fn a_deep_chain_ends_in_linear_time_in_every_way() {
    fn nest<'a>(depth: u32) -> Generator<'a, u32, (), (), u8> {
        Generator::new(
            async move |co: &Co<'a, u32, (), u8>| {
                if depth == 0 { co.yield_(1).await } else { co.yield_from(nest(depth - 1)).await }
            },
        )
    }
    type Act = fn(Generator<'_, u32, (), (), u8>);
    let acts: [Act; 4] = [|g| drop(g), |mut g| _ = g.throw(1), |mut g| _ = g.close(), |mut g| _ = g.resume()];
    for act in acts {
        let mut nested = nest(if cfg!(miri) { 30 } else { 100_000 });
        nested.start().unwrap();
        let begun = std::time::Instant::now();
        act(nested);
        assert!(cfg!(miri) || begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}
