//! Accepting, also when there is no descriptor left to accept with.
//!
//! `EMFILE` neither takes the connection from the backlog nor goes away by trying again at once: a loop that retries spins,
//! a listener that gives up is dead. So the future backs off by a timer and goes on.

use super::listener::TcpListener;
use super::stream::TcpStream;
use crate::driver::Direction;
use crate::io::SocketOp;
use crate::task::WaitingOn;
use crate::time::{Instant, Sleep, sleep};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const BETWEEN_REPORTS: Duration = Duration::from_secs(10);

/// The future of [`TcpListener::accept`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Accept<'a> {
    op: SocketOp<'a>,
    pause: Option<Sleep>,
    pause_length: Duration,
}

impl<'a> Accept<'a> {
    pub(super) fn new(listener: &'a TcpListener, place: &'static Location<'static>) -> Accept<'a> {
        let op = SocketOp::new(&listener.socket, Direction::Recv, WaitingOn::Accept, place);
        Accept { op, pause: None, pause_length: FIRST_PAUSE }
    }
}

impl Future for Accept<'_> {
    type Output = io::Result<(TcpStream, SocketAddr)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(Pin::new(pause).poll(cx));
                this.pause = None;
            }
            match ready!(this.op.poll("accept", cx, |driver, key, fd| driver.accept(key, fd))) {
                Ok((fd, peer)) => {
                    return Poll::Ready(TcpStream::adopt("accept", fd).map(|stream| (stream, peer)));
                }
                Err(error) if is_exhaustion(&error) => {
                    report(&error);
                    this.pause = Some(sleep(this.pause_length));
                    this.pause_length = (this.pause_length * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn report(error: &io::Error) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if last.is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_REPORTS) {
        *last = Some(now);
        eprintln!(
            "squall: accept: {error}; trying again when there may be room (raise the limit: ulimit -n)"
        );
    }
}
