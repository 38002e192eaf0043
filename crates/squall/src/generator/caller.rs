//! A generator as its caller holds it.

use super::attach::{Co, body};
use super::frame::{Answer, Channel, FrameOf, FramePtr, Outcome, State, TypedFrame, channel_of, resume};
use super::outcome::{Raised, ResumeError, Step};
use std::convert::Infallible;
use std::fmt;
use std::ptr::NonNull;

/// What resuming gives.
pub type Resumed<Y, S, R, X> = Result<Step<Y, R>, ResumeError<S, X>>;

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
    frame: NonNull<dyn FrameOf<'a, Y, S, R, X> + 'a>,
}

impl<'a, Y: 'a, S: 'a, R: 'a, X: 'a> Generator<'a, Y, S, R, X> {
    /// A generator that has not begun: its body runs when it is started.
    pub fn new<F>(f: F) -> Generator<'a, Y, S, R, X>
    where
        F: for<'c> AsyncFnOnce(&'c Co<'a, Y, S, X>) -> R + 'a,
    {
        let frame: Box<dyn FrameOf<'a, Y, S, R, X> + 'a> = Box::new(TypedFrame::new(body(f)));
        // SAFETY: a box's pointer is not null.
        Generator { frame: unsafe { NonNull::new_unchecked(Box::into_raw(frame)) } }
    }
}

impl<'a, Y, S, R, X> Generator<'a, Y, S, R, X> {
    pub(super) fn channel(&self) -> &Channel<'a, Y, S, X> {
        // SAFETY: owned.
        unsafe { channel_of(self.frame) }
    }

    pub(super) fn frame(&self) -> FramePtr<'a, Y, S, X> {
        self.frame
    }

    pub(super) fn take_value(&self) -> Option<R> {
        // SAFETY: owned.
        unsafe { self.frame.as_ref() }.take_value()
    }

    /// Runs it up to its first yield, or its end.
    ///
    /// # Errors
    /// [`Started`](ResumeError::Started), [`Finished`](ResumeError::Finished), and what the body raises.
    ///
    /// # Panics
    /// With the panic of the body, which has ended then; and if the body awaits anything but yields and what is ready.
    pub fn start(&mut self) -> Resumed<Y, S, R, X> {
        match self.channel().state.get() {
            State::Fresh => self.go_on(None),
            State::Finished => Err(ResumeError::Finished),
            State::Suspended | State::Running => Err(ResumeError::Started),
        }
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
        if self.channel().state.get() == State::Fresh { self.start() } else { self.send(S::default()) }
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
        match self.channel().state.get() {
            State::Suspended => self.go_on(Some(Ok(value))),
            State::Fresh => Err(ResumeError::NotStarted(value)),
            State::Finished | State::Running => Err(ResumeError::Finished),
        }
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
        match self.channel().state.get() {
            State::Finished => Err(ResumeError::Thrown(thrown)),
            _ => self.go_on(Some(Err(Raised::Thrown(thrown)))),
        }
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
        if self.is_finished() {
            return Ok(None);
        }
        // SAFETY: owned, pinned by its box, not finished; `&mut self` says that nobody resumes it.
        match unsafe { resume(self.frame(), Some(Err(Raised::Closed)), true) } {
            Outcome::Returned => Ok(self.take_value()),
            Outcome::Raised(Raised::Closed) => Ok(None),
            Outcome::Raised(Raised::Thrown(thrown)) => Err(ResumeError::Thrown(thrown)),
            Outcome::IgnoredExit => Err(ResumeError::IgnoredExit),
            Outcome::Yielded(_) => unreachable!("a yield while closing is ignored"),
        }
    }

    #[inline]
    fn go_on(&mut self, answer: Option<Answer<S, X>>) -> Resumed<Y, S, R, X> {
        // SAFETY: as in `close`.
        match unsafe { resume(self.frame(), answer, false) } {
            Outcome::Yielded(value) => Ok(Step::Yielded(value)),
            Outcome::Returned => {
                Ok(Step::Returned(self.take_value().expect("a body that has returned has left its value")))
            }
            Outcome::Raised(Raised::Thrown(thrown)) => Err(ResumeError::Thrown(thrown)),
            Outcome::Raised(Raised::Closed) | Outcome::IgnoredExit => Err(ResumeError::Finished),
        }
    }

    /// True if it was started.
    pub fn is_started(&self) -> bool {
        self.channel().state.get() != State::Fresh
    }

    /// True if it has ended.
    pub fn is_finished(&self) -> bool {
        self.channel().state.get() == State::Finished
    }
}

impl<Y, S, R, X> Drop for Generator<'_, Y, S, R, X> {
    fn drop(&mut self) {
        struct Free<'a, Y, S, R, X>(NonNull<dyn FrameOf<'a, Y, S, R, X> + 'a>);
        impl<Y, S, R, X> Drop for Free<'_, Y, S, R, X> {
            fn drop(&mut self) {
                // SAFETY: made by a box in `new`, on no stack any more, its body dropped.
                drop(unsafe { Box::from_raw(self.0.as_ptr()) });
            }
        }
        // SAFETY: owned, and nobody resumes it.
        let panic = unsafe { self.channel().end_all(self.frame) };
        let free = Free(self.frame);
        match panic {
            Some(panic) if !std::thread::panicking() => {
                // The memory is freed on the way.
                let _free = free;
                std::panic::resume_unwind(panic)
            }
            panic => super::frame::discard(panic),
        }
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
        f.debug_struct("Generator").field("state", &self.channel().state.get()).finish_non_exhaustive()
    }
}
