//! What these tests share: a trace of what happened, in order, to be compared whole; a gate for a task to wait at; and a test that
//! runs alone in a process of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::{Future, poll_fn};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// What happened, in order. Shared by its clones, also with other threads.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// A value that says so when it is dropped.
    pub(crate) fn at_drop(&self, what: &str) -> AtDrop<impl FnOnce() + use<>> {
        let (trace, what) = (self.clone(), what.to_owned());
        at_drop(move || trace.say(what))
    }
}

/// Calls a closure when it is dropped: a destructor that may do anything.
pub(crate) struct AtDrop<F: FnOnce()>(Option<F>);

pub(crate) fn at_drop<F: FnOnce()>(act: F) -> AtDrop<F> {
    AtDrop(Some(act))
}

impl<F: FnOnce()> Drop for AtDrop<F> {
    fn drop(&mut self) {
        (self.0.take().expect("dropped once"))();
    }
}

/// A place where one task waits until the gate is open. Its clones are the same gate, in any thread.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + use<> {
        let gate = self.clone();
        poll_fn(move |cx| {
            let mut state = gate.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    pub(crate) fn open(&self) {
        self.0.lock().unwrap().0 = true;
        self.wake();
    }

    /// Wakes whoever waits, and leaves the gate as it is.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker() {
            waker.wake();
        }
    }

    pub(crate) fn waker(&self) -> Option<Waker> {
        self.0.lock().unwrap().1.clone()
    }
}

/// Turns a loop until nothing is ready on it any more.
pub(crate) fn settle(event_loop: &squall::EventLoop) {
    while event_loop.turn() > 0 {}
}

/// A loop under virtual time that calls a standstill a deadlock at once.
pub(crate) fn virtual_loop() -> squall::EventLoop {
    impatient().build().unwrap()
}

pub(crate) fn impatient() -> squall::Builder {
    squall::Builder::new().virtual_time().deadlock_patience(std::time::Duration::ZERO)
}

/// Runs on a virtual clock and gives what was said.
pub(crate) fn said(body: impl AsyncFnOnce(Trace)) -> Vec<String> {
    let trace = Trace::default();
    virtual_loop().run_until(body(trace.clone()));
    trace.take()
}

/// A closure that says something.
pub(crate) fn say(trace: &Trace, what: &str) -> impl FnOnce() + use<> {
    let (trace, what) = (trace.clone(), what.to_owned());
    move || trace.say(what)
}

/// The text of a panic.
pub(crate) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .expect("a panic with a text")
}

/// The text with which `act` panics.
pub(crate) fn panic_of<R>(act: impl FnOnce() -> R) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)) {
        Ok(_) => panic!("it should have panicked"),
        Err(panic) => text_of(&*panic),
    }
}

const ALONE: &str = "SQUALL_TEST_ALONE";

/// Runs `act` in a process of its own: the test that calls this is started once more, alone, and what that process wrote comes back. `None`
/// inside that process.
pub(crate) fn alone(test: &str, variables: &[(&str, &str)], act: impl FnOnce()) -> Option<Output> {
    alone_as(test, |command| _ = command.envs(variables.iter().copied()), act)
}

/// As `alone`, with more to say about the process.
pub(crate) fn alone_as(test: &str, prepare: impl FnOnce(&mut Command), act: impl FnOnce()) -> Option<Output> {
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        act();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ALONE, test);
    command.env_remove("RUST_BACKTRACE").stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    Some(command.spawn().unwrap().wait_with_output().unwrap())
}

/// The lines of a process's complaints that are squall's own.
pub(crate) fn reports_of(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| line.starts_with("squall: ")).map(Into::into).collect()
}

/// Fails, with all that it wrote, if a process failed.
pub(crate) fn check(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
