//! Attacks on the turn that outer bodies have while their delegate awaits: how often, with which waker, and at what price.

mod foreign;
mod polled;

use foreign::Event;
use polled::{later, poll, poll_with};
use squall::generator::{AsyncCo, AsyncGenerator, Step};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use Step::Yielded;

type Numbers<'a> = AsyncGenerator<'a, u32>;
type NumbersCo<'a> = AsyncCo<'a, u32>;

/// Yields for ever, and awaits once before each.
fn endless<'a>() -> Numbers<'a> {
    AsyncGenerator::new(async |co: &NumbersCo<'a>| {
        for n in 0.. {
            later(1).await;
            co.yield_(n).await;
        }
    })
}

/// Delegates, and counts how often it is polled.
fn counting<'a>(delegate: Numbers<'a>, polls: &Rc<Cell<u32>>) -> Numbers<'a> {
    let polls = polls.clone();
    AsyncGenerator::new(async move |co: &NumbersCo<'a>| {
        let mut delegation = co.yield_from_async(delegate);
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            Pin::new(&mut delegation).poll(cx)
        })
        .await
    })
}

/// What an awaited item costs does not grow with the depth: a walk over all levels for each would take minutes here.
#[test]
fn an_awaited_item_passes_through_any_depth_in_constant_time() {
    let (levels, items) = if cfg!(miri) { (30, 30) } else { (50_000, 100_000) };
    let mut generator = (0..levels).fold(endless(), |inner, _| {
        AsyncGenerator::new(async move |co: &NumbersCo<'_>| co.yield_from_async(inner).await)
    });
    let begun = Instant::now();
    for n in 0..items {
        assert!(poll(&mut generator.resume()).is_pending());
        assert_eq!(poll(&mut generator.resume()), Poll::Ready(Ok(Yielded(n))));
    }
    assert!(cfg!(miri) || begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// As above, where the innermost but one delegates anew for each item, and something at the root is raced with all of it.
#[test]
fn a_delegation_anew_above_a_deep_chain_does_not_walk_down_it() {
    let (levels, items) = if cfg!(miri) { (30, 30) } else { (50_000, 100_000) };
    let polls = Rc::new(Cell::new(0));
    let innermost: Numbers<'_> = AsyncGenerator::new(async move |co: &NumbersCo<'_>| {
        for _ in 0..items {
            let one: Numbers<'_> = AsyncGenerator::new(async |co: &NumbersCo<'_>| {
                later(1).await;
                co.yield_(1).await;
            });
            co.yield_from_async(one).await;
        }
    });
    let chain = (0..levels).fold(innermost, |inner, _| counting(inner, &polls));
    let mut root: Numbers<'_> = AsyncGenerator::new(async move |co: &NumbersCo<'_>| {
        let never = poll_fn(|cx| {
            _ = cx.waker().clone();
            Poll::<()>::Pending
        });
        _ = futures::future::select(co.yield_from_async(chain), never).await;
    });
    let begun = Instant::now();
    for _ in 0..items {
        assert!(poll(&mut root.resume()).is_pending());
        assert_eq!(poll(&mut root.resume()), Poll::Ready(Ok(Yielded(1))));
    }
    assert_eq!(polls.get(), 2 * levels, "each once to delegate, once to see what else it waits for");
    assert!(cfg!(miri) || begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// A body in the middle of a chain that waits for more than its delegate is asked, though all around it are passed over.
#[test]
fn one_that_waits_for_more_is_asked_among_many_that_do_not() {
    for (below, above) in [(0, 0), (0, 9), (9, 0), (5, 7)] {
        let polls = Rc::new(Cell::new(0));
        let never: Numbers<'_> = AsyncGenerator::new(async |_| pending().await);
        let inner = (0..above).fold(never, |inner, _| counting(inner, &polls));
        let middle: Numbers<'_> = AsyncGenerator::new(async move |co: &NumbersCo<'_>| {
            for round in 0..3 {
                // Its own delegation, given up after that many polls, and then the deep one.
                let short: Numbers<'_> = AsyncGenerator::new(async |_| pending().await);
                _ = futures::future::select(co.yield_from_async(short), later(3)).await;
                co.yield_(round).await;
            }
            _ = futures::future::select(co.yield_from_async(inner), later(5)).await;
            co.yield_(77).await;
        });
        let mut outer = (0..below).fold(middle, |inner, _| counting(inner, &polls));
        for n in [0, 1, 2, 77] {
            let mut tries = 0;
            let step = loop {
                match poll(&mut outer.resume()) {
                    Poll::Ready(step) => break step,
                    Poll::Pending => tries += 1,
                }
                assert!(tries < 20, "{below} below and {above} above: it is never asked");
            };
            assert_eq!(step, Ok(Yielded(n)));
        }
        assert_eq!(polls.get(), 2 * (below + above));
    }
}

/// Wakes the waker that it had when it is polled with another, as some I/O sources do lest a task be forgotten.
async fn displacing() {
    let mut kept: Option<Waker> = None;
    poll_fn(|cx: &mut Context<'_>| {
        match &kept {
            Some(mine) if mine.will_wake(cx.waker()) => {}
            _ => {
                if let Some(displaced) = kept.replace(cx.waker().clone()) {
                    displaced.wake();
                }
            }
        }
        Poll::Pending
    })
    .await
}

#[test]
fn a_future_that_wakes_a_displaced_waker_does_not_spin_beside_a_delegation() {
    let never: Numbers<'_> = AsyncGenerator::new(async |_| pending().await);
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        _ = futures::future::select(co.yield_from_async(never), Box::pin(displacing())).await;
    });
    let woken = Rc::new(Cell::new(0));
    let counts = woken.clone();
    let waker = foreign::waker(move |event| counts.set(counts.get() + u32::from(event == Event::Woken)));
    let mut resume = outer.resume();
    for _ in 0..10 {
        assert!(poll_with(&mut resume, &waker).is_pending());
    }
    assert!(woken.get() <= 2, "woken {woken:?} times by nothing but its own polls");
}
