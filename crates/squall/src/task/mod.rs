//! Tasks: slots, wakers, the inbox, a task's one allocation, and what a task knows of itself. Level 2.
//!
//! Read `slot.rs` first: the ownership states and what may happen in each.

/// The atomics of `inbox.rs`; the loom tests include that file with loom's instead.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
}
mod ahead;
mod ambient;
mod callbacks;
mod calls;
mod closing;
mod context;
mod error;
mod foreign;
mod free_cells;
mod handle;
mod inbox;
mod info;
mod join;
mod joins;
mod members;
mod message;
mod raw;
mod ready;
mod registry;
mod slot;
mod table;
mod wait_list;
mod waits;
mod waker;

pub(crate) use ambient::{Ambient, Locals, NEVER, Surroundings, UnderTimeout};
pub use callbacks::CallbackPanics;
pub(crate) use context::{Enter, WaitingOn, current, note_waiting, note_waiting_for, poll_proceed};
pub(crate) use error::ForcedUnwind;
pub use error::JoinError;
#[cfg(feature = "fiber")]
pub(crate) use error::NotStarted;
pub(crate) use handle::Handle;
pub use info::TaskId;
pub(crate) use info::draw;
pub use join::JoinHandle;
pub(crate) use join::abort_anywhere;
pub(crate) use joins::Standing;
pub(crate) use members::{Group, Member};
pub(crate) use message::{Envelope, Message};
pub(crate) use raw::{drop_quietly, message_of, report_panic};
pub(crate) use registry::{PendingWork, cell_of};
#[cfg(feature = "fiber")]
pub(crate) use slot::Slot;
pub(crate) use table::{NewTask, Tasks, drop_foreign, wake_quietly};
pub(crate) use wait_list::*;
#[cfg(feature = "fiber")]
pub(crate) use waker::handle_of;
pub(crate) use waker::{wake, waker_of};
