//! Futures that are polled by hand, one poll at a time.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// What a future gives that is ready.
pub(crate) fn now<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// Pending for the first so many polls; keeps the waker of the last.
pub(crate) fn later(mut polls: u32) -> impl Future<Output = ()> + Unpin {
    let mut kept = Vec::new();
    poll_fn(move |cx| {
        kept.clear();
        kept.push(cx.waker().clone());
        match polls {
            0 => Poll::Ready(()),
            _ => {
                polls -= 1;
                Poll::Pending
            }
        }
    })
}
