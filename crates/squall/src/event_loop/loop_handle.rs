//! A loop seen from other threads.

use super::catch_unwind;
use super::core::Core;
use super::current::{self, Home};
use crate::task::{Handle, JoinError, Message, NewTask, WaitingOn, drop_foreign, note_waiting, wake_quietly};
use std::fmt;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A handle to an event loop that may be kept and used anywhere: plain numbers, `Send`, `Sync` and `Copy`.
///
/// What it asks for travels through the loop's inbox. After the loop has ended it asks in vain, which does no harm.
///
/// ```
/// let answer = squall::run(async {
///     let here = squall::LoopHandle::current();
///     let thread = std::thread::spawn(move || {
///         // The closure is sent; the future that it makes lives on the loop and need not be Send.
///         let task = here.spawn(|| async {
///             let n = std::rc::Rc::new(42);
///             squall::yield_now().await;
///             *n
///         });
///         task.wait()
///     });
///     squall::blocking::run(move || thread.join().unwrap()).await
/// });
/// assert_eq!(answer.unwrap(), 42);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoopHandle {
    home: Home,
}

impl LoopHandle {
    /// The loop that is running on this thread.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn current() -> LoopHandle {
        current::with("LoopHandle::current", LoopHandle::of)
    }

    /// The loop that is running on this thread, if there is one.
    pub fn try_current() -> Option<LoopHandle> {
        current::try_with(LoopHandle::of)
    }

    pub(super) fn of(core: &Core) -> LoopHandle {
        LoopHandle { home: core.home() }
    }

    /// True if the loop has ended.
    pub fn has_ended(&self) -> bool {
        self.home.has_ended()
    }

    /// Asks the loop to stop; see [`stop`](crate::stop).
    pub fn stop(&self) {
        if self.home.try_with(|core| core.stop.request()).is_none() {
            let _ = self.home.send(Message::Stop);
        }
    }

    /// Calls a closure on the loop, in its turn; see [`callback::call_soon`](crate::callback::call_soon). False if the loop has ended: then the
    /// closure was dropped. (If it ends before it has taken the request, the closure is dropped there.)
    ///
    /// The closure is sent, so it cannot hold an `Rc` of the loop's. What it is to reach lies in a `thread_local!` of the loop's thread, or it sends a value to a task
    /// that has the `Rc` (by an `async-channel`, say).
    ///
    /// From the loop's own thread it stands behind what other threads have asked for; `callback::call_soon` takes the shorter way.
    ///
    /// ```
    /// use squall::LoopHandle;
    /// use std::cell::RefCell;
    ///
    /// thread_local! {
    ///     static LOG: RefCell<Vec<String>> = RefCell::default();
    /// }
    ///
    /// squall::run(async {
    ///     let here = LoopHandle::current();
    ///     std::thread::spawn(move || {
    ///         assert!(here.call_soon(|| LOG.with_borrow_mut(|log| log.push("from a thread".into()))));
    ///         here.stop();
    ///     });
    ///     squall::stopping().await;
    ///     assert_eq!(LOG.take(), ["from a thread"]);
    /// });
    /// ```
    #[track_caller]
    pub fn call_soon(&self, f: impl FnOnce() + Send + 'static) -> bool {
        self.home.send(Message::Call(Box::new(f), Location::caller())).is_ok()
    }

    /// Spawns a task on the loop. The closure travels there and makes the future, which therefore need not be `Send`; the output
    /// travels back.
    ///
    /// The handle can be awaited on any loop or executor, or waited for by a thread. If the loop has ended, or ends before it has taken
    /// the request, the handle says so.
    #[track_caller]
    pub fn spawn<M, F, T>(&self, make: M) -> RemoteHandle<T>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let shared = Arc::new(Shared::<T> { state: Mutex::default(), ended: Condvar::new() });
        let delivery = Delivery(Some(shared.clone()));
        let spawned_at = Location::caller();
        let start = move || {
            let Some(shared) = delivery.0.clone() else { return };
            // Aborted before it began: dropping the delivery says so.
            if shared.lock().is_aborted {
                return;
            }
            let future = match panic::catch_unwind(AssertUnwindSafe(make)) {
                Ok(future) => future,
                Err(panic) => return delivery.deliver(Err(JoinError::panicked(panic))),
            };
            let future = async move {
                let output = catch_unwind(future).await;
                delivery.deliver(output.map_err(|panic| JoinError::panicked(panic.into_payload())));
            };
            let new = NewTask { name: None, spawned_at };
            let task = current::with("LoopHandle::spawn", |core| core.spawn(future, new));
            let handle = task.raw();
            drop(task);
            let is_aborted = {
                let mut state = shared.lock();
                state.task = handle;
                state.is_aborted
            };
            if is_aborted {
                shared.abort();
            }
        };
        // A request that comes back is dropped here, and its `Delivery` says that the loop has ended.
        drop(self.home.send(Message::Spawn(Box::new(start))));
        RemoteHandle { shared }
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

struct State<T> {
    output: Option<Result<T, JoinError>>,
    has_ended: bool,
    is_aborted: bool,
    task: Option<Handle>,
    waker: Option<Waker>,
}

impl<T> Default for State<T> {
    fn default() -> State<T> {
        State { output: None, has_ended: false, is_aborted: false, task: None, waker: None }
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort(&self) {
        let task = self.lock().task;
        if let Some(task) = task {
            crate::task::abort_anywhere(task);
        }
    }
}

/// The task's end of a [`RemoteHandle`]. Dropped undelivered, it says why there will be no output.
struct Delivery<T>(Option<Arc<Shared<T>>>);

impl<T> Delivery<T> {
    fn deliver(mut self, output: Result<T, JoinError>) {
        if let Some(shared) = self.0.take() {
            finish(&shared, output);
        }
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            let (is_aborted, began) = {
                let state = shared.lock();
                (state.is_aborted, state.task.is_some())
            };
            finish(
                &shared,
                Err(if is_aborted || began { JoinError::cancelled() } else { JoinError::loop_ended() }),
            );
        }
    }
}

fn finish<T>(shared: &Shared<T>, output: Result<T, JoinError>) {
    let waker = {
        let mut state = shared.lock();
        state.output = Some(output);
        state.has_ended = true;
        state.waker.take()
    };
    shared.ended.notify_all();
    if let Some(waker) = waker {
        wake_quietly(waker);
    }
}

/// The handle of a task that was spawned on another loop by [`LoopHandle::spawn`].
///
/// Await it on any loop or executor, or block a thread with [`wait`](Self::wait). Dropping it detaches the task.
pub struct RemoteHandle<T> {
    shared: Arc<Shared<T>>,
}

impl<T> RemoteHandle<T> {
    /// Asks for the task's end; see [`JoinHandle::abort`](crate::JoinHandle::abort). A task that has not begun never will.
    pub fn abort(&self) {
        self.shared.lock().is_aborted = true;
        self.shared.abort();
    }

    /// True if the task has ended.
    pub fn is_finished(&self) -> bool {
        self.shared.lock().has_ended
    }

    /// Blocks this thread until the task has ended.
    ///
    /// # Errors
    /// As for [`JoinHandle`](crate::JoinHandle), and when the loop ended first.
    ///
    /// # Panics
    /// On a thread that runs an event loop, which it would stop: await the handle there.
    pub fn wait(self) -> Result<T, JoinError> {
        assert!(
            !current::is_running(),
            "RemoteHandle::wait would block this thread's event loop: await the handle instead"
        );
        let mut state = self.shared.lock();
        loop {
            if let Some(output) = state.output.take() {
                return output;
            }
            assert!(!state.has_ended, "RemoteHandle::wait after the handle gave its output");
            state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned and dropped with the lock open: a foreign waker may do anything.
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        if let Some(output) = state.output.take() {
            drop(state);
            return Poll::Ready(output);
        }
        assert!(!state.has_ended, "RemoteHandle polled after it gave its output");
        let replaced = state.waker.replace(waker);
        drop(state);
        drop_foreign(replaced);
        note_waiting(WaitingOn::RemoteJoin, Location::caller());
        Poll::Pending
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle").field("is_finished", &self.is_finished()).finish()
    }
}
