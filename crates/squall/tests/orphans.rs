//! Futures dropped at any moment: an accept, a connection attempt, a receive, a send. Whatever the kernel was doing for them then, no connection is lost
//! that it accepted for the listener, no byte of a stream, no descriptor, and no memory; and it writes nowhere any more (which the address sanitizer
//! sees, `.ci/run asan`). Seeded: a failure comes again.

#![cfg(not(miri))]

mod support;

use socket2::SockRef;
use squall::__private::Limits;
use squall::net::{TcpListener, TcpStream};
use squall::{Builder, JoinHandle, io_totals, spawn};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;
use support::*;

/// Counts what is allocated, and keeps large blocks for a while after they were freed: who writes there is found out when they go. (The address sanitizer
/// watches the program, not the kernel.)
struct Guarding;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static KEPT: Mutex<Kept> = Mutex::new(Kept { blocks: [None; MOST_KEPT], next: 0 });

const MOST_KEPT: usize = 256;
/// Blocks of this size and above are kept: buffers of the driver are, tables of it too.
const LARGE: usize = 4000;
const FREED: u8 = 0xDD;

struct Kept {
    blocks: [Option<(usize, Layout)>; MOST_KEPT],
    next: usize,
}

#[global_allocator]
static GUARDING: Guarding = Guarding;

/// Gives a kept block back to the system.
///
/// # Safety
/// It was allocated with that layout, and given up.
unsafe fn let_go(at: usize, layout: Layout) {
    let at = at as *mut u8;
    // SAFETY: the caller's promise.
    let is_untouched =
        unsafe { std::slice::from_raw_parts(at, layout.size()) }.iter().all(|byte| *byte == FREED);
    if !is_untouched {
        // No message: that would allocate.
        std::process::abort();
    }
    // SAFETY: the caller's promise.
    unsafe { System.dealloc(at, layout) };
}

// SAFETY: the system's allocator does all of it; here is only counted, and some is given back later.
unsafe impl GlobalAlloc for Guarding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        if layout.size() < LARGE {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(at, layout) };
        }
        // SAFETY: the block is the caller's, who gives it up.
        unsafe { std::ptr::write_bytes(at, FREED, layout.size()) };
        let mut kept = KEPT.lock().unwrap();
        let next = kept.next;
        kept.next = (next + 1) % MOST_KEPT;
        let oldest = kept.blocks[next].replace((at as usize, layout));
        drop(kept);
        if let Some((at, layout)) = oldest {
            // SAFETY: it was put there when its owner gave it up.
            unsafe { let_go(at, layout) };
        }
    }
}

/// Nobody has written to what was freed.
fn nothing_freed_was_touched() {
    let blocks = std::mem::replace(&mut KEPT.lock().unwrap().blocks, [None; MOST_KEPT]);
    for (at, layout) in blocks.into_iter().flatten() {
        // SAFETY: as in `dealloc`.
        unsafe { let_go(at, layout) };
    }
}

/// Byte number `at` of every stream.
fn byte(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

fn bytes(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

/// One accepted connection and what happens at it.
struct Line {
    stream: Rc<TcpStream>,
    peer: StdStream,
    /// How far either side has come.
    received: Rc<Cell<usize>>,
    peer_wrote: usize,
    tasks: Vec<JoinHandle<()>>,
}

impl Line {
    /// A reader that checks each byte, whichever receive it comes by.
    fn read(&mut self, way: usize) {
        let (stream, received) = (self.stream.clone(), self.received.clone());
        self.tasks.push(spawn(async move {
            let mut room = [0; 5000];
            loop {
                let (n, is_right) = match way {
                    0 => match stream.recv().await {
                        Ok(Some(chunk)) => (chunk.len(), *chunk == bytes(received.get(), chunk.len())),
                        _ => return,
                    },
                    1 => match stream.read(&mut room).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => (n, room[..n] == bytes(received.get(), n)),
                    },
                    _ => match stream.peek(&mut room).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => {
                            assert!(room[..n] == bytes(received.get(), n), "peeked others");
                            // (Another reader holds the turn: then there is nothing to take.)
                            let Ok(n) = stream.try_read(&mut room[..n]) else { return };
                            (n, room[..n] == bytes(received.get(), n))
                        }
                    },
                };
                assert!(is_right, "{n} bytes after {} are others", received.get());
                received.set(received.get() + n);
            }
        }));
    }

    fn write(&mut self, len: usize, is_flushed: bool) {
        let stream = self.stream.clone();
        self.tasks.push(spawn(async move {
            if stream.write_all(&vec![7; len]).await.is_ok() && is_flushed {
                _ = stream.flush().await;
            }
        }));
    }

    fn peer_writes(&mut self, len: usize) {
        match self.peer.write(&bytes(self.peer_wrote, len)) {
            Ok(n) => self.peer_wrote += n,
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error}"
            ),
        }
    }

    fn peer_reads(&mut self, most: usize) {
        _ = self.peer.read(&mut vec![0; most]);
    }
}

/// The loop comes to its driver.
async fn a_look_at_the_driver() {
    squall::time::sleep(Duration::from_nanos(1)).await;
}

#[derive(Default)]
struct Accepted {
    /// Every connection that came out of an accept, once.
    from: HashSet<SocketAddr>,
    waiting: Vec<(TcpStream, SocketAddr)>,
}

async fn round(dice: &mut Dice, steps: usize) {
    let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    let elsewhere = StdListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let there = elsewhere.local_addr().unwrap();
    let accepted = Rc::new(RefCell::new(Accepted::default()));
    let (mut connected, mut clients) = (HashSet::new(), Vec::<StdStream>::new());
    let (mut accepts, mut connects) = (Vec::<JoinHandle<()>>::new(), Vec::new());
    let mut lines = Vec::<Line>::new();
    let accept = |listener: &Rc<TcpListener>| {
        let (listener, accepted) = (listener.clone(), accepted.clone());
        spawn(async move {
            // (Another accept may wait already, and is named then.)
            while let Ok((stream, from)) = listener.accept().await {
                let mut accepted = accepted.borrow_mut();
                assert!(accepted.from.insert(from), "{from} came twice");
                accepted.waiting.push((stream, from));
            }
        })
    };
    for _ in 0..steps {
        let which = dice.below(lines.len().max(1));
        match dice.below(16) {
            0 | 1 => accepts.push(accept(&listener)),
            2 if !accepts.is_empty() => accepts.swap_remove(dice.below(accepts.len())).abort(),
            3 | 4 if clients.len() + lines.len() < 60 => {
                let client = StdStream::connect(address).unwrap();
                client.set_nonblocking(true).unwrap();
                SockRef::from(&client).set_recv_buffer_size(64 << 10).unwrap();
                connected.insert(client.local_addr().unwrap());
                clients.push(client);
            }
            5 => connects.push(spawn(async move { _ = TcpStream::connect(there).await })),
            6 if !connects.is_empty() => connects.swap_remove(dice.below(connects.len())).abort(),
            7 => while elsewhere.accept().is_ok() {},
            8 if !lines.is_empty() => lines[which].read(dice.below(3)),
            9 if !lines.is_empty() => {
                let len = [1, 100, 3000, 200_000][dice.below(4)];
                lines[which].write(1 + dice.below(len), dice.below(2) == 0);
            }
            10 | 11 if !lines.is_empty() && !lines[which].tasks.is_empty() => {
                let task = dice.below(lines[which].tasks.len());
                lines[which].tasks.swap_remove(task).abort();
            }
            12 if !lines.is_empty() => {
                let len = [1, 100, 3000, 100_000][dice.below(4)];
                lines[which].peer_writes(1 + dice.below(len));
            }
            13 if !lines.is_empty() => lines[which].peer_reads(1 + dice.below(100_000)),
            // Either side first, with tasks or without them.
            14 if lines.len() > 5 => {
                let Line { stream, peer, tasks, .. } = lines.swap_remove(which);
                if dice.below(2) == 0 {
                    drop(peer);
                    a_look_at_the_driver().await;
                }
                tasks.iter().for_each(JoinHandle::abort);
                drop(stream);
            }
            _ => a_look_at_the_driver().await,
        }
        // Whoever connected and was accepted becomes a line.
        let come = std::mem::take(&mut accepted.borrow_mut().waiting);
        for (stream, from) in come {
            let at = clients.iter().position(|client| client.local_addr().unwrap() == from).unwrap();
            let (peer, received) = (clients.swap_remove(at), Rc::default());
            // Little room, so that sends have to wait.
            stream.set_send_buffer_bytes(16 << 10).unwrap();
            lines.push(Line { stream: Rc::new(stream), peer, received, peer_wrote: 0, tasks: Vec::new() });
        }
    }
    // Nobody is lost.
    accepts.drain(..).for_each(|task| task.abort());
    let last = accept(&listener);
    while accepted.borrow().from.len() < connected.len() {
        a_look_at_the_driver().await;
    }
    assert_eq!(accepted.borrow().from, connected);
    last.abort();
    // Nor any byte of those that are still there, if the stream's own end is.
    for line in &mut lines {
        line.tasks.drain(..).for_each(|task| task.abort());
        line.read(0);
        line.write(100, true);
        while line.received.get() < line.peer_wrote && !line.tasks[0].is_finished() {
            line.peer_reads(1 << 20);
            a_look_at_the_driver().await;
        }
        assert_eq!(line.received.get(), line.peer_wrote);
        line.tasks.drain(..).for_each(|task| task.abort());
    }
    connects.drain(..).for_each(|task| task.abort());
}

/// A loop's life with so many rounds, after each of which nothing is left. Gives the bytes allocated then.
fn rounds(limits: Limits, seed: u64) -> Vec<isize> {
    const ROUNDS: usize = 8;
    let mut live = Vec::with_capacity(ROUNDS);
    let main = async {
        let mut dice = Dice(seed);
        a_look_at_the_driver().await;
        let before = descriptors();
        for n in 0..ROUNDS {
            round(&mut dice, 2000).await;
            // What was dropped is let go in the turns that follow.
            let mut looks = 0;
            while descriptors() > before || io_totals().in_flight > 2 {
                a_look_at_the_driver().await;
                looks += 1;
                let (left, totals) = (descriptors(), io_totals());
                assert!(looks < 10_000, "round {n}: {left} descriptors, {before} before; {totals:?}");
            }
            let totals = io_totals();
            assert_eq!((totals.unread_bytes, totals.unsent_bytes, totals.draining), (0, 0, 0), "{totals:?}");
            nothing_freed_was_touched();
            live.push(LIVE.load(Ordering::Relaxed));
        }
    };
    Builder::new().limits(limits).run(bounded(main)).unwrap();
    live
}

#[test]
fn futures_dropped_at_random_moments_lose_nothing_and_leave_nothing_behind() {
    let test = "futures_dropped_at_random_moments_lose_nothing_and_leave_nothing_behind";
    // (A driver that has none of this ignores it.)
    let scarce = Limits {
        submissions: 4,
        completions: 8,
        first_buffers: 2,
        most_buffers: 4,
        buffer_bytes: 512,
        most_per_send: 1000,
        ..Limits::default()
    };
    let single = Limits {
        first_buffers: 4,
        most_buffers: 8,
        is_multishot: false,
        is_incremental: false,
        ..Limits::default()
    };
    alone(test, || {
        let mut first = None;
        for (n, limits) in [Limits::default(), scarce, single, Limits::default()].into_iter().enumerate() {
            let live = rounds(limits, 20_260_411 + n as u64);
            // Tables and pools get their size in the first rounds, and pools are bounded.
            let growth = live[live.len() - 1] - live[live.len() / 2..].iter().min().unwrap();
            assert!(growth < 256 << 10, "memory grows: {live:?}");
            // What a loop leaves behind is the process's own, once.
            let after = LIVE.load(Ordering::Relaxed);
            let first = *first.get_or_insert(after);
            assert!(after - first < 8 << 10, "{} bytes more after {n} more loops", after - first);
        }
    });
}

#[test]
fn what_the_kernel_was_doing_when_a_loop_ends_is_over_when_its_memory_is_freed() {
    let test = "what_the_kernel_was_doing_when_a_loop_ends_is_over_when_its_memory_is_freed";
    alone(test, || {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let mut dice = Dice(7);
        let mut before = 0;
        for n in 0..40 {
            let mut lines = squall::run(bounded(async {
                let mut lines = Vec::new();
                for _ in 0..20 {
                    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                    let (peer, _) = listener.accept().unwrap();
                    peer.set_nonblocking(true).unwrap();
                    stream.set_send_buffer_bytes(16 << 10).unwrap();
                    let (stream, received) = (Rc::new(stream), Rc::default());
                    let mut line = Line { stream, peer, received, peer_wrote: 0, tasks: Vec::new() };
                    line.read(dice.below(3));
                    line.write(1 + dice.below(500_000), false);
                    lines.push(line);
                }
                for _ in 0..dice.below(4) {
                    let which = dice.below(lines.len());
                    lines[which].peer_writes(3000);
                    a_look_at_the_driver().await;
                }
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                drop(spawn(async move { _ = listener.accept().await }));
                a_look_at_the_driver().await;
                lines
            }));
            // The streams are there still, but nobody receives or sends for them.
            for line in &mut lines {
                line.peer_writes(100_000);
                line.peer_reads(1 << 20);
            }
            nothing_freed_was_touched();
            drop(lines);
            match n {
                0 => before = descriptors(),
                _ => assert_eq!(descriptors(), before),
            }
        }
    });
}
