//! What a oneshot channel promises to both its halves, whatever runs in between.

mod foreign;

use foreign::Event;
use squall::sync::oneshot::{self, RecvError, TryRecvError};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn counting() -> (Rc<Cell<u32>>, Waker) {
    let wakes = Rc::new(Cell::new(0));
    let waker = foreign::waker({
        let wakes = wakes.clone();
        move |event| wakes.set(wakes.get() + u32::from(event == Event::Woken))
    });
    (wakes, waker)
}

#[squall::test]
async fn the_value_goes_from_task_to_task() {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let (sender, receiver) = oneshot::channel();
    let waiting = squall::spawn({
        let trace = trace.clone();
        async move {
            trace.borrow_mut().push("waits");
            let value = receiver.await;
            trace.borrow_mut().push("has it");
            value
        }
    });
    squall::yield_now().await;
    trace.borrow_mut().push("sends");
    sender.send(7).unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(7));
    assert_eq!(*trace.borrow(), ["waits", "sends", "has it"]);
}

#[test]
fn sending_wakes_the_receiver_once() {
    let (wakes, waker) = counting();
    let (sender, mut receiver) = oneshot::channel();
    assert!(poll_with(&mut receiver, &waker).is_pending());
    sender.send("value").unwrap();
    assert_eq!(wakes.get(), 1);
    assert_eq!(poll(&mut receiver), Poll::Ready(Ok("value")));
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let ((early, early_waker), (late, late_waker)) = (counting(), counting());
    let (sender, mut receiver) = oneshot::channel::<()>();
    assert!(poll_with(&mut receiver, &early_waker).is_pending());
    assert!(poll_with(&mut receiver, &late_waker).is_pending());
    drop(sender);
    assert_eq!((early.get(), late.get()), (0, 1));
}

#[test]
fn a_sender_that_is_dropped_tells_the_receiver() {
    let (wakes, waker) = counting();
    let (sender, mut receiver) = oneshot::channel::<u32>();
    assert!(poll_with(&mut receiver, &waker).is_pending());
    drop(sender);
    assert_eq!(wakes.get(), 1);
    assert_eq!(poll(&mut receiver), Poll::Ready(Err(RecvError)));
}

#[test]
fn a_receiver_that_is_dropped_tells_the_sender_and_gives_the_value_back() {
    let (wakes, waker) = counting();
    let (mut sender, receiver) = oneshot::channel();
    assert!(!sender.is_closed());
    assert!(poll_with(&mut sender.closed(), &waker).is_pending());
    drop(receiver);
    assert_eq!(wakes.get(), 1);
    assert!(poll(&mut sender.closed()).is_ready());
    assert_eq!(sender.send(1), Err(1));
}

#[test]
fn a_closed_receiver_still_gives_what_was_sent_before() {
    let (sender, mut receiver) = oneshot::channel();
    sender.send(1).unwrap();
    receiver.close();
    assert_eq!(poll(&mut receiver), Poll::Ready(Ok(1)));

    let (sender, mut receiver) = oneshot::channel();
    receiver.close();
    assert_eq!(sender.send(1), Err(1));
    assert_eq!(poll(&mut receiver), Poll::Ready(Err(RecvError)));
}

#[test]
fn try_recv_tells_not_yet_from_never() {
    let (sender, mut receiver) = oneshot::channel();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));

    let (sender, mut receiver) = oneshot::channel::<u32>();
    drop(sender);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_value_that_nobody_took_is_dropped_with_the_receiver() {
    let token = Rc::new(());
    let (sender, receiver) = oneshot::channel();
    sender.send(token.clone()).unwrap();
    assert_eq!(Rc::strong_count(&token), 2);
    drop(receiver);
    assert_eq!(Rc::strong_count(&token), 1);
}

#[squall::test]
async fn giving_up_on_a_borrowed_receiver_loses_nothing() {
    let (sender, mut receiver) = oneshot::channel();
    {
        let mut attempt = pin!(async { (&mut receiver).await });
        assert!(attempt.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    sender.send(1).unwrap();
    assert_eq!(receiver.await, Ok(1));
}

#[test]
fn a_value_whose_destructor_panics_leaves_the_sender_told() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the value's destructor panics");
        }
    }
    let (sender, receiver) = oneshot::channel();
    assert!(sender.send(Bomb).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
}

#[test]
fn a_value_may_own_the_other_half() {
    struct Chain(#[expect(dead_code, reason = "only owned")] Option<oneshot::Receiver<Chain>>);
    let (sender, receiver) = oneshot::channel();
    let (inner, tail) = oneshot::channel();
    inner.send(Chain(None)).map_err(drop).unwrap();
    sender.send(Chain(Some(tail))).map_err(drop).unwrap();
    drop(receiver);
}

#[test]
fn a_waker_may_send_while_it_is_cloned() {
    let (sender, mut receiver) = oneshot::channel();
    let sender = Rc::new(Cell::new(Some(sender)));
    let waker = foreign::waker(move |event| {
        if let (Event::Cloned, Some(sender)) = (event, sender.take()) {
            sender.send("from the clone").unwrap();
        }
    });
    assert_eq!(poll_with(&mut receiver, &waker), Poll::Ready(Ok("from the clone")));
}

#[test]
fn a_waker_may_send_while_it_is_replaced() {
    let (sender, mut receiver) = oneshot::channel();
    let slot = Rc::new(Cell::new(None));
    let early = foreign::waker({
        let slot = slot.clone();
        move |event| {
            if let (Event::Dropped, Some(sender)) = (event, slot.take()) {
                oneshot::Sender::send(sender, "from the drop").unwrap();
            }
        }
    });
    assert!(poll_with(&mut receiver, &early).is_pending());
    slot.set(Some(sender));
    assert_eq!(poll(&mut receiver), Poll::Ready(Ok("from the drop")));
}

#[test]
fn a_waker_may_drop_the_receiver_while_it_is_woken() {
    let token = Rc::new(());
    let (sender, mut receiver) = oneshot::channel();
    let slot = Rc::new(Cell::new(None));
    let waker = foreign::waker({
        let slot = slot.clone();
        move |event| {
            if event == Event::Woken {
                drop::<Option<oneshot::Receiver<Rc<()>>>>(slot.take());
            }
        }
    });
    assert!(poll_with(&mut receiver, &waker).is_pending());
    slot.set(Some(receiver));
    sender.send(token.clone()).unwrap();
    assert_eq!(Rc::strong_count(&token), 1, "the value went with the receiver");
}

#[test]
#[cfg_attr(miri, ignore = "leaks on purpose")]
fn forgotten_halves_disturb_nobody() {
    let (mut sender, receiver) = oneshot::channel();
    assert!(poll(&mut sender.closed()).is_pending());
    mem::forget(receiver);
    assert_eq!(sender.send(1), Ok(()));

    let (sender, mut receiver) = oneshot::channel::<u32>();
    mem::forget(sender);
    assert!(poll(&mut receiver).is_pending());
}

#[test]
#[should_panic(expected = "polled after it had given its value or error")]
fn a_receiver_cannot_be_polled_again() {
    let (sender, mut receiver) = oneshot::channel();
    sender.send(1).unwrap();
    assert!(poll(&mut receiver).is_ready());
    let _ = poll(&mut receiver);
}
