//! Sleeps, timeouts and intervals, and the time they are measured in.
//!
//! All of it follows the loop's clock, which is real or virtual ([`Builder::virtual_time`](crate::Builder::virtual_time)): a
//! program that takes its time from here runs unchanged in a test where an hour takes no time. A deadline is
//! exact to the nanosecond, so a sleep is late by what the kernel needs to wake the thread and by what other tasks
//! do meanwhile, and never early.
//!
//! ```
//! use squall::time::{Instant, interval, sleep, timeout};
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! squall::Builder::new().virtual_time().run(async {
//!     let start = Instant::now();
//!     sleep(Duration::from_millis(250)).await;
//!     assert_eq!(start.elapsed(), Duration::from_millis(250));
//!
//!     let never = std::future::pending::<()>();
//!     let error = timeout(Duration::from_secs(2), never).await.unwrap_err();
//!     assert_eq!(error.to_string(), "timed out after 2s");
//!
//!     let mut ticks = interval(Duration::from_secs(60));
//!     for _ in 0..3 {
//!         ticks.tick().await;
//!     }
//! })
//! # }
//! ```

mod instant;
mod interval;
mod sleep;
mod timeout;

pub use instant::Instant;
pub use interval::{Interval, MissedTicks, Tick, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

#[cfg(test)]
mod tests;
