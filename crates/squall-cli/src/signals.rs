//! Ctrl-C and SIGTERM: the first asks the loop to stop, the second not to wait any longer, the third does not ask.
//!
//! Signals arrive on a thread of their own, so a loop that is busy, or stuck, cannot keep one from being seen.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use squall::LoopHandle;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// The second signal, to wait for on the loop.
#[derive(Clone, Default)]
pub(crate) struct SecondSignal(Arc<Mutex<Second>>);

#[derive(Default)]
struct Second {
    has_come: bool,
    waiter: Option<Waker>,
}

/// From now on signals reach the loop of `handle` (as [`squall::stopping`]) and the value given back.
pub(crate) fn watch(handle: LoopHandle) -> io::Result<SecondSignal> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let second = SecondSignal::default();
    let seen = second.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for (before, signal) in signals.forever().enumerate() {
            match before {
                0 => handle.stop(),
                1 => seen.has_come(),
                _ => std::process::exit(128 + signal),
            }
        }
    })?;
    Ok(second)
}

impl SecondSignal {
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if second.has_come {
                return Poll::Ready(());
            }
            second.waiter = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn has_come(&self) {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        second.has_come = true;
        if let Some(waiter) = second.waiter.take() {
            waiter.wake();
        }
    }
}
