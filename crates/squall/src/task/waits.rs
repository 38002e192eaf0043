//! How waits meet the task table: what a leaf future leaves behind so that it can be woken, and how far one poll may go.

use super::handle::Handle;
use super::registry;
use super::slot::Slot;
use super::table::{NONE, Tasks, drop_foreign, wake_quietly};
use super::waker::handle_of;
use crate::driver::Waiter;
use std::task::{Context, Poll, Waker, ready};

impl Tasks {
    /// A waiter for a waker: its handle, or an entry among the foreign ones, which somebody must `discard` or wake.
    #[inline]
    pub(crate) fn waiter(&self, waker: &Waker) -> Waiter {
        match handle_of(waker) {
            Some(handle) => Waiter(handle.bits()),
            None => self.foreign.insert(waker.clone()),
        }
    }

    /// True if the waiter wakes what the waker wakes.
    #[inline]
    pub(crate) fn same_waiter(&self, waiter: Waiter, waker: &Waker) -> bool {
        match handle_of(waker) {
            Some(handle) => handle.bits() == waiter.0,
            None => self.foreign.will_wake(waiter, waker),
        }
    }

    /// Wakes whoever the waiter stands for. A foreign waker's panic is reported; the loop goes on.
    #[inline]
    pub(crate) fn wake_waiter(&self, waiter: Waiter) {
        let handle = Handle::from_bits(waiter.0);
        if handle.home() == self.home() {
            self.wake(handle);
        } else if !handle.is_foreign() {
            registry::wake_from_afar(handle);
        } else if let Some(waker) = self.foreign.take(waiter) {
            wake_quietly(waker);
        }
    }

    /// Forgets a waiter that will not be woken.
    #[inline]
    pub(crate) fn discard(&self, waiter: Waiter) {
        if Handle::from_bits(waiter.0).is_foreign() {
            drop_foreign(self.foreign.take(waiter));
        }
    }

    /// Asks whether the budget allows progress, and charges it.
    #[inline]
    pub(crate) fn poll_proceed(&self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_budget(cx));
        self.charge_budget();
        Poll::Ready(())
    }

    /// Asks whether the budget allows progress. A leaf that only learns by trying charges it afterwards.
    #[inline]
    pub(crate) fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.budget.get() > 0 || self.running.get() == NONE {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    #[inline]
    pub(crate) fn charge_budget(&self) {
        self.budget.set(self.budget.get().saturating_sub(1));
    }

    /// The number of the slot that runs, or one that no slot has.
    #[cfg(feature = "fiber")]
    #[inline]
    pub(crate) fn running_slot(&self) -> u32 {
        self.running.get()
    }

    #[inline]
    pub(crate) fn current_slot(&self) -> Option<&Slot> {
        let index = self.running.get();
        (index != NONE).then(|| self.slot(index))
    }
}
