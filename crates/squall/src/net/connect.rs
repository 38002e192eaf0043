//! Connecting: look up, then try each address in turn.

use super::ToAddrs;
use super::addr::Resolving;
use super::stream::TcpStream;
use crate::driver::{Direction, Role};
use crate::io::{Op, Socket};
use crate::task::{WaitingOn, note_waiting};
use socket2::{Domain, Protocol, Type};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The future of [`TcpStream::connect`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Connect {
    state: State,
    place: &'static Location<'static>,
}

#[derive(Debug)]
enum State {
    Resolving(Resolving),
    Trying { left: std::vec::IntoIter<SocketAddr>, attempt: Option<Attempt>, last: Option<io::Error> },
    Done,
}

/// One attempt. The operation needs no end of its own: dropping the socket ends it.
#[derive(Debug)]
struct Attempt {
    to: SocketAddr,
    socket: Socket,
    op: Op,
}

impl Connect {
    #[track_caller]
    pub(super) fn new(to: &impl ToAddrs, place: &'static Location<'static>) -> Connect {
        Connect { state: State::Resolving(Resolving::new(to)), place }
    }
}

impl Future for Connect {
    type Output = io::Result<TcpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Resolving(resolving) => {
                    let Poll::Ready(addrs) = resolving.poll(cx) else {
                        note_waiting(WaitingOn::Blocking, this.place);
                        return Poll::Pending;
                    };
                    this.state = State::Done;
                    this.state = State::Trying { left: addrs?.into_iter(), attempt: None, last: None };
                }
                State::Trying { attempt: Some(attempt), last, .. } => {
                    let Attempt { to, socket, op } = attempt;
                    let answer = ready!(op.poll(socket.by_ref(), "connect", cx, |driver, key, fd| {
                        driver.connect_result(key, fd)
                    }));
                    let Err(error) = answer else {
                        let State::Trying { attempt: Some(done), .. } =
                            std::mem::replace(&mut this.state, State::Done)
                        else {
                            unreachable!("matched above")
                        };
                        return Poll::Ready(Ok(TcpStream { socket: done.socket }));
                    };
                    *last = Some(naming(*to, error));
                    if let State::Trying { attempt, .. } = &mut this.state {
                        *attempt = None;
                    }
                }
                State::Trying { left, attempt, last } => match left.next() {
                    Some(to) => match begin(to) {
                        Ok(socket) => {
                            let op = Op::new(Direction::Send, WaitingOn::Connect, this.place);
                            *attempt = Some(Attempt { to, socket, op });
                        }
                        Err(error) => *last = Some(naming(to, error)),
                    },
                    None => {
                        let error = last.take().expect("resolving gives at least one address");
                        this.state = State::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Done => panic!("Connect polled after it gave its output"),
            }
        }
    }
}

fn begin(to: SocketAddr) -> io::Result<Socket> {
    let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let socket = Socket::new("TcpStream::connect", socket.into(), Role::Connecting)?;
    match socket.with_driver("connect", |driver, key, fd| driver.connect(key, fd, to)) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(socket),
    }
}

fn naming(to: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot connect to {to}: {error}"))
}
