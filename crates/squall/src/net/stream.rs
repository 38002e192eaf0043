//! A TCP connection.

use super::ToAddrs;
use super::connect::Connect;
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::transfer::{
    Flush, Peek, Read, ReadExact, ReadVectored, Recv, ShutDown, Write, WriteAll, WriteVectored, reading,
    writing,
};
use crate::driver::Role;
use crate::io::{Chunk, Readiness, Socket, SocketRef, Watched};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::Location;
use std::time::Duration;

/// A TCP connection on an event loop.
///
/// Reading and writing take `&self` and plain borrowed buffers: one task may read while another writes, and a future may be dropped at any moment.
/// Each direction has one waiter at a time; a second gets an error that names the first.
///
/// It is `Send` and `Sync` (it is a descriptor and two numbers), but it belongs to its loop: used on another it gives an error;
/// [`detach`](Self::detach) and [`attach`](DetachedTcpStream::attach) move it. Dropped anywhere, it is closed on its own loop.
///
/// Dropping it closes the connection as the kernel does: what was written is still sent, and unread data in its receive queue
/// resets the connection. [`shutdown`](Self::shutdown) ends one direction and keeps the other.
///
/// What each operation gives in each state of the two directions (ended, shut down, failed) is the same under every driver:
///
/// | operation | open | ended or shut down | failed |
/// |---|---|---|---|
/// | `read`, `peek`, `recv` | data, or waits | 0 bytes or `None`, each time | the error, each time |
/// | `write` | takes some, or waits | `BrokenPipe` | the error, each time |
/// | `flush` | when all was handed on | done | the error |
/// | `shutdown(Write)` | done | done | the error |
///
/// Errors of sending never come out of a read before the data that arrived.
///
/// ```
/// use squall::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, peer) = listener.accept().await?;
///     assert_eq!(peer, client.local_addr()?);
///
///     client.write_all(b"ping").await?;
///     let mut text = [0; 4];
///     server.read_exact(&mut text).await?;
///     assert_eq!(&text, b"ping");
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpStream {
    pub(super) socket: Socket,
}

impl Watched for TcpStream {
    fn watched(&self) -> SocketRef<'_> {
        self.socket.by_ref()
    }
}

impl Readiness for TcpStream {}

impl TcpStream {
    /// Connects; each address is tried in turn until one answers. Host names are looked up on the blocking pool.
    ///
    /// # Errors
    /// That of the last address tried; when a name cannot be looked up; under virtual time.
    ///
    /// Cancellation: dropping the future gives the attempt up and closes its descriptor.
    #[track_caller]
    pub fn connect(to: impl ToAddrs) -> Connect {
        Connect::new(&to, Location::caller())
    }

    /// Takes a connected stream of the standard library's into the current loop, and sets it to nonblocking mode.
    ///
    /// # Errors
    /// Under virtual time, or if the mode cannot be set.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        TcpStream::adopt("TcpStream::from_std", stream.into())
    }

    #[track_caller]
    pub(super) fn adopt(what: &str, nonblocking: OwnedFd) -> io::Result<TcpStream> {
        Ok(TcpStream { socket: Socket::new(what, nonblocking, Role::Stream)? })
    }

    /// Gives the stream to the standard library, in blocking mode.
    ///
    /// # Errors
    /// On another loop than the stream's. With bytes still to be sent: await [`flush`](Self::flush) before. With bytes that the `uring` driver has
    /// received and nobody has read: read them before, until [`try_read`](Self::try_read) gives `WouldBlock`, or
    /// [`detach`](Self::detach). The stream is closed then.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let (fd, unread) = self.socket.detach("TcpStream::into_std")?;
        if !unread.is_empty() {
            return Err(io::Error::other(format!(
                "TcpStream::into_std: {} bytes have arrived that were not read: read them before, until try_read gives WouldBlock",
                unread.len()
            )));
        }
        let stream = std::net::TcpStream::from(fd);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Lets the stream go from its loop, to be [attached](DetachedTcpStream::attach) to another one.
    ///
    /// # Errors
    /// On another loop than the stream's, and with bytes still to be sent: await [`flush`](Self::flush) before. The stream is closed then.
    pub fn detach(self) -> io::Result<DetachedTcpStream> {
        let (fd, unread) = self.socket.detach("TcpStream::detach")?;
        Ok(DetachedTcpStream { fd, unread })
    }

    // --- reading -------------------------------------------------------------------------------------------------

    /// Receives what is there, or waits, into memory that the loop's driver lends. `None` is the end of the stream.
    ///
    /// An idle connection holds no buffer, so this is the cheapest way to read many connections.
    ///
    /// Cancellation: nothing is lost.
    #[track_caller]
    pub fn recv(&self) -> Recv<'_> {
        Recv { op: reading(&self.socket, Location::caller()) }
    }

    /// Reads into `into` what is there, or waits; gives the number of bytes. 0 is the end of the stream (or an empty buffer).
    ///
    /// Cancellation: nothing is lost.
    #[track_caller]
    pub fn read<'a>(&'a self, into: &'a mut [u8]) -> Read<'a> {
        Read { op: reading(&self.socket, Location::caller()), into }
    }

    /// Like [`read`](Self::read), into several buffers in order.
    #[track_caller]
    pub fn read_vectored<'a, 'b>(&'a self, into: &'a mut [IoSliceMut<'b>]) -> ReadVectored<'a, 'b> {
        ReadVectored { op: reading(&self.socket, Location::caller()), into }
    }

    /// Fills `into`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the stream ends before.
    ///
    /// Cancellation: what was read until then is lost with the future.
    #[track_caller]
    pub fn read_exact<'a>(&'a self, into: &'a mut [u8]) -> ReadExact<'a> {
        ReadExact { op: reading(&self.socket, Location::caller()), into, filled: 0 }
    }

    /// Looks at what is there, or waits, without taking it.
    #[track_caller]
    pub fn peek<'a>(&'a self, into: &'a mut [u8]) -> Peek<'a> {
        Peek { op: reading(&self.socket, Location::caller()), into }
    }

    /// Reads what is there without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.with_driver("try_read", |driver, key, fd| driver.recv(key, fd, into))
    }

    /// Receives what is there without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there.
    pub fn try_recv(&self) -> io::Result<Option<Chunk>> {
        self.socket.with_driver("try_recv", |driver, key, fd| driver.recv_chunk(key, fd))
    }

    /// Like [`try_read`](Self::try_read), into several buffers in order.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there.
    pub fn try_read_vectored(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.with_driver("try_read_vectored", |driver, key, fd| driver.recv_vectored(key, fd, into))
    }

    // --- writing -------------------------------------------------------------------------------------------------

    /// Writes some of `from`, or waits for room; gives the number of bytes taken.
    ///
    /// Cancellation: nothing was taken.
    #[track_caller]
    pub fn write<'a>(&'a self, from: &'a [u8]) -> Write<'a> {
        Write { op: writing(&self.socket, Location::caller()), from }
    }

    /// Like [`write`](Self::write), from several buffers in order.
    #[track_caller]
    pub fn write_vectored<'a, 'b>(&'a self, from: &'a [IoSlice<'b>]) -> WriteVectored<'a, 'b> {
        WriteVectored { op: writing(&self.socket, Location::caller()), from }
    }

    /// Writes all of `from`.
    ///
    /// Cancellation: some of it may have been written.
    #[track_caller]
    pub fn write_all<'a>(&'a self, from: &'a [u8]) -> WriteAll<'a> {
        WriteAll { op: writing(&self.socket, Location::caller()), rest: from }
    }

    /// Waits until what was written has been handed to the kernel, or gives the error that stopped it.
    #[track_caller]
    pub fn flush(&self) -> Flush<'_> {
        Flush { op: writing(&self.socket, Location::caller()) }
    }

    /// Writes without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
    pub fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        self.socket.with_driver("try_write", |driver, key, fd| driver.send(key, fd, from))
    }

    /// Like [`try_write`](Self::try_write), from several buffers in order.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room.
    pub fn try_write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.with_driver("try_write_vectored", |driver, key, fd| driver.send_vectored(key, fd, from))
    }

    /// Shuts down one direction or both. After `Write` the peer reads what was written and then the end; reading goes on.
    ///
    /// # Errors
    /// For `Write`, that of a write that failed before. A connection that is gone counts as shut down.
    #[track_caller]
    pub fn shutdown(&self, how: Shutdown) -> ShutDown<'_> {
        ShutDown { op: writing(&self.socket, Location::caller()), how }
    }

    // --- halves --------------------------------------------------------------------------------------------------

    /// The two directions as two values that borrow the stream, each with one direction's methods only.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::by_ref(self)
    }

    /// The two directions as two values that own the stream together. Dropping the write half shuts the write side down.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split::owned(self)
    }

    // --- what the system knows of it -----------------------------------------------------------------------------

    /// The address of this end.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        inet(self.options().local_addr()?)
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// `NotConnected` when the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        inet(self.options().peer_addr()?)
    }

    /// Sends small writes at once instead of gathering them (`TCP_NODELAY`).
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.options().set_tcp_nodelay(on)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// Those of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.options().tcp_nodelay()
    }

    /// Probes a silent peer after this time, then each tenth of it (a second at least); `None` never does. It is how a peer that vanished without
    /// a word is noticed: reads and writes then fail with `TimedOut`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_keepalive(&self, after: Option<Duration>) -> io::Result<()> {
        match after {
            None => self.options().set_keepalive(false),
            Some(after) => {
                let after = after.max(Duration::from_secs(1));
                let every = (after / 10).max(Duration::from_secs(1));
                self.options().set_tcp_keepalive(&TcpKeepalive::new().with_time(after).with_interval(every))
            }
        }
    }

    /// Whether a silent peer is probed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn keepalive(&self) -> io::Result<bool> {
        self.options().keepalive()
    }

    /// `Some(0)`: dropping the stream resets the connection and throws away what was not sent. `None`: it is sent.
    ///
    /// # Errors
    /// `InvalidInput` for other times: the kernel would block the loop's thread for so long when the stream is dropped. Use
    /// [`shutdown`](Self::shutdown) and read until the end instead.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        if linger.is_some_and(|linger| !linger.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "lingering would block the event loop when the stream is dropped: shut down the write side and read until the end instead",
            ));
        }
        self.options().set_linger(linger)
    }

    /// How dropping the stream treats what was not sent.
    ///
    /// # Errors
    /// Those of the system.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.options().linger()
    }

    /// Asks for a send buffer of this many bytes in the kernel (Linux doubles it for its own needs).
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_send_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        self.options().set_send_buffer_size(bytes)
    }

    /// The bytes of the kernel's send buffer.
    ///
    /// # Errors
    /// Those of the system.
    pub fn send_buffer_bytes(&self) -> io::Result<usize> {
        self.options().send_buffer_size()
    }

    /// Asks for a receive buffer of this many bytes in the kernel (Linux doubles it for its own needs).
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_recv_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        self.options().set_recv_buffer_size(bytes)
    }

    /// The bytes of the kernel's receive buffer.
    ///
    /// # Errors
    /// Those of the system.
    pub fn recv_buffer_bytes(&self) -> io::Result<usize> {
        self.options().recv_buffer_size()
    }

    /// Hops that a packet may take.
    ///
    /// # Errors
    /// Those of the system; an IPv6 stream has no such option.
    pub fn set_ttl(&self, hops: u32) -> io::Result<()> {
        self.options().set_ttl_v4(hops)
    }

    /// Takes the error that the kernel holds for this socket, if there is one.
    ///
    /// # Errors
    /// Those of the system.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.options().take_error()
    }

    fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.socket)
    }
}

pub(super) fn inet(addr: socket2::SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(|| io::Error::other("the socket's address is neither IPv4 nor IPv6"))
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("TcpStream");
        if let Ok(local) = self.local_addr() {
            text.field("local", &local);
        }
        if let Ok(peer) = self.peer_addr() {
            text.field("peer", &peer);
        }
        text.field("fd", &self.as_raw_fd()).finish()
    }
}

/// A stream between two loops.
#[derive(Debug)]
pub struct DetachedTcpStream {
    fd: OwnedFd,
    /// What has arrived and was not read.
    unread: Vec<u8>,
}

impl DetachedTcpStream {
    /// Gives the stream to the current loop.
    ///
    /// # Errors
    /// Under virtual time; on a loop of another driver, with bytes that were received and not read.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn attach(self) -> io::Result<TcpStream> {
        let stream = TcpStream::adopt("DetachedTcpStream::attach", self.fd)?;
        stream.socket.put_unread("DetachedTcpStream::attach", &self.unread)?;
        Ok(stream)
    }
}

/// A stream is numbers and a descriptor: it may travel.
const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<TcpStream>();
    send_and_sync::<DetachedTcpStream>();
};
