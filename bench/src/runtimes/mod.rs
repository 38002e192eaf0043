//! The runtimes side by side: one trait, so that every row is the same code on each of them.
//!
//! Calls go straight to the runtime's own functions, by monomorphisation; handles are wrapped only where a `Result` has
//! to be unwrapped. Two rules for all:
//! * **The measured body runs in a spawned task**, as a connection's handler does. In the future given to `block_on`
//!   some runtimes pay for a wake-up of the whole thread (compio: 20 µs a join), which no server would.
//! * **Each is set up as its documentation recommends**, with its timers and its I/O switched on: a loop that cannot do
//!   I/O is the floor's privilege.

mod bare_queue;
mod compio;
mod floor;
mod glommio;
mod monoio;
mod smol;
mod squall;
mod tokio;

pub use bare_queue::BareQueue;
pub use compio::Compio;
pub use floor::Floor;
pub use glommio::Glommio;
pub use monoio::Monoio;
pub use smol::Smol;
pub use squall::{Squall, SquallWithoutTime};
pub use tokio::{TokioCurrentThread, TokioLocalSet};

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The names, in the order of the tables.
pub const NAMES: [&str; 8] =
    [FLOOR, SQUALL, "tokio", "tokio-localset", "monoio", "compio", "glommio", "smol"];
pub const FLOOR: &str = "floor";
pub const SQUALL: &str = "squall";

/// One function, on every runtime: pairs of a name and what it became there.
#[macro_export]
macro_rules! on_every_runtime {
    ($function:ident as $kind:ty) => {
        $crate::runtimes::NAMES.into_iter().zip([
            $function::<$crate::runtimes::Floor> as $kind,
            $function::<$crate::runtimes::Squall>,
            $function::<$crate::runtimes::TokioCurrentThread>,
            $function::<$crate::runtimes::TokioLocalSet>,
            $function::<$crate::runtimes::Monoio>,
            $function::<$crate::runtimes::Compio>,
            $function::<$crate::runtimes::Glommio>,
            $function::<$crate::runtimes::Smol>,
        ])
    };
}

pub trait Runtime: 'static {
    type Task<T: 'static>: Future<Output = T> + Unpin + 'static;
    type Sender<T: 'static>: 'static;
    type Receiver<T: 'static>: Future<Output = T> + 'static;
    type Queue<T: 'static>: 'static;

    /// Runs the body as a task of a new runtime on this thread.
    fn run<F: Future + 'static>(body: F) -> F::Output;

    fn spawn<F: Future + 'static>(future: F) -> Self::Task<F::Output>;

    /// Lets a task run on without its handle.
    fn detach<T: 'static>(task: Self::Task<T>) {
        drop(task);
    }

    fn yield_now() -> impl Future<Output = ()>;

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;

    fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>);

    fn send<T: 'static>(sender: Self::Sender<T>, value: T);

    fn queue<T: 'static>(capacity: usize) -> Self::Queue<T>;

    fn put<T: 'static>(queue: &Self::Queue<T>, item: T) -> impl Future<Output = ()>;

    fn get<T: 'static>(queue: &Self::Queue<T>) -> impl Future<Output = T>;
}

/// A future of results, unwrapped.
pub struct Unwrapped<F>(F);

impl<T, E: Debug, F: Future<Output = Result<T, E>> + Unpin> Future for Unwrapped<F> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.expect("the task and its channel are well"))
    }
}

/// What the runtimes without a queue and a oneshot of their own use: the same ones for all.
#[macro_export]
macro_rules! borrowed_channels {
    () => {
        type Sender<T: 'static> = futures::channel::oneshot::Sender<T>;
        type Receiver<T: 'static> = $crate::runtimes::Unwrapped<futures::channel::oneshot::Receiver<T>>;

        fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>) {
            let (sender, receiver) = futures::channel::oneshot::channel();
            (sender, $crate::runtimes::Unwrapped(receiver))
        }

        fn send<T: 'static>(sender: Self::Sender<T>, value: T) {
            assert!(sender.send(value).is_ok());
        }

        $crate::borrowed_queue!();
    };
}

#[macro_export]
macro_rules! borrowed_queue {
    () => {
        type Queue<T: 'static> = $crate::runtimes::BareQueue<T>;

        fn queue<T: 'static>(capacity: usize) -> Self::Queue<T> {
            $crate::runtimes::BareQueue::new(capacity)
        }

        fn put<T: 'static>(queue: &Self::Queue<T>, item: T) -> impl Future<Output = ()> {
            queue.put(item)
        }

        fn get<T: 'static>(queue: &Self::Queue<T>) -> impl Future<Output = T> {
            queue.get()
        }
    };
}
