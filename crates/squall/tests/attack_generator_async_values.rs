//! Attacks on asynchronous generators: values and bodies whose destructors panic, and forms within forms.

mod polled;
mod trace;

use futures_core::Stream;
use polled::{later, now, poll};
use squall::generator::{AsyncCo, AsyncGenerator, Co, Generator, ResumeError, Step, unboxed};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use trace::{Trace, at_drop, panic_of};

use Step::{Returned, Yielded};

struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 && !std::thread::panicking() {
            panic!("of a value");
        }
    }
}

#[test]
fn a_yielded_value_that_panics_when_it_is_ignored_leaves_a_generator_that_goes_on() {
    let mut stubborn: AsyncGenerator<'_, Bomb, (), u32> = AsyncGenerator::new(async |co| {
        _ = co.try_yield(Bomb(false)).await;
        later(1).await;
        co.yield_(Bomb(true)).await;
        7
    });
    assert!(matches!(now(stubborn.start()), Ok(Yielded(Bomb(false)))));
    let mut closes = stubborn.close();
    assert!(poll(&mut closes).is_pending());
    assert_eq!(panic_of(|| poll(&mut closes).is_ready()), "of a value");
    assert!(matches!(now(stubborn.resume()), Ok(Returned(7))));
}

#[test]
fn a_value_that_panics_as_it_is_replaced_leaves_a_generator_that_can_be_dropped() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut outer: AsyncGenerator<'_, u32, Bomb, (), u32> =
        AsyncGenerator::new(async move |co: &AsyncCo<'_, u32, Bomb, u32>| {
            let _held = says.at_drop("dropped");
            let mut yields = co.try_yield(1);
            assert!(poll(&mut yields).is_pending());
            later(3).await;
            _ = yields.await;
        });
    assert_eq!(now(outer.start()).map_err(|_| ()), Ok(Yielded(1)));
    assert!(poll(&mut outer.send(Bomb(true))).is_pending());
    assert_eq!(panic_of(|| poll(&mut outer.throw(9)).is_ready()), "of a value");
    assert!(!outer.is_finished());
    drop(outer);
    assert_eq!(trace.take(), ["dropped"]);
}

#[test]
fn destructors_that_panic_at_an_await_end_the_chain_and_one_panic_comes_out() {
    let trace = Trace::default();
    let bomb = |name: &'static str| {
        let trace = trace.clone();
        at_drop(move || {
            trace.say(name);
            panic!("{name}");
        })
    };
    let make = || {
        let (outer_held, inner_held) = (bomb("outer"), bomb("inner"));
        let inner: AsyncGenerator<'_, u32, (), (), u8> = AsyncGenerator::new(async move |_| {
            let _held = inner_held;
            later(9).await;
        });
        let mut outer: AsyncGenerator<'_, u32, (), (), u8> = AsyncGenerator::new(async move |co| {
            let _held = outer_held;
            co.yield_from_async(inner).await;
        });
        assert!(poll(&mut outer.start()).is_pending());
        outer
    };
    let mut thrown = make();
    assert_eq!(panic_of(|| _ = now(thrown.throw(1))), "inner");
    assert!(thrown.is_finished());
    assert_eq!(now(thrown.resume()), Err(ResumeError::Finished));
    assert_eq!(trace.take(), ["inner", "outer"]);
    assert_eq!(panic_of(|| drop(make())), "inner");
    assert_eq!(trace.take(), ["inner", "outer"]);
    let mut closed = make();
    assert_eq!(panic_of(|| _ = now(closed.close())), "inner");
    assert_eq!(trace.take(), ["inner", "outer"]);
}

#[test]
fn a_panic_of_a_default_value_leaves_the_generator_as_it_was() {
    #[derive(Debug, PartialEq)]
    struct Sent(u32);
    impl Default for Sent {
        fn default() -> Sent {
            panic!("no default")
        }
    }
    let mut generator: AsyncGenerator<'_, u32, Sent, u32> =
        AsyncGenerator::new(async |co: &AsyncCo<'_, u32, Sent>| co.yield_(1).await.0);
    assert_eq!(now(generator.resume()), Ok(Yielded(1)), "a fresh one needs none");
    assert_eq!(panic_of(|| now(generator.resume()).is_ok()), "no default");
    assert_eq!(now(generator.send(Sent(5))), Ok(Returned(5)));
}

#[test]
fn generators_of_all_forms_are_polled_inside_one_anothers_steps() {
    let mut outer: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| {
        let mut stream: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co: &AsyncCo<'_, u32>| {
            let pinned = pin!(unboxed(async |co: &Co<'_, u32>| {
                let boxed: Generator<'_, u32> = Generator::new(async |co| co.yield_(1).await);
                for n in boxed {
                    co.yield_(n + 1).await;
                }
            }));
            for n in pinned {
                later(1).await;
                co.yield_(n * 10).await;
            }
        });
        while let Some(n) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
            co.yield_(n + 5).await;
        }
    });
    assert!(poll(&mut outer.start()).is_pending());
    assert_eq!(now(outer.resume()), Ok(Yielded(25)));
    assert_eq!(now(outer.resume()), Ok(Returned(())));
}
