//! `squall-bench`: squall beside its peers, measured in interleaved rounds on one pinned core.
//!
//! A workspace of its own, so that nobody who builds squall compiles seven other runtimes. criterion and divan were
//! rejected: they time one thing after the other, and on a shared machine that drifts by a third between minutes only
//! ratios taken side by side mean anything.

mod bars;
mod counts;
mod echo;
mod floor;
mod kinds;
mod machine;
mod memory;
mod report;
mod rounds;
mod runtimes;
mod sched;
mod stats;

use clap::{Parser, Subcommand};
use rounds::Options;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "squall beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What it costs to spawn, yield, wake, hand over, set a timer, cross a thread.
    Sched(Options),
    /// Resident bytes of a parked and of a sleeping task.
    Memory(Options),
    /// Switching, creating and keeping each kind of coroutine: squall's fibers, tasks and generators, beside bare stacks, threads, Go and Python.
    Kinds(kinds::Options),
    /// What an echo costs on each runtime, beside a raw epoll loop that runs at the same time.
    Echo(echo::Options),
    /// Instructions, allocations, polls and system calls of one operation, held against the counts in the repository.
    Counts(counts::Options),
    /// The tables of earlier runs, from their JSON, with the bars.
    Report {
        /// Files that were written with --json.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Puts the tables between the markers of this Markdown file instead of printing them.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// One measurement, in the process of its own that is started for it.
    #[command(hide = true)]
    Once {
        row: String,
        runtime: String,
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Sched(options) => report::present("sched", sched::cases(), sched::ROWS, &options),
        Command::Memory(options) => report::present("memory", memory::cases(), memory::ROWS, &options),
        Command::Kinds(options) => kinds::run(&options),
        Command::Echo(options) => echo::run(&options),
        Command::Counts(options) => counts::run_command(&options),
        Command::Report { files, into } => report::again(&files, into.as_deref()),
        Command::Once { row, runtime, quick } => {
            let cases = sched::cases().into_iter().chain(memory::cases()).chain(kinds::cases()).collect();
            rounds::once(cases, &row, &runtime, quick)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("squall-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
