//! What other threads ask of a loop, beyond a wake.

use super::handle::Handle;
use crate::driver::{Direction, OpId, SocketKey};
use crate::timer::TimerKey;
use std::os::fd::OwnedFd;
use std::panic::Location;

pub(crate) enum Message {
    /// Runs on the loop's thread, as part of taking the inbox; it spawns.
    Spawn(Box<dyn FnOnce() + Send>),
    /// A closure to call in its turn, and where that was asked for.
    Call(Box<dyn FnOnce() + Send>, &'static Location<'static>),
    /// A callback of `call_soon` cancelled elsewhere.
    CancelCall(u64),
    /// A socket dropped elsewhere.
    Close(SocketKey, OwnedFd),
    /// A source dropped elsewhere: its descriptor is closed already.
    Forget(SocketKey),
    /// A socket operation dropped elsewhere.
    Finish(SocketKey, Direction, OpId),
    /// A sleep dropped elsewhere.
    CancelTimer(TimerKey),
    /// `JoinHandle::abort` elsewhere.
    Abort(Handle),
    /// A `JoinHandle` dropped elsewhere.
    Detach(Handle),
    /// A member of a scope that was dropped while its loop did not run.
    FreeMember(Handle),
    Stop,
}

/// A message and the lease it is for: one that arrives after that lease is dropped unread.
pub(crate) struct Envelope {
    pub(crate) lease: u64,
    pub(crate) message: Message,
}
