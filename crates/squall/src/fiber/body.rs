//! A fiber as a future: each poll resumes its coroutine, which runs on its own stack until it waits or ends. So a fiber is a task like any other.
//!
//! ```text
//!   NEW ──first poll──▶ LIVE ◀──poll: resume; it waits: Pending──┐
//!    │                   │  └───────────────────────────────────┘
//!    │ dropped           ├─ it returns, or panics ─────────────────▶ ENDED, the stack goes back
//!    ▼                   ├─ dropped: resumed once more, cancelled ─▶ ENDED, the stack goes back
//!   ENDED                └─ will not end when cancelled ───────────▶ ENDED, the stack is given up: leaked, with all that is on it
//! ```
//!
//! Under `panic = "abort"` nothing can be unwound. There a fiber whose last call has no error to return is given up, silently.

use super::arena::Stack;
use super::current::{Cold, Fiber, PATIENCE, Switch, current};
use super::overflow;
use super::scope::Membership;
use crate::task::{self, ForcedUnwind, NotStarted, Tasks};
use corosensei::{Coroutine, CoroutineResult};
use std::any::Any;
use std::future::Future;
use std::io;
use std::marker::PhantomPinned;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

/// The future of a fiber's task.
///
/// # Invariant
/// It is polled as the whole of a task, so that the slot which runs is its own. What `F` borrows outlives it, and where `F` is not `'static`,
/// being forgotten leaks what `F` borrows too.
#[repr(C)]
pub(super) struct FiberTask<F, R> {
    fiber: Fiber,
    /// Nothing, when the fields are dropped.
    body: Body<F, R>,
    cold: Cold,
    _pin: PhantomPinned,
}

enum Body<F, R> {
    New { closure: F, stack: io::Result<Stack> },
    Live(Coroutine<(), (), R, Stack>),
    Ended,
}

impl<F: FnOnce() -> R, R> FiberTask<F, R> {
    /// # Safety
    /// The invariant of the type.
    pub(super) unsafe fn new(cold: Cold, closure: F, stack: io::Result<Stack>) -> FiberTask<F, R> {
        FiberTask { fiber: Fiber::new(&cold), body: Body::New { closure, stack }, cold, _pin: PhantomPinned }
    }

    #[cold]
    #[inline(never)]
    fn begin(&mut self) {
        let Body::New { closure, stack } = mem::replace(&mut self.body, Body::Ended) else { return };
        let stack = match stack {
            Ok(stack) => stack,
            Err(error) => {
                drop(closure);
                // The loop makes it the task's error.
                resume_unwind(Box::new(NotStarted(error)))
            }
        };
        overflow::watch();
        self.fiber.begin(&self.cold, stack.span());
        let first = move |yielder: &corosensei::Yielder<(), ()>, ()| {
            current().expect("a fiber is resumed through its task").has_begun(yielder);
            closure()
        };
        // SAFETY: what the closure borrows is valid until this is dropped, and for ever if it is forgotten: the invariant. The coroutine is dropped
        // here or leaked.
        self.body = Body::Live(unsafe { Coroutine::with_stack_unchecked(stack, first) });
    }
}

impl<F: FnOnce() -> R, R> Future for FiberTask<F, R> {
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // SAFETY: nothing is moved out of a pinned place: `fiber` stays where it is, and a coroutine's frames do not lie in it.
        let this = unsafe { self.get_unchecked_mut() };
        assert!(
            !thread::panicking(),
            "a fiber became ready on a loop that is turned while its thread unwinds: it cannot tell that panic from its own. Turn the loop before, or after"
        );
        if matches!(this.body, Body::New { .. }) {
            this.begin();
        }
        let Body::Live(coroutine) = &mut this.body else { panic!("a fiber was polled after it had ended") };
        if !this.fiber.has_relatives() {
            this.fiber.prepare(cx.waker());
            let switch = Switch::to(&this.fiber);
            let resumed = coroutine.resume(());
            drop(switch);
            return this.after(resumed);
        }
        this.poll_related(cx)
    }
}

impl<F, R> FiberTask<F, R> {
    /// One that has children, or is one.
    #[inline(never)]
    fn poll_related(&mut self, cx: &mut Context<'_>) -> Poll<R> {
        let Body::Live(coroutine) = &mut self.body else { unreachable!("asked before") };
        // Aborted while a child was on the call stack: nothing of it runs any more.
        if task::current().is_some_and(Tasks::is_aborted) {
            return Poll::Pending;
        }
        let held = self.cold.membership.as_ref().map(Membership::hold);
        self.fiber.prepare(cx.waker());
        let switch = Switch::to(&self.fiber);
        let resumed = coroutine.resume(());
        drop(switch);
        drop(held);
        self.after(resumed)
    }

    #[inline]
    fn after(&mut self, resumed: CoroutineResult<(), R>) -> Poll<R> {
        match resumed {
            CoroutineResult::Yield(()) if !self.fiber.is_given_up() => Poll::Pending,
            CoroutineResult::Yield(()) => {
                self.give_up();
                // It was cancelled; the loop makes that the task's error.
                resume_unwind(Box::new(ForcedUnwind(Arc::default())))
            }
            CoroutineResult::Return(output) => {
                self.body = Body::Ended;
                Poll::Ready(output)
            }
        }
    }

    /// Resumes a fiber that waits for the last time: its calls return `Cancelled` or unwind it. Gives the panic of a destructor.
    #[cold]
    #[inline(never)]
    fn cancel(&mut self) -> Option<Box<dyn Any + Send>> {
        let Body::Live(coroutine) = &mut self.body else { return None };
        self.fiber.prepare_to_end();
        let switch = Switch::to(&self.fiber);
        // It may have returned, and its output panic when it is dropped.
        let resumed = catch_unwind(AssertUnwindSafe(|| match coroutine.resume(()) {
            CoroutineResult::Return(output) => drop(output),
            CoroutineResult::Yield(()) => {}
        }));
        drop(switch);
        if !coroutine.done() {
            self.give_up();
        }
        resumed.err().filter(|panic| !panic.is::<ForcedUnwind>())
    }

    /// Leaves the stack to itself, for ever. Its children borrow from nothing that could go, but what *they* borrow may lie on stacks further up.
    #[cold]
    fn give_up(&mut self) {
        mem::forget(mem::replace(&mut self.body, Body::Ended));
        if let Some(membership) = &self.cold.membership {
            membership.lose();
        }
        let scopes = self.fiber.take_scopes();
        if scopes.iter().any(|scope| scope.is_lost.get()) {
            eprintln!(
                "squall: {} has lost a child of its fiber::scope, and what that borrowed may be half changed: its stack is given up too",
                self.fiber
            );
        } else if !cfg!(panic = "abort") {
            eprintln!(
                "squall: {} was cancelled and has caught the unwinding of its stack {PATIENCE} times: its stack is given up, and what is on it \
                 is never dropped. Where panics are caught in a loop, end the loop when fiber::is_cancelled()",
                self.fiber
            );
        }
        for scope in scopes.into_iter().rev() {
            // Those that are left were being dropped on this stack, or on one that was given up likewise: they are leaked with it and never run again.
            // None is on the call stack, else this fiber would be held.
            scope.end_those_that_can();
        }
    }
}

impl<F, R> Drop for FiberTask<F, R> {
    fn drop(&mut self) {
        // What is dropped here may abort whom it borrows from.
        let held = self.cold.membership.as_ref().map(Membership::hold);
        let has_ended = match &self.body {
            Body::Live(coroutine) => coroutine.done(),
            Body::New { .. } | Body::Ended => true,
        };
        let panic = if has_ended { None } else { self.cancel() };
        drop(mem::replace(&mut self.body, Body::Ended));
        drop(held);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}
