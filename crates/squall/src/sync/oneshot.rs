//! A value that is sent once.
//!
//! One allocation holds the value and a waker for each side; there is at most one waiter on each (both waits need the half mutably),
//! so neither needs a waiting list. tokio's `oneshot` gave the interface, without its atomics.
//!
//! Nothing is borrowed while user code runs (a destructor, a foreign waker's clone, wake or drop): all of it is moved in and
//! out of cells, and the state is right before anything is called.

use crate::task::{WaitingOn, drop_foreign, note_waiting, poll_proceed, wake_quietly};
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Makes the two halves. They stay on one thread; one allocation holds them both.
///
/// ```
/// use squall::sync::oneshot;
///
/// squall::run(async {
///     let (sender, receiver) = oneshot::channel();
///     squall::spawn(async move { sender.send(42) });
///     assert_eq!(receiver.await, Ok(42));
/// });
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: Cell::new(None),
        sender: Cell::new(Half::Open),
        receiver: Cell::new(Half::Open),
        sender_waker: Cell::new(None),
        receiver_waker: Cell::new(None),
    });
    (Sender { shared: shared.clone() }, Receiver { shared, ended: false })
}

struct Shared<T> {
    value: Cell<Option<T>>,
    sender: Cell<Half>,
    receiver: Cell<Half>,
    sender_waker: Cell<Option<Waker>>,
    receiver_waker: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    Open,
    /// The sender has sent; the value may have been taken since.
    Sent,
    /// Dropped, or a receiver that was closed.
    Closed,
}

impl<T> Shared<T> {
    /// True if nothing is to be waited for on the receiver's side.
    fn is_decided(&self) -> bool {
        self.sender.get() != Half::Open || self.receiver.get() == Half::Closed
    }

    fn is_unheard(&self) -> bool {
        self.receiver.get() == Half::Closed
    }
}

/// Leaves the task's waker in the cell unless it is there already.
fn register(cell: &Cell<Option<Waker>>, cx: &Context<'_>) {
    let before = cell.take();
    let is_there = before.as_ref().is_some_and(|before| before.will_wake(cx.waker()));
    cell.set(before);
    if !is_there {
        let waker = cx.waker().clone();
        drop_foreign(cell.replace(Some(waker)));
    }
}

fn wake(cell: &Cell<Option<Waker>>) {
    if let Some(waker) = cell.take() {
        wake_quietly(waker);
    }
}

/// The half that sends.
///
/// Dropping it without sending tells the receiver: [`RecvError`].
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends the value, without waiting: it is kept until the receiver takes it, or is dropped and the value with it.
    ///
    /// # Errors
    /// Gives the value back if the receiver was dropped or closed.
    ///
    /// ```
    /// let (sender, receiver) = squall::sync::oneshot::channel();
    /// drop(receiver);
    /// assert_eq!(sender.send("nobody hears"), Err("nobody hears"));
    /// ```
    pub fn send(self, value: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(value);
        }
        self.shared.value.set(Some(value));
        self.shared.sender.set(Half::Sent);
        // Dropping self wakes the receiver.
        Ok(())
    }

    /// True if the receiver was dropped or closed, so that nobody will hear.
    pub fn is_closed(&self) -> bool {
        self.shared.is_unheard()
    }

    /// Waits until the receiver is dropped or closed: to give up work that nobody waits for any more.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    ///
    /// ```
    /// squall::run(async {
    ///     let (mut sender, receiver) = squall::sync::oneshot::channel::<u32>();
    ///     let work = squall::spawn(async move { sender.closed().await });
    ///     drop(receiver);
    ///     work.await.unwrap();
    /// });
    /// ```
    #[track_caller]
    pub fn closed(&mut self) -> Closed<'_, T> {
        Closed { sender: self, place: Location::caller() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.sender.get() == Half::Open {
            self.shared.sender.set(Half::Closed);
        }
        let own = self.shared.sender_waker.take();
        wake(&self.shared.receiver_waker);
        drop_foreign(own);
    }
}

/// The future of [`Sender::closed`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Closed<'s, T> {
    sender: &'s mut Sender<T>,
    place: &'static Location<'static>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.sender.shared;
        if !shared.is_unheard() {
            register(&shared.sender_waker, cx);
            // Registering may have run foreign code, which may have dropped the receiver.
            if !shared.is_unheard() {
                note_waiting(WaitingOn::Oneshot, self.place);
                return Poll::Pending;
            }
        }
        poll_proceed(cx)
    }
}

/// The half that receives: await it for the value.
///
/// # Errors
/// [`RecvError`] if the sender was dropped without sending, or the receiver was closed before the value was sent.
///
/// # Cancellation
/// Dropping it tells the sender ([`Sender::is_closed`], [`Sender::closed`]) and drops a value that was sent and not taken. To wait for a
/// while and keep it, await `&mut receiver`: nothing is lost.
#[must_use = "a dropped receiver hears nothing"]
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    ended: bool,
}

impl<T> Receiver<T> {
    /// Takes the value without waiting.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if it may still come; [`TryRecvError::Closed`] if it never will, or was taken already.
    ///
    /// ```
    /// use squall::sync::oneshot::{self, TryRecvError};
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if !self.shared.is_decided() {
            return Err(TryRecvError::Empty);
        }
        self.ended = true;
        self.shared.value.take().ok_or(TryRecvError::Closed)
    }

    /// Closes the channel for sending: a value that was sent can still be received, none can be sent any more.
    ///
    /// ```
    /// let (sender, mut receiver) = squall::sync::oneshot::channel();
    /// receiver.close();
    /// assert_eq!(sender.send(1), Err(1));
    /// ```
    pub fn close(&mut self) {
        self.shared.receiver.set(Half::Closed);
        wake(&self.shared.sender_waker);
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    // The place is that of the `.await`: a receiver waits far from where its channel was made.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        assert!(!self.ended, "a oneshot Receiver was polled after it had given its value or error");
        if !self.shared.is_decided() {
            register(&self.shared.receiver_waker, cx);
            // Registering may have run foreign code, which may have sent the value.
            if !self.shared.is_decided() {
                note_waiting(WaitingOn::Oneshot, Location::caller());
                return Poll::Pending;
            }
        }
        ready!(poll_proceed(cx));
        self.ended = true;
        Poll::Ready(self.shared.value.take().ok_or(RecvError))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let own = self.shared.receiver_waker.take();
        // Dropped last, for its destructor may panic.
        let _value = self.shared.value.take();
        self.close();
        drop_foreign(own);
    }
}

/// No value will come: the sender was dropped without sending, or the receiver was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecvError;

/// Why [`Receiver::try_recv`] gave no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryRecvError {
    /// The sender has not sent yet.
    Empty,
    /// No value will come (any more).
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the oneshot channel was closed without a value")
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "nothing was sent on the oneshot channel yet",
            TryRecvError::Closed => "the oneshot channel is closed and holds no value",
        })
    }
}

impl Error for RecvError {}
impl Error for TryRecvError {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("oneshot::Sender").field("is_closed", &self.is_closed()).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("oneshot::Receiver").field("sender", &self.shared.sender.get()).finish()
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oneshot::Closed({})", self.place)
    }
}
