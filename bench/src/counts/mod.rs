//! `counts`: what one operation costs in things that can be counted, so that the answer is the same on a busy machine.
//!
//! ```text
//! for each row:  run it for n and for 3 n operations
//!                  plainly            → allocations, their bytes, polls
//!                  under callgrind    → instructions of the program (the kernel's are not seen)
//!                  under strace       → system calls
//!                what 2 n operations more have cost, over 2 n: starting and ending have cancelled out
//! ```
//!
//! The figures are held against `baseline/counts.json`; a change that makes one worse fails, and one that is meant is accepted
//! with `--accept`, which is then a line of the change that reviewers see. A hook in the harness (gungraun, iai) was rejected: it counts
//! instructions only, and needs a helper program of the same version installed beside it.

mod allocator;
mod baseline;
mod rows;
mod tools;

pub use rows::run;

use crate::machine::Machine;
use baseline::{Baseline, Counts};
use rows::ROWS;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Only rows whose name contains this (may be given several times).
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Takes the figures of this run as the new baseline.
    #[arg(long)]
    accept: bool,
    /// Writes the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The processes that this one starts.
#[derive(clap::Subcommand, Clone)]
enum Part {
    #[command(hide = true)]
    Row { row: String, operations: u64 },
}

pub fn run_command(options: &Options) -> Result<(), String> {
    match &options.part {
        Some(Part::Row { row, operations }) => rows::child(row, *operations),
        None => count(options),
    }
}

fn count(options: &Options) -> Result<(), String> {
    let selected =
        |name: &str| options.only.is_empty() || options.only.iter().any(|only| name.contains(&**only));
    let rows: Vec<_> = ROWS.iter().filter(|row| selected(row.name)).collect();
    if rows.is_empty() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row is named so; there are: {}", names.join(", ")));
    }
    let tools = tools::Tools::look();
    let machine = Machine::look();
    let mut found = Vec::new();
    for row in rows {
        let counts = tools.count(row).map_err(|why| format!("{}: {why}", row.name))?;
        found.push((row.name.to_string(), counts));
    }
    let found = Baseline::new(&machine, found);
    let before = Baseline::read()?;
    print!("{}", found.markdown(before.as_ref()));
    for missing in tools.missing() {
        println!("- not counted: {missing}");
    }
    if let Some(file) = &options.json {
        found.write(file)?;
    }
    if options.accept {
        if let Some(missing) = tools.missing().first() {
            return Err(format!("a baseline needs all counts: {missing}"));
        }
        return before.unwrap_or_default().replaced_by(found).write(&baseline::path());
    }
    let Some(before) = before else { return Err("there is no baseline; --accept makes one".into()) };
    let verdict = found.held_against(&before);
    for note in &verdict.notes {
        println!("- {note}");
    }
    if verdict.worse.is_empty() {
        println!("\nno count is worse than the baseline");
        return Ok(());
    }
    let mut message = String::from("worse than the baseline:\n");
    for line in &verdict.worse {
        writeln!(message, "  {line}").expect("a String takes everything");
    }
    message += "If that is the price of something, accept it with --accept and say so in the commit. To see where instructions go:\n";
    message += "  valgrind --tool=callgrind bench/target/release/squall-bench counts row ROW OPERATIONS && callgrind_annotate callgrind.out.*";
    Err(message)
}

/// The figures of a report, from their JSON. `None` if it is another command's.
pub fn again(json: &str) -> Option<String> {
    let found: Baseline = serde_json::from_str(json).ok()?;
    Some(found.markdown(None))
}

impl Counts {
    /// What one operation cost, from the totals of two runs.
    fn slope(few: &Counts, many: &Counts, operations: f64) -> Counts {
        few.combine(many, |few, many| (many - few) / operations)
    }
}
