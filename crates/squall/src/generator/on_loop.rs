//! Generators that a loop drives: the article's coroutine. One yields *what it waits for*, and the loop resumes it when that has come.
//!
//! The article registers the generator with a selector and yields nothing; the scheduler resumes whoever the selector names. Here the yielded value says it,
//! so the generator needs neither the selector nor a name for itself, and what it cannot wait for it cannot yield.

use super::{Generator, Step};
use crate::driver::Direction;
use crate::event_loop::{YieldNow, spawn, yield_now};
use crate::io::{Op, Readiness};
use crate::task::{JoinHandle, WaitingOn};
use crate::time::{Sleep, sleep};
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a generator on a loop waits for: it yields this, and is sent the outcome.
///
/// ```
/// use squall::generator::{Generator, Wait, spawn_generator};
/// use squall::net::{TcpListener, TcpStream};
/// use std::{io, rc::Rc};
///
/// fn answer(conn: Rc<TcpStream>) -> Generator<'static, Wait, io::Result<()>, io::Result<usize>> {
///     Generator::new(async move |co| {
///         let mut text = [0; 64];
///         co.yield_(Wait::readable(&conn)).await?;
///         let n = conn.try_read(&mut text)?;
///         co.yield_(Wait::writable(&conn)).await?;
///         conn.try_write(&text[..n])
///     })
/// }
///
/// # fn main() -> io::Result<()> {
/// squall::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (conn, _) = listener.accept().await?;
///     let server = spawn_generator(answer(Rc::new(conn)));
///     client.write_all(b"hello").await?;
///     assert_eq!(client.recv().await?.as_deref(), Some(&b"hello"[..]));
///     assert_eq!(server.await.unwrap()?, 5);
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "a generator waits when it yields this"]
pub struct Wait(For);

enum For {
    Socket { socket: Rc<dyn Readiness>, op: Op },
    Sleep(Sleep),
    Turn(YieldNow),
}

impl Wait {
    /// Until the socket can be read from (or has ended or failed, which reading will tell). Sent are the errors of
    /// [`Source::readable`](crate::io::Source::readable).
    #[track_caller]
    pub fn readable<S: Readiness + 'static>(socket: &Rc<S>) -> Wait {
        Wait::socket(socket.clone(), Direction::Recv, WaitingOn::Readable, Location::caller())
    }

    /// Until the socket can be written to (or has failed).
    #[track_caller]
    pub fn writable<S: Readiness + 'static>(socket: &Rc<S>) -> Wait {
        Wait::socket(socket.clone(), Direction::Send, WaitingOn::Writable, Location::caller())
    }

    fn socket(
        socket: Rc<dyn Readiness>,
        direction: Direction,
        on: WaitingOn,
        place: &'static Location<'static>,
    ) -> Wait {
        Wait(For::Socket { socket, op: Op::new(direction, on, place) })
    }

    /// For so long, from this call.
    #[track_caller]
    pub fn delay(duration: Duration) -> Wait {
        Wait(For::Sleep(sleep(duration)))
    }

    /// Until the others that are ready have had their turn.
    pub fn turn() -> Wait {
        Wait(For::Turn(yield_now()))
    }
}

fn name_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Recv => "Wait::readable",
        Direction::Send => "Wait::writable",
    }
}

impl Future for Wait {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            For::Socket { socket, op } => {
                let what = name_of(op.direction());
                op.poll_ready(socket.watched(), what, cx)
            }
            For::Sleep(sleep) => Pin::new(sleep).poll(cx).map(Ok),
            For::Turn(turn) => Pin::new(turn).poll(cx).map(Ok),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let For::Socket { socket, op } = &mut self.0 {
            let at = socket.watched();
            op.finish(at.home, at.key);
        }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            For::Socket { op, .. } => name_of(op.direction()),
            For::Sleep(_) => "Wait::delay",
            For::Turn(_) => "Wait::turn",
        })
    }
}

/// Runs a generator as a task: whenever it yields a [`Wait`], that is waited for, and its outcome is sent. The handle gives what the generator returns.
///
/// It may delegate to generators of the same kind. Aborting the task drops the generator where it waits, innermost delegates first.
///
/// # Panics
/// Outside a loop. The task, if the generator was started already, has ended, or awaits anything but its yields: its handle says so.
#[track_caller]
pub fn spawn_generator<R: 'static>(
    mut generator: Generator<'static, Wait, io::Result<()>, R>,
) -> JoinHandle<R> {
    spawn(async move {
        let mut step = generator.start();
        loop {
            step = match step {
                Ok(Step::Yielded(wait)) => {
                    let outcome = wait.await;
                    generator.send(outcome)
                }
                Ok(Step::Returned(value)) => return value,
                // Nothing can be thrown, and nobody else resumes it.
                Err(error) => panic!("spawn_generator was given a generator that cannot be started: {error}"),
            };
        }
    })
}
