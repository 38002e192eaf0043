//! Waiting for a moment: one timer, set when the future is first polled.
//!
//! A [`Sleep`] is numbers: a deadline and the timer's key. It is registered at the first poll and not when it is made, so one that is never
//! needed (a `timeout` whose future is ready at once) costs two stores. A pointer into the loop, as other runtimes
//! have it, was rejected: it pins the future, ties it to a thread and must be counted.
//!
//! # The budget
//! A sleep that has waited completes at no charge: the loop turned meanwhile. One whose deadline has passed already when it is first polled
//! is charged to the poll's budget, so a task that sleeps for zero in a loop gives way; with the budget gone it gives way once, and
//! then counts as one that has waited. So a future beside it that uses up every budget cannot starve it.

use super::instant::Instant;
use crate::driver::Waiter;
use crate::event_loop::{self, Core, Home};
use crate::task::{self, Message, Tasks, WaitingOn, note_waiting, poll_proceed};
use crate::timer::TimerKey;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Waits for so long.
///
/// The time runs from this call, not from the first poll: from the time of the current turn ([`Instant::now`]). `Duration::MAX`, and anything
/// that passes the clock's far end, waits for ever. Zero is ready at once, though a task that
/// does nothing else gives way now and then; to give way each time use [`yield_now`](crate::yield_now).
///
/// Dropping the future unsets the timer; nothing is lost. See [`Sleep`] for what happens on another loop.
///
/// ```
/// use squall::time::{Instant, sleep};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let start = Instant::now();
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(start.elapsed(), Duration::from_secs(3600));
/// })
/// # }
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    let here = Here::find();
    Sleep::new(here.now + duration, here, Location::caller())
}

/// Waits until a moment. One that has passed is ready at once.
///
/// Otherwise as [`sleep`].
///
/// ```
/// use squall::time::{Instant, sleep_until};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// squall::Builder::new().virtual_time().run(async {
///     let breakfast = Instant::now() + Duration::from_secs(8 * 3600);
///     sleep_until(breakfast).await;
///     assert_eq!(Instant::now(), breakfast);
///     sleep_until(breakfast - Duration::from_secs(1)).await;
/// })
/// # }
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(deadline, Here::find(), Location::caller())
}

/// The future of [`sleep`] and [`sleep_until`]. Polled again after it was ready, it is ready again.
///
/// It is plain data, so it is `Send`, `Sync` and `Unpin`.
///
/// # On another loop
/// Under the real clock a sleep follows its poller: polled on another loop than before, it is unset there and set here, with the same
/// deadline. Under a virtual clock it belongs to the loop it was made on, because a virtual time means nothing
/// elsewhere. Dropped on another thread, or after its loop has ended, it is unset through the loop's inbox, or needs not be.
///
/// # Panics
/// Polling panics outside an event loop, and where the sleep was made under another clock: make it, or [`reset`](Self::reset) it, on the loop
/// that awaits it.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    place: &'static Location<'static>,
    /// The loop it is registered on, if it is; else the one it was made on.
    home: Home,
    key: Option<TimerKey>,
    /// The deadline is one of `home`'s virtual clock.
    is_virtual: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// It was pending once.
    Waited,
    Done,
}

/// The loop and the clock that something is made under.
pub(super) struct Here {
    home: Home,
    is_virtual: bool,
    pub(super) now: Instant,
}

/// No loop has this cell.
const NOWHERE: Home = Home { cell: 0, lease: 0 };

impl Here {
    pub(super) fn find() -> Here {
        event_loop::try_with(|core| Here {
            home: core.home(),
            is_virtual: core.is_virtual(),
            now: Instant::from_ns(core.now_ns()),
        })
        .unwrap_or_else(|| Here { home: NOWHERE, is_virtual: false, now: Instant::now() })
    }
}

impl Sleep {
    pub(super) fn new(deadline: Instant, here: Here, place: &'static Location<'static>) -> Sleep {
        Sleep { deadline, place, home: here.home, key: None, is_virtual: here.is_virtual, state: State::New }
    }

    /// When it is ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True once the deadline has come, whether or not the sleep was polled since.
    pub fn is_elapsed(&self) -> bool {
        self.state == State::Done || self.deadline <= Instant::now()
    }

    /// Moves the deadline. A task that waits for the sleep is woken at the new one; it need not be polled again for that. A sleep that was
    /// ready is pending again if the deadline lies ahead.
    ///
    /// ```
    /// use squall::time::{Instant, sleep};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// squall::Builder::new().virtual_time().run(async {
    ///     let start = Instant::now();
    ///     let mut alarm = sleep(Duration::from_secs(1));
    ///     alarm.reset(start + Duration::from_secs(5));
    ///     (&mut alarm).await;
    ///     assert_eq!(start.elapsed(), Duration::from_secs(5));
    /// })
    /// # }
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.state = State::New;
        let here = Here::find();
        if here.home != self.home {
            self.release();
            (self.home, self.is_virtual) = (here.home, here.is_virtual);
        } else if let Some(key) = self.key {
            self.key = event_loop::try_with(|core| {
                let mut timers = core.timers.borrow_mut();
                timers.cancel(key).map(|waiter| timers.insert(deadline.ns(), waiter))
            })
            .flatten();
        }
    }

    /// As `poll`, for a future that waits beside the sleep: what that one has noted to wait on says more than "a timer".
    pub(super) fn poll_beside(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_silent = || {
            task::current()
                .and_then(Tasks::current_slot)
                .is_some_and(|slot| slot.waiting_on() == WaitingOn::Nothing)
        };
        self.poll_deadline(cx, is_silent)
    }

    pub(super) fn note_place(&mut self, place: &'static Location<'static>) {
        self.place = place;
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, is_silent: impl FnOnce() -> bool) -> Poll<()> {
        if self.state == State::Done {
            return Poll::Ready(());
        }
        event_loop::with("awaiting a sleep", |core| {
            if core.home() != self.home {
                self.move_to(core);
            }
            if self.deadline.ns() <= core.now_ns() {
                if self.state == State::New && poll_proceed(cx).is_pending() {
                    self.state = State::Waited;
                    return Poll::Pending;
                }
                self.release();
                self.state = State::Done;
                return Poll::Ready(());
            }
            self.register(core, cx.waker());
            self.state = State::Waited;
            if is_silent() {
                note_waiting(WaitingOn::Sleep, self.place);
            }
            Poll::Pending
        })
    }

    /// Sets the timer, or sees to it that it wakes this waker.
    fn register(&mut self, core: &Core, waker: &Waker) {
        let waiter = self.key.and_then(|key| core.timers.borrow().waiter_of(key));
        if waiter.is_some_and(|waiter| core.tasks.same_waiter(Waiter(waiter), waker)) {
            return;
        }
        // May run foreign code: nothing is borrowed, and what was looked up before may have changed after.
        let waiter = core.waiter(waker);
        let replaced = self.key.and_then(|key| core.timers.borrow_mut().replace_waiter(key, waiter.0));
        match replaced {
            Some(before) => core.tasks.discard(Waiter(before)),
            None => self.key = Some(core.timers.borrow_mut().insert(self.deadline.ns(), waiter.0)),
        }
    }

    /// Polled on another loop than before.
    #[cold]
    fn move_to(&mut self, core: &Core) {
        assert!(
            !self.is_virtual && !core.is_virtual(),
            "a sleep was made under another clock than that of the event loop that awaits it: \
             call sleep(), timeout() or interval() inside the task that awaits it, or reset() it there"
        );
        self.release();
        self.home = core.home();
    }

    /// Unsets the timer, wherever it is set.
    pub(super) fn release(&mut self) {
        let Some(key) = self.key.take() else { return };
        let here = self.home.try_with(|core| {
            let waiter = core.timers.borrow_mut().cancel(key);
            if let Some(waiter) = waiter {
                core.tasks.discard(Waiter(waiter));
            }
        });
        if here.is_none() {
            // A loop that has ended gives the message back: its timers are gone.
            drop(self.home.send(Message::CancelTimer(key)));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_deadline(cx, || true)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .field("made_at", &format_args!("{}", self.place))
            .finish()
    }
}

const _: () = {
    const fn plain<T: Send + Sync + Unpin>() {}
    plain::<Sleep>();
    assert!(std::mem::size_of::<Sleep>() <= 56);
};
