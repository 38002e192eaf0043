//! Tables for people (Markdown) and everything for machines (JSON).

use crate::bars::{Against, RowOutcomes, Verdict, judge};
use crate::machine::Machine;
use crate::memory::PARTS;
use crate::rounds::{self, Case, Options, Outcome, Row};
use crate::runtimes::{FLOOR, NAMES, SQUALL};
use crate::stats::{max, median, min, paired_ratio};
use crate::{counts, echo};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What one run found. The summary is written for readers of the JSON; nothing here reads it back.
#[derive(Serialize, Deserialize)]
struct Found {
    command: String,
    rounds: usize,
    quick: bool,
    machine: Machine,
    outcomes: Vec<Outcome>,
    #[serde(default)]
    summary: Vec<Summary>,
}

#[derive(Serialize, Deserialize)]
struct Summary {
    row: String,
    runtime: String,
    unit: String,
    median: f64,
    min: f64,
    max: f64,
    over_floor: Option<f64>,
    over_best_peer: Option<f64>,
}

/// Measures and reports.
pub fn present(command: &str, cases: Vec<Case>, rows: &[Row], options: &Options) -> Result<(), String> {
    for name in &options.runtimes {
        if !NAMES.contains(&&**name) {
            return Err(format!("there is no runtime {name}; there are: {}", NAMES.join(", ")));
        }
    }
    let outcomes = rounds::run(cases, options);
    if outcomes.is_empty() {
        let names: Vec<_> = rows.iter().map(|row| row.name).collect();
        return Err(format!("no row is named so; there are: {}", names.join(", ")));
    }
    let found = Found {
        command: command.into(),
        rounds: options.rounds(),
        quick: options.quick,
        machine: Machine::look(),
        summary: summarise(&outcomes),
        outcomes,
    };
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?;
        fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    print!("{}", markdown(&[found]));
    Ok(())
}

const BEGIN: &str = "<!-- results: begin -->\n";
const END: &str = "<!-- results: end -->\n";

/// Reports earlier runs again.
pub fn again(files: &[PathBuf], into: Option<&Path>) -> Result<(), String> {
    let (mut found, mut other_tables) = (Vec::new(), String::new());
    for file in files {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        match echo::again(&text).or_else(|| counts::again(&text)) {
            Some(tables) => other_tables += &tables,
            None => found
                .push(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?),
        }
    }
    let tables = markdown(&found) + &other_tables;
    let Some(page) = into else {
        print!("{tables}");
        return Ok(());
    };
    let text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let (head, rest) = text.split_once(BEGIN).ok_or("the page has no marker where results begin")?;
    let (_, tail) = rest.split_once(END).ok_or("the page has no marker where results end")?;
    fs::write(page, [head, BEGIN, "\n", &tables, END, tail].concat()).map_err(|error| error.to_string())
}

fn unit_of(row: &str) -> Row {
    let mut rows = crate::sched::ROWS.iter().chain(crate::memory::ROWS);
    rows.find(|known| known.name == row).copied().unwrap_or(Row { name: "", unit: "", what: "" })
}

fn summarise(outcomes: &[Outcome]) -> Vec<Summary> {
    let measured = outcomes.iter().filter(|outcome| !outcome.rounds.is_empty());
    let summary = |outcome: &Outcome| {
        let row = RowOutcomes::of(outcomes, &outcome.row);
        Summary {
            row: outcome.row.clone(),
            runtime: outcome.runtime.clone(),
            unit: unit_of(&outcome.row).unit.into(),
            median: median(&outcome.rounds),
            min: min(&outcome.rounds),
            max: max(&outcome.rounds),
            over_floor: row.rounds_of(FLOOR).map(|floor| paired_ratio(&outcome.rounds, floor)),
            over_best_peer: row.best_peer().map(|peer| paired_ratio(&outcome.rounds, &peer.rounds)),
        }
    };
    measured.map(summary).collect()
}

// --- Markdown ----------------------------------------------------------------------------------------------------

fn markdown(found: &[Found]) -> String {
    let mut page = String::new();
    for found in found {
        machine(&mut page, found);
        figures(&mut page, &found.outcomes);
    }
    verdicts(&mut page, &found.iter().flat_map(|found| judge(&found.outcomes)).collect::<Vec<_>>());
    for found in found.iter().filter(|found| found.command == "memory") {
        sum(&mut page, &found.outcomes);
    }
    page
}

fn machine(page: &mut String, found: &Found) {
    let Machine { kernel, cpu, cores, rustc, crates } = &found.machine;
    let crates: Vec<_> = crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let quick = if found.quick { ", **quick: for show only**" } else { "" };
    line(
        page,
        format_args!(
            "`{}`: {} interleaved rounds{quick}, median (min–max). {cpu}, {cores} cores, Linux {kernel}, {rustc}; {}.\n",
            found.command,
            found.rounds,
            crates.join(", ")
        ),
    );
}

fn figures(page: &mut String, outcomes: &[Outcome]) {
    let names: Vec<_> =
        NAMES.into_iter().filter(|name| outcomes.iter().any(|o| o.runtime == *name)).collect();
    line(page, format_args!("| | {} | squall ÷ floor | squall ÷ best peer |", names.join(" | ")));
    line(page, format_args!("|---|{}---|---|", "---|".repeat(names.len())));
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    let mut note = |row, text: String| match notes.iter_mut().find(|(known, _)| *known == text) {
        Some((_, rows)) => rows.push(row),
        None => notes.push((text, vec![row])),
    };
    for row in rows(outcomes) {
        let of = RowOutcomes::of(outcomes, row);
        let cells: Vec<_> = names
            .iter()
            .map(|name| match (of.rounds_of(name), of.0.iter().find(|o| o.runtime == *name)) {
                (Some(rounds), outcome) => {
                    if let Some(text) = outcome.and_then(|outcome| outcome.note.as_ref()) {
                        note(row, format!("{name} {text}"));
                    }
                    format!("{} ({}–{})", short(median(rounds)), short(min(rounds)), short(max(rounds)))
                }
                (None, Some(Outcome { refused: Some(why), .. })) => {
                    note(row, format!("{name} {why}"));
                    "–".into()
                }
                (None, _) => String::new(),
            })
            .collect();
        let squall = of.rounds_of(SQUALL);
        let over = |to: Option<&[f64]>| match (squall, to) {
            (Some(squall), Some(to)) => format!("{:.2}", paired_ratio(squall, to)),
            _ => "–".into(),
        };
        let best = of.best_peer();
        let over_best = over(best.map(|peer| &*peer.rounds));
        let best = best.map(|peer| format!(" ({})", peer.runtime)).unwrap_or_default();
        line(
            page,
            format_args!(
                "| {row}, {} | {} | {} | {over_best}{best} |",
                unit_of(row).unit,
                cells.join(" | "),
                over(of.rounds_of(FLOOR))
            ),
        );
    }
    line(page, format_args!(""));
    for row in rows(outcomes) {
        line(page, format_args!("- *{row}*: {}", unit_of(row).what));
    }
    for (text, rows) in &notes {
        line(page, format_args!("- *{}*: {text}", rows.join(", ")));
    }
    line(page, format_args!(""));
}

fn verdicts(page: &mut String, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    line(page, format_args!("| bar | measured | |\n|---|---|---|"));
    for verdict in verdicts {
        let (limit, measured) = match verdict.bar.against {
            Against::Floor => {
                (format!("≤ {} × floor", verdict.bar.limit), format!("{:.2} ×", verdict.measured))
            }
            Against::BestPeer => (
                format!("≤ {} × best peer", verdict.bar.limit),
                format!("{:.2} × {}", verdict.measured, verdict.peer.as_deref().unwrap_or("?")),
            ),
            Against::Row(other) => {
                (format!("≤ {} × squall's {other}", verdict.bar.limit), format!("{:.2} ×", verdict.measured))
            }
            Against::Bytes => (format!("≤ {} B", verdict.bar.limit), format!("{:.0} B", verdict.measured)),
        };
        let met = if verdict.is_met() { "met" } else { "**missed**" };
        line(page, format_args!("| {}: {limit} | {measured} | {met} |", verdict.bar.row));
    }
    line(page, format_args!(""));
}

/// squall's memory, field by field.
fn sum(page: &mut String, outcomes: &[Outcome]) {
    line(page, format_args!("| part of squall's task, B | parked | sleeping |\n|---|---|---|"));
    for part in PARTS {
        let cell = |is_there: bool, bytes: f64| if is_there { short(bytes) } else { "–".into() };
        let (parked, sleeping) =
            (cell(part.parked > 0.0, part.parked), cell(part.sleeping > 0.0, part.sleeping));
        line(page, format_args!("| {} | {parked} | {sleeping} |", part.what));
    }
    let measured = |row: &str| {
        RowOutcomes::of(outcomes, row).rounds_of(SQUALL).map_or("–".into(), |rounds| short(median(rounds)))
    };
    let parked: f64 = PARTS.iter().map(|part| part.parked).sum();
    let sleeping: f64 = PARTS.iter().map(|part| part.sleeping).sum();
    line(page, format_args!("| **sum** | {} | {} |", short(parked), short(sleeping)));
    line(page, format_args!("| measured | {} | {} |\n", measured("parked task"), measured("sleeping task")));
}

fn rows(outcomes: &[Outcome]) -> Vec<&str> {
    let mut rows: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.row).collect();
    rows.dedup();
    rows
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
