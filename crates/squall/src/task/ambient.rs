//! What a coroutine has around it: the scopes that it is in, with their deadlines and requests to stop, and its task-locals.
//!
//! It is found through the coroutine's slot, and is inherited by what it spawns: a child of a scope has the scope's, and everybody has the task-locals
//! as they were then. A thread-local that is set and restored around polls was rejected: a fiber parks in the midst of its frames.

use super::context;
use super::table::{NONE, Tasks};
use super::wait_list::{WaitList, wake_all};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// Task-locals: few, so a list; copied when one is set.
pub(crate) type Locals = Vec<(usize, Rc<dyn Any>)>;

#[derive(Clone, Default)]
pub(crate) struct Ambient {
    pub(crate) scope: Option<Rc<Surroundings>>,
    pub(crate) locals: Option<Rc<Locals>>,
}

/// A scope as its members see it.
pub(crate) struct Surroundings {
    outer: Option<Rc<Surroundings>>,
    deadline_ns: Cell<u64>,
    is_stopping: Cell<bool>,
    pub(crate) stop_waiting: RefCell<WaitList<(), ()>>,
    inner: RefCell<Vec<Weak<Surroundings>>>,
}

impl Surroundings {
    /// Those of a scope that is opened inside `outer`.
    pub(crate) fn within(outer: Option<Rc<Surroundings>>, deadline_ns: u64) -> Rc<Surroundings> {
        let inner = Rc::new(Surroundings {
            deadline_ns: Cell::new(deadline_ns),
            is_stopping: Cell::new(outer.as_ref().is_some_and(|outer| outer.is_stopping())),
            stop_waiting: RefCell::new(WaitList::new()),
            inner: RefCell::default(),
            outer,
        });
        if let Some(outer) = &inner.outer {
            let mut scopes = outer.inner.borrow_mut();
            if scopes.len() == scopes.capacity() {
                scopes.retain(|scope| scope.strong_count() > 0);
            }
            scopes.push(Rc::downgrade(&inner));
        }
        inner
    }

    /// The tightest deadline here and further out.
    pub(crate) fn deadline_ns(&self) -> u64 {
        let scopes = std::iter::successors(Some(self), |scope| scope.outer.as_deref());
        scopes.map(|scope| scope.deadline_ns.get()).min().unwrap_or(NEVER)
    }

    /// This scope's own deadline is at most that.
    pub(crate) fn tighten(&self, deadline_ns: u64) {
        self.deadline_ns.set(self.deadline_ns.get().min(deadline_ns));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Asks this scope and those inside it to stop.
    pub(crate) fn stop(self: &Rc<Surroundings>) {
        let mut scopes = vec![self.clone()];
        let mut wakers = Vec::new();
        while let Some(scope) = scopes.pop() {
            if !scope.is_stopping.replace(true) {
                wakers.extend(scope.stop_waiting.borrow_mut().grant_all(|()| ()));
                scopes.extend(scope.inner.borrow().iter().filter_map(Weak::upgrade));
            }
        }
        wake_all(wakers);
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        for waker in self.stop_waiting.get_mut().grant_all(|()| ()) {
            super::drop_foreign(Some(waker));
        }
        // A chain of scopes may be long; it is taken apart without recursion.
        let mut outer = self.outer.take();
        while let Some(scope) = outer {
            outer = Rc::into_inner(scope).and_then(|mut scope| scope.outer.take());
        }
    }
}

impl Tasks {
    /// What the coroutine that runs has around it.
    pub(crate) fn ambient(&self) -> Option<Rc<Ambient>> {
        let index = self.running.get();
        if index == NONE {
            return None;
        }
        let cell = &self.cold(index).ambient;
        let ambient = cell.take();
        cell.set(ambient.clone());
        ambient.or_else(|| self.ambient_of_group(index))
    }

    /// Replaces the task-locals of the coroutine that runs; false if none does.
    pub(crate) fn set_locals(&self, locals: Rc<Locals>) -> bool {
        let index = self.running.get();
        if index == NONE {
            return false;
        }
        let scope = self.ambient().and_then(|ambient| ambient.scope.clone());
        self.set_ambient(index, Some(Rc::new(Ambient { scope, locals: Some(locals) })));
        true
    }

    /// What a task inherits that belongs to nobody's scope.
    #[cold]
    pub(super) fn heritage(&self) -> Option<Rc<Ambient>> {
        let ambient = self.ambient()?;
        match (&ambient.scope, &ambient.locals) {
            (None, _) => Some(ambient),
            (Some(_), None) => None,
            (Some(_), locals) => Some(Rc::new(Ambient { scope: None, locals: locals.clone() })),
        }
    }

    /// When the coroutine that runs will be cancelled at the latest: the tightest deadline of its scopes, and of the timeouts that it is polled in.
    pub(crate) fn deadline_ns(&self) -> u64 {
        let scopes =
            self.ambient().and_then(|ambient| ambient.scope.as_ref().map(|scope| scope.deadline_ns()));
        scopes.unwrap_or(NEVER).min(self.timeout_ns.get())
    }
}

/// The polls inside run under a timeout, until that is dropped.
pub(crate) struct UnderTimeout<'a> {
    tasks: Option<&'a Tasks>,
    before: u64,
}

impl UnderTimeout<'_> {
    #[inline]
    pub(crate) fn until(deadline_ns: u64) -> Self {
        let tasks = context::current();
        let before =
            tasks.map_or(NEVER, |tasks| tasks.timeout_ns.replace(deadline_ns.min(tasks.timeout_ns.get())));
        UnderTimeout { tasks, before }
    }
}

impl Drop for UnderTimeout<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks {
            tasks.timeout_ns.set(self.before);
        }
    }
}
