//! A generator as its caller holds it.

use super::channel::State;
use super::co::Co;
use super::frame::{FrameOf, TypedFrame, tell};
use super::outcome::{ResumeError, Resumed, Step};
use super::root::Root;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::ptr::NonNull;

/// A function that pauses: it yields values of `Y`, takes values of `S` at its yields, returns an `R`, and may be thrown an `X` at.
///
/// It has one allocation, and makes none for an item. It is dropped wherever it pauses, innermost delegates first; what it holds is dropped then.
/// It borrows for `'a`; so may its delegates.
///
/// ```
/// use squall::generator::{Generator, Step};
///
/// fn averager<'a>() -> Generator<'a, (), Option<f64>, f64> {
///     Generator::new(async |co| {
///         let (mut sum, mut n) = (0.0, 0);
///         while let Some(x) = co.yield_(()).await {
///             (sum, n) = (sum + x, n + 1);
///         }
///         sum / f64::from(n)
///     })
/// }
///
/// fn report<'a>(names: &'a [&'a str]) -> Generator<'a, (), Option<f64>, Vec<(&'a str, f64)>> {
///     Generator::new(async move |co| {
///         let mut rows = Vec::new();
///         for name in names {
///             rows.push((*name, co.yield_from(averager()).await));
///         }
///         rows
///     })
/// }
///
/// let mut rows = report(&["girls", "boys"]);
/// assert_eq!(rows.resume(), Ok(Step::Yielded(())));
/// for weight in [Some(40.0), Some(42.0), None, Some(50.0)] {
///     assert_eq!(rows.send(weight), Ok(Step::Yielded(())));
/// }
/// assert_eq!(rows.send(None), Ok(Step::Returned(vec![("girls", 41.0), ("boys", 50.0)])));
/// ```
pub struct Generator<'a, Y, S = (), R = (), X = Infallible> {
    /// Owned, as by a `Box`. (A `Box` would claim to be the only way to it, and a root's stack is another.)
    pub(super) root: Root<'a, Y, S, R, X>,
}

impl<'a, Y: 'a, S: 'a, R: 'a, X: 'a> Generator<'a, Y, S, R, X> {
    /// A generator that has not begun: its body runs when it is started.
    ///
    /// The compiler does not carry the types of the generator into its body. Where a method is called on what was sent, say what that is:
    ///
    /// ```
    /// use squall::generator::{Co, Generator, Step};
    ///
    /// let mut squares: Generator<'_, (), Option<u32>, u32> = Generator::new(async |co| {
    ///     let n: Option<u32> = co.yield_(()).await;
    ///     n.unwrap_or(0).pow(2)
    /// });
    /// // Or once for all:
    /// let more: Generator<'_, (), Option<u32>, u32> =
    ///     Generator::new(async |co: &Co<'_, (), Option<u32>>| co.yield_(()).await.unwrap_or(0).pow(2));
    /// # _ = squares.start();
    /// # assert_eq!(squares.send(Some(3)), Ok(Step::Returned(9)));
    /// ```
    pub fn new<F>(f: F) -> Generator<'a, Y, S, R, X>
    where
        F: for<'c> AsyncFnOnce(&'c Co<'a, Y, S, X>) -> R + 'a,
    {
        Generator::boxed(move |co: &'a Co<'a, Y, S, X>| f(co))
    }

    /// (Out of line: the bodies that make their delegates are lighter for it at each step.)
    #[inline(never)]
    pub(super) fn boxed<B>(maker: impl FnOnce(&'a Co<'a, Y, S, X>) -> B + 'a) -> Generator<'a, Y, S, R, X>
    where
        B: Future<Output = R> + 'a,
    {
        let frame: Box<dyn FrameOf<'a, Y, S, R, X> + 'a> = Box::new(TypedFrame::new(maker));
        // SAFETY: a box's pointer is not null; it is freed when this is dropped, and not moved until then.
        Generator { root: unsafe { Root::new(NonNull::new_unchecked(Box::into_raw(frame))) } }
    }
}

impl<'a, Y, S, R, X> Generator<'a, Y, S, R, X> {
    /// Runs it up to its first yield, or its end.
    ///
    /// # Errors
    /// [`Started`](ResumeError::Started), [`Finished`](ResumeError::Finished), and what the body raises.
    ///
    /// # Panics
    /// With the panic of the body, which has ended then; and if the body awaits anything but yields and what is ready.
    pub fn start(&mut self) -> Resumed<Y, S, R, X> {
        self.root.start()
    }

    /// Lets it go on with the default value: `None` where it takes options, nothing where it takes nothing. Starts it if it was not. (Python:
    /// `next`.)
    ///
    /// # Errors
    /// [`Finished`](ResumeError::Finished), and what the body raises.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[inline]
    pub fn resume(&mut self) -> Resumed<Y, S, R, X>
    where
        S: Default,
    {
        if self.root.state() == State::Fresh { self.start() } else { self.send(S::default()) }
    }

    /// Lets it go on with a value for the yield that it waits at.
    ///
    /// # Errors
    /// [`NotStarted`](ResumeError::NotStarted) with the value, [`Finished`](ResumeError::Finished), and what the body raises.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[inline]
    pub fn send(&mut self, value: S) -> Resumed<Y, S, R, X> {
        self.root.send(value)
    }

    /// Throws at the yield that it waits at. A body that catches goes on; one that does not ends, as does one that was not started or has
    /// ended.
    ///
    /// # Errors
    /// What nobody caught, and what the body raises.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn throw(&mut self, thrown: X) -> Resumed<Y, S, R, X> {
        self.root.throw(thrown)
    }

    /// Asks it to end: innermost delegates first, each at the yield that it waits at. `Some` if its body returns a value upon that. A generator that was
    /// not started ends without running; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`IgnoredExit`](ResumeError::IgnoredExit) if a body yields once more: then it can still be resumed. What a body raises instead of ending.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn close(&mut self) -> Result<Option<R>, ResumeError<S, X>> {
        self.root.close()
    }

    /// True if it was started.
    pub fn is_started(&self) -> bool {
        self.root.state() != State::Fresh
    }

    /// True if it has ended.
    pub fn is_finished(&self) -> bool {
        self.root.state() == State::Finished
    }
}

impl<Y, S, R, X> Drop for Generator<'_, Y, S, R, X> {
    fn drop(&mut self) {
        struct Free<'f, 'a, Y, S, R, X>(&'f mut Root<'a, Y, S, R, X>);
        impl<Y, S, R, X> Drop for Free<'_, '_, Y, S, R, X> {
            fn drop(&mut self) {
                // SAFETY: made by a box in `boxed`, and ended below.
                unsafe { self.0.free() };
            }
        }
        let panic = self.root.end();
        // The memory is freed whichever way this is left.
        let _free = Free(&mut self.root);
        tell(panic);
    }
}

/// The values that it yields. What it returns is dropped.
impl<Y, R> Iterator for Generator<'_, Y, (), R, Infallible> {
    type Item = Y;

    #[inline]
    fn next(&mut self) -> Option<Y> {
        self.resume().ok().and_then(Step::yielded)
    }
}

impl<Y, R> std::iter::FusedIterator for Generator<'_, Y, (), R, Infallible> {}

impl<Y, S, R, X> fmt::Debug for Generator<'_, Y, S, R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("state", &self.root.state()).finish_non_exhaustive()
    }
}
