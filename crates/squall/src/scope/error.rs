//! Why a scope gave no value.

use crate::event_loop::Home;
use crate::time::Instant;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write};
use std::io;
use std::panic::Location;

/// Which scope: equal for one scope only. It prints as the number that the scope has in reports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScopeId {
    pub(super) home: Home,
    /// The body's number among the loop's tasks; zero on a loop that is ending.
    pub(super) number: u64,
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

impl fmt::Debug for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeId({})", self.number)
    }
}

/// What made a scope end before its time.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// [`Scope::cancel`](super::Scope::cancel) with these words.
    Asked(Cow<'static, str>),
    /// A [`CancelToken`](super::CancelToken) was cancelled with these words.
    Token(Cow<'static, str>),
    /// Its deadline has passed.
    Deadline(Instant),
    /// It was asked to stop, and the grace period is over.
    GraceOver,
}

#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) reason: Reason,
    pub(super) at: &'static Location<'static>,
}

/// That a scope was cancelled: which one, why, and where that was said.
#[derive(Clone, Debug)]
pub struct Cancellation {
    pub(super) cause: Cause,
    pub(super) scope: ScopeId,
    pub(super) opened_at: &'static Location<'static>,
}

impl Cancellation {
    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.cause.reason
    }

    /// The scope that was cancelled: with nested scopes, the one whose deadline or token it was.
    pub fn scope(&self) -> ScopeId {
        self.scope
    }

    /// Where the scope was opened.
    pub fn opened_at(&self) -> &'static Location<'static> {
        self.opened_at
    }

    /// Where the cancelling was asked for, or the deadline set.
    pub fn cancelled_at(&self) -> &'static Location<'static> {
        self.cause.at
    }
}

impl fmt::Display for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scope {} (opened at {}) was cancelled: ", self.scope, self.opened_at)?;
        let at = self.cause.at;
        match &self.cause.reason {
            Reason::Asked(words) => write!(f, "{words} (at {at})"),
            Reason::Token(words) => write!(f, "{words} (by a token, at {at})"),
            Reason::Deadline(_) => write!(f, "its deadline has passed (set at {at})"),
            Reason::GraceOver => write!(f, "it was to stop, and the grace period is over (at {at})"),
        }
    }
}

impl Error for Cancellation {}

impl From<Cancellation> for io::Error {
    /// `TimedOut` for a deadline, else `Other`. (`Interrupted` would be retried by everything in std.)
    fn from(cancellation: Cancellation) -> io::Error {
        let kind = match cancellation.reason() {
            Reason::Deadline(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, cancellation)
    }
}

/// Why a [`try_scope`](super::try_scope) gave no value: all the errors, or that it was cancelled.
///
/// `{}` prints one error as itself and several as a tree, nested scopes included. `source()` is the first error, to be downcast from `dyn Error`. With `E = io::Error` it converts into an `io::Error`, so
/// `?` works: a single error comes out as it was.
///
/// ```
/// use std::io;
///
/// # fn main() {
/// squall::run(async {
///     let error = squall::try_scope(async |s| {
///         s.spawn(async { Err::<(), _>(io::Error::other("the first")) });
///         s.spawn(async { Err::<(), _>(io::Error::other("never begun: the first ends it")) });
///         Ok(())
///     })
///     .await
///     .unwrap_err();
///     assert_eq!(error.first().unwrap().to_string(), "the first");
///     assert_eq!(error.to_string(), "the first");
/// });
/// # }
/// ```
pub enum ScopeError<E> {
    /// A child or the body has failed.
    Failed {
        /// The error that ended the scope.
        first: E,
        /// Those that came while it ended, in their order.
        rest: Vec<E>,
    },
    /// It was cancelled, and something in it was dropped before its end.
    Cancelled(Cancellation),
}

impl<E> ScopeError<E> {
    /// The error that ended the scope; `None` if it was cancelled.
    pub fn first(&self) -> Option<&E> {
        match self {
            ScopeError::Failed { first, .. } => Some(first),
            ScopeError::Cancelled(_) => None,
        }
    }

    /// The error that ended the scope, by value; the rest is dropped.
    ///
    /// # Errors
    /// If it was cancelled, how.
    pub fn into_first(self) -> Result<E, Cancellation> {
        match self {
            ScopeError::Failed { first, .. } => Ok(first),
            ScopeError::Cancelled(cancellation) => Err(cancellation),
        }
    }

    /// All errors, in their order.
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        let (first, rest): (_, &[E]) = match self {
            ScopeError::Failed { first, rest } => (Some(first), rest),
            ScopeError::Cancelled(_) => (None, &[]),
        };
        first.into_iter().chain(rest)
    }

    /// How it was cancelled, if it was.
    pub fn cancellation(&self) -> Option<&Cancellation> {
        match self {
            ScopeError::Failed { .. } => None,
            ScopeError::Cancelled(cancellation) => Some(cancellation),
        }
    }

    /// True if it was cancelled, and no error came.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().is_some()
    }

    /// True if it was cancelled by its deadline.
    pub fn is_deadline(&self) -> bool {
        self.cancellation().is_some_and(|cancellation| matches!(cancellation.reason(), Reason::Deadline(_)))
    }
}

impl<E: fmt::Display> fmt::Display for ScopeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScopeError::Cancelled(cancellation) => cancellation.fmt(f),
            ScopeError::Failed { first, rest } if rest.is_empty() => first.fmt(f),
            ScopeError::Failed { first, rest } => {
                write!(f, "{} errors in a scope", rest.len() + 1)?;
                for (n, error) in std::iter::once(first).chain(rest).enumerate() {
                    let is_last = n == rest.len();
                    f.write_str(if is_last { "\n└── " } else { "\n├── " })?;
                    write!(Indented { f, indent: if is_last { "    " } else { "│   " } }, "{error}")?;
                }
                Ok(())
            }
        }
    }
}

/// Writes what is inside a branch of a tree.
struct Indented<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    indent: &'static str,
}

impl Write for Indented<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (n, line) in text.split('\n').enumerate() {
            if n > 0 {
                write!(self.f, "\n{}", self.indent)?;
            }
            self.f.write_str(line)?;
        }
        Ok(())
    }
}

impl<E: fmt::Debug> fmt::Debug for ScopeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScopeError::Failed { first, rest } => {
                f.debug_struct("Failed").field("first", first).field("rest", rest).finish()
            }
            ScopeError::Cancelled(cancellation) => write!(f, "Cancelled({cancellation})"),
        }
    }
}

impl<E: Error + 'static> Error for ScopeError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ScopeError::Failed { first, .. } => Some(first),
            ScopeError::Cancelled(cancellation) => Some(cancellation),
        }
    }
}

impl From<ScopeError<io::Error>> for io::Error {
    /// A single error as it was; several as one of the first's kind, which leads to all by `get_ref`.
    fn from(error: ScopeError<io::Error>) -> io::Error {
        match error {
            ScopeError::Failed { first, rest } if rest.is_empty() => first,
            ScopeError::Failed { first, rest } => {
                io::Error::new(first.kind(), ScopeError::Failed { first, rest })
            }
            ScopeError::Cancelled(cancellation) => cancellation.into(),
        }
    }
}
