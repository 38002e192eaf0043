//! squall, with its own oneshot and its own queue.

use super::{Runtime, Unwrapped};
use squall::sync::{Queue, oneshot};
use std::future::Future;
use std::time::Duration;

pub struct Squall;

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
