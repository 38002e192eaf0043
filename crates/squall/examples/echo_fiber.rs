//! The article's server once more, with fibers: each client has a function that looks as if it blocked, and no async in it.
//!
//! `talk` takes any stream with std's traits. It would serve a thread as well; on a fiber it pauses where it reads and writes, and the loop serves the others.
//! Compare `echo_async.rs`, where the same pauses are marked with `await`.
//!
//! Run it:     `cargo run --example echo_fiber -- --port 8888`
//! Talk to it: `printf hello | nc -N localhost 8888` (OpenBSD's nc; with another one type into `nc localhost 8888`)

use squall::fiber::{self, Blocking};
use squall::net::TcpListener;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

fn talk(mut conn: impl Read + Write) -> io::Result<()> {
    let mut text = [0; 1024];
    if conn.read(&mut text)? == 0 {
        return Ok(()); // The client closed without a word.
    }
    println!("Connect ...");

    conn.write_all(b"ok")?;
    println!("Write ...");

    // More data or the end of it: either way the client is served.
    _ = conn.read(&mut text)?;
    println!("Success ...");
    Ok(())
}

fn serve(listener: &TcpListener) -> ! {
    println!("启动服务端...");
    loop {
        match fiber::wait(listener.accept()) {
            Ok((conn, peer)) => {
                println!("Accept ...");
                // Nobody waits for the fiber's end: its handle is dropped, and the fiber goes on by itself.
                fiber::spawn(move || {
                    if let Err(error) = talk(Blocking::new(conn)) {
                        eprintln!("{peer}: {error}");
                    }
                });
            }
            Err(error) => {
                // One client's failure, or too many open files for now: neither is a reason to stop.
                eprintln!("accept: {error}");
                fiber::sleep(Duration::from_millis(100));
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
        eprintln!("usage: echo_fiber [--port PORT]    PORT is a number up to 65535, 8888 if not given");
        return ExitCode::from(2);
    };
    let served = fiber::spawn(move || match fiber::wait(TcpListener::bind(("127.0.0.1", port))) {
        Ok(listener) => serve(&listener),
        Err(error) => eprintln!("{error}; choose another port with --port"),
    });
    if let Err(error) = served.await {
        eprintln!("the server has ended: {error}");
    }
    ExitCode::FAILURE
}
