//! smol's `LocalExecutor` under smol's `block_on`, which drives its I/O and its timers.

use super::Runtime;
use smol::{LocalExecutor, Timer};
use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

pub struct Smol;

thread_local! {
    /// smol leaves it to the program to hand its executor around. A leaked one per run, so that tasks can be dropped by
    /// `run` and yet be `'static`.
    static EXECUTOR: Cell<Option<&'static LocalExecutor<'static>>> = const { Cell::new(None) };
}

impl Runtime for Smol {
    type Task<T: 'static> = smol::Task<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        let executor = Box::into_raw(Box::new(LocalExecutor::new()));
        // SAFETY: freed below, after the last use; rows keep nothing of an executor beyond their run.
        EXECUTOR.set(Some(unsafe { &*executor }));
        // SAFETY: as above.
        let output = smol::block_on(unsafe { &*executor }.run(async { Smol::spawn(body).await }));
        // SAFETY: made above. Its destructor drops the tasks that are left, which may still find it.
        drop(unsafe { Box::from_raw(executor) });
        EXECUTOR.set(None);
        output
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        EXECUTOR.get().expect("inside run").spawn(future)
    }

    fn detach<T: 'static>(task: Self::Task<T>) {
        task.detach();
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        smol::future::yield_now()
    }

    #[inline]
    async fn sleep(duration: Duration) {
        Timer::after(duration).await;
    }

    crate::borrowed_channels!();
}
