//! How a scope is ended before its time: cancelled, given a deadline, tied to a token, asked to stop.

use super::error::{Cause, Reason};
use super::mode::{Fails, Mode};
use super::stop::UntilStop;
use super::watch::{Signals, own_waker};
use super::{CancelToken, Scope};
use crate::signal::{SignalKind, signal};
use crate::time::Instant;
use std::borrow::Cow;
use std::future::IntoFuture;
use std::io;
use std::panic::Location;
use std::time::Duration;

impl<E> Scope<'_, '_, Fails<E>> {
    /// Cancels the scope, body included: what has not ended is dropped when whoever runs now has returned. The scope's future then gives [`ScopeError::Cancelled`](super::ScopeError::Cancelled) with this
    /// reason, unless there was nothing left to drop.
    ///
    /// Again, or after it has ended, it does nothing: the first cause counts. To drop the children and go on use [`abort_children`](Scope::abort_children).
    ///
    /// ```
    /// # squall::run(async {
    /// let error = squall::try_scope(async |s| {
    ///     s.spawn(async { s.cancel("found it") });
    ///     std::future::pending::<Result<(), std::io::Error>>().await
    /// })
    /// .await
    /// .unwrap_err();
    /// assert!(error.to_string().contains("was cancelled: found it"));
    /// # });
    /// ```
    #[track_caller]
    pub fn cancel(&self, reason: impl Into<Cow<'static, str>>) {
        self.shared.family.cancel(Cause { reason: Reason::Asked(reason.into()), at: Location::caller() });
    }

    /// Cancels the scope when so much time has passed from now; of several deadlines the nearest counts.
    ///
    /// Children inherit it: [`deadline`](super::deadline) tells. One of an enclosing scope that is nearer ends that one, and this with it: the error names the scope whose deadline it was.
    #[track_caller]
    pub fn cancel_after(&self, duration: Duration) {
        self.cancel_at(Instant::now() + duration);
    }

    /// Cancels the scope at a moment; one that has passed cancels it in its next poll.
    #[track_caller]
    pub fn cancel_at(&self, deadline: Instant) {
        let at = Location::caller();
        let family = &self.shared.family;
        family.surroundings.tighten(deadline.ns());
        family.bring_forward(|watch| &mut watch.deadline, deadline, at);
    }

    /// Cancels the scope when the token is cancelled.
    pub fn cancel_with(&self, token: &CancelToken) {
        let family = &self.shared.family;
        if let Some(handle) = family.body_handle() {
            let tie = token.tie(own_waker(handle));
            family.watch(|watch| watch.tokens.push(tie));
        }
    }

    /// A token that cancels this scope, to be sent elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        let token = CancelToken::new();
        self.cancel_with(&token);
        token
    }
}

impl<M: Mode> Scope<'_, '_, M> {
    /// Asks everybody in the scope, and in scopes inside it, to stop: [`until_stop`](Self::until_stop) gives `None` there. Children that are left after the grace period are dropped. In a [`scope`](super::scope())
    /// the body must come to its end by itself, since it owes a value; a [`try_scope`](super::try_scope) is cancelled with [`Reason::GraceOver`].
    ///
    /// Children can still be spawned. Of several grace periods the one that ends first counts; `Duration::MAX` waits for ever.
    ///
    /// ```
    /// use squall::time::{Instant, sleep};
    /// use std::time::Duration;
    ///
    /// # squall::Builder::new().virtual_time().run(async {
    /// let begin = Instant::now();
    /// let worked = squall::scope(async |s| {
    ///     let worker = s.spawn(async {
    ///         let mut rounds = 0;
    ///         while s.until_stop(sleep(Duration::from_secs(1))).await.is_some() {
    ///             rounds += 1;
    ///         }
    ///         rounds
    ///     });
    ///     s.spawn(std::future::pending::<()>());
    ///     sleep(Duration::from_millis(2500)).await;
    ///     s.stop(Duration::from_secs(10));
    ///     worker.await
    /// })
    /// .await;
    /// assert_eq!((worked, begin.elapsed()), (2, Duration::from_millis(12_500)));
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn stop(&self, grace: Duration) {
        self.shared.family.stop(grace, Location::caller());
    }

    /// True once the scope, or one around it, was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.family.surroundings.is_stopping()
    }

    /// Runs a future until it is ready (`Some`), or the scope is asked to stop (`None`). Where both hold, it is `None`: a loop that always has work stops too.
    ///
    /// # Cancellation
    /// The future is dropped with this one, or when it has given `None`; what that loses is its own affair (an accept, a read: nothing).
    ///
    /// ```
    /// # squall::run(async {
    /// squall::scope(async |s| {
    ///     s.stop(std::time::Duration::ZERO);
    ///     assert_eq!(s.until_stop(async { 1 }).await, None);
    /// })
    /// .await;
    /// # });
    /// ```
    #[track_caller]
    pub fn until_stop<F: IntoFuture>(&self, future: F) -> UntilStop<F::IntoFuture> {
        UntilStop::new(
            Some(self.shared.family.surroundings.clone()),
            future.into_future(),
            Location::caller(),
        )
    }

    /// [Stops](Self::stop) the scope on Ctrl-C or `SIGTERM`, with a grace period; a second signal ends that at once.
    ///
    /// From here until the scope ends, the two signals do not end the process.
    ///
    /// # Errors
    /// Those of [`signal()`](crate::signal::signal).
    ///
    /// ```no_run
    /// use squall::net::TcpListener;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// squall::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:8888").await?;
    ///     squall::scope(async |s| {
    ///         s.stop_on_signals(Duration::from_secs(10))?;
    ///         while let Some(accepted) = s.until_stop(listener.accept()).await {
    ///             let (conn, _) = accepted?;
    ///             s.spawn_task(async move {
    ///                 while let Ok(Some(chunk)) = conn.recv().await {
    ///                     if conn.write_all(&chunk).await.is_err() {
    ///                         break;
    ///                     }
    ///                 }
    ///             });
    ///         }
    ///         Ok(())
    ///     })
    ///     .await
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn stop_on_signals(&self, grace: Duration) -> io::Result<()> {
        let at = Location::caller();
        let listeners = vec![signal(SignalKind::INTERRUPT)?, signal(SignalKind::TERMINATE)?];
        let signals = Signals { listeners, grace, at, has_come: false };
        let mut before = None;
        self.shared.family.watch(|watch| before = watch.signals.replace(signals));
        drop(before);
        Ok(())
    }

    /// Drops the children that are there, shielded ones excepted; the scope goes on. They are gone when the body is polled next. Awaiting one of them afterwards panics; its [`outcome`](super::Child::outcome) is `None`.
    ///
    /// For a body that has what it wanted:
    ///
    /// ```
    /// use std::{future::pending, time::Duration};
    ///
    /// # squall::run(async {
    /// let found = squall::scope(async |s| {
    ///     s.spawn(pending::<()>());
    ///     s.abort_children();
    ///     "the value"
    /// })
    /// .await;
    /// assert_eq!(found, "the value");
    /// # });
    /// ```
    pub fn abort_children(&self) {
        self.shared.family.abort_those_present();
    }
}
