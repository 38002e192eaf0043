//! `kinds`: what it costs to switch, to create and to keep a coroutine of each kind. The article's last question, stackful against stackless, in figures.
//!
//! Each kind does in its own way what the others do in theirs: some are driven by a scheduler (squall's, Go's, the kernel's), some by whoever holds
//! them (generators, bare stacks, greenlets), so a figure is the price of that way and not of a switch alone. Measuring switches only, by subtracting what surrounds them,
//! was rejected but for one bar, which is about that.

mod foreign;
mod generators;
mod ours;
mod plot;

use crate::machine::Machine;
use crate::rounds::{self, Case, Outcome, Row};
use crate::stats::{max, median, min, paired_ratio};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

pub use ours::{create_fiber, fiber_1000, keep_fibers};

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    rounds: rounds::Options,
    /// Draws the figures into this file.
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

const ONE: &str = "switch, alone";
const THOUSAND: &str = "switch, 1,000";
const CREATE: &str = "create and join";
const KEEP: &str = "keep";

const ROWS: &[Row] = &[
    Row { name: ONE, unit: "ns", what: "one coroutine pauses and goes on, over and over" },
    Row { name: THOUSAND, unit: "ns", what: "1,000 take turns; for each turn of one" },
    Row {
        name: CREATE,
        unit: "ns",
        what: "one is made, run to its end, and its value taken; one after the other",
    },
    Row { name: KEEP, unit: "B", what: "resident bytes of one of many that wait" },
];

const FIBER: &str = "fiber";
const TASK: &str = "task";
const GENERATOR: &str = "generator";
const BARE: &str = "corosensei";
const THREAD: &str = "OS thread";
const GO: &str = "Go";
const GREENLET: &str = "greenlet";
const PYTHON: &str = "Python generator";

/// In the order of the tables.
const KINDS: [&str; 8] = [FIBER, TASK, GENERATOR, BARE, THREAD, GO, GREENLET, PYTHON];

fn note(kind: &str) -> &'static str {
    match kind {
        FIBER => "squall's, through the loop's ready queue; 100,000 are kept",
        TASK => "squall's, likewise",
        GENERATOR => "squall's, resumed by hand",
        BARE => {
            "bare stacks, resumed by hand; creating reuses one stack; each has a mapping of its own, so 30,000 are kept"
        }
        THREAD => {
            "a baton that goes round by park and unpark, on one core (alone: between two; a hundred for 1,000); 1,000 are kept"
        }
        GO => "goroutines with GOMAXPROCS=1: runtime.Gosched, a channel to join by; 100,000 are kept",
        GREENLET => "switched to by hand from one parent; 100,000 are kept",
        _ => "resumed by next(); 100,000 are kept",
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    type Measures = &'static [(&'static str, rounds::Measure)];
    let ours: [(&'static [&'static str], Measures); 4] = [
        (
            &[ONE],
            &[
                (FIBER, ours::fiber_1),
                (TASK, ours::task_1),
                (GENERATOR, generators::generator_1),
                (BARE, ours::bare_1),
                (THREAD, ours::threads_2),
            ],
        ),
        (
            &[THOUSAND],
            &[
                (FIBER, ours::fiber_1000),
                (TASK, ours::task_1000),
                (GENERATOR, generators::generator_1000),
                (BARE, ours::bare_1000),
                (THREAD, ours::threads_100),
            ],
        ),
        (
            &[CREATE],
            &[
                (FIBER, ours::create_fiber),
                (TASK, ours::create_task),
                (GENERATOR, generators::create_generator),
                (BARE, ours::create_bare),
                (THREAD, ours::create_thread),
            ],
        ),
        (
            &[KEEP],
            &[
                (FIBER, ours::keep_fibers),
                (TASK, ours::keep_tasks),
                (GENERATOR, generators::keep_generators),
                (BARE, ours::keep_bare),
                (THREAD, ours::keep_threads),
            ],
        ),
    ];
    for (rows, measures) in ours {
        cases.extend(measures.iter().map(|(runtime, run)| Case { rows, runtime, note: None, run: Ok(*run) }));
        cases.extend(foreign::cases(rows));
    }
    cases
}

pub fn run(options: &Options) -> Result<(), String> {
    foreign::build()?;
    let outcomes = rounds::run(cases(), &options.rounds);
    if outcomes.is_empty() {
        return Err(format!("nothing is named so; there are: {}", KINDS.join(", ")));
    }
    let machine = Machine::look();
    if let Some(file) = &options.rounds.json {
        let found = serde_json::json!({ "command": "kinds", "rounds": options.rounds.rounds(), "quick": options.rounds.quick, "machine": machine, "outcomes": outcomes });
        let text = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?;
        fs::write(file, text + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let under = format!(
        "{}, one core of {}, Linux {}; medians of {} interleaved rounds{}",
        machine.cpu,
        machine.cores,
        machine.kernel,
        options.rounds.rounds(),
        if options.rounds.quick { ", quick: for show only" } else { "" }
    );
    if let Some(file) = &options.plot {
        fs::write(file, plot::draw(&panels(&outcomes), &under))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    print!("{}", markdown(&outcomes, &under));
    Ok(())
}

fn rounds_of<'a>(outcomes: &'a [Outcome], row: &str, kind: &str) -> Option<&'a [f64]> {
    let outcome = outcomes.iter().find(|outcome| outcome.row == row && outcome.runtime == kind)?;
    Some(&*outcome.rounds).filter(|rounds| !rounds.is_empty())
}

fn panels(outcomes: &[Outcome]) -> Vec<plot::Panel> {
    let panel = |row: &Row| plot::Panel {
        title: row.name,
        unit: row.unit,
        what: row.what,
        bars: KINDS
            .into_iter()
            .filter_map(|kind| Some((kind, median(rounds_of(outcomes, row.name, kind)?))))
            .collect(),
    };
    ROWS.iter().map(panel).filter(|panel| !panel.bars.is_empty()).collect()
}

fn markdown(outcomes: &[Outcome], under: &str) -> String {
    let mut page = format!(
        "`kinds`: {under}.\n\n| | {} |\n|---|",
        ROWS.iter().map(head).collect::<Vec<_>>().join(" | ")
    );
    page += &"---|".repeat(ROWS.len());
    page += "\n";
    for kind in KINDS {
        let cell = |row: &Row| match rounds_of(outcomes, row.name, kind) {
            Some(rounds) => {
                format!("{} ({}–{})", short(median(rounds)), short(min(rounds)), short(max(rounds)))
            }
            None => "–".into(),
        };
        _ = writeln!(page, "| {kind} | {} |", ROWS.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    page += "\n";
    for row in ROWS {
        _ = writeln!(page, "- *{}*: {}", row.name, row.what);
    }
    for kind in KINDS {
        _ = writeln!(page, "- *{kind}*: {}", note(kind));
    }
    let mut refused: Vec<_> = outcomes
        .iter()
        .filter_map(|o| o.refused.as_ref().map(|why| format!("- not measured: {}: {why}", o.runtime)))
        .collect();
    refused.dedup();
    page += &refused.join("\n");
    page += "\n\n| bar | measured | |\n|---|---|---|\n";
    for (bar, measured, is_met) in verdicts(outcomes) {
        _ = writeln!(page, "| {bar} | {measured} | {} |", if is_met { "met" } else { "**missed**" });
    }
    page
}

fn head(row: &Row) -> String {
    format!("{}, {}", row.name, row.unit)
}

fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// What fibers have to reach.
fn verdicts(outcomes: &[Outcome]) -> Vec<(String, String, bool)> {
    let mut verdicts = Vec::new();
    for (row, limit) in [(THOUSAND, 0.4), (CREATE, 0.4)] {
        if let (Some(fiber), Some(go)) = (rounds_of(outcomes, row, FIBER), rounds_of(outcomes, row, GO)) {
            let ratio = paired_ratio(fiber, go);
            verdicts.push((format!("{row}: fiber ≤ {limit} × Go"), format!("{ratio:.2} ×"), ratio <= limit));
        }
    }
    let alone = |kind| rounds_of(outcomes, ONE, kind);
    if let (Some(fiber), Some(task), Some(bare)) = (alone(FIBER), alone(TASK), alone(BARE)) {
        // A turn of the loop is in both: what is left is the resume, the suspend, and what surrounds them.
        let pair: Vec<f64> = fiber.iter().zip(task).map(|(fiber, task)| fiber - task).collect();
        let ratio = paired_ratio(&pair, bare);
        verdicts.push((
            "resume and suspend (alone: fiber less task) ≤ 3 × corosensei's pair".into(),
            format!("{ratio:.2} × (with the loop's turn {:.2} ×)", paired_ratio(fiber, bare)),
            ratio <= 3.0,
        ));
    }
    if let Some(bytes) = rounds_of(outcomes, KEEP, FIBER) {
        let most = max(bytes);
        verdicts.push(("keep: fiber ≤ 4,608 B at 100,000".into(), format!("{most:.0} B"), most <= 4608.0));
    }
    verdicts
}
