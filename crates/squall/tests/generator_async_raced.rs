//! Delegations that a body joins or races with something else: what it waits for besides has its turn, and giving up a delegation ends the delegates.

mod foreign;
mod polled;
mod trace;

use foreign::Event;
use futures::StreamExt;
use polled::{later, now, poll, poll_with};
use squall::generator::{AsyncCo, AsyncGenerator, Generator, Raised, ResumeError, Step};
use squall::time::{Instant, sleep, timeout};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::time::Duration;
use trace::{Gate, Trace, panic_of};

use Step::{Returned, Yielded};

const SECOND: Duration = Duration::from_secs(1);

type Numbers<'a> = AsyncGenerator<'a, u32, u32, u32, &'static str>;
type NumbersCo<'a> = AsyncCo<'a, u32, u32, &'static str>;

/// Yields 1, waits so long, yields 2.
fn slow<'a>(wait: Duration, trace: &Trace) -> Numbers<'a> {
    let held = trace.at_drop("slow dropped");
    AsyncGenerator::new(async move |co: &NumbersCo<'a>| {
        let _held = held;
        let first = co.yield_(1).await;
        sleep(wait).await;
        first + co.yield_(2).await
    })
}

/// Delegates through so many levels, each of which waits for nothing else.
fn through<'a>(levels: u32, inner: Numbers<'a>) -> Numbers<'a> {
    (0..levels).fold(inner, |inner, _| {
        AsyncGenerator::new(async move |co: &NumbersCo<'a>| co.yield_from_async(inner).await)
    })
}

#[squall::test]
async fn a_timeout_around_a_delegation_fires_while_the_delegate_awaits() {
    let trace = Trace::default();
    for levels in [0, 3] {
        let start = Instant::now();
        let delegate = through(levels, slow(10 * SECOND, &trace));
        let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
            match timeout(3 * SECOND, co.yield_from_async(delegate)).await {
                Ok(value) => value,
                Err(_) => co.yield_(99).await,
            }
        });
        assert_eq!(outer.start().await, Ok(Yielded(1)));
        assert_eq!(outer.send(5).await, Ok(Yielded(99)), "{levels} levels between");
        assert_eq!(start.elapsed(), 3 * SECOND);
        assert_eq!(trace.take(), ["slow dropped"]);
        assert_eq!(outer.send(7).await, Ok(Returned(7)));
    }
}

#[squall::test]
async fn a_timeout_that_does_not_fire_changes_nothing() {
    let trace = Trace::default();
    let delegate = through(2, slow(SECOND, &trace));
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        timeout(3 * SECOND, co.yield_from_async(delegate)).await.unwrap()
    });
    assert_eq!(outer.start().await, Ok(Yielded(1)));
    assert_eq!(outer.send(5).await, Ok(Yielded(2)));
    assert_eq!(outer.send(6).await, Ok(Returned(11)));
}

#[squall::test]
async fn what_is_joined_with_a_delegation_goes_on_while_the_delegate_awaits() {
    let (trace, says) = (Trace::default(), Trace::default());
    let delegate = slow(4 * SECOND, &trace);
    let logs = says.clone();
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        let besides = async {
            for n in 1..=3 {
                sleep(SECOND).await;
                logs.say(format!("{n} s"));
            }
        };
        futures::future::join(co.yield_from_async(delegate), besides).await.0
    });
    assert_eq!(outer.start().await, Ok(Yielded(1)));
    assert_eq!(outer.send(5).await, Ok(Yielded(2)));
    assert_eq!(says.take(), ["1 s", "2 s", "3 s"]);
    assert_eq!(outer.send(6).await, Ok(Returned(11)));
}

#[squall::test]
async fn the_innermost_that_gives_up_goes_on_and_its_outers_wait_on() {
    let trace = Trace::default();
    let delegate = slow(10 * SECOND, &trace);
    let middle: Numbers<'_> = AsyncGenerator::new(async move |co| {
        _ = timeout(2 * SECOND, co.yield_from_async(delegate)).await;
        sleep(SECOND).await;
        co.yield_(50).await
    });
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        timeout(30 * SECOND, co.yield_from_async(middle)).await.unwrap() + 1000
    });
    let start = Instant::now();
    assert_eq!(outer.start().await, Ok(Yielded(1)));
    assert_eq!(outer.send(5).await, Ok(Yielded(50)));
    assert_eq!((start.elapsed(), trace.take()), (3 * SECOND, vec!["slow dropped".to_string()]));
    assert_eq!(outer.send(6).await, Ok(Returned(1006)));
}

#[squall::test]
async fn one_that_gives_up_its_delegate_may_return_raise_or_delegate_anew() {
    #[derive(Clone, Copy)]
    enum Then {
        Returns,
        Raises,
        Delegates,
    }
    let trace = Trace::default();
    let make = |then| {
        let (delegate, says) = (slow(10 * SECOND, &trace), trace.clone());
        let inner: Numbers<'_> = AsyncGenerator::new(async move |co: &NumbersCo<'_>| {
            _ = timeout(SECOND, co.yield_from_async(delegate)).await;
            match then {
                Then::Returns => 20,
                Then::Raises => match co.raise("gave up").await {},
                Then::Delegates => co.yield_from_async(slow(SECOND, &says)).await,
            }
        });
        let outer: Numbers<'_> =
            AsyncGenerator::new(async move |co: &NumbersCo<'_>| match co.try_yield_from_async(inner).await {
                Ok(value) => value + 1,
                Err(Raised::Thrown(thrown)) => thrown.len() as u32,
                Err(Raised::Closed) => 0,
            });
        outer
    };
    let mut outer = make(Then::Returns);
    assert_eq!(outer.start().await, Ok(Yielded(1)));
    assert_eq!(outer.send(5).await, Ok(Returned(21)));
    let mut outer = make(Then::Raises);
    assert_eq!(outer.start().await, Ok(Yielded(1)));
    assert_eq!(outer.send(5).await, Ok(Returned(7)));
    assert_eq!(trace.take(), ["slow dropped"; 2]);
    let mut outer = make(Then::Delegates);
    assert_eq!(outer.start().await, Ok(Yielded(1)));
    assert_eq!(outer.send(5).await, Ok(Yielded(1)), "of the second delegate");
    assert_eq!(outer.send(6).await, Ok(Yielded(2)));
    assert_eq!(outer.send(7).await, Ok(Returned(14)));
    assert_eq!(trace.take(), ["slow dropped"; 2]);
}

#[squall::test]
async fn a_close_waits_for_a_delegate_that_cleans_up_no_longer_than_its_outer_does() {
    let trace = Trace::default();
    let says = trace.clone();
    let delegate: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        let _held = says.at_drop("delegate dropped");
        _ = co.try_yield(1).await;
        sleep(Duration::MAX).await;
    });
    let outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        // Told to close, the delegate cleans up for ever.
        _ = timeout(5 * SECOND, co.try_yield_from_async(delegate)).await;
    });
    let mut outer = outer;
    let start = Instant::now();
    outer.start().await.unwrap();
    assert_eq!(outer.close().await, Ok(Some(())));
    assert_eq!((start.elapsed(), trace.take()), (5 * SECOND, vec!["delegate dropped".to_string()]));
}

// --- how often ---------------------------------------------------------------------------------------------------------

#[test]
fn an_outer_body_that_waits_for_its_delegate_alone_is_asked_once() {
    let polls = Rc::new(Cell::new(0));
    let counts = polls.clone();
    let inner: Numbers<'_> = AsyncGenerator::new(async |co| {
        later(100).await;
        co.yield_(1).await
    });
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        let mut delegation = co.yield_from_async(inner);
        poll_fn(move |cx| {
            counts.set(counts.get() + 1);
            std::pin::Pin::new(&mut delegation).poll(cx)
        })
        .await
    });
    assert!(poll(&mut outer.start()).is_pending());
    while poll(&mut outer.resume()).is_pending() {}
    assert_eq!(polls.get(), 2, "once to delegate, once to see what else it waits for");
}

#[test]
fn what_waits_besides_is_woken_by_the_callers_waker() {
    let gate = Gate::default();
    let waits = gate.clone();
    let inner: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |_| pending().await);
    let mut outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        futures::future::select(std::pin::pin!(waits.wait()), co.yield_from_async(inner)).await;
        co.yield_(7).await;
    });
    let woken = Rc::new(Cell::new(0));
    let counts = woken.clone();
    let waker = foreign::waker(move |event| {
        if event == Event::Woken {
            counts.set(counts.get() + 1);
        }
    });
    assert!(poll_with(&mut outer.start(), &waker).is_pending());
    // What was lent to look for that is gone, and the gate has kept a clone.
    gate.open();
    assert_eq!(woken.get(), 1);
    assert_eq!(now(outer.resume()), Ok(Yielded(7)));
}

// --- attacks -----------------------------------------------------------------------------------------------------------

#[test]
fn a_waker_that_panics_as_it_is_cloned_for_an_outer_body_ends_the_chain() {
    let trace = Trace::default();
    let armed = Rc::new(Cell::new(false));
    let panics = armed.clone();
    let waker = foreign::waker(move |event| {
        assert!(event != Event::Cloned || !panics.get(), "of a waker");
    });
    let gate = Gate::default();
    let held = trace.at_drop("inner dropped");
    let arms = armed.clone();
    let inner: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |_| {
        let _held = held;
        arms.set(true);
        pending().await
    });
    let mut outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| {
        futures::future::join(co.yield_from_async(inner), gate.wait()).await;
    });
    assert_eq!(panic_of(|| poll_with(&mut outer.start(), &waker).is_ready()), "of a waker");
    armed.set(false);
    assert!(outer.is_finished());
    assert_eq!(trace.take(), ["inner dropped"]);
}

#[test]
fn an_outer_body_that_panics_when_it_is_asked_ends_the_chain_innermost_first() {
    let trace = Trace::default();
    let (inner_held, outer_held) = (trace.at_drop("inner"), trace.at_drop("outer"));
    let inner: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |_| {
        let _held = inner_held;
        pending().await
    });
    let mut outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        let _held = outer_held;
        let bomb = async {
            later(2).await;
            panic!("as tested");
        };
        futures::future::join(co.yield_from_async(inner), bomb).await;
    });
    assert!(poll(&mut outer.start()).is_pending());
    assert_eq!(panic_of(|| poll(&mut outer.resume()).is_ready()), "as tested");
    assert_eq!(trace.take(), ["inner", "outer"]);
    assert_eq!(now(outer.resume()), Err(ResumeError::Finished));
}

#[test]
fn one_that_forgets_its_delegation_returns_when_it_is_asked() {
    let trace = Trace::default();
    let held = trace.at_drop("inner");
    let inner: Numbers<'_> = AsyncGenerator::new(async move |_| {
        let _held = held;
        pending().await
    });
    let middle: Numbers<'_> = AsyncGenerator::new(async move |co: &NumbersCo<'_>| {
        let mut delegation = Box::pin(co.yield_from_async(inner));
        assert!(poll(&mut delegation).is_pending());
        std::mem::forget(delegation);
        later(3).await;
        5
    });
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| co.yield_from_async(middle).await + 1);
    assert!(poll(&mut outer.start()).is_pending());
    assert!(poll(&mut outer.resume()).is_pending());
    assert_eq!(now(outer.resume()), Ok(Returned(6)), "the forgotten one is leaked");
    assert!(trace.take().is_empty());
}

#[test]
fn a_delegation_that_is_exchanged_for_another_when_it_is_asked_is_the_one_that_goes_on() {
    let trace = Trace::default();
    let make = |n: u32| {
        let held = trace.at_drop(&format!("{n} dropped"));
        Numbers::new(async move |co: &NumbersCo<'_>| {
            let _held = held;
            co.yield_(n).await;
            pending().await
        })
    };
    let (first, second) = (make(1), make(2));
    let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co| {
        let mut second = Some(second);
        let mut delegation = Some(Box::pin(co.yield_from_async(first)));
        let mut asked = 0;
        poll_fn(move |cx| {
            asked += 1;
            // A body that waits for more says so by keeping the waker.
            drop(cx.waker().clone());
            if asked == 3 {
                // In the same poll: the old one is dropped, and the new one may lie where it lay.
                delegation = None;
                delegation = second.take().map(|second| Box::pin(co.yield_from_async(second)));
            }
            delegation.as_mut().unwrap().as_mut().poll(cx)
        })
        .await
    });
    assert_eq!(now(outer.start()), Ok(Yielded(1)));
    assert!(poll(&mut outer.send(0)).is_pending());
    assert_eq!(now(outer.resume()), Ok(Yielded(2)));
    assert_eq!(trace.take(), ["1 dropped"]);
    drop(outer);
    assert_eq!(trace.take(), ["2 dropped"]);
}

#[test]
fn one_that_raises_beside_its_delegation_ends_with_it_at_once() {
    let trace = Trace::default();
    for at in [0, 2] {
        let (inner_held, outer_held) = (trace.at_drop("inner"), trace.at_drop("outer"));
        let inner: Numbers<'_> = AsyncGenerator::new(async move |_| {
            let _held = inner_held;
            pending().await
        });
        let middle: Numbers<'_> = AsyncGenerator::new(async move |co| {
            let _held = outer_held;
            let raises = async {
                later(at).await;
                co.raise("beside").await
            };
            futures::future::join(co.yield_from_async(inner), raises).await.0
        });
        let mut outer: Numbers<'_> =
            AsyncGenerator::new(async move |co| match co.try_yield_from_async(middle).await {
                Err(Raised::Thrown(thrown)) => thrown.len() as u32,
                _ => 0,
            });
        let mut call = outer.start();
        let mut polls = 0;
        let came = loop {
            polls += 1;
            assert!(polls < 9, "it hangs");
            if let std::task::Poll::Ready(came) = poll(&mut call) {
                break came;
            }
        };
        assert_eq!(came, Ok(Returned(6)));
        let mut gone = trace.take();
        gone.sort();
        assert_eq!(gone, ["inner", "outer"]);
    }
}

#[test]
fn one_that_yields_or_delegates_beside_its_delegation_is_told_so_and_ended() {
    let trace = Trace::default();
    for delegates in [false, true] {
        let (inner_held, outer_held) = (trace.at_drop("inner"), trace.at_drop("outer"));
        let inner: Numbers<'_> = AsyncGenerator::new(async move |_| {
            let _held = inner_held;
            pending().await
        });
        let mut outer: Numbers<'_> = AsyncGenerator::new(async move |co: &NumbersCo<'_>| {
            let _held = outer_held;
            let besides = async {
                later(2).await;
                match delegates {
                    true => co.yield_from_async(AsyncGenerator::new(async |_| 1)).await,
                    false => co.yield_(1).await,
                }
            };
            futures::future::join(co.yield_from_async(inner), besides).await.0
        });
        assert!(poll(&mut outer.start()).is_pending());
        assert!(panic_of(|| poll(&mut outer.resume()).is_ready()).contains("one yield at a time"));
        assert_eq!(trace.take(), ["inner", "outer"]);
        assert!(outer.is_finished());
    }
}

/// In a synchronous one nobody is woken, and what awaits is told so as before.
#[test]
fn a_synchronous_chain_that_awaits_is_reported_whatever_its_outers_wait_for() {
    let trace = Trace::default();
    let held = trace.at_drop("inner");
    let inner: Generator<'_, u32> = Generator::new(async move |_| {
        let _held = held;
        pending().await
    });
    let mut outer: Generator<'_, u32> = Generator::new(async move |co| {
        futures::future::join(co.yield_from(inner), pending::<()>()).await;
    });
    assert!(panic_of(|| outer.resume()).contains("AsyncGenerator"));
    assert_eq!(trace.take(), ["inner"]);
}

#[squall::test]
async fn a_stream_that_is_given_up_between_keeps_its_timeouts() {
    let trace = Trace::default();
    let start = Instant::now();
    let delegate: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| {
        sleep(10 * SECOND).await;
        co.yield_(1).await;
    });
    let mut outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| {
        if timeout(4 * SECOND, co.yield_from_async(delegate)).await.is_err() {
            trace.say("timed out");
            co.yield_(2).await;
        }
    });
    let mut seen = Vec::new();
    while !outer.is_finished() {
        if let Ok(Some(n)) = timeout(SECOND, outer.next()).await {
            seen.push(n);
        }
    }
    assert_eq!((seen, trace.take()), (vec![2], vec!["timed out".to_string()]));
    assert_eq!(start.elapsed(), 4 * SECOND);
}
