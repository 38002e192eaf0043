//! The queue that the floor and the peers use: the least that a bounded queue of one thread can be.
//!
//! No peer ships such a queue (their channels are atomic, or unbounded, or have one consumer), and with one of those the
//! row would compare channels and not schedulers. It keeps no order among waiters, loses a wake when a
//! woken waiter is dropped, and cannot be closed: all of that is what squall's own queue is charged for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

pub struct BareQueue<T> {
    state: RefCell<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    getters: VecDeque<Waker>,
    putters: VecDeque<Waker>,
}

impl<T> BareQueue<T> {
    pub fn new(capacity: usize) -> BareQueue<T> {
        let state = State {
            items: VecDeque::with_capacity(capacity),
            capacity,
            getters: VecDeque::new(),
            putters: VecDeque::new(),
        };
        BareQueue { state: RefCell::new(state) }
    }

    pub fn put(&self, item: T) -> impl Future<Output = ()> {
        let mut item = Some(item);
        poll_fn(move |cx| {
            let mut state = self.state.borrow_mut();
            if state.items.len() >= state.capacity {
                state.putters.push_back(cx.waker().clone());
                return Poll::Pending;
            }
            state.items.push_back(item.take().expect("polled once after it was ready"));
            if let Some(getter) = state.getters.pop_front() {
                getter.wake();
            }
            Poll::Ready(())
        })
    }

    pub fn get(&self) -> impl Future<Output = T> {
        poll_fn(move |cx| {
            let mut state = self.state.borrow_mut();
            let Some(item) = state.items.pop_front() else {
                state.getters.push_back(cx.waker().clone());
                return Poll::Pending;
            };
            if let Some(putter) = state.putters.pop_front() {
                putter.wake();
            }
            Poll::Ready(item)
        })
    }
}
