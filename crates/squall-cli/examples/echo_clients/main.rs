//! Many clients at once against an echo server, each checking every byte that comes back, with hostile ones beside them.
//!
//! It is the load that shows a server loses nothing; `scripts/echo_load.sh` runs it against `squall echo`. Written on squall itself, so
//! that both ends of ten thousand connections are squall's. Totals go to stdout, progress to stderr; exit code 1 if anything was lost.
//!
//! Run it: `cargo run --release -p squall-cli --example echo_clients -- --clients 1000 --hostile 20`

#![forbid(unsafe_code)]

mod client;
#[path = "../../src/gauge.rs"]
mod gauge;
mod hostile;
#[path = "../../src/limits.rs"]
mod limits;
mod load;
mod progress;

use clap::Parser;
use load::Load;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// Open files that are not connections.
const OTHER_FILES: usize = 32;

/// Loads an echo server with many clients at once and checks every byte
#[derive(Parser, Clone)]
struct Options {
    /// The echo server
    #[arg(long, default_value = "127.0.0.1:8888")]
    addr: SocketAddr,
    /// Clients, all of them connected before the first message
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Messages of each client, one after the answer to the other
    #[arg(long, default_value_t = 100)]
    messages: usize,
    /// Bytes of a message
    // At most what socket buffers hold: a client writes a whole message before it reads, so more could wait on itself.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=65536))]
    size: u32,
    /// Clients that are silent, half-close, reset, never read or send byte by byte, all the while
    #[arg(long, default_value_t = 0)]
    hostile: usize,
    /// Connection attempts under way at once: a server's backlog is finite
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    connecting: u32,
    /// Seconds after which it is a failure
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let allowed = limits::raise_open_files().saturating_sub(OTHER_FILES);
    let needed = options.clients + options.hostile;
    if needed > allowed {
        eprintln!(
            "echo_clients: {needed} connections need more open files than this process may have: allow {} (ulimit -n {0}), \
             or ask for at most {allowed} with --clients and --hostile",
            needed + OTHER_FILES
        );
        return ExitCode::FAILURE;
    }
    squall::run(run(options))
}

async fn run(options: Options) -> ExitCode {
    let load = Rc::new(Load::new(options));
    squall::spawn_named("progress", progress::show(load.clone()));
    let limit = Duration::from_secs(load.options.timeout);
    if squall::time::timeout(limit, load.clone().carry_out()).await.is_err() {
        load.note(format_args!(
            "not done after {} s, {} clients had still to end: the server hangs, or --timeout is too short",
            limit.as_secs(),
            load.active()
        ));
    }
    progress::clear();
    for trouble in load.troubles() {
        eprintln!("echo_clients: {trouble}");
    }
    println!("{load}");
    if load.is_flawless() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
