//! System calls for a message, counted by `strace` on a short run of its own.
//!
//! `perf trace` would disturb less and needs a tracing file system that containers rarely have. Under strace the server is slow, so with
//! many connections all of them are ready at each wait: that is the least number of calls. With one connection and a pause before
//! each message, every message is waited for: that is the most. (What a ring is told in memory is no system call.)

use super::cell::Cell;
use super::child::die_with_this_process;
use super::load::PATIENCE;
use super::pairs::Served;
use serde::{Deserialize, Serialize};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The most, then the least.
pub const CELLS: [Cell; 2] =
    [Cell { connections: 1, bytes: 64, outstanding: 1 }, Cell { connections: 50, bytes: 64, outstanding: 1 }];
const MESSAGES: u64 = 4_000;
const PAUSE: Duration = Duration::from_micros(400);

#[derive(Clone, Serialize, Deserialize)]
pub struct Calls {
    pub cell: Cell,
    pub server: String,
    pub messages: u64,
    /// Name and number, the most frequent first.
    pub calls: Vec<(String, u64)>,
}

/// Why nothing can be counted here.
pub fn refused() -> Option<String> {
    match Command::new("strace").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => None,
        _ => Some("strace is not installed".into()),
    }
}

pub fn count(server: &str, cell: Cell) -> Result<Calls, String> {
    let mut served = Served::start(server, cell.connections, cell.bytes)?;
    let mut table = std::env::temp_dir();
    table.push(format!("squall-bench-calls-{}", served.server.pid()));
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-p", &served.server.pid().to_string(), "-o"]).arg(&table);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    die_with_this_process(&mut command);
    let tracer = command.spawn().map_err(|error| format!("strace: {error}"))?;
    let mut tracer = Tracer(tracer);
    wait_until_traced(served.server.pid(), &mut tracer.0)?;
    let pause = if cell.connections == 1 { PAUSE } else { Duration::ZERO };
    let order = format!("messages {MESSAGES} {} {} {}", cell.outstanding, cell.bytes, pause.as_micros());
    served.load.ask(&order, 4 * PATIENCE)?;
    tracer.stop()?;
    let text = fs::read_to_string(&table).map_err(|error| format!("strace left no table: {error}"))?;
    _ = fs::remove_file(&table);
    Ok(Calls { cell, server: server.into(), messages: MESSAGES, calls: parse(&text) })
}

struct Tracer(Child);

impl Tracer {
    /// Asks it to write its table and to leave.
    fn stop(&mut self) -> Result<(), String> {
        // SAFETY: a signal to a child that was not waited for yet, so the id is its own.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Ok(Some(_)) = self.0.try_wait() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("strace did not end".into())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn wait_until_traced(pid: i32, tracer: &mut Child) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
        let is_traced = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            // The kernel's own threads of a ring cannot be traced.
            status.starts_with("Name:\tiou-") || !status.contains("TracerPid:\t0\n")
        };
        if tasks.flatten().all(is_traced) {
            return Ok(());
        }
        if let Ok(Some(status)) = tracer.try_wait() {
            return Err(format!("strace cannot attach to a process here ({status})"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("strace did not attach".into())
}

/// The lines of strace's table: share, seconds, microseconds a call, calls, errors or nothing, name.
pub fn parse(table: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, name) = (words.first()?.parse::<f64>().ok()?, *words.last()?);
        (name != "total").then_some((name.to_string(), words.get(3)?.parse().ok()?))
    };
    let mut calls: Vec<(String, u64)> = table.lines().filter_map(line).collect();
    calls.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_with_and_without_errors() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 87.14    0.000061           2        31         7 recvfrom
 12.86    0.000009           4        40           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.000070           1        71         7 total
";
        assert_eq!(parse(table), [("sendto".to_string(), 40), ("recvfrom".to_string(), 31)]);
    }
}
