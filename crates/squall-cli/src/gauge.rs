//! How many of something there are now, and a way to wait until they are few enough.
//!
//! A server bounds its open connections with it, a load generator its connection attempts. A semaphore was rejected: both also want
//! to read the number and to wait until it is zero.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Default)]
pub(crate) struct Gauge {
    inside: Cell<usize>,
    /// One waiter is enough: the task that lets others in is also the one that waits.
    waiter: Cell<Option<Waker>>,
}

impl Gauge {
    pub(crate) fn inside(&self) -> usize {
        self.inside.get()
    }

    /// Counts one more, until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Inside {
        self.inside.set(self.inside.get() + 1);
        Inside(self.clone())
    }

    /// Waits until fewer than `bound` are inside.
    pub(crate) async fn below(&self, bound: usize) {
        poll_fn(|cx| {
            if self.inside.get() < bound {
                return Poll::Ready(());
            }
            self.waiter.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

pub(crate) struct Inside(Rc<Gauge>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.set(self.0.inside.get() - 1);
        if let Some(waiter) = self.0.waiter.take() {
            waiter.wake();
        }
    }
}
