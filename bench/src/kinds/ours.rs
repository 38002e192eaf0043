//! Rust's side of `kinds`: fibers and tasks, bare stacks, and threads.

use crate::memory::resident_bytes;
use crate::rounds::{Effort, answer};
use crate::sched::CpuTime;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use squall::fiber;
use std::cell::Cell;
use std::future::{Future, pending};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// The measured body is a task, as everywhere in this bench.
fn on_a_loop<F: Future<Output = Vec<f64>> + 'static>(body: F) -> Vec<f64> {
    squall::run(async { squall::spawn(body).await.expect("the body ends") })
}

// --- switching -------------------------------------------------------------------------------------------------------

pub fn fiber_1(effort: Effort) -> Vec<f64> {
    fibers(1, effort.times(5_000_000))
}

pub fn fiber_1000(effort: Effort) -> Vec<f64> {
    fibers(1000, effort.times(5_000))
}

fn fibers(fibers: u64, times: u64) -> Vec<f64> {
    on_a_loop(async move {
        let spawn = |times| move |_| fiber::spawn(move || (0..times).for_each(|_| fiber::yield_now()));
        for warm in (0..fibers).map(spawn(times / 10)).collect::<Vec<_>>() {
            warm.await.expect("it ends");
        }
        let began = CpuTime::now();
        for fiber in (0..fibers).map(spawn(times)).collect::<Vec<_>>() {
            fiber.await.expect("it ends");
        }
        vec![began.each(fibers * times)]
    })
}

pub fn task_1(effort: Effort) -> Vec<f64> {
    tasks(1, effort.times(5_000_000))
}

pub fn task_1000(effort: Effort) -> Vec<f64> {
    tasks(1000, effort.times(5_000))
}

fn tasks(tasks: u64, times: u64) -> Vec<f64> {
    on_a_loop(async move {
        let spawn = |times| {
            move |_| {
                squall::spawn(async move {
                    for _ in 0..times {
                        squall::yield_now().await;
                    }
                })
            }
        };
        for warm in (0..tasks).map(spawn(times / 10)).collect::<Vec<_>>() {
            warm.await.expect("it ends");
        }
        let began = CpuTime::now();
        for task in (0..tasks).map(spawn(times)).collect::<Vec<_>>() {
            task.await.expect("it ends");
        }
        vec![began.each(tasks * times)]
    })
}

pub fn bare_1(effort: Effort) -> Vec<f64> {
    bare(1, effort.times(10_000_000))
}

pub fn bare_1000(effort: Effort) -> Vec<f64> {
    bare(1000, effort.times(10_000))
}

fn bare_one() -> Coroutine<(), (), ()> {
    Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    })
}

fn bare(stacks: u64, times: u64) -> Vec<f64> {
    let mut many: Vec<_> = (0..stacks).map(|_| bare_one()).collect();
    let mut began = CpuTime::now();
    for n in 0..times + times / 10 {
        if n == times / 10 {
            began = CpuTime::now();
        }
        for one in &mut many {
            assert_eq!(black_box(one).resume(()), CoroutineResult::Yield(()));
        }
    }
    let figure = began.each(stacks * times);
    answer(&[figure])
}

pub fn threads_2(effort: Effort) -> Vec<f64> {
    threads(2, effort.times(20_000))
}

pub fn threads_100(effort: Effort) -> Vec<f64> {
    threads(100, effort.times(400))
}

/// A baton that goes round: each waits for its turn and wakes the next.
fn threads(threads: usize, times: u64) -> Vec<f64> {
    let ring: Arc<(AtomicUsize, OnceLock<Vec<Thread>>)> = Arc::default();
    let members: Vec<_> = (0..threads)
        .map(|me| {
            let ring = ring.clone();
            thread::spawn(move || {
                let next = loop {
                    match ring.1.get() {
                        Some(all) => break &all[(me + 1) % threads],
                        None => thread::park(),
                    }
                };
                for _ in 0..times {
                    while ring.0.load(Ordering::Acquire) % threads != me {
                        thread::park();
                    }
                    ring.0.fetch_add(1, Ordering::Release);
                    next.unpark();
                }
            })
        })
        .collect();
    let began = CpuTime::now();
    let all: Vec<_> = members.iter().map(|member| member.thread().clone()).collect();
    ring.1.set(all.clone()).expect("set once");
    all.iter().for_each(Thread::unpark);
    members.into_iter().for_each(|member| member.join().expect("it ends"));
    vec![began.each(threads as u64 * times)]
}

// --- creating --------------------------------------------------------------------------------------------------------

pub fn create_fiber(effort: Effort) -> Vec<f64> {
    let times = effort.times(300_000);
    on_a_loop(async move {
        let once = async |n: u64| assert_eq!(fiber::spawn(move || black_box(n)).await.expect("it ends"), n);
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

pub fn create_task(effort: Effort) -> Vec<f64> {
    crate::sched::ready::spawn_and_join::<crate::runtimes::Squall>(effort)
}

/// On one stack, over and over.
pub fn create_bare(effort: Effort) -> Vec<f64> {
    let times = effort.times(10_000_000);
    let mut stack = DefaultStack::default();
    let began = CpuTime::now();
    for n in 0..times {
        let mut one = Coroutine::<(), (), u64>::with_stack(stack, move |_, ()| black_box(n));
        assert_eq!(one.resume(()), CoroutineResult::Return(n));
        stack = one.into_stack();
    }
    vec![began.each(times)]
}

pub fn create_thread(effort: Effort) -> Vec<f64> {
    let times = effort.times(10_000);
    let began = CpuTime::now();
    for n in 0..times {
        assert_eq!(thread::spawn(move || black_box(n)).join().expect("it ends"), n);
    }
    vec![began.each(times)]
}

// --- keeping ---------------------------------------------------------------------------------------------------------

/// Resident bytes of one of so many. The process ends here: taking them apart is not measured.
pub fn keep<T>(many: u64, mut make: impl FnMut() -> T, settle: impl Fn()) -> ! {
    let some: Vec<T> = (0..100).map(|_| make()).collect();
    settle();
    let mut kept = Vec::with_capacity(many as usize);
    let before = resident_bytes();
    kept.extend((0..many).map(|_| make()));
    settle();
    let bytes = (resident_bytes() - before) / many as f64;
    std::mem::forget((some, kept));
    answer(&[bytes])
}

pub fn keep_fibers(effort: Effort) -> Vec<f64> {
    kept_by_a_loop(effort.times(100_000), || drop(fiber::spawn(|| fiber::wait(pending::<()>()))))
}

pub fn keep_tasks(effort: Effort) -> Vec<f64> {
    kept_by_a_loop(effort.times(100_000), || drop(squall::spawn(pending::<()>())))
}

fn kept_by_a_loop(many: u64, spawn: impl Fn() + 'static) -> Vec<f64> {
    on_a_loop(async move {
        // Spawned now, they run in the next turn and wait.
        for count in [100, many] {
            let before = resident_bytes();
            (0..count).for_each(|_| spawn());
            squall::yield_now().await;
            if count == many {
                answer(&[(resident_bytes() - before) / many as f64]);
            }
        }
        Vec::new()
    })
}

pub fn keep_bare(effort: Effort) -> Vec<f64> {
    let make = || {
        let mut one = bare_one();
        assert_eq!(one.resume(()), CoroutineResult::Yield(()));
        one
    };
    keep(effort.times(30_000), make, || {})
}

pub fn keep_threads(effort: Effort) -> Vec<f64> {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let made = Cell::new(0);
    let make = || {
        made.set(made.get() + 1);
        thread::spawn(|| {
            WAITING.fetch_add(1, Ordering::Relaxed);
            loop {
                thread::park();
            }
        })
    };
    keep(effort.times(1_000), make, || {
        while WAITING.load(Ordering::Relaxed) < made.get() {
            thread::yield_now();
        }
    })
}
