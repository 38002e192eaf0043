//! The futures that move bytes through a stream: reading, writing, shutting down.
//!
//! All take the stream by shared reference, so one task may read while another writes. Each direction has one waiter at a time;
//! a second is an error that names the first.

use crate::driver::Direction;
use crate::io::{Chunk, Socket, SocketOp};
use crate::task::WaitingOn;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type Place = &'static Location<'static>;

pub(super) fn reading(socket: &Socket, place: Place) -> SocketOp<'_> {
    SocketOp::new(socket, Direction::Recv, WaitingOn::Read, place)
}

pub(super) fn writing(socket: &Socket, place: Place) -> SocketOp<'_> {
    SocketOp::new(socket, Direction::Send, WaitingOn::Write, place)
}

/// The future of [`TcpStream::recv`](super::TcpStream::recv).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a> {
    pub(super) op: SocketOp<'a>,
}

impl Future for Recv<'_> {
    type Output = io::Result<Option<Chunk>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.op.poll("recv", cx, |driver, key, fd| driver.recv_chunk(key, fd))
    }
}

/// The future of [`TcpStream::read`](super::TcpStream::read).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Read<'a> {
    pub(super) op: SocketOp<'a>,
    pub(super) into: &'a mut [u8],
}

impl Future for Read<'_> {
    type Output = io::Result<usize>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.op.poll("read", cx, |driver, key, fd| driver.recv(key, fd, this.into))
    }
}

/// The future of [`TcpStream::read_vectored`](super::TcpStream::read_vectored).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ReadVectored<'a, 'b> {
    pub(super) op: SocketOp<'a>,
    pub(super) into: &'a mut [IoSliceMut<'b>],
}

impl Future for ReadVectored<'_, '_> {
    type Output = io::Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.op.poll("read_vectored", cx, |driver, key, fd| driver.recv_vectored(key, fd, this.into))
    }
}

/// The future of [`TcpStream::read_exact`](super::TcpStream::read_exact).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ReadExact<'a> {
    pub(super) op: SocketOp<'a>,
    pub(super) into: &'a mut [u8],
    pub(super) filled: usize,
}

impl Future for ReadExact<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while this.filled < this.into.len() {
            let rest = &mut this.into[this.filled..];
            match ready!(this.op.poll("read_exact", cx, |driver, key, fd| driver.recv(key, fd, rest)))? {
                0 => {
                    let text = format!("the stream ended after {} of {} bytes", this.filled, this.into.len());
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                }
                n => this.filled += n,
            }
            this.op.keep_going();
        }
        Poll::Ready(Ok(()))
    }
}

/// The future of [`TcpStream::peek`](super::TcpStream::peek).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Peek<'a> {
    pub(super) op: SocketOp<'a>,
    pub(super) into: &'a mut [u8],
}

impl Future for Peek<'_> {
    type Output = io::Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.op.poll("peek", cx, |driver, key, fd| driver.peek(key, fd, this.into))
    }
}

/// The future of [`TcpStream::write`](super::TcpStream::write).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Write<'a> {
    pub(super) op: SocketOp<'a>,
    pub(super) from: &'a [u8],
}

impl Future for Write<'_> {
    type Output = io::Result<usize>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let from = self.from;
        self.op.poll("write", cx, |driver, key, fd| driver.send(key, fd, from))
    }
}

/// The future of [`TcpStream::write_vectored`](super::TcpStream::write_vectored).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct WriteVectored<'a, 'b> {
    pub(super) op: SocketOp<'a>,
    pub(super) from: &'a [IoSlice<'b>],
}

impl Future for WriteVectored<'_, '_> {
    type Output = io::Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let from = self.from;
        self.op.poll("write_vectored", cx, |driver, key, fd| driver.send_vectored(key, fd, from))
    }
}

/// The future of [`TcpStream::write_all`](super::TcpStream::write_all).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct WriteAll<'a> {
    pub(super) op: SocketOp<'a>,
    pub(super) rest: &'a [u8],
}

impl Future for WriteAll<'_> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let rest = this.rest;
            let n = ready!(this.op.poll("write_all", cx, |driver, key, fd| driver.send(key, fd, rest)))?;
            this.rest = &rest[n..];
            if this.rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.op.keep_going();
        }
    }
}

/// The future of [`TcpStream::flush`](super::TcpStream::flush).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Flush<'a> {
    pub(super) op: SocketOp<'a>,
}

impl Future for Flush<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.op.poll("flush", cx, |driver, key, _| driver.flush(key))
    }
}

/// The future of [`TcpStream::shutdown`](super::TcpStream::shutdown).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ShutDown<'a> {
    pub(super) op: SocketOp<'a>,
    pub(super) how: Shutdown,
}

impl Future for ShutDown<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let how = self.how;
        if how == Shutdown::Read {
            // It ends a reader's wait, so it must not wait for the reader's turn to end.
            return Poll::Ready(
                self.op.socket.with_driver("shutdown", |driver, key, fd| driver.shutdown(key, fd, how)),
            );
        }
        self.op.poll("shutdown", cx, |driver, key, fd| driver.shutdown(key, fd, how))
    }
}
