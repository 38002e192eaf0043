//! What several tests of real sockets need: a stream with a peer in plain std, events of the kernel to wait for, and bounds against hanging.
//!
//! Nothing here sleeps. A test that needs to know that something has arrived asks the kernel, which is what the driver under test does
//! too, but level-triggered and with a limit.

// Every test target compiles this file for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use futures::future::{Either, select};
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
use squall::net::TcpStream;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Longer than anything here takes: a test that reaches it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The future's output, or a failure in place of a test that hangs for ever.
///
/// The clock is asked first. A future that is only polled because the time is over may find what it missed the word of, and would pass.
#[track_caller]
pub fn bounded<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let (limit, future) = (pin!(squall::time::sleep(PATIENCE)), pin!(future));
        match select(limit, future).await {
            Either::Left(_) => panic!("hangs: what began at {place} has not ended"),
            Either::Right((output, _)) => output,
        }
    }
}

/// Two connected sockets of std's, blocking, which give up instead of hanging.
pub fn std_pair() -> (StdStream, StdStream) {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let here = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, from) = listener.accept().unwrap();
    assert_eq!(from, here.local_addr().unwrap(), "somebody else connected to the test's port");
    for stream in [&here, &peer] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (here, peer)
}

/// A stream on the current loop, and its blocking peer.
pub fn pair() -> (TcpStream, StdStream) {
    let (here, peer) = std_pair();
    (TcpStream::from_std(here).unwrap(), peer)
}

/// Closes with a reset, whatever was sent or read before.
pub fn reset(peer: StdStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
}

fn until(fd: impl AsFd, flags: PollFlags, is_there: impl Fn(PollFlags) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
        if is_there(fds[0].revents()) {
            return;
        }
        assert!(Instant::now() < deadline, "the kernel has not seen what the test waits for");
    }
}

/// Blocks until there is something to read (the end and a failure are something).
pub fn until_readable(fd: impl AsFd) {
    until(fd, PollFlags::IN, |events| !events.is_empty());
}

/// Blocks until the peer's end has arrived.
pub fn until_ended(fd: impl AsFd) {
    until(fd, PollFlags::RDHUP, |events| !events.is_empty());
}

/// Blocks until both directions are over: a reset, or the end both ways.
pub fn until_hung_up(fd: impl AsFd) {
    until(fd, PollFlags::empty(), |events| events.intersects(PollFlags::HUP | PollFlags::ERR));
}

/// Blocks until so many bytes wait to be read.
pub fn until_arrived(fd: impl AsFd, bytes: usize) {
    let deadline = Instant::now() + PATIENCE;
    while waiting_bytes(&fd) < bytes {
        assert!(Instant::now() < deadline, "{} of {bytes} bytes have arrived", waiting_bytes(&fd));
        std::thread::yield_now();
    }
}

/// Blocks until the peer's kernel has everything that was written. A reset throws away what has not left yet.
pub fn until_acknowledged(fd: impl AsFd) {
    let deadline = Instant::now() + PATIENCE;
    while ask(&fd, libc::TIOCOUTQ) > 0 {
        assert!(Instant::now() < deadline, "{} bytes have not been acknowledged", ask(&fd, libc::TIOCOUTQ));
        std::thread::yield_now();
    }
}

fn waiting_bytes(fd: impl AsFd) -> usize {
    ask(fd, libc::FIONREAD)
}

/// Asks for a number of bytes: `FIONREAD` for those to be read, `TIOCOUTQ` for those not acknowledged.
fn ask(fd: impl AsFd, question: libc::Ioctl) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both questions are answered with one int, and `bytes` is one.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), question, &raw mut bytes) };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
    usize::try_from(bytes).unwrap()
}

/// What the kernel calls the file behind a descriptor: unlike the descriptor's number, no other test gets it.
pub fn identity(fd: impl AsFd) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())).unwrap()
}

/// True if any descriptor of this process still leads to that file.
pub fn is_open(identity: &PathBuf) -> bool {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    // A descriptor of another thread may go while it is looked at.
    descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link == *identity))
}

/// The descriptors of this process; only for tests that have a process to themselves.
pub fn descriptors() -> usize {
    // The one that reads the directory is counted, each time.
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A field of an event loop's Debug.
pub fn shown(event_loop: &squall::EventLoop, field: &str) -> u64 {
    let text = format!("{event_loop:?}");
    let (_, rest) = text.split_once(&format!("{field}: ")).unwrap_or_else(|| panic!("no {field} in {text}"));
    rest.split([',', ' ']).next().unwrap().parse().unwrap()
}

const ROLE: &str = "SQUALL_TEST_ROLE";

/// What this process was started to be, if a test started it.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The command that runs one test of this program again, in a process of its own, on its only thread, as `role`.
pub fn again(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// Runs a test's body in a process of its own: with one thread, which may fork and use up its descriptors.
#[track_caller]
pub fn alone(test: &str, body: impl FnOnce()) -> Option<Output> {
    if role().is_some() {
        body();
        return None;
    }
    let output = again(test, "alone").output().unwrap();
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.success(), "in a process of its own, {}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "there is no test {test}:\n{text}");
    Some(output)
}

/// Numbers that look random and are the same in every run: a failure comes again.
pub struct Dice(pub u64);

impl Dice {
    /// From 0 to below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Bytes in which a lost, doubled or swapped piece shows.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// The error's text.
#[track_caller]
pub fn text_of<T>(answer: io::Result<T>) -> String {
    match answer {
        Ok(_) => panic!("it went well"),
        Err(error) => error.to_string(),
    }
}
