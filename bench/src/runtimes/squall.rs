//! squall, with its own oneshot and its own queue.

use super::{Runtime, Unwrapped};
use squall::Builder;
use squall::sync::{Queue, oneshot};
use std::future::Future;
use std::time::Duration;

pub type Squall = SquallOn<false>;

/// The same on a virtual clock and without an outside world, where the length of a stretch of work does not depend on the machine's
/// speed: for what only counts.
pub type SquallWithoutTime = SquallOn<true>;

pub struct SquallOn<const VIRTUAL: bool>;

impl<const VIRTUAL: bool> Runtime for SquallOn<VIRTUAL> {
    type Task<T: 'static> = Unwrapped<squall::JoinHandle<T>>;
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = Unwrapped<oneshot::Receiver<T>>;
    type Queue<T: 'static> = Queue<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        let main = async { Self::spawn(body).await };
        if VIRTUAL { crate::counts::run(Builder::new().virtual_time(), main) } else { squall::run(main) }
    }

    #[inline]
    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        Unwrapped(squall::spawn(future))
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        squall::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        squall::time::sleep(duration)
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

    fn queue<T: 'static>(capacity: usize) -> Self::Queue<T> {
        Queue::bounded(capacity)
    }

    #[inline]
    async fn put<T: 'static>(queue: &Self::Queue<T>, item: T) {
        assert!(queue.put(item).await.is_ok());
    }

    #[inline]
    async fn get<T: 'static>(queue: &Self::Queue<T>) -> T {
        queue.get().await.expect("the queue is open")
    }
}
