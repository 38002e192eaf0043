//! squall, with its own oneshot and its own queue.

use super::{Runtime, Unwrapped};
use squall::Builder;
use squall::sync::{Queue, oneshot};
use std::future::Future;
use std::time::Duration;

pub struct Squall;

/// The same on a virtual clock and without an outside world, where the length of a stretch of work does not depend on the machine's
/// speed: for what only counts.
pub struct SquallWithoutTime;

impl Runtime for SquallWithoutTime {
    type Task<T: 'static> = Unwrapped<squall::JoinHandle<T>>;
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = Unwrapped<oneshot::Receiver<T>>;
    type Queue<T: 'static> = Queue<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        crate::counts::run(Builder::new().virtual_time(), async { Squall::spawn(body).await })
    }

    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output> {
        Squall::spawn(future)
    }

    fn yield_now() -> impl Future<Output = ()> {
        Squall::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        Squall::sleep(duration)
    }

    fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>) {
        Squall::oneshot()
    }

    fn send<T: 'static>(sender: Self::Sender<T>, value: T) {
        Squall::send(sender, value);
    }

    fn queue<T: 'static>(capacity: usize) -> Self::Queue<T> {
        Squall::queue(capacity)
    }

    fn put<T: 'static>(queue: &Self::Queue<T>, item: T) -> impl Future<Output = ()> {
        Squall::put(queue, item)
    }

    fn get<T: 'static>(queue: &Self::Queue<T>) -> impl Future<Output = T> {
        Squall::get(queue)
    }
}

impl Runtime for Squall {
    type Task<T: 'static> = Unwrapped<squall::JoinHandle<T>>;
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = Unwrapped<oneshot::Receiver<T>>;
    type Queue<T: 'static> = Queue<T>;

    fn run<F: Future + 'static>(body: F) -> F::Output {
        squall::run(async { Squall::spawn(body).await })
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
