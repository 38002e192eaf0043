//! Callbacks among the tasks: those of [`calls`](super::calls) that run once and soon, and the longer kind that has a slot.
//!
//! What waits (for a timer, a descriptor, a signal) is a task in all but name: woken by its handle, polled in its turn, shown in
//! the tree. Nobody has a join handle of it, and its panics follow a policy of the loop's.

use super::calls::CALL;
use super::context::WaitingOn;
use super::handle::Handle;
use super::raw::{self, Panic, drop_quietly, report_panic};
use super::slot::{CALLBACK, Phase};
use super::table::{NONE, NewTask, Tasks};
use std::future::Future;
use std::panic::{Location, resume_unwind};

/// What becomes of a loop when a callback panics. For [`Builder::callback_panics`](crate::Builder::callback_panics).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum CallbackPanics {
    /// It is reported on standard error, and the loop goes on. A callback that is called more than once (of a descriptor, a signal, a period)
    /// ends with its panic: called again at once, it would most likely panic for ever.
    #[default]
    Report,
    /// The panic comes out of [`run`](crate::run), or of the turn of a loop that is turned by hand.
    EndRun,
}

impl Tasks {
    pub(crate) fn set_callback_panics(&self, policy: CallbackPanics) {
        self.callback_panics.set(policy);
    }

    /// Calls a closure in its turn. Gives its number; `None` if the loop is ending: then it was dropped.
    #[inline]
    pub(crate) fn call_soon<F: FnOnce() + 'static>(
        &self,
        f: F,
        place: &'static Location<'static>,
    ) -> Option<u64> {
        if self.closing.get() {
            refuse(f);
            return None;
        }
        let number = self.calls.push(f, place);
        self.make_room();
        self.ready.push(CALL);
        Some(number)
    }

    /// Room in the ready queue for every slot and every callback.
    #[inline]
    pub(super) fn make_room(&self) {
        self.ready.reserve(self.slots.get() as usize + self.calls.len());
    }

    /// Runs the callback whose mark came up.
    #[inline]
    pub(super) fn run_call(&self) {
        self.running.set(NONE);
        match self.calls.run_first() {
            Some(Ok(())) => {}
            Some(Err((panic, place))) => {
                self.callback_panicked(&format!("the callback of call_soon at {place}"), panic);
            }
            // It was cancelled.
            None => self.skipped.set(self.skipped.get() + 1),
        }
    }

    /// A callback's panic, after everything was put in order: under `EndRun` this does not return.
    #[cold]
    pub(super) fn callback_panicked(&self, who: &str, panic: Panic) {
        if self.callback_panics.get() == CallbackPanics::EndRun {
            resume_unwind(panic);
        }
        report_panic(
            &format!(
                "{who} panicked: it is called no more, and the loop goes on (Builder::callback_panics can end the run instead)"
            ),
            panic,
        );
    }

    /// Drops a callback uncalled; nothing if it has run, or runs, or was cancelled before.
    pub(crate) fn cancel_call(&self, number: u64) {
        if let Some(Err(panic)) = self.calls.cancel(number) {
            report_panic("a cancelled callback panicked in its destructor", panic);
        }
    }

    pub(crate) fn has_call(&self, number: u64) -> bool {
        self.calls.is_pending(number)
    }

    /// Callbacks that will not be called any more.
    pub(super) fn drop_calls(&self) {
        for panic in self.calls.clear() {
            report_panic("a callback that was never called panicked in its destructor", panic);
        }
    }

    /// A callback of the longer kind, waiting: whoever it waits for is given the handle. `None` if the loop is ending: then it was dropped.
    pub(crate) fn park_callback<F: Future<Output = ()> + 'static>(
        &self,
        future: F,
        place: &'static Location<'static>,
        on: WaitingOn,
    ) -> Option<Handle> {
        if self.closing.get() {
            refuse(future);
            return None;
        }
        let (index, _) = self.enter_new(NewTask { name: None, spawned_at: place });
        let slot = self.slot(index);
        slot.occupy(raw::allocate(future), CALLBACK);
        slot.scheduled.set(false);
        slot.note_waiting(on, 0, Some(place));
        Some(Handle::task(self.home(), index, slot.generation()))
    }

    /// True while a callback of the longer kind waits or is ready.
    pub(crate) fn is_parked(&self, handle: Handle) -> bool {
        let slot = self.slot(handle.slot());
        slot.generation() == handle.generation() && slot.phase() == Phase::Idle
    }
}

#[cold]
fn refuse<T>(callback: T) {
    if let Some(panic) = drop_quietly(callback) {
        report_panic("a callback refused by an ending loop panicked in its destructor", panic);
    }
}
