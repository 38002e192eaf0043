//! From the system's handlers to the listeners: counters, a pipe and a thread, once for the process.
//!
//! A handler may run in the middle of anything, an allocation or a held lock, on any thread. So it touches two atomics and writes one
//! byte, and everything else happens on the thread that reads.

use super::SignalKind;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// One more than the largest number of a signal here (Linux has 64 of them).
const SIGNALS: usize = 65;

/// How often each has come since the thread last looked.
static COME: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];

/// Where handlers write: never freed, so a handler that runs late finds a descriptor.
static PIPE: AtomicPtr<OwnedFd> = AtomicPtr::new(std::ptr::null_mut());

static HUB: Mutex<Hub> =
    Mutex::new(Hub { process: 0, listeners: Vec::new(), handled: [Handled::Not; SIGNALS] });

struct Hub {
    /// The process whose thread reads the pipe; after a fork it is the parent.
    process: u32,
    listeners: Vec<Arc<Listener>>,
    handled: [Handled; SIGNALS],
}

/// What was there before our handler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handled {
    Not,
    /// The system's default: to be done while nobody listens.
    OverDefault,
    /// Somebody's handler, which is called before ours, or nothing at all.
    OverOther,
}

/// One that wants to be told of a signal.
pub(super) struct Listener {
    kind: SignalKind,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    come: u32,
    waker: Option<Waker>,
}

impl Listener {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one that has come. Else leaves the waker, and gives the one that was there, for the caller to drop.
    pub(super) fn take_or_wait(&self, waker: Waker) -> Result<(), Option<Waker>> {
        let mut state = self.lock();
        match state.come.checked_sub(1) {
            Some(rest) => {
                state.come = rest;
                Ok(())
            }
            None => Err(state.waker.replace(waker)),
        }
    }

    /// Takes the waker back.
    pub(super) fn forget_waker(&self) -> Option<Waker> {
        self.lock().waker.take()
    }

    fn tell(&self, times: u32) {
        let waker = {
            let mut state = self.lock();
            state.come = state.come.saturating_add(times);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn hub() -> MutexGuard<'static, Hub> {
    HUB.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen.
pub(super) fn listen(kind: SignalKind) -> io::Result<Arc<Listener>> {
    let number = kind.as_raw();
    let known = usize::try_from(number).is_ok_and(|n| (1..SIGNALS).contains(&n));
    if !known || signal_hook_registry::FORBIDDEN.contains(&number) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{kind} cannot be listened to: no program can handle it, or it does not exist"),
        ));
    }
    let mut hub = hub();
    hub.start()?;
    hub.handle(number)?;
    let listener = Arc::new(Listener { kind, state: Mutex::default() });
    hub.listeners.push(listener.clone());
    Ok(listener)
}

/// Ends listening.
pub(super) fn leave(listener: &Arc<Listener>) {
    hub().listeners.retain(|known| !Arc::ptr_eq(known, listener));
}

impl Hub {
    /// Sees to it that this process has a pipe and a thread that reads it.
    fn start(&mut self) -> io::Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // A full pipe says enough; the reading end blocks.
        rustix::io::ioctl_fionbio(&writer, true)?;
        std::thread::Builder::new().name("squall-signals".into()).spawn(move || read(&reader))?;
        // What a parent has left here stays, for a handler may be about to write to it.
        PIPE.store(Box::into_raw(Box::new(writer)), Ordering::Release);
        self.process = std::process::id();
        // The parent's listeners, whose loops are not here.
        self.listeners.clear();
        Ok(())
    }

    /// Installs the handler, once in the life of a process and its children: handlers outlive a fork.
    fn handle(&mut self, number: libc::c_int) -> io::Result<()> {
        let handled = &mut self.handled[number as usize];
        if *handled != Handled::Not {
            return Ok(());
        }
        let before = if is_default(number)? { Handled::OverDefault } else { Handled::OverOther };
        // SAFETY: the action does what a handler may: atomics, and one write(2) (whose errno the registry keeps from the interrupted code).
        unsafe { signal_hook_registry::register(number, move || note(number as usize))? };
        *handled = before;
        Ok(())
    }
}

/// The handler.
fn note(number: usize) {
    COME[number].fetch_add(1, Ordering::Release);
    // SAFETY: null, or a box that is never freed.
    if let Some(pipe) = unsafe { PIPE.load(Ordering::Acquire).as_ref() } {
        let _ = rustix::io::write(pipe, &[0]);
    }
}

fn is_default(number: libc::c_int) -> io::Result<bool> {
    // SAFETY: the kernel fills what it is given, and nothing is changed.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        match libc::sigaction(number, std::ptr::null(), &raw mut before) {
            0 => Ok(before.sa_sigaction == libc::SIG_DFL),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The thread.
fn read(pipe: &OwnedFd) {
    let mut bytes = [0; 256];
    loop {
        match rustix::io::read(pipe, &mut bytes) {
            Ok(0) => return,
            Ok(_) => tell_all(),
            Err(rustix::io::Errno::INTR) => {}
            // Not to be expected of a pipe.
            Err(_) => return,
        }
    }
}

fn tell_all() {
    for (number, come) in COME.iter().enumerate() {
        let times = come.swap(0, Ordering::Acquire);
        if times == 0 {
            continue;
        }
        let (listeners, handled) = {
            let hub = hub();
            let of_it = |listener: &&Arc<Listener>| listener.kind.as_raw() as usize == number;
            (hub.listeners.iter().filter(of_it).cloned().collect::<Vec<_>>(), hub.handled[number])
        };
        if listeners.is_empty() && handled == Handled::OverDefault {
            do_default(number as libc::c_int);
        }
        for listener in listeners {
            // A foreign waker may panic; the others shall be told nevertheless.
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| listener.tell(times)));
            if let Err(panic) = told {
                crate::task::report_panic("a foreign waker panicked", panic);
            }
        }
    }
}

/// What the signal does to a process that does not handle it.
fn do_default(number: libc::c_int) {
    let does_nothing = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];
    if does_nothing.contains(&number) {
        return;
    }
    // SAFETY: neither call touches memory. Where the process goes on after a stop, our handler has stayed in place.
    unsafe {
        if [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&number) {
            libc::raise(libc::SIGSTOP);
        } else {
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
        }
    }
}
