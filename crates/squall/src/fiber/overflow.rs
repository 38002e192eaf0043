//! What is said when a fiber has used up its stack, before the process ends.
//!
//! The guard below a stack turns an overflow into SIGSEGV. std's own handler knows the guards of threads only, so without this a program would end
//! without a word. The handler compares the address with the guard of the fiber that runs, which is the only one that can run into its own; any
//! other fault goes to the handler that was there before. Rejected: looking the address up among all stacks (a stray pointer would be called an
//! overflow of a fiber that did nothing), and unwinding from here (what ran may have been anything, half-way).

use super::current::current;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::mem::{MaybeUninit, transmute};
use std::ptr::{null, null_mut};
use std::sync::{Once, OnceLock};

/// Memory faults: macOS has the second for a touched guard.
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
const ALTERNATE_BYTES: usize = 64 * 1024;

static BEFORE: [OnceLock<libc::sigaction>; 2] = [const { OnceLock::new() }; 2];

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static ALTERNATE: Cell<Option<Alternate>> = const { Cell::new(None) };
}

/// Sees to it that overflows on this thread are reported.
#[inline]
pub(super) fn watch() {
    if !IS_WATCHED.get() {
        begin_watch();
    }
}

#[cold]
fn begin_watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
            install(*signal, before);
        }
    });
    if !has_alternate() {
        // A loop that is run by the last destructors of a thread goes without.
        _ = ALTERNATE.try_with(|place| place.set(Alternate::new()));
    }
    IS_WATCHED.set(true);
}

fn install(signal: libc::c_int, before: &OnceLock<libc::sigaction>) {
    // SAFETY: both calls get pointers to what they ask for, or null; zeros are a valid sigaction to fill in. The old handler is known before ours can run.
    unsafe {
        let mut old: libc::sigaction = MaybeUninit::zeroed().assume_init();
        if libc::sigaction(signal, null(), &raw mut old) != 0 {
            return;
        }
        _ = before.set(old);
        let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        ours.sa_sigaction = handler as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut ours.sa_mask);
        libc::sigaction(signal, &raw const ours, null_mut());
    }
}

/// True if signals have a stack on this thread: std gives its threads one.
fn has_alternate() -> bool {
    // SAFETY: asks only, into a struct of ours.
    unsafe {
        let mut there: libc::stack_t = MaybeUninit::zeroed().assume_init();
        libc::sigaltstack(null(), &raw mut there) == 0 && there.ss_flags & libc::SS_DISABLE == 0
    }
}

/// A stack for signals on a thread that has none: one that std did not make.
struct Alternate(*mut libc::c_void);

impl Alternate {
    fn new() -> Option<Alternate> {
        // SAFETY: a new mapping, which the thread's signals use until `drop` takes it away again.
        unsafe {
            let memory = libc::mmap(
                null_mut(),
                ALTERNATE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                return None;
            }
            let mut stack: libc::stack_t = MaybeUninit::zeroed().assume_init();
            stack.ss_sp = memory.cast();
            stack.ss_size = ALTERNATE_BYTES;
            libc::sigaltstack(&raw const stack, null_mut());
            Some(Alternate(memory))
        }
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        // SAFETY: the thread ends; its signals have no stack of their own before the memory goes.
        unsafe {
            let mut none: libc::stack_t = MaybeUninit::zeroed().assume_init();
            none.ss_flags = libc::SS_DISABLE;
            none.ss_size = ALTERNATE_BYTES;
            libc::sigaltstack(&raw const none, null_mut());
            libc::munmap(self.0, ALTERNATE_BYTES);
        }
    }
}

/// Runs on the alternate stack, and does only what a handler may: it reads plain memory of its own thread, writes to descriptor 2, aborts.
extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler of this kind a valid `info`.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(fiber) = current() {
        let span = fiber.cold().span.get();
        if (span.limit..span.floor).contains(&address) {
            let mut text = Text { bytes: [0; 512], length: 0 };
            _ = write!(
                text,
                "\nsquall: {fiber} has overflowed its stack of {} bytes: give it a larger one with fiber::Builder::stack_size, or recurse less deeply\n",
                span.bytes()
            );
            // SAFETY: a write of bytes that are there, and the end.
            unsafe {
                libc::write(2, text.bytes.as_ptr().cast(), text.length);
                libc::abort();
            }
        }
    }
    // SAFETY: with what the kernel gave.
    unsafe { pass_on(signal, info, context) }
}

/// To the handler that was there before ours; if there was none the fault comes again and ends the process.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = SIGNALS.iter().position(|known| *known == signal).and_then(|at| BEFORE[at].get());
    match before {
        Some(before) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => {
            // SAFETY: the address of a handler that was installed with these flags, which say its form.
            unsafe {
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        transmute(before.sa_sigaction);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(libc::c_int) = transmute(before.sa_sigaction);
                    handler(signal);
                }
            }
        }
        // SAFETY: zeros are the default action.
        _ => unsafe {
            let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
            libc::sigaction(signal, &raw const default, null_mut());
        },
    }
}

/// Text without an allocation; what does not fit is cut off.
struct Text {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}
