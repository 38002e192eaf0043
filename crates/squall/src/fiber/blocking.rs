//! A byte stream of the loop's with std's blocking traits, for libraries that know nothing of loops.
//!
//! It stands on the `futures_io` traits, so it takes whatever has them: squall's sockets, a TLS stream, a decoder. A trait of our own was rejected: every
//! stream in other crates would need an adapter. What those traits lack is a turn (a `poll_…` call tells nobody when it is given up, so whoever polls next
//! takes over and the first waits for ever); so turns are taken here.

use super::current::{Fiber, current};
use super::wait::Cancelled;
use crate::task::{WaitingOn, note_waiting};
use crate::time;
use futures_io::{AsyncRead, AsyncWrite};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// A byte stream with [`std::io::Read`] and [`std::io::Write`]: they look as if they blocked, and pause the fiber.
///
/// It is what lets unmodified libraries run on a loop: give it to `BufReader`, `std::io::copy`, a TLS or WebSocket library. Reading and writing also go through
/// `&Blocking<T>`, as with std's sockets, so one fiber may read while another writes.
///
/// # Errors
/// Those of the stream, and:
/// * `TimedOut` after [`set_read_timeout`](Self::set_read_timeout) or [`set_write_timeout`](Self::set_write_timeout);
/// * [`Cancelled`], as `Other`, if it would have to wait and the fiber is cancelled, or unwinds;
/// * `ResourceBusy` if another fiber waits in the same direction already;
/// * `Unsupported` outside a fiber, and in a future that is polled on a fiber's stack: use the stream itself there. (No panic, because destructors of
///   buffered writers come here too.)
///
/// ```
/// use squall::fiber::{self, Blocking};
/// use squall::net::{TcpListener, TcpStream};
/// use std::io::{self, BufRead, BufReader, Read, Write};
///
/// /// Knows nothing of squall.
/// fn shout(conn: impl Read + Write + Copy) -> io::Result<()> {
///     for line in BufReader::new(conn).lines() {
///         writeln!({ conn }, "{}", line?.to_uppercase())?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> io::Result<()> {
/// squall::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (conn, _) = listener.accept().await?;
///     let server = fiber::spawn(move || shout(&Blocking::new(conn)));
///
///     client.write_all(b"hello\n").await?;
///     let mut text = [0; 6];
///     client.read_exact(&mut text).await?;
///     assert_eq!(&text, b"HELLO\n");
///     drop(client);
///     server.await?
/// })
/// # }
/// ```
pub struct Blocking<T> {
    stream: T,
    made_at: &'static Location<'static>,
    read: Direction,
    write: Direction,
}

/// One direction of the stream.
#[derive(Default)]
struct Direction {
    timeout: Cell<Option<Duration>>,
    /// Where the fiber that waits was spawned.
    taken_by: Cell<Option<&'static Location<'static>>>,
}

impl<T> Blocking<T> {
    /// Takes a stream. Reports of what a fiber waits on name the place of this call.
    #[track_caller]
    pub fn new(stream: T) -> Blocking<T> {
        Blocking {
            stream,
            made_at: Location::caller(),
            read: Direction::default(),
            write: Direction::default(),
        }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }

    /// The stream itself.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Gives the stream back.
    pub fn into_inner(self) -> T {
        self.stream
    }

    /// How long a read may wait for its first byte; `None` (the default) for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero, as in std.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read.set_timeout(timeout)
    }

    /// How long a write or flush may wait for room; `None` (the default) for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero, as in std.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write.set_timeout(timeout)
    }

    /// The timeout of reads.
    pub fn read_timeout(&self) -> Option<Duration> {
        self.read.timeout.get()
    }

    /// The timeout of writes.
    pub fn write_timeout(&self) -> Option<Duration> {
        self.write.timeout.get()
    }
}

impl<T: AsyncWrite + Unpin> Blocking<T> {
    /// Flushes, and ends the write direction: the peer reads what was written and then the end.
    ///
    /// # Errors
    /// As for writing.
    pub fn close(&mut self) -> io::Result<()> {
        let stream = &mut self.stream;
        self.write.wait("Blocking::close", self.made_at, |cx| Pin::new(&mut *stream).poll_close(cx))
    }
}

impl Direction {
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            let text = "a timeout of zero would let nothing through: use None for none";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.timeout.set(timeout);
        Ok(())
    }

    fn wait<R>(
        &self,
        what: &'static str,
        made_at: &'static Location<'static>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> io::Result<R> {
        let Some(fiber) = current().filter(|fiber| fiber.may_wait()) else { return Err(elsewhere(what)) };
        if let Some(first) = self.taken_by.get() {
            return Err(taken(what, first));
        }
        match self.poll_once(fiber, &mut poll) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => {}
        }
        let _turn = Turn::take(self, fiber);
        let mut limit = pin!(self.timeout.get().map(time::sleep));
        loop {
            // What the stream noted says more than "a timer".
            let noted = fiber.noted();
            if let Some(limit) = limit.as_mut().as_pin_mut() {
                let polling = fiber.begin_poll();
                let is_over = limit.poll(&mut Context::from_waker(fiber.waker())).is_ready();
                drop(polling);
                if is_over {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("{what}: the timeout has passed"),
                    ));
                }
            }
            note_waiting(if noted == WaitingOn::Nothing { WaitingOn::Fiber } else { noted }, made_at);
            if !fiber.park() && fiber.may_return_cancelled(what) {
                return Err(Cancelled(()).into());
            }
            if let Poll::Ready(answer) = self.poll_once(fiber, &mut poll) {
                return answer;
            }
        }
    }

    #[inline]
    fn poll_once<R>(
        &self,
        fiber: &Fiber,
        poll: &mut impl FnMut(&mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let _polling = fiber.begin_poll();
        poll(&mut Context::from_waker(fiber.waker()))
    }
}

/// The direction is a fiber's that waits.
struct Turn<'a>(&'a Direction);

impl Turn<'_> {
    fn take<'a>(direction: &'a Direction, fiber: &Fiber) -> Turn<'a> {
        direction.taken_by.set(Some(fiber.cold().spawned_at));
        Turn(direction)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken_by.set(None);
    }
}

#[cold]
fn elsewhere(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "{what} was called outside a fiber, or in a future that is polled on a fiber's stack: use the stream itself there (get_ref, into_inner), \
             or fiber::spawn the code that blocks"
        ),
    )
}

#[cold]
fn taken(what: &str, first: &Location<'_>) -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!(
            "{what}: the same direction of this stream is taken by the fiber spawned at {first}. Let one fiber do it, and share by a queue"
        ),
    )
}

impl<T: AsyncRead + Unpin> Read for Blocking<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stream = &mut self.stream;
        self.read.wait("Blocking::read", self.made_at, |cx| Pin::new(&mut *stream).poll_read(cx, into))
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let stream = &mut self.stream;
        self.read
            .wait("Blocking::read", self.made_at, |cx| Pin::new(&mut *stream).poll_read_vectored(cx, into))
    }
}

impl<T: AsyncWrite + Unpin> Write for Blocking<T> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let stream = &mut self.stream;
        self.write.wait("Blocking::write", self.made_at, |cx| Pin::new(&mut *stream).poll_write(cx, from))
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let stream = &mut self.stream;
        self.write
            .wait("Blocking::write", self.made_at, |cx| Pin::new(&mut *stream).poll_write_vectored(cx, from))
    }

    fn flush(&mut self) -> io::Result<()> {
        let stream = &mut self.stream;
        self.write.wait("Blocking::flush", self.made_at, |cx| Pin::new(&mut *stream).poll_flush(cx))
    }
}

impl<T> Read for &Blocking<T>
where
    for<'a> &'a T: AsyncRead,
{
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut stream = &self.stream;
        self.read.wait("Blocking::read", self.made_at, |cx| Pin::new(&mut stream).poll_read(cx, into))
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut stream = &self.stream;
        self.read
            .wait("Blocking::read", self.made_at, |cx| Pin::new(&mut stream).poll_read_vectored(cx, into))
    }
}

impl<T> Write for &Blocking<T>
where
    for<'a> &'a T: AsyncWrite,
{
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let mut stream = &self.stream;
        self.write.wait("Blocking::write", self.made_at, |cx| Pin::new(&mut stream).poll_write(cx, from))
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = &self.stream;
        self.write
            .wait("Blocking::write", self.made_at, |cx| Pin::new(&mut stream).poll_write_vectored(cx, from))
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stream = &self.stream;
        self.write.wait("Blocking::flush", self.made_at, |cx| Pin::new(&mut stream).poll_flush(cx))
    }
}

impl<T: fmt::Debug> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking")
            .field("stream", &self.stream)
            .field("read_timeout", &self.read_timeout())
            .field("write_timeout", &self.write_timeout())
            .finish()
    }
}
