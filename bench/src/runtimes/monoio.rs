//! monoio on io_uring, with its timer. Built with `sync`, without which no other thread can wake a task at all.

use super::Runtime;
use monoio::{IoUringDriver, RuntimeBuilder};
use std::future::Future;
use std::time::Duration;

pub struct Monoio;

impl Runtime for Monoio {
    type Task<T: 'static> = monoio::task::JoinHandle<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        let mut runtime =
            RuntimeBuilder::<IoUringDriver>::new().enable_timer().build().expect("monoio's runtime");
        runtime.block_on(async { Monoio::spawn(body).await })
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        monoio::spawn(future)
    }

    /// monoio has no yield of its own.
    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        smol::future::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }

    crate::borrowed_channels!();
}
