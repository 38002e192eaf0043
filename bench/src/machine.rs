//! What the figures were taken on, and the pinning of threads to cores.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Every runtime runs on this core, one after another.
pub const RUNTIME_CORE: usize = 0;
/// The other side of what crosses threads.
pub const OTHER_CORE: usize = 1;

#[derive(Clone, Serialize, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub rustc: String,
    pub crates: BTreeMap<String, String>,
}

/// The crates whose versions say what was measured.
const MEASURED: [&str; 10] = [
    "squall",
    "corosensei",
    "tokio",
    "monoio",
    "compio",
    "compio-runtime",
    "glommio",
    "smol",
    "async-executor",
    "futures",
];

impl Machine {
    pub fn look() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu =
            cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
        let rustc = Command::new("rustc").arg("--version").output();
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            cpu: cpu.unwrap_or("unknown").into(),
            // Not `available_parallelism`: this thread may be pinned already.
            cores: cores(),
            rustc: rustc.map(|out| String::from_utf8_lossy(&out.stdout).trim().into()).unwrap_or_default(),
            crates: versions(include_str!("../Cargo.lock")),
        }
    }
}

fn cores() -> usize {
    // SAFETY: a query without arguments that can be wrong.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
}

fn versions(lock: &str) -> BTreeMap<String, String> {
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_string());
    let mut name = String::new();
    let mut versions = BTreeMap::new();
    for line in lock.lines() {
        if let Some(found) = value(line, "name = ") {
            name = found;
        } else if let Some(version) = value(line, "version = ").filter(|_| MEASURED.contains(&&*name)) {
            versions.insert(name.clone(), version);
        }
    }
    versions
}

/// Keeps this thread on a core; where there are fewer, it stays where it is.
pub fn pin(core: usize) {
    let core = core_affinity::CoreId { id: core };
    if !core_affinity::set_for_current(core) {
        eprintln!("squall-bench: this thread cannot be pinned to core {}; figures will be noisier", core.id);
    }
}
