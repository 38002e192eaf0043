//! How far the load is: each second on a terminal, rewritten in place; a line now and then in a log.

use crate::load::Load;
use std::io::{IsTerminal, Write, stderr};
use std::rc::Rc;
use std::time::Duration;

pub(crate) async fn show(load: Rc<Load>) {
    let is_watched = stderr().is_terminal();
    let mut ticks = squall::time::interval(Duration::from_secs(if is_watched { 1 } else { 5 }));
    loop {
        ticks.tick().await;
        let (before, after) = if is_watched { ("\r\x1b[K", "") } else { ("", "\n") };
        let (connected, clients) = (load.connected.get(), load.options.clients);
        let (echoed, planned) = (load.echoed.get(), load.planned());
        _ = write!(stderr(), "{before}connected {connected}/{clients}, messages {echoed}/{planned}{after}");
    }
}

/// Leaves a terminal's line clean for what is printed next.
pub(crate) fn clear() {
    if stderr().is_terminal() {
        _ = write!(stderr(), "\r\x1b[K");
    }
}
