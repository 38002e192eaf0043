//! compio on io_uring, with its defaults.

use super::{Runtime, Unwrapped};
use std::future::Future;
use std::time::Duration;

pub struct Compio;

impl Runtime for Compio {
    type Task<T: 'static> = Unwrapped<compio::runtime::JoinHandle<T>>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        let runtime = compio::runtime::Runtime::new().expect("compio's runtime");
        runtime.block_on(async { Compio::spawn(body).await })
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        Unwrapped(compio::runtime::spawn(future))
    }

    fn detach<T: 'static>(task: Self::Task<T>) {
        task.0.detach();
    }

    /// compio has no yield of its own.
    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        smol::future::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        compio::time::sleep(duration)
    }

    crate::borrowed_channels!();
}
