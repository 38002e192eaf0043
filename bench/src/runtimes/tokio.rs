//! tokio's single-threaded schedulers, with tokio's own oneshot.
//!
//! * `tokio`: the current-thread scheduler itself. Its `spawn` asks for `Send`; `LocalRuntime` is the same scheduler
//!   that takes futures which are not, so the rows need no `unsafe` promise.
//! * `tokio-localset`: a `LocalSet` on that scheduler, as most single-threaded tokio programs have it.

use super::{Runtime, Unwrapped};
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

pub type TokioCurrentThread = Tokio<CurrentThread>;
pub type TokioLocalSet = Tokio<InLocalSet>;

pub struct Tokio<K>(PhantomData<K>);
pub struct CurrentThread;
pub struct InLocalSet;

pub trait Kind: 'static {
    fn block_on<F: Future>(future: F) -> F::Output;
}

impl Kind for CurrentThread {
    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.expect("tokio's local runtime").block_on(future)
    }
}

impl Kind for InLocalSet {
    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = Builder::new_current_thread().enable_all().build().expect("tokio's runtime");
        LocalSet::new().block_on(&runtime, future)
    }
}

impl<K: Kind> Runtime for Tokio<K> {
    type Task<T: 'static> = Unwrapped<JoinHandle<T>>;
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = Unwrapped<oneshot::Receiver<T>>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        K::block_on(async { Self::spawn(body).await })
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        Unwrapped(spawn_local(future))
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }

    #[inline]
    fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (sender, Unwrapped(receiver))
    }

    #[inline]
    fn send<T: 'static>(sender: Self::Sender<T>, value: T) {
        assert!(sender.send(value).is_ok());
    }

    crate::borrowed_queue!();
}
