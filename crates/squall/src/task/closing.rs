//! The end of a loop's tasks, and the messages that were for them.

use super::calls::CALL;
use super::context::Enter;
use super::message::{Envelope, Message};
use super::raw::{drop_quietly, report_panic};
use super::slot::Phase;
use super::table::{Tasks, drop_foreign};

impl Tasks {
    /// The messages of this lease; those for an earlier one are dropped.
    pub(crate) fn take_messages(&self) -> Vec<Message> {
        self.of_this_lease(self.cell.messages.take())
    }

    fn of_this_lease(&self, envelopes: Vec<Envelope>) -> Vec<Message> {
        let (ours, stale): (Vec<_>, Vec<_>) =
            envelopes.into_iter().partition(|envelope| envelope.lease == self.lease);
        for envelope in stale {
            if let Some(panic) = drop_quietly(envelope) {
                report_panic("a request to an event loop that has ended panicked in its destructor", panic);
            }
        }
        ours.into_iter().map(|envelope| envelope.message).collect()
    }

    /// Ends all tasks, the youngest first; spawning is refused from here on. Must be entered.
    pub(crate) fn close(&self, _entered: &Enter<'_>) {
        self.closing.set(true);
        for (_, index) in self.live_slots().into_iter().rev() {
            let slot = self.slot(index);
            if slot.phase() == Phase::Idle {
                self.cancel(index, slot.task.get());
            }
        }
        self.drop_calls();
        self.free_forgotten_members();
        // Outputs that nobody has taken: their handles, if they still stand, outlive the loop.
        for index in 0..self.fresh.get() {
            let slot = self.slot(index);
            if slot.phase() == Phase::Done {
                self.drop_task(index, slot.task.get());
            }
        }
    }

    /// Gives the cell back. Messages that were never read come out, for the caller to drop while the loop can still be used.
    pub(crate) fn end_lease(&self) -> Vec<Message> {
        self.drop_foreign_wakers();
        self.drop_calls();
        while let Some(index) = self.ready.pop() {
            if index != CALL {
                self.slot(index).scheduled.set(false);
            }
        }
        self.of_this_lease(self.cell.end_lease())
    }

    pub(crate) fn drop_foreign_wakers(&self) {
        for waker in self.foreign.drain() {
            drop_foreign(Some(waker));
        }
    }
}
