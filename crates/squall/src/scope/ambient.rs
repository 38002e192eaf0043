//! What code can ask of the scopes around it without holding them.

use crate::task::{NEVER, current};
use crate::time::Instant;
use std::time::Duration;

/// When the code that runs now will be cancelled at the latest: the tightest deadline of the scopes that it is in, and of the [`timeout`](crate::time::timeout)s that it is polled in. `None` if there is none.
///
/// For what takes a deadline of its own: a request's `timeout` header, a lock's.
///
/// ```
/// use squall::time::{Instant, timeout};
/// use std::time::Duration;
///
/// # squall::Builder::new().virtual_time().run(async {
/// squall::try_scope(async |s| {
///     s.cancel_after(Duration::from_secs(10));
///     s.spawn(async {
///         assert_eq!(squall::time_left(), Some(Duration::from_secs(10)));
///         let inside = timeout(Duration::from_secs(3), async { squall::deadline() }).await;
///         assert_eq!(inside.unwrap(), Some(Instant::now() + Duration::from_secs(3)));
///     });
///     Ok::<(), std::io::Error>(())
/// })
/// .await
/// .unwrap();
/// assert_eq!(squall::deadline(), None);
/// # }).unwrap();
/// ```
pub fn deadline() -> Option<Instant> {
    let deadline = current()?.deadline_ns();
    (deadline != NEVER).then(|| Instant::from_ns(deadline))
}

/// How much time is left until the [`deadline`]; zero if it has passed, `None` if there is none.
pub fn time_left() -> Option<Duration> {
    deadline().map(|deadline| deadline - Instant::now())
}
