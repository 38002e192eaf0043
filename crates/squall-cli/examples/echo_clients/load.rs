//! The whole of a load: what is to be done, what was done, and what went wrong.

use crate::gauge::Gauge;
use crate::{Options, client, hostile};
use squall::time::Instant;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Ten thousand clients fail for one reason more often than for ten thousand.
const TROUBLES_SHOWN: usize = 10;

pub(crate) struct Load {
    pub(crate) options: Options,
    /// Connection attempts under way.
    pub(crate) connecting: Rc<Gauge>,
    /// Clients that have not ended.
    active: Rc<Gauge>,
    pub(crate) connected: Cell<usize>,
    pub(crate) echoed: Cell<usize>,
    /// When the messages began.
    begun: Cell<Option<Instant>>,
    waiting_for_begin: RefCell<Vec<Waker>>,
    /// Conversations of hostile clients that came to their end.
    hostile: Cell<usize>,
    /// Conversations in which the server owed a hostile client something and did not give it.
    broken: Cell<usize>,
    troubles: RefCell<Vec<String>>,
    started: Instant,
}

impl Load {
    pub(crate) fn new(options: Options) -> Load {
        Load {
            options,
            connecting: Rc::default(),
            active: Rc::default(),
            connected: Cell::default(),
            echoed: Cell::default(),
            begun: Cell::default(),
            waiting_for_begin: RefCell::default(),
            hostile: Cell::default(),
            broken: Cell::default(),
            troubles: RefCell::default(),
            started: Instant::now(),
        }
    }

    /// Hostile clients first, then all others; messages begin when every connection stands (or has failed to).
    pub(crate) async fn carry_out(self: Rc<Self>) {
        let bound = self.options.connecting as usize;
        for number in 0..self.options.hostile {
            self.connecting.below(bound).await;
            squall::spawn(hostile::client(number, self.connecting.enter(), self.clone()));
        }
        for number in 0..self.options.clients {
            self.connecting.below(bound).await;
            let (connecting, active) = (self.connecting.enter(), self.active.enter());
            squall::spawn(client::client(number, connecting, active, self.clone()));
        }
        self.connecting.below(1).await;
        self.begun.set(Some(Instant::now()));
        self.waiting_for_begin.take().into_iter().for_each(Waker::wake);
        self.active.below(1).await;
    }

    /// Waits until every client is connected.
    pub(crate) async fn begin(&self) {
        poll_fn(|cx| {
            if self.begun.get().is_some() {
                return Poll::Ready(());
            }
            self.waiting_for_begin.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn planned(&self) -> usize {
        self.options.clients * self.options.messages
    }

    pub(crate) fn add_echoed(&self) {
        self.echoed.set(self.echoed.get() + 1);
    }

    pub(crate) fn add_connected(&self) {
        self.connected.set(self.connected.get() + 1);
    }

    pub(crate) fn add_hostile(&self) {
        self.hostile.set(self.hostile.get() + 1);
    }

    pub(crate) fn add_broken(&self) {
        self.broken.set(self.broken.get() + 1);
    }

    pub(crate) fn note(&self, trouble: fmt::Arguments<'_>) {
        let mut troubles = self.troubles.borrow_mut();
        if troubles.len() < TROUBLES_SHOWN {
            troubles.push(trouble.to_string());
        }
    }

    pub(crate) fn troubles(&self) -> Vec<String> {
        self.troubles.borrow().clone()
    }

    /// Clients that have not ended.
    pub(crate) fn active(&self) -> usize {
        self.active.inside()
    }

    fn lost(&self) -> usize {
        self.planned() - self.echoed.get()
    }

    /// Nothing lost, nothing owed, nothing odd: bytes too many are noted as trouble, though no message is missing.
    pub(crate) fn is_flawless(&self) -> bool {
        self.lost() == 0 && self.broken.get() == 0 && self.troubles.borrow().is_empty()
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (clients, messages) = (self.connected.get(), self.echoed.get());
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.begun.get().map_or(0.0, |begun| messages as f64 / begun.elapsed().as_secs_f64());
        write!(f, "clients: {clients} messages: {messages} lost: {}", self.lost())?;
        write!(f, " hostile: {} broken: {}", self.hostile.get(), self.broken.get())?;
        write!(f, " seconds: {seconds:.2} messages/s: {rate:.0}")
    }
}
