//! What an echo server has done: for the last line it prints, and for the status line meanwhile.

use crate::gauge::Gauge;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) open: Rc<Gauge>,
    connections: Cell<u64>,
    messages: Cell<u64>,
    bytes: Cell<u64>,
    errors: Cell<u64>,
    cut_off: Cell<u64>,
}

impl Counts {
    pub(super) fn add_connection(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(super) fn add_message(&self, bytes: usize) {
        self.messages.set(self.messages.get() + 1);
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    pub(super) fn add_error(&self) {
        self.errors.set(self.errors.get() + 1);
    }

    /// A connection ended because the server did.
    pub(super) fn add_cut_off(&self) {
        self.cut_off.set(self.cut_off.get() + 1);
    }

    pub(super) fn cut_off(&self) -> u64 {
        self.cut_off.get()
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages.get()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, messages) = (self.connections.get(), self.messages.get());
        write!(
            f,
            "connections: {connections} messages: {messages} bytes: {} errors: {}",
            self.bytes.get(),
            self.errors.get()
        )
    }
}
