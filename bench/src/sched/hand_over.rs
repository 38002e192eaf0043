//! Something passes between two: tasks of one thread, or a task and another thread.

use super::CpuTime;
use crate::machine::{OTHER_CORE, pin};
use crate::rounds::Effort;
use crate::runtimes::Runtime;
use futures::task::AtomicWaker;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Instant;

/// A place for one value and one waiter, with nothing that a runtime could do better or worse but its wakers.
struct Slot<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Slot<T> {
    fn new() -> Slot<T> {
        Slot { value: Cell::new(None), waker: Cell::new(None) }
    }

    fn put(&self, value: T) {
        self.value.set(Some(value));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take(&self) -> impl Future<Output = T> {
        poll_fn(|cx| match self.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
    }
}

pub fn ping_pong<R: Runtime>(effort: Effort) -> Vec<f64> {
    let times = effort.times(500_000);
    let warm = times / 10;
    R::run(async move {
        let (ping, pong) = (Rc::new(Slot::new()), Rc::new(Slot::new()));
        let other = R::spawn({
            let (ping, pong) = (ping.clone(), pong.clone());
            async move {
                for _ in 0..warm + times {
                    let n: u64 = ping.take().await;
                    pong.put(n + 1);
                }
            }
        });
        let mut began = CpuTime::now();
        for n in 0..warm + times {
            if n == warm {
                began = CpuTime::now();
            }
            ping.put(n);
            assert_eq!(pong.take().await, n + 1);
        }
        let figure = began.each(times);
        other.await;
        vec![figure]
    })
}

pub fn oneshot_request<R: Runtime>(effort: Effort) -> Vec<f64> {
    let times = effort.times(300_000);
    let warm = times / 10;
    R::run(async move {
        let requests = Rc::new(Slot::<(u64, R::Sender<u64>)>::new());
        let server = R::spawn({
            let requests = requests.clone();
            async move {
                for _ in 0..warm + times {
                    let (n, answer) = requests.take().await;
                    R::send(answer, n + 1);
                }
            }
        });
        let mut began = CpuTime::now();
        for n in 0..warm + times {
            if n == warm {
                began = CpuTime::now();
            }
            let (sender, receiver) = R::oneshot();
            requests.put((n, sender));
            assert_eq!(receiver.await, n + 1);
        }
        let figure = began.each(times);
        server.await;
        vec![figure]
    })
}

/// What a thread and a task see of each other. `turn` is odd while it is the thread's.
struct Across {
    turn: AtomicU64,
    task: AtomicWaker,
}

/// The other side is a plain thread on a core of its own that parks, the same for every runtime.
pub fn cross_thread<R: Runtime>(effort: Effort) -> Vec<f64> {
    let times = effort.times(3_000);
    let warm = times / 10;
    let across = Arc::new(Across { turn: AtomicU64::new(0), task: AtomicWaker::new() });
    let thread = std::thread::spawn({
        let across = across.clone();
        move || {
            pin(OTHER_CORE);
            for n in 0..warm + times {
                while across.turn.load(Ordering::Acquire) != 2 * n + 1 {
                    std::thread::park();
                }
                across.turn.store(2 * n + 2, Ordering::Release);
                across.task.wake();
            }
        }
    });
    let other = thread.thread().clone();
    let figure = R::run(async move {
        let mut began = Instant::now();
        for n in 0..warm + times {
            if n == warm {
                began = Instant::now();
            }
            across.turn.store(2 * n + 1, Ordering::Release);
            other.unpark();
            poll_fn(|cx| {
                across.task.register(cx.waker());
                if across.turn.load(Ordering::Acquire) == 2 * n + 2 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        began.elapsed().as_nanos() as f64 / 1000.0 / times as f64
    });
    thread.join().expect("the other side");
    vec![figure]
}
