//! Work that blocks, on a pool of threads. Level 4.
//!
//! The pool is that of the `blocking` crate: threads come as they are needed, end when they are idle, and never keep a process from
//! ending. A pool of our own was rejected: nothing in it would be better.

use crate::event_loop;
use crate::task::{WaitingOn, note_waiting};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
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
    let pending = event_loop::try_with(|core| Pending::new(&core.blocking_jobs));
    let task = ::blocking::unblock(move || catch_unwind(AssertUnwindSafe(work)));
    Job { task: Some(task), pending, place: Location::caller(), _not_send: PhantomData }
}

/// The future of [`run`].
#[must_use = "dropping it may forget the work; await it"]
pub struct Job<T> {
    task: Option<::blocking::Task<thread::Result<T>>>,
    pending: Option<Pending>,
    place: &'static Location<'static>,
    /// It counts on its loop's thread.
    _not_send: PhantomData<*const ()>,
}

/// One of the loop's pending jobs.
struct Pending(Rc<Cell<u32>>);

impl Pending {
    fn new(jobs: &Rc<Cell<u32>>) -> Pending {
        jobs.set(jobs.get() + 1);
        Pending(jobs.clone())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<T> Future for Job<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let task = this.task.as_mut().expect("blocking::Job polled after it gave its output");
        let Poll::Ready(output) = Pin::new(task).poll(cx) else {
            note_waiting(WaitingOn::Blocking, this.place);
            return Poll::Pending;
        };
        this.task = None;
        this.pending = None;
        match output {
            Ok(output) => Poll::Ready(output),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("place", &self.place).finish_non_exhaustive()
    }
}
