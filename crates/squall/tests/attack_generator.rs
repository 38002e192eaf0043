//! Attacks on generators with safe programs: delegations that are given up or forgotten with delegates of their own, values whose destructors resume others or panic,
//! and bodies that are polled by hand.

mod trace;

use squall::generator::{Co, Generator, ResumeError, Step};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use trace::{Trace, at_drop, panic_of};

type Numbers<'a> = Generator<'a, u32, u32, u32, &'static str>;
type NumbersCo<'a> = Co<'a, u32, u32, &'static str>;

/// Yields what it is sent, through so many levels, each of which says when it is dropped.
fn nest<'a>(depth: u32, trace: Trace) -> Numbers<'a> {
    Generator::new(async move |co: &NumbersCo<'a>| {
        let _held = trace.at_drop(&format!("level {depth}"));
        if depth > 0 {
            return co.yield_from(nest(depth - 1, trace.clone())).await;
        }
        let mut value = 0;
        loop {
            value = co.yield_(value).await;
            if value == 0 {
                return 0;
            }
        }
    })
}

/// Delegates, and forgets that.
fn forgets(inner: Numbers<'_>) -> Numbers<'_> {
    Generator::new(async move |co| {
        let mut delegation = Box::pin(co.yield_from(inner));
        assert!(poll_once(&mut delegation).is_pending());
        std::mem::forget(delegation);
        std::future::pending().await
    })
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_started_chain_that_is_given_up_as_a_delegate_is_dropped_innermost_first() {
    let trace = Trace::default();
    let mut started = nest(3, trace.clone());
    started.start().unwrap();
    started.send(5).unwrap();
    let says = trace.clone();
    let mut outer: Numbers<'_> = Generator::new(async move |co| {
        {
            let mut delegation = co.resume_from(started, 6);
            assert!(poll_once(&mut delegation).is_pending());
            says.say("given up");
        }
        co.yield_(1).await
    });
    assert_eq!(outer.start(), Ok(Step::Yielded(1)));
    assert_eq!(trace.take(), ["given up", "level 0", "level 1", "level 2", "level 3"]);
    assert_eq!(outer.send(9), Ok(Step::Returned(9)));
}

#[test]
fn a_delegation_that_is_begun_and_kept_goes_on_when_it_is_awaited_later() {
    let trace = Trace::default();
    let inner = nest(2, trace.clone());
    let mut outer: Numbers<'_> = Generator::new(async move |co| {
        let mut delegation = pin!(co.yield_from(inner));
        assert!(delegation.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // The delegate runs now, before this goes on.
        delegation.await + 100
    });
    assert_eq!(outer.start(), Ok(Step::Yielded(0)));
    assert_eq!(outer.send(3), Ok(Step::Yielded(3)));
    assert_eq!(outer.send(0), Ok(Step::Returned(100)));
    assert_eq!(trace.take(), ["level 0", "level 1", "level 2"]);
}

#[test]
fn a_throw_ends_a_chain_with_a_forgotten_link() {
    let trace = Trace::default();
    let mut outer = forgets(nest(1, trace.clone()));
    assert_eq!(outer.start(), Ok(Step::Yielded(0)));
    assert_eq!(outer.send(4), Ok(Step::Yielded(4)));
    assert_eq!(outer.throw("end"), Err(ResumeError::Thrown("end")));
    assert_eq!(trace.take(), ["level 0", "level 1"]);
    assert!(outer.is_finished());
}

#[test]
fn dropping_a_generator_with_a_forgotten_link_ends_what_was_forgotten() {
    let trace = Trace::default();
    let mut outer = forgets(nest(1, trace.clone()));
    outer.start().unwrap();
    drop(outer);
    assert_eq!(trace.take(), ["level 0", "level 1"]);
}

/// A value whose destructor does something.
struct Acts(Rc<dyn Fn()>);

impl Drop for Acts {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn destructors_of_values_resume_other_generators() {
    let other: Rc<RefCell<Numbers<'static>>> = Rc::new(RefCell::new(nest(2, Trace::default())));
    other.borrow_mut().start().unwrap();
    let resumed = Rc::new(Cell::new(0));
    let act: Rc<dyn Fn()> = {
        let (other, resumed) = (other.clone(), resumed.clone());
        Rc::new(move || {
            resumed.set(resumed.get() + 1);
            assert_eq!(other.borrow_mut().send(resumed.get()), Ok(Step::Yielded(resumed.get())));
        })
    };
    let make = act.clone();
    let mut generator: Generator<'_, Acts, Acts, Acts, Acts> = Generator::new(async move |co| {
        drop(co.yield_(Acts(make.clone())).await);
        _ = co.try_yield(Acts(make.clone())).await;
        _ = co.try_yield(Acts(make.clone())).await;
        Acts(make)
    });
    // Seven values come out, or are dropped by the body: one that was sent too early, three yielded, one sent, one thrown, one returned.
    drop(generator.send(Acts(act.clone())));
    drop(generator.start());
    drop(generator.send(Acts(act.clone())));
    drop(generator.throw(Acts(act.clone())));
    drop(generator.close());
    drop(generator);
    assert_eq!(resumed.get(), 7);
}

#[test]
fn a_yielded_value_that_panics_when_it_is_ignored_leaves_the_generator_waiting() {
    let mut stubborn: Generator<'_, Acts, (), u32> = Generator::new(async |co| {
        _ = co.try_yield(Acts(Rc::new(|| ()))).await;
        _ = co.try_yield(Acts(Rc::new(|| panic!("as tested")))).await;
        7
    });
    drop(stubborn.start());
    assert_eq!(panic_of(|| stubborn.close().is_ok()), "as tested");
    assert!(matches!(stubborn.resume(), Ok(Step::Returned(7))));
}

#[test]
fn a_returned_value_that_panics_in_its_destructor_is_the_callers() {
    let mut returns: Generator<'_, u32, (), Acts> =
        Generator::new(async |_| Acts(Rc::new(|| panic!("as tested"))));
    let returned = returns.resume();
    assert_eq!(panic_of(|| drop(returned)), "as tested");
    assert!(returns.is_finished());
    drop(returns);
}

#[test]
fn generators_are_started_and_dropped_inside_each_others_first_steps_and_destructors() {
    fn starts(depth: u32, trace: &Trace) -> u32 {
        let says = trace.clone();
        let mut generator: Generator<'_, u32, (), u32> = Generator::new(async |co| {
            let below = if depth > 0 { starts(depth - 1, &says) } else { 0 };
            let _held = at_drop(|| _ = starts_once(&says));
            co.yield_(depth).await;
            below + 1
        });
        assert_eq!(generator.resume(), Ok(Step::Yielded(depth)));
        match generator.resume() {
            Ok(Step::Returned(levels)) => levels,
            other => panic!("{other:?}"),
        }
    }
    fn starts_once(trace: &Trace) -> bool {
        let mut generator: Generator<'_, u32> = Generator::new(async |co| co.yield_(1).await);
        trace.say("started in a destructor");
        generator.resume().is_ok()
    }
    let trace = Trace::default();
    assert_eq!(starts(4, &trace), 5);
    assert_eq!(trace.take().len(), 5);
}

#[test]
fn a_panic_in_a_nested_body_unwinds_through_the_outer_ones_and_frees_them_once() {
    let trace = Trace::default();
    let (inner_trace, outer_trace) = (trace.clone(), trace.clone());
    let mut outer: Generator<'_, u32> = Generator::new(async move |co| {
        let _held = outer_trace.at_drop("outer");
        co.yield_(1).await;
        let mut inner: Generator<'_, u32> = Generator::new(async move |co| {
            let _held = inner_trace.at_drop("inner");
            co.yield_(2).await;
            panic!("as tested");
        });
        co.yield_(inner.next().unwrap()).await;
        inner.next();
    });
    assert_eq!(outer.resume(), Ok(Step::Yielded(1)));
    assert_eq!(outer.resume(), Ok(Step::Yielded(2)));
    assert_eq!(panic_of(|| outer.resume()), "as tested");
    assert_eq!(trace.take(), ["inner", "outer"]);
    assert_eq!(outer.resume(), Err(ResumeError::Finished));
}
