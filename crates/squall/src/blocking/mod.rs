//! Work that blocks, on a pool of threads.
//!
//! The pool is that of the `blocking` crate: threads come as they are needed, end when they are idle, and never keep a process from
//! ending. A pool of our own was rejected: nothing in it would be better.

use crate::event_loop;
use crate::task::{PendingWork, WaitingOn, drop_foreign, note_waiting, wake_quietly};
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

/// Runs a closure on the pool and waits for its output without blocking the loop. It starts at once.
///
/// Cancellation: dropping the future forgets a closure that has not begun; one that runs is left to end, and its output is dropped.
/// Under virtual time the clock stands still until it ends.
///
/// # Panics
/// Awaiting it panics with the closure's panic.
///
/// ```
/// squall::run(async {
///     let text = squall::blocking::run(|| std::fs::read_to_string("Cargo.toml")).await;
///     assert!(text.unwrap().contains("[package]"));
/// });
/// ```
#[track_caller]
pub fn run<T, F>(work: F) -> Job<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let shared = Arc::new(Shared(Mutex::new(State::Pending { waker: None, loop_waits: None })));
    shared.hold_clock();
    let theirs = shared.clone();
    ::blocking::unblock(move || theirs.work(work)).detach();
    Job { shared, place: Location::caller() }
}

/// The future of [`run`].
#[must_use = "dropping it may forget the work; await it"]
pub struct Job<T> {
    shared: Arc<Shared<T>>,
    place: &'static Location<'static>,
}

enum State<T> {
    Pending {
        waker: Option<Waker>,
        /// Keeps the virtual clock of the loop that waits from jumping.
        loop_waits: Option<PendingWork>,
    },
    Ended(thread::Result<T>),
    /// The output was taken, or nobody wants it.
    Over,
}

struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the pool's thread.
    fn work(&self, work: impl FnOnce() -> T) {
        if matches!(*self.lock(), State::Over) {
            return;
        }
        let output = catch_unwind(AssertUnwindSafe(work));
        let mut state = self.lock();
        if matches!(*state, State::Over) {
            drop(state);
            // Nobody wants it; its destructor may panic, which ends here.
            drop(catch_unwind(AssertUnwindSafe(|| drop(output))));
            return;
        }
        let State::Pending { waker, loop_waits } = mem::replace(&mut *state, State::Ended(output)) else {
            return;
        };
        drop(state);
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        // Only now may the clock go on: the wake stands in the loop's inbox.
        drop(loop_waits);
    }

    /// The current loop, if there is one, waits for this work.
    fn hold_clock(&self) {
        let Some(work) = event_loop::try_with(|core| core.pending_work()) else { return };
        let mut before = None;
        if let State::Pending { loop_waits, .. } = &mut *self.lock() {
            before = loop_waits.replace(work);
        }
        drop(before);
    }
}

impl<T> Future for Job<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.shared.hold_clock();
        // Cloned and dropped with the lock open: a foreign waker may do anything.
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        let replaced = match &mut *state {
            State::Pending { waker: mine, .. } => mine.replace(waker),
            State::Ended(_) => {
                let State::Ended(output) = mem::replace(&mut *state, State::Over) else {
                    unreachable!("matched above")
                };
                drop(state);
                return match output {
                    Ok(output) => Poll::Ready(output),
                    Err(panic) => resume_unwind(panic),
                };
            }
            State::Over => panic!("blocking::Job polled after it gave its output"),
        };
        drop(state);
        drop_foreign(replaced);
        note_waiting(WaitingOn::Blocking, self.place);
        Poll::Pending
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        let state = mem::replace(&mut *self.shared.lock(), State::Over);
        if let State::Pending { waker, .. } = state {
            drop_foreign(waker);
        }
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("place", &self.place).finish_non_exhaustive()
    }
}
