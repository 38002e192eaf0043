//! Why awaiting a task gave no value.

use super::raw::{Panic, message_of};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Why a [`JoinHandle`](crate::JoinHandle) has no value to give.
///
/// One pointer wide, so that a task whose output is `()` does not grow by it.
pub struct JoinError(Box<Kind>);

enum Kind {
    Cancelled,
    // The payload is Send but not Sync; the lock makes the error Sync, as errors are expected to be.
    Panicked(Mutex<Panic>),
    WrongLoop,
    LoopEnded,
    NotStarted(io::Error),
}

/// What a fiber that is cancelled is unwound with. It is a panic to the compiler and to nobody else: whoever catches it passes it on.
///
/// The flag says that it is under way. Who catches it and drops it has ended it; `thread::panicking` cannot tell, where the thread was unwinding before.
pub(crate) struct ForcedUnwind(pub(crate) Arc<AtomicBool>);

impl Drop for ForcedUnwind {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The panic of a fiber that could not begin: its error is the task's.
pub(crate) struct NotStarted(pub(crate) io::Error);

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError(Box::new(Kind::Cancelled))
    }

    pub(crate) fn panicked(panic: Panic) -> JoinError {
        if panic.is::<ForcedUnwind>() {
            return JoinError::cancelled();
        }
        match panic.downcast::<NotStarted>() {
            Ok(refused) => JoinError::not_started(refused.0),
            Err(panic) => JoinError(Box::new(Kind::Panicked(Mutex::new(panic)))),
        }
    }

    pub(crate) fn not_started(error: io::Error) -> JoinError {
        JoinError(Box::new(Kind::NotStarted(error)))
    }

    pub(crate) fn wrong_loop() -> JoinError {
        JoinError(Box::new(Kind::WrongLoop))
    }

    pub(crate) fn loop_ended() -> JoinError {
        JoinError(Box::new(Kind::LoopEnded))
    }

    /// True if the task was aborted, or spawned on a loop that was already ending.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, Kind::Cancelled)
    }

    /// True if the task's future, or a destructor in it, panicked.
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, Kind::Panicked(_))
    }

    /// True if it is a fiber's that could not begin, because no stack could be had for it. (`fiber::Builder::spawn` says so at once.)
    pub fn is_not_started(&self) -> bool {
        matches!(*self.0, Kind::NotStarted(_))
    }

    /// True if the handle was awaited on another loop than the task's, or after the task's loop had ended.
    pub fn is_wrong_loop(&self) -> bool {
        matches!(*self.0, Kind::WrongLoop | Kind::LoopEnded)
    }

    /// The value the task panicked with, to look at or to pass on with [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// Gives the error back if it was not a panic.
    pub fn try_into_panic(self) -> Result<Box<dyn std::any::Any + Send + 'static>, JoinError> {
        match *self.0 {
            Kind::Panicked(panic) => {
                Ok(panic.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            }
            kind => Err(JoinError(Box::new(kind))),
        }
    }

    /// The value the task panicked with.
    ///
    /// # Panics
    /// If the task did not panic: ask [`is_panic`](Self::is_panic) first, or use [`try_into_panic`](Self::try_into_panic).
    pub fn into_panic(self) -> Box<dyn std::any::Any + Send + 'static> {
        match self.try_into_panic() {
            Ok(panic) => panic,
            Err(error) => panic!("JoinError::into_panic: the task did not panic: {error}"),
        }
    }

    pub(crate) fn into_panic_payload(self) -> Option<Panic> {
        match *self.0 {
            Kind::NotStarted(error) => Some(Box::new(NotStarted(error))),
            kind => JoinError(Box::new(kind)).try_into_panic().ok(),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Cancelled => f.write_str("the task was cancelled"),
            Kind::Panicked(panic) => {
                let panic = panic.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                write!(f, "the task panicked: {}", message_of(&**panic))
            }
            Kind::WrongLoop => f.write_str(
                "the task lives on another event loop: await it there, or spawn it with LoopHandle::spawn, whose handle can be awaited anywhere",
            ),
            Kind::NotStarted(error) => write!(f, "the fiber could not be started: {error}"),
            Kind::LoopEnded => f.write_str("the task's event loop has ended, and the task with it"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}
