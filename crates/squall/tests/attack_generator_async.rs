//! Attacks on asynchronous generators from safe programs: calls that are given up or forgotten at each await, wakers that come back in, yields and delegations that
//! are given up, bodies that reach for their own generator.

mod foreign;
mod polled;
mod trace;

use foreign::Event;
use polled::{later, now, poll, poll_with};
use squall::generator::{AsyncCo, AsyncGenerator, Raised, ResumeError, Step};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::mem::forget;
use std::rc::Rc;
use std::task::Poll;
use trace::{Trace, panic_of};

use Step::{Returned, Yielded};

type Numbers<'a> = AsyncGenerator<'a, u32, u32, u32, &'static str>;
type NumbersCo<'a> = AsyncCo<'a, u32, u32, &'static str>;

/// Awaits and yields in turn, so many levels deep; each level says when it is dropped.
fn nest<'a>(depth: u32, trace: &Trace) -> Numbers<'a> {
    let (held, says) = (trace.at_drop(&format!("level {depth}")), trace.clone());
    AsyncGenerator::new(async move |co: &NumbersCo<'a>| {
        let _held = held;
        later(1).await;
        let mut sum = 0;
        if depth > 0 {
            sum += co.yield_from_async(nest(depth - 1, &says)).await;
        }
        later(1).await;
        for n in 0..2 {
            sum += co.yield_(depth * 10 + n).await;
            later(1).await;
        }
        sum
    })
}

/// Calls until it has ended; gives up the call that is under way at the poll number `at`. Gives what was yielded, and the polls.
fn run(mut generator: Numbers<'_>, at: u32) -> (Vec<u32>, Option<u32>, u32) {
    let (mut yielded, mut polls, mut sent) = (Vec::new(), 0, 0);
    let mut goes_on = false;
    loop {
        let mut call = match (generator.is_started(), goes_on) {
            (false, _) => generator.start(),
            (true, true) => generator.resume(),
            (true, false) => {
                sent += 1;
                generator.send(sent)
            }
        };
        goes_on = false;
        let step = loop {
            polls += 1;
            match poll(&mut call) {
                Poll::Ready(step) => break Some(step),
                Poll::Pending if polls == at => break None,
                Poll::Pending => {}
            }
        };
        match step {
            None => goes_on = true,
            Some(Ok(Yielded(value))) => yielded.push(value),
            Some(Ok(Returned(value))) => return (yielded, Some(value), polls),
            Some(Err(error)) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_call_that_is_given_up_at_any_await_changes_nothing_of_what_comes_out() {
    let trace = Trace::default();
    let (yielded, returned, polls) = run(nest(2, &trace), 0);
    assert_eq!(trace.take(), ["level 0", "level 1", "level 2"]);
    assert_eq!((yielded.as_slice(), returned), (&[0, 1, 10, 11, 20, 21][..], Some(21)));
    for at in 1..=polls {
        let (again, value, _) = run(nest(2, &trace), at);
        assert_eq!((&again, value), (&yielded, returned), "at poll {at}");
        assert_eq!(trace.take(), ["level 0", "level 1", "level 2"]);
    }
}

#[test]
fn one_that_ends_at_any_poll_in_any_way_drops_each_level_once_innermost_first() {
    let polls = run(nest(2, &Trace::default()), 0).2;
    let trace = Trace::default();
    for at in 0..polls {
        for way in ["drop", "throw", "close", "leak"] {
            let mut generator = nest(2, &trace);
            let mut made = 0;
            while made < at {
                let mut call = if generator.is_started() { generator.resume() } else { generator.start() };
                while made < at {
                    made += 1;
                    if poll(&mut call).is_ready() {
                        break;
                    }
                }
            }
            let gone = trace.take().len();
            match way {
                "drop" => drop(generator),
                "throw" => assert_eq!(now(generator.throw("x")), Err(ResumeError::Thrown("x"))),
                "close" => assert_eq!(now(generator.close()), Ok(None)),
                _ => {
                    forget(generator);
                    assert!(trace.take().is_empty());
                    continue;
                }
            }
            let left: Vec<_> = trace.take();
            let all = ["level 0", "level 1", "level 2"];
            assert!(
                left.len() + gone <= 3 && !left.is_empty(),
                "{way} after {at} polls: {left:?} after {gone}"
            );
            assert_eq!(left, all[3 - left.len()..], "{way} after {at} polls");
        }
    }
}

// --- wakers ------------------------------------------------------------------------------------------------------------

#[test]
fn a_waker_that_comes_back_in_when_it_is_cloned_woken_or_dropped_finds_everything_whole() {
    let other: Rc<RefCell<Numbers<'static>>> = Rc::new(RefCell::new(nest(1, &Trace::default())));
    let events = Rc::new(Cell::new(0));
    let waker = {
        let (other, events) = (other.clone(), events.clone());
        foreign::waker(move |event: Event| {
            events.set(events.get() + 1);
            // It resumes another generator, and makes, begins and drops a third, whatever is done to it.
            if let Ok(mut other) = other.try_borrow_mut() {
                if !other.is_finished() {
                    _ = poll(&mut other.resume());
                }
            }
            let mut third = nest(1, &Trace::default());
            assert!(poll(&mut third.start()).is_pending(), "{event:?}");
        })
    };
    let trace = Trace::default();
    let mut generator = nest(1, &trace);
    let mut yielded = Vec::new();
    for _ in 0..50 {
        let mut call = if generator.is_started() { generator.resume() } else { generator.start() };
        match poll_with(&mut call, &waker) {
            Poll::Ready(Ok(Yielded(value))) => yielded.push(value),
            Poll::Ready(Ok(Returned(value))) => {
                assert_eq!(value, 0);
                break;
            }
            Poll::Ready(Err(error)) => panic!("{error:?}"),
            Poll::Pending => waker.wake_by_ref(),
        }
    }
    assert_eq!(yielded, [0, 1, 10, 11]);
    assert_eq!(trace.take(), ["level 0", "level 1"]);
    assert!(events.get() > 20 && other.borrow().is_finished());
}

#[test]
fn a_waker_whose_drop_panics_inside_a_body_that_ends_is_a_panic_of_that_body() {
    let trace = Trace::default();
    let armed = Rc::new(Cell::new(false));
    let waker = {
        let armed = armed.clone();
        foreign::waker(move |event| {
            assert!(event != Event::Dropped || !armed.replace(false), "of a waker");
        })
    };
    let mut generator = nest(1, &trace);
    assert!(poll_with(&mut generator.start(), &waker).is_pending());
    armed.set(true);
    assert_eq!(panic_of(|| _ = now(generator.throw("x"))), "of a waker");
    assert!(generator.is_finished());
    assert_eq!(trace.take(), ["level 1"]);
}

// --- itself ------------------------------------------------------------------------------------------------------------

#[test]
fn a_body_that_reaches_for_its_own_generator_is_refused_and_ended() {
    let own: Rc<RefCell<Option<AsyncGenerator<'static, u32>>>> = Rc::default();
    let reaches = own.clone();
    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    *own.borrow_mut() = Some(AsyncGenerator::new(async move |co| {
        let _held = held;
        co.yield_(1).await;
        // Python: "asynchronous generator is already running". Here the cell that it is shared by says so.
        drop(reaches.borrow_mut().take());
    }));
    assert_eq!(now(own.borrow_mut().as_mut().unwrap().resume()), Ok(Yielded(1)));
    let text = panic_of(|| now(own.borrow_mut().as_mut().unwrap().resume()).is_ok());
    assert!(text.contains("already"), "{text}");
    assert_eq!(trace.take(), ["dropped"]);
    assert!(own.borrow().as_ref().unwrap().is_finished());
    // It does find it where nobody borrows it, and then it is not in there.
    let own: Rc<Cell<Option<AsyncGenerator<'static, u32>>>> = Rc::default();
    let reaches = own.clone();
    own.set(Some(AsyncGenerator::new(async move |co| {
        assert!(reaches.take().is_none());
        co.yield_(1).await;
    })));
    let mut taken = own.take().unwrap();
    assert_eq!(now(taken.resume()), Ok(Yielded(1)));
    own.set(Some(taken));
    // The generator is in a cell that its own body holds: a cycle, which is taken apart by hand.
    drop(own.take());
}

// --- yields and delegations that are given up --------------------------------------------------------------------------

#[test]
fn an_inner_one_yields_and_delegates_in_its_outers_name() {
    let trace = Trace::default();
    let delegate = nest(0, &trace);
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        let mut inner: AsyncGenerator<'_, (), (), u32> = AsyncGenerator::new(async |_| {
            let sent = co.yield_(500).await;
            sent + co.yield_from_async(delegate).await
        });
        inner.start().await.unwrap().returned().unwrap()
    });
    assert_eq!(now(outer.start()), Ok(Yielded(500)));
    let mut seen = Vec::new();
    let mut sent = 100;
    let value = loop {
        let mut call = outer.send(sent);
        sent = 1;
        let step = loop {
            if let Poll::Ready(step) = poll(&mut call) {
                break step;
            }
        };
        match step.unwrap() {
            Yielded(value) => seen.push(value),
            Returned(value) => break value,
        }
    };
    assert_eq!((seen, value), (vec![0, 1], 102));
    assert_eq!(trace.take(), ["level 0"]);
}

#[test]
fn an_inner_one_that_yields_in_its_outers_name_is_dropped_with_its_yield_unanswered() {
    let trace = Trace::default();
    for answers in [false, true] {
        let held = trace.at_drop("inner");
        let mut outer: AsyncGenerator<'_, u32, Option<Rc<()>>, ()> =
            AsyncGenerator::new(async |co: &AsyncCo<'_, u32, Option<Rc<()>>>| {
                {
                    let mut inner: AsyncGenerator<'_, ()> = AsyncGenerator::new(async move |_| {
                        let _held = held;
                        co.yield_(1).await;
                    });
                    let mut call = inner.start();
                    assert!(poll(&mut call).is_pending());
                    // What it asked for in the outer's name goes out at this pause, and is answered; nobody takes the answer.
                    later(1).await;
                }
                co.yield_(2).await;
            });
        assert_eq!(now(outer.start()), Ok(Yielded(1)));
        let sent = Rc::new(());
        if answers {
            assert_eq!(now(outer.send(Some(sent.clone()))), Ok(Yielded(2)));
            assert_eq!(
                Rc::strong_count(&sent),
                1,
                "what was sent to the yield that was given up went with it"
            );
            assert_eq!(now(outer.send(None)), Ok(Returned(())));
        }
        drop(outer);
        assert_eq!(trace.take(), ["inner"]);
    }
}

#[test]
fn a_value_whose_yield_is_given_up_while_the_body_awaits_is_not_the_next_ones() {
    let mut outer: AsyncGenerator<'_, u32, u32, u32> = AsyncGenerator::new(async |co| {
        {
            let mut given_up = co.yield_(1);
            assert!(poll(&mut given_up).is_pending());
            later(2).await;
        }
        later(1).await;
        co.yield_(2).await
    });
    assert_eq!(now(outer.start()), Ok(Yielded(1)));
    assert!(poll(&mut outer.send(10)).is_pending());
    assert_eq!(now(outer.send(11)), Err(ResumeError::Running(11)));
    assert!(poll(&mut outer.resume()).is_pending());
    assert_eq!(now(outer.resume()), Ok(Yielded(2)));
    assert_eq!(now(outer.send(20)), Ok(Returned(20)));
}

#[test]
fn an_error_for_a_catching_yield_that_was_given_up_while_awaiting_is_not_the_next_ones() {
    let trace = Trace::default();
    let delegate = nest(0, &trace);
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        {
            let mut given_up = co.try_yield(1);
            assert!(poll(&mut given_up).is_pending());
            later(2).await;
        }
        co.yield_from_async(delegate).await
    });
    assert_eq!(now(outer.start()), Ok(Yielded(1)));
    assert!(poll(&mut outer.throw("stale")).is_pending());
    assert!(poll(&mut outer.resume()).is_pending());
    assert!(poll(&mut outer.resume()).is_pending());
    assert_eq!(now(outer.resume()), Ok(Yielded(0)), "the delegate is not told what was for another");
    drop(outer);
    assert_eq!(trace.take(), ["level 0"]);
}

#[test]
fn an_answer_that_waits_for_its_yield_is_replaced_by_what_is_thrown() {
    let sent = Rc::new(());
    let mut outer: AsyncGenerator<'_, u32, Option<Rc<()>>, u32, u32> =
        AsyncGenerator::new(async |co: &AsyncCo<'_, u32, Option<Rc<()>>, u32>| {
            let mut yields = co.try_yield(1);
            assert!(poll(&mut yields).is_pending());
            later(3).await;
            match yields.await {
                Err(Raised::Thrown(thrown)) => thrown,
                other => panic!("{other:?}"),
            }
        });
    assert_eq!(now(outer.start()), Ok(Yielded(1)));
    assert!(poll(&mut outer.send(Some(sent.clone()))).is_pending());
    assert_eq!(Rc::strong_count(&sent), 2, "it waits for the body to take it");
    assert!(poll(&mut outer.throw(9)).is_pending(), "the body waits at a yield that catches");
    assert_eq!(Rc::strong_count(&sent), 1);
    assert_eq!(now(outer.resume()), Ok(Returned(9)));
}

#[test]
fn a_delegation_that_is_forgotten_at_an_await_goes_on_and_never_dangles() {
    let trace = Trace::default();
    for ends in ["drop", "throw", "goes on"] {
        let delegate = nest(1, &trace);
        let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
            let mut delegation = Box::pin(co.yield_from_async(delegate));
            assert!(poll(&mut delegation).is_pending());
            forget(delegation);
            pending().await
        });
        assert!(poll(&mut outer.start()).is_pending());
        match ends {
            "throw" => assert_eq!(now(outer.throw("x")), Err(ResumeError::Thrown("x"))),
            "goes on" => {
                let mut seen = Vec::new();
                for _ in 0..30 {
                    if let Poll::Ready(Ok(Yielded(value))) = poll(&mut outer.resume()) {
                        seen.push(value);
                    }
                }
                assert_eq!(seen, [0, 1, 10, 11]);
                assert_eq!(trace.take(), ["level 0", "level 1"]);
                continue;
            }
            _ => drop(outer),
        }
        assert_eq!(trace.take(), ["level 1"]);
    }
}

#[test]
fn a_delegation_that_is_given_up_at_an_await_is_dropped_and_its_outer_goes_on() {
    let trace = Trace::default();
    let delegate = nest(1, &trace);
    let says = trace.clone();
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        {
            let mut delegation = co.yield_from_async(delegate);
            assert!(poll(&mut delegation).is_pending());
            // Nothing was polled of it so far.
        }
        says.say("given up");
        later(1).await;
        co.yield_(1).await
    });
    assert!(poll(&mut outer.start()).is_pending());
    assert_eq!(trace.take(), ["level 1", "given up"]);
    assert_eq!(now(outer.resume()), Ok(Yielded(1)));
    assert_eq!(now(outer.send(9)), Ok(Returned(9)));
}

#[test]
fn one_that_moves_between_its_polls_leaves_its_frame_where_it_is() {
    let trace = Trace::default();
    let mut generators: Vec<Numbers<'_>> = Vec::new();
    for _ in 0..5 {
        generators.push(nest(1, &trace));
        for generator in &mut generators {
            let mut call = if generator.is_started() { generator.resume() } else { generator.start() };
            _ = poll(&mut call);
        }
        generators.rotate_left(1);
    }
    drop(generators);
    let mut gone = trace.take();
    gone.sort();
    assert_eq!(gone.iter().filter(|name| *name == "level 1").count(), 5);
}
