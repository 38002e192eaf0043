//! One scope's state, whatever its kind: its children, and how it ends.
//!
//! ```text
//!   OPEN ──cancel (an error, a panic, a token, a deadline …)──▶ CANCELLING: nobody is spawned; children, body and tasks are dropped in the next poll
//!     │                                                             │
//!     └── the body and all children have ended ──▶ CLOSED ◀─────────┘   (or the scope's future was dropped)
//! ```
//!
//! Everything but the scope's own poll and drop only changes this state and wakes: children are dropped there and nowhere else.

use super::entries::{Entries, Entry};
use super::error::{Cancellation, Cause, ScopeId};
use super::mode::Mode;
use super::node::AnyChild;
use super::watch::Watch;
use crate::event_loop::{self, Home};
use crate::task::{
    self, Ambient, ForcedUnwind, Group, Handle, JoinHandle, Member, Message, NewTask, Surroundings, Tasks,
    abort_anywhere, drop_quietly, report_panic, wake,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::Poll;

pub(super) type Panic = Box<dyn Any + Send>;

/// The body's number among the members.
pub(super) const BODY: u32 = u32::MAX;

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
    pub(super) entries: RefCell<Entries>,
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
                body: unsafe { Member::new(Rc::as_ptr(&group), BODY) },
                group,
                home: core.home(),
                body_handle: Cell::new(None),
                entries: RefCell::new(Entries::new()),
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
            shared.family.body.mark();
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

    /// A place for a child to be, if the scope takes any.
    ///
    /// # Panics
    /// On another loop than the scope's.
    #[track_caller]
    pub(super) fn reserve(&self) -> Option<(&Tasks, u32)> {
        let tasks = self.tasks();
        let takes = self.is_open() && !tasks.is_closing();
        takes.then(|| (tasks, self.entries.borrow_mut().reserve()))
    }

    /// A place for a shielded task, which a scope takes until it is closed.
    #[track_caller]
    pub(super) fn reserve_shielded(&self) -> Option<u32> {
        let takes = self.state.get() != State::Closed && !self.tasks().is_closing();
        takes.then(|| self.entries.borrow_mut().reserve())
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

    /// Puts a child into its place, and queues its first poll.
    ///
    /// # Safety
    /// The child may be polled and dropped until the scope's future has been dropped, or for ever if it is forgotten.
    pub(super) unsafe fn adopt(&self, tasks: &Tasks, number: u32, child: Rc<dyn AnyChild>) {
        let head = child.head();
        let new = NewTask { name: None, spawned_at: head.spawned_at };
        let ambient = if tasks.runs_plainly_in(&self.group) { None } else { Some(self.ambient(tasks)) };
        // SAFETY: it lies in an `Rc` that the entries hold until `forget` has ended the member; a forgotten scope holds them for ever.
        let handle = unsafe { tasks.add_member(&raw const head.member, false, new, ambient) };
        self.entries.borrow_mut().fill(number, Entry::Child(child));
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
    pub(super) fn own<T>(&self, number: u32, task: &JoinHandle<T>, is_shielded: bool) {
        let Some(handle) = task.raw() else {
            self.entries.borrow_mut().give_up(number);
            return;
        };
        let tasks = self.tasks();
        tasks.give_ambient(handle, self.ambient(tasks));
        self.entries.borrow_mut().fill(number, Entry::Task { handle, is_shielded });
    }

    // --- in the scope's poll, or its drop ------------------------------------------------------------------------

    /// Polls a child that was marked.
    pub(super) fn poll_child(&self, tasks: &Tasks, number: u32) {
        let child = self.entries.borrow().child(number);
        let Some(child) = child.filter(|child| child.head().member.take_mark()) else { return };
        let head = child.head();
        if head.is_aborted.get() {
            self.drop_child(number, &*child);
            return;
        }
        let Some(handle) = head.member.handle() else { return };
        let polled = catch_unwind(AssertUnwindSafe(|| tasks.poll_member(handle, |cx| child.poll(cx))));
        match polled {
            Ok(Poll::Pending) if head.is_aborted.get() => self.drop_child(number, &*child),
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => {
                let entry = self.entries.borrow_mut().remove(number);
                tasks.free_member(handle);
                if let Some(Entry::Child(child)) = entry {
                    self.drop_value(child);
                }
            }
            Err(panic) => {
                self.panicked(panic, || self.drop_child(number, &*child));
            }
        }
        // If this is the last of it, it holds a value that nobody takes.
        self.drop_value(child);
    }

    /// Drops a child's future, then what is left of it.
    fn drop_child(&self, number: u32, child: &dyn AnyChild) {
        let panic = child.drop_future();
        self.forget(number);
        if let Some(panic) = panic {
            self.panicked(panic, || ());
        }
    }

    /// A child has ended: its place and its slot are free.
    fn forget(&self, number: u32) {
        let entry = self.entries.borrow_mut().remove(number);
        if let Some(Entry::Child(child)) = entry {
            self.free(&child.head().member);
            self.drop_value(child);
        }
    }

    #[inline]
    fn drop_value(&self, child: Rc<dyn AnyChild>) {
        if Rc::strong_count(&child) > 1 {
            return;
        }
        if let Some(panic) = drop_quietly(child) {
            self.panicked(panic, || ());
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

    /// Keeps the first panic for the scope's end, and ends the rest; `tidy` runs before.
    ///
    /// The unwinding of a cancelled fiber, on whose stack an executor of others polls this scope, is none: it goes on.
    pub(super) fn panicked(&self, panic: Panic, tidy: impl FnOnce()) {
        tidy();
        self.begin_cancelling();
        if panic.is::<ForcedUnwind>() {
            resume_unwind(panic);
        }
        match self.panic.take() {
            None => self.panic.set(Some(panic)),
            first => {
                self.panic.set(first);
                report_panic("another child of a scope panicked after the first", panic);
            }
        }
    }

    pub(super) fn take_panic(&self) -> Option<Panic> {
        self.panic.take()
    }

    /// Drops the children that are there, the youngest first, and aborts the tasks.
    pub(super) fn drop_those_present(&self) {
        let numbers = self.entries.borrow().youngest_first();
        for number in numbers {
            let (child, task) = {
                let entries = self.entries.borrow();
                (entries.child(number), entries.task(number))
            };
            if let Some(child) = child {
                self.was_cut.set(true);
                self.drop_child(number, &*child);
                self.drop_value(child);
            } else if let Some((handle, false)) = task {
                self.was_cut.set(true);
                // At once, and its `Membership` leaves; unless it is on the call stack, then soon.
                abort_anywhere(handle);
            }
        }
    }

    /// Has those dropped that are there: in the scope's next poll, each in its own turn.
    pub(super) fn abort_those_present(&self) {
        let numbers = self.entries.borrow().youngest_first();
        for number in numbers {
            let (child, task) = {
                let entries = self.entries.borrow();
                (entries.child(number), entries.task(number))
            };
            if let Some(child) = child {
                child.head().is_aborted.set(true);
                if let Some(handle) = child.head().member.handle() {
                    wake(handle);
                }
                self.drop_value(child);
            } else if let Some((handle, false)) = task {
                abort_anywhere(handle);
            }
        }
    }

    pub(super) fn has_children(&self) -> bool {
        !self.entries.borrow().is_empty()
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
    pub(super) fn task_ended(&self, number: u32) {
        drop(self.entries.borrow_mut().remove(number));
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
    pub(super) number: u32,
}

impl<M: Mode> Drop for Membership<M> {
    fn drop(&mut self) {
        self.shared.family.task_ended(self.number);
    }
}
