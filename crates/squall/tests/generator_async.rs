//! Asynchronous generators: bodies that await and yield, as streams and as what is sent to, thrown at and closed; given up, dropped, delegated to.

mod trace;

use futures::{StreamExt, future::FusedFuture, stream::FusedStream};
use squall::generator::{AsyncCo, AsyncGenerator, Co, Generator, Raised, ResumeError, Step};
use squall::time::{Instant, sleep, timeout};
use squall::{spawn, yield_now};
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use trace::{Gate, Trace, panic_of};

use Step::{Returned, Yielded};

const SECOND: Duration = Duration::from_secs(1);

/// Yields what it is sent, a second later each; returns how often it has when zero is sent.
fn slow_echo<'a>() -> AsyncGenerator<'a, u32, u32, u32, &'static str> {
    AsyncGenerator::new(async |co| {
        let (mut value, mut times) = (0, 1);
        loop {
            sleep(SECOND).await;
            value = co.yield_(value).await;
            if value == 0 {
                return times;
            }
            times += 1;
        }
    })
}

/// Yields 0, 1, 2, a second apart.
fn ticks<'a>(times: u32) -> AsyncGenerator<'a, u32> {
    AsyncGenerator::new(async move |co| {
        for n in 0..times {
            sleep(SECOND).await;
            co.yield_(n).await;
        }
    })
}

// --- the protocol ------------------------------------------------------------------------------------------------------

#[squall::test]
async fn values_go_in_and_out_and_what_is_awaited_takes_its_time() {
    let start = Instant::now();
    let mut echo = slow_echo();
    assert!(!echo.is_started());
    assert_eq!(echo.send(7).await, Err(ResumeError::NotStarted(7)));
    assert_eq!(echo.start().await, Ok(Yielded(0)));
    assert_eq!(echo.start().await, Err(ResumeError::Started));
    assert_eq!(echo.send(7).await, Ok(Yielded(7)));
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(echo.resume().await, Ok(Returned(2)), "the default value is sent");
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert!(echo.is_finished());
    assert_eq!(echo.send(1).await, Err(ResumeError::Finished));
    assert_eq!(echo.resume().await, Err(ResumeError::Finished));
    assert_eq!(echo.start().await, Err(ResumeError::Finished));
    assert_eq!(echo.throw("late").await, Err(ResumeError::Thrown("late")));
    assert_eq!(echo.close().await, Ok(None));
}

#[squall::test]
async fn nothing_happens_before_a_call_is_polled() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut generator: AsyncGenerator<'_, u32, u32> = AsyncGenerator::new(async move |co| {
        says.say("begun");
        co.yield_(1).await;
    });
    drop(generator.start());
    drop(generator.resume());
    drop(generator.close());
    assert!(!generator.is_started() && trace.take().is_empty());
    assert_eq!(generator.start().await, Ok(Yielded(1)));
    drop(generator.send(1));
    assert_eq!(generator.send(1).await, Ok(Returned(())));
}

#[squall::test]
async fn one_that_takes_nothing_is_a_stream() {
    let start = Instant::now();
    let mut stream = ticks(3);
    assert_eq!(stream.next().await, Some(0));
    assert_eq!(start.elapsed(), SECOND);
    assert!(!stream.is_terminated());
    assert_eq!(stream.by_ref().collect::<Vec<_>>().await, [1, 2]);
    assert!(stream.is_terminated());
    assert_eq!(stream.next().await, None);
    assert_eq!(
        ticks(3).map(|n| n * 10).filter(|n| std::future::ready(*n > 0)).collect::<Vec<_>>().await,
        [10, 20]
    );
    assert!(stream.select_next_some().is_terminated());
}

#[squall::test]
async fn a_throw_is_caught_at_a_try_yield_and_the_handler_may_await() {
    let mut catcher = AsyncGenerator::new(async |co: &AsyncCo<'_, u32, (), &str>| {
        let mut caught = 0;
        loop {
            match co.try_yield(caught).await {
                Ok(()) => sleep(SECOND).await,
                Err(Raised::Thrown(thrown)) => {
                    sleep(SECOND).await;
                    caught += thrown.len() as u32;
                }
                Err(Raised::Closed) => return caught + 100,
            }
        }
    });
    let start = Instant::now();
    assert_eq!(catcher.start().await, Ok(Yielded(0)));
    assert_eq!(catcher.throw("abc").await, Ok(Yielded(3)));
    assert_eq!(catcher.resume().await, Ok(Yielded(3)));
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(catcher.close().await, Ok(Some(103)));
    assert_eq!(catcher.close().await, Ok(None));
    let mut fresh = slow_echo();
    assert_eq!(fresh.throw("early").await, Err(ResumeError::Thrown("early")));
    assert!(fresh.is_finished());
    let mut echo = slow_echo();
    echo.start().await.unwrap();
    assert_eq!(echo.throw("now").await, Err(ResumeError::Thrown("now")));
}

#[squall::test]
async fn a_body_raises_with_what_it_awaited_before() {
    let mut raises: AsyncGenerator<'_, u32, (), (), String> = AsyncGenerator::new(async |co| {
        co.yield_(1).await;
        sleep(SECOND).await;
        co.raise("late".into()).await;
    });
    assert_eq!(raises.resume().await, Ok(Yielded(1)));
    assert_eq!(raises.resume().await, Err(ResumeError::Thrown("late".into())));
    assert!(raises.is_finished());
}

#[squall::test]
async fn close_waits_for_what_a_body_awaits_as_it_cleans_up() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut generator: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        let _held = says.at_drop("dropped");
        if co.try_yield(1).await == Err(Raised::Closed) {
            sleep(SECOND).await;
            says.say("cleaned up");
        }
    });
    let start = Instant::now();
    generator.start().await.unwrap();
    assert_eq!(generator.close().await, Ok(Some(())));
    assert_eq!((start.elapsed(), trace.take()), (SECOND, vec!["cleaned up".to_string(), "dropped".into()]));
}

#[squall::test]
async fn a_yield_upon_close_is_an_error_also_after_an_await() {
    let mut stubborn: AsyncGenerator<'_, u32, (), u32> = AsyncGenerator::new(async |co| {
        let mut closes = 0;
        while closes < 2 {
            if co.try_yield(closes).await.is_err() {
                closes += 1;
                sleep(SECOND).await;
            }
        }
        99
    });
    stubborn.start().await.unwrap();
    assert_eq!(stubborn.close().await, Err(ResumeError::IgnoredExit));
    assert_eq!(stubborn.resume().await, Ok(Yielded(1)));
    assert_eq!(stubborn.close().await, Ok(Some(99)));
}

// --- calls that are given up -------------------------------------------------------------------------------------------

#[squall::test]
async fn a_call_that_was_given_up_is_gone_on_with_by_resume_and_refuses_values() {
    let start = Instant::now();
    let mut echo = slow_echo();
    echo.start().await.unwrap();
    assert!(timeout(SECOND / 2, echo.send(5)).await.is_err());
    assert_eq!(echo.send(6).await, Err(ResumeError::Running(6)));
    assert_eq!(echo.start().await, Err(ResumeError::Started));
    assert_eq!(
        echo.resume().await,
        Ok(Yielded(5)),
        "what was sent first is not lost, and nothing is sent twice"
    );
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(echo.send(6).await, Ok(Yielded(6)));
}

#[squall::test]
async fn a_stream_loses_nothing_when_its_next_is_given_up() {
    let mut stream = ticks(3);
    let mut seen = Vec::new();
    loop {
        match timeout(SECOND / 3, stream.next()).await {
            Ok(Some(n)) => seen.push(n),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    assert_eq!(seen, [0, 1, 2]);
}

#[squall::test]
async fn what_is_thrown_at_a_body_that_awaits_ends_it_there() {
    let trace = Trace::default();
    for closes in [false, true] {
        let says = trace.clone();
        let mut generator: AsyncGenerator<'_, u32, (), (), &str> = AsyncGenerator::new(async move |co| {
            let _held = says.at_drop("dropped");
            _ = co.try_yield(1).await;
            sleep(SECOND).await;
            says.say("never");
        });
        generator.start().await.unwrap();
        assert!(timeout(SECOND / 2, generator.resume()).await.is_err());
        if closes {
            assert_eq!(generator.close().await, Ok(None));
        } else {
            assert_eq!(generator.throw("now").await, Err(ResumeError::Thrown("now")));
        }
        assert!(generator.is_finished());
        assert_eq!(trace.take(), ["dropped"]);
    }
}

#[squall::test]
async fn a_close_that_was_given_up_goes_on_closing() {
    fn cleans_up<'a>(yields: bool) -> AsyncGenerator<'a, u32> {
        AsyncGenerator::new(async move |co| {
            _ = co.try_yield(1).await;
            sleep(SECOND).await;
            if yields {
                co.yield_(2).await;
                co.yield_(3).await;
            }
        })
    }
    async fn given_up<'a>(yields: bool) -> AsyncGenerator<'a, u32> {
        let mut generator = cleans_up(yields);
        generator.start().await.unwrap();
        assert!(timeout(SECOND / 2, generator.close()).await.is_err());
        generator
    }
    let start = Instant::now();
    assert_eq!(
        given_up(false).await.close().await,
        Ok(Some(())),
        "it is not told twice, so it is not ended at its await"
    );
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(given_up(false).await.resume().await, Ok(Returned(())));
    assert_eq!(given_up(true).await.close().await, Err(ResumeError::IgnoredExit));
    assert_eq!(given_up(true).await.resume().await, Err(ResumeError::IgnoredExit));
    assert_eq!(given_up(true).await.collect::<Vec<_>>().await, [3], "what was yielded upon close is dropped");
}

#[squall::test]
async fn a_polled_start_that_was_given_up_is_a_start() {
    let mut echo = slow_echo();
    assert!(timeout(SECOND / 2, echo.start()).await.is_err());
    assert!(echo.is_started());
    assert_eq!(echo.start().await, Err(ResumeError::Started));
    assert_eq!(echo.send(1).await, Err(ResumeError::Running(1)));
    assert_eq!(echo.resume().await, Ok(Yielded(0)));
}

// --- how it ends otherwise ---------------------------------------------------------------------------------------------

#[squall::test]
async fn one_that_is_dropped_drops_what_it_holds_innermost_first_wherever_it_is() {
    let trace = Trace::default();
    fn level<'a>(depth: u32, trace: Trace) -> AsyncGenerator<'a, u32> {
        AsyncGenerator::new(async move |co: &AsyncCo<'a, u32>| {
            let _held = trace.at_drop(&format!("level {depth}"));
            if depth > 0 {
                return co.yield_from_async(level(depth - 1, trace)).await;
            }
            co.yield_(1).await;
            sleep(SECOND).await;
        })
    }
    drop(level(2, trace.clone()));
    assert!(trace.take().is_empty());
    let mut at_a_yield = level(2, trace.clone());
    at_a_yield.start().await.unwrap();
    drop(at_a_yield);
    assert_eq!(trace.take(), ["level 0", "level 1", "level 2"]);
    let mut at_an_await = level(2, trace.clone());
    at_an_await.start().await.unwrap();
    assert!(timeout(SECOND / 2, at_an_await.resume()).await.is_err());
    drop(at_an_await);
    assert_eq!(trace.take(), ["level 0", "level 1", "level 2"]);
    let mut polled = level(2, trace.clone());
    let task = spawn(async move { while polled.next().await.is_some() {} });
    yield_now().await;
    task.abort();
    assert_eq!(trace.take(), ["level 0", "level 1", "level 2"]);
}

#[squall::test]
async fn a_panic_of_a_body_comes_out_of_the_call_and_ends_it() {
    let trace = Trace::default();
    let held = trace.at_drop("dropped");
    let mut panics: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        let _held = held;
        co.yield_(1).await;
        sleep(SECOND).await;
        panic!("as tested");
    });
    panics.start().await.unwrap();
    let error = squall::catch_unwind(panics.resume()).await.unwrap_err();
    assert_eq!(error.to_string(), "panicked: as tested");
    assert_eq!((trace.take(), panics.is_finished()), (vec!["dropped".to_string()], true));
    assert_eq!(panics.resume().await, Err(ResumeError::Finished));
}

#[test]
fn a_call_that_is_polled_after_it_was_ready_says_so() {
    let mut echo = slow_echo();
    let mut sent = pin!(echo.send(1));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(sent.as_mut().poll(&mut cx).is_ready());
    assert!(panic_of(|| sent.as_mut().poll(&mut cx).is_ready()).contains("polled after it was ready"));
    let mut closed = pin!(echo.close());
    assert!(closed.as_mut().poll(&mut cx).is_ready());
    assert!(panic_of(|| closed.as_mut().poll(&mut cx).is_ready()).contains("polled after it was ready"));
}

// --- delegation --------------------------------------------------------------------------------------------------------

#[squall::test]
async fn delegates_of_both_kinds_speak_with_the_caller_and_their_values_are_the_expressions() {
    fn quick<'a>() -> Generator<'a, u32, u32, u32, &'static str> {
        Generator::new(async |co| co.yield_(100).await + 1)
    }
    let start = Instant::now();
    let mut outer: AsyncGenerator<'_, u32, u32, (u32, u32), &str> = AsyncGenerator::new(async |co| {
        let first = co.yield_from_async(slow_echo()).await;
        let second = co.yield_from(quick()).await;
        (first, second)
    });
    assert_eq!(outer.start().await, Ok(Yielded(0)));
    assert_eq!(outer.send(5).await, Ok(Yielded(5)));
    assert_eq!(outer.send(0).await, Ok(Yielded(100)));
    assert_eq!(outer.send(7).await, Ok(Returned((2, 8))));
    assert_eq!(start.elapsed(), 2 * SECOND);
}

#[squall::test]
async fn a_throw_goes_to_the_innermost_and_outward_from_there_also_past_an_await() {
    let make = || {
        AsyncGenerator::<'_, u32, u32, u32, &str>::new(async |co| {
            match co.try_yield_from_async(slow_echo()).await {
                Err(Raised::Thrown(thrown)) => {
                    sleep(SECOND).await;
                    co.yield_(thrown.len() as u32).await
                }
                Err(Raised::Closed) => 0,
                Ok(value) => value,
            }
        })
    };
    let mut outer = make();
    outer.start().await.unwrap();
    assert_eq!(outer.throw("at a yield").await, Ok(Yielded(10)));
    assert_eq!(outer.send(3).await, Ok(Returned(3)));
    let mut outer = make();
    outer.start().await.unwrap();
    assert!(timeout(SECOND / 2, outer.send(1)).await.is_err());
    assert_eq!(
        outer.throw("at an await").await,
        Ok(Yielded(11)),
        "the delegate has ended there, its outer has caught"
    );
    let mut outer = make();
    outer.start().await.unwrap();
    assert!(timeout(SECOND / 2, outer.send(1)).await.is_err());
    assert_eq!(outer.close().await, Ok(Some(0)));
}

#[squall::test]
async fn a_started_delegate_is_refused_whether_it_yields_or_awaits() {
    for gives_up in [false, true] {
        let mut started = slow_echo();
        if gives_up {
            assert!(timeout(SECOND / 2, started.start()).await.is_err());
        } else {
            started.start().await.unwrap();
        }
        let mut outer: AsyncGenerator<'_, u32, u32, u32, &str> =
            AsyncGenerator::new(async move |co| co.yield_from_async(started).await);
        let error = squall::catch_unwind(outer.start()).await.unwrap_err().to_string();
        assert!(error.contains("was given a generator that was started"), "{error}");
    }
}

#[squall::test]
async fn a_generator_that_awaits_nothing_is_an_async_one_too() {
    let countdown: Generator<'_, u32> = Generator::new(async |co| {
        for n in (0..3).rev() {
            co.yield_(n).await;
        }
    });
    assert_eq!(AsyncGenerator::from(countdown).collect::<Vec<_>>().await, [2, 1, 0]);
}

#[squall::test]
async fn a_function_that_yields_for_its_caller_serves_bodies_of_both_kinds() {
    async fn twice(co: &Co<'_, u32>, value: u32) {
        co.yield_(value).await;
        co.yield_(value).await;
    }
    let sync: Generator<'_, u32> = Generator::new(async |co| twice(co, 1).await);
    assert_eq!(sync.collect::<Vec<_>>(), [1, 1]);
    let awaits: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| {
        twice(co, 2).await;
        sleep(SECOND).await;
        twice(co, 3).await;
    });
    assert_eq!(awaits.collect::<Vec<_>>().await, [2, 2, 3, 3]);
}

// --- what it waits with ------------------------------------------------------------------------------------------------

#[squall::test]
async fn whoever_polls_is_woken() {
    let gate = Gate::default();
    let waits = gate.clone();
    let generator: AsyncGenerator<'static, u32> = AsyncGenerator::new(async move |co| {
        waits.wait().await;
        co.yield_(1).await;
    });
    // Polled by one task first, and by another when the gate opens.
    let generator = Rc::new(RefCell::new(generator));
    let next = |generator: Rc<RefCell<AsyncGenerator<'static, u32>>>| {
        poll_fn(move |cx| generator.borrow_mut().poll_next_unpin(cx))
    };
    let first = spawn(next(generator.clone()));
    yield_now().await;
    first.abort();
    let second = spawn(next(generator));
    yield_now().await;
    gate.open();
    assert_eq!(second.await.unwrap(), Some(1));
}

#[test]
fn it_needs_no_loop_of_squalls() {
    let gate = Gate::default();
    let opens = gate.clone();
    let generator: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        for n in 0..3 {
            futures::future::join(gate.wait(), async { opens.open() }).await;
            co.yield_(n).await;
        }
    });
    assert_eq!(futures::executor::block_on(generator.collect::<Vec<_>>()), [0, 1, 2]);
}

#[squall::test]
async fn a_yield_and_an_await_can_be_joined_and_nothing_of_the_body_runs_between_calls() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut joins: AsyncGenerator<'_, u32, u32, u32> = AsyncGenerator::new(async move |co| {
        let (sent, ()) = futures::future::join(co.yield_(1), async {
            sleep(SECOND).await;
            says.say("slept");
        })
        .await;
        sent
    });
    assert_eq!(joins.start().await, Ok(Yielded(1)));
    sleep(5 * SECOND).await;
    assert!(trace.take().is_empty());
    assert_eq!(joins.send(9).await, Ok(Returned(9)));
    assert_eq!(trace.take(), ["slept"]);
}
