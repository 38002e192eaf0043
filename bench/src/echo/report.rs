//! What an echo run found: Markdown for people, JSON for machines.

use super::calls::{self, Calls};
use super::cell::Cell;
use super::idle::Idle;
use super::pairs::{Compared, Side};
use super::servers;
use super::verdict::judge;
use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct Found {
    command: String,
    pairs: usize,
    slice_ms: u64,
    quick: bool,
    reference: String,
    machine: Machine,
    /// The congestion control that all connections had: it moves every figure by some per cent.
    congestion_control: String,
    pub compared: Vec<Compared>,
    pub idle: Vec<Idle>,
    pub calls: Vec<Calls>,
    pub refused: Vec<Refusal>,
}

/// What could not be measured, and why.
#[derive(Serialize, Deserialize)]
pub struct Refusal {
    what: String,
    server: String,
    why: String,
}

impl Refusal {
    pub fn new(what: &str, server: &str, why: String) -> Refusal {
        Refusal { what: what.into(), server: server.into(), why }
    }
}

/// The tables of an earlier run, from its JSON. `None` if it is another command's.
pub fn again(json: &str) -> Option<String> {
    let found: Found = serde_json::from_str(json).ok()?;
    (found.command == "echo").then(|| found.markdown())
}

impl Found {
    pub fn new(reference: &str, pairs: usize, slice: Duration, quick: bool, machine: Machine) -> Found {
        let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
        Found {
            command: "echo".into(),
            pairs,
            slice_ms: slice.as_millis() as u64,
            quick,
            reference: reference.into(),
            machine,
            congestion_control: control.map_or("unknown".into(), |name| name.trim().into()),
            compared: Vec::new(),
            idle: Vec::new(),
            calls: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub fn present(&self, json: Option<&Path>) -> Result<(), String> {
        if let Some(file) = json {
            let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
            fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
        }
        print!("{}", self.markdown());
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut page = String::new();
        self.head(&mut page);
        for with_spinners in [true, false] {
            let of_mode: Vec<_> =
                self.compared.iter().filter(|found| found.with_spinners == with_spinners).collect();
            if !of_mode.is_empty() {
                let cores =
                    if with_spinners { "kept awake by idle-priority spinners" } else { "free to halt" };
                line(
                    &mut page,
                    format_args!(
                        "**Server CPU per message ÷ that of {}, cores {cores}** (connections x bytes x outstanding; median, 95 % interval)\n",
                        self.reference
                    ),
                );
                ratios(&mut page, &of_mode);
                line(
                    &mut page,
                    format_args!(
                        "**The same run in absolute figures, cores {cores}** (of the server / of {} beside it)\n",
                        self.reference
                    ),
                );
                absolutes(&mut page, &of_mode);
            }
        }
        self.idle_connections(&mut page);
        self.system_calls(&mut page);
        self.verdicts(&mut page);
        for name in servers::NAMES {
            if let Some(note) = servers::note(name) {
                line(&mut page, format_args!("- *{name}*: {note}"));
            }
        }
        for Refusal { what, server, why } in &self.refused {
            line(&mut page, format_args!("- not measured: {what}, {server}: {why}"));
        }
        line(&mut page, format_args!(""));
        page
    }

    fn head(&self, page: &mut String) {
        let Machine { kernel, cpu, cores, rustc, crates } = &self.machine;
        let crates: Vec<_> = crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let quick = if self.quick { ", **quick: for show only**" } else { "" };
        line(
            page,
            format_args!(
                "`echo`: {} paired slices of {} ms in each cell{quick}. {cpu}, {cores} cores, Linux {kernel}, {}, {rustc}; {}.\n",
                self.pairs,
                self.slice_ms,
                self.congestion_control,
                crates.join(", ")
            ),
        );
    }

    fn idle_connections(&self, page: &mut String) {
        let Some(first) = self.idle.first() else { return };
        line(
            page,
            format_args!("| idle connection, one of {} | resident bytes, median (max) |", first.connections),
        );
        line(page, format_args!("|---|---|"));
        for idle in &self.idle {
            line(page, format_args!("| {} | {:.0} ({:.0}) |", idle.server, idle.median(), idle.max()));
        }
        line(page, format_args!(""));
    }

    fn system_calls(&self, page: &mut String) {
        if self.calls.is_empty() {
            return;
        }
        let heads = calls::CELLS.map(|cell| cell.to_string());
        line(page, format_args!("| system calls per message | {} |\n|---|---|---|", heads.join(" | ")));
        for name in servers::NAMES {
            let cells = calls::CELLS.map(|cell| {
                let found = self.calls.iter().find(|found| found.server == name && found.cell == cell);
                found.map_or("–".into(), calls_of_a_message)
            });
            if self.calls.iter().any(|found| found.server == name) {
                line(page, format_args!("| {name} | {} |", cells.join(" | ")));
            }
        }
        line(
            page,
            format_args!(
                "\nCounted under `strace`: with one connection, which pauses, every message is waited for; with fifty the slowed server finds all of them ready at each wait.\n"
            ),
        );
    }

    fn verdicts(&self, page: &mut String) {
        let verdicts = judge(&self.reference, &self.compared, &self.idle);
        if verdicts.is_empty() {
            return;
        }
        line(page, format_args!("| bar | measured | |\n|---|---|---|"));
        for verdict in verdicts {
            let met = if verdict.is_met { "met" } else { "**missed**" };
            line(page, format_args!("| {} | {} | {met} |", verdict.bar, verdict.measured));
        }
        line(page, format_args!(""));
    }
}

fn calls_of_a_message(found: &Calls) -> String {
    let per_message = |number: u64| number as f64 / found.messages as f64;
    let all: u64 = found.calls.iter().map(|(_, number)| number).sum();
    let frequent = found.calls.iter().filter(|(_, number)| per_message(*number) >= 0.01);
    let frequent: Vec<_> =
        frequent.map(|(name, number)| format!("{name} {:.2}", per_message(*number))).collect();
    format!("**{:.2}** {}", per_message(all), frequent.join(", "))
}

fn ratios(page: &mut String, compared: &[&Compared]) {
    let mut cells: Vec<Cell> = Vec::new();
    for found in compared {
        if !cells.contains(&found.cell) {
            cells.push(found.cell);
        }
    }
    let heads: Vec<_> = cells.iter().map(Cell::to_string).collect();
    line(page, format_args!("| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(cells.len())));
    for name in servers::NAMES.iter().filter(|name| compared.iter().any(|found| found.server == **name)) {
        let figure = |cell: &Cell| {
            let found = compared.iter().find(|found| found.server == *name && found.cell == *cell);
            found.map_or("–".into(), |found| {
                let ratio = found.ratio;
                format!("{:.3} ({:.3}–{:.3})", ratio.median, ratio.low, ratio.high)
            })
        };
        let figures: Vec<_> = cells.iter().map(figure).collect();
        line(page, format_args!("| {name} | {} |", figures.join(" | ")));
    }
    line(page, format_args!(""));
}

fn absolutes(page: &mut String, compared: &[&Compared]) {
    line(page, format_args!("| cell | server | CPU, µs | messages/s | p50, µs | p99, µs | p99.9, µs |"));
    line(page, format_args!("|---|---|---|---|---|---|---|"));
    for found in compared {
        let both = |figure: &dyn Fn(&Side) -> f64| {
            format!("{} / {}", short(figure(&found.candidate)), short(figure(&found.reference)))
        };
        line(
            page,
            format_args!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                found.cell,
                found.server,
                both(&|side| side.cpu_us),
                both(&|side| side.messages_per_second),
                both(&|side| side.latency_us.p50),
                both(&|side| side.latency_us.p99),
                both(&|side| side.latency_us.p999)
            ),
        );
    }
    line(page, format_args!(""));
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).and_then(|()| page.write_char('\n')).expect("a String takes everything");
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
