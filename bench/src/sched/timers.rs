//! Timers: the cost of setting one that never fires, which most never do, and the punctuality of one that does.

use super::CpuTime;
use crate::rounds::Effort;
use crate::runtimes::Runtime;
use crate::stats::percentile;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

const LIVE: u64 = 1_000_000;
/// A thousand tasks hold a thousand sleeps each: glommio counts the wakers of one task in 16 bits and panics beyond.
const HOLDERS: u64 = 1_000;

/// Deadlines from one minute to one hour away, in no order (xorshift).
struct Deadlines(u64);

impl Deadlines {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(60_000_000 + self.0 % 3_540_000_000)
    }
}

pub fn insert_and_cancel<R: Runtime>(effort: Effort) -> Vec<f64> {
    let times = effort.times(300_000);
    let live = effort.times(LIVE);
    R::run(async move {
        let set = Rc::new(Cell::new(0));
        for holder in 0..HOLDERS {
            let set = set.clone();
            R::detach(R::spawn(async move {
                let mut deadlines = Deadlines(holder + 1);
                let mut sleeps: Vec<_> =
                    (0..live / HOLDERS).map(|_| Box::pin(R::sleep(deadlines.next()))).collect();
                let mut set_them = true;
                poll_fn(|cx| {
                    if std::mem::take(&mut set_them) {
                        sleeps.iter_mut().for_each(|sleep| assert!(sleep.as_mut().poll(cx).is_pending()));
                        set.set(set.get() + 1);
                    }
                    Poll::<()>::Pending
                })
                .await
            }));
        }
        while set.get() < HOLDERS {
            R::sleep(Duration::from_millis(1)).await;
        }
        let mut deadlines = Deadlines(u64::MAX / 3);
        let mut began = CpuTime::now();
        poll_fn(|cx| {
            for n in 0..times / 10 + times {
                if n == times / 10 {
                    began = CpuTime::now();
                }
                let sleep: Pin<&mut _> = pin!(R::sleep(deadlines.next()));
                assert!(sleep.poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        vec![began.each(times)]
    })
}

/// In a loop, on a runtime that has nothing else to do. The clock is read outside of the sleep, so what the runtime takes
/// to get there counts too.
pub fn lateness<R: Runtime>(effort: Effort) -> Vec<f64> {
    const SLEEP: Duration = Duration::from_millis(1);
    let times = effort.times(300);
    R::run(async move {
        let mut late = Vec::new();
        for _ in 0..times + 5 {
            let began = Instant::now();
            R::sleep(SLEEP).await;
            late.push((began.elapsed().as_nanos() as f64 - SLEEP.as_nanos() as f64) / 1000.0);
        }
        late.drain(..5);
        vec![percentile(&mut late, 0.5), percentile(&mut late, 0.99)]
    })
}
