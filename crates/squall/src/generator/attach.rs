//! How a body learns where its channel is: at its first poll, when it has come to rest.
//!
//! The channel lies beside the body, so its place is known only once neither is moved any more. Handing the body a reference-counted channel was
//! rejected (a second allocation); a body is polled by its frame and by nobody else, so the frame can say it.

use super::frame::Channel;
use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

thread_local! {
    /// The channel of the frame whose first poll is on the call stack.
    static CHANNEL: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

/// Says where the channel is, until dropped.
pub(super) struct Attaching {
    before: *const (),
}

impl Attaching {
    pub(super) fn new<Y, S, X>(channel: &Channel<'_, Y, S, X>) -> Attaching {
        Attaching { before: CHANNEL.replace((&raw const *channel).cast()) }
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        CHANNEL.set(self.before);
    }
}

/// The first thing that a body awaits.
///
/// # Invariant
/// Made by `body` only, for a frame of the same `Y`, `S` and `X`.
struct Attach<'a, Y, S, X>(PhantomData<NonNull<Channel<'a, Y, S, X>>>);

impl<'a, Y, S, X> Future for Attach<'a, Y, S, X> {
    type Output = NonNull<Channel<'a, Y, S, X>>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let channel = CHANNEL.get().cast_mut().cast();
        Poll::Ready(NonNull::new(channel).expect("a body is polled by its frame"))
    }
}

/// What is handed to a body: the other end of its channel.
///
/// A body gets it by reference, so it cannot be kept where the generator is gone.
pub struct Co<'a, Y, S = (), X = std::convert::Infallible> {
    /// Beside the body that holds this.
    channel: NonNull<Channel<'a, Y, S, X>>,
}

impl<'a, Y, S, X> Co<'a, Y, S, X> {
    pub(super) fn channel(&self) -> &Channel<'a, Y, S, X> {
        // SAFETY: `Attach` gave the channel of the frame that polls the body which owns this, so it lies beside it, and is dropped after it.
        unsafe { self.channel.as_ref() }
    }
}

impl<Y, S, X> std::fmt::Debug for Co<'_, Y, S, X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Co").finish_non_exhaustive()
    }
}

/// A body as a future, for a frame to poll.
pub(super) async fn body<'a, Y, S, R, X, F>(f: F) -> R
where
    F: for<'c> AsyncFnOnce(&'c Co<'a, Y, S, X>) -> R,
{
    let co = Co { channel: Attach(PhantomData).await };
    f(&co).await
}
