//! How asynchronous generators end: with their tasks and loops, beside tasks that fail or are cancelled, and when nobody ends them.

mod trace;

use futures::StreamExt;
use squall::generator::{AsyncGenerator, Raised, ResumeError, Step};
use squall::time::sleep;
use squall::{spawn, yield_now};
use std::time::Duration;
use trace::{Trace, virtual_loop};

use Step::Yielded;

const SECOND: Duration = Duration::from_secs(1);

/// Yields at once and then every second; says so when it is dropped.
fn ticks<'a>(trace: &Trace) -> AsyncGenerator<'a, u32> {
    let held = trace.at_drop("generator dropped");
    AsyncGenerator::new(async move |co| {
        let _held = held;
        for n in 0.. {
            if co.try_yield(n).await == Err(Raised::Closed) {
                sleep(SECOND).await;
            }
            sleep(SECOND).await;
        }
    })
}

#[test]
fn at_the_end_of_its_loop_one_is_dropped_with_its_task() {
    let trace = Trace::default();
    let mut polled = ticks(&trace);
    let says = trace.clone();
    virtual_loop().run_until(async move {
        drop(spawn(async move {
            while let Some(n) = polled.next().await {
                says.say(format!("came {n}"));
            }
        }));
        sleep(SECOND * 3 / 2).await;
    });
    // Its handler of a close is not run: it would await, and nothing turns the loop any more.
    assert_eq!(trace.take(), ["came 0", "came 1", "generator dropped"]);
}

#[test]
fn one_that_is_kept_outlives_its_loop_and_goes_on_elsewhere() {
    let trace = Trace::default();
    let mut kept = AsyncGenerator::<'_, u32>::new(async |co| {
        let _held = trace.at_drop("generator dropped");
        for n in 0..3 {
            co.yield_(n).await;
            yield_now().await;
        }
    });
    assert_eq!(virtual_loop().run_until(kept.next()), Some(0));
    assert_eq!(virtual_loop().run_until(kept.next()), Some(1));
    assert!(trace.take().is_empty());
    assert_eq!(virtual_loop().run_until(kept.close()), Ok(None));
    assert_eq!(trace.take(), ["generator dropped"]);
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn at_the_end_of_its_loop_a_destructors_panic_is_reported() {
    let output = trace::alone("at_the_end_of_its_loop_a_destructors_panic_is_reported", &[], || {
        virtual_loop().run_until(async {
            let mut bomb: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| {
                let _held = trace::at_drop(|| panic!("as tested"));
                co.yield_(1).await;
                sleep(Duration::MAX).await;
            });
            drop(spawn(async move { while bomb.next().await.is_some() {} }));
            yield_now().await;
        });
    });
    if let Some(output) = output {
        trace::check(&output);
        let reports = trace::reports_of(&output).join("\n");
        assert!(reports.contains("as tested"), "{reports}");
    }
}

#[squall::test]
async fn one_that_starts_and_closes_another_inside_goes_on() {
    let trace = Trace::default();
    let says = trace.clone();
    let outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async move |co| {
        co.yield_(1).await;
        let mut inner = ticks(&says);
        inner.start().await.unwrap();
        drop(inner);
        let mut closed: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| co.yield_(10).await);
        closed.start().await.unwrap();
        assert_eq!(closed.close().await, Ok(None));
        co.yield_(2).await;
    });
    assert_eq!(outer.collect::<Vec<_>>().await, [1, 2]);
    assert_eq!(trace.take(), ["generator dropped"]);
}

#[squall::test]
async fn a_failing_task_that_is_awaited_upon_close_is_no_failure_of_the_close() {
    let mut generator: AsyncGenerator<'_, u32, (), bool> = AsyncGenerator::new(async |co| {
        let task = spawn(async {
            sleep(SECOND).await;
            panic!("as tested");
        });
        _ = co.try_yield(1).await;
        task.await.is_err_and(|error: squall::JoinError| error.is_panic())
    });
    generator.start().await.unwrap();
    assert_eq!(generator.close().await, Ok(Some(true)));
}

#[squall::test]
async fn a_cancelled_task_that_a_body_awaits_is_an_error_it_may_handle() {
    let mut generator: AsyncGenerator<'_, u32, (), (), String> = AsyncGenerator::new(async |co| {
        while co.try_yield(1).await.is_ok() {}
        let task = spawn(sleep(Duration::MAX));
        task.abort();
        if let Err(error) = task.await {
            assert!(error.is_cancelled());
            co.raise(error.to_string()).await;
        }
    });
    assert_eq!(generator.start().await, Ok(Yielded(1)));
    assert_eq!(generator.resume().await, Ok(Yielded(1)));
    let Err(ResumeError::Thrown(text)) = generator.throw("any".into()).await else { panic!("it raises") };
    assert!(text.contains("cancelled"), "{text}");
}
