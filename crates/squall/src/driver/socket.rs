//! The directional state of one socket, the same for every driver, and what each operation gives in it.
//!
//! A socket has two directions that end independently. One state for both was rejected: it is how a peer that answers and
//! closes loses its answer, because a failed write took the readable data with it.
//!
//! ```text
//! receive:  OPEN ──end of stream──▶ ENDED          send:  OPEN ──shutdown(Write)──▶ SHUT
//!             └───reset, timeout──▶ FAILED(errno)           └──reset, timeout─────▶ FAILED(errno)
//! ```
//!
//! # The table of outcomes
//!
//! | operation | direction OPEN | ENDED / SHUT | FAILED(e) |
//! |---|---|---|---|
//! | read, peek, recv | data, or waits | 0 bytes (`None`), each time | `e`, each time |
//! | read into no room | 0 bytes, at once | 0 bytes | `e` |
//! | write | takes some, or waits | `BrokenPipe`: "shut down" | `e`, each time |
//! | write of nothing | 0 bytes, at once | `BrokenPipe` | `e` |
//! | flush | when all was handed to the kernel | done | `e` |
//! | shutdown(Write) | SHUT; what was accepted is sent first | done | `e` |
//! | shutdown(Read) | what arrived is still read, then the end | done | done |
//! | drop | what was accepted is sent; unread data or `linger(0)` resets | the same | closed |
//!
//! Errors of one direction never come out of the other, with one exception that keeps a cut-off stream from looking
//! whole: if sending failed because the peer *reset* the connection, data that arrived is read first, and where the kernel would
//! then report a clean end (it tells each error once) the reset is reported instead.

use std::io;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Recv,
    Send,
}

/// Four bytes: an `errno` that ended the direction, or one of the two that are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State(i32);

/// A state, to be told apart.
enum Is {
    Open,
    /// The end of the stream was read, or the direction was shut down here.
    Closed,
    Failed(i32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SocketState {
    recv: State,
    send: State,
}

impl SocketState {
    pub(super) const OPEN: SocketState = SocketState { recv: State::OPEN, send: State::OPEN };

    #[inline]
    pub(super) fn is_open_for_recv(&self) -> bool {
        self.recv == State::OPEN
    }

    /// What a receive gives without asking the kernel; `None`: ask it.
    #[inline]
    pub(super) fn before_recv(&self, room: usize) -> Option<io::Result<usize>> {
        match self.recv.is() {
            Is::Open if room > 0 => None,
            Is::Open | Is::Closed => Some(Ok(0)),
            Is::Failed(errno) => Some(Err(io::Error::from_raw_os_error(errno))),
        }
    }

    /// What a receive gives, after the kernel's answer for a buffer with room.
    #[inline]
    pub(super) fn after_recv(&mut self, answer: io::Result<usize>) -> io::Result<usize> {
        match answer {
            Ok(0) => self.end_of_stream(),
            Ok(n) => Ok(n),
            Err(error) => {
                self.recv = self.recv.after(&error);
                Err(error)
            }
        }
    }

    #[cold]
    fn end_of_stream(&mut self) -> io::Result<usize> {
        if let Is::Failed(errno @ libc::ECONNRESET) = self.send.is() {
            self.recv = State::failed(errno);
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.recv = State::CLOSED;
        Ok(0)
    }

    /// What a send gives without asking the kernel; `None`: ask it.
    #[inline]
    pub(super) fn before_send(&self, bytes: usize) -> Option<io::Result<usize>> {
        match self.send.is() {
            Is::Open if bytes > 0 => None,
            Is::Open => Some(Ok(0)),
            Is::Closed => Some(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the write side of this stream was shut down, nothing more can be written",
            ))),
            Is::Failed(errno) => Some(Err(io::Error::from_raw_os_error(errno))),
        }
    }

    #[inline]
    pub(super) fn after_send(&mut self, answer: io::Result<usize>) -> io::Result<usize> {
        if let Err(error) = &answer {
            self.send = self.send.after(error);
        }
        answer
    }

    /// Bytes that were accepted could not be sent, for whatever reason: nothing that follows them may be.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    pub(super) fn fail_send(&mut self, errno: i32) {
        self.send = State::failed(errno);
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        match self.send.is() {
            Is::Open | Is::Closed => Ok(()),
            Is::Failed(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Before shutting down the write side: `Some` = nothing is left to do.
    pub(super) fn before_shutdown_send(&mut self) -> Option<io::Result<()>> {
        match std::mem::replace(&mut self.send, State::CLOSED).is() {
            Is::Open => None,
            Is::Closed => Some(Ok(())),
            Is::Failed(errno) => {
                self.send = State::failed(errno);
                Some(Err(io::Error::from_raw_os_error(errno)))
            }
        }
    }
}

impl State {
    const OPEN: State = State(0);
    const CLOSED: State = State(-1);

    /// The numbers of errors are positive.
    fn failed(errno: i32) -> State {
        State(errno)
    }

    #[inline]
    fn is(self) -> Is {
        match self {
            State::OPEN => Is::Open,
            State::CLOSED => Is::Closed,
            State(errno) => Is::Failed(errno),
        }
    }

    /// An error that ends the connection sticks: the kernel tells it once, but everybody who asks must learn of it.
    fn after(self, error: &io::Error) -> State {
        match error.raw_os_error() {
            Some(errno @ (libc::ECONNRESET | libc::EPIPE | libc::ETIMEDOUT | libc::ECONNABORTED)) => {
                State::failed(errno)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(answer: &io::Result<usize>) -> Option<i32> {
        answer.as_ref().err().and_then(io::Error::raw_os_error)
    }

    fn os(errno: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn an_open_direction_asks_the_kernel_unless_there_is_no_room() {
        let state = SocketState::OPEN;
        assert!(state.before_recv(1).is_none() && state.before_send(1).is_none());
        assert_eq!(state.before_recv(0).unwrap().unwrap(), 0);
        assert_eq!(state.before_send(0).unwrap().unwrap(), 0);
        assert!(state.flush().is_ok());
    }

    #[test]
    fn the_end_of_a_stream_is_told_each_time_and_sending_goes_on() {
        let mut state = SocketState::OPEN;
        assert_eq!(state.after_recv(Ok(0)).unwrap(), 0);
        assert_eq!(state.before_recv(9).unwrap().unwrap(), 0);
        assert!(state.before_send(1).is_none());
    }

    #[test]
    fn a_failed_send_sticks_to_its_direction_and_data_is_read_first() {
        let mut state = SocketState::OPEN;
        assert_eq!(errno(&state.after_send(os(libc::EPIPE))), Some(libc::EPIPE));
        assert_eq!(errno(&state.before_send(1).unwrap()), Some(libc::EPIPE));
        assert_eq!(errno(&state.before_send(0).unwrap()), Some(libc::EPIPE));
        assert_eq!(state.flush().unwrap_err().raw_os_error(), Some(libc::EPIPE));
        assert_eq!(state.before_shutdown_send().unwrap().unwrap_err().raw_os_error(), Some(libc::EPIPE));
        assert!(state.before_recv(1).is_none(), "receiving is not affected");
        assert_eq!(state.after_recv(Ok(3)).unwrap(), 3);
        assert_eq!(state.after_recv(Ok(0)).unwrap(), 0, "a pipe broken after the peer's end is a clean end");
    }

    #[test]
    fn a_reset_seen_by_a_send_is_no_clean_end_for_the_reader() {
        let mut state = SocketState::OPEN;
        state.after_send(os(libc::ECONNRESET)).unwrap_err();
        assert_eq!(state.after_recv(Ok(3)).unwrap(), 3);
        assert_eq!(errno(&state.after_recv(Ok(0))), Some(libc::ECONNRESET));
        assert_eq!(errno(&state.before_recv(1).unwrap()), Some(libc::ECONNRESET));
    }

    #[test]
    fn a_failed_receive_sticks_and_sending_is_tried_still() {
        let mut state = SocketState::OPEN;
        state.after_recv(os(libc::ECONNRESET)).unwrap_err();
        assert_eq!(errno(&state.before_recv(1).unwrap()), Some(libc::ECONNRESET));
        assert!(state.before_send(1).is_none());
    }

    #[test]
    fn passing_troubles_do_not_stick() {
        let mut state = SocketState::OPEN;
        for errno in [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ENOMEM] {
            state.after_recv(os(errno)).unwrap_err();
            state.after_send(os(errno)).unwrap_err();
        }
        assert_eq!(state, SocketState::OPEN);
    }

    #[test]
    fn a_shut_down_write_side_says_so_and_shutting_down_again_is_done() {
        let mut state = SocketState::OPEN;
        assert!(state.before_shutdown_send().is_none());
        assert!(state.before_shutdown_send().unwrap().is_ok());
        assert_eq!(state.before_send(1).unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(state.flush().is_ok());
        assert!(state.before_recv(1).is_none());
    }
}
