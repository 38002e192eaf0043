//! The echo servers, one file each: what a reader of the runtime's documentation would write, with the task of every connection on
//! one thread.
//!
//! All get the same listening socket: a deep backlog, and `TCP_NODELAY`, which accepted sockets inherit on Linux, so no server pays for
//! setting it and none waits for an acknowledgement. Peers own one buffer per connection, as their examples do; it holds the
//! largest message that is sent here, so that none of them needs more calls than another.

mod compio;
mod glommio;
mod monoio;
mod raw_epoll;
mod smol;
mod squall;
mod tokio;

use super::child::Program;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The reference: no server of this kind can do with less.
pub const RAW: &str = "raw-epoll";
pub const SQUALL: &str = "squall";
/// The same with callbacks.
pub const CALLBACK: &str = "squall-callback";
/// The same with fibers.
pub const FIBER: &str = "squall-fiber";
/// The program `squall echo` itself, built by cargo from this checkout.
pub const PROGRAM: &str = "squall-echo";

/// In the order of the tables. The reference stands among them: held against a second one of its own kind, it shows what the instrument
/// cannot tell apart.
pub const NAMES: [&str; 11] =
    [RAW, SQUALL, CALLBACK, FIBER, PROGRAM, "tokio", "tokio-localset", "monoio", "compio", "glommio", "smol"];

/// Room for what a connection receives at once.
const BUFFER_BYTES: usize = 16 * 1024;
const BACKLOG: i32 = 4096;

/// What a reader of the tables must know of a server.
pub fn note(name: &str) -> Option<&'static str> {
    match name {
        RAW => Some("edge-triggered epoll, one buffer for all; as a row: the reference against itself"),
        SQUALL => Some("`recv` and `write_all` in a task per connection, `poll` driver"),
        CALLBACK => Some("a reader of `callback::add_reader` for each connection, `poll` driver"),
        FIBER => Some("the same as squall, in a fiber per connection, `poll` driver"),
        PROGRAM => Some("the program `squall echo --driver poll`, with its counts and its panic guard"),
        "tokio" => Some("current_thread; a 16 KiB buffer per connection, as every peer below"),
        _ => None,
    }
}

/// How to start a server as a process of its own.
pub fn program(name: &str) -> Result<Program, String> {
    match name {
        PROGRAM => super::program::squall_echo(),
        name => Ok(Program::of_this_bench(&["serve", name])),
    }
}

/// The child's side: serves until it is killed.
pub fn serve(name: &str) -> Result<(), String> {
    super::child::raise_open_files();
    let listener = listen().map_err(|error| format!("cannot listen: {error}"))?;
    println!("listening on {}", listener.local_addr().map_err(|error| error.to_string())?);
    let served = match name {
        RAW => raw_epoll::serve(&listener),
        SQUALL => squall::serve(listener),
        CALLBACK => squall::serve_by_callbacks(listener),
        FIBER => squall::serve_by_fibers(listener),
        "tokio" => tokio::serve(listener),
        "tokio-localset" => tokio::serve_in_a_local_set(listener),
        "monoio" => monoio::serve(listener),
        "compio" => compio::serve(listener),
        "glommio" => glommio::serve(listener),
        "smol" => smol::serve(listener),
        _ => return Err(format!("there is no server {name}")),
    };
    served.map_err(|error| format!("{name}: {error}"))
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
