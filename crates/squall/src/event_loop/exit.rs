//! The end of the process by `exit`, in the midst of a turn: what was written is pushed out first.
//!
//! A driver that gathers the writes of a turn has bytes that programs believe to be sent. Nothing is waited for: what finds no room is lost, as a peer that
//! does not read would keep the process from ending.

use super::current::try_with;
use std::sync::Once;

/// From now on the loop of the thread that calls `exit` pushes out what it holds.
pub(super) fn push_out_at_exit() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the function is never unloaded before the process ends, and does not unwind. (There is always room for 32 of them.)
        unsafe { libc::atexit(at_exit) };
    });
}

extern "C" fn at_exit() {
    try_with(|core| {
        if core.tasks.cell.is_inherited() {
            return;
        }
        if let Ok(mut driver) = core.driver.try_borrow_mut() {
            driver.push_out();
        }
    });
}
