//! The future that polls a scope's body and children: the only place where they are polled and, with its drop, dropped.

use super::family::{Shared, State};
use super::mode::Mode;
use crate::task::{ForcedUnwind, Member, WaitingOn, drop_quietly, note_waiting, report_panic};
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;

/// # Invariant
/// `body` is pinned structurally: it is polled and dropped in place and never moved once this is pinned. Unpin only if the body is.
pub(super) struct Run<M: Mode, B: Future> {
    shared: Rc<Shared<M>>,
    pub(super) body: Option<B>,
    output: Option<B::Output>,
    /// Taken along from poll to poll for its memory.
    ready: Vec<NonNull<Member>>,
}

impl<M: Mode, B: Future> Run<M, B> {
    pub(super) fn new(shared: Rc<Shared<M>>) -> Run<M, B> {
        Run { shared, body: None, output: None, ready: Vec::new() }
    }

    /// # Safety
    /// The invariant: `self` is pinned, or is being dropped.
    unsafe fn drop_body(&mut self) -> Option<Box<dyn Any + Send>> {
        // SAFETY: by the contract; `set` drops in place.
        let mut body = unsafe { Pin::new_unchecked(&mut self.body) };
        catch_unwind(AssertUnwindSafe(|| body.set(None))).err()
    }

    /// # Safety
    /// The invariant: `self` is pinned.
    unsafe fn poll_body(&mut self, cx: &mut Context<'_>) {
        let family = &self.shared.family;
        // SAFETY: by the contract.
        let Some(body) = (unsafe { Pin::new_unchecked(&mut self.body) }).as_pin_mut() else { return };
        let polled = catch_unwind(AssertUnwindSafe(|| match family.body_handle() {
            Some(handle) => family.tasks().poll_member(handle, |cx| body.poll(cx)),
            None => body.poll(cx),
        }));
        let panic = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(output)) => {
                self.output = Some(output);
                None
            }
            Err(panic) => Some(panic),
        };
        // SAFETY: by the contract; the poll is over.
        let second = unsafe { self.drop_body() };
        let family = &self.shared.family;
        for panic in panic.into_iter().chain(second) {
            family.panicked(panic);
        }
        if family.is_open() && family.has_children() {
            self.note_end_of_body();
        }
    }

    /// In the tree the scope waits for its children now.
    fn note_end_of_body(&self) {
        let family = &self.shared.family;
        if let Some(handle) = family.body_handle() {
            family.tasks().poll_member(handle, |_| note_waiting(WaitingOn::Scope, family.opened_at));
        }
    }
}

impl<M: Mode, B: Future> Future for Run<M, B> {
    /// What the body gave, unless it was cancelled.
    type Output = Option<B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the body is not moved out of `this`.
        let this = unsafe { self.get_unchecked_mut() };
        let shared = this.shared.clone();
        let family = &shared.family;
        // Says so if this is another loop than before.
        let tasks = family.tasks();
        family.group.set_waker(cx.waker());
        let polling = family.begin_poll();
        // SAFETY: this is the scope's poll, and nothing was taken out of the group's list yet.
        unsafe { family.attend(cx) };
        let mut ready = std::mem::take(&mut this.ready);
        family.group.take_ready(&mut ready);
        if family.body_handle().is_none() {
            // SAFETY: pinned.
            unsafe { this.poll_body(cx) };
        }
        for member in ready.drain(..) {
            if !family.is_open() {
                break;
            }
            if !family.is_body(member) {
                // SAFETY: it was marked, so it was in the scope's list then, and children leave that when they are polled, or in `drop_those_present`, which is not called in this loop.
                unsafe { family.poll_child(tasks, member) };
            } else if family.take_body_mark() {
                // SAFETY: pinned.
                unsafe { this.poll_body(cx) };
            }
        }
        this.ready = ready;
        while family.take_unattended() {
            // SAFETY: this is the scope's poll, and `ready` is empty.
            unsafe { family.attend(cx) };
        }
        if family.state() == State::Cancelling {
            // SAFETY: this is the scope's poll, and `ready` is empty.
            unsafe { family.drop_those_present() };
            if this.body.is_some() {
                family.cut();
                // SAFETY: pinned, and its poll is over.
                if let Some(panic) = unsafe { this.drop_body() } {
                    family.panicked(panic);
                }
            }
        }
        drop(polling);
        if this.body.is_none() && !family.has_children() {
            family.close();
            return Poll::Ready(this.output.take());
        }
        note_waiting(WaitingOn::Scope, family.opened_at);
        Poll::Pending
    }
}

/// Dropped before its end: the children go first, the youngest before the older ones, then the body.
impl<M: Mode, B: Future> Drop for Run<M, B> {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        let family = &shared.family;
        if family.state() == State::Closed {
            return;
        }
        family.begin_cancelling();
        // A destructor, of a child or of a task that is aborted, may be where the fiber that this runs on is unwound. That does not spare the others: what is behind a slot must not
        // outlive the group. Each round drops one at least.
        let mut forced = None;
        // SAFETY: this is the scope's drop; what `ready` may hold (of a poll that was unwound) is not looked at any more.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| unsafe { family.drop_those_present() })) {
            forced.get_or_insert(panic);
        }
        // SAFETY: it is being dropped.
        let of_body = unsafe { self.drop_body() };
        let of_output = self.output.take().and_then(drop_quietly);
        family.close();
        // What is left of the scope's state may outlive what its errors borrow.
        let of_failures = catch_unwind(AssertUnwindSafe(|| M::clear(&shared.failures))).err();
        let panics = [forced, family.take_panic(), of_body, of_output, of_failures];
        let mut panics = panics.into_iter().flatten();
        let Some(first) = panics.next() else { return };
        for panic in panics {
            if !panic.is::<ForcedUnwind>() {
                report_panic("a destructor panicked when a scope was dropped", panic);
            }
        }
        if thread::panicking() {
            if !first.is::<ForcedUnwind>() {
                report_panic("a destructor panicked when a scope was dropped", first);
            }
        } else {
            resume_unwind(first);
        }
    }
}
