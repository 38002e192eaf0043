//! `echo`: what an echo costs on each runtime, beside a raw epoll loop that runs at the same time.
//!
//! ```text
//! core 0: candidate server, reference server     one of them works at a time, in slices of 250 ms
//! core 1: its load,          its load            and this process, which turns from one to the other
//! ```
//!
//! wrk and its like were rejected: their throughput is the load generator's as often as the server's, and two runs of the same
//! server on a shared machine differ by more than the runtimes do.

mod calls;
mod cell;
mod child;
mod idle;
mod interval;
mod load;
mod pairs;
mod program;
mod report;
mod servers;
mod verdict;

use crate::machine::{Machine, OTHER_CORE, RUNTIME_CORE, pin};
use cell::Cell;
use child::Spinners;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use pairs::Plan;
use report::{Found, Refusal};
use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use calls::parse as calls_in_table;
pub use report::again;

#[derive(Args, Clone)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Pairs of slices in each cell.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pairs: u16,
    /// Length of a slice.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 250, value_parser = clap::value_parser!(u16).range(10..=5000))]
    slice: u16,
    /// Keeps the cores from halting by idle-priority spinners; each cell is then measured without them too.
    #[arg(long)]
    spinners: bool,
    /// Only these servers, separated by commas.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Whom the servers are held against.
    #[arg(long, value_name = "SERVER", default_value = servers::RAW)]
    reference: String,
    /// Only these cells, CONNECTIONSxBYTESxOUTSTANDING separated by commas.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<Cell>,
    /// Only these parts, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Measured>,
    /// A few short slices in two cells and fewer idle connections: to see that all of it runs.
    #[arg(long)]
    quick: bool,
    /// Writes everything, each pair's ratio too, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measured {
    /// CPU time, throughput and latency, in paired slices.
    Cpu,
    /// Resident memory of idle connections.
    Idle,
    /// System calls for a message.
    Calls,
}

/// The processes that this one starts.
#[derive(Subcommand, Clone)]
enum Part {
    #[command(hide = true)]
    Serve { server: String },
    #[command(hide = true)]
    Load { address: SocketAddr },
    #[command(hide = true)]
    Spin,
}

pub fn run(options: &Options) -> Result<(), String> {
    match &options.part {
        Some(Part::Serve { server }) => servers::serve(server),
        Some(Part::Load { address }) => load::obey(*address),
        Some(Part::Spin) => child::spin(),
        None => measure(options),
    }
}

impl Options {
    fn measures(&self, part: Measured) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn servers(&self) -> Result<Vec<&'static str>, String> {
        if let Some(name) = self.servers.iter().find(|name| !servers::NAMES.contains(&&***name)) {
            return Err(format!("there is no server {name}; there are: {}", servers::NAMES.join(", ")));
        }
        let selected = |name: &&str| self.servers.is_empty() || self.servers.iter().any(|only| only == name);
        Ok(servers::NAMES.into_iter().filter(selected).collect())
    }

    fn cells(&self) -> Vec<Cell> {
        match (&*self.cells, self.quick) {
            ([], false) => cell::all(),
            ([], true) => {
                [50, 1_000].map(|connections| Cell { connections, bytes: 64, outstanding: 1 }).to_vec()
            }
            (cells, _) => cells.to_vec(),
        }
    }

    fn plan(&self) -> Plan {
        let slice = Duration::from_millis(u64::from(self.slice));
        if self.quick {
            Plan { pairs: usize::from(self.pairs).min(5), slice: slice.min(Duration::from_millis(100)) }
        } else {
            Plan { pairs: usize::from(self.pairs), slice }
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    let (mut names, plan) = (options.servers()?, options.plan());
    pin(OTHER_CORE);
    let open_files = child::raise_open_files();
    if !servers::NAMES.contains(&&*options.reference) {
        return Err(format!(
            "there is no server {}; there are: {}",
            options.reference,
            servers::NAMES.join(", ")
        ));
    }
    let mut found = Found::new(&options.reference, plan.pairs, plan.slice, options.quick, Machine::look());
    names.retain(|name| match servers::program(name) {
        Ok(_) => true,
        Err(why) => {
            found.refused.push(Refusal::new("everything", name, why));
            false
        }
    });
    if options.measures(Measured::Cpu) {
        slices(&names, options, &plan, open_files, &mut found);
    }
    if options.measures(Measured::Idle) {
        idle_connections(&names, options.quick, open_files, &mut found);
    }
    if options.measures(Measured::Calls) {
        count_calls(&names, &mut found);
    }
    found.present(options.json.as_deref())
}

fn slices(names: &[&str], options: &Options, plan: &Plan, open_files: usize, found: &mut Found) {
    let modes: &[bool] = if options.spinners { &[true, false] } else { &[false] };
    let mut cells = options.cells();
    cells.retain(|cell| match cell.refused(open_files) {
        None => true,
        Some(why) => {
            found.refused.push(Refusal::new(&cell.to_string(), "all", why));
            false
        }
    });
    let bar = progress(modes.len() * cells.len() * names.len());
    for &with_spinners in modes {
        let spinners = with_spinners.then(|| Spinners::on(&[RUNTIME_CORE, OTHER_CORE])).transpose();
        let _spinners = match spinners {
            Ok(spinners) => spinners,
            Err(why) => {
                found.refused.push(Refusal::new("everything with spinners", "all", why));
                continue;
            }
        };
        for cell in &cells {
            for name in names {
                bar.set_message(format!("{cell}: {name}"));
                match pairs::compare(name, &options.reference, *cell, plan, with_spinners) {
                    Ok(compared) => found.compared.push(compared),
                    Err(why) => found.refused.push(Refusal::new(&cell.to_string(), name, why)),
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
}

fn idle_connections(names: &[&str], is_quick: bool, open_files: usize, found: &mut Found) {
    const ROW: &str = "idle connections";
    if idle::files() > open_files {
        let why = format!("they need {} open files and the limit is {open_files}", idle::files());
        return found.refused.push(Refusal::new(ROW, "all", why));
    }
    let (connections, rounds) = if is_quick { (idle::CONNECTIONS / 10, 1) } else { (idle::CONNECTIONS, 3) };
    let bar = progress(names.len());
    for name in names {
        bar.set_message(format!("{ROW}: {name}"));
        match idle::measure(name, connections, rounds) {
            Ok(idle) => found.idle.push(idle),
            Err(why) => found.refused.push(Refusal::new(ROW, name, why)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
}

fn count_calls(names: &[&str], found: &mut Found) {
    const ROW: &str = "system calls";
    if let Some(why) = calls::refused() {
        return found.refused.push(Refusal::new(ROW, "all", why));
    }
    for name in names {
        for cell in calls::CELLS {
            match calls::count(name, cell) {
                Ok(calls) => found.calls.push(calls),
                Err(why) => found.refused.push(Refusal::new(&format!("{ROW}, {cell}"), name, why)),
            }
        }
    }
}

fn progress(steps: usize) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}").expect("a valid template");
    ProgressBar::new(steps as u64).with_style(style)
}
