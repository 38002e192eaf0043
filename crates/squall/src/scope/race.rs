//! Several futures at once: the first to finish, the first to succeed, all of them, so many at a time.
//!
//! Each future is a child of a scope with a waker of its own, so only what was woken is polled, and all of them go on being polled as long as the operation is awaited: a loser cannot hold a lock
//! that nobody polls it out of (Oxide's *futurelock*, RFD 609), and all losers are gone before the operation gives its value. Branches by reference (`select!` over `&mut future`) were rejected for that:
//! they stop being polled without being dropped.

use super::{Child, ScopeError, scope, try_scope};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, IntoFuture, pending};
use std::panic::Location;

/// Runs futures at once until the first is finished; gives what that one gives. The others are dropped before this is ready.
///
/// # Cancellation
/// Dropping it drops all of them.
///
/// # Panics
/// Without any future: nothing would ever be first. A panic of one goes on here when the others were dropped.
///
/// ```
/// use squall::time::sleep;
/// use std::time::Duration;
///
/// async fn answer_after(seconds: u64) -> u64 {
///     sleep(Duration::from_secs(seconds)).await;
///     seconds
/// }
///
/// # squall::Builder::new().virtual_time().run(async {
/// assert_eq!(squall::race([3, 1, 2].map(answer_after)).await, 1);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn race<I>(futures: I) -> impl Future<Output = <I::Item as IntoFuture>::Output>
where
    I: IntoIterator,
    I::Item: IntoFuture,
{
    let place = Location::caller();
    let futures: Vec<_> = futures.into_iter().map(IntoFuture::into_future).collect();
    assert!(!futures.is_empty(), "a race without futures has no winner: it was begun at {place}");
    async move {
        let won = try_scope(async |s| {
            for future in futures {
                s.spawn(async move { Err::<Infallible, _>(future.await) });
            }
            pending::<Result<Infallible, _>>().await
        })
        .await;
        match won {
            Err(ScopeError::Failed { first, .. }) => first,
            Err(ScopeError::Cancelled(_)) => unreachable!("nobody cancels a race"),
            Ok(never) => match never {},
        }
    }
}

/// Runs futures at once until the first succeeds; gives what that one gives, or all errors, in the order of the futures, if none does.
///
/// The others are dropped before this is ready. Without any future it gives no errors, an empty list.
///
/// # Cancellation
/// Dropping it drops all of them.
///
/// # Errors
/// All errors, if no future succeeds.
///
/// ```
/// # squall::run(async {
/// let ports = ["x", "80", "y"].map(|port| async move { port.parse::<u16>() });
/// assert_eq!(squall::first_ok(ports).await, Ok(80));
/// let none = ["x", "y"].map(|port| async move { port.parse::<u16>() });
/// assert_eq!(squall::first_ok(none).await.unwrap_err().len(), 2);
/// # });
/// ```
pub fn first_ok<I, T, E>(futures: I) -> impl Future<Output = Result<T, Vec<E>>>
where
    I: IntoIterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
{
    let futures: Vec<_> = futures.into_iter().map(IntoFuture::into_future).collect();
    async move {
        // The winner is what ends a scope early, so it is the scope's error.
        let won = try_scope(async |s| {
            let children: Vec<Child<'_, E>> = futures
                .into_iter()
                .map(|future| {
                    s.spawn(async move {
                        match future.await {
                            Ok(value) => Err(value),
                            Err(error) => Ok(error),
                        }
                    })
                })
                .collect();
            Ok(values(children).await)
        })
        .await;
        match won {
            Ok(errors) => Err(errors),
            Err(ScopeError::Failed { first, .. }) => Ok(first),
            Err(ScopeError::Cancelled(_)) => unreachable!("nobody cancels it"),
        }
    }
}

/// Runs futures at once; gives what they give, in their order. (The handles of a scope's children are futures too.)
///
/// # Cancellation
/// Dropping it drops all of them.
///
/// # Panics
/// With the first panic of one, when the others were dropped.
///
/// ```
/// # squall::run(async {
/// assert_eq!(squall::join_all([1, 2, 3].map(|n| async move { n * n })).await, [1, 4, 9]);
/// # });
/// ```
pub fn join_all<I>(futures: I) -> impl Future<Output = Vec<<I::Item as IntoFuture>::Output>>
where
    I: IntoIterator,
    I::Item: IntoFuture,
{
    let futures: Vec<_> = futures.into_iter().map(IntoFuture::into_future).collect();
    async move {
        scope(async |s| {
            let children: Vec<_> = futures.into_iter().map(|future| s.spawn(future)).collect();
            values(children).await
        })
        .await
    }
}

/// Runs futures at once; gives what they give, in their order, or the first error, when the others were dropped.
///
/// # Cancellation
/// Dropping it drops all of them.
///
/// # Errors
/// The error that came first.
///
/// ```
/// # squall::run(async {
/// let numbers = |words: &'static [&str]| squall::try_join_all(words.iter().map(|word| async move { word.parse::<u8>() }));
/// assert_eq!(numbers(&["1", "2"]).await, Ok(vec![1, 2]));
/// assert!(numbers(&["1", "two"]).await.is_err());
/// # });
/// ```
pub fn try_join_all<I, T, E>(futures: I) -> impl Future<Output = Result<Vec<T>, E>>
where
    I: IntoIterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
{
    let futures: Vec<_> = futures.into_iter().map(IntoFuture::into_future).collect();
    async move {
        let joined = try_scope::<_, E, _>(async |s| {
            let children: Vec<Child<'_, T>> = futures.into_iter().map(|future| s.spawn(future)).collect();
            Ok(values(children).await)
        })
        .await;
        joined.map_err(first_error)
    }
}

/// Calls an async function for each item, for at most `limit` of them at once. The iterator is asked for the next item when there is room.
///
/// # Cancellation
/// Dropping it drops those that run.
///
/// # Panics
/// With a limit of zero.
///
/// ```
/// use std::cell::Cell;
///
/// # squall::run(async {
/// let (now, most) = (Cell::new(0), Cell::new(0));
/// squall::for_each_concurrent(0..10, 3, async |_| {
///     now.set(now.get() + 1);
///     most.set(most.get().max(now.get()));
///     squall::yield_now().await;
///     now.set(now.get() - 1);
/// })
/// .await;
/// assert_eq!(most.get(), 3);
/// # });
/// ```
#[track_caller]
pub fn for_each_concurrent<I, F>(items: I, limit: usize, each: F) -> impl Future<Output = ()>
where
    I: IntoIterator,
    F: AsyncFn(I::Item),
{
    refuse_zero(limit);
    async move {
        let done = try_for_each_concurrent(items, limit, async |item| {
            each(item).await;
            Ok::<(), Infallible>(())
        })
        .await;
        match done {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
}

/// Calls a fallible async function for each item, for at most `limit` of them at once. The first error ends it, when the others were dropped.
///
/// # Cancellation
/// Dropping it drops those that run.
///
/// # Errors
/// The error that came first.
///
/// # Panics
/// With a limit of zero.
///
/// ```
/// # squall::run(async {
/// let words = ["1", "two", "3"];
/// let error = squall::try_for_each_concurrent(words, 2, async |word: &str| word.parse::<u8>().map(drop)).await;
/// assert!(error.is_err());
/// # });
/// ```
#[track_caller]
pub fn try_for_each_concurrent<I, E, F>(
    items: I,
    limit: usize,
    each: F,
) -> impl Future<Output = Result<(), E>>
where
    I: IntoIterator,
    F: AsyncFn(I::Item) -> Result<(), E>,
{
    refuse_zero(limit);
    async move {
        let items = RefCell::new(items.into_iter().fuse());
        let next = || items.borrow_mut().next();
        // Each of at most `limit` children takes the next item when it has done one, so nobody waits for a place.
        let done = try_scope::<(), E, _>(async |s| {
            for _ in 0..limit {
                let Some(item) = next() else { break };
                s.spawn(async {
                    let mut item = item;
                    loop {
                        each(item).await?;
                        match next() {
                            Some(following) => item = following,
                            None => return Ok(()),
                        }
                    }
                });
            }
            Ok(())
        })
        .await;
        done.map_err(first_error)
    }
}

/// The children's values, in their order.
async fn values<T>(children: Vec<Child<'_, T>>) -> Vec<T> {
    let mut values = Vec::with_capacity(children.len());
    for child in children {
        values.push(child.await);
    }
    values
}

#[track_caller]
fn refuse_zero(limit: usize) {
    assert!(limit > 0, "a limit of zero lets nothing run: give how many may run at once");
}

fn first_error<E>(error: ScopeError<E>) -> E {
    match error {
        ScopeError::Failed { first, .. } => first,
        ScopeError::Cancelled(_) => unreachable!("nobody cancels it"),
    }
}
