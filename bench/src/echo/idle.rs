//! Resident memory of a connection that has echoed one message and waits for the next.

use super::pairs::Served;
use crate::stats::{max, median};
use serde::{Deserialize, Serialize};

pub const CONNECTIONS: usize = 10_000;
/// Before the first look: the first of everything is no part of a connection's share.
const EARLIER: usize = 100;
const MESSAGE_BYTES: usize = 64;

#[derive(Clone, Serialize, Deserialize)]
pub struct Idle {
    pub server: String,
    pub connections: usize,
    /// Bytes per connection, in each round.
    pub bytes: Vec<f64>,
}

impl Idle {
    pub fn median(&self) -> f64 {
        median(&self.bytes)
    }

    pub fn max(&self) -> f64 {
        max(&self.bytes)
    }
}

pub fn files() -> usize {
    CONNECTIONS + EARLIER + 32
}

/// A new process in each round: an allocator that was used before hands out pages that are resident already.
pub fn measure(server: &str, connections: usize, rounds: usize) -> Result<Idle, String> {
    let bytes = (0..rounds).map(|_| round(server, connections)).collect::<Result<_, _>>()?;
    Ok(Idle { server: server.into(), connections, bytes })
}

fn round(server: &str, connections: usize) -> Result<f64, String> {
    let mut served = Served::start(server, EARLIER, MESSAGE_BYTES)?;
    let before = served.server.resident_bytes()?;
    served.connect(connections, MESSAGE_BYTES).map_err(|error| format!("{server}: {error}"))?;
    Ok((served.server.resident_bytes()? as f64 - before as f64) / connections as f64)
}
