//! The counts in the repository, and what is worse than they.

use super::rows::ROWS;
use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What one operation costs; in the course of counting also the totals of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Of the program, not of the kernel.
    pub instructions: Option<f64>,
    pub allocations: f64,
    pub allocated_bytes: f64,
    pub polls: f64,
    pub system_calls: Option<BTreeMap<String, f64>>,
}

impl Counts {
    pub fn combine(&self, other: &Counts, how: impl Fn(f64, f64) -> f64) -> Counts {
        let calls = self.system_calls.as_ref().zip(other.system_calls.as_ref()).map(|(mine, theirs)| {
            let of = |calls: &BTreeMap<String, f64>, name: &str| calls.get(name).copied().unwrap_or(0.0);
            let names = mine.keys().chain(theirs.keys());
            names.map(|name| (name.clone(), how(of(mine, name), of(theirs, name)))).collect()
        });
        Counts {
            instructions: self.instructions.zip(other.instructions).map(|(mine, theirs)| how(mine, theirs)),
            allocations: how(self.allocations, other.allocations),
            allocated_bytes: how(self.allocated_bytes, other.allocated_bytes),
            polls: how(self.polls, other.polls),
            system_calls: calls,
        }
    }

    fn calls(&self) -> Option<f64> {
        self.system_calls.as_ref().map(|calls| calls.values().sum::<f64>() + 0.0)
    }

    /// To three places, and without the calls that only a run's beginning and end make.
    fn rounded(self) -> Counts {
        let round = |value: f64| (value * 1000.0).round() / 1000.0 + 0.0;
        let mut rounded = self.combine(&self, |value, _| round(value));
        if let Some(calls) = &mut rounded.system_calls {
            calls.retain(|_, calls| calls.abs() >= 0.001);
        }
        rounded
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Instructions are compared only where the compiler is the same one.
    rustc: String,
    architecture: String,
    counts: Vec<(String, Counts)>,
}

/// Other than by so much, and a bit for what is close to nothing, a count may not grow. Instructions vary a little with the system's C library
/// (its allocator and `memcpy`), the rest with nothing.
const INSTRUCTIONS_MAY_GROW: f64 = 0.03;
const OTHERS_MAY_GROW: f64 = 0.01;

#[derive(Default)]
pub struct Verdict {
    pub worse: Vec<String>,
    pub notes: Vec<String>,
}

pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline/counts.json")
}

impl Baseline {
    pub fn new(machine: &Machine, counts: Vec<(String, Counts)>) -> Baseline {
        let counts = counts.into_iter().map(|(row, counts)| (row, counts.rounded())).collect();
        Baseline { rustc: machine.rustc.clone(), architecture: std::env::consts::ARCH.into(), counts }
    }

    pub fn read() -> Result<Option<Baseline>, String> {
        let path = path();
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn write(&self, file: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        std::fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))
    }

    fn of(&self, row: &str) -> Option<&Counts> {
        self.counts.iter().find(|(name, _)| name == row).map(|(_, counts)| counts)
    }

    /// The rows of the newer one, and mine where it has none.
    pub fn replaced_by(self, newer: Baseline) -> Baseline {
        let row = |row: &super::rows::Row| {
            let counts = newer.of(row.name).or(self.of(row.name));
            counts.map(|counts| (row.name.to_string(), counts.clone()))
        };
        Baseline { counts: ROWS.iter().filter_map(row).collect(), ..newer }
    }

    pub fn held_against(&self, before: &Baseline) -> Verdict {
        let mut verdict = Verdict::default();
        let is_same_compiler = (&self.rustc, &self.architecture) == (&before.rustc, &before.architecture);
        if !is_same_compiler {
            verdict.notes.push(format!(
                "instructions are not judged: the baseline is of {} on {}, this is {} on {}",
                before.rustc, before.architecture, self.rustc, self.architecture
            ));
        }
        for (row, now) in &self.counts {
            let Some(then) = before.of(row) else {
                verdict.worse.push(format!("{row}: not in the baseline"));
                continue;
            };
            let mut judge = |what: &str, now: f64, then: f64, may_grow: f64, slack: f64| {
                if now > then * (1.0 + may_grow) + slack {
                    verdict.worse.push(format!("{row}: {what} {now:.3}, was {then:.3}"));
                } else if now < then * (1.0 - may_grow) - slack {
                    verdict
                        .notes
                        .push(format!("{row}: {what} {now:.3}, better than the {then:.3} of the baseline"));
                }
            };
            if let (true, Some(now), Some(then)) = (is_same_compiler, now.instructions, then.instructions) {
                judge("instructions", now, then, INSTRUCTIONS_MAY_GROW, 1.0);
            }
            judge("allocations", now.allocations, then.allocations, OTHERS_MAY_GROW, 0.005);
            judge("allocated bytes", now.allocated_bytes, then.allocated_bytes, OTHERS_MAY_GROW, 1.0);
            judge("polls", now.polls, then.polls, OTHERS_MAY_GROW, 0.01);
            if let (Some(now), Some(then)) = (&now.system_calls, &then.system_calls) {
                let names: std::collections::BTreeSet<_> = now.keys().chain(then.keys()).collect();
                for name in names {
                    let of = |calls: &BTreeMap<String, f64>| calls.get(name).copied().unwrap_or(0.0);
                    judge(name, of(now), of(then), OTHERS_MAY_GROW, 0.01);
                }
            }
        }
        verdict
    }

    pub fn markdown(&self, before: Option<&Baseline>) -> String {
        let mut page = String::new();
        let mut line = |text: String| writeln!(page, "{text}").expect("a String takes everything");
        line(format!("`counts`: one operation's. {}, {}.\n", self.architecture, self.rustc));
        line("| | instructions | allocations | allocated bytes | polls | system calls |".into());
        line("|---|---|---|---|---|---|".into());
        for (row, counts) in &self.counts {
            let then = before.and_then(|before| before.of(row));
            let cell = |now: Option<f64>, then: Option<f64>, places: usize| match (now, then) {
                (None, _) => "–".into(),
                (Some(now), Some(then)) if (now - then).abs() >= 0.5 * 0.1_f64.powi(places as i32) => {
                    format!("{now:.places$} (was {then:.places$})")
                }
                (Some(now), _) => format!("{now:.places$}"),
            };
            let mut calls = cell(counts.calls(), then.and_then(Counts::calls), 2);
            for (name, number) in counts.system_calls.iter().flatten().filter(|(_, number)| **number >= 0.005)
            {
                write!(calls, ", {name} {number:.2}").expect("a String takes everything");
            }
            line(format!(
                "| {row} | {} | {} | {} | {} | {calls} |",
                cell(counts.instructions, then.and_then(|then| then.instructions), 1),
                cell(Some(counts.allocations), then.map(|then| then.allocations), 2),
                cell(Some(counts.allocated_bytes), then.map(|then| then.allocated_bytes), 0),
                cell(Some(counts.polls), then.map(|then| then.polls), 2),
            ));
        }
        line(String::new());
        for row in ROWS.iter().filter(|row| self.of(row.name).is_some()) {
            line(format!("- *{}*: {}", row.name, row.what));
        }
        page + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: f64, allocations: f64, sends: f64) -> Counts {
        Counts {
            instructions: Some(instructions),
            allocations,
            allocated_bytes: 0.0,
            polls: 1.0,
            system_calls: Some(BTreeMap::from([("sendto".to_string(), sends)])),
        }
    }

    fn of(rustc: &str, counts: Counts) -> Baseline {
        Baseline { rustc: rustc.into(), architecture: "x".into(), counts: vec![("echo x1".into(), counts)] }
    }

    #[test]
    fn more_of_anything_is_worse_and_less_is_a_note() {
        let before = of("a", counts(100.0, 0.0, 1.0));
        let worse = |now: Counts| of("a", now).held_against(&before).worse.len();
        assert_eq!(worse(counts(100.0, 0.0, 1.0)), 0);
        assert_eq!(worse(counts(103.0, 0.0, 1.0)), 0);
        assert_eq!(worse(counts(105.0, 0.0, 1.0)), 1);
        assert_eq!(worse(counts(100.0, 0.1, 2.0)), 2);
        let better = of("a", counts(80.0, 0.0, 1.0)).held_against(&before);
        assert_eq!((better.worse.len(), better.notes.len()), (0, 1));
    }

    #[test]
    fn another_compilers_instructions_are_not_judged_but_its_calls_are() {
        let before = of("a", counts(100.0, 0.0, 1.0));
        let now = of("b", counts(200.0, 0.0, 2.0)).held_against(&before);
        assert_eq!((now.worse.len(), now.notes.len()), (1, 1));
    }

    #[test]
    fn a_call_that_was_never_made_before_is_worse() {
        let before = of("a", counts(100.0, 0.0, 0.0).rounded());
        assert_eq!(before.counts[0].1.system_calls, Some(BTreeMap::new()));
        assert_eq!(of("a", counts(100.0, 0.0, 1.0)).held_against(&before).worse.len(), 1);
    }
}
