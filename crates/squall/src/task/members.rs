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
use super::table::{BUDGET, NewTask, Tasks, drop_foreign, wake_quietly};
use super::waker::{handle_of, waker_of};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Waker};

/// The members of one scope, and whom to wake when one is ready.
pub(crate) struct Group {
    /// The waker that the scope's future was polled with last.
    waker: Cell<Option<Waker>>,
    ready: RefCell<Vec<NonNull<Member>>>,
    /// What the members have around them that have nothing of their own: so a child costs no count of owners.
    ambient: Rc<Ambient>,
}

impl Group {
    pub(crate) fn new(ambient: Rc<Ambient>) -> Group {
        Group { waker: Cell::new(None), ready: RefCell::default(), ambient }
    }

    pub(crate) fn ambient(&self) -> &Rc<Ambient> {
        &self.ambient
    }

    /// Before the scope polls its members.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mine = self.waker.take();
        if mine.as_ref().is_some_and(|mine| mine.will_wake(waker)) {
            self.waker.set(mine);
            return;
        }
        drop_foreign(mine);
        // May run foreign code, which finds nothing borrowed.
        drop_foreign(self.waker.replace(Some(waker.clone())));
    }

    /// Those that were marked, in order, into an empty vector. Whoever lets a marked member go calls `forget_marks` first.
    pub(crate) fn take_ready(&self, ready: &mut Vec<NonNull<Member>>) {
        std::mem::swap(&mut *self.ready.borrow_mut(), ready);
    }

    /// Empties the list of those that were marked.
    pub(crate) fn forget_marks(&self) {
        self.ready.borrow_mut().clear();
    }

    /// Takes one that goes from the list of those that were marked.
    #[cold]
    pub(crate) fn forget_mark(&self, member: NonNull<Member>) {
        self.ready.borrow_mut().retain(|marked| *marked != member);
    }

    /// Nobody will poll them any more.
    pub(crate) fn end(&self) {
        drop_foreign(self.waker.take());
    }
}

/// What a member's slot leads to.
///
/// # Invariant
/// `group` is valid as long as the member is. `slot` is the one of `handle`, until its generation says otherwise.
pub(crate) struct Member {
    group: *const Group,
    is_marked: Cell<bool>,
    handle: Cell<Option<Handle>>,
    slot: Cell<Option<&'static Slot>>,
}

impl Member {
    /// # Safety
    /// The group must be where it is as long as the member.
    pub(crate) unsafe fn new(group: *const Group) -> Member {
        Member { group, is_marked: Cell::new(false), handle: Cell::new(None), slot: Cell::new(None) }
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.handle.get()
    }

    /// Its turn has come: it stands in the group's list until it is polled.
    ///
    /// # Safety
    /// The member is there, and the pointer is the one that `add_member` was given, or one to the same place that may go as far.
    pub(crate) unsafe fn mark(this: NonNull<Member>) {
        // SAFETY: by the contract, and the invariant; the references end here.
        unsafe {
            if !this.as_ref().is_marked.replace(true) {
                (*this.as_ref().group).ready.borrow_mut().push(this);
            }
        }
    }

    /// True once for each mark.
    pub(crate) fn take_mark(&self) -> bool {
        self.is_marked.replace(false)
    }

    /// It ends: its wakes go stale, and the loop forgets where it was. On the thread of its loop, also when another loop runs there or none; nothing if
    /// the loop has ended, or it has ended already. The slot is given back by `free_member`.
    pub(crate) fn end(&self) {
        let (Some(handle), Some(slot)) = (self.handle.get(), self.slot.get()) else { return };
        if slot.generation() == handle.generation() && slot.phase() == Phase::Member {
            slot.begin_drop();
        }
    }
}

/// The member behind a slot.
fn member_of(slot: &Slot) -> Option<*const Member> {
    (slot.phase() == Phase::Member).then(|| slot.task.get().cast_const().cast())
}

impl Tasks {
    /// Takes a slot for a member; `is_body` for the body of a scope, which stands for the scope in reports. It is not queued yet. Without an ambient of its own it has the
    /// group's.
    ///
    /// # Safety
    /// The member must be where it is until its `end` was called, or for ever.
    pub(crate) unsafe fn add_member(
        &self,
        member: *const Member,
        is_body: bool,
        new: NewTask,
        ambient: Option<Rc<Ambient>>,
    ) -> Handle {
        let (index, flags) = self.enter_bare(new);
        let slot = self.cell.slot_at(index);
        slot.occupy(member.cast_mut().cast(), flags | if is_body { SCOPE } else { 0 });
        slot.set_phase(Phase::Member);
        slot.scheduled.set(false);
        if ambient.is_some() {
            self.set_ambient(index, ambient);
        }
        if is_body {
            // It stands for the scope, which is no task.
            self.live.set(self.live.get() - 1);
        }
        let handle = Handle::task(self.home(), index, slot.generation());
        // SAFETY: by the contract it is there.
        let member = unsafe { &*member };
        member.handle.set(Some(handle));
        member.slot.set(Some(slot));
        handle
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
    ///
    /// If the next in this stretch is of the same group it is left to that: one poll of the scope for a row of them.
    #[inline(never)]
    pub(super) fn mark_upwards(&self, slot: &Slot) -> Option<u32> {
        slot.scheduled.set(false);
        let group = mark(slot)?;
        if self.ready.head() != self.stretch_end.get() {
            let next = member_of(self.slot(self.ready.peek(0)));
            // SAFETY: a member that a slot leads to is there.
            if next.is_some_and(|next| unsafe { (*next).group } == group) {
                return None;
            }
        }
        self.raise(group)
    }

    /// The task that must be polled for a group's sake, if it waits. Groups on the way are marked.
    ///
    /// Scopes that were polled with the wakers of their own children stand in a ring, which leads to no task: so no more steps than there are slots.
    fn raise(&self, mut group: *const Group) -> Option<u32> {
        for _ in 0..self.fresh.get() {
            // SAFETY: its member is there (`mark`), and no user code has run since; so it is by its invariant.
            let waker = unsafe { (*group).waker.take() }?;
            let Some(handle) = handle_of(&waker) else {
                // It may end the scope: nothing of that is looked at any more.
                wake_quietly(waker);
                return None;
            };
            // SAFETY: as above.
            unsafe { (*group).waker.set(Some(waker)) };
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
                Phase::Member => group = mark(above)?,
                Phase::Idle => return Some(handle.slot()),
                Phase::Running => {
                    self.wake(handle);
                    return None;
                }
                Phase::Free | Phase::Dropping | Phase::Done => return None,
            }
        }
        None
    }

    /// Runs the poll of a member, within the poll of its scope: as its own coroutine, with a budget of its own.
    pub(crate) fn poll_member<R>(&self, handle: Handle, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
        struct Restore<'a> {
            tasks: &'a Tasks,
            running: u32,
            budget: u32,
            runs_member: bool,
        }
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.tasks.running.set(self.running);
                self.tasks.budget.set(self.budget);
                self.tasks.runs_member.set(self.runs_member);
            }
        }
        let _restore = Restore {
            tasks: self,
            running: self.running.replace(handle.slot()),
            budget: self.budget.replace(BUDGET),
            runs_member: self.runs_member.replace(true),
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

    /// True if a member of the group runs that has nothing of its own around it.
    pub(crate) fn runs_plainly_in(&self, group: &Group) -> bool {
        self.current_slot().is_some_and(|slot| {
            // SAFETY: a member that a slot leads to is there: `add_member`.
            !slot.has(NAMED)
                && member_of(slot).is_some_and(|member| std::ptr::eq(unsafe { (*member).group }, group))
        })
    }

    /// What the group of a member has for those that have nothing of their own.
    pub(super) fn ambient_of_group(&self, index: u32) -> Option<Rc<Ambient>> {
        let member = member_of(self.slot(index))?;
        // SAFETY: a member that a slot leads to is there (`add_member`), and its group by its invariant.
        Some(unsafe { (*(*member).group).ambient.clone() })
    }

    /// What a coroutine has around it; its slot frees it.
    pub(super) fn set_ambient(&self, index: u32, ambient: Option<Rc<Ambient>>) {
        self.slot(index).set(NAMED);
        drop(self.cold(index).ambient.replace(ambient));
    }
}

/// Marks the member behind a slot; gives its group.
fn mark(slot: &Slot) -> Option<*const Group> {
    let member = NonNull::new(member_of(slot)?.cast_mut())?;
    // SAFETY: a member that a slot leads to is there: `add_member`.
    unsafe {
        Member::mark(member);
        Some(member.as_ref().group)
    }
}
