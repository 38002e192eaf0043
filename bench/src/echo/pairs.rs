//! Paired slices: candidate and reference alive side by side, and the load turns from one to the other and back.
//!
//! The host drifts by a third between minutes, so only what is taken within the same half second is compared. What is compared is
//! CPU time for a message, the kernel's share included: throughput is bounded by the load as often as by the server.

use super::cell::Cell;
use super::child::{Program, Worker};
use super::interval::{Estimate, estimate};
use super::load::PATIENCE;
use super::servers;
use crate::machine::{OTHER_CORE, RUNTIME_CORE};
use crate::stats::median;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one cell found of one server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Compared {
    pub cell: Cell,
    pub server: String,
    pub with_spinners: bool,
    /// CPU time for a message: the server's over the reference's.
    pub ratio: Estimate,
    pub candidate: Side,
    pub reference: Side,
    pub ratios: Vec<f64>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Side {
    pub cpu_us: f64,
    pub messages_per_second: f64,
    pub latency_us: Latency,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Latency {
    fn median<'a>(of: impl Iterator<Item = &'a Latency> + Clone) -> Latency {
        let figure = |get: fn(&Latency) -> f64| median(&of.clone().map(get).collect::<Vec<_>>());
        Latency {
            p50: figure(|latency| latency.p50),
            p99: figure(|latency| latency.p99),
            p999: figure(|latency| latency.p999),
        }
    }
}

/// Both servers and their loads are started anew after so many pairs: where the kernel and the loader put a process's memory moves its figure by 3 %
/// at a thousand connections, and stays for the process's life.
const PAIRS_OF_A_PROCESS: usize = 4;

pub struct Plan {
    pub pairs: usize,
    pub slice: Duration,
}

/// A server with its own load, connected.
pub struct Served {
    pub server: Worker,
    pub load: Worker,
}

impl Served {
    /// Starts both; each connection has echoed one message of that many bytes.
    pub fn start(name: &str, connections: usize, bytes: usize) -> Result<Served, String> {
        let server = Worker::start(name, &servers::program(name)?, RUNTIME_CORE)?;
        let said = server.answer(PATIENCE)?;
        let address = said.split(' ').find(|word| word.starts_with("127.0.0.1:"));
        let address = address.ok_or_else(|| format!("{name} did not say where it listens: {said}"))?;
        let load = Worker::start("the load", &Program::of_this_bench(&["load", address]), OTHER_CORE)?;
        let mut served = Served { server, load };
        served.connect(connections, bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(served)
    }

    pub fn connect(&mut self, more: usize, bytes: usize) -> Result<(), String> {
        self.load.ask(&format!("connect {more} {bytes}"), 6 * PATIENCE).map(drop)
    }

    fn slice(&mut self, plan: &Plan, cell: Cell) -> Result<Slice, String> {
        let before = self.server.cpu_ns()?;
        let order = format!("slice {} {} {}", plan.slice.as_millis(), cell.outstanding, cell.bytes);
        let answer = numbers(&self.load.ask(&order, plan.slice + 2 * PATIENCE)?)?;
        let cpu_ns = (self.server.cpu_ns()? - before) as f64;
        match answer[..] {
            [messages, took_ns] if messages > 0.0 => {
                Ok(Slice { cpu_us: cpu_ns / messages / 1e3, rate: messages / took_ns * 1e9 })
            }
            _ => Err("a slice without messages".into()),
        }
    }

    fn latency(&mut self) -> Result<Latency, String> {
        match numbers(&self.load.ask("latency", PATIENCE)?)?[..] {
            [p50, p99, p999] => Ok(Latency { p50: p50 / 1e3, p99: p99 / 1e3, p999: p999 / 1e3 }),
            _ => Err("the load gave no latencies".into()),
        }
    }
}

struct Slice {
    cpu_us: f64,
    rate: f64,
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    text.split(' ').map(|word| word.parse().map_err(|_| format!("the load answered: {text}"))).collect()
}

/// Measures one server in one cell.
pub fn compare(
    server: &str,
    reference: &str,
    cell: Cell,
    plan: &Plan,
    with_spinners: bool,
) -> Result<Compared, String> {
    let (mut of_candidate, mut of_reference) = (Vec::new(), Vec::new());
    let mut latencies = Vec::new();
    while of_candidate.len() < plan.pairs {
        let mut candidate = Served::start(server, cell.connections, cell.bytes)?;
        let mut reference = Served::start(reference, cell.connections, cell.bytes)?;
        // Caches, congestion windows and histograms start from here.
        for side in [&mut candidate, &mut reference] {
            side.slice(plan, cell).map_err(|error| format!("{server}: {error}"))?;
            side.latency()?;
        }
        for _ in 0..PAIRS_OF_A_PROCESS.min(plan.pairs - of_candidate.len()) {
            of_candidate.push(candidate.slice(plan, cell).map_err(|error| format!("{server}: {error}"))?);
            of_reference.push(reference.slice(plan, cell)?);
        }
        latencies.push((candidate.latency()?, reference.latency()?));
    }
    let ratios: Vec<f64> = of_candidate.iter().zip(&of_reference).map(|(a, b)| a.cpu_us / b.cpu_us).collect();
    let side = |slices: &[Slice], latency_us| Side {
        cpu_us: median(&slices.iter().map(|slice| slice.cpu_us).collect::<Vec<_>>()),
        messages_per_second: median(&slices.iter().map(|slice| slice.rate).collect::<Vec<_>>()),
        latency_us,
    };
    Ok(Compared {
        cell,
        server: server.into(),
        with_spinners,
        ratio: estimate(&ratios),
        candidate: side(&of_candidate, Latency::median(latencies.iter().map(|(candidate, _)| candidate))),
        reference: side(&of_reference, Latency::median(latencies.iter().map(|(_, reference)| reference))),
        ratios,
    })
}
