//! What a queue promises: order, hand-over, cancellation, closing, and that it neither hogs its thread nor spins.
//!
//! Most tests poll by hand, so that each step of a trace is theirs to place.

mod foreign;

use foreign::Event;
use squall::sync::Queue;
use squall::sync::queue::{Closed, TryGetError, TryPutError};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A waker that writes its name down when it is woken.
fn named(name: &'static str, log: &Rc<RefCell<Vec<&'static str>>>) -> Waker {
    let log = log.clone();
    foreign::waker(move |event| {
        if event == Event::Woken {
            log.borrow_mut().push(name);
        }
    })
}

fn filled<T>(capacity: usize, items: impl IntoIterator<Item = T>) -> Queue<T> {
    let queue = Queue::bounded(capacity);
    items.into_iter().for_each(|item| queue.try_put(item).unwrap());
    queue
}

fn drained<T>(queue: &Queue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.try_get().ok()).collect()
}

// --- order -------------------------------------------------------------------------------------------------------------

#[squall::test]
async fn a_hundred_consumers_are_served_in_the_order_of_their_coming() {
    let queue = Rc::new(Queue::bounded(3));
    let trace = Rc::new(RefCell::new(Vec::new()));
    let consumers: Vec<_> = (0..100)
        .map(|consumer| {
            let (queue, trace) = (queue.clone(), trace.clone());
            squall::spawn(async move {
                while let Ok(item) = queue.get().await {
                    trace.borrow_mut().push((consumer, item));
                }
            })
        })
        .collect();
    squall::yield_now().await;
    for item in 0..250 {
        queue.put(item).await.unwrap();
        if item % 100 == 99 {
            squall::yield_now().await;
        }
    }
    queue.close();
    for consumer in consumers {
        consumer.await.unwrap();
    }
    let expected: Vec<_> = (0..250).map(|item| (item % 100, item)).collect();
    assert_eq!(*trace.borrow(), expected);
}

#[test]
fn a_new_getter_does_not_overtake_a_waiting_one() {
    let queue = Queue::unbounded();
    let mut first = queue.get();
    assert!(poll(&mut first).is_pending());
    queue.try_put(1).unwrap();
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let mut second = queue.get();
    assert!(poll(&mut second).is_pending());
    queue.try_put(2).unwrap();
    assert_eq!(poll(&mut second), Poll::Ready(Ok(2)));
    assert_eq!(poll(&mut first), Poll::Ready(Ok(1)));
}

#[test]
fn a_new_putter_does_not_overtake_a_waiting_one() {
    let queue = filled(1, [1]);
    let (mut second, mut third) = (queue.put(2), queue.put(3));
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut third).is_pending());
    assert_eq!(queue.try_get(), Ok(1));
    assert_eq!(queue.len(), 1, "the room was filled at once");
    assert_eq!(queue.try_put(4), Err(TryPutError::Full(4)));
    assert!(poll(&mut third).is_pending());
    assert!(poll(&mut second).is_ready());
    assert_eq!(drained(&queue), [2, 3]);
    assert!(poll(&mut third).is_ready());
}

#[test]
fn waiters_are_woken_one_for_each_item_and_each_room() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let queue = Queue::bounded(1);
    let (mut a, mut b) = (queue.get(), queue.get());
    assert!(poll_with(&mut a, &named("get a", &log)).is_pending());
    assert!(poll_with(&mut b, &named("get b", &log)).is_pending());
    queue.try_put(1).unwrap();
    assert_eq!(mem::take(&mut *log.borrow_mut()), ["get a"]);
    queue.try_put(2).unwrap();
    queue.try_put(3).unwrap();
    assert_eq!(mem::take(&mut *log.borrow_mut()), ["get b"]);

    let (mut c, mut d) = (queue.put(4), queue.put(5));
    assert!(poll_with(&mut c, &named("put c", &log)).is_pending());
    assert!(poll_with(&mut d, &named("put d", &log)).is_pending());
    assert_eq!((poll(&mut a), poll(&mut b)), (Poll::Ready(Ok(1)), Poll::Ready(Ok(2))));
    assert_eq!(*log.borrow(), [""; 0], "what was handed over took no room");
    assert_eq!(queue.try_get(), Ok(3));
    assert_eq!(mem::take(&mut *log.borrow_mut()), ["put c"]);
}

// --- cancellation ------------------------------------------------------------------------------------------------------

#[test]
fn a_getter_cancelled_after_its_grant_hands_the_item_to_the_next_in_line() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let queue = Queue::unbounded();
    let (mut a, mut b, mut c) = (queue.get(), queue.get(), queue.get());
    assert!(poll_with(&mut a, &named("a", &log)).is_pending());
    assert!(poll_with(&mut b, &named("b", &log)).is_pending());
    assert!(poll_with(&mut c, &named("c", &log)).is_pending());
    queue.try_put(1).unwrap();
    drop(a);
    queue.try_put(2).unwrap();
    assert_eq!(*log.borrow(), ["a", "b", "c"]);
    assert_eq!((poll(&mut b), poll(&mut c)), (Poll::Ready(Ok(1)), Poll::Ready(Ok(2))));
}

#[test]
fn a_getter_cancelled_after_its_grant_puts_the_item_back_at_the_front() {
    let queue = Queue::unbounded();
    let mut getter = queue.get();
    assert!(poll(&mut getter).is_pending());
    (1..4).for_each(|item| queue.try_put(item).unwrap());
    drop(getter);
    assert_eq!((queue.len(), queue.unfinished()), (3, 3));
    assert_eq!(drained(&queue), [1, 2, 3]);
}

#[test]
fn getters_cancelled_in_any_order_leave_the_items_in_theirs() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let queue = Queue::unbounded();
        let mut getters: Vec<_> = (0..3).map(|_| Some(queue.get())).collect();
        getters.iter_mut().for_each(|getter| assert!(poll(getter.as_mut().unwrap()).is_pending()));
        (0..5).for_each(|item| queue.try_put(item).unwrap());
        order.into_iter().for_each(|getter| drop(getters[getter].take()));
        assert_eq!(drained(&queue), [0, 1, 2, 3, 4], "cancelled in the order {order:?}");
    }
}

#[test]
fn what_was_handed_back_may_exceed_the_capacity_and_putters_wait_until_it_does_not() {
    let queue = Queue::bounded(1);
    let mut getter = queue.get();
    assert!(poll(&mut getter).is_pending());
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    drop(getter);
    assert_eq!(queue.len(), 2);
    let mut putter = queue.put(3);
    assert!(poll(&mut putter).is_pending());
    assert_eq!(queue.try_get(), Ok(1));
    assert!(poll(&mut putter).is_pending());
    assert_eq!(queue.try_get(), Ok(2));
    assert!(poll(&mut putter).is_ready());
    assert_eq!(drained(&queue), [3]);
}

#[test]
fn a_getter_cancelled_before_its_grant_is_passed_over() {
    let queue = Queue::unbounded();
    let (mut a, mut b) = (queue.get(), queue.get());
    assert!(poll(&mut a).is_pending());
    assert!(poll(&mut b).is_pending());
    drop(a);
    queue.try_put(1).unwrap();
    assert_eq!(poll(&mut b), Poll::Ready(Ok(1)));
}

#[squall::test]
async fn an_aborted_consumer_loses_no_item() {
    let queue = Rc::new(Queue::unbounded());
    let trace = Rc::new(RefCell::new(Vec::new()));
    let consumers: Vec<_> = (0..2)
        .map(|consumer| {
            let (queue, trace) = (queue.clone(), trace.clone());
            squall::spawn(async move {
                let item = queue.get().await.unwrap();
                trace.borrow_mut().push((consumer, item));
            })
        })
        .collect();
    squall::yield_now().await;
    queue.put("item").await.unwrap();
    consumers[0].abort();
    squall::yield_now().await;
    assert_eq!(*trace.borrow(), [(1, "item")]);
}

#[test]
fn a_cancelled_putter_takes_its_item_with_it() {
    let token = Rc::new(());
    let queue = filled(1, [token.clone()]);
    let mut putter = queue.put(token.clone());
    assert!(poll(&mut putter).is_pending());
    assert_eq!(Rc::strong_count(&token), 3);
    drop(putter);
    assert_eq!(Rc::strong_count(&token), 2);
    assert_eq!((drained(&queue).len(), queue.unfinished()), (1, 1));
}

#[test]
fn a_putter_cancelled_after_its_item_was_let_in_leaves_it_there() {
    let queue = filled(1, [1]);
    let mut putter = queue.put(2);
    assert!(poll(&mut putter).is_pending());
    assert_eq!(queue.try_get(), Ok(1));
    drop(putter);
    assert_eq!(drained(&queue), [2]);
}

#[test]
fn a_future_that_was_never_polled_does_nothing() {
    let queue = filled(2, [1]);
    drop(queue.put(2));
    drop(queue.get());
    assert_eq!(drained(&queue), [1]);
}

#[test]
fn forgotten_futures_disturb_nobody() {
    let queue = Queue::bounded(1);
    let (mut forgotten, mut getter) = (queue.get(), queue.get());
    assert!(poll(&mut forgotten).is_pending());
    assert!(poll(&mut getter).is_pending());
    mem::forget(forgotten);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    assert_eq!(poll(&mut getter), Poll::Ready(Ok(2)), "the forgotten getter took one item with it");

    queue.try_put(3).unwrap();
    let mut forgotten = queue.put(4);
    assert!(poll(&mut forgotten).is_pending());
    mem::forget(forgotten);
    assert_eq!(drained(&queue), [3, 4]);
    let mut forgotten = queue.join();
    assert!(poll(&mut forgotten).is_pending());
    mem::forget(forgotten);
    queue.close();
    assert_eq!(queue.try_get(), Err(TryGetError::Closed));
}

// --- closing -----------------------------------------------------------------------------------------------------------

#[test]
fn closing_tells_waiting_getters() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let queue = Queue::<u32>::unbounded();
    let (mut a, mut b) = (queue.get(), queue.get_guard());
    assert!(poll_with(&mut a, &named("a", &log)).is_pending());
    assert!(poll_with(&mut b, &named("b", &log)).is_pending());
    queue.close();
    queue.close();
    assert_eq!(*log.borrow(), ["a", "b"]);
    assert_eq!(poll(&mut a), Poll::Ready(Err(Closed)));
    assert!(matches!(poll(&mut b), Poll::Ready(Err(Closed))));
}

#[test]
fn closing_gives_waiting_putters_their_items_back_and_leaves_the_rest_to_be_drained() {
    let queue = filled(2, [1, 2]);
    let (mut third, mut fourth) = (queue.put(3), queue.put(4));
    assert!(poll(&mut third).is_pending());
    assert!(poll(&mut fourth).is_pending());
    queue.close();
    assert_eq!(queue.try_get(), Ok(1));
    assert_eq!(queue.try_put(5), Err(TryPutError::Closed(5)));
    let back = |polled: Poll<Result<(), squall::sync::queue::PutError<i32>>>| match polled {
        Poll::Ready(Err(error)) => error.into_inner(),
        other => panic!("{other:?}"),
    };
    assert_eq!((back(poll(&mut third)), back(poll(&mut fourth))), (3, 4));
    let mut getter = queue.get();
    assert_eq!(poll(&mut getter), Poll::Ready(Ok(2)));
    assert_eq!(poll(&mut queue.get()), Poll::Ready(Err(Closed)));
}

#[test]
fn an_item_granted_before_the_closing_can_still_be_taken() {
    let queue = Queue::unbounded();
    let (mut a, mut b) = (queue.get(), queue.get());
    assert!(poll(&mut a).is_pending());
    assert!(poll(&mut b).is_pending());
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    queue.close();
    assert_eq!(poll(&mut a), Poll::Ready(Ok(1)));
    drop(b);
    assert_eq!(drained(&queue), [2]);
}

// --- the budget --------------------------------------------------------------------------------------------------------

#[squall::test]
async fn a_task_that_always_finds_an_item_gives_way() {
    let queue = Rc::new(filled(1000, 0..1000));
    let left = Rc::new(Cell::new(0));
    let other = squall::spawn({
        let (queue, left) = (queue.clone(), left.clone());
        async move { left.set(queue.len()) }
    });
    let mut items = Vec::new();
    while let Some(item) = if items.len() < 1000 { queue.get().await.ok() } else { None } {
        items.push(item);
    }
    other.await.unwrap();
    assert!(left.get() > 0, "the other task ran only after the last item");
    assert!(items.into_iter().eq(0..1000));
}

#[squall::test]
async fn waiting_costs_no_budget_however_many_waits_one_poll_makes() {
    let queue = Rc::new(Queue::<u32>::unbounded());
    let polls = Rc::new(Cell::new(0));
    let task = squall::spawn({
        let (queue, polls) = (queue.clone(), polls.clone());
        async move {
            let mut waits: Vec<_> = (0..1000).map(|_| queue.get()).collect();
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                waits.iter_mut().for_each(|wait| assert!(Pin::new(wait).poll(cx).is_pending()));
                Poll::<()>::Pending
            })
            .await;
        }
    });
    for _ in 0..10 {
        squall::yield_now().await;
    }
    assert_eq!(polls.get(), 1, "the task woke itself");
    task.abort();
}

// --- mistakes ----------------------------------------------------------------------------------------------------------

#[test]
#[should_panic(expected = "Queue::unbounded() for a queue without a bound")]
fn a_capacity_of_zero_is_refused_with_advice() {
    let _ = Queue::<u32>::bounded(0);
}

#[test]
#[should_panic(expected = "Queue::get was polled after it had ended")]
fn a_get_cannot_be_polled_again() {
    let queue = filled(2, [1, 2]);
    let mut getter = queue.get();
    assert!(poll(&mut getter).is_ready());
    let _ = poll(&mut getter);
}
