//! One step of a generator: whose turn it is, what it is told, and what comes of it.
//!
//! The way of nearly every step, a value for a yield and another yield, is `send`, and short; what raises, delegates, returns and ends is out of its
//! line. Only the innermost frame is polled, with the waker of whoever resumes: a synchronous generator has one that does nothing, and finds out
//! that its body awaits something else by the body's pausing without a yield.

use super::channel::{Answer, At, State};
use super::frame::{FramePtr, channel_of, discard, end};
use super::outcome::Raised;
use super::outers::poll_outers;
use std::mem::forget;
use std::panic::resume_unwind;
use std::task::Waker;

/// What a call of the caller's came to.
pub(super) enum Outcome<Y, X> {
    Yielded(Y),
    /// The root's value is in its frame.
    Returned,
    Raised(Raised<X>),
    IgnoredExit,
    /// Its body awaits what is no yield.
    Waits,
}

/// Resumes a root that waits for a value. `Ok` is what it yields, and `Err` what else comes of it, which may be that too.
///
/// # Safety
/// As for `resume`.
#[inline]
pub(super) unsafe fn send<Y, S, X>(
    frame: FramePtr<'_, Y, S, X>,
    value: S,
    waker: &Waker,
) -> Result<Y, Outcome<Y, X>> {
    // SAFETY: by the contract; the frame outlives the call.
    let running = unsafe { channel_of(frame) }.top().unwrap_or(frame);
    // SAFETY: frames on the stack are alive.
    let channel = unsafe { channel_of(running) };
    if channel.state.get() != State::Begun {
        // SAFETY: by the contract.
        return Err(unsafe { resume(frame, Some(Ok(value)), false, waker) });
    }
    channel.answer.set(Some(Ok(value)));
    let guard = EndOnPanic { frame };
    // SAFETY: BEGUN, and pinned: a root by the contract, a delegate since it was made.
    let has_returned = unsafe { running.as_ref().poll(waker) };
    forget(guard);
    if !has_returned {
        if let Some(yielded) = channel.out.take() {
            return Ok(yielded);
        }
    }
    let came = if has_returned { Came::Returned } else { Came::Paused };
    // SAFETY: by the contract.
    Err(unsafe { go_on(frame, running, came, false, waker) })
}

/// Resumes a root. `answer` goes to whoever yielded last; none, if nobody has since.
///
/// # Safety
/// `frame` is a root's, pinned and not finished, and no poll of it or its delegates is on the call stack.
#[cold]
pub(super) unsafe fn resume<Y, S, X>(
    frame: FramePtr<'_, Y, S, X>,
    answer: Option<Answer<S, X>>,
    is_closing: bool,
    waker: &Waker,
) -> Outcome<Y, X> {
    // SAFETY: by the contract; what is on top is alive.
    unsafe {
        let running = channel_of(frame).top().unwrap_or(frame);
        let came = turn(frame, running, answer, waker);
        go_on(frame, running, came, is_closing, waker)
    }
}

/// What one frame came to.
pub(super) enum Came<X> {
    Paused,
    Returned,
    /// It is to end with that.
    Raises(Raised<X>),
}

/// Tells the frame on top, and polls it unless what it is told ends it.
///
/// # Safety
/// As for `resume`; `running` is what stands on top.
unsafe fn turn<'a, Y, S, X>(
    frame: FramePtr<'a, Y, S, X>,
    running: FramePtr<'a, Y, S, X>,
    answer: Option<Answer<S, X>>,
    waker: &Waker,
) -> Came<X> {
    // SAFETY: frames on the stack are alive.
    let channel = unsafe { channel_of(running) };
    match answer {
        Some(Err(error)) if channel.at.get() != At::Catching => return Came::Raises(error),
        None => {}
        told => channel.answer.set(told),
    }
    let guard = EndOnPanic { frame };
    // SAFETY: pinned, a root by the contract, a delegate since it was made; not FINISHED, for then it would not be on top.
    let has_returned = unsafe {
        let running = running.as_ref();
        if channel.state.get() == State::Fresh { running.poll_first(waker) } else { running.poll(waker) }
    };
    forget(guard);
    if has_returned { Came::Returned } else { Came::Paused }
}

/// Goes on until something is to be told to the caller.
///
/// # Safety
/// As for `turn`, which the frame on top has had.
#[cold]
unsafe fn go_on<'a, Y, S, X>(
    frame: FramePtr<'a, Y, S, X>,
    mut running: FramePtr<'a, Y, S, X>,
    mut came: Came<X>,
    is_closing: bool,
    waker: &Waker,
) -> Outcome<Y, X> {
    // SAFETY: by the contract; the frame outlives the call.
    let root = unsafe { channel_of(frame) };
    loop {
        let is_root = running.cast::<()>() == frame.cast();
        let answer = match come_to(running, came) {
            Next::Yielded(_) if is_closing => return Outcome::IgnoredExit,
            Next::Yielded(value) => return Outcome::Yielded(value),
            // SAFETY: by the contract.
            Next::Waits => match unsafe { poll_outers(frame, waker) } {
                Some((outer, what)) => {
                    (running, came) = (outer, what);
                    continue;
                }
                None => return Outcome::Waits,
            },
            // One that had come to a yield before was given its answer with that.
            Next::Delegated => None,
            Next::Returned if is_root => return Outcome::Returned,
            Next::Returned => {
                root.take_off(running);
                // Its outer goes on with the value, unless all of them are to end: PEP 380.
                is_closing.then_some(Err(Raised::Closed))
            }
            Next::Raised(error) => {
                // SAFETY: no poll is on the call stack any more.
                if let Some(panic) = unsafe { end(running) } {
                    // SAFETY: as above. What else panics is not told: one panic is all that can come out.
                    discard(unsafe { root.end_all(frame) });
                    resume_unwind(panic);
                }
                if is_root {
                    return Outcome::Raised(error);
                }
                root.take_off(running);
                Some(Err(error))
            }
        };
        running = root.top().unwrap_or(frame);
        // SAFETY: by the contract.
        came = unsafe { turn(frame, running, answer, waker) };
    }
}

/// What follows from what a frame came to.
enum Next<Y, X> {
    Yielded(Y),
    Delegated,
    Returned,
    Raised(Raised<X>),
    Waits,
}

fn come_to<Y, S, X>(running: FramePtr<'_, Y, S, X>, came: Came<X>) -> Next<Y, X> {
    // SAFETY: frames are alive until they are taken off.
    let channel = unsafe { channel_of(running) };
    match came {
        Came::Returned => Next::Returned,
        Came::Raises(error) => Next::Raised(error),
        Came::Paused => {
            if let Some(yielded) = channel.out.take() {
                Next::Yielded(yielded)
            } else if !channel.is_top() {
                Next::Delegated
            } else if let Some(thrown) = channel.raised.take() {
                Next::Raised(Raised::Thrown(thrown))
            } else {
                Next::Waits
            }
        }
    }
}

/// A panic of a body ends the whole chain.
pub(super) struct EndOnPanic<'a, Y, S, X> {
    pub(super) frame: FramePtr<'a, Y, S, X>,
}

impl<Y, S, X> Drop for EndOnPanic<'_, Y, S, X> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: frames are alive. The poll that panicked is off the stack; its frame may have put a delegate above itself, which was not
        // polled. One whose body has returned, and panicked in its destructor, is FINISHED already, and so is one whose body could not be made.
        unsafe { end_quietly(self.frame) };
    }
}

/// # Safety
/// As for `Channel::end_all`.
#[cold]
#[inline(never)]
unsafe fn end_quietly<Y, S, X>(frame: FramePtr<'_, Y, S, X>) {
    // SAFETY: by the contract.
    discard(unsafe { channel_of(frame).end_all(frame) });
}
