//! The article's server as a generator, its second form: the steps stand below each other, and each pause says what it waits for.
//!
//! In the article the generator registers itself with the selector and yields; here it yields what it waits for, and the loop resumes it then. Compare
//! `echo_callback.rs`, where each step names the next, and `echo_async.rs`, where waiting and reading are one.
//!
//! Run it:     `cargo run --example echo_generator -- --port 8888`
//! Talk to it: `printf hello | nc -N localhost 8888` (OpenBSD's nc; with another one type into `nc localhost 8888`)

use squall::generator::{Generator, Wait, spawn_generator};
use squall::net::{TcpListener, TcpStream};
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// Yields what it waits for, is sent how that came out, and returns an `R`.
type OnLoop<R> = Generator<'static, Wait, io::Result<()>, R>;

/// Waits for data and takes it; 0 bytes are the end.
fn read(conn: Rc<TcpStream>) -> OnLoop<io::Result<usize>> {
    Generator::new(async move |co| {
        loop {
            co.yield_(Wait::readable(&conn)).await?;
            match conn.try_read(&mut [0; 1024]) {
                // Somebody else was faster, or it was a false alarm.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    })
}

fn talk(conn: Rc<TcpStream>) -> OnLoop<io::Result<()>> {
    Generator::new(async move |co| {
        if co.yield_from(read(conn.clone())).await? == 0 {
            return Ok(()); // The client closed without a word.
        }
        println!("Connect ...");

        co.yield_(Wait::writable(&conn)).await?;
        conn.try_write(b"ok")?;
        println!("Write ...");

        // More data or the end of it: either way the client is served.
        co.yield_from(read(conn.clone())).await?;
        println!("Success ...");
        Ok(())
    })
}

fn serve(listener: Rc<TcpListener>) -> OnLoop<io::Result<()>> {
    Generator::new(async move |co| {
        println!("启动服务端...");
        loop {
            co.yield_(Wait::readable(&listener)).await?;
            match listener.try_accept() {
                Ok((conn, peer)) => {
                    println!("Accept ...");
                    let talk = spawn_generator(talk(Rc::new(conn)));
                    squall::spawn(async move {
                        if let Ok(Err(error)) = talk.await {
                            eprintln!("{peer}: {error}");
                        }
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    // Too many open files, most likely: no reason to stop.
                    eprintln!("accept: {error}");
                    co.yield_(Wait::delay(Duration::from_millis(100))).await?;
                }
            }
        }
    })
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
        eprintln!("usage: echo_generator [--port PORT]    PORT is a number up to 65535, 8888 if not given");
        return ExitCode::from(2);
    };
    let served = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => spawn_generator(serve(Rc::new(listener))).await,
        Err(error) => {
            eprintln!("{error}; choose another port with --port");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("the server has ended: {served:?}");
    ExitCode::FAILURE
}
