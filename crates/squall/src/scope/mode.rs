//! The two kinds of scope, by what their children give: [`Plain`] takes any output, [`Fails`] takes errors out of them.

use std::cell::RefCell;
use std::future::Future;

/// The kind of a scope: [`Plain`] or [`Fails`]. Sealed.
pub trait Mode: sealed::Sealed + Sized {
    /// Where errors are collected.
    #[doc(hidden)]
    type Failures: Default;
    /// What [`Scope::start`](super::Scope::start) gives.
    type Started<V>;

    #[doc(hidden)]
    fn started<V>(value: V) -> Self::Started<V>;
    /// Takes the last error out, for `start`.
    #[doc(hidden)]
    fn not_started<V>(failure: Self::Failure) -> Self::Started<V>;
    /// One error.
    #[doc(hidden)]
    type Failure;
    #[doc(hidden)]
    fn note(failures: &Self::Failures, failure: Self::Failure);
    /// Drops the errors.
    #[doc(hidden)]
    fn clear(failures: &Self::Failures);
    /// A child's error ends the scope with it.
    #[doc(hidden)]
    const ENDS_WITH_FAILURE: bool;
}

/// The kind of [`scope`](super::scope()): children give any value, and nothing but a panic ends the scope before its time.
#[derive(Debug)]
pub enum Plain {}

/// The kind of [`try_scope`](super::try_scope): the first error of a child, or of the body, ends the scope.
#[derive(Debug)]
pub struct Fails<E>(std::marker::PhantomData<fn() -> E>);

/// No failure is possible.
#[derive(Debug)]
pub enum Never {}

impl Mode for Plain {
    type Failures = ();
    type Started<V> = V;
    type Failure = Never;
    const ENDS_WITH_FAILURE: bool = false;

    fn started<V>(value: V) -> V {
        value
    }

    fn not_started<V>(failure: Never) -> V {
        match failure {}
    }

    fn note((): &(), failure: Never) {
        match failure {}
    }

    fn clear((): &()) {}
}

impl<E> Mode for Fails<E> {
    type Failures = RefCell<Vec<E>>;
    type Started<V> = Result<V, E>;
    type Failure = E;
    const ENDS_WITH_FAILURE: bool = true;

    fn started<V>(value: V) -> Result<V, E> {
        Ok(value)
    }

    fn not_started<V>(failure: E) -> Result<V, E> {
        Err(failure)
    }

    fn note(failures: &RefCell<Vec<E>>, failure: E) {
        failures.borrow_mut().push(failure);
    }

    fn clear(failures: &RefCell<Vec<E>>) {
        let cleared = failures.take();
        drop(cleared);
    }
}

/// What a child of a scope may give.
///
/// In a [`scope`](super::scope()): anything. In a [`try_scope`](super::try_scope) with errors of type `E`: `()` or `Result<T, E>`; an `Err` ends the scope, so the handle
/// gives the plain `T`.
#[diagnostic::on_unimplemented(
    message = "a child of this scope cannot give `{Self}`",
    label = "its output must be `()` or `Result<_, E>`, with the error type `E` of the `try_scope`",
    note = "to keep a value, give `Ok(value)`; an error of another type is converted with `.map_err(…)`, or by `?` in the child's body",
    note = "a child whose result is nobody's error can be spawned in a `scope`, which takes any output"
)]
pub trait Outcome<M: Mode>: Sized {
    /// What the handle gives.
    type Value;

    #[doc(hidden)]
    fn settle(self) -> Result<Self::Value, M::Failure>;
}

impl<T> Outcome<Plain> for T {
    type Value = T;

    fn settle(self) -> Result<T, Never> {
        Ok(self)
    }
}

impl<E> Outcome<Fails<E>> for () {
    type Value = ();

    fn settle(self) -> Result<(), E> {
        Ok(())
    }
}

/// A child that loops for ever.
impl<E> Outcome<Fails<E>> for <fn() -> ! as sealed::Returns>::Output {
    type Value = Self;

    fn settle(self) -> Result<Self, E> {
        self
    }
}

impl<T, E> Outcome<Fails<E>> for Result<T, E> {
    type Value = T;

    fn settle(self) -> Result<T, E> {
        self
    }
}

/// What the handle of a child gives whose future is `F`.
pub type ValueOf<F, M> = <<F as Future>::Output as Outcome<M>>::Value;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Plain {}
    impl<E> Sealed for super::Fails<E> {}

    /// Leads to the type of what never returns, which has no name yet but in the types of functions.
    pub trait Returns {
        type Output;
    }

    impl<T> Returns for fn() -> T {
        type Output = T;
    }
}
