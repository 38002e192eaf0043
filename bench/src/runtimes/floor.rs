//! The floor: the bare executor of `crate::floor`.

use super::Runtime;
use crate::floor;
use std::future::Future;
use std::time::Duration;

pub struct Floor;

impl Runtime for Floor {
    type Task<T: 'static> = floor::JoinHandle<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        floor::run(body)
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        floor::spawn(future)
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        floor::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        floor::sleep(duration)
    }

    crate::borrowed_channels!();
}
