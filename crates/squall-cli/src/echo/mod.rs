//! `squall echo`: from its options to its exit.

mod counts;
mod server;
mod status;

use crate::{limits, signals};
use clap::Args;
use counts::Counts;
use server::Server;
use squall::DriverChoice;
use squall::net::TcpListener;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

/// Open files that are not connections: standard streams, listener, the loop's own.
const OTHER_FILES: usize = 32;

#[derive(Args)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8888")]
    addr: String,
    /// How the event loop waits for the outside
    #[arg(long, value_name = "auto|uring|poll", default_value = "auto")]
    driver: DriverChoice,
    /// How long open connections may go on after the first Ctrl-C or SIGTERM; a second one ends at once
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    grace: Duration,
    /// Connections served at once, further clients wait [default: what the limit of open files allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, as in 3 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| "write a number of seconds that is not negative".to_owned())
}

pub(crate) fn run(options: Options) -> Result<(), String> {
    let addresses = resolve(&options.addr)?;
    let allowed = limits::raise_open_files().saturating_sub(OTHER_FILES).max(1);
    let most = options.max_connections.map_or(allowed, |asked| allowed.min(asked as usize));
    squall::Builder::new()
        .driver(options.driver)
        .run(serve(options, addresses, most))
        .map_err(|error| format!("cannot start the event loop: {error}"))?
}

async fn serve(options: Options, addresses: Vec<SocketAddr>, most: usize) -> Result<(), String> {
    let counts = Rc::new(Counts::default());
    let is_watched = io::stderr().is_terminal();
    let served = squall::scope(async |around| {
        if is_watched {
            around.spawn(status::show(counts.clone()));
        }
        let served: Result<(), String> = squall::scope(async |s| {
            // Before it listens: whoever reads that it does may send a signal at once.
            s.stop_on_signals(options.grace)
                .and_then(|()| signals::end_on_the_third())
                .map_err(|error| format!("cannot watch for signals: {error}"))?;
            let listener = listen(&options.addr, &addresses).await?;
            let address = listener.local_addr().map_err(|error| cannot_listen(&options.addr, &error))?;
            say(format_args!("listening on {address} (driver: {})", squall::driver()));
            Server::new(listener, counts.clone(), most).serve(s).await;
            Ok(())
        })
        .await;
        around.abort_children();
        served
    })
    .await;
    if is_watched {
        status::clear();
    }
    served?;
    if counts.cut_off() > 0 {
        eprintln!("squall: open connections cut off: {}", counts.cut_off());
    }
    say(&*counts);
    Ok(())
}

/// One line on stdout, at once. Whether anybody reads it is not the server's concern.
fn say(line: impl Display) {
    let mut stdout = io::stdout().lock();
    _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn resolve(addr: &str) -> Result<Vec<SocketAddr>, String> {
    let addresses: Vec<SocketAddr> = addr
        .to_socket_addrs()
        .map_err(|error| {
            format!("{addr:?} is no address to listen on ({error}): write HOST:PORT, as in 127.0.0.1:8888")
        })?
        .collect();
    Ok(addresses)
}

/// Listens on the first of a name's addresses that can be had.
async fn listen(addr: &str, addresses: &[SocketAddr]) -> Result<TcpListener, String> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpListener::bind(*address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(cannot_listen(addr, &last))
}

fn cannot_listen(addr: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port with --addr",
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose one it has with --addr, as in 127.0.0.1:8888"
        }
        ErrorKind::PermissionDenied => "ports below 1024 ask for privileges: choose a higher one with --addr",
        _ => "choose another address with --addr",
    };
    // The runtime names the address that it tried; here the one that was asked for is named.
    let error = error.to_string();
    let reason = error
        .split_once(": ")
        .filter(|(head, _)| head.starts_with("cannot listen"))
        .map_or(&*error, |it| it.1);
    format!("cannot listen on {addr} ({reason}): {advice}")
}
