//! From the system's handlers to the listeners: counters, a pipe and a thread, once for the process.
//!
//! A handler may run in the middle of anything, an allocation or a held lock, on any thread. So it touches atomics and writes one byte, and everything
//! else happens on the thread that reads. A child of `fork` has neither that thread nor a lock that it could trust: it begins with
//! nothing, and until it listens itself, its handlers do what the default does.

use super::SignalKind;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::task::Waker;

/// One more than the largest number of a signal here (Linux has 64 of them).
const SIGNALS: usize = 65;

/// How often each has come since somebody last looked.
static COME: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];

/// What was there before our handler: `NOT_HANDLED`, `OVER_DEFAULT`, `OVER_OTHER`. Handlers outlive a fork, and so does this.
static HANDLED: [AtomicU8; SIGNALS] = [const { AtomicU8::new(NOT_HANDLED) }; SIGNALS];
const NOT_HANDLED: u8 = 0;
/// The system's default: to be done while nobody listens.
const OVER_DEFAULT: u8 = 1;
/// Somebody's handler, which is called before ours, or nothing at all.
const OVER_OTHER: u8 = 2;

/// Where handlers write. Never freed, so a handler that runs late finds a descriptor. Null: nobody reads in this process.
static PIPE: AtomicPtr<OwnedFd> = AtomicPtr::new(std::ptr::null_mut());

/// Who listens. Never freed; null until somebody does, and again in a child.
static HUB: AtomicPtr<Mutex<Hub>> = AtomicPtr::new(std::ptr::null_mut());

/// Forks since the beginning, as the process that looks has come through them.
static FORKS: AtomicU32 = AtomicU32::new(0);

#[derive(Default)]
struct Hub {
    is_read: bool,
    listeners: Vec<Arc<Listener>>,
}

/// One that wants to be told of a signal.
pub(super) struct Listener {
    kind: SignalKind,
    /// In a child of the process that it was made in, it is told of nothing, and its lock may be held for ever.
    fork: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    come: u32,
    waker: Option<Waker>,
}

impl Listener {
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        (self.fork == FORKS.load(Ordering::Relaxed))
            .then(|| self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes one that has come. Else leaves the waker, and gives the one that was there, for the caller to drop.
    pub(super) fn take_or_wait(&self, waker: Waker) -> Result<(), Option<Waker>> {
        let Some(mut state) = self.lock() else { return Err(Some(waker)) };
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
        self.lock()?.waker.take()
    }

    fn tell(&self, times: u32) {
        let waker = self.lock().and_then(|mut state| {
            state.come = state.come.saturating_add(times);
            state.waker.take()
        });
        if let Some(waker) = waker {
            crate::task::wake_quietly(waker);
        }
    }
}

fn hub() -> MutexGuard<'static, Hub> {
    let mut hub = HUB.load(Ordering::Acquire);
    if hub.is_null() {
        let made = Box::into_raw(Box::<Mutex<Hub>>::default());
        hub = match HUB.compare_exchange(hub, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => {
                // SAFETY: made above, and seen by nobody.
                drop(unsafe { Box::from_raw(made) });
                other
            }
        };
    }
    // SAFETY: not null, and never freed.
    unsafe { &*hub }.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen.
pub(super) fn listen(kind: SignalKind) -> io::Result<Arc<Listener>> {
    let number = kind.as_raw();
    let known = usize::try_from(number).is_ok_and(|n| (1..SIGNALS).contains(&n));
    let why = match number {
        libc::SIGKILL | libc::SIGSTOP => {
            "cannot be listened to: the system lets no program handle it; SIGTERM (SignalKind::TERMINATE) is the request to end"
        }
        // A fault that a handler returns from happens again, for ever. (The registry's list lacks SIGBUS.)
        _ if number == libc::SIGBUS || signal_hook_registry::FORBIDDEN.contains(&number) => {
            "cannot be listened to: it is a fault of the program's own, which happens again when its handler returns"
        }
        _ if !known => "cannot be listened to: there is no such signal",
        _ => "",
    };
    if !why.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{kind} {why}")));
    }
    watch_forks();
    let mut hub = hub();
    hub.start()?;
    handle(number)?;
    // What has come so far is not for the new one.
    let news = hub.take_news(number as usize);
    let listener = Arc::new(Listener { kind, fork: FORKS.load(Ordering::Relaxed), state: Mutex::default() });
    hub.listeners.push(listener.clone());
    drop(hub);
    news.tell();
    Ok(listener)
}

/// Ends listening. A signal that came before that is still its own, and does not do what it does by default.
pub(super) fn leave(listener: &Arc<Listener>) {
    if listener.fork != FORKS.load(Ordering::Relaxed) {
        return;
    }
    let mut hub = hub();
    let news = hub.take_news(listener.kind.as_raw() as usize);
    hub.listeners.retain(|known| !Arc::ptr_eq(known, listener));
    drop(hub);
    news.tell();
}

/// Signals of one kind that have come, and who is to be told, with no lock held.
struct News {
    number: usize,
    times: u32,
    listeners: Vec<Arc<Listener>>,
}

impl News {
    fn tell(self) {
        if self.times > 0
            && self.listeners.is_empty()
            && HANDLED[self.number].load(Ordering::Relaxed) == OVER_DEFAULT
        {
            do_default(self.number as libc::c_int);
        }
        for listener in self.listeners {
            listener.tell(self.times);
        }
    }
}

impl Hub {
    fn take_news(&self, number: usize) -> News {
        let times = COME[number].swap(0, Ordering::Acquire);
        let of_it = |listener: &&Arc<Listener>| listener.kind.as_raw() as usize == number;
        let listeners =
            if times > 0 { self.listeners.iter().filter(of_it).cloned().collect() } else { Vec::new() };
        News { number, times, listeners }
    }

    /// Sees to it that this process has a pipe and a thread that reads it.
    fn start(&mut self) -> io::Result<()> {
        if self.is_read {
            return Ok(());
        }
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        // A full pipe says enough; the reading end blocks.
        rustix::io::ioctl_fionbio(&writer, true)?;
        // The thread inherits that: handlers run on the program's own threads.
        without_signals(|| {
            std::thread::Builder::new().name("squall-signals".into()).spawn(move || read(&reader))
        })?;
        PIPE.store(Box::into_raw(Box::new(writer)), Ordering::Release);
        self.is_read = true;
        Ok(())
    }
}

/// Calls with all signals of this thread blocked.
fn without_signals<R>(act: impl FnOnce() -> R) -> R {
    // SAFETY: the sets live through the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut mask);
        let given = act();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
        given
    }
}

/// Installs the handler, once. Called under the hub's lock.
fn handle(number: libc::c_int) -> io::Result<()> {
    let handled = &HANDLED[number as usize];
    if handled.load(Ordering::Relaxed) != NOT_HANDLED {
        return Ok(());
    }
    let before = if is_default(number)? { OVER_DEFAULT } else { OVER_OTHER };
    // SAFETY: the action does what a handler may: atomics, one write(2) (whose errno the registry keeps from the interrupted code), and in a child
    // that nobody listens in, sigaction, pthread_sigmask and raise.
    unsafe { signal_hook_registry::register(number, move || note(number as usize))? };
    handled.store(before, Ordering::Relaxed);
    Ok(())
}

/// The handler.
fn note(number: usize) {
    // SAFETY: null, or a box that is never freed.
    match unsafe { PIPE.load(Ordering::Acquire).as_ref() } {
        Some(pipe) => {
            COME[number].fetch_add(1, Ordering::Release);
            let _ = rustix::io::write(pipe, &[0]);
        }
        None if HANDLED[number].load(Ordering::Relaxed) == OVER_DEFAULT => do_default(number as libc::c_int),
        None => {}
    }
}

/// In a child nobody reads, nobody listens, and nothing has come. (The parent's hub and pipe are leaked there: a lock may be held for ever.)
fn watch_forks() {
    static WATCHED: Once = Once::new();
    extern "C" fn in_child() {
        PIPE.store(std::ptr::null_mut(), Ordering::Relaxed);
        HUB.store(std::ptr::null_mut(), Ordering::Relaxed);
        COME.iter().for_each(|come| come.store(0, Ordering::Relaxed));
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the function touches atomics only, which a child of a process with threads may.
    WATCHED.call_once(|| _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) });
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
            Ok(_) => (1..SIGNALS).for_each(|number| {
                if COME[number].load(Ordering::Relaxed) > 0 {
                    let news = hub().take_news(number);
                    news.tell();
                }
            }),
            Err(rustix::io::Errno::INTR) => {}
            // Not to be expected of a pipe.
            Err(_) => return,
        }
    }
}

/// What the signal does to a process that does not handle it. If the process goes on (a stop that ended, or process 1 of a container, which the
/// kernel spares), everything is as before.
fn do_default(number: libc::c_int) {
    let does_nothing = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    if does_nothing.contains(&number) {
        return;
    }
    // SAFETY: all of it is allowed in a handler, and the structures live through the calls. Inside a handler, and on the thread that
    // reads, the signal is blocked until it is unblocked here.
    unsafe {
        if stops.contains(&number) {
            libc::raise(libc::SIGSTOP);
            return;
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut ours: libc::sigaction = std::mem::zeroed();
        let mut only: libc::sigset_t = std::mem::zeroed();
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut only);
        libc::sigaddset(&raw mut only, number);
        libc::sigaction(number, &raw const default, &raw mut ours);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, &raw mut mask);
        libc::raise(number);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
        libc::sigaction(number, &raw const ours, std::ptr::null_mut());
    }
}
