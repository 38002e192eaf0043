//! One scope's state, whatever its kind: its children, and how it ends.
//!
//! ```text
//!   OPEN ──cancel (an error, a panic, a token, a deadline …)──▶ CANCELLING: nobody is spawned; children, body and tasks are dropped in the next poll
//!     │                                                             │
//!     └── the body and all children have ended ──▶ CLOSED ◀─────────┘   (or the scope's future was dropped)
//! ```
//!
//! Everything but the scope's own poll and drop only changes this state and wakes: children are dropped there and nowhere else.

use super::children::Children;
use super::error::{Cancellation, Cause, ScopeId};
use super::mode::Mode;
use super::node::{Child, Head};
use super::watch::Watch;
use crate::event_loop::{self, Home};
use crate::task::{
    self, Ambient, ForcedUnwind, Group, Handle, JoinHandle, Member, Message, NewTask, Surroundings, Tasks,
    abort_anywhere, report_panic, wake,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::Poll;

pub(super) type Panic = Box<dyn Any + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Open,
    Cancelling,
    Closed,
}

/// A scope's state with what depends on its kind.
pub(super) struct Shared<M: Mode> {
    pub(super) family: Family,
    pub(super) failures: M::Failures,
}

pub(super) struct Family {
    pub(super) group: Rc<Group>,
    pub(super) home: Home,
    body: Member,
    /// The body's slot; none on a loop that is ending.
    body_handle: Cell<Option<Handle>>,
    children: Children,
    /// Tasks of the loop, by their numbers.
    owned: RefCell<BTreeMap<u64, OwnedTask>>,
    /// Children and tasks so far.
    spawned: Cell<u64>,
    state: Cell<State>,
    /// Its future is being polled, which looks at everything before it is done: nobody need be woken for that.
    is_polling: Cell<bool>,
    /// What ends it was changed while it was polled.
    is_unattended: Cell<bool>,
    /// The body owes a value: it is not dropped for anything but a panic.
    pub(super) spares_body: bool,
    /// Something was dropped before its end.
    was_cut: Cell<bool>,
    cause: Cell<Option<Cause>>,
    panic: Cell<Option<Panic>>,
    pub(super) surroundings: Rc<Surroundings>,
    pub(super) watch: RefCell<Watch>,
    pub(super) opened_at: &'static Location<'static>,
    id: Cell<ScopeId>,
}

/// A task or a fiber that a scope owns. A shielded one is not aborted.
struct OwnedTask {
    handle: Handle,
    is_shielded: bool,
}

impl<M: Mode> Shared<M> {
    /// Opens a scope on the current loop.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub(super) fn open(opened_at: &'static Location<'static>) -> Rc<Shared<M>> {
        event_loop::with("squall::scope", |core| {
            let outer = core.tasks.ambient();
            let within = outer.as_ref().and_then(|ambient| ambient.scope.clone());
            let locals = outer.and_then(|ambient| ambient.locals.clone());
            let surroundings = Surroundings::within(within, core.tasks.timeout_ns());
            let group = Rc::new(Group::new(Rc::new(Ambient { scope: Some(surroundings.clone()), locals })));
            let family = Family {
                // SAFETY: the family has both.
                body: unsafe { Member::new(Rc::as_ptr(&group)) },
                group,
                home: core.home(),
                body_handle: Cell::new(None),
                children: Children::new(),
                owned: RefCell::default(),
                spawned: Cell::new(0),
                state: Cell::new(State::Open),
                is_polling: Cell::new(false),
                is_unattended: Cell::new(false),
                spares_body: !M::ENDS_WITH_FAILURE,
                was_cut: Cell::new(false),
                cause: Cell::new(None),
                panic: Cell::new(None),
                surroundings,
                watch: RefCell::default(),
                opened_at,
                id: Cell::new(ScopeId { home: core.home(), number: 0 }),
            };
            let shared = Rc::new(Shared { family, failures: M::Failures::default() });
            if !core.tasks.is_closing() {
                let new = NewTask { name: None, spawned_at: opened_at };
                let body = &raw const shared.family.body;
                // SAFETY: it lies in an `Rc` that the scope's future holds, which calls `close` before it is dropped; a forgotten one holds it for ever.
                let handle = unsafe { core.tasks.add_member(body, true, new, None) };
                shared.family.body_handle.set(Some(handle));
                shared.family.id.set(ScopeId { home: core.home(), number: core.tasks.spawned() });
            }
            shared.family.mark_body();
            shared
        })
    }

    /// An error of a child or of the body.
    pub(super) fn fail(&self, failure: M::Failure) {
        M::note(&self.failures, failure);
        self.family.begin_cancelling();
    }
}

impl Family {
    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    pub(super) fn id(&self) -> ScopeId {
        self.id.get()
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    pub(super) fn body_handle(&self) -> Option<Handle> {
        self.body_handle.get()
    }

    /// True if that is the body.
    pub(super) fn is_body(&self, member: NonNull<Member>) -> bool {
        std::ptr::eq(member.as_ptr(), &self.body)
    }

    /// The body is to be polled.
    fn mark_body(&self) {
        // SAFETY: the body's member is there as long as the family is.
        unsafe { Member::mark(NonNull::from(&self.body)) };
    }

    pub(super) fn take_body_mark(&self) -> bool {
        self.body.take_mark()
    }

    /// Has the scope polled soon. From anywhere on the thread.
    pub(super) fn wake(&self) {
        if let Some(handle) = self.body_handle.get().filter(|_| !self.is_polling.get()) {
            wake(handle);
        }
    }

    /// The scope's poll is on the stack until that is dropped.
    pub(super) fn begin_poll(&self) -> Polling<'_> {
        self.is_polling.set(true);
        Polling(self)
    }

    /// True once after a change of what the scope looks at.
    pub(super) fn take_unattended(&self) -> bool {
        self.is_unattended.replace(false)
    }

    // --- spawning ------------------------------------------------------------------------------------------------

    /// A number for a child to be, if the scope takes any.
    ///
    /// # Panics
    /// On another loop than the scope's.
    #[track_caller]
    pub(super) fn admit(&self) -> Option<(&Tasks, u64)> {
        let tasks = self.tasks();
        (self.is_open() && !tasks.is_closing()).then(|| (tasks, self.next_number()))
    }

    /// A number for a shielded task, which a scope takes until it is closed.
    #[track_caller]
    pub(super) fn admit_shielded(&self) -> Option<u64> {
        let takes = self.state.get() != State::Closed && !self.tasks().is_closing();
        takes.then(|| self.next_number())
    }

    fn next_number(&self) -> u64 {
        self.spawned.set(self.spawned.get() + 1);
        self.spawned.get()
    }

    /// # Panics
    /// On another loop than the scope's.
    #[track_caller]
    pub(super) fn tasks(&self) -> &Tasks {
        match task::current() {
            Some(tasks) if tasks.home() == self.home.cell && tasks.lease == self.home.lease => tasks,
            _ => panic!(
                "a scope was used on another event loop than it was opened on (at {}): a scope, its body and its children live on one loop",
                self.opened_at
            ),
        }
    }

    /// Takes a child in, and queues its first poll.
    ///
    /// # Safety
    /// The child is new, and may be polled and dropped until the scope's future has been dropped, or for ever if it is forgotten.
    #[inline]
    pub(super) unsafe fn adopt(&self, tasks: &Tasks, child: Child) {
        // SAFETY: it is live.
        let head = unsafe { child.as_ref() };
        let new = NewTask { name: None, spawned_at: head.spawned_at };
        let ambient = if tasks.runs_plainly_in(&self.group) { None } else { Some(self.ambient(tasks)) };
        // SAFETY: the member comes first in the node, which the scope owns until the member has ended; a forgotten scope owns it for ever.
        let handle = unsafe { tasks.add_member(child.as_ptr().cast(), false, new, ambient) };
        // SAFETY: it is new.
        unsafe { self.children.push(child) };
        tasks.wake(handle);
    }

    /// What a child has around it: this scope, and the task-locals of whoever spawns it.
    pub(super) fn ambient(&self, tasks: &Tasks) -> Rc<Ambient> {
        let spawner = tasks.ambient();
        let is_inside = |ambient: &Rc<Ambient>| {
            ambient.scope.as_ref().is_some_and(|scope| Rc::ptr_eq(scope, &self.surroundings))
        };
        match spawner {
            Some(ambient) if is_inside(&ambient) => ambient,
            None => self.group.ambient().clone(),
            Some(spawner) => {
                Rc::new(Ambient { scope: Some(self.surroundings.clone()), locals: spawner.locals.clone() })
            }
        }
    }

    /// Owns a task from here on, which has not run yet.
    pub(super) fn own<T>(&self, number: u64, task: &JoinHandle<T>, is_shielded: bool) {
        let Some(handle) = task.raw() else { return };
        let tasks = self.tasks();
        tasks.give_ambient(handle, self.ambient(tasks));
        self.owned.borrow_mut().insert(number, OwnedTask { handle, is_shielded });
    }

    // --- in the scope's poll, or its drop ------------------------------------------------------------------------

    /// Polls a member that was marked, if it is a child.
    ///
    /// # Safety
    /// This is the scope's poll, and the member comes from the group's list: it is the body, or a child that is in the scope's list.
    #[inline]
    pub(super) unsafe fn poll_child(&self, tasks: &Tasks, member: NonNull<Member>) {
        // SAFETY: by the contract it is a child's, and so the first field of its head; the pointer was made from the head's.
        let (child, head) = unsafe { (member.cast::<Head>(), member.cast::<Head>().as_ref()) };
        let (true, Some(handle)) = (head.member.take_mark(), head.member.handle()) else { return };
        if head.is_aborted.get() {
            // SAFETY: by the contract.
            unsafe { self.drop_child(child) };
            return;
        }
        // SAFETY: by the contract.
        let poll = || tasks.poll_member(handle, |cx| unsafe { Head::poll(child, cx) });
        match catch_unwind(AssertUnwindSafe(poll)) {
            // SAFETY: by the contract; its poll is over.
            Ok(Poll::Pending) if head.is_aborted.get() => unsafe { self.drop_child(child) },
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => {
                tasks.free_member(handle);
                // SAFETY: by the contract, and it has ended.
                unsafe { self.forget(child) };
            }
            Err(panic) => {
                // First this one, so that a destructor's is the second; but whatever goes on from here goes when all is in order.
                let forced = self.keep(panic);
                // SAFETY: as above.
                unsafe { self.drop_child(child) };
                if let Some(forced) = forced {
                    resume_unwind(forced);
                }
            }
        }
    }

    /// Drops a child's future, then what is left of it.
    ///
    /// # Safety
    /// This is the scope's poll or drop, and the child is in its list.
    unsafe fn drop_child(&self, child: Child) {
        // SAFETY: by the contract.
        let panic = unsafe { Head::drop_future(child) };
        // SAFETY: it is live: the scope owns it.
        self.free(unsafe { &child.as_ref().member });
        // SAFETY: by the contract, and it has ended.
        unsafe { self.forget(child) };
        if let Some(panic) = panic {
            self.panicked(panic);
        }
    }

    /// A child has ended: the scope lets go of it.
    ///
    /// # Safety
    /// The child is in the scope's list, and its future is gone.
    #[inline]
    unsafe fn forget(&self, child: Child) {
        // SAFETY: by the contract; out of the list it is not the scope's any more.
        let panic = unsafe {
            // Its poll, or a destructor before it, may have paused a fiber, and the loop marked it meanwhile.
            if child.as_ref().member.take_mark() {
                self.group.forget_mark(child.cast());
            }
            self.children.remove(child);
            Head::leave_scope(child)
        };
        if let Some(panic) = panic {
            self.panicked(panic);
        }
    }

    /// Ends a member and gives its slot back, wherever this is.
    fn free(&self, member: &Member) {
        member.end();
        let Some(handle) = member.handle() else { return };
        if self.home.try_with(|core| core.tasks.free_member(handle)).is_none() {
            // A loop that has ended has freed it.
            drop(self.home.send(Message::FreeMember(handle)));
        }
    }

    /// Keeps the first panic for the scope's end, and ends the rest. Called when all is in order.
    ///
    /// The unwinding of a cancelled fiber, on whose stack an executor of others polls this scope, is none: it goes on.
    pub(super) fn panicked(&self, panic: Panic) {
        if let Some(forced) = self.keep(panic) {
            resume_unwind(forced);
        }
    }

    /// As `panicked`, and gives a forced unwind back.
    fn keep(&self, panic: Panic) -> Option<Panic> {
        self.begin_cancelling();
        if panic.is::<ForcedUnwind>() {
            return Some(panic);
        }
        if self.state.get() == State::Closed {
            // A task that outlived the scope: shielded, or on the call stack when the scope was dropped.
            report_panic("a task panicked after its scope was dropped", panic);
            return None;
        }
        match self.panic.take() {
            None => self.panic.set(Some(panic)),
            first => {
                self.panic.set(first);
                report_panic("another child of a scope panicked after the first", panic);
            }
        }
        None
    }

    pub(super) fn take_panic(&self) -> Option<Panic> {
        self.panic.take()
    }

    /// Drops the children that are there, and aborts the tasks, the youngest first.
    ///
    /// # Safety
    /// This is the scope's poll or drop, and nothing holds members that were marked before.
    pub(super) unsafe fn drop_those_present(&self) {
        self.group.forget_marks();
        self.body.take_mark();
        self.mark_body();
        let mut until = self.spawned.get();
        loop {
            let child = self.children.youngest_until(until);
            // SAFETY: it is in the list.
            let number = child.map_or(0, |child| unsafe { child.as_ref().number });
            let task = {
                let owned = self.owned.borrow();
                let mut younger = owned.range(..=until).rev().take_while(|(task, _)| **task > number);
                younger.find(|(_, task)| !task.is_shielded).map(|(task, owned)| (*task, owned.handle))
            };
            if let Some((number, handle)) = task {
                self.was_cut.set(true);
                until = number - 1;
                // At once, and its `Membership` leaves; unless it is on the call stack, then soon.
                abort_anywhere(handle);
            } else if let Some(child) = child {
                self.was_cut.set(true);
                until = number - 1;
                // SAFETY: by the contract, and it is in the list.
                unsafe { self.drop_child(child) };
            } else {
                return;
            }
        }
    }

    /// Has those dropped that are there: children in the scope's next poll, each in its own turn.
    pub(super) fn abort_those_present(&self) {
        // SAFETY: it is in the list.
        self.children.for_each(|child| unsafe { child.as_ref() }.abort());
        let tasks: Vec<_> =
            self.owned.borrow().values().filter(|task| !task.is_shielded).map(|task| task.handle).collect();
        tasks.into_iter().rev().for_each(abort_anywhere);
    }

    pub(super) fn has_children(&self) -> bool {
        !self.children.is_empty() || !self.owned.borrow().is_empty()
    }

    // --- ending --------------------------------------------------------------------------------------------------

    /// Cancels the scope; the first cause counts.
    pub(super) fn cancel(&self, cause: Cause) {
        if self.is_open() {
            self.cause.set(Some(cause));
            self.begin_cancelling();
        }
    }

    pub(super) fn begin_cancelling(&self) {
        if self.is_open() {
            self.state.set(State::Cancelling);
            self.wake();
        }
    }

    pub(super) fn cut(&self) {
        self.was_cut.set(true);
    }

    /// Why the scope did not come to its own end, if it did not.
    pub(super) fn cancellation(&self) -> Option<Cancellation> {
        let cause = self.cause.take()?;
        self.was_cut.get().then(|| Cancellation { cause, scope: self.id(), opened_at: self.opened_at })
    }

    /// Changes what the scope looks at in each poll, and has it look.
    pub(super) fn watch(&self, set: impl FnOnce(&mut Watch)) {
        set(&mut self.watch.borrow_mut());
        self.is_unattended.set(true);
        self.wake();
    }

    /// A task of the scope is gone.
    pub(super) fn task_ended(&self, number: u64) {
        self.owned.borrow_mut().remove(&number);
        self.wake();
    }

    /// The scope ends: nobody polls it any more.
    pub(super) fn close(&self) {
        if self.state.replace(State::Closed) == State::Closed {
            return;
        }
        self.body_handle.set(None);
        self.free(&self.body);
        self.group.end();
        let watch = self.watch.take();
        drop(watch);
    }
}

/// See [`Family::begin_poll`].
pub(super) struct Polling<'a>(&'a Family);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.is_polling.set(false);
    }
}

/// That a task belongs to a scope. Dropped when nothing of the task is left.
pub(super) struct Membership<M: Mode> {
    pub(super) shared: Rc<Shared<M>>,
    pub(super) number: u64,
}

impl<M: Mode> Drop for Membership<M> {
    fn drop(&mut self) {
        self.shared.family.task_ended(self.number);
    }
}
