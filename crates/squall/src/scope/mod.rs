//! Structured concurrency: children that borrow from their parent, never outlive it, and whose errors and panics are never lost.
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//!
//! async fn fetch(url: &str) -> io::Result<u64> {
//!     squall::time::sleep(Duration::from_millis(url.len() as u64)).await;
//!     Ok(url.len() as u64)
//! }
//!
//! /// All of them at once, each borrowing its own; the first error, or two seconds, ends the rest.
//! async fn total(urls: &[String]) -> io::Result<u64> {
//!     let sum = squall::try_scope(async |s| {
//!         s.cancel_after(Duration::from_secs(2));
//!         let children: Vec<_> = urls.iter().map(|url| s.spawn(fetch(url))).collect();
//!         let mut sum = 0;
//!         for child in children {
//!             sum += child.await;
//!         }
//!         Ok(sum)
//!     })
//!     .await?;
//!     Ok(sum)
//! }
//!
//! # squall::Builder::new().virtual_time().run(async {
//! assert_eq!(total(&["one".into(), "three".into()]).await?, 8);
//! # io::Result::Ok(())
//! # }).unwrap().unwrap();
//! ```
//!
//! [`scope()`] is `std::thread::scope` for coroutines; [`try_scope`] is trio's nursery. Both end when all that was spawned in them has ended.
//!
//! # What is cancelled, and how
//! Cancelling (by an error, a panic, [`cancel`](Scope::cancel), a [`CancelToken`], a deadline, the drop of the scope's future) drops the children, the youngest first, then the body. Nothing is dropped on
//! the spot: cancelling marks the scope and wakes it, and its next poll drops them, so that a child that is running returns first. Destructors run; what must be awaited even then goes into
//! [`Scope::shield`].
//!
//! [`stop`](Scope::stop) is the gentle way: the children see it ([`until_stop`]) and end by themselves; those that are left after the grace period are dropped.
//!
//! # Where children run
//! A child of [`spawn`](Scope::spawn) may borrow what encloses the scope. It is polled in its own place of the turn, with its own budget, but only ever inside the poll of its scope: where a foreign
//! combinator stops polling the scope's future without dropping it, the children stand still with it. [`spawn_task`](Scope::spawn_task) spawns a task of the loop, which may not borrow, and runs
//! whoever polls the scope.

/// The chapters of the guide: their code is compiled and run.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../../docs/scopes.md")]
    mod english {}
    #[doc = include_str!("../../../../docs/scopes.zh-CN.md")]
    mod chinese {}
}

// Level 6. Read family.rs first, then run.rs and node.rs.
mod ambient;
mod child;
mod children;
mod control;
mod error;
mod family;
#[cfg(feature = "fiber")]
mod fibers;
mod local;
mod mode;
mod node;
mod race;
mod run;
mod start;
mod stop;
mod tasks;
mod token;
mod watch;

pub use ambient::{deadline, time_left};
pub use child::{Child, ChildOutcome};
pub use error::{Cancellation, Reason, ScopeError, ScopeId};
pub use local::TaskLocal;
pub use mode::{Fails, Mode, Never, Outcome, Plain, ValueOf};
pub use race::{first_ok, for_each_concurrent, join_all, race, try_for_each_concurrent, try_join_all};
pub use start::{Ready, Starting};
pub use stop::{UntilStop, is_stopping, until_stop};
pub use token::{CancelToken, TokenCancelled};

use crate::task::{Member, drop_quietly, report_panic};
use family::Shared;
use run::Run;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::rc::Rc;

/// Runs a body that may spawn children which borrow what encloses the scope; ends when the body and all of them have ended, with what the body gives.
///
/// The body cannot be cancelled from inside, since it owes a value; nor do a child's errors end the scope: its output comes out of its handle. For that there is [`try_scope`]. A
/// server's main loop is a `scope` that is [stopped](Scope::stop).
///
/// # Cancellation
/// Dropping the future drops the children, the youngest first, then the body. Forgetting it (`mem::forget`) leaks them: they never run again.
///
/// # Panics
/// A panic of a child or of the body cancels the rest, and goes on here when all have ended. Of several the first goes on, the rest are reported. Polled outside an event loop, and
/// on another one than before, it panics too.
///
/// ```
/// squall::run(async {
///     let words = vec!["one", "two", "three"];
///     let longest = squall::scope(async |s| {
///         let lengths: Vec<_> = words.iter().map(|word| s.spawn(async move { word.len() })).collect();
///         squall::join_all(lengths).await.into_iter().max()
///     })
///     .await;
///     assert_eq!(longest, Some(5));
/// });
/// ```
#[track_caller]
pub fn scope<'env, T, F>(body: F) -> impl Future<Output = T>
where
    F: for<'scope> AsyncFnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let opened_at = Location::caller();
    async move {
        let scope = Scope::<Plain>::open(opened_at);
        let mut run = Run::new(scope.shared.clone());
        run.body = Some(body(&scope));
        let output = run.await;
        match (output, scope.shared.family.take_panic()) {
            (Some(output), None) => output,
            (output, Some(panic)) => {
                go_on_without(output);
                resume_unwind(panic)
            }
            (None, None) => unreachable!("only a panic ends the body of a scope"),
        }
    }
}

/// Runs a body that may spawn children which borrow what encloses the scope; the first error, of a child or of the body, cancels the rest.
///
/// Ends when all have ended: with what the body gives, or with a [`ScopeError`] that holds every error, or says how the scope was cancelled. A child that gives an `Err` ends the
/// scope, whether or not anybody awaits it, so the handle of a child gives the plain value.
///
/// The semantics are those of trio's nurseries and cancel scopes; `docs/scopes.md` holds the rules side by side.
///
/// # Cancellation, panics
/// As [`scope()`].
///
/// ```
/// use std::io;
///
/// async fn half(n: u32) -> io::Result<u32> {
///     if n % 2 == 1 { Err(io::Error::other(format!("{n} is odd"))) } else { Ok(n / 2) }
/// }
///
/// # squall::run(async {
/// let numbers = [2, 5, 8];
/// let error = squall::try_scope(async |s| {
///     for n in &numbers {
///         s.spawn(half(*n));
///     }
///     Ok("all are even")
/// })
/// .await
/// .unwrap_err();
/// assert_eq!(error.to_string(), "5 is odd");
/// # });
/// ```
#[track_caller]
pub fn try_scope<'env, T, E, F>(body: F) -> impl Future<Output = Result<T, ScopeError<E>>>
where
    F: for<'scope> AsyncFnOnce(&'scope Scope<'scope, 'env, Fails<E>>) -> Result<T, E>,
{
    let opened_at = Location::caller();
    async move {
        let scope = Scope::<Fails<E>>::open(opened_at);
        let shared = &scope.shared;
        let mut run = Run::new(shared.clone());
        run.body = Some(async {
            match body(&scope).await {
                Ok(output) => Some(output),
                Err(error) => {
                    shared.fail(error);
                    None
                }
            }
        });
        let output = run.await;
        // In any case: the scope's state may outlive what its errors borrow.
        let failures = shared.failures.take();
        if let Some(panic) = shared.family.take_panic() {
            go_on_without((output, failures));
            resume_unwind(panic);
        }
        let mut failures = failures.into_iter();
        let cancellation = shared.family.cancellation();
        match (failures.next(), cancellation, output) {
            (Some(first), ..) => Err(ScopeError::Failed { first, rest: failures.collect() }),
            (None, Some(cancellation), _) => Err(ScopeError::Cancelled(cancellation)),
            (None, None, Some(Some(output))) => Ok(output),
            (None, None, _) => unreachable!("a body without a value has failed or was cancelled"),
        }
    }
}

/// Drops what a panic makes worthless: the panic itself is to go on.
fn go_on_without<T>(value: T) {
    if let Some(second) = drop_quietly(value) {
        report_panic("what a scope would have given panicked in its destructor, after another panic", second);
    }
}

/// A [`Scope`] of [`try_scope`], for the signatures of functions that take one.
pub type TryScope<'scope, 'env, E> = Scope<'scope, 'env, Fails<E>>;

/// Spawns children; given to the body of [`scope()`] and [`try_scope`], and to be handed on to children that spawn further ones.
///
/// ```
/// use squall::scope::TryScope;
/// use std::io;
///
/// async fn walk<'scope>(s: &'scope TryScope<'scope, '_, io::Error>, depth: u32) -> io::Result<()> {
///     if depth > 0 {
///         s.spawn(Box::pin(walk(s, depth - 1)));
///         s.spawn(Box::pin(walk(s, depth - 1)));
///     }
///     Ok(())
/// }
///
/// # squall::run(async {
/// squall::try_scope(async |s| walk(s, 4).await).await.unwrap();
/// # });
/// ```
pub struct Scope<'scope, 'env: 'scope, M: Mode = Plain> {
    shared: Rc<Shared<M>>,
    // Invariant in both, as in std: else a longer life could be claimed for what is borrowed.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, M: Mode> Scope<'scope, '_, M> {
    #[track_caller]
    fn open(opened_at: &'static Location<'static>) -> Self {
        Scope { shared: Shared::open(opened_at), scope: PhantomData, env: PhantomData }
    }

    /// Spawns a child, which may borrow what encloses the scope. It is first polled next turn, and is awaited at the scope's end, or before by its handle.
    ///
    /// What borrows must outlive the scope: a local of the body does not, and rustc says so; move it into the child, or declare it before the scope.
    ///
    /// On a scope that is cancelled, and on a loop that is ending, the future is dropped and the handle has ended.
    ///
    /// # Panics
    /// Inside another event loop than the scope's.
    #[track_caller]
    pub fn spawn<F>(&'scope self, future: F) -> Child<'scope, ValueOf<F, M>>
    where
        F: Future + 'scope,
        F::Output: Outcome<M>,
        M: 'scope,
    {
        let place = Location::caller();
        let family = &self.shared.family;
        let Some((tasks, number)) = family.admit() else { return Child::refused(family) };
        // SAFETY: a member is looked at until it has ended, or for ever if its scope is forgotten: as long as the scope's state is there.
        let member = unsafe { Member::new(Rc::as_ptr(&family.group)) };
        // SAFETY: likewise: it is polled in the scope's poll only.
        let node = unsafe { node::make(member, number, future, Rc::as_ptr(&self.shared), place) };
        // SAFETY: the future may borrow for `'scope`, which lasts until the scope's future is dropped: it borrows the `Scope` that lies there. Until then, and no later, it is polled and
        // dropped (`Run`, and the invariant of `Head`).
        unsafe { family.adopt(tasks, node) };
        // SAFETY: the handle owns it, and the value is of that type.
        unsafe { Child::of_node(node, family) }
    }

    /// Which scope this is; a [`Cancellation`] says the same.
    pub fn id(&self) -> ScopeId {
        self.shared.family.id()
    }
}

impl<M: Mode> fmt::Debug for Scope<'_, '_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("id", &self.id())
            .field("opened_at", &format_args!("{}", self.shared.family.opened_at))
            .field("state", &self.shared.family.state())
            .finish_non_exhaustive()
    }
}
