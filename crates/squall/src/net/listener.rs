//! A listening TCP socket.

use super::ToAddrs;
use super::accept::Accept;
use super::addr::Resolving;
use super::stream::{TcpStream, inet};
use crate::driver::Role;
use crate::io::{Readiness, Socket, SocketRef, Watched};
use crate::task::{WaitingOn, note_waiting};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How to listen.
///
/// ```
/// use squall::net::ListenOptions;
///
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     let options = ListenOptions::new().backlog(64).reuse_port(true);
///     let first = options.bind("127.0.0.1:0").await?;
///     // Two listeners of one port: the kernel deals connections out to both.
///     let second = options.bind(first.local_addr()?).await?;
///     assert_eq!(first.local_addr()?, second.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until bind()"]
pub struct ListenOptions {
    reuse_address: bool,
    reuse_port: bool,
    v6_only: Option<bool>,
    backlog: u32,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions::new()
    }
}

impl ListenOptions {
    /// Addresses of connections that are still winding down may be reused, one listener per port, a backlog of 4096.
    pub fn new() -> ListenOptions {
        ListenOptions { reuse_address: true, reuse_port: false, v6_only: None, backlog: 4096 }
    }

    /// Whether the port may be taken while connections of an earlier listener are still winding down (`SO_REUSEADDR`). Default: true.
    pub fn reuse_address(mut self, on: bool) -> ListenOptions {
        self.reuse_address = on;
        self
    }

    /// Whether several listeners may share the port (`SO_REUSEPORT`). Default: false.
    pub fn reuse_port(mut self, on: bool) -> ListenOptions {
        self.reuse_port = on;
        self
    }

    /// Whether a listener on an IPv6 address refuses IPv4 (`IPV6_V6ONLY`). Default: what the system does.
    pub fn v6_only(mut self, on: bool) -> ListenOptions {
        self.v6_only = Some(on);
        self
    }

    /// Connections that the kernel keeps until they are accepted; it may have a lower limit of its own (`net.core.somaxconn`). Default: 4096.
    pub fn backlog(mut self, connections: u32) -> ListenOptions {
        self.backlog = connections;
        self
    }

    /// Listens; of several addresses, on the first that can be bound.
    ///
    /// # Errors
    /// That of the last address tried (in use, not of this machine, no permission), naming it; when a name cannot be looked up; under virtual
    /// time.
    #[track_caller]
    pub fn bind(&self, to: impl ToAddrs) -> Bind {
        Bind { options: self.clone(), resolving: Resolving::new(&to), place: Location::caller() }
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<Socket> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(self.reuse_address)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let Some(on) = self.v6_only.filter(|_| addr.is_ipv6()) {
            socket.set_only_v6(on)?;
        }
        socket.bind(&SockAddr::from(addr))?;
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Socket::new("TcpListener::bind", socket.into(), Role::Listener)
    }
}

/// The future of [`TcpListener::bind`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Bind {
    options: ListenOptions,
    resolving: Resolving,
    place: &'static Location<'static>,
}

impl Future for Bind {
    type Output = io::Result<TcpListener>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(addrs) = self.resolving.poll(cx) else {
            note_waiting(WaitingOn::Blocking, self.place);
            return Poll::Pending;
        };
        let mut last = None;
        for addr in addrs? {
            match self.options.listen(addr) {
                Ok(socket) => return Poll::Ready(Ok(TcpListener { socket })),
                Err(error) => {
                    last = Some(io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
                }
            }
        }
        Poll::Ready(Err(last.expect("resolving gives at least one address")))
    }
}

/// A TCP socket that listens on an event loop. `Send`, `Sync`, and bound to its loop, like [`TcpStream`].
///
/// ```
/// use squall::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     let listener = TcpListener::bind(("localhost", 0)).await?;
///     let address = listener.local_addr()?;
///     let client = squall::spawn(async move { TcpStream::connect(address).await });
///     let (stream, peer) = listener.accept().await?;
///     assert_eq!(stream.peer_addr()?, peer);
///     client.await.unwrap()?;
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpListener {
    pub(super) socket: Socket,
}

impl Watched for TcpListener {
    fn watched(&self) -> SocketRef<'_> {
        self.socket.by_ref()
    }
}

impl Readiness for TcpListener {}

impl TcpListener {
    /// Listens with the defaults of [`ListenOptions`].
    ///
    /// # Errors
    /// As for [`ListenOptions::bind`].
    #[track_caller]
    pub fn bind(to: impl ToAddrs) -> Bind {
        ListenOptions::new().bind(to)
    }

    /// Waits for a connection.
    ///
    /// When the process or the system has no descriptor left it waits and tries again, from 10 ms up to a second apart, and says so on
    /// standard error (at most every ten seconds): the backlog keeps the connections meanwhile.
    ///
    /// # Errors
    /// Those of the system that do not pass; when another task accepts from this listener already.
    ///
    /// Cancellation: no connection is lost; the next `accept` gets it.
    #[track_caller]
    pub fn accept(&self) -> Accept<'_> {
        Accept::new(self, Location::caller())
    }

    /// Takes a connection without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, peer) = self.socket.with_driver("try_accept", |driver, key, fd| driver.accept(key, fd))?;
        Ok((TcpStream::adopt("try_accept", fd)?, peer))
    }

    /// The address it listens on: the way to learn the port after binding port 0.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        inet(SockRef::from(&self.socket).local_addr()?)
    }

    /// Takes a listener of the standard library's into the current loop, and sets it to nonblocking mode.
    ///
    /// # Errors
    /// Under virtual time, or if the mode cannot be set.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener { socket: Socket::new("TcpListener::from_std", listener.into(), Role::Listener)? })
    }

    /// Gives the listener to the standard library, in blocking mode.
    ///
    /// # Errors
    /// On another loop than the listener's; when the driver has accepted connections that nobody has taken (`uring` does, 16 at most):
    /// [`try_accept`](Self::try_accept), until it gives `WouldBlock`, takes them before. The listener is closed then, with them.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        let listener = std::net::TcpListener::from(self.socket.detach("TcpListener::into_std")?.0);
        listener.set_nonblocking(false)?;
        Ok(listener)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("TcpListener");
        if let Ok(local) = self.local_addr() {
            text.field("local", &local);
        }
        text.field("fd", &self.as_raw_fd()).finish()
    }
}
