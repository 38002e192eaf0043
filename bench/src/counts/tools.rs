//! The programs that count what a process cannot count itself.

use super::baseline::Counts;
use super::rows::Row;
use crate::machine::{RUNTIME_CORE, pin};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub struct Tools {
    valgrind: bool,
    strace: bool,
}

/// The larger run does so many times as much.
const MORE: u64 = 3;

impl Tools {
    pub fn look() -> Tools {
        let is_here = |program: &str| {
            let said =
                Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            said.is_ok_and(|status| status.success())
        };
        pin(RUNTIME_CORE);
        Tools { valgrind: is_here("valgrind"), strace: is_here("strace") }
    }

    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.valgrind {
            missing.push("instructions (valgrind is not installed)");
        }
        if !self.strace {
            missing.push("system calls (strace is not installed)");
        }
        missing
    }

    pub fn count(&self, row: &Row) -> Result<Counts, String> {
        let few = self.totals(row, row.operations)?;
        let many = self.totals(row, MORE * row.operations)?;
        Ok(Counts::slope(&few, &many, ((MORE - 1) * row.operations) as f64))
    }

    fn totals(&self, row: &Row, operations: u64) -> Result<Counts, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let program = program.to_str().ok_or("this program's path is no text")?;
        let part = [program, "counts", "row", row.name, &operations.to_string()].map(String::from);
        let said = output(&part, &[])?;
        let figures: Vec<f64> = said.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        let [allocations, bytes, polls] = figures[..] else { return Err(format!("the row said {said:?}")) };
        Ok(Counts {
            instructions: self.valgrind.then(|| instructions(&part)).transpose()?,
            allocations,
            allocated_bytes: bytes,
            polls,
            system_calls: self.strace.then(|| system_calls(&part)).transpose()?,
        })
    }
}

/// Standard output of a program that ended well.
fn output(program: &[String], before: &[String]) -> Result<String, String> {
    let words = [before, program].concat();
    let ended = Command::new(&words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(format!(
            "{} ends with {}: {}",
            words[0],
            ended.status,
            said.lines().last().unwrap_or("")
        ));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into())
}

/// A file of this process's own that a tool writes and that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(what: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("squall-bench-{what}-{}", std::process::id())))
    }

    fn read(&self) -> Result<String, String> {
        std::fs::read_to_string(&self.0).map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn instructions(part: &[String]) -> Result<f64, String> {
    let file = Scratch::new("callgrind");
    let tool = ["valgrind", "--tool=callgrind", "--quiet", "--dump-instr=no"].map(String::from);
    let into = format!("--callgrind-out-file={}", file.0.display());
    output(part, &[&tool[..], &[into]].concat())?;
    let text = file.read()?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| "callgrind gave no sum".into())
}

fn system_calls(part: &[String]) -> Result<BTreeMap<String, f64>, String> {
    let file = Scratch::new("strace");
    let tool = ["strace", "-f", "-c", "-o"].map(String::from);
    output(part, &[&tool[..], &[file.0.display().to_string()]].concat())?;
    let calls = crate::echo::calls_in_table(&file.read()?);
    Ok(calls.into_iter().map(|(name, calls)| (name, calls as f64)).collect())
}
