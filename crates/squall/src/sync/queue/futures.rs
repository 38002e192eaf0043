//! The waits of a queue, as named futures: they keep the place that they were made at, which an `async fn` could not.
//!
//! Each begins by looking. Only a poll that will be `Ready` spends of the task's budget: if one that has to wait did so too, a task
//! that polls hundreds of waits at a time would wake itself for ever, and virtual time would never move.
//!
//! Cloning and dropping a foreign waker runs code that may use the queue, so after it the queue is looked at again, and a
//! clone that turns out not to be needed is dropped when all else is done.

use super::error::{Closed, PutError};
use super::guard::WorkGuard;
use super::state::{Left, State};
use super::{Queue, wake};
use crate::task::{Cancelled, Key, WaitingOn, drop_foreign, note_waiting, poll_proceed, poll_turn};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

type Place = &'static Location<'static>;

/// How far a wait has come.
enum Wait {
    New,
    /// In line. `None` is the moment between being granted a turn and being over.
    InLine(Option<Key>),
    Over,
}

impl Wait {
    /// The place in line, if the future is dropped now.
    #[inline]
    fn leave(&mut self) -> Option<Key> {
        match self {
            Wait::InLine(key) => key.take(),
            Wait::New | Wait::Over => None,
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Wait::New => "new",
            Wait::InLine(_) => "waiting",
            Wait::Over => "over",
        }
    }
}

#[cold]
#[inline(never)]
fn polled_again(what: &str) -> ! {
    panic!("{what} was polled after it had ended: make a new one with each call")
}

/// The future of [`Queue::get`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Get<'q, T> {
    queue: &'q Queue<T>,
    wait: Wait,
    place: Place,
}

impl<'q, T> Get<'q, T> {
    #[inline]
    pub(super) fn new(queue: &'q Queue<T>, place: Place) -> Get<'q, T> {
        Get { queue, wait: Wait::New, place }
    }

    #[inline]
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        match &mut self.wait {
            Wait::New => {
                if !self.queue.state.borrow().can_get() {
                    return self.join_line(cx);
                }
                ready!(poll_proceed(cx));
                Poll::Ready(self.take())
            }
            Wait::InLine(key) => {
                let state = &self.queue.state;
                let turn = poll_turn(state, State::getters, key, cx, WaitingOn::QueueGet, self.place);
                let granted = ready!(turn);
                self.wait = Wait::Over;
                Poll::Ready(granted.map(|handed| handed.item))
            }
            Wait::Over => polled_again("Queue::get"),
        }
    }

    #[inline]
    fn take(&mut self) -> Result<T, Closed> {
        self.wait = Wait::Over;
        let taken = self.queue.state.borrow_mut().take();
        let Some((item, putter)) = taken else { return Err(Closed) };
        wake(putter);
        Ok(item)
    }

    #[inline(never)]
    fn join_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        let waker = cx.waker().clone();
        let mut state = self.queue.state.borrow_mut();
        if state.can_get() {
            drop(state);
            return self.take_late(cx, waker);
        }
        self.wait = Wait::InLine(Some(state.getters().push(waker, ())));
        drop(state);
        note_waiting(WaitingOn::QueueGet, self.place);
        Poll::Pending
    }

    /// Cloning the waker let an item in.
    #[cold]
    fn take_late(&mut self, cx: &mut Context<'_>, unneeded: Waker) -> Poll<Result<T, Closed>> {
        let item = poll_proceed(cx).map(|()| self.take());
        drop_foreign(Some(unneeded));
        item
    }
}

impl<T> Future for Get<'_, T> {
    type Output = Result<T, Closed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        let this = self.get_mut();
        let item = ready!(this.poll_item(cx));
        if item.is_ok() {
            this.queue.count_taken();
        }
        Poll::Ready(item)
    }
}

impl<T> Drop for Get<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(key) = self.wait.leave() {
            let Left { wake: next, discard: unneeded } = self.queue.state.borrow_mut().leave_getters(key);
            wake(next);
            drop_foreign(unneeded);
        }
    }
}

/// The future of [`Queue::get_guard`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct GetGuard<'q, T> {
    get: Get<'q, T>,
}

impl<'q, T> GetGuard<'q, T> {
    #[inline]
    pub(super) fn new(queue: &'q Queue<T>, place: Place) -> GetGuard<'q, T> {
        GetGuard { get: Get::new(queue, place) }
    }
}

impl<'q, T> Future for GetGuard<'q, T> {
    type Output = Result<WorkGuard<'q, T>, Closed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let item = ready!(this.get.poll_item(cx));
        Poll::Ready(item.map(|item| WorkGuard::new(this.get.queue, item)))
    }
}

/// The future of [`Queue::put`].
#[must_use = "futures do nothing unless they are awaited: the item is not put"]
pub struct Put<'q, T> {
    queue: &'q Queue<T>,
    /// Here until it enters the queue or the line.
    item: Option<T>,
    wait: Wait,
    place: Place,
}

/// The item is moved, never pinned.
impl<T> Unpin for Put<'_, T> {}

impl<'q, T> Put<'q, T> {
    #[inline]
    pub(super) fn new(queue: &'q Queue<T>, item: T, place: Place) -> Put<'q, T> {
        Put { queue, item: Some(item), wait: Wait::New, place }
    }

    #[inline]
    fn enter(&mut self) -> Result<(), PutError<T>> {
        self.wait = Wait::Over;
        let item = self.item.take().expect("a new put holds its item");
        let entered = self.queue.state.borrow_mut().enter(item);
        entered.map(wake)
    }

    #[inline(never)]
    fn join_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PutError<T>>> {
        let waker = cx.waker().clone();
        let mut state = self.queue.state.borrow_mut();
        if state.can_put() {
            drop(state);
            return self.enter_late(cx, waker);
        }
        let item = self.item.take().expect("a new put holds its item");
        self.wait = Wait::InLine(Some(state.putters().push(waker, item)));
        drop(state);
        note_waiting(WaitingOn::QueuePut, self.place);
        Poll::Pending
    }

    /// Cloning the waker made room.
    #[cold]
    fn enter_late(&mut self, cx: &mut Context<'_>, unneeded: Waker) -> Poll<Result<(), PutError<T>>> {
        let put = poll_proceed(cx).map(|()| self.enter());
        drop_foreign(Some(unneeded));
        put
    }
}

impl<T> Future for Put<'_, T> {
    type Output = Result<(), PutError<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<T>>> {
        let this = self.get_mut();
        match &mut this.wait {
            Wait::New => {
                if !this.queue.state.borrow().can_put() {
                    return this.join_line(cx);
                }
                ready!(poll_proceed(cx));
                Poll::Ready(this.enter())
            }
            Wait::InLine(key) => {
                let state = &this.queue.state;
                let turn = poll_turn(state, State::putters, key, cx, WaitingOn::QueuePut, this.place);
                let granted = ready!(turn);
                this.wait = Wait::Over;
                Poll::Ready(granted)
            }
            Wait::Over => polled_again("Queue::put"),
        }
    }
}

impl<T> Drop for Put<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(key) = self.wait.leave() {
            // The item in what comes out is dropped here, at the end, when the queue is no longer borrowed.
            let left = self.queue.state.borrow_mut().putters().cancel(key);
            if let Cancelled::Waiting(waker, _item) = left {
                drop_foreign(Some(waker));
            }
        }
    }
}

/// The future of [`Queue::join`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Join<'q, T> {
    queue: &'q Queue<T>,
    wait: Wait,
    place: Place,
}

impl<'q, T> Join<'q, T> {
    #[inline]
    pub(super) fn new(queue: &'q Queue<T>, place: Place) -> Join<'q, T> {
        Join { queue, wait: Wait::New, place }
    }
}

impl<T> Future for Join<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let queue = this.queue;
        match &mut this.wait {
            Wait::New => {
                if queue.state.borrow().unfinished() > 0 {
                    let waker = cx.waker().clone();
                    let mut state = queue.state.borrow_mut();
                    if state.unfinished() > 0 {
                        this.wait = Wait::InLine(Some(state.joiners().push(waker, ())));
                        drop(state);
                        note_waiting(WaitingOn::QueueJoin, this.place);
                        return Poll::Pending;
                    }
                    drop(state);
                    drop_foreign(Some(waker));
                }
                ready!(poll_proceed(cx));
            }
            Wait::InLine(key) => {
                let state = &queue.state;
                ready!(poll_turn(state, State::joiners, key, cx, WaitingOn::QueueJoin, this.place));
            }
            Wait::Over => polled_again("Queue::join"),
        }
        this.wait = Wait::Over;
        Poll::Ready(())
    }
}

impl<T> Drop for Join<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.wait.leave() {
            let left = self.queue.state.borrow_mut().joiners().cancel(key);
            if let Cancelled::Waiting(waker, ()) = left {
                drop_foreign(Some(waker));
            }
        }
    }
}

impl<T> fmt::Debug for Get<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Get({}, {})", self.wait.describe(), self.place)
    }
}

impl<T> fmt::Debug for GetGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GetGuard({}, {})", self.get.wait.describe(), self.get.place)
    }
}

impl<T> fmt::Debug for Put<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Put({}, {})", self.wait.describe(), self.place)
    }
}

impl<T> fmt::Debug for Join<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Join({}, {})", self.wait.describe(), self.place)
    }
}
