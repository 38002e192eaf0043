//! Children of a scope, beside what one would use without: `FuturesUnordered`, and tokio's `JoinSet`.

use super::CpuTime;
use crate::rounds::Effort;
use crate::runtimes::{Runtime, Squall, TokioCurrentThread};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::hint::black_box;
use tokio::task::JoinSet;

const CHILDREN: u64 = 1000;

/// Times rounds of a thousand children each.
async fn rounds(effort: Effort, mut round: impl AsyncFnMut()) -> Vec<f64> {
    let times = effort.times(300);
    for _ in 0..times / 10 {
        round().await;
    }
    let began = CpuTime::now();
    for _ in 0..times {
        round().await;
    }
    vec![began.each(times * CHILDREN)]
}

/// Each round is a scope of its own, whose body awaits every child.
pub fn scope(effort: Effort) -> Vec<f64> {
    Squall::run(rounds(effort, async || {
        squall::scope(async |s| {
            let children: Vec<_> = (0..CHILDREN).map(|n| s.spawn(async move { black_box(n) })).collect();
            for (n, child) in children.into_iter().enumerate() {
                assert_eq!(child.await, n as u64);
            }
        })
        .await;
    }))
}

pub fn futures_unordered(effort: Effort) -> Vec<f64> {
    Squall::run(rounds(effort, async || {
        let mut children: FuturesUnordered<_> = (0..CHILDREN).map(|n| async move { black_box(n) }).collect();
        let mut sum = 0;
        while let Some(n) = children.next().await {
            sum += n;
        }
        assert_eq!(sum, CHILDREN * (CHILDREN - 1) / 2);
    }))
}

pub fn join_set(effort: Effort) -> Vec<f64> {
    TokioCurrentThread::run(rounds(effort, async || {
        let mut children = JoinSet::new();
        for n in 0..CHILDREN {
            children.spawn(async move { black_box(n) });
        }
        let mut sum = 0;
        while let Some(n) = children.join_next().await {
            sum += n.expect("a child that ends");
        }
        assert_eq!(sum, CHILDREN * (CHILDREN - 1) / 2);
    }))
}
