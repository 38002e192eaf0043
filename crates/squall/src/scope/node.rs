//! A child's one allocation: what its scope, its handle and the loop know of it, then its future, later its value.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────┬──────────────────────┐
//! │ head: member (slot), vtable, links, status, joiner, place        │ future, later value  │
//! └──────────────────────────────────────────────────────────────────┴──────────────────────┘
//!
//!   WAITING ◀─poll─▶ RUNNING ─ready─▶ DROPPING (the future) ─▶ DONE (the value is here) ─the handle takes it─▶ GONE
//!      └──────── dropped by its scope ──▶ DROPPING ──────────────────────────────────────────────────────────▶ GONE
//! ```
//!
//! It has two owners, the scope until the child has ended and the handle until that is dropped, and is freed by the second to let go. An `Rc<dyn …>` and a slab of
//! them were measured: they cost a scope's child more than all the rest.

use super::family::Shared;
use super::mode::{Mode, Outcome, ValueOf};
use crate::task::{Member, drop_foreign, drop_quietly, report_panic, wake, wake_quietly};
use std::alloc::{Layout, dealloc};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::mem::{ManuallyDrop, needs_drop, offset_of};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::{NonNull, null};
use std::task::{Context, Poll, Waker};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Waiting,
    Running,
    Dropping,
    Done,
    Gone,
}

/// A pointer to a child.
pub(super) type Child = NonNull<Head>;

/// What is known of a child without its types.
///
/// # Invariant
/// It is the first field of a live [`Node`] that `vtable` was made for; a pointer to it has the provenance of the whole node. `has_scope` and `has_handle` say who owns
/// the node: it is freed by [`let_go`](Head::let_go) of the last.
///
/// `Node::stage` is touched only by a method that has found `status` to say what is in it, and has moved `status` on before it runs user code: so by one at a time, whatever that code
/// does. It holds the future while WAITING, RUNNING and DROPPING, and never moves it. It holds the value while DONE.
///
/// A future is polled and dropped by its scope only, in the scope's poll or drop: what it borrows, and `shared`, live at least until then. A forgotten scope never does either, and owns
/// the node for ever.
#[repr(C)]
pub(super) struct Head {
    pub(super) member: Member,
    vtable: &'static VTable,
    /// Its neighbours in the scope's list, which alone touches them.
    pub(super) older: Cell<*const Head>,
    pub(super) younger: Cell<*const Head>,
    /// Counted per scope.
    pub(super) number: u64,
    joiner: Cell<Option<Waker>>,
    pub(super) spawned_at: &'static Location<'static>,
    status: Cell<Status>,
    pub(super) is_aborted: Cell<bool>,
    has_scope: Cell<bool>,
    has_handle: Cell<bool>,
}

struct VTable {
    poll: unsafe fn(Child, &mut Context<'_>) -> Poll<()>,
    drop_future: unsafe fn(Child) -> Option<Box<dyn Any + Send>>,
    drop_value: Option<unsafe fn(*mut ())>,
    /// Where the value lies, and what the allocation is.
    stage: usize,
    layout: Layout,
}

#[repr(C)]
struct Node<F: Future, M: Mode>
where
    F::Output: Outcome<M>,
{
    head: Head,
    shared: *const Shared<M>,
    stage: UnsafeCell<Stage<F, ValueOf<F, M>>>,
}

union Stage<F, V> {
    future: ManuallyDrop<F>,
    value: ManuallyDrop<V>,
}

/// Makes a child, owned by its scope and by a handle.
///
/// # Safety
/// `shared` is valid for as long as the child may be polled: the invariant of [`Head`].
pub(super) unsafe fn make<F: Future, M: Mode>(
    member: Member,
    number: u64,
    future: F,
    shared: *const Shared<M>,
    spawned_at: &'static Location<'static>,
) -> Child
where
    F::Output: Outcome<M>,
{
    let vtable = const {
        &VTable {
            poll: poll::<F, M>,
            drop_future: drop_future::<F, M>,
            drop_value: if needs_drop::<ValueOf<F, M>>() { Some(drop_value::<ValueOf<F, M>>) } else { None },
            stage: offset_of!(Node<F, M>, stage),
            layout: Layout::new::<Node<F, M>>(),
        }
    };
    let head = Head {
        member,
        vtable,
        older: Cell::new(null()),
        younger: Cell::new(null()),
        number,
        joiner: Cell::new(None),
        spawned_at,
        status: Cell::new(Status::Waiting),
        is_aborted: Cell::new(false),
        has_scope: Cell::new(true),
        has_handle: Cell::new(true),
    };
    let stage = UnsafeCell::new(Stage { future: ManuallyDrop::new(future) });
    let node = Box::new(Node { head, shared, stage });
    // SAFETY: a box is never null.
    unsafe { NonNull::new_unchecked(Box::into_raw(node)).cast() }
}

impl Head {
    pub(super) fn status(&self) -> Status {
        self.status.get()
    }

    /// Has the child dropped, in the next poll of its scope.
    pub(super) fn abort(&self) {
        self.is_aborted.set(true);
        if let Some(handle) = self.member.handle() {
            wake(handle);
        }
    }

    /// Whoever awaits the child; one that awaited before is forgotten.
    pub(super) fn set_joiner(&self, waker: &Waker) {
        let waker = waker.clone();
        drop_foreign(self.joiner.replace(Some(waker)));
    }

    #[inline]
    fn wake_joiner(&self) {
        if let Some(joiner) = self.joiner.take() {
            wake_quietly(joiner);
        }
    }

    /// Polls the future. Ready when it has ended and what it gave is settled. Panics of the future and of its destructor come out.
    ///
    /// # Safety
    /// The child is live, and this is its scope's poll.
    #[inline]
    pub(super) unsafe fn poll(child: Child, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the invariant: it is this node's vtable.
        unsafe { (child.as_ref().vtable.poll)(child, cx) }
    }

    /// Drops the future, if it is here; gives its destructor's panic.
    ///
    /// # Safety
    /// The child is live, and this is its scope's poll or drop.
    pub(super) unsafe fn drop_future(child: Child) -> Option<Box<dyn Any + Send>> {
        // SAFETY: as in `poll`.
        unsafe { (child.as_ref().vtable.drop_future)(child) }
    }

    /// Takes the value, if it is here.
    ///
    /// # Safety
    /// The child is live, and `V` is what its future gives its handle.
    #[inline]
    pub(super) unsafe fn take<V>(child: Child) -> Option<V> {
        // SAFETY: it is live.
        let head = unsafe { child.as_ref() };
        if head.status.get() != Status::Done {
            return None;
        }
        head.status.set(Status::Gone);
        // SAFETY: DONE: the value lies there, and it is a `V`; nobody else takes it any more.
        Some(unsafe { child.as_ptr().byte_add(head.vtable.stage).cast::<V>().read() })
    }

    /// The scope lets go: the child has ended. Gives the panic of a value's destructor.
    ///
    /// # Safety
    /// The scope owned it, and does not any more.
    #[inline]
    pub(super) unsafe fn leave_scope(child: Child) -> Option<Box<dyn Any + Send>> {
        // SAFETY: by the contract.
        unsafe { Head::leave(child, |head| &head.has_scope, |head| &head.has_handle) }
    }

    /// The handle lets go.
    ///
    /// # Safety
    /// The handle owned it, and does not any more.
    #[inline]
    pub(super) unsafe fn leave_handle(child: Child) -> Option<Box<dyn Any + Send>> {
        // SAFETY: by the contract.
        unsafe { Head::leave(child, |head| &head.has_handle, |head| &head.has_scope) }
    }

    /// One owner lets go; frees the child if the other has.
    ///
    /// # Safety
    /// That one owned it, and does not any more.
    #[inline]
    unsafe fn leave(
        child: Child,
        owner: fn(&Head) -> &Cell<bool>,
        other: fn(&Head) -> &Cell<bool>,
    ) -> Option<Box<dyn Any + Send>> {
        // SAFETY: it is live.
        let head = unsafe { child.as_ref() };
        owner(head).set(false);
        if other(head).get() {
            return None;
        }
        // SAFETY: nobody owns it any more.
        unsafe { Head::let_go(child) }
    }

    /// # Safety
    /// Neither the scope nor a handle owns it: it has ended.
    #[inline]
    unsafe fn let_go(child: Child) -> Option<Box<dyn Any + Send>> {
        // SAFETY: it is live.
        let head = unsafe { child.as_ref() };
        let vtable = head.vtable;
        let mut panic = None;
        if let (Status::Done, Some(drop_value)) = (head.status.get(), vtable.drop_value) {
            head.status.set(Status::Gone);
            // SAFETY: DONE: the value lies there, and nobody takes it any more.
            let dropping = || unsafe { drop_value(child.as_ptr().byte_add(vtable.stage).cast()) };
            panic = catch_unwind(AssertUnwindSafe(dropping)).err();
        }
        drop_foreign(head.joiner.take());
        // SAFETY: made by `Box` with this layout; the stage is empty, and nothing else in it needs a drop.
        unsafe { dealloc(child.as_ptr().cast(), vtable.layout) };
        panic
    }
}

/// # Safety
/// `child` is the head of a live `Node<F, M>`.
unsafe fn node<F: Future, M: Mode>(child: Child) -> *const Node<F, M>
where
    F::Output: Outcome<M>,
{
    child.as_ptr().cast_const().cast()
}

unsafe fn drop_value<V>(value: *mut ()) {
    // SAFETY: the caller says that there is a `V`.
    unsafe { value.cast::<V>().drop_in_place() }
}

unsafe fn poll<F: Future, M: Mode>(child: Child, cx: &mut Context<'_>) -> Poll<()>
where
    F::Output: Outcome<M>,
{
    /// A poll that panics leaves the future where it was.
    struct Back<'a>(&'a Cell<Status>);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            self.0.set(Status::Waiting);
        }
    }
    // SAFETY: the vtable is this node's, and it is live.
    let (node, head) = unsafe { (node::<F, M>(child), child.as_ref()) };
    assert!(head.status.replace(Status::Running) == Status::Waiting, "a child is polled while it waits");
    let polling = Back(&head.status);
    // SAFETY: the status was WAITING and is RUNNING now, so the future is here and nobody else refers to it; it is never moved.
    let future = unsafe { Pin::new_unchecked(&mut *(*(*node).stage.get()).future) };
    let polled = future.poll(cx);
    drop(polling);
    let Poll::Ready(output) = polled else { return Poll::Pending };
    // SAFETY: it is live, and the status is WAITING again.
    if let Some(panic) = unsafe { drop_in_place::<F, M>(child) } {
        if let Some(second) = drop_quietly(output) {
            report_panic("an output's destructor panicked after its future's had", second);
        }
        head.wake_joiner();
        resume_unwind(panic);
    }
    match output.settle() {
        Ok(value) => {
            // SAFETY: GONE, so the stage is empty, and nobody refers to it.
            unsafe { (*(*node).stage.get()).value = ManuallyDrop::new(value) };
            head.status.set(Status::Done);
        }
        // SAFETY: the scope polls, so its state is there: the invariant of `Head`.
        Err(failure) => unsafe { (*(*node).shared).fail(failure) },
    }
    head.wake_joiner();
    Poll::Ready(())
}

unsafe fn drop_future<F: Future, M: Mode>(child: Child) -> Option<Box<dyn Any + Send>>
where
    F::Output: Outcome<M>,
{
    // SAFETY: it is live.
    let head = unsafe { child.as_ref() };
    if head.status.get() != Status::Waiting {
        return None;
    }
    // SAFETY: live and WAITING.
    let panic = unsafe { drop_in_place::<F, M>(child) };
    head.wake_joiner();
    panic
}

/// # Safety
/// The child is live, WAITING, and a `Node<F, M>`.
#[inline]
unsafe fn drop_in_place<F: Future, M: Mode>(child: Child) -> Option<Box<dyn Any + Send>>
where
    F::Output: Outcome<M>,
{
    // SAFETY: by the contract.
    let (node, head) = unsafe { (node::<F, M>(child), child.as_ref()) };
    head.member.end();
    head.status.set(Status::Dropping);
    let mut panic = None;
    if const { needs_drop::<F>() } {
        // SAFETY: the future is here, and the status, which was WAITING, keeps others away from now on. It is dropped in place, once.
        let dropping = || unsafe { ManuallyDrop::drop(&mut (*(*node).stage.get()).future) };
        panic = catch_unwind(AssertUnwindSafe(dropping)).err();
    }
    head.status.set(Status::Gone);
    panic
}
