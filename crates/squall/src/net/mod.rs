//! What programs talk to over a network: TCP.
//!
//! [`TcpListener::bind`] and [`accept`](TcpListener::accept), [`TcpStream::connect`]; then [`recv`](TcpStream::recv) where data is only looked at (into memory that the
//! loop lends, the cheapest way with many connections) or [`read`](TcpStream::read) into memory of your own, and
//! [`write_all`](TcpStream::write_all). All take the stream by shared reference: one task may read while another writes, through an `Rc`, or with
//! [`split`](TcpStream::split) and [`into_split`](TcpStream::into_split).
//!
//! ```
//! use squall::net::{TcpListener, TcpStream};
//! use std::rc::Rc;
//!
//! # fn main() -> std::io::Result<()> {
//! squall::run(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let client = TcpStream::connect(listener.local_addr()?).await?;
//!     let (conn, _peer) = listener.accept().await?;
//!     let conn = Rc::new(conn);
//!     let writing = conn.clone();
//!     let writer = squall::spawn(async move { writing.write_all(b"welcome").await });
//!     client.write_all(b"hello").await?;
//!     assert_eq!(conn.recv().await?.as_deref(), Some(&b"hello"[..]));
//!     writer.await.unwrap()?;
//!     let mut text = [0; 7];
//!     client.read_exact(&mut text).await?;
//!     assert_eq!(&text, b"welcome");
//!     Ok(())
//! })
//! # }
//! ```

mod accept;
mod addr;
mod connect;
mod futures_traits;
mod listener;
mod split;
mod stream;
mod transfer;

pub use accept::Accept;
pub use addr::{Resolve, ToAddrs};
pub use connect::Connect;
pub use listener::{Bind, ListenOptions, TcpListener};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stream::{DetachedTcpStream, TcpStream};
pub use transfer::{
    Flush, Peek, Read, ReadExact, ReadVectored, Recv, ShutDown, Write, WriteAll, WriteVectored,
};
