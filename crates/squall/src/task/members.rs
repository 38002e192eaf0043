//! Coroutines that are polled by a future instead of by the loop: the body and the children of a scope.
//!
//! They have slots, so they are woken, counted, drawn and timed like tasks, and their wakers are plain numbers. But the loop never touches what is behind the
//! slot. A wake puts the slot's number into the ready queue as any other; when its turn comes the loop *marks* the member as ready in its group and polls
//! the task whose poll leads there, in that member's place of the turn:
//!
//! ```text
//!   wake(child) ─▶ ready queue ─▶ popped: child is marked in its group ─▶ the group's waker:
//!                                          ├─ another member (a scope in a scope): marked in its group in turn
//!                                          ├─ a task that waits: polled now; its poll reaches the scope, which polls what is marked
//!                                          └─ a foreign waker: woken; whoever is behind it polls the scope
//! ```
//!
//! So a forgotten scope, whose children must never run or be dropped again, costs nothing but its slots: marks, and no poll.
//!
//! Waking the scope's task from `wake` itself was rejected: it would take the task's place at the end of the queue and cost each child's wake a whole turn more.
//! Relay tasks in front of the children were rejected: a second allocation and a second turn.

use super::ambient::Ambient;
use super::handle::Handle;
use super::registry;
use super::slot::{NAMED, Phase, SCOPE, Slot};
use super::table::{BUDGET, NewTask, Tasks, wake_quietly};
use super::waker::{handle_of, waker_of};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// The members of one scope, and whom to wake when one is ready.
#[derive(Default)]
pub(crate) struct Group {
    /// The waker that the scope's future was polled with last.
    waker: Cell<Option<Waker>>,
    ready: RefCell<Vec<u32>>,
}

impl Group {
    /// Before the scope polls its members.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mine = self.waker.take();
        if mine.as_ref().is_some_and(|mine| mine.will_wake(waker)) {
            self.waker.set(mine);
            return;
        }
        super::drop_foreign(mine);
        // May run foreign code, which finds nothing borrowed.
        super::drop_foreign(self.waker.replace(Some(waker.clone())));
    }

    /// The numbers of those that were marked, in order, into an empty vector.
    pub(crate) fn take_ready(&self, ready: &mut Vec<u32>) {
        std::mem::swap(&mut *self.ready.borrow_mut(), ready);
    }

    /// Nobody will poll them any more.
    pub(crate) fn end(&self) {
        super::drop_foreign(self.waker.take());
    }

    /// The task or member that must be polled for this group's sake. `None` if it was a foreign waker, which has been woken, or there is none.
    fn raise(&self) -> Option<Handle> {
        let waker = self.waker.take()?;
        let Some(handle) = handle_of(&waker) else {
            wake_quietly(waker);
            return None;
        };
        self.waker.set(Some(waker));
        Some(handle)
    }
}

/// What a member's slot leads to.
pub(crate) struct Member {
    group: Rc<Group>,
    number: u32,
    is_marked: Cell<bool>,
}

impl Member {
    pub(crate) fn new(group: Rc<Group>, number: u32) -> Member {
        Member { group, number, is_marked: Cell::new(false) }
    }

    /// Its turn has come: it stands in the group's list until it is polled.
    pub(crate) fn mark(&self) {
        if !self.is_marked.replace(true) {
            self.group.ready.borrow_mut().push(self.number);
        }
    }

    /// True once for each mark.
    pub(crate) fn take_mark(&self) -> bool {
        self.is_marked.replace(false)
    }
}

impl Tasks {
    /// Takes a slot for a member; `is_body` for the body of a scope, which stands for the scope in reports. It is not queued yet.
    ///
    /// # Safety
    /// The member must be where it is until `end_member` was called with the handle, or for ever.
    pub(crate) unsafe fn add_member(
        &self,
        member: *const Member,
        is_body: bool,
        new: NewTask,
        ambient: Rc<Ambient>,
    ) -> Handle {
        let (index, flags) = self.enter_new(new);
        let slot = self.slot(index);
        slot.occupy(member.cast_mut().cast(), flags | if is_body { SCOPE } else { 0 });
        slot.set_phase(Phase::Member);
        slot.scheduled.set(false);
        self.set_ambient(index, Some(ambient));
        if is_body {
            // It stands for the scope, which is no task.
            self.live.set(self.live.get() - 1);
        }
        Handle::task(self.home(), index, slot.generation())
    }

    /// Gives the slot of an ended member back.
    pub(crate) fn free_member(&self, handle: Handle) {
        let slot = self.slot(handle.slot());
        if slot.generation() == handle.generation() + 1 && slot.phase() == Phase::Dropping {
            if !slot.has(SCOPE) {
                self.live.set(self.live.get() - 1);
            }
            self.free_slot(handle.slot());
        }
    }

    /// The members that forgotten scopes leave: their slots only. What is behind them is never touched.
    pub(super) fn free_forgotten_members(&self) {
        for index in 0..self.fresh.get() {
            let slot = self.slot(index);
            if slot.phase() == Phase::Member {
                let handle = Handle::task(self.home(), index, slot.generation());
                slot.begin_drop();
                self.free_member(handle);
            }
        }
    }

    /// A member's turn has come. Gives the task to poll for it, if that waits.
    #[cold]
    pub(super) fn mark_upwards<'a>(&'a self, mut slot: &'a Slot) -> Option<u32> {
        loop {
            slot.scheduled.set(false);
            // SAFETY: a slot in this phase leads to a member that is there (`add_member`).
            let member = unsafe { &*slot.task.get().cast::<Member>() };
            member.mark();
            // The group is kept by itself: a foreign waker may end the scope.
            let group = member.group.clone();
            let handle = group.raise()?;
            if handle.home() != self.home() {
                registry::wake_from_afar(handle);
                return None;
            }
            let above = self.slot(handle.slot());
            // One that stands in the queue has a turn of its own.
            if above.generation() != handle.generation() || above.scheduled.get() {
                return None;
            }
            match above.phase() {
                Phase::Member => slot = above,
                Phase::Idle => return Some(handle.slot()),
                Phase::Running => {
                    self.wake(handle);
                    return None;
                }
                Phase::Free | Phase::Dropping | Phase::Done => return None,
            }
        }
    }

    /// Runs the poll of a member, within the poll of its scope: as its own coroutine, with a budget of its own.
    pub(crate) fn poll_member<R>(&self, handle: Handle, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
        struct Restore<'a> {
            tasks: &'a Tasks,
            running: u32,
            budget: u32,
        }
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.tasks.running.set(self.running);
                self.tasks.budget.set(self.budget);
            }
        }
        let _restore = Restore {
            tasks: self,
            running: self.running.replace(handle.slot()),
            budget: self.budget.replace(BUDGET),
        };
        self.slot(handle.slot()).forget_wait();
        poll(&mut Context::from_waker(&waker_of(handle)))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Sets what a task has around it that was spawned just now.
    pub(crate) fn give_ambient(&self, handle: Handle, ambient: Rc<Ambient>) {
        self.set_ambient(handle.slot(), Some(ambient));
    }

    /// The tightest of the timeouts whose polls are on the stack.
    pub(crate) fn timeout_ns(&self) -> u64 {
        self.timeout_ns.get()
    }

    /// What a coroutine has around it; its slot frees it.
    pub(super) fn set_ambient(&self, index: u32, ambient: Option<Rc<Ambient>>) {
        self.slot(index).set(NAMED);
        drop(self.cold(index).ambient.replace(ambient));
    }
}

/// A member ends: its wakes go stale, and the loop forgets where it was. For the thread of its loop, also when another loop runs there or none; nothing if
/// the loop has ended. The slot is given back by `free_member`.
pub(crate) fn end_member(handle: Handle) {
    let slot = registry::cell_of(handle.home()).and_then(|cell| cell.slot(handle.slot()));
    if let Some(slot) = slot {
        if slot.generation() == handle.generation() && slot.phase() == Phase::Member {
            slot.begin_drop();
        }
    }
}
