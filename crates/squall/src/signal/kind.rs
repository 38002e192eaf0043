//! Which signal.

use std::fmt;

/// A signal that can be listened to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(libc::c_int);

impl SignalKind {
    /// `SIGINT`: Ctrl-C.
    pub const INTERRUPT: SignalKind = SignalKind(libc::SIGINT);
    /// `SIGTERM`: the request to end, which service managers send.
    pub const TERMINATE: SignalKind = SignalKind(libc::SIGTERM);
    /// `SIGHUP`: the terminal is gone; for servers, by custom, "read the configuration again".
    pub const HANGUP: SignalKind = SignalKind(libc::SIGHUP);
    /// `SIGQUIT`: `Ctrl-\`.
    pub const QUIT: SignalKind = SignalKind(libc::SIGQUIT);
    /// `SIGUSR1`.
    pub const USER_1: SignalKind = SignalKind(libc::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER_2: SignalKind = SignalKind(libc::SIGUSR2);
    /// `SIGCHLD`: a child process has ended or stopped.
    pub const CHILD: SignalKind = SignalKind(libc::SIGCHLD);
    /// `SIGWINCH`: the terminal's size has changed.
    pub const WINDOW_CHANGE: SignalKind = SignalKind(libc::SIGWINCH);
    /// `SIGALRM`.
    pub const ALARM: SignalKind = SignalKind(libc::SIGALRM);
    /// `SIGPIPE`: a write to a pipe that nobody reads.
    pub const PIPE: SignalKind = SignalKind(libc::SIGPIPE);
    /// `SIGCONT`: goes on after a stop.
    pub const CONTINUE: SignalKind = SignalKind(libc::SIGCONT);

    /// Any other one, by the system's number.
    pub const fn from_raw(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// The system's number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    fn name(self) -> Option<&'static str> {
        Some(match self {
            SignalKind::INTERRUPT => "SIGINT",
            SignalKind::TERMINATE => "SIGTERM",
            SignalKind::HANGUP => "SIGHUP",
            SignalKind::QUIT => "SIGQUIT",
            SignalKind::USER_1 => "SIGUSR1",
            SignalKind::USER_2 => "SIGUSR2",
            SignalKind::CHILD => "SIGCHLD",
            SignalKind::WINDOW_CHANGE => "SIGWINCH",
            SignalKind::ALARM => "SIGALRM",
            SignalKind::PIPE => "SIGPIPE",
            SignalKind::CONTINUE => "SIGCONT",
            _ => return None,
        })
    }
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalKind({self})")
    }
}
