//! The request to stop, and how tasks see it.

use super::current;
use crate::task::{Cancelled, Key, WaitList, WaitingOn, drop_foreign, poll_turn, wake_all};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A loop's request to stop: made once, seen for ever.
pub(super) struct StopRequest {
    is_made: Cell<bool>,
    waiting: RefCell<WaitList<(), ()>>,
}

impl StopRequest {
    pub(super) fn new() -> StopRequest {
        StopRequest { is_made: Cell::new(false), waiting: RefCell::new(WaitList::new()) }
    }

    pub(super) fn request(&self) {
        self.is_made.set(true);
        let wakers = self.waiting.borrow_mut().grant_all(|()| ());
        wake_all(wakers);
    }
}

/// Wakers of waits that were forgotten, or carried off: a foreign one may panic.
impl Drop for StopRequest {
    fn drop(&mut self) {
        for waker in self.waiting.get_mut().grant_all(|()| ()) {
            drop_foreign(Some(waker));
        }
    }
}

/// Waits until somebody asks the current loop to stop ([`stop`](crate::stop), [`LoopHandle::stop`](crate::LoopHandle::stop)).
///
/// Ready at once if that was before. Any number of tasks may wait. Dropping the future stops waiting.
///
/// # Panics
/// When awaited outside a loop.
///
/// ```
/// squall::run(async {
///     let worker = squall::spawn(async {
///         squall::stopping().await;
///         "cleaned up"
///     });
///     squall::stop();
///     assert_eq!(worker.await.unwrap(), "cleaned up");
/// });
/// ```
#[track_caller]
pub fn stopping() -> Stopping {
    Stopping { key: None, place: Location::caller(), _not_send: PhantomData }
}

/// The future of [`stopping`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Stopping {
    /// The place in the line, and the loop whose line it is.
    key: Option<(Key, current::Home)>,
    place: &'static Location<'static>,
    _not_send: PhantomData<*const ()>,
}

impl Future for Stopping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.key.is_none() {
            if current::with("squall::stopping", |core| core.stop.is_made.get()) {
                return Poll::Ready(());
            }
            // Cloned before anything is borrowed: a foreign waker may come back here.
            let waker = cx.waker().clone();
            this.key = current::with("squall::stopping", |core| {
                Some((core.stop.waiting.borrow_mut().push(waker, ()), core.home()))
            });
            if current::with("squall::stopping", |core| core.stop.is_made.get()) {
                return Poll::Ready(());
            }
        }
        let Some((key, home)) = this.key.take() else { return Poll::Ready(()) };
        let mut key = Some(key);
        let polled = current::with("squall::stopping", |core| {
            assert!(
                core.home() == home,
                "squall::stopping() was polled on another event loop than it began to wait on"
            );
            poll_turn(&core.stop.waiting, |list| list, &mut key, cx, WaitingOn::Stopping, this.place)
        });
        this.key = key.map(|key| (key, home));
        polled
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let Some((key, home)) = self.key.take() else { return };
        // Elsewhere its entry stays in the loop's list until the loop ends: a stale waker, woken at most once.
        let cancelled = home.try_with(|core| core.stop.waiting.borrow_mut().cancel(key));
        if let Some(Cancelled::Waiting(waker, ())) = cancelled {
            drop_foreign(Some(waker));
        }
    }
}
