//! Coroutines of other languages: small programs in `peers/`, run where their languages are present. Each says its own CPU time.

use super::{CREATE, GO, GREENLET, KEEP, ONE, PYTHON, THOUSAND};
use crate::rounds::{Case, Effort, Measure};
use std::path::{Path, PathBuf};
use std::process::Command;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// Which row a program is asked for, and how often it does it.
fn asked(row: &str, kind: &str) -> (&'static str, u64) {
    match (row, kind) {
        (ONE, GO) => ("switch-1", 3_000_000),
        (ONE, _) => ("switch-1", 1_000_000),
        (THOUSAND, GO) => ("switch-1000", 3_000),
        (THOUSAND, _) => ("switch-1000", 1_000),
        (CREATE, _) => ("create", 300_000),
        _ => ("keep", 100_000),
    }
}

pub fn cases(rows: &'static [&'static str]) -> Vec<Case> {
    // A measure is a plain function: one for each row and kind.
    macro_rules! measures {
        ($($row:ident),*) => {
            match rows[0] {
                $($row => [
                    (GO, (|effort| ask($row, GO, effort)) as Measure),
                    (GREENLET, |effort| ask($row, GREENLET, effort)),
                    (PYTHON, |effort| ask($row, PYTHON, effort)),
                ],)*
                other => unreachable!("{other} is no row"),
            }
        };
    }
    measures!(ONE, THOUSAND, CREATE, KEEP)
        .into_iter()
        .map(|(runtime, run)| Case { rows, runtime, note: None, run: present(runtime).map(|()| run) })
        .collect()
}

fn present(kind: &str) -> Result<(), &'static str> {
    let runs = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    match kind {
        GO if runs(Command::new("go").arg("version")) => Ok(()),
        GO => Err("go is not here"),
        GREENLET if runs(python().args(["-c", "import greenlet"])) => Ok(()),
        GREENLET => Err("Python's greenlet is not here"),
        _ if runs(python().arg("--version")) => Ok(()),
        _ => Err("python3 is not here"),
    }
}

fn python() -> Command {
    Command::new("python3")
}

fn go_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join("kinds-go")
}

/// Compiles what has to be compiled, once.
pub fn build() -> Result<(), String> {
    if present(GO).is_err() {
        return Ok(());
    }
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(go_program()).arg(Path::new(PEERS).join("kinds.go"));
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        failed => Err(format!("go build of {PEERS}/kinds.go: {failed:?}")),
    }
}

fn ask(row: &str, kind: &str, effort: Effort) -> Vec<f64> {
    let (row, times) = asked(row, kind);
    let times = effort.times(times).to_string();
    let output = match kind {
        GO => Command::new(go_program()).args([row, &times]).output(),
        _ => {
            let kind = if kind == GREENLET { "greenlet" } else { "generator" };
            python().arg(Path::new(PEERS).join("kinds.py")).args([kind, row, &times]).output()
        }
    };
    let output = output.expect("the program was found before");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    vec![String::from_utf8_lossy(&output.stdout).trim().parse().expect("one figure")]
}
