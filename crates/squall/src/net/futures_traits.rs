//! The `futures_io` traits, for libraries that are written against them.
//!
//! A `poll_…` call tells nobody when it is given up, so it holds no turn at its direction: whoever polls next takes over, as
//! those traits expect. (A future of ours that waits there is not overtaken; the poll gets an error.)

use super::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::stream::TcpStream;
use crate::driver::Direction;
use crate::io::{Op, Socket};
use crate::task::WaitingOn;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

fn poll_read(socket: &Socket, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut op = Op::polled(Direction::Recv, WaitingOn::Read);
    op.poll(socket.by_ref(), "poll_read", cx, |driver, key, fd| driver.recv(key, fd, into))
}

fn poll_read_vectored(
    socket: &Socket,
    cx: &mut Context<'_>,
    into: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>> {
    let mut op = Op::polled(Direction::Recv, WaitingOn::Read);
    op.poll(socket.by_ref(), "poll_read_vectored", cx, |driver, key, fd| driver.recv_vectored(key, fd, into))
}

fn poll_write(socket: &Socket, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
    let mut op = Op::polled(Direction::Send, WaitingOn::Write);
    op.poll(socket.by_ref(), "poll_write", cx, |driver, key, fd| driver.send(key, fd, from))
}

fn poll_write_vectored(
    socket: &Socket,
    cx: &mut Context<'_>,
    from: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut op = Op::polled(Direction::Send, WaitingOn::Write);
    op.poll(socket.by_ref(), "poll_write_vectored", cx, |driver, key, fd| driver.send_vectored(key, fd, from))
}

fn poll_flush(socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut op = Op::polled(Direction::Send, WaitingOn::Write);
    op.poll(socket.by_ref(), "poll_flush", cx, |driver, key, _| driver.flush(key))
}

fn poll_close(socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut op = Op::polled(Direction::Send, WaitingOn::Write);
    op.poll(socket.by_ref(), "poll_close", cx, |driver, key, fd| driver.shutdown(key, fd, Shutdown::Write))
}

macro_rules! async_read {
    ($($type:ty => $this:ident $socket:expr),* $(,)?) => {$(
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
                let $this = &*self;
                poll_read($socket, cx, into)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                into: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                let $this = &*self;
                poll_read_vectored($socket, cx, into)
            }
        }
    )*};
}

macro_rules! async_write {
    ($($type:ty => $this:ident $socket:expr),* $(,)?) => {$(
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
                let $this = &*self;
                poll_write($socket, cx, from)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                from: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $this = &*self;
                poll_write_vectored($socket, cx, from)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = &*self;
                poll_flush($socket, cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = &*self;
                poll_close($socket, cx)
            }
        }
    )*};
}

async_read! {
    TcpStream => this &this.socket,
    &TcpStream => this &this.socket,
    ReadHalf<'_> => this &this.0.socket,
    OwnedReadHalf => this &this.0.socket,
}

async_write! {
    TcpStream => this &this.socket,
    &TcpStream => this &this.socket,
    WriteHalf<'_> => this &this.0.socket,
    OwnedWriteHalf => this &this.0.socket,
}
