//! Descriptors and memory: what waits for readiness, and what a stream lends.

mod op;
mod readiness;
mod socket;
mod source;

pub use crate::driver::Chunk;
pub(crate) use op::{Op, SocketOp, SocketRef, taken};
pub use readiness::Readiness;
pub(crate) use readiness::Watched;
pub(crate) use socket::Socket;
pub use source::{Ready, Source};
