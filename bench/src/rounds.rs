//! Interleaved rounds: A B C, B C A, C A B, …, each measurement in a process of its own.
//!
//! What is compared is measured within the same few hundred milliseconds, row by row, and the order rotates, so neither the drift of
//! the host nor who comes after whom favours anybody. A process for each, because within one the addresses of stack and heap
//! are drawn once and can cost a hand-over a third more (two places alias in the core's store queue) in every round alike; because
//! an allocator that has seen a million timers hands out other memory than a fresh one; and because a peer that panics
//! or spins for ever then loses its place in the table and nothing else.

use crate::machine::{RUNTIME_CORE, pin};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
    /// Three rounds of a tenth of the work each: to see that all of it runs.
    #[arg(long)]
    pub quick: bool,
    /// Only rows whose name contains this (may be given several times).
    #[arg(long, value_name = "ROW")]
    pub only: Vec<String>,
    /// Only these runtimes, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub runtimes: Vec<String>,
    /// Writes everything, each round's figure too, to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How much work one round does.
#[derive(Clone, Copy)]
pub struct Effort {
    divisor: u64,
}

impl Effort {
    fn new(is_quick: bool) -> Effort {
        Effort { divisor: if is_quick { 10 } else { 1 } }
    }

    /// So much less than a full round.
    pub fn divided_by(divisor: u64) -> Effort {
        Effort { divisor }
    }

    /// So many times, or a tenth in a quick run.
    pub fn times(self, full: u64) -> u64 {
        (full / self.divisor).max(1)
    }
}

pub type Measure = fn(Effort) -> Vec<f64>;

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub what: &'static str,
}

/// One runtime doing what gives the figures of one or more rows.
pub struct Case {
    pub rows: &'static [&'static str],
    pub runtime: &'static str,
    /// What a reader must know of this figure.
    pub note: Option<&'static str>,
    /// The measurement, which gives a figure for each of `rows`; or why this runtime cannot do it.
    pub run: Result<Measure, &'static str>,
}

/// What came out for one row and one runtime.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    pub row: String,
    pub runtime: String,
    pub rounds: Vec<f64>,
    #[serde(default)]
    pub note: Option<String>,
    /// Why there are no rounds.
    pub refused: Option<String>,
}

impl Options {
    fn selects(&self, case: &Case) -> bool {
        let row = |row: &&str| self.only.is_empty() || self.only.iter().any(|only| row.contains(&**only));
        case.rows.iter().any(row)
            && (self.runtimes.is_empty() || self.runtimes.iter().any(|name| name == case.runtime))
    }

    pub fn rounds(&self) -> usize {
        if self.quick { self.rounds.min(3) } else { self.rounds.max(1) }
    }
}

/// Runs the selected cases. Cases of the same rows are interleaved with each other.
pub fn run(cases: Vec<Case>, options: &Options) -> Vec<Outcome> {
    let cases: Vec<Case> = cases.into_iter().filter(|case| options.selects(case)).collect();
    let progress = progress(cases.len() * options.rounds());
    let mut outcomes = Vec::new();
    for group in cases.chunk_by(|a, b| a.rows == b.rows) {
        let mut figures = vec![Vec::new(); group.len()];
        let mut refusals: Vec<_> = group.iter().map(|case| case.run.err().map(String::from)).collect();
        for round in 0..options.rounds() {
            for turn in 0..group.len() {
                let n = (turn + round) % group.len();
                progress.set_message(format!("{}: {}", group[n].rows[0], group[n].runtime));
                if refusals[n].is_none() {
                    match in_a_process_of_its_own(&group[n], options.quick) {
                        Ok(values) => figures[n].push(values),
                        Err(why) => refusals[n] = Some(why),
                    }
                }
                progress.inc(1);
            }
        }
        for (n, row) in group[0].rows.iter().enumerate() {
            for ((case, figures), refused) in group.iter().zip(&figures).zip(&refusals) {
                outcomes.push(Outcome {
                    row: row.to_string(),
                    runtime: case.runtime.into(),
                    rounds: if refused.is_some() {
                        Vec::new()
                    } else {
                        figures.iter().map(|v| v[n]).collect()
                    },
                    note: case.note.map(String::from),
                    refused: refused.clone(),
                });
            }
        }
    }
    progress.finish_and_clear();
    outcomes
}

/// A runtime may spin for ever where another goes on.
const PATIENCE_S: u32 = 60;

/// The figures, or what became of the process.
fn in_a_process_of_its_own(case: &Case, is_quick: bool) -> Result<Vec<f64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["once", case.rows[0], case.runtime]).args(is_quick.then_some("--quick"));
    let ended = command.output().map_err(|error| error.to_string())?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let said: Vec<_> = said.filter(|line| !line.starts_with("note:")).take(2).collect();
        return Err(format!("fails ({}) {}", ended.status, place_in_crate(&said.join(" "))));
    }
    let figures: Option<Vec<f64>> =
        String::from_utf8_lossy(&ended.stdout).split_whitespace().map(|figure| figure.parse().ok()).collect();
    figures.filter(|figures| figures.len() == case.rows.len()).ok_or_else(|| "gives no figures".into())
}

/// Where registries lie is this machine's business.
fn place_in_crate(said: &str) -> String {
    let Some((before, path)) = said.split_once("/registry/src/") else { return said.into() };
    let before = before.rsplit_once(' ').map_or("", |(before, _)| before);
    format!("{before} {}", path.split_once('/').map_or(path, |(_, in_crate)| in_crate))
}

/// The child's side.
pub fn once(cases: Vec<Case>, row: &str, runtime: &str, is_quick: bool) -> Result<(), String> {
    let case = cases.iter().find(|case| case.rows[0] == row && case.runtime == runtime);
    let measure = case.ok_or_else(|| format!("{runtime} has no row {row}"))?.run?;
    pin(RUNTIME_CORE);
    // SAFETY: takes a number. Nobody handles the signal, so it ends the process.
    unsafe { libc::alarm(PATIENCE_S) };
    answer(&measure(Effort::new(is_quick)))
}

/// Ends the process with its figures. For a measurement whose clearing away would take longer than itself.
pub fn answer(figures: &[f64]) -> ! {
    let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
    let written = writeln!(stdout(), "{}", figures.join(" "));
    std::process::exit(if written.is_ok() { 0 } else { 1 })
}

fn progress(steps: usize) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}").expect("a valid template");
    ProgressBar::new(steps as u64).with_style(style)
}
