//! User code runs in the midst of a queue's work (destructors of items; foreign wakers that are cloned, woken and dropped), and may
//! do anything to the queue there, or panic.

mod foreign;

use foreign::Event;
use squall::sync::Queue;
use squall::sync::queue::Closed;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
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

/// An item whose destructor uses its queue.
struct Meddler {
    queue: Weak<Queue<Meddler>>,
    deed: fn(&Queue<Meddler>),
}

impl Meddler {
    fn new(queue: &Rc<Queue<Meddler>>, deed: fn(&Queue<Meddler>)) -> Meddler {
        Meddler { queue: Rc::downgrade(queue), deed }
    }

    fn harmless(queue: &Queue<Meddler>) {
        let _ = (queue.len(), queue.is_full(), queue.unfinished());
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            (self.deed)(&queue);
        }
    }
}

#[test]
fn destructors_of_items_may_use_the_queue() {
    let deeds: [fn(&Queue<Meddler>); 5] = [
        |queue| drop(queue.try_get()),
        |queue| drop(queue.try_get_guard()),
        |queue| drop(queue.try_put(Meddler { queue: Weak::new(), deed: Meddler::harmless })),
        |queue| queue.close(),
        |queue| assert!(poll(&mut queue.get()).is_ready() || queue.is_empty()),
    ];
    for deed in deeds {
        let queue = Rc::new(Queue::bounded(2));
        assert!(queue.try_put(Meddler::new(&queue, deed)).is_ok());
        assert!(queue.try_put(Meddler::new(&queue, deed)).is_ok());
        let mut putter = queue.put(Meddler::new(&queue, deed));
        assert!(poll(&mut putter).is_pending());
        let mut joiner = queue.join();
        assert!(poll(&mut joiner).is_pending());
        drop(putter);
        drop(queue.try_get_guard());
        while let Ok(item) = queue.try_get_guard() {
            drop(item);
        }
        drop(joiner);
        assert!(queue.is_empty());
    }
}

#[test]
fn a_panicking_destructor_leaves_the_queue_as_it_should_be() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "the item's destructor panics");
        }
    }
    let queue = filled(1, [Bomb(true)]);
    let mut putter = queue.put(Bomb(true));
    assert!(poll(&mut putter).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(putter))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(queue.try_get_guard()))).is_err());
    assert_eq!((queue.len(), queue.unfinished()), (0, 0), "it was counted as done all the same");
    assert!(queue.try_put(Bomb(false)).is_ok());
    assert!(queue.try_get().is_ok());
}

#[test]
fn a_waker_may_put_an_item_while_it_is_cloned() {
    let queue = Rc::new(Queue::unbounded());
    let waker = foreign::waker({
        let queue = queue.clone();
        move |event| {
            if event == Event::Cloned && queue.is_empty() {
                queue.try_put("from the clone").unwrap();
            }
        }
    });
    let mut getter = queue.get();
    assert_eq!(poll_with(&mut getter, &waker), Poll::Ready(Ok("from the clone")));

    let mut waiting = queue.get();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(poll_with(&mut waiting, &waker), Poll::Ready(Ok("from the clone")));
}

#[test]
fn a_waker_may_make_room_while_it_is_cloned() {
    let queue = Rc::new(filled(1, [1]));
    let waker = foreign::waker({
        let queue = queue.clone();
        move |event| {
            if event == Event::Cloned {
                queue.try_get().unwrap();
            }
        }
    });
    assert!(poll_with(&mut queue.put(2), &waker).is_ready());
    assert_eq!(drained(&queue), [2]);
}

#[test]
fn a_waker_may_use_the_queue_while_it_is_woken_or_dropped() {
    let queue = Rc::new(Queue::bounded(2));
    let trace = Rc::new(RefCell::new(Vec::new()));
    let armed = Rc::new(Cell::new(false));
    let waker = |name: &'static str| {
        let (queue, trace, armed) = (queue.clone(), trace.clone(), armed.clone());
        foreign::waker(move |event| {
            if armed.get() {
                let item = queue.try_get().ok();
                trace.borrow_mut().push((name, event, item));
                _ = queue.try_put(0);
            }
        })
    };
    let (mut cancelled, mut getter) = (queue.get(), queue.get());
    assert!(poll_with(&mut cancelled, &waker("cancelled")).is_pending());
    assert!(poll_with(&mut getter, &waker("getter")).is_pending());
    armed.set(true);
    drop(cancelled);
    armed.set(false);
    assert_eq!(poll(&mut getter), Poll::Ready(Ok(0)), "the item that the dropped waker put");
    assert_eq!(drained(&queue), [0], "the item that the woken waker put");

    (1..3).for_each(|item| queue.try_put(item).unwrap());
    let (mut putter, mut joiner) = (queue.put(3), queue.join());
    assert!(poll_with(&mut putter, &waker("putter")).is_pending());
    assert!(poll_with(&mut joiner, &waker("joiner")).is_pending());
    armed.set(true);
    queue.close();
    assert!(poll(&mut putter).is_ready());
    drop((putter, joiner));
    armed.set(false);
    assert_eq!(drained(&queue), [0; 0]);
    let expected = [
        ("cancelled", Event::Dropped, None),
        ("getter", Event::Woken, None),
        ("putter", Event::Woken, Some(1)),
        ("joiner", Event::Dropped, Some(2)),
    ];
    assert_eq!(*trace.borrow(), expected);
}

#[test]
fn a_waker_that_panics_is_reported_and_the_others_are_woken() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let queue = Queue::<u32>::unbounded();
    let bomb = foreign::waker(|event| assert!(event != Event::Woken, "the waker panics"));
    let (mut a, mut b) = (queue.get(), queue.get());
    assert!(poll_with(&mut a, &bomb).is_pending());
    assert!(poll_with(&mut b, &named("b", &log)).is_pending());
    queue.close();
    assert_eq!(*log.borrow(), ["b"]);
    assert_eq!(poll(&mut a), Poll::Ready(Err(Closed)));
}
