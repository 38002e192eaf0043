//! What programs talk to over a network. Level 6.

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
