//! Generators that lie where they are pinned: the protocol without an allocation, and attacks on what lies in somebody else's memory.

mod trace;

use squall::generator::{Co, Generator, Raised, ResumeError, Step, unboxed};
use std::cell::{Cell, RefCell};
use std::mem::forget;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use trace::{Trace, at_drop, panic_of};

use Step::{Returned, Yielded};

type Numbers<'a> = Generator<'a, u32, u32, u32, &'static str>;
type NumbersCo<'a> = Co<'a, u32, u32, &'static str>;

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Yields what is sent to it, from zero on, until zero is sent; returns how often it has.
async fn echo(co: &NumbersCo<'_>) -> u32 {
    let (mut value, mut times) = (0, 1);
    loop {
        value = co.yield_(value).await;
        if value == 0 {
            return times;
        }
        times += 1;
    }
}

fn boxed<'a>(trace: &Trace) -> Numbers<'a> {
    let held = trace.at_drop("delegate dropped");
    Generator::new(async move |co| {
        let _held = held;
        echo(co).await
    })
}

// --- the protocol ------------------------------------------------------------------------------------------------------

#[test]
fn the_protocol_is_that_of_the_boxed_form() {
    let mut echoes = pin!(unboxed(async |co: &NumbersCo<'_>| echo(co).await));
    assert!(!echoes.is_started());
    assert_eq!(echoes.as_mut().send(7), Err(ResumeError::NotStarted(7)));
    assert_eq!(echoes.as_mut().start(), Ok(Yielded(0)));
    assert_eq!(echoes.as_mut().start(), Err(ResumeError::Started));
    assert_eq!(echoes.as_mut().send(7), Ok(Yielded(7)));
    assert_eq!(echoes.as_mut().resume(), Ok(Returned(2)));
    assert!(echoes.is_finished());
    assert_eq!(echoes.as_mut().send(1), Err(ResumeError::Finished));
    assert_eq!(echoes.as_mut().throw("late"), Err(ResumeError::Thrown("late")));
    assert_eq!(echoes.as_mut().close(), Ok(None));
    let mut thrown = pin!(unboxed(async |co: &NumbersCo<'_>| echo(co).await));
    thrown.as_mut().start().unwrap();
    assert_eq!(thrown.as_mut().throw("now"), Err(ResumeError::Thrown("now")));
    let mut closed = pin!(unboxed(async |co: &Co<'_, u32>| match co.try_yield(1).await {
        Err(Raised::Closed) => 99,
        _ => 0,
    }));
    closed.as_mut().start().unwrap();
    assert_eq!(closed.as_mut().close(), Ok(Some(99)));
}

#[test]
fn a_pin_of_one_that_takes_nothing_is_an_iterator() {
    let mut numbers = pin!(unboxed(async |co: &Co<'_, u32>| {
        for n in 0..4 {
            co.yield_(n).await;
        }
    }));
    assert_eq!(numbers.next(), Some(0));
    assert_eq!(numbers.as_mut().map(|n| n * 10).take(2).collect::<Vec<_>>(), [10, 20]);
    assert_eq!(numbers.as_mut().collect::<Vec<_>>(), [3]);
    assert_eq!(numbers.next(), None);
}

#[test]
fn it_delegates_to_boxed_ones_and_drops_them_first() {
    let trace = Trace::default();
    {
        let held = trace.at_drop("outer dropped");
        let delegate = boxed(&trace);
        let mut outer = pin!(unboxed(async |co: &NumbersCo<'_>| {
            let _held = held;
            co.yield_from(delegate).await + 100
        }));
        assert_eq!(outer.as_mut().start(), Ok(Yielded(0)));
        assert_eq!(outer.as_mut().send(5), Ok(Yielded(5)));
        assert!(trace.take().is_empty());
    }
    assert_eq!(trace.take(), ["delegate dropped", "outer dropped"]);
}

#[test]
fn it_may_be_moved_until_it_is_pinned() {
    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    let made = unboxed(async move |co: &Co<'_, u32>| {
        let _held = held;
        co.yield_(1).await;
    });
    let moved = [made];
    let [moved] = moved;
    let mut heaped = Box::pin(moved);
    assert_eq!(heaped.as_mut().resume(), Ok(Yielded(1)));
    // A box that is moved leaves what is in it where it is.
    let mut heaped = Some(heaped);
    assert_eq!(heaped.as_mut().unwrap().as_mut().resume(), Ok(Returned(())));
    assert_eq!(trace.take(), ["dropped"]);
    drop(unboxed(async |co: &Co<'_, u32>| co.yield_(1).await));
}

#[test]
fn one_that_was_not_started_drops_what_it_captured_once() {
    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    drop(unboxed(async move |_: &Co<'_, u32>| drop(held)));
    assert_eq!(trace.take(), ["dropped"]);
    let held = trace.at_drop("dropped");
    let mut closed = pin!(unboxed(async move |_: &Co<'_, u32>| drop(held)));
    assert_eq!(closed.as_mut().close(), Ok(None));
    assert_eq!(trace.take(), ["dropped"]);
}

// --- attacks -----------------------------------------------------------------------------------------------------------

#[test]
fn one_that_is_replaced_in_place_ends_first_and_the_new_one_is_fresh() {
    let trace = Trace::default();
    let make = |n: u32| {
        let held = trace.at_drop(&format!("{n} dropped"));
        let delegate = boxed(&trace);
        unboxed(async move |co: &NumbersCo<'_>| {
            let _held = held;
            co.yield_(n).await;
            co.yield_from(delegate).await
        })
    };
    let mut generator = pin!(make(1));
    assert_eq!(generator.as_mut().start(), Ok(Yielded(1)));
    assert_eq!(generator.as_mut().send(0), Ok(Yielded(0)));
    generator.set(make(2));
    assert_eq!(trace.take(), ["delegate dropped", "1 dropped"]);
    assert!(!generator.is_started());
    assert_eq!(generator.as_mut().start(), Ok(Yielded(2)));
}

#[test]
fn one_inside_anothers_body_borrows_its_locals_and_resumes_in_turn() {
    let mut outer = pin!(unboxed(async |co: &Co<'_, u32>| {
        let mut seen = Vec::new();
        let log = RefCell::new(&mut seen);
        {
            let inner = pin!(unboxed(async |own: &Co<'_, u32>| {
                for n in 0..3 {
                    log.borrow_mut().push(n);
                    own.yield_(n).await;
                }
            }));
            for n in inner {
                co.yield_(n * 10).await;
            }
        }
        seen.len()
    }));
    assert_eq!(outer.as_mut().collect::<Vec<_>>(), [0, 10, 20]);
    assert!(outer.is_finished());
}

#[test]
fn one_inside_anothers_body_delegates_in_its_outers_name() {
    let trace = Trace::default();
    for drops in [false, true] {
        let delegate = boxed(&trace);
        {
            let mut outer = pin!(unboxed(async |co: &NumbersCo<'_>| {
                let mut inner = pin!(unboxed(async |own: &Co<'_, u32>| {
                    let mut of_outer = co.yield_from(delegate);
                    assert!(poll(&mut of_outer).is_pending());
                    own.yield_(7).await;
                    match poll(&mut of_outer) {
                        Poll::Ready(value) => value,
                        Poll::Pending => unreachable!("it has ended"),
                    }
                }));
                assert_eq!(inner.as_mut().start(), Ok(Yielded(7)));
                let mut waited = false;
                std::future::poll_fn(|_| match std::mem::replace(&mut waited, true) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                })
                .await;
                inner.as_mut().resume().unwrap().returned().unwrap()
            }));
            assert_eq!(outer.as_mut().start(), Ok(Yielded(0)));
            assert_eq!(outer.as_mut().send(3), Ok(Yielded(3)));
            if !drops {
                assert_eq!(outer.as_mut().send(0), Ok(Returned(2)));
            }
        }
        assert_eq!(trace.take(), ["delegate dropped"]);
    }
}

#[test]
fn a_forgotten_delegation_leaves_a_frame_that_goes_on() {
    let trace = Trace::default();
    let delegate = boxed(&trace);
    {
        let mut outer = pin!(unboxed(async |co: &NumbersCo<'_>| {
            let mut delegation = co.yield_from(delegate);
            assert!(poll(&mut delegation).is_pending());
            forget(delegation);
            std::future::pending::<u32>().await
        }));
        assert_eq!(outer.as_mut().start(), Ok(Yielded(0)));
        assert_eq!(outer.as_mut().send(4), Ok(Yielded(4)));
    }
    assert_eq!(trace.take(), ["delegate dropped"]);
}

#[test]
fn one_that_is_leaked_is_never_freed_under_its_own_feet() {
    let trace = Trace::default();
    let (held, says) = (trace.at_drop("dropped"), trace.clone());
    let mut leaked = Box::pin(unboxed(async move |co: &NumbersCo<'_>| {
        let _held = held;
        co.yield_from(boxed(&says)).await
    }));
    leaked.as_mut().start().unwrap();
    forget(leaked);
    assert!(trace.take().is_empty());
}

#[test]
fn panics_of_bodies_and_destructors_end_it_where_it_lies() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut panics = pin!(unboxed(async move |co: &Co<'_, u32>| {
        let _held = says.at_drop("dropped");
        co.yield_(1).await;
        panic!("as tested");
    }));
    panics.as_mut().start().unwrap();
    assert_eq!(panic_of(|| panics.as_mut().resume()), "as tested");
    assert!(panics.is_finished());
    assert_eq!(trace.take(), ["dropped"]);
    assert_eq!(panics.as_mut().resume(), Err(ResumeError::Finished));

    let says = trace.clone();
    let bomb = move || {
        let says = says.clone();
        at_drop(move || {
            says.say("bomb");
            panic!("of a destructor");
        })
    };
    let make = || {
        let bomb = bomb();
        let mut made = Box::pin(unboxed(async move |co: &Co<'_, u32>| {
            let _bomb = bomb;
            co.yield_(1).await;
        }));
        made.as_mut().start().unwrap();
        made
    };
    assert_eq!(panic_of(|| drop(make())), "of a destructor");
    let mut resumed = make();
    assert_eq!(panic_of(|| resumed.as_mut().resume()), "of a destructor");
    assert!(resumed.is_finished());
    drop(resumed);
    let mut closed = make();
    assert_eq!(panic_of(|| closed.as_mut().close()), "of a destructor");
    assert_eq!(trace.take(), ["bomb"; 3]);
}

/// What a closure that makes a body does itself, before there is a body.
#[test]
fn a_closure_that_panics_before_it_makes_its_body_ends_the_generator() {
    let trace = Trace::default();
    let made = |trace: &Trace| {
        let (held, says) = (trace.at_drop("captured dropped"), trace.clone());
        move |_: &Co<'_, u32>| {
            let _held = held;
            says.say("called");
            if !says.take().is_empty() {
                panic!("before the body");
            }
            async {}
        }
    };
    let mut boxed: Generator<'_, u32> = Generator::new(made(&trace));
    assert_eq!(panic_of(|| boxed.start()), "before the body");
    assert!(boxed.is_finished());
    drop(boxed);
    assert_eq!(trace.take(), ["captured dropped"]);
    let mut pinned = pin!(unboxed(made(&trace)));
    assert_eq!(panic_of(|| pinned.as_mut().start()), "before the body");
    assert_eq!(pinned.as_mut().start(), Err(ResumeError::Finished));
    assert_eq!(trace.take(), ["captured dropped"]);
}

/// Yields and delegates in the closure that makes its body.
fn by_hand<'a>(delegate: Numbers<'a>, panics: bool) -> Numbers<'a> {
    Generator::new(move |co: &NumbersCo<'a>| {
        assert!(poll(&mut co.yield_(1)).is_pending());
        let mut delegation = co.yield_from(delegate);
        assert!(poll(&mut delegation).is_pending());
        forget(delegation);
        assert!(!panics, "as tested");
        async { 7 }
    })
}

#[test]
fn a_closure_that_yields_and_delegates_by_hand_before_its_body_is_no_different() {
    let trace = Trace::default();
    let mut outer = by_hand(boxed(&trace), false);
    assert_eq!(outer.start(), Ok(Returned(7)), "the body had nothing to wait for");
    drop(outer);
    assert_eq!(trace.take(), ["delegate dropped"]);
    let mut panics = by_hand(boxed(&trace), true);
    assert_eq!(panic_of(|| panics.start()), "as tested");
    assert_eq!(trace.take(), ["delegate dropped"]);
    let delegates = by_hand(boxed(&trace), false);
    let mut outer: Numbers<'_> = Generator::new(async move |co| co.yield_from(delegates).await + 10);
    assert_eq!(outer.start(), Ok(Returned(17)));
    assert!(trace.take().is_empty(), "what is forgotten in a delegate that has returned is leaked");
}

#[test]
fn destructors_resume_others_while_one_ends() {
    let other = Rc::new(RefCell::new(Box::pin(unboxed(async |co: &NumbersCo<'_>| echo(co).await))));
    other.borrow_mut().as_mut().start().unwrap();
    let resumed = Rc::new(Cell::new(0));
    let act = {
        let (other, resumed) = (other.clone(), resumed.clone());
        move || {
            resumed.set(resumed.get() + 1);
            let n = resumed.get();
            assert_eq!(other.borrow_mut().as_mut().send(n), Ok(Yielded(n)));
        }
    };
    {
        let held = at_drop(act.clone());
        let delegate_held = at_drop(act);
        let mut ends = pin!(unboxed(async move |co: &Co<'_, u32>| {
            let _held = held;
            let delegate = Generator::new(async move |co: &Co<'_, u32>| {
                let _held = delegate_held;
                co.yield_(1).await;
            });
            co.yield_from(delegate).await;
        }));
        ends.as_mut().resume().unwrap();
    }
    assert_eq!(resumed.get(), 2);
}
