//! The line that a person at a terminal sees: rewritten each second, and gone in the end.
//!
//! It is written by a thread: a terminal that was stopped (Ctrl-S) blocks whoever writes to it, and that must not be the event loop.

use super::counts::Counts;
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

const EACH: Duration = Duration::from_secs(1);

pub(super) async fn show(counts: Rc<Counts>) {
    let (lines, to_write) = mpsc::sync_channel::<String>(1);
    let writer = std::thread::Builder::new().name("status".into()).spawn(move || {
        for line in to_write {
            _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    });
    if writer.is_err() {
        return;
    }
    let mut before = counts.messages();
    let mut ticks = squall::time::interval(EACH);
    loop {
        ticks.tick().await;
        let now = counts.messages();
        // Full means that the last line is not written yet: this one is skipped.
        _ = lines.try_send(format!("{} open connections, {} messages/s", counts.open.inside(), now - before));
        before = now;
    }
}

pub(super) fn clear() {
    _ = write!(std::io::stderr(), "\r\x1b[K");
}
