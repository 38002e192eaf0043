//! Items through a bounded queue of one thread: a producer that waits for room, consumers that wait for items.

use super::CpuTime;
use crate::rounds::Effort;
use crate::runtimes::Runtime;
use std::hint::black_box;
use std::rc::Rc;

const CAPACITY: usize = 128;

pub fn consumers_1<R: Runtime>(effort: Effort) -> Vec<f64> {
    items::<R>(1, effort.times(1_000_000))
}

pub fn consumers_100<R: Runtime>(effort: Effort) -> Vec<f64> {
    items::<R>(100, effort.times(1_000_000))
}

fn items<R: Runtime>(consumers: u64, items: u64) -> Vec<f64> {
    R::run(async move {
        let queue = Rc::new(R::queue::<Option<u64>>(CAPACITY));
        let consumers: Vec<_> = (0..consumers)
            .map(|_| {
                let queue = queue.clone();
                R::spawn(async move {
                    let mut sum = 0;
                    while let Some(item) = R::get(&queue).await {
                        sum += black_box(item);
                    }
                    sum
                })
            })
            .collect();
        for _ in 0..items / 10 {
            R::put(&queue, Some(0)).await;
        }
        let began = CpuTime::now();
        for _ in 0..items {
            R::put(&queue, Some(1)).await;
        }
        for _ in &consumers {
            R::put(&queue, None).await;
        }
        let mut sum = 0;
        for consumer in consumers {
            sum += consumer.await;
        }
        assert_eq!(sum, items, "no item is lost");
        vec![began.each(items)]
    })
}
