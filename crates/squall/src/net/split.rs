//! The two directions of a stream as two values.

use super::stream::TcpStream;
use super::transfer::{
    Flush, Peek, Read, ReadExact, ReadVectored, Recv, ShutDown, Write, WriteAll, WriteVectored,
};
use crate::io::Chunk;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

/// The read side of a borrowed [`TcpStream`].
#[derive(Debug)]
pub struct ReadHalf<'s>(pub(super) &'s TcpStream);

/// The write side of a borrowed [`TcpStream`].
#[derive(Debug)]
pub struct WriteHalf<'s>(pub(super) &'s TcpStream);

/// The read side of a [`TcpStream`] whose other side is an [`OwnedWriteHalf`].
#[derive(Debug)]
pub struct OwnedReadHalf(pub(super) Arc<TcpStream>);

/// The write side of a [`TcpStream`] whose other side is an [`OwnedReadHalf`]. Dropping it shuts the write side down.
#[derive(Debug)]
pub struct OwnedWriteHalf(pub(super) Arc<TcpStream>);

pub(super) fn by_ref(stream: &mut TcpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(super) fn owned(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(stream);
    (OwnedReadHalf(stream.clone()), OwnedWriteHalf(stream))
}

/// Two halves that do not belong together.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these halves are of two different streams")
    }
}

impl std::error::Error for ReuniteError {}

impl OwnedReadHalf {
    /// Puts the halves together again.
    ///
    /// # Errors
    /// Gives both back if they are of different streams.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.0, &other.0) {
            return Err(ReuniteError(self, other));
        }
        let stream = self.0;
        drop(other.into_stream());
        Ok(Arc::into_inner(stream).expect("a stream has two halves, and both are here"))
    }
}

impl OwnedWriteHalf {
    /// Takes the stream out without shutting it down.
    fn into_stream(self) -> Arc<TcpStream> {
        let stream = self.0.clone();
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never used or dropped again, so its field is dropped once, here.
        unsafe { std::ptr::drop_in_place(&mut this.0) };
        stream
    }

    /// Drops the half without shutting the write side down; it ends when the read half is dropped too.
    pub fn forget(self) {
        drop(self.into_stream());
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        // On another loop, or after its own has ended, closing the descriptor will say it.
        let _ =
            self.0.socket.with_driver("shutdown", |driver, key, fd| driver.shutdown_after_sending(key, fd));
    }
}

macro_rules! reading {
    ($($half:ty),*) => {$(
        impl $half {
            /// See [`TcpStream::recv`].
            #[track_caller]
            pub fn recv(&self) -> Recv<'_> {
                self.0.recv()
            }

            /// See [`TcpStream::read`].
            #[track_caller]
            pub fn read<'a>(&'a self, into: &'a mut [u8]) -> Read<'a> {
                self.0.read(into)
            }

            /// See [`TcpStream::read_vectored`].
            #[track_caller]
            pub fn read_vectored<'a, 'b>(&'a self, into: &'a mut [IoSliceMut<'b>]) -> ReadVectored<'a, 'b> {
                self.0.read_vectored(into)
            }

            /// See [`TcpStream::read_exact`].
            #[track_caller]
            pub fn read_exact<'a>(&'a self, into: &'a mut [u8]) -> ReadExact<'a> {
                self.0.read_exact(into)
            }

            /// See [`TcpStream::peek`].
            #[track_caller]
            pub fn peek<'a>(&'a self, into: &'a mut [u8]) -> Peek<'a> {
                self.0.peek(into)
            }

            /// See [`TcpStream::try_read`].
            ///
            /// # Errors
            /// `WouldBlock` if nothing is there.
            pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
                self.0.try_read(into)
            }

            /// See [`TcpStream::try_recv`].
            ///
            /// # Errors
            /// `WouldBlock` if nothing is there.
            pub fn try_recv(&self) -> io::Result<Option<Chunk>> {
                self.0.try_recv()
            }

            /// See [`TcpStream::peer_addr`].
            ///
            /// # Errors
            /// `NotConnected` when the connection is gone.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.0.peer_addr()
            }
        }
    )*};
}

macro_rules! writing {
    ($($half:ty),*) => {$(
        impl $half {
            /// See [`TcpStream::write`].
            #[track_caller]
            pub fn write<'a>(&'a self, from: &'a [u8]) -> Write<'a> {
                self.0.write(from)
            }

            /// See [`TcpStream::write_vectored`].
            #[track_caller]
            pub fn write_vectored<'a, 'b>(&'a self, from: &'a [IoSlice<'b>]) -> WriteVectored<'a, 'b> {
                self.0.write_vectored(from)
            }

            /// See [`TcpStream::write_all`].
            #[track_caller]
            pub fn write_all<'a>(&'a self, from: &'a [u8]) -> WriteAll<'a> {
                self.0.write_all(from)
            }

            /// See [`TcpStream::flush`].
            #[track_caller]
            pub fn flush(&self) -> Flush<'_> {
                self.0.flush()
            }

            /// See [`TcpStream::try_write`].
            ///
            /// # Errors
            /// `WouldBlock` if there is no room.
            pub fn try_write(&self, from: &[u8]) -> io::Result<usize> {
                self.0.try_write(from)
            }

            /// Shuts the write side down: the peer reads what was written and then the end.
            #[track_caller]
            pub fn shutdown(&self) -> ShutDown<'_> {
                self.0.shutdown(Shutdown::Write)
            }

            /// See [`TcpStream::peer_addr`].
            ///
            /// # Errors
            /// `NotConnected` when the connection is gone.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.0.peer_addr()
            }
        }
    )*};
}

reading!(ReadHalf<'_>, OwnedReadHalf);
writing!(WriteHalf<'_>, OwnedWriteHalf);
