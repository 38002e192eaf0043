//! The load: a closed loop of messages on many connections, from one thread that costs as little as it can.
//!
//! Raw epoll and one buffer, because a load generator that costs more than the server measures itself. It counts every byte, sends a
//! message only when one has come back, and at the end of a slice waits for all that is still under way, so that the server's CPU time
//! and the messages belong together to the last one. The first message of a connection is compared byte by byte.
//! Connections are closed by RST: ten thousand in TIME_WAIT would slow down the next measurement.

use super::child::raise_open_files;
use hdrhistogram::Histogram;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const EVENTS: usize = 1024;
const BUFFER_BYTES: usize = 256 * 1024;
/// Connections that may wait for their first echo at once: fewer than any server's backlog holds.
const RAMP: usize = 64;
/// Latencies are told apart up to here.
const LONGEST_NS: u64 = 60_000_000_000;
/// How long a server may take to answer before it counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The child's side: orders come in on standard input, one a line, and each is answered by a line.
pub fn obey(server: SocketAddr) -> Result<(), String> {
    let mut load = Load::new(server, raise_open_files()).map_err(|error| error.to_string())?;
    for order in io::stdin().lock().lines() {
        let order = order.map_err(|error| error.to_string())?;
        let words: Vec<&str> = order.split(' ').collect();
        match load.do_what(&words) {
            Ok(answer) => println!("ok {answer}"),
            Err(error) => println!("failed: {error}"),
        }
    }
    Ok(())
}

/// When a slice stops sending.
enum End {
    At(Instant),
    AfterMessages(u64),
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the next message that are here already.
    part: usize,
    /// Bytes that the kernel did not take yet.
    unsent: usize,
    /// When the messages that are under way were sent.
    sent_at: VecDeque<Instant>,
}

struct Load {
    server: SocketAddr,
    open_files: usize,
    epoll: i32,
    buffer: Box<[u8]>,
    connections: Vec<Connection>,
    latency_ns: Histogram<u64>,
    /// Messages that may still be sent in this slice, and that have come back.
    may_send: u64,
    done: u64,
    under_way: u64,
    message_bytes: usize,
    /// Before echoes are looked at: with one connection the server then sleeps before the next message.
    pause: Duration,
}

impl Load {
    fn new(server: SocketAddr, open_files: usize) -> io::Result<Load> {
        // SAFETY: no pointer is passed.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Load {
            server,
            open_files,
            epoll,
            buffer: vec![b'.'; BUFFER_BYTES].into_boxed_slice(),
            connections: Vec::new(),
            latency_ns: Histogram::new_with_max(LONGEST_NS, 3).expect("a valid range"),
            may_send: 0,
            done: 0,
            under_way: 0,
            message_bytes: 0,
            pause: Duration::ZERO,
        })
    }

    fn do_what(&mut self, order: &[&str]) -> io::Result<String> {
        let number = |at: usize| -> io::Result<u64> {
            order.get(at).and_then(|word| word.parse().ok()).ok_or_else(|| io::Error::other("no such order"))
        };
        match order[0] {
            "connect" => self.connect(number(1)? as usize, number(2)? as usize),
            "slice" => {
                let end = End::At(Instant::now() + Duration::from_millis(number(1)?));
                self.slice(end, number(2)?, number(3)? as usize)
            }
            "messages" => {
                self.pause = Duration::from_micros(number(4)?);
                self.slice(End::AfterMessages(number(1)?), number(2)?, number(3)? as usize)
            }
            "latency" => {
                let at = |quantile| self.latency_ns.value_at_quantile(quantile);
                let answer = format!("{} {} {}", at(0.5), at(0.99), at(0.999));
                self.latency_ns.reset();
                Ok(answer)
            }
            _ => Err(io::Error::other("no such order")),
        }
    }

    // --- connecting ----------------------------------------------------------------------------------------------

    /// Connects so many more, and has each echo one message.
    fn connect(&mut self, more: usize, bytes: usize) -> io::Result<String> {
        if self.connections.len() + more + 16 > self.open_files {
            return Err(io::Error::other(format!("the limit of open files is {}", self.open_files)));
        }
        let (mut sent, mut got) = (vec![0; bytes], vec![0; bytes]);
        let all = self.connections.len() + more;
        while self.connections.len() < all {
            let first = self.connections.len();
            let batch = RAMP.min(all - first);
            for n in first..first + batch {
                let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
                let socket = SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO))?;
                socket.set_tcp_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                fill(&mut sent, n);
                stream.write_all(&sent)?;
                self.connections.push(Connection { stream, part: 0, unsent: 0, sent_at: VecDeque::new() });
            }
            for n in first..first + batch {
                fill(&mut sent, n);
                let stream = &mut self.connections[n].stream;
                stream.read_exact(&mut got)?;
                if got != sent {
                    return Err(io::Error::other("the server echoes something else than it was sent"));
                }
                stream.set_nonblocking(true)?;
                self.watch(libc::EPOLL_CTL_ADD, n, false)?;
            }
        }
        Ok(format!("{all}"))
    }

    fn watch(&self, operation: i32, n: usize, for_room_too: bool) -> io::Result<()> {
        let interest = libc::EPOLLIN | if for_room_too { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: interest as u32, u64: n as u64 };
        let fd = self.connections[n].stream.as_raw_fd();
        // SAFETY: the event lives through the call.
        match unsafe { libc::epoll_ctl(self.epoll, operation, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    // --- a slice -------------------------------------------------------------------------------------------------

    /// Keeps so many messages under way on each connection until the end, then waits for them. Answers with the number of
    /// messages and the nanoseconds they took.
    fn slice(&mut self, end: End, outstanding: u64, bytes: usize) -> io::Result<String> {
        let began = Instant::now();
        (self.done, self.under_way, self.message_bytes) = (0, 0, bytes);
        self.may_send = match end {
            End::AfterMessages(messages) => messages,
            End::At(_) => u64::MAX,
        };
        let mut heard = began;
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        for n in 0..self.connections.len() {
            self.send(n, outstanding, Instant::now())?;
        }
        while self.under_way > 0 {
            // SAFETY: there is room for EVENTS events.
            let got = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), EVENTS as i32, 1000) };
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
            let now = Instant::now();
            if got > 0 {
                heard = now;
            } else if now - heard > PATIENCE {
                return Err(io::Error::other(format!("{} messages never came back", self.under_way)));
            }
            if matches!(end, End::At(end) if now >= end) {
                self.may_send = 0;
            }
            for event in events.iter().take(got.max(0) as usize) {
                let n = event.u64 as usize;
                if event.events & libc::EPOLLOUT as u32 != 0 {
                    self.send_rest(n)?;
                }
                if event.events & !(libc::EPOLLOUT as u32) != 0 {
                    self.receive(n)?;
                }
            }
        }
        Ok(format!("{} {}", self.done, began.elapsed().as_nanos()))
    }

    #[inline]
    fn receive(&mut self, n: usize) -> io::Result<()> {
        let connection = &mut self.connections[n];
        let got = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return Err(io::Error::other("the server has closed a connection")),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = connection.part + got;
        let complete = bytes / self.message_bytes;
        connection.part = bytes % self.message_bytes;
        if complete > connection.sent_at.len()
            || (complete == connection.sent_at.len() && connection.part > 0)
        {
            return Err(io::Error::other("the server has echoed more than it was sent"));
        }
        let now = Instant::now();
        for sent_at in connection.sent_at.drain(..complete) {
            self.latency_ns.saturating_record((now - sent_at).as_nanos() as u64);
        }
        self.done += complete as u64;
        self.under_way -= complete as u64;
        self.send(n, complete as u64, now)
    }

    #[inline]
    fn send(&mut self, n: usize, messages: u64, now: Instant) -> io::Result<()> {
        let messages = messages.min(self.may_send);
        if messages == 0 {
            return Ok(());
        }
        self.may_send -= messages;
        self.under_way += messages;
        let connection = &mut self.connections[n];
        connection.sent_at.extend((0..messages).map(|_| now));
        let had_unsent = connection.unsent > 0;
        connection.unsent += messages as usize * self.message_bytes;
        if had_unsent { Ok(()) } else { self.push(n) }
    }

    fn push(&mut self, n: usize) -> io::Result<()> {
        let connection = &mut self.connections[n];
        let piece = connection.unsent.min(self.buffer.len());
        match connection.stream.write(&self.buffer[..piece]) {
            Ok(sent) => connection.unsent -= sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if connection.unsent > 0 { self.watch(libc::EPOLL_CTL_MOD, n, true) } else { Ok(()) }
    }

    #[cold]
    fn send_rest(&mut self, n: usize) -> io::Result<()> {
        if self.connections[n].unsent > 0 {
            self.push(n)?;
        }
        if self.connections[n].unsent == 0 { self.watch(libc::EPOLL_CTL_MOD, n, false) } else { Ok(()) }
    }
}

/// Different bytes for each connection.
fn fill(message: &mut [u8], n: usize) {
    for (at, byte) in message.iter_mut().enumerate() {
        *byte = (n * 31 + at * 7 + at / 256) as u8;
    }
}
