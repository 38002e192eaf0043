//! The `squall` program: servers and tools on the squall runtime.
//!
//! Every failure ends in one line on stderr that says what to do, and exit code 1; wrong usage in clap's words and exit code 2.

#![forbid(unsafe_code)]

mod echo;
mod gauge;
mod limits;
mod signals;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves TCP: every byte a client sends comes back to it
    Echo(echo::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Echo(options) => echo::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("squall: {message}");
            ExitCode::FAILURE
        }
    }
}
