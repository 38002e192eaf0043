//! A first-in first-out queue between the coroutines of one loop.
//!
//! The semantics are those of asyncio's `Queue` (unfinished items, `task_done`, `join`, shutting down), with Tornado's hand-over: an
//! item goes straight to the coroutine that has waited longest. asyncio wakes a waiter and lets it look for itself, so a newcomer
//! can take the item first; that was rejected, since a waiter could starve.
//!
//! `state.rs` is the queue as a state machine that runs no user code; `futures.rs` are the waits; `guard.rs` is the item that
//! marks itself done. A ring with the capacity allocated beforehand was rejected: most queues are far from full, so a bounded one grows as it fills.

mod error;
mod futures;
mod guard;
mod state;

pub use error::{Closed, PutError, TryGetError, TryPutError};
pub use futures::{Get, GetGuard, Join, Put};
pub use guard::WorkGuard;

use crate::task::{wake_all, wake_quietly};
use state::State;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;

/// A first-in first-out queue for the coroutines of one thread, bounded or not.
///
/// It is shared in an [`Rc`]. All methods take `&self`.
///
/// # Order
/// Items come out in the order in which they entered. Waiters are served in the order of their coming, on both sides, and nobody
/// overtakes them: an item that enters while getters wait belongs to the oldest of them at once (Tornado's queue does the same); room that
/// appears while putters wait is filled with the oldest one's item at once.
///
/// # Cancellation
/// A getter that is dropped loses nothing: an item that was already its own goes to the next getter in line or, if none waits,
/// back to its old place in the queue. (The queue can then hold more than its capacity for a while; putters wait until it does not.) A
/// putter that is dropped while it waits drops its item too. Each future says so again.
///
/// # Work
/// An item that was put is *unfinished* until [`task_done`](Queue::task_done) was called for it, or its [`WorkGuard`] was dropped;
/// [`join`](Queue::join) waits until none is. Queues that never join need do neither. (Both are asyncio's.)
///
/// # End
/// After [`close`](Queue::close) nothing enters; what is inside can still be taken, then getters are told [`Closed`]. It is asyncio's
/// `shutdown`, without its exceptions in the midst of items.
///
/// # Forgotten futures
/// A future of a queue that is leaked ([`std::mem::forget`]) while it waits keeps its place in the line: a leaked getter takes one
/// item with it, which is dropped with the queue. Nothing else is disturbed.
///
/// ```
/// use squall::sync::Queue;
/// use std::rc::Rc;
///
/// squall::run(async {
///     let queue = Rc::new(Queue::bounded(2));
///     let worker = squall::spawn({
///         let queue = queue.clone();
///         async move {
///             let mut sum = 0;
///             while let Ok(item) = queue.get_guard().await {
///                 sum += *item;
///             }
///             sum
///         }
///     });
///     for item in 1..=10 {
///         queue.put(item).await.unwrap();
///     }
///     queue.join().await; // every item was worked on
///     queue.close(); // which ends the worker's loop
///     assert_eq!(worker.await.unwrap(), 55);
/// });
/// ```
pub struct Queue<T> {
    state: RefCell<State<T>>,
    /// Items that were taken without a guard and not marked done: what `task_done` may be called for.
    taken: Cell<usize>,
    /// Not `Send`: the wakers of its waiters belong to this thread's loop.
    local: PhantomData<Rc<()>>,
}

impl<T> Queue<T> {
    /// A queue in which at most `capacity` items wait to be taken; [`put`](Queue::put) waits while it is full. Memory grows
    /// as it fills, and is kept.
    ///
    /// # Panics
    /// If `capacity` is 0. In asyncio that means no bound, in Go a rendezvous; here the one is called [`unbounded`](Queue::unbounded)
    /// and for the other there is [`oneshot`](crate::sync::oneshot).
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// let queue = Queue::bounded(1);
    /// assert!(queue.try_put('a').is_ok());
    /// assert!(queue.is_full());
    /// ```
    #[track_caller]
    pub fn bounded(capacity: usize) -> Queue<T> {
        assert!(
            capacity > 0,
            "Queue::bounded(0): nothing could ever enter; use Queue::unbounded() for a queue without a bound, \
             Queue::bounded(1) for the smallest one, or sync::oneshot to hand over a single value"
        );
        Queue::with(capacity)
    }

    /// A queue without a bound: [`put`](Queue::put) never waits. Whoever puts faster than others take fills the memory.
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// let queue = Queue::unbounded();
    /// (0..1000).for_each(|item| queue.try_put(item).unwrap());
    /// assert_eq!((queue.len(), queue.capacity()), (1000, None));
    /// ```
    pub fn unbounded() -> Queue<T> {
        Queue::with(usize::MAX)
    }

    fn with(capacity: usize) -> Queue<T> {
        Queue { state: RefCell::new(State::new(capacity)), taken: Cell::new(0), local: PhantomData }
    }

    /// Puts an item at the end of the queue, or into the hands of the oldest waiting getter; waits while the queue is full.
    ///
    /// # Errors
    /// [`PutError`] with the item if the queue is closed, or is closed before there was room.
    ///
    /// # Cancellation
    /// Dropping the future while it waits drops the item, and the queue never sees it. Once the item was taken in (the
    /// future has been woken, or is ready) it stays in.
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// squall::run(async {
    ///     let queue = Queue::bounded(10);
    ///     queue.put("item").await.unwrap();
    ///     queue.close();
    ///     assert_eq!(queue.put("late").await.unwrap_err().into_inner(), "late");
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn put(&self, item: T) -> Put<'_, T> {
        Put::new(self, item, Location::caller())
    }

    /// Puts an item without waiting.
    ///
    /// # Errors
    /// [`TryPutError`] with the item if the queue is full (others may be waiting for room already) or closed.
    ///
    /// ```
    /// use squall::sync::{Queue, queue::TryPutError};
    ///
    /// let queue = Queue::bounded(1);
    /// assert_eq!(queue.try_put(1), Ok(()));
    /// assert_eq!(queue.try_put(2), Err(TryPutError::Full(2)));
    /// ```
    #[inline]
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        let mut state = self.state.borrow_mut();
        if !state.can_put() {
            return Err(TryPutError::Full(item));
        }
        let entered = state.enter(item);
        drop(state);
        entered.map(wake).map_err(|PutError(item)| TryPutError::Closed(item))
    }

    /// Takes the oldest item; waits while there is none. The item counts as unfinished until [`task_done`](Queue::task_done)
    /// is called; [`get_guard`](Queue::get_guard) does that by itself.
    ///
    /// # Errors
    /// [`Closed`] if the queue is closed and nothing is left in it.
    ///
    /// # Cancellation
    /// Dropping the future loses no item: see [`Queue`].
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// squall::run(async {
    ///     let queue = Queue::unbounded();
    ///     queue.try_put(7).unwrap();
    ///     queue.close();
    ///     assert_eq!(queue.get().await, Ok(7));
    ///     assert!(queue.get().await.is_err());
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Get<'_, T> {
        Get::new(self, Location::caller())
    }

    /// Takes the oldest item without waiting.
    ///
    /// # Errors
    /// [`TryGetError`] if there is none now, or none will ever come.
    ///
    /// ```
    /// use squall::sync::{Queue, queue::TryGetError};
    ///
    /// let queue = Queue::unbounded();
    /// queue.try_put(1).unwrap();
    /// assert_eq!(queue.try_get(), Ok(1));
    /// assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    /// queue.close();
    /// assert_eq!(queue.try_get(), Err(TryGetError::Closed));
    /// ```
    #[inline]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        let item = self.try_take()?;
        self.count_taken();
        Ok(item)
    }

    /// As [`get`](Queue::get), with the item in a guard that marks it done when it is dropped: at the end of the work, by `?`, by a panic
    /// or by cancellation alike, so that [`join`](Queue::join) never waits for a worker that is gone.
    ///
    /// # Errors
    /// [`Closed`] if the queue is closed and nothing is left in it.
    ///
    /// # Cancellation
    /// Dropping the future loses no item: see [`Queue`].
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// squall::run(async {
    ///     let queue = Queue::unbounded();
    ///     queue.try_put(vec![1, 2]).unwrap();
    ///     let mut item = queue.get_guard().await.unwrap();
    ///     item.push(3);
    ///     assert_eq!(queue.unfinished(), 1);
    ///     drop(item);
    ///     assert_eq!(queue.unfinished(), 0);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_guard(&self) -> GetGuard<'_, T> {
        GetGuard::new(self, Location::caller())
    }

    /// As [`try_get`](Queue::try_get), with the item in a [`WorkGuard`].
    ///
    /// # Errors
    /// [`TryGetError`] if there is no item now, or none will ever come.
    #[inline]
    pub fn try_get_guard(&self) -> Result<WorkGuard<'_, T>, TryGetError> {
        Ok(WorkGuard::new(self, self.try_take()?))
    }

    /// Says that one item which was taken with [`get`](Queue::get) or [`try_get`](Queue::try_get) has been worked on.
    ///
    /// # Panics
    /// If it is called more often than items were taken. (asyncio raises `ValueError` when it is called more often than items were
    /// *put*; this is noticed sooner, and can never take away what a [`WorkGuard`] still holds.)
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// squall::run(async {
    ///     let queue = Queue::unbounded();
    ///     queue.try_put("item").unwrap();
    ///     queue.get().await.unwrap();
    ///     queue.task_done();
    ///     queue.join().await;
    /// });
    /// ```
    #[track_caller]
    pub fn task_done(&self) {
        let taken = self.taken.get();
        assert!(
            taken > 0,
            "Queue::task_done was called more often than items were taken with get or try_get: call it once for each; \
             an item taken with get_guard or try_get_guard marks itself done when its guard is dropped"
        );
        self.taken.set(taken - 1);
        self.finish_one();
    }

    /// Waits until every item that was put has been marked done. Ready at once if none is unfinished; items that are put after the
    /// count has reached zero do not keep those who waited by then.
    ///
    /// A queue that is closed with items in it is joined only when somebody takes them: `while let Ok(item) = queue.try_get_guard() {}`
    /// discards them.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// squall::run(async {
    ///     let queue = Queue::unbounded();
    ///     queue.try_put("item").unwrap();
    ///     drop(queue.try_get_guard());
    ///     queue.join().await;
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn join(&self) -> Join<'_, T> {
        Join::new(self, Location::caller())
    }

    /// Closes the queue: from here on nothing enters. Putters that wait get their items back; getters drain what is left, and
    /// those who wait are told [`Closed`]. Closing twice is the same as once.
    ///
    /// A getter that is cancelled after this, with an item already its own, leaves that item in the queue for whoever asks next.
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// squall::run(async {
    ///     let queue = Queue::bounded(1);
    ///     queue.put(1).await.unwrap();
    ///     queue.close();
    ///     assert!(queue.is_closed());
    ///     assert!(queue.put(2).await.is_err());
    ///     assert_eq!(queue.get().await, Ok(1));
    /// });
    /// ```
    pub fn close(&self) {
        let (getters, putters) = self.state.borrow_mut().close();
        wake_all(getters);
        wake_all(putters);
    }

    /// True after [`close`](Queue::close).
    pub fn is_closed(&self) -> bool {
        self.state.borrow().is_closed()
    }

    /// The number of items that wait to be taken.
    pub fn len(&self) -> usize {
        self.state.borrow().len()
    }

    /// True if no item waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the queue holds its capacity (or more, see [`Queue`]): [`put`](Queue::put) waits then, unless the queue is closed.
    pub fn is_full(&self) -> bool {
        let state = self.state.borrow();
        state.len() >= state.capacity()
    }

    /// The most items that may wait to be taken; `None` without a bound.
    pub fn capacity(&self) -> Option<usize> {
        Some(self.state.borrow().capacity()).filter(|capacity| *capacity != usize::MAX)
    }

    /// The number of items that were put and are not done: in the queue, on the way to a getter, or being worked on. Putters that
    /// wait for room do not count.
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// let queue = Queue::unbounded();
    /// queue.try_put(1).unwrap();
    /// queue.try_put(2).unwrap();
    /// let _item = queue.try_get().unwrap();
    /// assert_eq!((queue.len(), queue.unfinished()), (1, 2));
    /// ```
    pub fn unfinished(&self) -> usize {
        self.state.borrow().unfinished()
    }

    #[inline]
    fn try_take(&self) -> Result<T, TryGetError> {
        let mut state = self.state.borrow_mut();
        let Some((item, putter)) = state.take() else {
            return Err(if state.is_closed() { TryGetError::Closed } else { TryGetError::Empty });
        };
        drop(state);
        wake(putter);
        Ok(item)
    }

    #[inline]
    fn count_taken(&self) {
        self.taken.set(self.taken.get() + 1);
    }

    #[inline]
    fn finish_one(&self) {
        let is_last = self.state.borrow_mut().finish_one();
        if is_last {
            self.wake_joiners();
        }
    }

    #[cold]
    fn wake_joiners(&self) {
        let joiners = self.state.borrow_mut().joiners().grant_all(|()| ());
        wake_all(joiners);
    }
}

#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        wake_quietly(waker);
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.borrow().fmt(f)
    }
}
