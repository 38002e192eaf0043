//! `start`: a child that says when it is ready.

use super::Scope;
use super::child::Child;
use super::family::Shared;
use super::mode::{Mode, Outcome};
use crate::task::{WaitingOn, drop_foreign, note_waiting_for, wake_quietly};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Start<V, E> {
    news: Cell<Option<News<V, E>>>,
    is_ready: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

enum News<V, E> {
    Ready(V),
    Failed(E),
    Ended,
}

impl<V, E> Start<V, E> {
    fn tell(&self, news: News<V, E>) {
        self.news.set(Some(news));
        if let Some(waker) = self.waker.take() {
            wake_quietly(waker);
        }
    }
}

/// A child's word that it is ready: given to a child of [`Scope::start`].
pub struct Ready<'scope, V> {
    start: Rc<dyn Fn(V) + 'scope>,
}

impl<V> Ready<'_, V> {
    /// Says that the child is ready, with a value for whoever started it: an address that it listens on, say.
    pub fn send(self, value: V) {
        (self.start)(value);
    }
}

impl<V> fmt::Debug for Ready<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

impl<'scope, M: Mode + 'scope> Scope<'scope, '_, M> {
    /// Spawns a child and waits until it says that it is ready; gives what it says. The child goes on. (trio's `start`.)
    ///
    /// In a [`try_scope`](super::try_scope) an error from before that comes out here and nowhere else, so that the body can try another way; one from after ends the scope.
    ///
    /// # Cancellation
    /// Given up before the child is ready, the child is dropped.
    ///
    /// # Panics
    /// If the child ends without saying so.
    ///
    /// ```
    /// use squall::net::{TcpListener, TcpStream};
    /// use std::io;
    ///
    /// # squall::run(async {
    /// squall::try_scope(async |s| {
    ///     let address = s
    ///         .start(|ready| async move {
    ///             let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///             ready.send(listener.local_addr()?);
    ///             let (conn, _) = listener.accept().await?;
    ///             conn.write_all(b"hello").await
    ///         })
    ///         .await?;
    ///     let client = TcpStream::connect(address).await?;
    ///     assert_eq!(client.recv().await?.as_deref(), Some(&b"hello"[..]));
    ///     io::Result::Ok(())
    /// })
    /// .await
    /// .unwrap();
    /// # });
    /// ```
    #[track_caller]
    pub fn start<V, C, F>(&'scope self, child: C) -> Starting<'scope, V, M>
    where
        C: FnOnce(Ready<'scope, V>) -> F,
        F: Future + 'scope,
        F::Output: Outcome<M>,
        V: 'scope,
        (): Outcome<M>,
    {
        let place = Location::caller();
        let start =
            Rc::new(Start { news: Cell::new(None), is_ready: Cell::new(false), waker: Cell::new(None) });
        let ready = Ready {
            start: Rc::new({
                let start: Rc<Start<V, M::Failure>> = start.clone();
                move |value| {
                    start.is_ready.set(true);
                    start.tell(News::Ready(value));
                }
            }),
        };
        let future = child(ready);
        let (end, shared) = (Ends(start.clone()), self.shared.clone());
        let child = self.spawn(async move {
            let output = future.await;
            let start = &end.0;
            match output.settle() {
                Err(failure) if start.is_ready.get() => shared.fail(failure),
                Err(failure) => {
                    start.is_ready.set(true);
                    start.tell(News::Failed(failure));
                }
                Ok(_) => {}
            }
        });
        Starting { start, child: Box::new(Aborts(child)), shared: self.shared.clone(), place }
    }
}

/// Tells of the child's end, however it ends.
struct Ends<V, E>(Rc<Start<V, E>>);

impl<V, E> Drop for Ends<V, E> {
    fn drop(&mut self) {
        if !self.0.is_ready.get() {
            self.0.tell(News::Ended);
        }
    }
}

trait Abort {
    fn abort(&self);
}

struct Aborts<'scope, T>(Child<'scope, T>);

impl<T> Abort for Aborts<'_, T> {
    fn abort(&self) {
        self.0.abort();
    }
}

/// The future of [`Scope::start`].
#[must_use = "given up before the child is ready, the child is dropped: await it"]
pub struct Starting<'scope, V, M: Mode> {
    start: Rc<Start<V, M::Failure>>,
    child: Box<dyn Abort + 'scope>,
    shared: Rc<Shared<M>>,
    place: &'static Location<'static>,
}

impl<V, M: Mode> Unpin for Starting<'_, V, M> {}

impl<V, M: Mode> Future for Starting<'_, V, M> {
    type Output = M::Started<V>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Started<V>> {
        let waker = cx.waker().clone();
        match self.start.news.take() {
            Some(News::Ready(value)) => return Poll::Ready(M::started(value)),
            Some(News::Failed(failure)) => return Poll::Ready(M::not_started(failure)),
            Some(News::Ended) if self.shared.family.is_open() => {
                panic!(
                    "the child that Scope::start began (at {}) has ended without saying that it is ready: call ready.send(…) in it",
                    self.place
                )
            }
            Some(News::Ended) | None => {}
        }
        drop_foreign(self.start.waker.replace(Some(waker)));
        note_waiting_for(WaitingOn::Start, 0, Some(self.place));
        Poll::Pending
    }
}

impl<V, M: Mode> Drop for Starting<'_, V, M> {
    fn drop(&mut self) {
        if !self.start.is_ready.get() {
            self.child.abort();
        }
        drop_foreign(self.start.waker.take());
    }
}

impl<V, M: Mode> fmt::Debug for Starting<'_, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starting").field("begun_at", &format_args!("{}", self.place)).finish_non_exhaustive()
    }
}
