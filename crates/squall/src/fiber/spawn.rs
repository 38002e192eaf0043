//! Fibers are begun here.

use super::arena::{Stack, StackTotals, Stacks};
use super::body::FiberTask;
use super::current::Cold;
use super::scope::Membership;
use crate::event_loop;
use crate::task::{JoinHandle, NewTask};
use std::future::Future;
use std::io;
use std::panic::Location;

/// Enough for what a program does between two waits: a TLS handshake in an unoptimised build, formatting, a JSON parser. Only what is touched takes memory.
pub(super) const STACK_BYTES: usize = 256 * 1024;

/// Runs a function on a stack of its own, on the current loop: it may wait at any depth of calls with [`wait`](super::wait), and the loop runs others meanwhile.
///
/// The fiber is a task: it first runs next turn, and its handle can be awaited, aborted or dropped (then the fiber runs on by itself). If no stack can be had
/// for it, the handle says so: [`JoinError::is_not_started`](crate::JoinError::is_not_started).
///
/// # Cancellation
/// Aborting it, or ending the loop, ends it where it waits, on the spot: calls that can return an error ([`try_wait`](super::try_wait), [`Blocking`](super::Blocking))
/// return [`Cancelled`](super::Cancelled), the others unwind its stack, so that destructors run. See [the module](super#cancelling).
///
/// # Panics
/// Outside a loop.
///
/// ```
/// use squall::fiber;
///
/// squall::run(async {
///     let lines = fiber::spawn(|| {
///         let sum = squall::spawn(async { 40 + 2 });
///         fiber::wait(sum).unwrap()
///     });
///     assert_eq!(lines.await.unwrap(), 42);
/// });
/// ```
#[track_caller]
pub fn spawn<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + 'static,
    R: 'static,
{
    let new = NewTask { name: None, spawned_at: Location::caller() };
    event_loop::with("fiber::spawn", |core| {
        let stack = Stacks::of_loop(core.tasks.home()).take(STACK_BYTES);
        let cold = Cold::new(None, new.spawned_at, false, None);
        // SAFETY: `'static`, and a task's whole future.
        core.spawn(unsafe { FiberTask::new(cold, f, stack) }, new)
    })
}

/// How many stacks the current loop has, and what they take.
///
/// # Panics
/// Outside a loop.
///
/// ```
/// use squall::fiber;
///
/// squall::run(async {
///     let fibers: Vec<_> = (0..10).map(|_| fiber::spawn(fiber::yield_now)).collect();
///     assert_eq!(fiber::stacks().in_use, 10);
///     for fiber in fibers {
///         fiber.await.unwrap();
///     }
///     assert_eq!((fiber::stacks().in_use, fiber::stacks().pooled), (0, 10));
/// });
/// ```
#[track_caller]
pub fn stacks() -> StackTotals {
    event_loop::with("fiber::stacks", |core| Stacks::of_loop(core.tasks.home()).totals())
}

/// Spawns a fiber with a name, or with another stack than usual.
///
/// ```
/// use squall::fiber;
///
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     let parser = fiber::Builder::new().name("parser").stack_size(4 << 20).spawn(|| "parsed")?;
///     assert_eq!(parser.await?, "parsed");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    name: Option<String>,
    stack_bytes: usize,
    is_measured: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// No name, and a stack of 256 KiB.
    pub fn new() -> Builder {
        Builder { name: None, stack_bytes: STACK_BYTES, is_measured: false }
    }

    /// Names the fiber in messages and reports, those of an overflow too.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The bytes of its stack: rounded up to a power of two, 16 KiB at least, 1 GiB at most. What is never touched takes addresses and no memory.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_bytes = bytes;
        self
    }

    /// Gives the fiber a stack that is all zeros, so that [`stack_high_water`](super::stack_high_water) can tell how much of it was used.
    pub fn measure_stack(mut self) -> Builder {
        self.is_measured = true;
        self
    }

    /// Spawns the fiber on the current loop, as [`spawn`] does.
    ///
    /// # Errors
    /// `OutOfMemory` if no stack can be had, with what to do; `InvalidInput` for a size above the limit. `f` is dropped then.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn spawn<F, R>(self, f: F) -> io::Result<JoinHandle<R>>
    where
        F: FnOnce() -> R + 'static,
        R: 'static,
    {
        let spawned_at = Location::caller();
        event_loop::with("fiber::Builder::spawn", |core| {
            let stack = self.stack(Stacks::of_loop(core.tasks.home()))?;
            let cold = self.cold(spawned_at, None);
            // SAFETY: `'static`, and a task's whole future.
            Ok(core.spawn(unsafe { FiberTask::new(cold, f, Ok(stack)) }, self.task(spawned_at)))
        })
    }

    /// The fiber as a future, for whoever owns tasks in another way: it must be polled as the whole of a task.
    pub(crate) fn into_task<F, R>(
        self,
        spawned_at: &'static Location<'static>,
        f: F,
    ) -> io::Result<(impl Future<Output = R> + use<F, R>, NewTask)>
    where
        F: FnOnce() -> R + 'static,
        R: 'static,
    {
        event_loop::with("fiber::Builder::spawn_in", |core| {
            let stack = self.stack(Stacks::of_loop(core.tasks.home()))?;
            // SAFETY: `'static`; the rest is said above.
            let fiber = unsafe { FiberTask::new(self.cold(spawned_at, None), f, Ok(stack)) };
            Ok((fiber, self.task(spawned_at)))
        })
    }

    pub(super) fn stack(&self, stacks: &Stacks) -> io::Result<Stack> {
        if self.is_measured { stacks.take_clean(self.stack_bytes) } else { stacks.take(self.stack_bytes) }
    }

    pub(super) fn cold(
        &self,
        spawned_at: &'static Location<'static>,
        membership: Option<Membership>,
    ) -> Cold {
        Cold::new(self.name.as_deref(), spawned_at, self.is_measured, membership)
    }

    pub(super) fn task(&self, spawned_at: &'static Location<'static>) -> NewTask {
        NewTask { name: self.name.clone(), spawned_at }
    }
}
