//! What is allocated: a task once, a wake never. Counted by the allocator of this test program, for each thread by itself.

// What a clone and the wake that uses it up cost is the question here.
#![allow(clippy::waker_clone_wake)]

mod trace;

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
