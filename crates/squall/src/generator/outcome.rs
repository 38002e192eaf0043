//! What comes of resuming a generator, as values: the exceptions of PEP 342 that Rust's types do not rule out.

use std::error::Error;
use std::fmt;

/// How far a generator came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<Y, R> {
    /// It has yielded, and waits to be resumed.
    Yielded(Y),
    /// It has ended, with its body's value. (Python: `StopIteration`, and its `value`.)
    Returned(R),
}

impl<Y, R> Step<Y, R> {
    /// What was yielded.
    pub fn yielded(self) -> Option<Y> {
        match self {
            Step::Yielded(value) => Some(value),
            Step::Returned(_) => None,
        }
    }

    /// What the body returned.
    pub fn returned(self) -> Option<R> {
        match self {
            Step::Yielded(_) => None,
            Step::Returned(value) => Some(value),
        }
    }
}

/// What resuming gives.
pub type Resumed<Y, S, R, X> = Result<Step<Y, R>, ResumeError<S, X>>;

/// Why a generator could not be resumed, or how it ended otherwise than by returning.
///
/// Python's "generator already executing" is [`Running`](Self::Running) where it can come about, which is with asynchronous ones only: a generator is resumed by
/// `&mut`, so its own body cannot, and two calls cannot be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResumeError<S, X> {
    /// A value was sent to a generator that has not come to a yield which could take it. The value is given back, and nothing else has happened: start it with
    /// [`start`](super::Generator::start) or [`resume`](super::Generator::resume).
    NotStarted(S),
    /// It was started already. (Of [`start`](super::Generator::start) only.)
    Started,
    /// It has ended. Its value was given once.
    Finished,
    /// A value was sent to an asynchronous generator whose last call was given up before the body came to a yield. The value is given back, and nothing else
    /// has happened: [`resume`](super::AsyncGenerator::resume) goes on there.
    Running(S),
    /// What was thrown, or raised by the body: nobody caught it, and the generator has ended.
    Thrown(X),
    /// Asked to close, the body has yielded once more; what it yielded is dropped. It is still waiting and can be resumed.
    IgnoredExit,
}

impl<S, X: fmt::Display> fmt::Display for ResumeError<S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResumeError::NotStarted(_) => {
                f.write_str("a value was sent to a generator that was not started: call start() or resume() first")
            }
            ResumeError::Started => f.write_str("the generator was started already: send() to it, or resume() it"),
            ResumeError::Finished => f.write_str("the generator has ended, and has given its value"),
            ResumeError::Running(_) => f.write_str(
                "a value was sent to a generator that is still on its way to a yield, since its last call was given up: call resume() first",
            ),
            ResumeError::Thrown(thrown) => thrown.fmt(f),
            ResumeError::IgnoredExit => {
                f.write_str("the generator was asked to close and has yielded: return when try_yield gives Raised::Closed")
            }
        }
    }
}

impl<S: fmt::Debug, X: Error + 'static> Error for ResumeError<S, X> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ResumeError::Thrown(thrown) => thrown.source(),
            _ => None,
        }
    }
}

/// What a body is told instead of a value, at a `try_yield` or `try_yield_from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raised<X> {
    /// [`throw`](super::Generator::throw), or a delegate that raised.
    Thrown(X),
    /// [`close`](super::Generator::close): clean up and return. (Python: `GeneratorExit`.)
    Closed,
}

impl<X: fmt::Display> fmt::Display for Raised<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Thrown(thrown) => thrown.fmt(f),
            Raised::Closed => f.write_str("the generator is asked to close"),
        }
    }
}

impl<X: Error + 'static> Error for Raised<X> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Raised::Thrown(thrown) => thrown.source(),
            Raised::Closed => None,
        }
    }
}
