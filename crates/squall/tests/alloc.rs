//! What is allocated: a task once, a wake never. Counted by the allocator of this test program, for each thread by itself.

// What a clone and the wake that uses it up cost is the question here.
#![allow(clippy::waker_clone_wake)]

mod trace;

use squall::generator::{AsyncGenerator, Co, Generator, Step, unboxed};
use squall::sync::Queue;
use squall::time::sleep;
use squall::{spawn, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use trace::{Gate, impatient, virtual_loop};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u32> = const { Cell::new(0) };
    static FREED: Cell<u32> = const { Cell::new(0) };
}

// SAFETY: every call is passed on as it is; the counts are plain cells of the thread, which need no memory of their own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + 1);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of a closure.
fn allocations<T>(act: impl FnOnce() -> T) -> u32 {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

/// The allocations of this thread from now until the next call of what comes back.
fn count() -> impl Fn() -> u32 {
    let before = ALLOCATIONS.get();
    move || ALLOCATIONS.get() - before
}

#[test]
fn a_spawn_is_one_allocation_whatever_the_future_and_its_output() {
    let event_loop = virtual_loop();
    // The table and the ready queue have room after this.
    let first: Vec<_> = (0..60).map(|_| event_loop.spawn(async {})).collect();
    event_loop.turn();
    event_loop.run_until(async move { drop(first) });
    let mut handles = Vec::with_capacity(40);
    for _ in 0..10 {
        assert_eq!(allocations(|| handles.push(event_loop.spawn(async { String::new() }))), 1);
        assert_eq!(
            allocations(|| drop(event_loop.spawn(pending::<()>())),),
            2,
            "and the word that its handle is gone"
        );
        let big = [7_u8; 4096];
        assert_eq!(
            allocations(
                || handles.push(event_loop.spawn(async move { String::from_utf8_lossy(&big[..0]).into() }))
            ),
            1
        );
    }
    let freed = FREED.get();
    drop(event_loop);
    assert!(FREED.get() - freed >= 30);
}

#[test]
fn spawning_and_joining_inside_of_the_loop_allocates_once_and_frees_once() {
    impatient()
        .run(async {
            spawn(async {}).await.unwrap();
            let (counted, freed) = (count(), FREED.get());
            for n in 0..100 {
                let task = spawn(async move {
                    yield_now().await;
                    n
                });
                assert_eq!(task.await.unwrap(), n);
            }
            assert_eq!((counted(), FREED.get() - freed), (100, 100));
            let counted = count();
            for _ in 0..10 {
                drop(spawn(async {}));
                yield_now().await;
            }
            assert_eq!(counted(), 10, "detached");
        })
        .unwrap();
}

#[test]
fn wakes_yields_and_copies_of_wakers_allocate_nothing() {
    let (event_loop, gate) = (virtual_loop(), Gate::default());
    let waiting = gate.clone();
    let turns = Rc::new(Cell::new(0));
    let counted = turns.clone();
    drop(event_loop.spawn(async move {
        loop {
            counted.set(counted.get() + 1);
            futures::future::select(std::pin::pin!(waiting.wait()), yield_now()).await;
        }
    }));
    (0..3).for_each(|_| _ = event_loop.turn());
    let waker = gate.waker().unwrap();
    let allocated = allocations(|| {
        for _ in 0..100 {
            let clone = waker.clone();
            waker.wake_by_ref();
            clone.clone().wake();
            drop(clone);
            event_loop.turn();
        }
    });
    assert_eq!(allocated, 0);
    assert!(turns.get() > 100);
}

#[test]
fn a_wake_from_another_thread_allocates_nothing_on_either_side() {
    let (event_loop, gate) = (virtual_loop(), Gate::default());
    let waiting = gate.clone();
    drop(event_loop.spawn(async move { waiting.wait().await }));
    event_loop.turn();
    let waker = gate.waker().unwrap();
    let there =
        thread::spawn(move || allocations(|| (0..100).for_each(|_| waker.clone().wake()))).join().unwrap();
    let mut polls = 0;
    let here = allocations(|| polls = event_loop.turn() + event_loop.turn());
    assert_eq!((there, here, polls), (0, 0, 1));
}

#[test]
fn sleeping_allocates_nothing_once_the_timers_have_room() {
    impatient()
        .run(async {
            let many = async |n: u64| {
                for ms in 1..=n {
                    sleep(Duration::from_millis(ms * 17 % 400)).await;
                }
            };
            many(50).await;
            let counted = count();
            many(200).await;
            assert_eq!(counted(), 0);
        })
        .unwrap();
}

#[test]
fn passing_items_through_a_queue_allocates_nothing_once_it_has_room() {
    impatient()
        .run(async {
            let queue = Rc::new(Queue::bounded(4));
            let taken = queue.clone();
            let taker = spawn(async move { while taken.get().await.is_ok() {} });
            for n in 0..20 {
                queue.put(n).await.unwrap();
            }
            let counted = count();
            for n in 0..1000 {
                queue.put(n).await.unwrap();
            }
            let allocated = counted();
            queue.close();
            taker.await.unwrap();
            assert_eq!(allocated, 0);
        })
        .unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn a_turn_of_a_real_loop_allocates_nothing() {
    let event_loop = squall::EventLoop::new().unwrap();
    drop(event_loop.spawn(async {
        loop {
            yield_now().await;
        }
    }));
    (0..3000).for_each(|_| _ = event_loop.turn());
    assert_eq!(allocations(|| (0..3000).for_each(|_| _ = event_loop.turn())), 0);
}

/// Yields one more than what it is sent, so many levels deep.
fn counts<'a>(depth: u32) -> Generator<'a, u64, u64> {
    Generator::new(async move |co: &Co<'a, u64, u64>| {
        if depth > 0 {
            return co.yield_from(counts(depth - 1)).await;
        }
        let mut value = 0;
        loop {
            value = co.yield_(value + 1).await;
        }
    })
}

#[test]
fn a_generator_is_one_allocation_and_its_items_are_none() {
    let mut generator = None;
    assert_eq!(allocations(|| generator = Some(counts(0))), 1);
    let mut generator = generator.unwrap();
    let send =
        |generator: &mut Generator<'_, u64, u64>, n| assert_eq!(generator.send(n), Ok(Step::Yielded(n + 1)));
    assert_eq!(allocations(|| generator.start().unwrap()), 0);
    assert_eq!(allocations(|| (0..1000).for_each(|n| send(&mut generator, n))), 0);
    let freed = FREED.get();
    drop(generator);
    assert_eq!(FREED.get() - freed, 1);
    let mut deep = counts(100);
    deep.start().unwrap();
    assert_eq!(allocations(|| (0..1000).for_each(|n| send(&mut deep, n))), 0);
}

#[test]
fn a_pinned_generator_is_no_allocation_at_all() {
    let counted = count();
    {
        let mut numbers = std::pin::pin!(unboxed(async |co: &Co<'_, u64, u64>| {
            let mut value = 0;
            loop {
                value = co.yield_(value + 1).await;
            }
        }));
        let mut came = numbers.as_mut().start().is_ok();
        (0..1000).for_each(|n| came &= numbers.as_mut().send(n).is_ok());
        assert!(came);
    }
    let countdown = std::pin::pin!(unboxed(async |co: &Co<'_, u32>| {
        for n in 0..10 {
            co.yield_(n).await;
        }
    }));
    assert_eq!(countdown.sum::<u32>(), 45);
    assert_eq!(counted(), 0);
}

#[test]
fn an_async_generator_is_one_allocation_and_its_items_are_none() {
    impatient()
        .run(async {
            let made = count();
            let mut generator: AsyncGenerator<'_, u64, u64> = AsyncGenerator::new(async |co| {
                let mut value = 0;
                loop {
                    yield_now().await;
                    value = co.yield_(value + 1).await;
                }
            });
            assert_eq!(made(), 1);
            generator.start().await.unwrap();
            let counted = count();
            for n in 0..1000 {
                generator.send(n).await.unwrap();
            }
            assert_eq!(counted(), 0);
        })
        .unwrap();
}
