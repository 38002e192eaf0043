//! The article's third program: the server that answers `ok`, written first with callbacks and then with a generator. Here it is with tasks.
//!
//! Each client has a task of its own, and the task reads from top to bottom like the article's conversation: accept, connect, write, success.
//! A client that is silent keeps its own task waiting and nobody else's.
//!
//! Run it:     `cargo run --example echo_async -- --port 8888`
//! Talk to it: `printf hello | nc -N localhost 8888` (OpenBSD's nc; with another one type into `nc localhost 8888`)

use squall::net::{TcpListener, TcpStream};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

async fn talk(conn: TcpStream) -> io::Result<()> {
    if conn.recv().await?.is_none() {
        return Ok(()); // The client closed without a word.
    }
    println!("Connect ...");

    conn.write_all(b"ok").await?;
    println!("Write ...");

    // More data or the end of it: either way the client is served.
    conn.recv().await?;
    println!("Success ...");
    Ok(())
}

/// Serves until Ctrl-C or SIGTERM; clients that are being served then have two seconds, unless a second signal comes.
async fn serve(listener: TcpListener) -> io::Result<()> {
    squall::scope(async |s| {
        s.stop_on_signals(Duration::from_secs(2))?;
        println!("启动服务端...");
        while let Some(accepted) = s.until_stop(listener.accept()).await {
            match accepted {
                Ok((conn, peer)) => {
                    println!("Accept ...");
                    // The scope owns the task: it is awaited, or cut off, before the server ends.
                    s.spawn_task(async move {
                        if let Err(error) = talk(conn).await {
                            eprintln!("{peer}: {error}");
                        }
                    });
                }
                Err(error) => {
                    // One client's failure, or too many open files for now: neither is a reason to stop.
                    eprintln!("accept: {error}");
                    squall::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(())
    })
    .await
}

/// The port that the arguments ask for, 8888 if they ask for none.
fn port(mut arguments: impl Iterator<Item = String>) -> Option<u16> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, None, None) => Some(8888),
        (Some("--port"), Some(port), None) => port.parse().ok(),
        _ => None,
    }
}

#[squall::main]
async fn main() -> ExitCode {
    let Some(port) = port(std::env::args().skip(1)) else {
        eprintln!("usage: echo_async [--port PORT]    PORT is a number up to 65535, 8888 if not given");
        return ExitCode::from(2);
    };
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{error}; choose another port with --port");
            return ExitCode::FAILURE;
        }
    };
    match serve(listener).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot watch for signals: {error}");
            ExitCode::FAILURE
        }
    }
}
