//! Descriptors and memory: what waits for readiness, and what a stream lends. Level 5.

mod op;
mod socket;
mod source;

pub use crate::driver::Chunk;
pub(crate) use op::{Op, SocketOp, SocketRef};
pub(crate) use socket::Socket;
pub use source::{Ready, Source};
