//! The event loop: its turn, its life, and how programs and other threads reach it. Level 3.
//!
//! Read `turn.rs` first.

mod builder;
mod catch;
mod choice;
mod core;
mod current;
mod exit;
mod life;
mod loop_handle;
mod quantum;
mod spawn;
mod spin;
mod stopping;
mod test_harness;
mod turn;
mod yield_now;

pub use builder::Builder;
pub use catch::{CatchUnwind, Panicked, catch_unwind};
pub use choice::DriverChoice;
pub(crate) use core::Core;
pub(crate) use current::{Home, try_with, with};
pub use life::{EventLoop, driver, io_totals, run, run_forever, stop};
pub use loop_handle::{LoopHandle, RemoteHandle};
pub use quantum::MOST_POLLS_BETWEEN_LOOKS;
pub use spawn::{spawn, spawn_named};
pub use stopping::{Stopping, stopping};
pub use test_harness::test;
pub use yield_now::{YieldNow, yield_now};
