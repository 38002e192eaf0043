//! Fibers that a scope owns.

use super::Scope;
use super::child::Child;
use super::mode::{Mode, Outcome};
use super::tasks::own;
use crate::fiber::Builder;
use std::io;
use std::panic::Location;

impl<'scope, M: Mode> Scope<'scope, '_, M> {
    /// Spawns a fiber that the scope owns: see [`fiber::spawn`](crate::fiber::spawn), and [`spawn_task`](Self::spawn_task).
    ///
    /// It may not borrow: a forgotten scope would leave the fiber running on what is gone. Fibers that borrow are spawned from a fiber, by [`fiber::scope`](crate::fiber::scope).
    /// Where a child is dropped it is cancelled: its calls return [`Cancelled`](crate::fiber::Cancelled), then it is unwound.
    ///
    /// # Panics
    /// If no stack can be had (`fiber::Builder::spawn_in` gives that as an error), and inside another event loop than the scope's.
    ///
    /// ```
    /// use squall::fiber;
    ///
    /// # squall::run(async {
    /// let length = squall::scope(async |s| {
    ///     s.spawn_fiber(|| {
    ///         fiber::yield_now();
    ///         "from a fiber".len()
    ///     })
    ///     .await
    /// })
    /// .await;
    /// assert_eq!(length, 12);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_fiber<F, R>(&'scope self, f: F) -> Child<'scope, <R as Outcome<M>>::Value>
    where
        F: FnOnce() -> R + 'static,
        R: Outcome<M> + 'static,
    {
        match Builder::new().spawn_in(self, f) {
            Ok(child) => child,
            Err(error) => panic!("Scope::spawn_fiber: {error}"),
        }
    }
}

impl Builder {
    /// Spawns the fiber in a scope, as [`Scope::spawn_fiber`] does.
    ///
    /// # Errors
    /// Those of [`spawn`](Self::spawn). `f` is dropped then.
    ///
    /// # Panics
    /// Inside another event loop than the scope's.
    #[track_caller]
    pub fn spawn_in<'scope, F, R, M>(
        self,
        scope: &'scope Scope<'scope, '_, M>,
        f: F,
    ) -> io::Result<Child<'scope, <R as Outcome<M>>::Value>>
    where
        F: FnOnce() -> R + 'static,
        R: Outcome<M> + 'static,
        M: Mode,
    {
        let place = Location::caller();
        let shared = &scope.shared;
        let Some((_, number)) = shared.family.admit() else {
            return Ok(Child::refused(&shared.family));
        };
        match self.into_task(place, f) {
            Ok((fiber, new)) => Ok(own(shared, number, fiber, Outcome::settle, false, new.name, place)),
            Err(error) => Err(error),
        }
    }
}
