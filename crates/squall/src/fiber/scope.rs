//! Fibers that borrow: `std::thread::scope` for fibers, on the stack of a fiber.
//!
//! Only there. A scope that were a future could be forgotten: its memory would go, and its children, which have stacks and slots of their own, would go on
//! with what they borrowed from it. This scope is a call, and its frame lies on a stack that is leaked with everything on it if its fiber is.
//!
//! # What must not happen
//! A child must be gone before the frame of its scope is. So the frame is left in one way only: when no child is left. Usually it waits for that. Where
//! it cannot wait (its fiber is dropped) it drops the children, each of which ends on the spot, or has its stack given up; and a fiber that is given up
//! itself has the children of its scopes ended, because they may borrow from further up.
//!
//! A child whose stack was given up is gone, but it has not let go: it may stand in the middle of a sort of what it borrowed, or of a poll. So nobody may find
//! that again. The scope does not return then: its fiber is given up with the child, and so on upwards, up to a fiber that borrows nothing.
//!
//! What cannot be dropped is a child that is on the call stack. So while one runs, its parents are *held*: the loop takes them to be on the call stack
//! too, and carries out an abort of theirs after (`Tasks::hold`).

use super::arena::Stacks;
use super::body::FiberTask;
use super::current::{Fiber, here};
use super::scoped::{End, ScopedHandle};
use super::spawn::Builder;
use crate::event_loop;
use crate::task::{
    self, ForcedUnwind, Handle, JoinError, Tasks, handle_of, message_of, report_panic, wake_quietly,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

const WHAT: &str = "fiber::scope";

/// Runs a function that may spawn fibers which borrow what encloses the scope, and returns when all of them have ended.
///
/// It is a call for fibers: see [`spawn`](super::spawn). Children run on the same loop, on stacks of their own; they may borrow from the caller's frames, spawn
/// further children of the scope, and open scopes of their own.
///
/// # Cancellation
/// When the fiber is aborted, or its loop ends, the children are dropped first, the youngest first, and end where they wait; then the fiber's stack unwinds
/// from here, if it was waiting for them. [`Scope::cancel`] asks the children to end and lets them.
///
/// # Panics
/// If a child panics its siblings are cancelled, and the panic goes on here after all have ended. A panic of `body` does the same. Of several the first goes
/// on, the rest are reported. Outside a fiber, and inside a future that is polled on its stack.
///
/// If a child's stack is given up (see [the module](super#cancelling)), so is the caller's, once all children have ended: what the child borrowed may be half changed.
///
/// # Aborts
/// In a destructor that runs because the fiber unwinds there is no waiting for children, as with [`wait`](super::wait()): if one is left when `body` has returned, it is ended, that
/// is reported, and the process ends. So it does there if a child's stack is given up.
///
/// ```
/// use squall::{fiber, net::{TcpListener, TcpStream}};
/// use std::io;
///
/// /// The lengths of the greetings that so many servers send.
/// fn greetings(addresses: &[std::net::SocketAddr]) -> io::Result<Vec<usize>> {
///     fiber::scope(|s| {
///         let children: Vec<_> = addresses
///             .iter()
///             .map(|address| {
///                 s.spawn(move || {
///                     let conn = fiber::wait(TcpStream::connect(address))?;
///                     Ok(fiber::wait(conn.recv())?.map_or(0, |chunk| chunk.len()))
///                 })
///             })
///             .collect();
///         children.into_iter().map(|child| child.join()?).collect()
///     })
/// }
///
/// # fn main() -> io::Result<()> {
/// squall::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     squall::spawn(async move {
///         while let Ok((conn, _)) = listener.accept().await {
///             conn.write_all(b"welcome").await.unwrap();
///         }
///     });
///     let lengths = fiber::spawn(move || greetings(&[address; 3])).await??;
///     assert_eq!(lengths, [7, 7, 7]);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn scope<'env, F, R>(body: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let fiber = here(WHAT);
    let children = Rc::new(Children::of(fiber));
    fiber.push_scope(children.clone());
    let frame = Frame { fiber, children };
    let scope = Scope { children: frame.children.clone(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    match &result {
        Err(panic) if panic.is::<ForcedUnwind>() => frame.children.end_children(),
        Err(_) => frame.children.cancel(),
        Ok(_) => {}
    }
    let place = Location::caller();
    while frame.children.are_left() {
        fiber.note(place);
        if !fiber.park() {
            frame.children.end_children();
            frame.report(result.err());
            frame.leave_none_lost();
            fiber.unwind(WHAT);
        }
    }
    if frame.children.is_lost.get() {
        frame.report(result.err());
        frame.leave_none_lost();
        unreachable!("one is lost");
    }
    let of_a_child = frame.children.panic.take();
    drop(frame);
    match (result, of_a_child) {
        (Ok(value), None) => value,
        (Ok(value), Some(panic)) => {
            drop(value);
            resume_unwind(panic)
        }
        (Err(panic), second) => {
            if let Some(second) = second {
                report_panic("a child of a fiber::scope panicked, and so did the scope's body", second);
            }
            resume_unwind(panic)
        }
    }
}

/// The part of a fiber's stack that children borrow from: left when none of them is left.
struct Frame<'a> {
    fiber: &'a Fiber,
    children: Rc<Children>,
}

impl Frame<'_> {
    /// The panics of a scope that does not return.
    fn report(&self, of_body: Option<Box<dyn Any + Send>>) {
        if let Some(panic) = of_body.filter(|panic| !panic.is::<ForcedUnwind>()) {
            report_panic("the body of a fiber::scope panicked, and its fiber was cancelled then", panic);
        }
        if let Some(panic) = self.children.panic.take() {
            report_panic("a child of a fiber::scope panicked, and the scope's fiber was cancelled", panic);
        }
    }

    /// Does not return if the stack of a child was given up.
    fn leave_none_lost(&self) {
        if self.children.is_lost.get() {
            self.fiber.give_up(WHAT);
        }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.children.end_children();
        self.leave_none_lost();
        self.fiber.pop_scope();
    }
}

/// The children of one scope.
///
/// # Invariant
/// A handle is in `living` from the spawn of a child until its `FiberTask` has been dropped: until then it may use what it borrowed.
pub(super) struct Children {
    /// The task of the fiber that the scope's frame is on.
    parent: Handle,
    /// The scope that this fiber is a child of itself.
    outer: Option<Rc<Children>>,
    living: RefCell<BTreeMap<u64, Handle>>,
    spawned: Cell<u64>,
    is_cancelled: Cell<bool>,
    /// The stack of a child was given up: what it borrowed must not be found again.
    pub(super) is_lost: Cell<bool>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

impl Children {
    fn of(parent: &Fiber) -> Children {
        let handle = handle_of(parent.waker());
        Children {
            // A fiber that is being dropped has no waker, and its scopes no children.
            is_cancelled: Cell::new(handle.is_none()),
            parent: handle.unwrap_or(Handle::foreign(0, 0)),
            outer: parent.cold().membership.as_ref().map(|membership| membership.children.clone()),
            living: RefCell::new(BTreeMap::new()),
            spawned: Cell::new(0),
            is_lost: Cell::new(false),
            panic: Cell::new(None),
        }
    }

    fn are_left(&self) -> bool {
        !self.living.borrow().is_empty()
    }

    /// The loop that they live on, which is the one that runs.
    fn tasks(&self) -> Option<&Tasks> {
        task::current().filter(|tasks| tasks.home() == self.parent.home())
    }

    /// Their calls return `Cancelled`, or unwind them, when they are resumed.
    fn cancel(&self) {
        self.is_cancelled.set(true);
        // From wherever it is called: the body may turn another loop.
        self.living.borrow().values().for_each(|child| task::wake(*child));
    }

    /// Drops all that are left, before the frame is.
    pub(super) fn end_children(&self) {
        if !self.end_those_that_can() {
            eprintln!(
                "squall: the frame of a fiber::scope would be left while a child of it is on the call stack"
            );
            std::process::abort();
        }
    }

    /// Drops all that are left, the youngest first. False if some are left even so: half dropped, their destructors on a stack that does not go on.
    ///
    /// One that a sibling has aborted may be half dropped, its destructor waiting on the sibling's stack: it goes when the sibling does.
    pub(super) fn end_those_that_can(&self) -> bool {
        self.is_cancelled.set(true);
        let mut has_ended_any = false;
        let mut younger = u64::MAX;
        loop {
            let next =
                self.living.borrow().range(..younger).next_back().map(|(number, child)| (*number, *child));
            let Some((number, child)) = next else {
                if !has_ended_any || !self.are_left() {
                    return !self.are_left();
                }
                (has_ended_any, younger) = (false, u64::MAX);
                continue;
            };
            if let Some(tasks) = self.tasks() {
                tasks.abort(child);
            }
            has_ended_any |= !self.living.borrow().contains_key(&number);
            younger = number;
        }
    }

    /// The first panic is kept for the scope; it ends the siblings.
    fn panicked(&self, panic: Box<dyn Any + Send>) {
        self.cancel();
        match self.panic.take() {
            None => self.panic.set(Some(panic)),
            first => {
                self.panic.set(first);
                report_panic("another child of a fiber::scope panicked after the first", panic);
            }
        }
    }
}

/// That a fiber is one of a scope's children. Dropped when nothing of the child is left.
pub(super) struct Membership {
    children: Rc<Children>,
    number: u64,
    end: Rc<End>,
}

impl Membership {
    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        self.children.is_cancelled.get()
    }

    /// The child's stack is given up.
    pub(super) fn lose(&self) {
        self.children.is_lost.set(true);
    }

    /// While the child runs its parents cannot be dropped.
    pub(super) fn hold(&self) -> Held {
        let mut held = Held { children: self.children.clone(), parents: 0 };
        let mut scope = Some(&self.children);
        while let Some(children) = scope {
            // A parent that is not idle is on the call stack or held, and then those above it are too.
            if !children.tasks().is_some_and(|tasks| tasks.hold(children.parent)) {
                break;
            }
            held.parents += 1;
            scope = children.outer.as_ref();
        }
        held
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.children.living.borrow_mut().remove(&self.number);
        self.end.has_come.set(true);
        if let Some(waiter) = self.end.waiter.take() {
            wake_quietly(waiter);
        }
        if !self.children.are_left() {
            if let Some(tasks) = self.children.tasks() {
                tasks.wake(self.children.parent);
            }
        }
    }
}

/// See [`Membership::hold`].
pub(super) struct Held {
    children: Rc<Children>,
    parents: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut scope = Some(&self.children);
        for _ in 0..self.parents {
            let Some(children) = scope else { return };
            if let Some(tasks) = children.tasks() {
                tasks.let_go(children.parent);
            }
            scope = children.outer.as_ref();
        }
    }
}

/// Spawns fibers that may borrow; given to the body of [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    children: Rc<Children>,
    // Invariant in both, as in std: else a longer life could be claimed for what is borrowed.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a child. It may borrow what encloses the scope, and is waited for at the scope's end.
    ///
    /// On a scope that is cancelled, or whose fiber is ending, `f` is dropped and the handle has ended. If no stack can be had, the handle says so.
    ///
    /// # Panics
    /// Inside another event loop that the fiber turns.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let place = Location::caller();
        self.begin(&Builder::new(), f, place).unwrap_or_else(|error| {
            let value = Rc::new(Cell::new(Some(Err(JoinError::not_started(error)))));
            ScopedHandle { child: None, value, place, scope: PhantomData }
        })
    }

    fn begin<F, T>(
        &'scope self,
        builder: &Builder,
        f: F,
        place: &'static Location<'static>,
    ) -> io::Result<ScopedHandle<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let children = &self.children;
        let value = Rc::new(Cell::new(None));
        if children.is_cancelled.get() {
            return Ok(ScopedHandle { child: None, value, place, scope: PhantomData });
        }
        event_loop::with("fiber::Scope::spawn", |core| {
            assert!(
                children.tasks().is_some(),
                "fiber::Scope::spawn was called inside another event loop than the scope's: spawn before that loop is turned"
            );
            let stack = builder.stack(Stacks::of_loop(core.tasks.home()))?;
            let number = children.spawned.get();
            children.spawned.set(number + 1);
            let (family, given) = (children.clone(), value.clone());
            // If nobody has the handle any more the value is dropped with `given`, in here: what it may borrow is still there.
            let body = move || match catch_unwind(AssertUnwindSafe(f)) {
                Ok(value) => given.set(Some(Ok(value))),
                Err(forced) if forced.is::<ForcedUnwind>() => resume_unwind(forced),
                Err(panic) => {
                    let text = message_of(&*panic).to_owned();
                    given.set(Some(Err(JoinError::panicked(Box::new(text)))));
                    family.panicked(panic);
                }
            };
            let end = Rc::new(End::default());
            let membership = Membership { children: children.clone(), number, end: end.clone() };
            // SAFETY: the whole of a task, and as below.
            let child = unsafe { FiberTask::new(builder.cold(place, Some(membership)), body, Ok(stack)) };
            // SAFETY: what the body borrows lives until the scope's frame is left, which is when the child is gone (`Frame`), or is leaked with it; and the
            // task's output is `()`.
            let handle = unsafe { core.tasks.spawn_unchecked(child, builder.task(place)) };
            children.living.borrow_mut().insert(number, handle);
            core.tasks.detach(handle);
            Ok(ScopedHandle { child: Some((handle, end)), value, place, scope: PhantomData })
        })
    }

    /// Asks the children to end: calls of theirs that wait return [`Cancelled`](super::Cancelled), or unwind them, when it is their turn. The scope's
    /// body is not concerned.
    pub fn cancel(&self) {
        self.children.cancel();
    }

    /// True once it was cancelled, by [`cancel`](Self::cancel) or a panic.
    pub fn is_cancelled(&self) -> bool {
        self.children.is_cancelled.get()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("children", &self.children.living.borrow().len())
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}

impl Builder {
    /// Spawns a child of a scope, as [`Scope::spawn`] does, with this name and stack.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// As `Scope::spawn`.
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedHandle<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        scope.begin(&self, f, Location::caller())
    }
}
