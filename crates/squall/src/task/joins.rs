//! What a `JoinHandle` asks of the table: where its task stands, its output, its end.

use super::error::JoinError;
use super::handle::Handle;
use super::raw::Header;
use super::slot::{ABORTED, JOINED, Phase};
use super::table::{Tasks, drop_foreign};

/// Where a handle's task stands, and its memory while there is any.
pub(crate) enum Standing {
    Live(*mut Header),
    Done(*mut Header),
    Gone,
}

impl Tasks {
    /// Aborts: at once, or when the poll that is on the stack returns. Stale handles and ended tasks: nothing.
    pub(crate) fn abort(&self, handle: Handle) {
        let slot = self.slot(handle.slot());
        if slot.generation() != handle.generation() {
            return;
        }
        match slot.phase() {
            Phase::Idle => self.cancel(handle.slot(), slot.task.get()),
            Phase::Running => slot.set(ABORTED),
            Phase::Free | Phase::Dropping | Phase::Done | Phase::Member => {}
        }
    }

    /// Keeps a task that waits from being dropped, as if it were on the call stack: something that borrows from it is. An abort is carried
    /// out after `let_go`. False if it is on the stack already, or ending.
    #[cfg(feature = "fiber")]
    pub(crate) fn hold(&self, handle: Handle) -> bool {
        let slot = self.slot(handle.slot());
        let is_idle = slot.generation() == handle.generation() && slot.phase() == Phase::Idle;
        if is_idle {
            slot.set_phase(Phase::Running);
        }
        is_idle
    }

    /// Undoes a `hold` that gave true. A task that was aborted meanwhile is woken, and finds [`is_aborted`](Self::is_aborted): the one that held it
    /// is still on the call stack.
    #[cfg(feature = "fiber")]
    pub(crate) fn let_go(&self, handle: Handle) {
        let slot = self.slot(handle.slot());
        slot.set_phase(Phase::Idle);
        if slot.has(ABORTED) {
            self.wake(handle);
        }
    }

    /// True if the running task was aborted: it is dropped when its poll has returned.
    #[cfg(feature = "fiber")]
    pub(crate) fn is_aborted(&self) -> bool {
        self.current_slot().is_some_and(|slot| slot.has(ABORTED))
    }

    /// Where a handle's task stands.
    #[inline]
    pub(crate) fn look(&self, handle: Handle) -> Standing {
        let slot = self.slot(handle.slot());
        let generation = slot.generation();
        if generation == handle.generation() {
            Standing::Live(slot.task.get())
        } else if generation == handle.generation() + 1 && slot.phase() == Phase::Done {
            Standing::Done(slot.task.get())
        } else if generation == handle.generation() + 1 && slot.phase() == Phase::Dropping {
            Standing::Live(slot.task.get())
        } else {
            Standing::Gone
        }
    }

    /// Takes the output of a task that is done, and frees it.
    ///
    /// # Safety
    /// `T` is the output type of the future the handle was made for.
    #[inline]
    pub(crate) unsafe fn take_output<T>(&self, handle: Handle, task: *mut Header) -> Result<T, JoinError> {
        // SAFETY: DONE: the body holds the output.
        let output = unsafe { Header::take_output::<T>(task) };
        self.free_slot(handle.slot());
        // SAFETY: the slot has let go of the task and the body is empty. A joiner that is left is dropped first, by us.
        unsafe {
            drop_foreign(Header::replace_joiner(task, None));
            Header::free(task);
        }
        output
    }

    /// The JoinHandle is gone: the output is nobody's any more.
    #[inline]
    pub(crate) fn detach(&self, handle: Handle) {
        match self.look(handle) {
            Standing::Live(_) => self.slot(handle.slot()).clear(JOINED),
            Standing::Done(task) => self.drop_task(handle.slot(), task),
            Standing::Gone => {}
        }
    }
}
