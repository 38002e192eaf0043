//! The loop that this thread is running: how public functions and leaf futures find it.

use super::core::Core;
use crate::task::Enter;
use std::cell::Cell;
use std::io;

thread_local! {
    static CURRENT: Cell<*const Core> = const { Cell::new(std::ptr::null()) };
}

/// Makes a loop the current one until dropped; loops on one thread can take turns.
pub(crate) struct Entered<'a> {
    pub(super) tasks: Enter<'a>,
    before: *const Core,
}

impl<'a> Entered<'a> {
    pub(super) fn new(core: &'a Core) -> Entered<'a> {
        Entered { tasks: Enter::new(&core.tasks), before: CURRENT.replace(core) }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// The current loop, for the time of a call.
#[inline]
pub(crate) fn try_with<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    // SAFETY: `Entered` put the pointer there and takes it away before the core it borrows can end; the closure bounds the use.
    unsafe { CURRENT.get().as_ref() }.map(f)
}

/// The current loop.
///
/// # Panics
/// Outside a loop, saying which function needs one.
#[inline]
#[track_caller]
pub(crate) fn with<R>(what: &str, f: impl FnOnce(&Core) -> R) -> R {
    // SAFETY: as in `try_with`.
    match unsafe { CURRENT.get().as_ref() } {
        Some(core) => f(core),
        None => no_loop(what),
    }
}

/// True if a loop of this process is being turned on this thread. (One inherited through `fork` does not count.)
pub(super) fn is_running() -> bool {
    try_with(|core| !core.tasks.cell.is_inherited()).unwrap_or(false)
}

#[cold]
#[track_caller]
fn no_loop(what: &str) -> ! {
    let from_elsewhere = match what {
        "LoopHandle::current" => "send the handle to where it is used (it is Copy and Send)",
        "squall::stop" => "use LoopHandle::stop from another thread",
        _ if what.starts_with("callback::") => "use LoopHandle::call_soon from another thread",
        _ => "use LoopHandle::spawn from another thread",
    };
    panic!(
        "{what} was called outside an event loop: call it inside squall::run(async {{ … }}), or {from_elsewhere}"
    );
}

/// Which loop something belongs to: a registry cell and a lease of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) cell: u32,
    pub(crate) lease: u64,
}

pub(super) const INHERITED: &str = "this event loop belongs to the parent process: after fork the child must call squall::run anew (or exec, or exit)";

#[cold]
#[inline(never)]
fn inherited() -> io::Result<()> {
    Err(io::Error::other(INHERITED))
}

impl Core {
    /// Before a socket is used: in a child process its driver, and the rings that it shares with the kernel, are the parent's.
    #[inline]
    pub(crate) fn refuse_inherited(&self) -> io::Result<()> {
        if self.tasks.cell.is_inherited() { inherited() } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn home(&self) -> Home {
        Home { cell: self.tasks.home(), lease: self.tasks.lease }
    }
}

/// How a socket of each type goes from one loop to another.
const MOVE: &str = "move it with detach() there and attach() here (a listener with into_std() and from_std(), a source with into_inner() and Source::new())";

impl Home {
    /// Runs `f` if this is the current loop, else says what to do.
    #[inline]
    pub(crate) fn with<R>(self, what: &str, f: impl FnOnce(&Core) -> io::Result<R>) -> io::Result<R> {
        match self.try_with(f) {
            Some(answer) => answer,
            None => Err(self.elsewhere(what)),
        }
    }

    /// Runs `f` if this is the current loop.
    #[inline]
    pub(crate) fn try_with<R>(self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        // SAFETY: as in the free `try_with`.
        let core = unsafe { CURRENT.get().as_ref() }?;
        if core.home() == self { Some(f(core)) } else { None }
    }

    /// True if the loop has ended.
    pub(crate) fn has_ended(self) -> bool {
        crate::task::cell_of(self.cell).is_none_or(|cell| cell.current_lease() != self.lease)
    }

    #[cold]
    fn elsewhere(self, what: &str) -> io::Error {
        io::Error::other(if self.has_ended() {
            format!("{what}: the event loop it belongs to has ended; before that, {MOVE}")
        } else {
            format!("{what}: it belongs to another event loop; {MOVE}")
        })
    }

    /// Leaves word for the loop, from anywhere. Gives the message back if the loop has ended.
    pub(crate) fn send(self, message: crate::task::Message) -> Result<(), crate::task::Message> {
        let Some(cell) = crate::task::cell_of(self.cell).filter(|cell| cell.is_leased_here(self.lease))
        else {
            return Err(message);
        };
        let envelope = crate::task::Envelope { lease: self.lease, message };
        cell.messages.push(envelope).map_err(|envelope| envelope.message)?;
        cell.notify_if_asleep();
        Ok(())
    }
}
