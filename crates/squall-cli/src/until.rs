//! Waiting for something, but not longer than the program is meant to go on.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// What `future` gives, or `None` if `end` came first. `end` is asked first, so what is always ready cannot outrun it.
pub(crate) async fn until<T>(end: impl Future<Output = ()>, future: impl Future<Output = T>) -> Option<T> {
    let (mut end, mut future) = (pin!(end), pin!(future));
    poll_fn(|cx| {
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
