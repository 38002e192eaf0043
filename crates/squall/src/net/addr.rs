//! Addresses: literal ones are parsed, names are looked up by the system's resolver on the blocking pool.
//!
//! Only `getaddrinfo` honours the machine's own configuration (hosts file, name service switch), and it blocks; so names go to the
//! pool, and an address in figures never does.

use crate::blocking::{self, Job};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs as _};

use std::pin::Pin;
use std::task::{Context, Poll};

/// What [`bind`](super::TcpListener::bind) and [`connect`](super::TcpStream::connect) take: an address, several, `"host:port"`, or
/// `("host", port)`.
///
/// The names are those of [`std::net::ToSocketAddrs`]; it is a trait of its own because a name must be looked up without
/// blocking the loop.
pub trait ToAddrs {
    /// The addresses, or what has to be looked up.
    fn to_addrs(&self) -> Resolve;
}

/// Addresses, or the way to them.
#[derive(Clone, Debug)]
pub struct Resolve(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Known(Vec<SocketAddr>),
    Name(String, u16),
    Invalid(String),
}

impl Resolve {
    /// Addresses that are known.
    pub fn known(addrs: impl IntoIterator<Item = SocketAddr>) -> Resolve {
        Resolve(Kind::Known(addrs.into_iter().collect()))
    }

    /// A host name or a literal IP address, and a port.
    pub fn host(host: &str, port: u16) -> Resolve {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match literal.parse::<IpAddr>() {
            Ok(ip) => Resolve::known([SocketAddr::new(ip, port)]),
            Err(_) => Resolve(Kind::Name(host.into(), port)),
        }
    }
}

macro_rules! literal {
    ($($kind:ty),*) => {$(
        impl ToAddrs for $kind {
            fn to_addrs(&self) -> Resolve {
                Resolve::known([SocketAddr::from(*self)])
            }
        }
    )*};
}

literal!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToAddrs for [SocketAddr] {
    fn to_addrs(&self) -> Resolve {
        Resolve::known(self.iter().copied())
    }
}

impl<const N: usize> ToAddrs for [SocketAddr; N] {
    fn to_addrs(&self) -> Resolve {
        self[..].to_addrs()
    }
}

impl ToAddrs for Vec<SocketAddr> {
    fn to_addrs(&self) -> Resolve {
        self[..].to_addrs()
    }
}

impl ToAddrs for str {
    fn to_addrs(&self) -> Resolve {
        if let Ok(addr) = self.parse::<SocketAddr>() {
            return Resolve::known([addr]);
        }
        match self.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) if !host.is_empty() => Resolve::host(host, port),
            _ => Resolve(Kind::Invalid(format!(
                "{self:?} is no address: write it as host:port, like \"127.0.0.1:8888\""
            ))),
        }
    }
}

impl ToAddrs for String {
    fn to_addrs(&self) -> Resolve {
        self[..].to_addrs()
    }
}

impl ToAddrs for (&str, u16) {
    fn to_addrs(&self) -> Resolve {
        Resolve::host(self.0, self.1)
    }
}

impl ToAddrs for (String, u16) {
    fn to_addrs(&self) -> Resolve {
        Resolve::host(&self.0, self.1)
    }
}

impl<T: ToAddrs + ?Sized> ToAddrs for &T {
    fn to_addrs(&self) -> Resolve {
        (**self).to_addrs()
    }
}

/// A look-up under way.
pub(super) enum Resolving {
    Known(Vec<SocketAddr>),
    Invalid(String),
    Asking(String, Job<io::Result<Vec<SocketAddr>>>),
}

impl Resolving {
    #[track_caller]
    pub(super) fn new(addrs: &impl ToAddrs) -> Resolving {
        match addrs.to_addrs().0 {
            Kind::Known(addrs) => Resolving::Known(addrs),
            Kind::Invalid(why) => Resolving::Invalid(why),
            Kind::Name(host, port) => {
                let name = host.clone();
                let job = blocking::run(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()));
                Resolving::Asking(name, job)
            }
        }
    }

    /// Ready with at least one address.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        let (what, addrs) = match self {
            Resolving::Known(addrs) => ("an empty list of addresses was given".into(), std::mem::take(addrs)),
            Resolving::Invalid(why) => {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, std::mem::take(why))));
            }
            Resolving::Asking(host, job) => match Pin::new(job).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(addrs)) => (format!("the name {host:?} has no address"), addrs),
                Poll::Ready(Err(error)) => {
                    let text = format!("cannot look up {host:?}: {error}");
                    return Poll::Ready(Err(io::Error::new(error.kind(), text)));
                }
            },
        };
        if addrs.is_empty() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        Poll::Ready(Ok(addrs))
    }
}

impl fmt::Debug for Resolving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolving::Known(addrs) => addrs.fmt(f),
            Resolving::Invalid(why) => why.fmt(f),
            Resolving::Asking(host, _) => write!(f, "looking up {host:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(addrs: impl ToAddrs) -> Vec<String> {
        match addrs.to_addrs().0 {
            Kind::Known(addrs) => addrs.iter().map(SocketAddr::to_string).collect(),
            other => panic!("not known: {other:?}"),
        }
    }

    #[test]
    fn addresses_in_figures_are_never_looked_up() {
        assert_eq!(known("127.0.0.1:80"), ["127.0.0.1:80"]);
        assert_eq!(known("[::1]:80"), ["[::1]:80"]);
        assert_eq!(known(("10.0.0.1", 9)), ["10.0.0.1:9"]);
        assert_eq!(known(("[::1]", 9)), ["[::1]:9"]);
        assert_eq!(known((Ipv4Addr::LOCALHOST, 1)), ["127.0.0.1:1"]);
        assert_eq!(known([SocketAddr::from(([1, 2, 3, 4], 5)); 2]), ["1.2.3.4:5", "1.2.3.4:5"]);
    }

    #[test]
    fn names_are_kept_for_the_resolver() {
        assert!(matches!("localhost:8888".to_addrs().0, Kind::Name(host, 8888) if host == "localhost"));
        assert!(matches!(("example.org", 1).to_addrs().0, Kind::Name(..)));
    }

    #[test]
    fn what_is_no_address_says_how_to_write_one() {
        for text in ["", "localhost", ":80", "localhost:http", "localhost:99999"] {
            let Kind::Invalid(why) = text.to_addrs().0 else { panic!("{text:?} was taken") };
            assert_eq!(
                why,
                format!("{text:?} is no address: write it as host:port, like \"127.0.0.1:8888\"")
            );
        }
    }
}
