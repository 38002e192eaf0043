//! Listening to a signal from a task.

use super::SignalKind;
use super::hub::{self, Listener};
use crate::task::{WaitingOn, drop_foreign, note_waiting};
use futures_core::Stream;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Listens to a signal, from now on until the [`Signal`] is dropped.
///
/// # Errors
/// `InvalidInput` for a signal that cannot be handled (`SIGKILL`, `SIGSTOP`, those of the processor's faults) or does not exist; those of the system when the
/// first listener of the process cannot have its pipe or its thread.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    Ok(Signal { kind, listener: hub::listen(kind)? })
}

/// The signals of one kind that come, as a stream that never ends. `Send` and `Sync`; it may be awaited on any loop, or elsewhere.
///
/// Those that come while nobody awaits are kept, each by itself (as far as the system has not merged them).
pub struct Signal {
    kind: SignalKind,
    listener: Arc<Listener>,
}

impl Signal {
    /// Waits for the next one.
    ///
    /// Cancellation: nothing is lost.
    #[track_caller]
    pub fn recv(&mut self) -> RecvSignal<'_> {
        RecvSignal { signal: self, place: Location::caller() }
    }

    /// Which signal it listens to.
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// As [`recv`](Self::recv), for futures made by hand. The waker of the last call counts.
    #[track_caller]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_at(cx, Location::caller())
    }

    pub(crate) fn poll_at(&mut self, cx: &mut Context<'_>, place: &'static Location<'static>) -> Poll<()> {
        // Cloning may run foreign code, so nothing is locked yet; likewise dropping, below.
        match self.listener.take_or_wait(cx.waker().clone()) {
            Ok(()) => Poll::Ready(()),
            Err(before) => {
                drop_foreign(before);
                note_waiting(WaitingOn::Signal, place);
                Poll::Pending
            }
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        hub::leave(&self.listener);
        drop_foreign(self.listener.forget_waker());
    }
}

impl Stream for Signal {
    type Item = ();

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.get_mut().poll_recv(cx).map(Some)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The future of [`Signal::recv`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct RecvSignal<'a> {
    signal: &'a mut Signal,
    place: &'static Location<'static>,
}

impl Future for RecvSignal<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let place = self.place;
        self.signal.poll_at(cx, place)
    }
}

/// Waits for Ctrl-C (`SIGINT`), from this call on. While the future stands, Ctrl-C does not end the process.
///
/// To listen for good, keep a [`signal`] and await that: between one `ctrl_c()` and the next, Ctrl-C ends the process again.
///
/// # Errors
/// Those of [`signal`].
///
/// ```no_run
/// squall::run(async {
///     println!("Ctrl-C ends it");
///     squall::signal::ctrl_c().await
/// })
/// # .unwrap()
/// ```
#[track_caller]
pub fn ctrl_c() -> CtrlC {
    CtrlC { signal: Some(signal(SignalKind::INTERRUPT)), place: Location::caller() }
}

/// The future of [`ctrl_c`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct CtrlC {
    /// `None` once its error was given.
    signal: Option<io::Result<Signal>>,
    place: &'static Location<'static>,
}

impl Future for CtrlC {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let place = self.place;
        match self.signal.take() {
            Some(Ok(mut signal)) => {
                let polled = signal.poll_at(cx, place);
                self.signal = Some(Ok(signal));
                polled.map(Ok)
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => panic!("ctrl_c() was polled again after it gave an error"),
        }
    }
}

const _: () = {
    const fn plain<T: Send + Sync + Unpin>() {}
    plain::<Signal>();
};
