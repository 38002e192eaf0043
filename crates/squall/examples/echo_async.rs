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

async fn serve(listener: TcpListener) {
    println!("启动服务端...");
    loop {
        match listener.accept().await {
            Ok((conn, peer)) => {
                println!("Accept ...");
                // Nobody waits for the task's end: its handle is dropped, and the task goes on by itself.
                squall::spawn(async move {
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
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => serve(listener).await,
        Err(error) => eprintln!("{error}; choose another port with --port"),
    }
    ExitCode::FAILURE
}
