//! Callbacks for signals.

use super::scheduled::{Scheduled, Which};
use crate::event_loop::{self, Core};
use crate::signal::{Signal, SignalKind, signal};
use crate::task::{Handle, WaitingOn};
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Calls a closure on the loop whenever a signal comes. One handler per signal and loop: another one replaces it. Other loops, and streams of
/// [`signal`](crate::signal::signal), are told as well.
///
/// It is an ordinary callback: it runs in a turn of the loop, not inside the system's handler, and may do anything. It lasts until
/// [`remove_signal_handler`], [`Scheduled::cancel`] or its first panic; after that, unless somebody else listens, the signal does what it did before
/// (mostly: it ends the process).
///
/// # Errors
/// Those of [`signal`](crate::signal::signal).
///
/// # Panics
/// Outside a loop.
///
/// ```
/// use squall::{callback::add_signal_handler, signal::SignalKind};
///
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     add_signal_handler(SignalKind::USER_2, squall::stop)?;
///     # std::process::Command::new("kill").args(["-USR2", &std::process::id().to_string()]).status()?;
///     squall::stopping().await;
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn add_signal_handler(kind: SignalKind, f: impl FnMut() + 'static) -> io::Result<Scheduled> {
    let place = Location::caller();
    event_loop::with("callback::add_signal_handler", |core| {
        let signal = signal(kind)?;
        let Some(handle) = core.tasks.park_callback(OnSignal { signal, f, place }, place, WaitingOn::Signal)
        else {
            return Ok(Scheduled::new(core, Which::None));
        };
        // It leaves its waker at the first poll.
        core.tasks.wake(handle);
        let before = take_handler(core, kind);
        core.signal_handlers.borrow_mut().push((kind.as_raw(), handle));
        if let Some(before) = before {
            core.tasks.abort(before);
        }
        Ok(Scheduled::new(core, Which::Waiting(handle)))
    })
}

/// Ends what [`add_signal_handler`] began. False if the signal has no handler on this loop.
///
/// # Panics
/// Outside a loop.
#[track_caller]
pub fn remove_signal_handler(kind: SignalKind) -> bool {
    event_loop::with("callback::remove_signal_handler", |core| {
        let Some(handle) = take_handler(core, kind) else { return false };
        let stood = core.tasks.info_of(handle).is_some();
        core.tasks.abort(handle);
        stood
    })
}

/// The callback that was added for a signal last; it may have ended since.
fn take_handler(core: &Core, kind: SignalKind) -> Option<Handle> {
    let mut handlers = core.signal_handlers.borrow_mut();
    let at = handlers.iter().position(|(number, _)| *number == kind.as_raw())?;
    Some(handlers.swap_remove(at).1)
}

struct OnSignal<F> {
    signal: Signal,
    f: F,
    place: &'static Location<'static>,
}

impl<F> Unpin for OnSignal<F> {}

impl<F: FnMut()> Future for OnSignal<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let place = self.place;
        ready!(self.signal.poll_at(cx, place));
        (self.f)();
        // It may have removed itself, so the next signal is looked for in a poll of its own.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
