//! The life of a loop: it is built, turned until its main future ends, and dropped with all that is left on it.

use super::core::{Core, Idle};
use super::current::{self, Entered};
use super::{Builder, LoopHandle};
use crate::driver::{DriverKind, IoTotals};
use crate::task::{Handle, JoinHandle, NewTask, Standing};
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};

/// Runs a future on a new event loop on this thread, until it ends.
///
/// Tasks that are left then are dropped, the youngest first, before this returns. The future need not be `Send` or `'static`.
///
/// # Panics
/// With the panic of `main`; inside an event loop; and when the system cannot give a loop its descriptors ([`Builder::run`] gives
/// that as an error).
///
/// ```
/// let name = String::from("squall");
/// let greeting = squall::run(async { format!("hello from {name}") });
/// assert_eq!(greeting, "hello from squall");
/// ```
#[track_caller]
pub fn run<F: Future>(main: F) -> F::Output {
    match Builder::new().run(main) {
        Ok(output) => output,
        Err(error) => panic!("squall::run: {error}"),
    }
}

/// Runs a loop that goes on after `setup` has ended, until [`stop`] or [`LoopHandle::stop`].
///
/// # Errors
/// The error of `setup`, at once.
///
/// # Panics
/// As [`run`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// squall::run_forever(async {
///     squall::spawn(async {
///         squall::yield_now().await;
///         squall::stop();
///     });
///     std::io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn run_forever<E>(setup: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    refuse_nesting("run_forever");
    match Builder::new().build() {
        Ok(event_loop) => event_loop.run_forever(setup),
        Err(error) => panic!("squall::run_forever: {error}"),
    }
}

/// Asks the current loop to stop: [`run_forever`] ends, and under [`run`] it is a request that [`stopping`](crate::stopping) shows.
///
/// # Panics
/// Outside a loop: use [`LoopHandle::stop`] from other threads.
#[track_caller]
pub fn stop() {
    // The waiters are woken inside, but nothing of the loop is borrowed then.
    current::with("squall::stop", |core| core.stop.request());
}

/// The driver that the current loop runs on.
///
/// # Panics
/// Outside a loop.
#[track_caller]
pub fn driver() -> DriverKind {
    current::with("squall::driver", |core| core.driver.borrow().kind())
}

/// What the current loop's driver holds: bytes each way, operations, buffers.
///
/// # Panics
/// Outside a loop.
///
/// ```
/// squall::run(async {
///     let totals = squall::io_totals();
///     assert_eq!((totals.unread_bytes, totals.unsent_bytes), (0, 0));
/// });
/// ```
#[track_caller]
pub fn io_totals() -> IoTotals {
    current::with("squall::io_totals", |core| core.io_totals())
}

#[track_caller]
pub(super) fn refuse_nesting(what: &str) {
    if current::is_running() {
        panic!(
            "squall::{what} was called inside an event loop: this thread runs one already; await the future, or squall::spawn it"
        );
    }
}

/// An event loop, to be turned by hand.
///
/// Most programs use [`run`]. A loop that is turned by hand can share its thread with others: each turn makes it the
/// current one and restores the one before. Dropping it ends its life: tasks are dropped, the youngest first.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let (a, b) = (squall::EventLoop::new()?, squall::EventLoop::new()?);
/// let task = a.spawn(async { 1 });
/// b.spawn(async { 2 }).abort();
/// assert_eq!((a.turn(), b.turn()), (1, 0));
/// assert!(task.is_finished());
/// # Ok(())
/// # }
/// ```
pub struct EventLoop {
    core: Box<Core>,
    /// It belongs to the thread that made it: what its tasks hold need not be Send.
    _not_send: PhantomData<*const ()>,
}

impl EventLoop {
    /// A loop with the defaults of [`Builder`].
    ///
    /// # Errors
    /// Those of [`Builder::build`].
    pub fn new() -> io::Result<EventLoop> {
        Builder::new().build()
    }

    pub(super) fn from_core(core: Core) -> EventLoop {
        EventLoop { core: Box::new(core), _not_send: PhantomData }
    }

    /// One turn without waiting: takes the inbox, polls exactly the tasks that were ready, and if none is ready then looks
    /// at the driver and fires the timers that are due. Gives the number of polls.
    ///
    /// # Panics
    /// Inside a turn of the same loop; in a child process that inherited the loop through `fork`.
    pub fn turn(&self) -> usize {
        let _entered = Entered::new(&self.core);
        self.core.turn(Idle::Return) as usize
    }

    /// Like [`turn`](Self::turn), but when nothing is ready it waits for something to happen; under virtual time it jumps to the next timer.
    ///
    /// # Panics
    /// As `turn`; under virtual time also when nothing can ever happen again.
    pub fn wait_turn(&self) -> usize {
        let _entered = Entered::new(&self.core);
        self.core.turn(Idle::Wait) as usize
    }

    /// Turns the loop until a future ends. Other tasks stay.
    ///
    /// # Panics
    /// With the panic of the future, and as [`turn`](Self::turn).
    #[track_caller]
    pub fn run_until<F: Future>(&self, main: F) -> F::Output {
        let new = NewTask { name: Some("main".into()), spawned_at: Location::caller() };
        let core = &*self.core;
        let entered = Entered::new(core);
        // SAFETY: `MainTask` drops the future or its output before this function is left, however it is left.
        let handle = unsafe { core.tasks.spawn_unchecked(main, new) };
        let main = MainTask { core, handle };
        let output = loop {
            if let Standing::Done(task) = core.tasks.look(main.handle) {
                // SAFETY: the handle was made for `main`, so this is its output's type.
                break unsafe { core.tasks.take_output::<F::Output>(main.handle, task) };
            }
            core.turn_until(main.handle);
        };
        drop((main, entered));
        match output {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(error) => unreachable!("nobody else has a handle to cancel the main task with: {error}"),
            },
        }
    }

    /// Like [`run_forever`], on this loop.
    ///
    /// # Errors
    /// The error of `setup`.
    ///
    /// # Panics
    /// As [`run_until`](Self::run_until).
    #[track_caller]
    pub fn run_forever<E>(&self, setup: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        self.run_until(async {
            setup.await?;
            super::stopping().await;
            Ok(())
        })
    }

    /// Spawns a task on this loop; see [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.core.spawn(future, NewTask { name: None, spawned_at: Location::caller() })
    }

    /// A handle that other threads can use.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle::of(&self.core)
    }

    /// The number of tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.core.tasks.live() as usize
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("driver", &self.core.driver.borrow().kind())
            .field("tasks", &self.core.tasks.live())
            .field("ready", &self.core.tasks.ready())
            .field("timers", &self.core.timers.borrow().len())
            .field("sockets", &self.core.driver.borrow().sockets())
            .field("foreign_wakers", &self.core.tasks.foreign.len())
            .field("turns", &self.core.turns.get())
            .field("polls", &self.core.polls())
            .finish_non_exhaustive()
    }
}

/// The main task, which may borrow from the caller of `run_until`: gone when this is dropped, whatever happens.
struct MainTask<'a> {
    core: &'a Core,
    handle: Handle,
}

impl Drop for MainTask<'_> {
    fn drop(&mut self) {
        let tasks = &self.core.tasks;
        // Only a turn that was left by a panic (a deadlock's report) finds it alive; it is not on the stack then.
        tasks.abort(self.handle);
        tasks.detach(self.handle);
        if !matches!(tasks.look(self.handle), Standing::Gone) {
            eprintln!("squall: the main future outlives what it borrows");
            std::process::abort();
        }
    }
}
