//! The third Ctrl-C or SIGTERM does not ask: the first stops the server and the second ends its grace period, both through the loop; this ends a process whose loop
//! is stuck.
//!
//! Signals arrive on a thread of their own, so a loop that is busy cannot keep one from being seen.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::thread;

/// From now on the third signal ends the process at once.
pub(crate) fn end_on_the_third() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().nth(2) {
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
