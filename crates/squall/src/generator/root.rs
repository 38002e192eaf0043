//! What a caller may ask of a generator, whatever form it has.
//!
//! A boxed generator, one that lies where its holder put it, and an asynchronous one are three ways to own a frame; the protocol is the same.

use super::channel::{Answer, Channel, State};
use super::frame::{FrameOf, FramePtr, Panic, channel_of, discard};
use super::outcome::{Raised, ResumeError, Resumed, Step};
use super::resume::{self, Outcome, resume};
use std::ptr::NonNull;
use std::task::Waker;

/// # Invariant
/// The frame is alive for as long as this is used, and pinned from the first step on; whoever holds this is the only one to resume it, and does not
/// from within its body (the methods that resume borrow mutably, all the way).
pub(super) struct Root<'a, Y, S, R, X> {
    frame: NonNull<dyn FrameOf<'a, Y, S, R, X> + 'a>,
}

impl<'a, Y, S, R, X> Root<'a, Y, S, R, X> {
    /// # Safety
    /// The invariant is the caller's to keep.
    pub(super) unsafe fn new(frame: NonNull<dyn FrameOf<'a, Y, S, R, X> + 'a>) -> Self {
        Root { frame }
    }

    pub(super) fn channel(&self) -> &Channel<'a, Y, S, X> {
        // SAFETY: alive by the invariant.
        unsafe { channel_of(self.frame) }
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        self.channel().state.get()
    }

    #[inline]
    pub(super) fn frame(&self) -> FramePtr<'a, Y, S, X> {
        self.frame
    }

    pub(super) fn take_value(&self) -> Option<R> {
        // SAFETY: alive by the invariant.
        unsafe { self.frame.as_ref() }.take_value()
    }

    pub(super) fn start(&mut self) -> Resumed<Y, S, R, X> {
        match self.state() {
            State::Fresh => self.go_on(None),
            State::Finished => Err(ResumeError::Finished),
            State::Begun => Err(ResumeError::Started),
        }
    }

    #[inline]
    pub(super) fn send(&mut self, value: S) -> Resumed<Y, S, R, X> {
        match self.state() {
            // SAFETY: by the invariant, and it has begun.
            State::Begun => match unsafe { resume::send(self.frame(), value, Waker::noop()) } {
                Ok(yielded) => Ok(Step::Yielded(yielded)),
                Err(outcome) => self.came_to(outcome),
            },
            State::Fresh => Err(ResumeError::NotStarted(value)),
            State::Finished => Err(ResumeError::Finished),
        }
    }

    pub(super) fn throw(&mut self, thrown: X) -> Resumed<Y, S, R, X> {
        match self.state() {
            State::Finished => Err(ResumeError::Thrown(thrown)),
            _ => self.go_on(Some(Err(Raised::Thrown(thrown)))),
        }
    }

    pub(super) fn close(&mut self) -> Result<Option<R>, ResumeError<S, X>> {
        if self.state() == State::Finished {
            return Ok(None);
        }
        // SAFETY: by the invariant, and it has not finished.
        let outcome = unsafe { self.resume(Some(Err(Raised::Closed)), true, Waker::noop()) };
        self.closed(outcome)
    }

    /// One step, for whoever can wait.
    ///
    /// # Safety
    /// It has not finished.
    pub(super) unsafe fn resume(
        &mut self,
        answer: Option<Answer<S, X>>,
        is_closing: bool,
        waker: &Waker,
    ) -> Outcome<Y, X> {
        // SAFETY: by the invariant and the contract.
        unsafe { resume(self.frame(), answer, is_closing, waker) }
    }

    fn go_on(&mut self, answer: Option<Answer<S, X>>) -> Resumed<Y, S, R, X> {
        // SAFETY: whoever calls this has asked for the state.
        let outcome = unsafe { self.resume(answer, false, Waker::noop()) };
        self.came_to(outcome)
    }

    /// What the caller is told.
    #[cold]
    pub(super) fn came_to(&mut self, outcome: Outcome<Y, X>) -> Resumed<Y, S, R, X> {
        match outcome {
            Outcome::Yielded(value) => Ok(Step::Yielded(value)),
            Outcome::Returned => {
                Ok(Step::Returned(self.take_value().expect("a body that has returned has left its value")))
            }
            Outcome::Raised(Raised::Thrown(thrown)) => Err(ResumeError::Thrown(thrown)),
            Outcome::Raised(Raised::Closed) => Err(ResumeError::Finished),
            Outcome::IgnoredExit => Err(ResumeError::IgnoredExit),
            Outcome::Waits => self.not_a_yield(),
        }
    }

    /// What a caller is told who has asked it to end.
    pub(super) fn closed(&mut self, outcome: Outcome<Y, X>) -> Result<Option<R>, ResumeError<S, X>> {
        match self.came_to(outcome) {
            Ok(Step::Returned(value)) => Ok(Some(value)),
            Ok(Step::Yielded(_)) => unreachable!("a yield while closing is ignored"),
            Err(ResumeError::Finished) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cold]
    fn not_a_yield(&mut self) -> ! {
        discard(self.end());
        panic!(
            "a generator's body awaited something that is neither a yield nor ready, and a generator has no loop to wait on: make it a \
             squall::generator::AsyncGenerator, or yield what it waits for and give it to spawn_generator()"
        );
    }

    /// Drops the bodies that are still there, innermost first. Gives the first panic of a destructor.
    pub(super) fn end(&mut self) -> Option<Panic> {
        // SAFETY: the frame is this channel's own, and by the invariant nobody resumes it.
        unsafe { self.channel().end_all(self.frame) }
    }

    /// Gives the memory back that the frame lies in.
    ///
    /// # Safety
    /// The frame is a box's, and it has ended. Nothing of this is used any more.
    pub(super) unsafe fn free(&mut self) {
        // SAFETY: by the contract, on no stack any more.
        drop(unsafe { Box::from_raw(self.frame.as_ptr()) });
    }
}
