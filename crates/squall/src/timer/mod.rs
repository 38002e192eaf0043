//! Time and its waiting list: what the clock says, and who is to be woken when. Level 0: imports nothing of the crate.
//!
//! Everything here is a plain `u64` of nanoseconds in the loop's own clock, real or virtual. What programs see is
//! `squall::time`, built on top.

mod clock;
mod near;
mod wheel;

pub(crate) use clock::{Clock, real_from_std, real_to_std};
pub(crate) use wheel::{TimerKey, Wheel};
