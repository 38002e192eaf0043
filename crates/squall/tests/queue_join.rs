//! Which items of a queue are unfinished, and who waits until none is.

use squall::sync::Queue;
use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

fn is_ready(future: impl Future<Output = ()>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn filled<T>(items: impl IntoIterator<Item = T>) -> Queue<T> {
    let queue = Queue::unbounded();
    items.into_iter().for_each(|item| queue.try_put(item).unwrap());
    queue
}

#[squall::test]
async fn join_ends_when_every_item_was_worked_on_even_by_workers_that_panic() {
    let queue = Rc::new(Queue::bounded(2));
    let trace = Rc::new(RefCell::new(Vec::new()));
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (queue, trace) = (queue.clone(), trace.clone());
            squall::spawn(async move {
                while let Ok(item) = queue.get_guard().await {
                    squall::yield_now().await;
                    trace.borrow_mut().push(*item);
                    assert!(*item != 2, "the worker panics");
                }
            })
        })
        .collect();
    for item in 0..6 {
        queue.put(item).await.unwrap();
    }
    queue.join().await;
    trace.borrow_mut().sort_unstable();
    assert_eq!(*trace.borrow(), [0, 1, 2, 3, 4, 5]);
    queue.close();
    let mut panicked = 0;
    for worker in workers {
        panicked += u32::from(worker.await.is_err());
    }
    assert_eq!(panicked, 1);
}

#[squall::test]
async fn join_ends_when_a_worker_is_aborted_in_the_midst_of_its_item() {
    let queue = Rc::new(filled(["item"]));
    let worker = squall::spawn({
        let queue = queue.clone();
        async move {
            let _item = queue.get_guard().await.unwrap();
            std::future::pending::<()>().await;
        }
    });
    squall::yield_now().await;
    assert_eq!((queue.len(), queue.unfinished()), (0, 1));
    worker.abort();
    queue.join().await;
}

#[test]
fn join_is_ready_while_nothing_is_unfinished() {
    let queue = Queue::<u32>::unbounded();
    assert!(is_ready(queue.join()));
    queue.try_put(1).unwrap();
    assert!(!is_ready(queue.join()));
    queue.try_get().unwrap();
    assert!(!is_ready(queue.join()), "taken is not done");
    queue.task_done();
    assert!(is_ready(queue.join()));
}

#[test]
fn who_waited_when_the_last_item_was_done_is_not_kept_by_later_ones() {
    let queue = filled([1]);
    let mut joiner = pin!(queue.join());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(joiner.as_mut().poll(&mut cx).is_pending());
    drop(queue.try_get_guard().unwrap());
    queue.try_put(2).unwrap();
    assert_eq!(joiner.as_mut().poll(&mut cx), Poll::Ready(()));
    assert!(!is_ready(queue.join()));
}

#[test]
fn an_item_on_its_way_to_a_getter_is_unfinished_and_a_waiting_putters_is_not_yet() {
    let queue = Queue::bounded(1);
    let mut cx = Context::from_waker(Waker::noop());
    let mut getter = Box::pin(queue.get());
    assert!(getter.as_mut().poll(&mut cx).is_pending());
    queue.try_put(1).unwrap();
    assert_eq!((queue.len(), queue.unfinished()), (0, 1));
    queue.try_put(2).unwrap();
    let mut putter = Box::pin(queue.put(3));
    assert!(putter.as_mut().poll(&mut cx).is_pending());
    assert_eq!((queue.len(), queue.unfinished()), (1, 2));
    assert_eq!(queue.try_get(), Ok(2));
    assert_eq!((queue.len(), queue.unfinished()), (1, 3));
    drop(getter);
    assert_eq!((queue.len(), queue.unfinished()), (2, 3));
}

#[test]
fn the_guard_gives_its_item_out_unfinished() {
    let queue = filled([String::from("work")]);
    let mut guard = queue.try_get_guard().unwrap();
    guard.push('!');
    assert_eq!(guard.into_inner(), "work!");
    assert_eq!(queue.unfinished(), 1);
    queue.task_done();
    assert_eq!(queue.unfinished(), 0);
}

#[test]
#[should_panic(expected = "Queue::task_done was called more often than items were taken")]
fn task_done_called_too_often_is_refused_with_advice() {
    let queue = filled([1, 2]);
    queue.try_get().unwrap();
    queue.task_done();
    queue.task_done();
}

#[test]
#[should_panic(expected = "an item taken with get_guard or try_get_guard marks itself done")]
fn task_done_cannot_take_away_what_a_guard_holds() {
    let queue = filled([1]);
    let _guard = queue.try_get_guard().unwrap();
    queue.task_done();
}
