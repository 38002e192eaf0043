//! The article's first server: the one that answers `ok`, with callbacks. The same conversation as `echo_async`, in four functions that name one another.
//!
//! Each callback is called when its socket is ready, does one step, and leaves word which function is next. The loop holds the connection for
//! as long as a callback is registered on it; the step that registers none is the last, and the connection is closed.
//! Compare `echo_async.rs`: there the steps stand below each other, and errors are handled in one place.
//!
//! Run it:     `cargo run --example echo_callback -- --port 8888`
//! Talk to it: `printf hello | nc -N localhost 8888` (OpenBSD's nc; with another one type into `nc localhost 8888`)

use squall::callback::{
    add_reader, add_writer, call_later, remove_reader, remove_writer, try_add_reader, try_add_writer,
};
use squall::net::{TcpListener, TcpStream};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

fn accept(listener: &Rc<TcpListener>) {
    match listener.try_accept() {
        Ok((conn, _)) => {
            println!("Accept ...");
            follow(try_add_reader(&Rc::new(conn), connect));
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => {
            // Too many open files, most likely. The listener stays ready, so a reader would be called for ever: rest a while.
            report("accept", error);
            remove_reader(listener);
            let listener = listener.clone();
            call_later(Duration::from_millis(100), move || _ = add_reader(&listener, accept));
        }
    }
}

fn connect(conn: &Rc<TcpStream>) {
    match conn.try_read(&mut [0; 1024]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Ok(0) => _ = remove_reader(conn), // The client closed without a word.
        Ok(_) => {
            println!("Connect ...");
            remove_reader(conn);
            answer(conn);
        }
        Err(error) => {
            remove_reader(conn);
            report("connect", error);
        }
    }
}

/// Two bytes find room, or none does: there is no rest of them to remember.
fn answer(conn: &Rc<TcpStream>) {
    match conn.try_write(b"ok") {
        Ok(_) => follow(try_add_writer(conn, write)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => _ = add_writer(conn, answer_later),
        Err(error) => report("write", error),
    }
}

fn answer_later(conn: &Rc<TcpStream>) {
    remove_writer(conn);
    answer(conn);
}

fn write(conn: &Rc<TcpStream>) {
    println!("Write ...");
    remove_writer(conn);
    follow(try_add_reader(conn, success));
}

fn success(conn: &Rc<TcpStream>) {
    // More data or the end of it: either way the client is served.
    match conn.try_read(&mut [0; 1024]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
        Ok(_) => println!("Success ..."),
        Err(error) => report("success", error),
    }
    remove_reader(conn);
}

/// A registration that the system refuses ends its connection and no other.
fn follow<T>(registered: io::Result<T>) {
    if let Err(error) = registered {
        report("register", error);
    }
}

fn report(step: &str, error: impl Display) {
    eprintln!("{step}: {error}");
}

/// The port that the arguments ask for, 8888 if they ask for none.
fn port(mut arguments: impl Iterator<Item = String>) -> Option<u16> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, None, None) => Some(8888),
        (Some("--port"), Some(port), None) => port.parse().ok(),
        _ => None,
    }
}

fn main() -> ExitCode {
    let Some(port) = port(std::env::args().skip(1)) else {
        eprintln!("usage: echo_callback [--port PORT]    PORT is a number up to 65535, 8888 if not given");
        return ExitCode::from(2);
    };
    let served = squall::run_forever(async {
        let listener = Rc::new(TcpListener::bind(("127.0.0.1", port)).await?);
        println!("启动服务端...");
        try_add_reader(&listener, accept)?;
        io::Result::Ok(())
    });
    if let Err(error) = served {
        eprintln!("{error}; choose another port with --port");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
