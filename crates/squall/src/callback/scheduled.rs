//! The name of a callback that was scheduled: numbers, so it may be kept, copied, and sent anywhere.

use crate::event_loop::{Core, Home};
use crate::task::{Handle, Message};
use crate::time::Instant;
use crate::timer::TimerKey;
use std::fmt;

/// A callback that was scheduled or registered, to be cancelled by. Dropping it changes nothing.
///
/// Plain numbers: `Copy`, `Send` and `Sync`. Once the callback was called or cancelled, or its loop has ended, it names nothing any more, and never
/// another callback.
///
/// ```
/// use squall::callback::call_soon;
///
/// squall::run(async {
///     let scheduled = call_soon(|| unreachable!("it is cancelled before its turn comes"));
///     assert!(scheduled.is_pending());
///     scheduled.cancel();
///     assert!(!scheduled.is_pending());
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    home: Home,
    which: Which,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The loop was ending: it was dropped at once.
    None,
    Soon(u64),
    Timer(Handle, TimerKey, Instant),
    /// It waits for a descriptor, a signal or the next period.
    Waiting(Handle),
}

impl Scheduled {
    #[inline]
    pub(super) fn new(core: &Core, which: Which) -> Scheduled {
        Scheduled { home: core.home(), which }
    }

    /// Takes the callback back, and drops it without a call. One that has begun goes on, but is called no more.
    ///
    /// On its loop's thread that is done when this returns. Elsewhere it is a request, which the loop takes in its next turn.
    pub fn cancel(&self) {
        if self.home.try_with(|core| self.cancel_on(core)).is_none() {
            self.send_cancel();
        }
    }

    fn cancel_on(&self, core: &Core) {
        match self.which {
            Which::None => {}
            Which::Soon(number) => core.tasks.cancel_call(number),
            Which::Timer(handle, key, _) => {
                // Its waiter is the callback's own handle: nothing to let go of.
                let _ = { core.timers.borrow_mut().cancel(key) };
                core.tasks.abort(handle);
            }
            Which::Waiting(handle) => core.tasks.abort(handle),
        }
    }

    /// A loop that has ended gives the messages back: its callbacks are gone.
    fn send_cancel(&self) {
        let send = |message| drop(self.home.send(message));
        match self.which {
            Which::None => {}
            Which::Soon(number) => send(Message::CancelCall(number)),
            Which::Timer(handle, key, _) => {
                send(Message::CancelTimer(key));
                send(Message::Abort(handle));
            }
            Which::Waiting(handle) => send(Message::Abort(handle)),
        }
    }

    /// True while the callback is to be called: not while it runs, nor after it was called for the last time or cancelled. False on another loop's
    /// thread, and outside of loops.
    pub fn is_pending(&self) -> bool {
        let pending = self.home.try_with(|core| match self.which {
            Which::None => false,
            Which::Soon(number) => core.tasks.has_call(number),
            Which::Timer(handle, ..) | Which::Waiting(handle) => core.tasks.is_parked(handle),
        });
        pending == Some(true)
    }

    /// The moment it was scheduled for, by [`call_at`](super::call_at) or [`call_later`](super::call_later).
    pub fn when(&self) -> Option<Instant> {
        match self.which {
            Which::Timer(.., when) => Some(when),
            Which::None | Which::Soon(_) | Which::Waiting(_) => None,
        }
    }
}

impl fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Scheduled");
        if let Some(when) = self.when() {
            text.field("when", &when);
        }
        text.field("is_pending", &self.is_pending()).finish()
    }
}

const _: () = {
    const fn plain<T: Send + Sync + Copy>() {}
    plain::<Scheduled>();
};
