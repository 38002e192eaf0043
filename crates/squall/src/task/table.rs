//! A loop's tasks: the slot table, the ready queue, and everything that may happen to a task.
//!
//! No method holds a borrow while user code runs (a poll, a destructor, a foreign waker), because that code may call any of
//! them again: state lives in cells, and each step leaves the table consistent before it calls out. The table
//! in `slot.rs` says what every combination does.

use super::ambient::NEVER;
use super::callbacks::CallbackPanics;
use super::calls::{CALL, Calls};
use super::error::NotStarted;
use super::foreign::ForeignWakers;
use super::handle::Handle;
use super::info::Who;
use super::raw::{self, Header, Polled, drop_quietly, report_panic};
use super::ready::ReadyQueue;
use super::registry::{self, LoopCell};
use super::slot::{ABORTED, CALLBACK, Cold, JOINED, NAMED, Phase, Slot};
use super::waker::{handle_of, waker_of};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::task::{Context, Waker};

/// Polls that make progress at one leaf before the task gives way (the figure that tokio arrived at).
pub(super) const BUDGET: u32 = 128;
pub(super) const NONE: u32 = u32::MAX;

pub(crate) struct Tasks {
    pub(crate) cell: &'static LoopCell,
    /// The cell's, at hand.
    home: u32,
    pub(crate) lease: u64,
    pub(super) ready: ReadyQueue,
    /// Slots of the table; the ready queue has room for as many.
    pub(super) slots: Cell<u32>,
    /// Slots from here on were not handed out in this lease.
    pub(super) fresh: Cell<u32>,
    free: Cell<u32>,
    pub(super) live: Cell<u32>,
    spawned: Cell<u64>,
    /// The task whose poll is on the stack.
    pub(super) running: Cell<u32>,
    pub(super) budget: Cell<u32>,
    /// What runs is a member of a scope.
    pub(super) runs_member: Cell<bool>,
    /// Where in the ready queue this stretch of the turn ends.
    pub(super) stretch_end: Cell<u32>,
    /// The tightest of the timeouts whose polls are on the stack.
    pub(super) timeout_ns: Cell<u64>,
    pub(super) closing: Cell<bool>,
    /// Entries of the ready queue whose tasks had ended: taken out, and not polled.
    pub(crate) skipped: Cell<u64>,
    pub(super) calls: Calls,
    pub(super) callback_panics: Cell<CallbackPanics>,
    pub(crate) foreign: ForeignWakers,
}

/// A task to be: everything but its future.
pub(crate) struct NewTask {
    pub(crate) name: Option<String>,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Tasks {
    /// Leases a cell of the registry.
    pub(crate) fn lease() -> io::Result<Tasks> {
        let cell = registry::lease()?;
        let tasks = Tasks {
            cell,
            home: cell.home(),
            lease: cell.current_lease(),
            ready: ReadyQueue::new(),
            slots: Cell::new(0),
            fresh: Cell::new(0),
            free: Cell::new(NONE),
            live: Cell::new(0),
            spawned: Cell::new(0),
            running: Cell::new(NONE),
            budget: Cell::new(BUDGET),
            runs_member: Cell::new(false),
            stretch_end: Cell::new(0),
            timeout_ns: Cell::new(NEVER),
            closing: Cell::new(false),
            skipped: Cell::new(0),
            calls: Calls::new(),
            callback_panics: Cell::new(CallbackPanics::default()),
            foreign: ForeignWakers::default(),
        };
        Ok(tasks)
    }

    #[inline]
    pub(crate) fn home(&self) -> u32 {
        self.home
    }

    #[inline]
    pub(super) fn slot(&self, index: u32) -> &Slot {
        self.cell.slot_at(index)
    }

    #[inline]
    pub(super) fn cold(&self, index: u32) -> &Cold {
        self.cell.cold_at(index)
    }

    /// The tasks that are ready now.
    #[inline]
    pub(crate) fn ready(&self) -> u32 {
        self.ready.len()
    }

    /// The tasks that have not ended.
    pub(crate) fn live(&self) -> u32 {
        self.live.get()
    }

    /// The number of tasks spawned so far.
    pub(crate) fn spawned(&self) -> u64 {
        self.spawned.get()
    }

    // --- spawn ---------------------------------------------------------------------------------------------------

    /// Spawns a future. `None` if the loop is ending: then the future was dropped.
    ///
    /// # Panics
    /// With four million tasks alive on one loop.
    #[inline]
    pub(crate) fn spawn<F: Future + 'static>(&self, future: F, new: NewTask) -> Option<Handle> {
        if self.closing.get() {
            if let Some(panic) = drop_quietly(future) {
                report_panic("a future refused by an ending loop panicked in its destructor", panic);
            }
            return None;
        }
        // SAFETY: `'static`.
        Some(unsafe { self.spawn_unchecked(future, new) })
    }

    /// Spawns a future that may borrow.
    ///
    /// # Safety
    /// The future, and later its output, must be gone (taken, or dropped by `discard`) before what they borrow.
    #[inline]
    pub(crate) unsafe fn spawn_unchecked<F: Future>(&self, future: F, new: NewTask) -> Handle {
        let (index, named) = self.enter_new(new);
        let slot = self.slot(index);
        slot.occupy(raw::allocate(future), JOINED | named);
        self.ready.push(index);
        Handle::task(self.home(), index, slot.generation())
    }

    /// Takes a slot and fills in its cold half. Gives the slot's number and its flag for the name.
    #[inline(always)]
    pub(super) fn enter_new(&self, new: NewTask) -> (u32, u8) {
        let (index, flags) = self.enter_bare(new);
        let parent = self.running.get();
        if parent == NONE {
            return (index, flags);
        }
        // SAFETY: a cell of this thread's, and nothing is called while the reference lives.
        let has_own = unsafe { (*self.cold(parent).ambient.as_ptr()).is_some() };
        if !has_own && !self.runs_member.get() {
            return (index, flags);
        }
        self.cold(index).ambient.set(self.heritage());
        (index, flags | NAMED)
    }

    /// As `enter_new`, for who inherits nothing, or something else than a task.
    #[inline(always)]
    pub(super) fn enter_bare(&self, new: NewTask) -> (u32, u8) {
        let index = self.take_slot();
        let id = self.spawned.get() + 1;
        self.spawned.set(id);
        self.live.set(self.live.get() + 1);
        let cold = self.cold(index);
        cold.id.set(id);
        cold.spawned_at.set(Some(new.spawned_at));
        let parent = self.running.get();
        cold.parent.set(if parent == NONE { 0 } else { self.cold(parent).id.get() });
        match new.name {
            None => (index, 0),
            Some(name) => {
                cold.name.set(Some(Box::new(name.into_boxed_str())));
                (index, NAMED)
            }
        }
    }

    #[inline]
    fn take_slot(&self) -> u32 {
        let index = self.free.get();
        if index != NONE {
            self.free.set(self.slot(index).detail.get());
            return index;
        }
        self.take_fresh_slot()
    }

    fn take_fresh_slot(&self) -> u32 {
        loop {
            let index = self.fresh.get();
            if index >= self.slots.get() {
                let slots = self
                    .cell
                    .ensure_slot(index)
                    .expect("four million tasks are alive on one event loop: its table is full");
                self.slots.set(slots);
                self.make_room();
            }
            self.fresh.set(index + 1);
            if !self.slot(index).is_retired() {
                return index;
            }
        }
    }

    /// Puts an ended slot back. While its number still stands in the ready queue it waits for that entry to be popped.
    #[inline]
    pub(super) fn free_slot(&self, index: u32) {
        let slot = self.slot(index);
        if slot.has(NAMED) {
            self.drop_name(index);
        }
        if slot.release() && !slot.scheduled.get() {
            self.push_free(index);
        }
    }

    #[cold]
    fn drop_name(&self, index: u32) {
        drop(self.cold(index).name.take());
        // The last of a task-local's owners drops the user's value.
        if let Some(panic) = drop_quietly(self.cold(index).ambient.take()) {
            report_panic("a task-local panicked in its destructor", panic);
        }
    }

    #[inline]
    fn push_free(&self, index: u32) {
        self.slot(index).detail.set(self.free.replace(index));
    }

    // --- wake and poll -------------------------------------------------------------------------------------------

    /// Makes the task ready unless the handle is stale or it is ready already.
    #[inline]
    pub(crate) fn wake(&self, handle: Handle) {
        let index = handle.slot();
        let slot = self.slot(index);
        if slot.generation() == handle.generation() && !slot.scheduled.get() {
            slot.scheduled.set(true);
            self.ready.push(index);
        }
    }

    /// Takes the wakes that other threads left.
    pub(crate) fn take_remote_wakes(&self) {
        let cell = self.cell;
        cell.wakes.take(
            |index| cell.slot_at(index).link(),
            |index| {
                let slot = cell.slot_at(index);
                // An entry may be older than the task, or than the lease: then the slot is free, or somebody else's (a spurious poll).
                if matches!(slot.phase(), Phase::Idle | Phase::Running | Phase::Member)
                    && !slot.scheduled.get()
                {
                    slot.scheduled.set(true);
                    self.ready.push(index);
                }
            },
        );
    }

    /// Polls the task at the head of the ready queue, or runs the callback there. `end_stretch` must follow. There is one: the caller has counted, and only a turn
    /// takes entries out.
    #[inline(always)]
    pub(crate) fn run_next(&self) {
        let index = self.ready.pop_known();
        let slot = self.slot(index);
        if slot.phase() != Phase::Idle {
            self.run_other(index, slot);
            return;
        }
        self.poll_task(index, slot);
    }

    #[inline(always)]
    fn poll_task(&self, index: u32, slot: &Slot) {
        slot.begin_poll();
        self.running.set(index);
        self.budget.set(BUDGET);
        let waker = waker_of(Handle::task(self.home(), index, slot.generation()));
        let task = slot.task.get();
        // SAFETY: an IDLE slot's task holds its future (Header's invariant), and RUNNING keeps everybody else away from it.
        let polled = unsafe { Header::poll(task, &mut Context::from_waker(&waker), slot) };
        match polled {
            Polled::Pending if !slot.has(ABORTED) => slot.set_phase(Phase::Idle),
            Polled::Pending => self.cancel_after_poll(index, task),
            Polled::Ended => self.settle_after_poll(index, task),
        }
    }

    /// So many entries are run now.
    #[inline]
    pub(crate) fn begin_stretch(&self, polls: u32) {
        self.stretch_end.set(self.ready.head().wrapping_add(polls));
    }

    /// No poll is on the stack. A task that stays pending leaves that to the next poll, or to this: nothing of the user's runs before.
    #[inline]
    pub(crate) fn end_stretch(&self) {
        self.running.set(NONE);
    }

    #[inline(never)]
    fn settle_after_poll(&self, index: u32, task: *mut Header) {
        self.running.set(NONE);
        self.live.set(self.live.get() - 1);
        if self.slot(index).has(JOINED) {
            self.hand_over(index, task);
        } else if self.slot(index).has(CALLBACK) {
            if let Some((who, panic)) = self.take_apart(index, task) {
                self.callback_panicked(&who, panic);
            }
        } else {
            self.drop_task(index, task);
        }
    }

    #[cold]
    fn cancel_after_poll(&self, index: u32, task: *mut Header) {
        self.running.set(NONE);
        self.cancel(index, task);
    }

    /// An entry that is no task to poll: a callback's mark, or a task that has ended while it stood in the queue. (The mark has a slot too, which is
    /// always free: so tasks pay nothing for callbacks.)
    #[cold]
    #[inline(never)]
    fn run_other(&self, index: u32, slot: &Slot) {
        if index == CALL {
            self.run_call();
        } else if slot.phase() == Phase::Member {
            self.end_stretch();
            if let Some(task) = self.mark_upwards(slot) {
                self.poll_task(task, self.slot(task));
            }
        } else {
            self.pop_ended(index, slot);
        }
    }

    fn pop_ended(&self, index: u32, slot: &Slot) {
        self.skipped.set(self.skipped.get() + 1);
        slot.scheduled.set(false);
        if slot.phase() == Phase::Free && !slot.is_retired() {
            self.push_free(index);
        }
    }

    /// Drops the future of a task that is not being polled.
    pub(super) fn cancel(&self, index: u32, task: *mut Header) {
        // SAFETY: called for IDLE slots and after a poll that returned Pending: the body holds the future and no poll of it is
        // on the stack.
        let forced = unsafe { Header::cancel(task, self.slot(index)) };
        self.settle(index, task);
        if let Some(forced) = forced {
            resume_unwind(forced);
        }
    }

    /// The output is in place: give it to whoever awaits it, or drop it.
    #[inline]
    fn settle(&self, index: u32, task: *mut Header) {
        self.live.set(self.live.get() - 1);
        if self.slot(index).has(JOINED) {
            self.hand_over(index, task);
        } else {
            self.drop_task(index, task);
        }
    }

    /// The output waits for its `JoinHandle`.
    #[inline]
    fn hand_over(&self, index: u32, task: *mut Header) {
        self.slot(index).set_phase(Phase::Done);
        // SAFETY: the slot still owns the task.
        let joiner = unsafe { Header::replace_joiner(task, None) };
        if let Some(joiner) = joiner {
            match handle_of(&joiner) {
                Some(handle) if handle.home() == self.home => {
                    std::mem::forget(joiner);
                    self.wake(handle);
                }
                _ => wake_quietly(joiner),
            }
        }
    }

    pub(super) fn drop_task(&self, index: u32, task: *mut Header) {
        let Some((who, panic)) = self.take_apart(index, task) else { return };
        match panic.downcast::<NotStarted>() {
            Ok(refused) => {
                let why = Box::new(refused.0.to_string());
                report_panic(&format!("{who} could not be started and nobody awaits it"), why);
            }
            Err(panic) => report_panic(&format!("{who} panicked and nobody awaits it"), panic),
        }
    }

    /// Frees the slot first, then drops the output, whose destructor may do anything. Gives the panic that was in it or came of that, and
    /// who it was.
    #[inline]
    fn take_apart(&self, index: u32, task: *mut Header) -> Option<(String, raw::Panic)> {
        let cold = self.cold(index);
        let (id, name, spawned_at) = (cold.id.get(), cold.name.take(), cold.spawned_at.get());
        let is_callback = self.slot(index).has(CALLBACK);
        self.free_slot(index);
        // SAFETY: the slot has let go of the task, so it is ours alone; the body holds the output.
        let (panic, joiner) = unsafe { (Header::drop_output(task), Header::replace_joiner(task, None)) };
        let panic = panic.map(|panic| {
            let who = Who {
                id,
                name: name.as_deref().map(|name| &**name),
                spawned_at,
                is_callback,
                is_scope: false,
            };
            (who.to_string(), panic)
        });
        drop_foreign(joiner);
        // SAFETY: ours alone, and its body is empty now.
        unsafe { Header::free(task) };
        panic
    }

    pub(super) fn live_slots(&self) -> Vec<(u64, u32)> {
        let live =
            |index: &u32| matches!(self.slot(*index).phase(), Phase::Idle | Phase::Running | Phase::Member);
        let mut slots: Vec<_> =
            (0..self.fresh.get()).filter(live).map(|index| (self.cold(index).id.get(), index)).collect();
        slots.sort_unstable();
        slots
    }
}

/// Drops a waker that may be foreign; its panic is reported.
#[inline]
pub(crate) fn drop_foreign(waker: Option<Waker>) {
    if let Some(waker) = waker {
        // Dropping one of ours does nothing.
        if handle_of(&waker).is_none() {
            drop_really_foreign(waker);
        } else {
            std::mem::forget(waker);
        }
    }
}

#[cold]
fn drop_really_foreign(waker: Waker) {
    if let Some(panic) = drop_quietly(waker) {
        report_panic("a foreign waker panicked in its destructor", panic);
    }
}

/// Wakes a waker that may be foreign; its panic is reported.
#[inline]
pub(crate) fn wake_quietly(waker: Waker) {
    match handle_of(&waker) {
        Some(handle) => super::waker::wake(handle),
        None => {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                report_panic("a foreign waker panicked", panic);
            }
        }
    }
}

#[cfg(test)]
mod tests;
