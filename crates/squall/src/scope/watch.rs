//! What may end a scope from outside: its deadline, a grace period, tokens, signals. Looked at in each poll of the scope, which they wake.

use super::error::{Cause, Reason};
use super::family::Family;
use super::token::Tie;
use crate::signal::Signal;
use crate::task::{Handle, drop_foreign, waker_of};
use crate::time::{Instant, Sleep, sleep_until};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A moment, and where it was set.
type Timer = Option<(Sleep, &'static Location<'static>)>;

#[derive(Default)]
pub(super) struct Watch {
    /// When the scope is cancelled.
    pub(super) deadline: Timer,
    /// When those are dropped that have not stopped.
    pub(super) grace: Timer,
    pub(super) tokens: Vec<Tie>,
    pub(super) signals: Option<Signals>,
}

/// The signals that stop a scope.
pub(super) struct Signals {
    pub(super) listeners: Vec<Signal>,
    pub(super) grace: Duration,
    pub(super) at: &'static Location<'static>,
    /// One has come: the next ends the grace period.
    pub(super) has_come: bool,
}

impl Watch {
    fn is_empty(&self) -> bool {
        self.deadline.is_none() && self.grace.is_none() && self.tokens.is_empty() && self.signals.is_none()
    }
}

impl Family {
    /// The waker that polls the scope: the body's number, or on a loop that is ending whoever polls it now.
    fn waker(&self, cx: &Context<'_>) -> Waker {
        match self.body_handle() {
            Some(handle) => own_waker(handle),
            None => cx.waker().clone(),
        }
    }

    /// Looks at all that may end the scope.
    ///
    /// # Safety
    /// This is the scope's poll, and nothing holds members that were marked before.
    pub(super) unsafe fn attend(&self, cx: &mut Context<'_>) {
        if self.watch.borrow().is_empty() || !self.is_open() {
            return;
        }
        let waker = self.waker(cx);
        let cx = &mut Context::from_waker(&waker);
        self.look_at_tokens();
        // SAFETY: by the contract.
        unsafe { self.look_at_signals(cx) };
        if let Some(at) = self.poll_sleep(cx, |watch| &mut watch.deadline) {
            self.cancel(Cause { reason: Reason::Deadline(at.0), at: at.1 });
        }
        if let Some((_, at)) = self.poll_sleep(cx, |watch| &mut watch.grace) {
            // SAFETY: by the contract.
            unsafe { self.end_grace(at) };
        }
        drop_foreign(Some(waker));
    }

    /// The sleep's moment and place, once it has come.
    fn poll_sleep(
        &self,
        cx: &mut Context<'_>,
        which: fn(&mut Watch) -> &mut Timer,
    ) -> Option<(Instant, &'static Location<'static>)> {
        // Taken out: a sleep that is polled for a foreign waker runs foreign code.
        let (mut sleep, at) = which(&mut self.watch.borrow_mut()).take()?;
        match std::future::Future::poll(Pin::new(&mut sleep), cx) {
            Poll::Ready(()) => Some((sleep.deadline(), at)),
            Poll::Pending => {
                let replaced = which(&mut self.watch.borrow_mut()).replace((sleep, at));
                drop(replaced);
                None
            }
        }
    }

    fn look_at_tokens(&self) {
        let cause = self.watch.borrow().tokens.iter().find_map(Tie::cause);
        if let Some((words, at)) = cause {
            self.cancel(Cause { reason: Reason::Token(words), at });
        }
    }

    /// # Safety
    /// As `attend`.
    unsafe fn look_at_signals(&self, cx: &mut Context<'_>) {
        let Some(mut signals) = self.watch.borrow_mut().signals.take() else { return };
        let mut came = 0;
        for listener in &mut signals.listeners {
            while listener.poll_recv(cx).is_ready() {
                came += 1;
            }
        }
        let (grace, at) = (signals.grace, signals.at);
        let is_first = came > 0 && !signals.has_come;
        let is_again = came > 1 || came > 0 && signals.has_come;
        signals.has_come |= came > 0;
        self.watch.borrow_mut().signals = Some(signals);
        if is_first {
            self.stop(grace, at);
        }
        if is_again {
            let over = self.watch.borrow_mut().grace.take();
            drop(over);
            // SAFETY: by the contract.
            unsafe { self.end_grace(at) };
        }
    }

    /// Asks those in the scope to stop, and gives them so long. Of two grace periods the shorter counts.
    pub(super) fn stop(&self, grace: Duration, at: &'static Location<'static>) {
        self.bring_forward(|watch| &mut watch.grace, Instant::now() + grace, at);
        self.surroundings.stop();
    }

    /// Sets one of the timers, unless it is set to a moment as near.
    pub(super) fn bring_forward(
        &self,
        which: fn(&mut Watch) -> &mut Timer,
        moment: Instant,
        at: &'static Location<'static>,
    ) {
        let is_nearer =
            which(&mut self.watch.borrow_mut()).as_ref().is_none_or(|(sleep, _)| moment < sleep.deadline());
        if is_nearer {
            let mut before = None;
            self.watch(|watch| before = which(watch).replace((sleep_until(moment), at)));
            drop(before);
        }
    }

    /// # Safety
    /// As `attend`.
    unsafe fn end_grace(&self, at: &'static Location<'static>) {
        if self.spares_body {
            // SAFETY: by the contract.
            unsafe { self.drop_those_present() };
        } else {
            self.cancel(Cause { reason: Reason::GraceOver, at });
        }
    }
}

pub(super) fn own_waker(handle: Handle) -> Waker {
    std::mem::ManuallyDrop::into_inner(waker_of(handle))
}
