//! glommio, placed on the core of the runtimes, with its defaults.

use super::Runtime;
use crate::machine::RUNTIME_CORE;
use glommio::{LocalExecutorBuilder, Placement};
use std::future::Future;
use std::time::Duration;

pub struct Glommio;

impl Runtime for Glommio {
    type Task<T: 'static> = glommio::Task<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        let executor =
            LocalExecutorBuilder::new(Placement::Fixed(RUNTIME_CORE)).make().expect("glommio's executor");
        executor.run(async { Glommio::spawn(body).await })
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        glommio::spawn_local(future)
    }

    fn detach<T: 'static>(task: Self::Task<T>) {
        task.detach();
    }

    /// The same as glommio's own `yield_now`, which is re-exported from there.
    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        smol::future::yield_now()
    }

    #[inline]
    async fn sleep(duration: Duration) {
        glommio::timer::Timer::new(duration).await;
    }

    crate::borrowed_channels!();
}
