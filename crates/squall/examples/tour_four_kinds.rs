//! One little server in all four kinds of coroutine, in one process, on one loop: as callbacks, as a generator, as a task and as a fiber.
//!
//! Each answers a line with its length and says goodbye. Nobody who talks to them can tell which is which; what differs is how the code between two pauses
//! remembers where it was: in a table of callbacks, in a generator that its caller resumes, in a future, on a stack.
//!
//! Run it: `cargo run --example tour_four_kinds`

use squall::callback::{add_reader, remove_reader};
use squall::fiber::{self, Blocking};
use squall::generator::{Generator, Wait, spawn_generator};
use squall::net::{TcpListener, TcpStream};
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::rc::Rc;

/// What all of them say. `None` while the line has no end.
fn answer(kind: &str, heard: &[u8]) -> Option<String> {
    let line = heard.strip_suffix(b"\n")?;
    Some(format!("{kind}: {} letters, goodbye\n", String::from_utf8_lossy(line).chars().count()))
}

// --- callbacks: the loop calls, and what was heard so far is kept for the next call --------------------------------------

fn by_callbacks(listener: TcpListener) {
    add_reader(&Rc::new(listener), |listener| {
        let Ok((conn, _)) = listener.try_accept() else { return };
        let heard = RefCell::new(Vec::new());
        add_reader(&Rc::new(conn), move |conn| {
            let mut some = [0; 64];
            match conn.try_read(&mut some) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(n) if n > 0 => {
                    heard.borrow_mut().extend_from_slice(&some[..n]);
                    if let Some(text) = answer("callback", &heard.borrow()) {
                        // A few bytes find room in an empty buffer.
                        _ = conn.try_write(text.as_bytes());
                        remove_reader(conn);
                    }
                }
                _ => _ = remove_reader(conn),
            }
        });
    });
}

// --- a generator: it yields what it waits for, and whoever holds it resumes it ------------------------------------------

type Served = Generator<'static, Wait, io::Result<()>, io::Result<()>>;

fn one_by_generator(conn: Rc<TcpStream>) -> Served {
    Generator::new(async move |co| {
        let mut heard = Vec::new();
        loop {
            co.yield_(Wait::readable(&conn)).await?;
            let mut some = [0; 64];
            match conn.try_read(&mut some) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                read => match read? {
                    0 => return Ok(()),
                    n => heard.extend_from_slice(&some[..n]),
                },
            }
            if let Some(text) = answer("generator", &heard) {
                co.yield_(Wait::writable(&conn)).await?;
                conn.try_write(text.as_bytes())?;
                return Ok(());
            }
        }
    })
}

fn by_generator(listener: TcpListener) -> Served {
    let listener = Rc::new(listener);
    Generator::new(async move |co| {
        loop {
            co.yield_(Wait::readable(&listener)).await?;
            if let Ok((conn, _)) = listener.try_accept() {
                // The handle is dropped: the generator goes on as a task.
                drop(spawn_generator(one_by_generator(Rc::new(conn))));
            }
        }
    })
}

// --- a task: the pauses are the awaits ------------------------------------------------------------------------------------

async fn one_by_task(conn: TcpStream) -> io::Result<()> {
    let mut heard = Vec::new();
    while let Some(chunk) = conn.recv().await? {
        heard.extend_from_slice(&chunk);
        if let Some(text) = answer("task", &heard) {
            return conn.write_all(text.as_bytes()).await;
        }
    }
    Ok(())
}

async fn by_task(listener: TcpListener) -> io::Result<()> {
    loop {
        let (conn, _) = listener.accept().await?;
        squall::spawn(one_by_task(conn));
    }
}

// --- a fiber: std's reader and writer, which know nothing of loops ------------------------------------------------------

fn one_by_fiber(conn: TcpStream) -> io::Result<()> {
    let conn = Blocking::new(conn);
    let mut heard = Vec::new();
    BufReader::new(&conn).read_until(b'\n', &mut heard)?;
    match answer("fiber", &heard) {
        Some(text) => (&conn).write_all(text.as_bytes()),
        None => Ok(()),
    }
}

fn by_fiber(listener: TcpListener) -> io::Result<()> {
    loop {
        let (conn, _) = fiber::wait(listener.accept())?;
        fiber::spawn(move || one_by_fiber(conn));
    }
}

/// Says a line to a server and gives its answer. The line comes in two pieces, so that every server has to pause in the midst of it.
async fn ask(server: SocketAddr, line: &str) -> io::Result<String> {
    let conn = TcpStream::connect(server).await?;
    let (one, two) = line.as_bytes().split_at(line.len() / 2);
    conn.write_all(one).await?;
    squall::yield_now().await;
    conn.write_all(two).await?;
    conn.write_all(b"\n").await?;
    let mut said = Vec::new();
    while let Some(chunk) = conn.recv().await? {
        said.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[squall::main]
async fn main() -> io::Result<()> {
    let mut servers = Vec::new();
    let mut listen = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        servers.push(listener.local_addr()?);
        io::Result::Ok(listener)
    };
    by_callbacks(listen().await?);
    drop(spawn_generator(by_generator(listen().await?)));
    drop(squall::spawn(by_task(listen().await?)));
    let listener = listen().await?;
    drop(fiber::spawn(move || by_fiber(listener)));

    // All four at once, and they await one another: the questions are tasks.
    let questions =
        servers.into_iter().map(|server| squall::spawn(async move { ask(server, "how long am I?").await }));
    for question in questions.collect::<Vec<_>>() {
        print!("{}", question.await??);
    }
    // The loop ends with main, and with it all that serves.
    Ok(())
}
