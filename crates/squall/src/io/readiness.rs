//! What a callback can be registered on: a seal, because only this crate knows how a socket is named to its driver.

use super::SocketRef;

/// A socket or another descriptor of the current loop, of which one can be told when it is ready:
/// [`TcpListener`](crate::net::TcpListener), [`TcpStream`](crate::net::TcpStream), and [`Source`](super::Source) for everything else.
///
/// For [`callback::add_reader`](crate::callback::add_reader) and its like. It cannot be implemented outside of this crate: wrap a foreign descriptor in a
/// `Source`.
pub trait Readiness: Watched {}

/// How the loop finds it.
pub trait Watched {
    #[doc(hidden)]
    fn watched(&self) -> SocketRef<'_>;
}
