//! Cancelling from outside: from another task, another thread, another scope.
//!
//! A token only says that something is cancelled, and wakes: what is cancelled by it is dropped by its own scope. Dropping a child from the token was shown to be a
//! use after free (a scope that was forgotten, and a token that was not).

use crate::task::{WaitingOn, drop_foreign, note_waiting, wake_quietly};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

type Words = (Cow<'static, str>, &'static Location<'static>);

/// Cancels scopes from anywhere: it is `Send`, `Sync`, and a clone cancels the same.
///
/// A scope is tied to it by [`Scope::cancel_with`](super::Scope::cancel_with). [`child`](Self::child) makes a token that is cancelled with this one, and by itself alone.
/// Cancelling is for ever, and the first reason counts.
///
/// ```
/// use squall::scope::CancelToken;
/// use std::future::pending;
///
/// squall::run(async {
///     let token = CancelToken::new();
///     let from_outside = token.clone();
///     std::thread::spawn(move || from_outside.cancel("the operator said so"));
///     let error = squall::try_scope(async |s| {
///         s.cancel_with(&token);
///         s.spawn(pending::<()>());
///         Ok::<(), std::io::Error>(())
///     })
///     .await
///     .unwrap_err();
///     assert!(error.to_string().contains("the operator said so"));
/// });
/// ```
#[derive(Clone, Default)]
pub struct CancelToken {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Kept, since cancelling comes through it.
    parent: Option<Arc<Inner>>,
}

/// A long line of tokens is let go without recursion.
impl Drop for Inner {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(token) = parent {
            parent = Arc::into_inner(token).and_then(|mut token| token.parent.take());
        }
    }
}

#[derive(Default)]
struct State {
    cause: Option<Words>,
    wakers: BTreeMap<u64, Waker>,
    next: u64,
    children: Vec<Weak<Inner>>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelToken {
    /// A token of its own, which is not cancelled.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// A token that is cancelled when this one is; cancelling it leaves this one alone.
    #[must_use]
    pub fn child(&self) -> CancelToken {
        let inner = Inner { state: Mutex::default(), parent: Some(self.inner.clone()) };
        let child = CancelToken { inner: Arc::new(inner) };
        let mut state = self.inner.lock();
        match &state.cause {
            Some(cause) => child.inner.lock().cause = Some(cause.clone()),
            None => {
                if state.children.len() == state.children.capacity() {
                    state.children.retain(|child| child.strong_count() > 0);
                }
                state.children.push(Arc::downgrade(&child.inner));
            }
        }
        drop(state);
        child
    }

    /// Cancels what is tied to it, and its children, giving a reason. The scopes end when their loops come to it. Again, it does nothing.
    #[track_caller]
    pub fn cancel(&self, reason: impl Into<Cow<'static, str>>) {
        let cause = (reason.into(), Location::caller());
        let mut left = vec![self.inner.clone()];
        let mut wakers = Vec::new();
        while let Some(inner) = left.pop() {
            let mut state = inner.lock();
            if state.cause.is_none() {
                state.cause = Some(cause.clone());
                wakers.extend(std::mem::take(&mut state.wakers).into_values());
                left.extend(std::mem::take(&mut state.children).iter().filter_map(Weak::upgrade));
            }
        }
        wakers.into_iter().for_each(wake_quietly);
    }

    /// True once it is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.lock().cause.is_some()
    }

    /// The reason it was cancelled with.
    pub fn reason(&self) -> Option<Cow<'static, str>> {
        self.cause().map(|(words, _)| words)
    }

    /// Waits until it is cancelled; ready at once if it is. On any loop or executor. Dropping the future stops waiting.
    #[track_caller]
    pub fn cancelled(&self) -> TokenCancelled<'_> {
        TokenCancelled { token: self, key: None, place: Location::caller() }
    }

    pub(super) fn cause(&self) -> Option<Words> {
        self.inner.lock().cause.clone()
    }

    /// Wakes the waker when it is cancelled. `None` if it is already: the waker comes back.
    fn register(&self, key: &mut Option<u64>, waker: Waker) -> Result<(), Waker> {
        let mut state = self.inner.lock();
        if state.cause.is_some() {
            return Err(waker);
        }
        let key = *key.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        let replaced = state.wakers.insert(key, waker);
        drop(state);
        drop_foreign(replaced);
        Ok(())
    }

    fn leave(&self, key: u64) {
        let waker = self.inner.lock().wakers.remove(&key);
        drop_foreign(waker);
    }

    /// For a scope, which looks at [`cause`](Self::cause) when it is woken: a token of its own, whose registration ends with it.
    pub(super) fn tie(&self, waker: Waker) -> Tie {
        let mut key = None;
        if let Err(waker) = self.register(&mut key, waker) {
            wake_quietly(waker);
        }
        Tie { token: self.clone(), key }
    }
}

/// A scope's registration with a token.
pub(super) struct Tie {
    token: CancelToken,
    key: Option<u64>,
}

impl Tie {
    pub(super) fn cause(&self) -> Option<Words> {
        self.token.cause()
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.token.leave(key);
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("reason", &self.reason()).finish_non_exhaustive()
    }
}

/// The future of [`CancelToken::cancelled`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct TokenCancelled<'a> {
    token: &'a CancelToken,
    key: Option<u64>,
    place: &'static Location<'static>,
}

impl Future for TokenCancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned with the lock open: a foreign waker may do anything.
        let (token, waker) = (self.token, cx.waker().clone());
        match token.register(&mut self.key, waker) {
            Ok(()) => {
                note_waiting(WaitingOn::Cancellation, self.place);
                Poll::Pending
            }
            Err(waker) => {
                drop_foreign(Some(waker));
                Poll::Ready(())
            }
        }
    }
}

impl Drop for TokenCancelled<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.token.leave(key);
        }
    }
}
