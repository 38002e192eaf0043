//! Generators: what an item costs, beside the poll of a boxed future, which is what resuming anything stackless cannot do without.

use super::CpuTime;
use crate::rounds::Effort;
use squall::generator::{Co, Generator, Step};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A boxed future of unknown type that is pending for ever.
pub fn boxed_poll(effort: Effort) -> Vec<f64> {
    let times = effort.times(10_000_000);
    let mut polls = 0_u64;
    let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(poll_fn(move |_| {
        polls = black_box(polls + 1);
        Poll::Pending
    }));
    let mut cx = Context::from_waker(Waker::noop());
    let mut began = CpuTime::now();
    for n in 0..times / 10 + times {
        if n == times / 10 {
            began = CpuTime::now();
        }
        assert!(black_box(&mut future).as_mut().poll(&mut cx).is_pending());
    }
    vec![began.each(times)]
}

pub fn send(effort: Effort) -> Vec<f64> {
    sends(0, effort.times(5_000_000))
}

pub fn send_1000_deep(effort: Effort) -> Vec<f64> {
    sends(1000, effort.times(5_000_000))
}

pub fn nested<'a>(depth: u32) -> Generator<'a, u64, u64> {
    Generator::new(async move |co: &Co<'a, u64, u64>| {
        if depth > 0 {
            return co.yield_from(nested(depth - 1)).await;
        }
        let mut value = 0;
        loop {
            value = co.yield_(value + 1).await;
        }
    })
}

fn sends(depth: u32, times: u64) -> Vec<f64> {
    let mut generator = nested(depth);
    assert_eq!(generator.start(), Ok(Step::Yielded(1)));
    let mut began = CpuTime::now();
    for n in 0..times / 10 + times {
        if n == times / 10 {
            began = CpuTime::now();
        }
        assert_eq!(black_box(&mut generator).send(n), Ok(Step::Yielded(n + 1)));
    }
    vec![began.each(times)]
}
