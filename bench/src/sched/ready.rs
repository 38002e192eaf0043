//! Tasks that are always ready: what a spawn, a join and a poll cost.

use super::CpuTime;
use crate::rounds::Effort;
use crate::runtimes::Runtime;
use squall::sync::oneshot;
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

pub fn spawn_and_join<R: Runtime>(effort: Effort) -> Vec<f64> {
    let times = effort.times(300_000);
    R::run(async move {
        let once = async |n: u64| assert_eq!(R::spawn(async move { black_box(n) }).await, n);
        for n in 0..times / 10 {
            once(n).await;
        }
        let began = CpuTime::now();
        for n in 0..times {
            once(n).await;
        }
        vec![began.each(times)]
    })
}

pub fn spawn_many<R: Runtime>(effort: Effort) -> Vec<f64> {
    let times = effort.times(300);
    R::run(async move {
        let mut tasks = Vec::with_capacity(1000);
        let mut began = CpuTime::now();
        for n in 0..times / 10 + times {
            if n == times / 10 {
                began = CpuTime::now();
            }
            tasks.extend((0..1000_u64).map(|n| R::spawn(async move { black_box(n) })));
            for (n, task) in tasks.drain(..).enumerate() {
                assert_eq!(task.await, n as u64);
            }
        }
        vec![began.each(times * 1000)]
    })
}

/// A callback that schedules itself again: squall's own, no peer has them.
pub fn callbacks<R: Runtime>(effort: Effort) -> Vec<f64> {
    fn again(left: u64, done: oneshot::Sender<()>) {
        if left == 0 {
            assert!(done.send(()).is_ok());
        } else {
            squall::callback::call_soon(move || again(left - 1, done));
        }
    }
    let times = effort.times(1_000_000);
    R::run(async move {
        let round = async |times| {
            let (sender, receiver) = oneshot::channel();
            again(times, sender);
            receiver.await.expect("the chain has an end");
        };
        round(times / 10).await;
        let began = CpuTime::now();
        round(times).await;
        vec![began.each(times)]
    })
}

pub fn yield_1<R: Runtime>(effort: Effort) -> Vec<f64> {
    yields::<R>(1, effort.times(1_000_000))
}

pub fn yield_1k<R: Runtime>(effort: Effort) -> Vec<f64> {
    yields::<R>(1000, effort.times(3_000))
}

pub fn yield_100k<R: Runtime>(effort: Effort) -> Vec<f64> {
    yields::<R>(100_000, effort.times(30))
}

/// The time runs from the first task that has warmed up to the end of the last. In between every task yields as often.
fn yields<R: Runtime>(tasks: u64, times: u64) -> Vec<f64> {
    R::run(async move {
        let began = Rc::new(Cell::new(None));
        let tasks_: Vec<_> = (0..tasks)
            .map(|_| {
                let began = began.clone();
                R::spawn(async move {
                    for _ in 0..times / 10 + 1 {
                        R::yield_now().await;
                    }
                    if began.get().is_none() {
                        began.set(Some(CpuTime::now()));
                    }
                    for _ in 0..times {
                        R::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks_ {
            task.await;
        }
        vec![began.get().expect("set by the first task").each(tasks * times)]
    })
}
