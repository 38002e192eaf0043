//! The program `squall echo`, built from this checkout: a bar holds for what people run, not for a copy of it.

use super::child::Program;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Built once, at the first use.
pub fn squall_echo() -> Result<Program, String> {
    static BUILT: OnceLock<Result<String, String>> = OnceLock::new();
    let path = BUILT.get_or_init(build).clone()?;
    Ok(Program::new(path.into(), &["echo", "--addr", "127.0.0.1:0", "--driver", "poll"]))
}

fn build() -> Result<String, String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let out = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--package",
            "squall-cli",
            "--message-format",
            "json",
            "--manifest-path",
        ])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo cannot be run to build `squall echo`: {error}"))?;
    if !out.status.success() {
        return Err("`squall echo` could not be built".into());
    }
    let messages = String::from_utf8_lossy(&out.stdout);
    let executable = |line: &str| -> Option<String> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "squall").then_some(())?;
        Some(message["executable"].as_str()?.to_string())
    };
    messages.lines().find_map(executable).ok_or_else(|| "cargo built no program named squall".into())
}
