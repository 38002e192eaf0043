//! The `uring` driver at the ends of what it has: buffers, room in its queues, connections that nobody takes, peers that send without end. The driver is
//! made small (`Builder::limits`), so that each of these comes, and its own counts prove that it came.

#![cfg(all(target_os = "linux", feature = "uring", not(miri)))]

mod support;

use futures::FutureExt;
use futures::future::join_all;
use squall::__private::Limits;
use squall::net::{TcpListener, TcpStream};
use squall::{Builder, DriverChoice, IoTotals, io_totals, spawn};
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use support::*;

/// Runs on `uring`, or says why not.
#[track_caller]
fn on_uring<T>(limits: Limits, main: impl Future<Output = T>) -> Option<T> {
    match Builder::new().driver(DriverChoice::Uring).limits(limits).run(bounded(main)) {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// A turn of the loop in which the kernel was asked.
async fn turn() {
    let (stream, mut peer) = pair();
    let mut received = pin!(stream.recv());
    assert!(received.as_mut().now_or_never().is_none());
    peer.write_all(b"x").unwrap();
    assert_eq!(received.await.unwrap().as_deref(), Some(&b"x"[..]));
}

async fn squall_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

// --- backpressure ----------------------------------------------------------------------------------------------------

/// Writes until the kernel has no room; gives how much there was.
fn push(peer: &mut StdStream, bytes: &[u8], piece: usize) -> usize {
    let mut total = 0;
    while total < bytes.len() {
        let end = bytes.len().min(total + piece);
        match peer.write(&bytes[total..end]) {
            Ok(n) => total += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    total
}

#[test]
fn a_greedy_peer_whose_task_does_not_read_is_stopped_and_a_polite_one_beside_it_is_served() {
    for (is_incremental, piece) in [(true, 1 << 16), (true, 100), (false, 1 << 16), (false, 100)] {
        let limits = Limits { first_buffers: 64, most_buffers: 64, is_incremental, ..Limits::default() };
        let sent = pattern(64 << 20);
        on_uring(limits, async {
            let (greedy, mut greedy_peer) = pair();
            let (polite, mut polite_peer) = pair();
            greedy_peer.set_nonblocking(true).unwrap();
            // The kernel receives for it, though nobody waits.
            assert!(greedy.recv().now_or_never().is_none());
            turn().await;
            let (mut total, mut at_half) = (0, 0);
            for round in 0..200 {
                total += push(&mut greedy_peer, &sent[total..], piece);
                let mut received = pin!(polite.recv());
                assert!(received.as_mut().now_or_never().is_none());
                polite_peer.write_all(b"please").unwrap();
                let chunk = received.await.unwrap().unwrap();
                let mut word = chunk.to_vec();
                // At the end of a buffer a message comes in two pieces.
                word.resize("please".len(), 0);
                polite.read_exact(&mut word[chunk.len()..]).await.unwrap();
                assert_eq!(word, b"please");
                if round == 100 {
                    at_half = total;
                }
            }
            assert!(total == at_half && total < sent.len(), "{at_half}, then {total} bytes were taken");
            let unread = io_totals().unread_bytes;
            assert!(unread >= 64 << 10, "it is not the driver that held the bytes: {unread}");
            assert!(unread <= (64 << 10) + 64 * (16 << 10), "{unread} bytes were taken, and nobody reads");
            // Once its task reads, everything comes.
            let mut received = vec![0; total];
            greedy.read_exact(&mut received).await.unwrap();
            assert!(received == sent[..total]);
            assert_eq!(io_totals().unread_bytes, 0);
        });
    }
}

#[test]
fn chunks_that_a_program_keeps_do_not_make_others_wait_or_the_loop_spin() {
    let limits = Limits { first_buffers: 4, most_buffers: 4, ..Limits::default() };
    on_uring(limits, async {
        let (hoarder, mut hoarders_peer) = pair();
        let mut hoard = Vec::new();
        for n in 0..200u8 {
            let mut received = pin!(hoarder.recv());
            assert!(received.as_mut().now_or_never().is_none());
            hoarders_peer.write_all(&[n; 1000]).unwrap();
            let mut chunk = received.await.unwrap().unwrap();
            let mut len = chunk.len();
            hoard.push((n, chunk));
            // At the end of a buffer a message comes in two pieces.
            while len < 1000 {
                chunk = hoarder.recv().await.unwrap().unwrap();
                len += chunk.len();
                hoard.push((n, chunk));
            }
        }
        let before = io_totals().waits;
        for _ in 0..100 {
            turn().await;
        }
        let waits = io_totals().waits - before;
        assert!(waits < 1000, "{waits} system calls for 100 messages: it spins");
        for (n, chunk) in &hoard {
            assert!(chunk.iter().all(|byte| byte == n));
        }
        assert_eq!(hoard.iter().map(|(_, chunk)| chunk.len()).sum::<usize>(), 200 * 1000);
    });
}

#[test]
fn buffers_of_streams_that_were_closed_come_back() {
    for is_incremental in [false, true] {
        let limits = Limits {
            first_buffers: 4,
            most_buffers: 4,
            buffer_bytes: 512,
            is_incremental,
            ..Limits::default()
        };
        on_uring(limits, async {
            for n in 0..100 {
                let (stream, mut peer) = pair();
                assert!(stream.recv().now_or_never().is_none());
                turn().await;
                peer.write_all(&[1; 300]).unwrap();
                // The data is on its way to a socket that is gone, or lies there and is not read.
                if n % 2 == 0 {
                    turn().await;
                    assert_eq!(io_totals().unread_bytes, 300);
                }
                drop(stream);
                turn().await;
                assert_eq!(io_totals().unread_bytes, 0);
            }
            assert_eq!(io_totals().buffer_shortages, 0, "they stayed away: {:?}", io_totals());
        });
    }
}

#[test]
fn so_many_connections_at_most_are_accepted_and_not_taken_and_none_is_lost() {
    alone("so_many_connections_at_most_are_accepted_and_not_taken_and_none_is_lost", || {
        on_uring(Limits::default(), async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            assert!(listener.accept().now_or_never().is_none());
            turn().await;
            let before = descriptors();
            let clients: Vec<_> = (0..100).map(|_| StdStream::connect(address).unwrap()).collect();
            for _ in 0..10 {
                turn().await;
            }
            let accepted = descriptors() - before - clients.len();
            assert!((1..=16).contains(&accepted), "{accepted} connections wait to be taken");
            let mut peers = HashSet::new();
            for _ in &clients {
                let (stream, peer) = listener.accept().await.unwrap();
                assert_eq!(stream.peer_addr().unwrap(), peer);
                peers.insert(peer);
            }
            assert_eq!(peers, clients.iter().map(|client| client.local_addr().unwrap()).collect());
        });
    });
}

// --- nothing to do ---------------------------------------------------------------------------------------------------

#[test]
fn a_loop_that_waits_for_the_kernel_in_every_way_makes_no_system_calls_meanwhile() {
    on_uring(Limits::default(), async {
        let large = vec![7; 32 << 20];
        // Each side waits, by completions and by readiness; one end is blocked, one is over, one has too much unread, one was closed with bytes to send.
        let (idle, _idle_peer) = pair();
        assert!(idle.recv().now_or_never().is_none());
        let (direct, mut direct_peer) = pair();
        direct_peer.write_all(&large[..20_000]).unwrap();
        until_arrived(&direct, 20_000);
        direct.read_exact(&mut vec![0; 20_000]).await.unwrap();
        let direct = Rc::new(direct);
        for stream in [Rc::new(idle), direct.clone()] {
            drop(spawn(async move { stream.recv().await.map(drop) }));
        }
        let mut peers = Vec::new();
        for piece in [1000, 1 << 20] {
            let (stream, peer) = pair();
            let large = large.clone();
            drop(spawn(async move {
                for piece in large.chunks(piece) {
                    stream.write_all(piece).await.unwrap();
                }
            }));
            peers.push(peer);
        }
        let (closed, closed_peer) = pair();
        let mut left = large.as_slice();
        while io_totals().unsent_bytes < 100_000 && !left.is_empty() {
            let Ok(n) = closed.try_write(&left[..left.len().min(4000)]) else {
                turn().await;
                continue;
            };
            left = &left[n..];
        }
        drop(closed);
        let (unread, mut unread_peer) = pair();
        assert!(unread.recv().now_or_never().is_none());
        unread_peer.set_nonblocking(true).unwrap();
        for _ in 0..50 {
            turn().await;
            push(&mut unread_peer, &large, 100);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        drop(spawn(async move { listener.accept().await.map(drop) }));
        let (ended, ended_peer) = pair();
        assert!(ended.recv().now_or_never().is_none());
        drop(ended_peer);
        let (pipe, _writer) = io::pipe().unwrap();
        drop(spawn(async move { squall::io::Source::new(pipe)?.readable().await }));
        for _ in 0..20 {
            turn().await;
        }
        assert_eq!(io_totals().draining, 1);
        let before = io_totals().waits;
        squall::time::sleep(Duration::from_millis(30)).await;
        let waits = io_totals().waits - before;
        assert!(waits <= 3, "{waits} system calls for one sleep: {:?}", io_totals());
        drop((direct_peer, peers, closed_peer, unread, unread_peer, ended));
    });
}

// --- short of everything ---------------------------------------------------------------------------------------------

fn scarce() -> Limits {
    Limits {
        submissions: 4,
        completions: 8,
        first_buffers: 2,
        most_buffers: 4,
        buffer_bytes: 512,
        most_per_send: 100,
        ..Limits::default()
    }
}

/// The task is not ready before the driver was asked.
async fn a_look_at_the_driver() {
    squall::time::sleep(Duration::from_nanos(1)).await;
}

/// Sizes of pieces, up to which they are random. (A large one makes a stream go past the rings for a while.)
#[derive(Clone, Copy)]
struct Sizes {
    write: &'static [usize],
    read: &'static [usize],
}

const SMALL: Sizes = Sizes { write: &[1, 90, 700], read: &[1, 300, 3000] };
const ANY: Sizes = Sizes { write: &[1, 90, 700, 5000, 9000, 40_000], read: &[1, 300, 3000, 20_000] };

/// Writes all of it in one of many ways, a random piece at a time.
async fn write_somehow(
    stream: &TcpStream,
    bytes: &[u8],
    sizes: Sizes,
    dice: &RefCell<Dice>,
) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (size, way) = {
            let mut dice = dice.borrow_mut();
            let size = sizes.write[dice.below(sizes.write.len())];
            (1 + dice.below(size), dice.below(6))
        };
        let piece = &rest[..size.min(rest.len())];
        let n = match way {
            0 => stream.write(piece).await?,
            1 => {
                let (a, b) = piece.split_at(piece.len() / 2);
                stream.write_vectored(&[IoSlice::new(a), IoSlice::new(b)]).await?
            }
            2 => match stream.try_write(piece) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                answer => answer?,
            },
            3 => {
                // Given up in its midst, and then gone on.
                let n = stream.write(piece).await?;
                _ = stream.flush().now_or_never();
                n
            }
            4 => {
                stream.write_all(piece).await?;
                stream.flush().await?;
                piece.len()
            }
            _ => {
                stream.write_all(piece).await?;
                piece.len()
            }
        };
        rest = &rest[n..];
        if n == 0 || way == 5 {
            a_look_at_the_driver().await;
        }
    }
    stream.shutdown(Shutdown::Write).await
}

/// Reads to the end in one of many ways, futures dropped between.
async fn read_somehow(stream: &TcpStream, sizes: Sizes, dice: &RefCell<Dice>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut room = vec![0; 20_000];
    loop {
        let (size, way) = {
            let mut dice = dice.borrow_mut();
            let size = sizes.read[dice.below(sizes.read.len())];
            (1 + dice.below(size), dice.below(7))
        };
        let into = &mut room[..size];
        let n = match way {
            0 => match stream.recv().await? {
                Some(chunk) => {
                    bytes.extend_from_slice(&chunk);
                    continue;
                }
                None => 0,
            },
            1 => {
                let n = stream.peek(into).await?;
                let peeked = into[..n].to_vec();
                let read = stream.read(&mut room[..n.max(1)]).await?;
                assert!(room[..read] == peeked[..read]);
                read
            }
            2 => {
                let (a, b) = into.split_at_mut(size / 2);
                stream.read_vectored(&mut [IoSliceMut::new(a), IoSliceMut::new(b)]).await?
            }
            3 => match stream.read(into).now_or_never() {
                Some(answer) => answer?,
                None => {
                    a_look_at_the_driver().await;
                    continue;
                }
            },
            _ => stream.read(into).await?,
        };
        if n == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&room[..n]);
    }
}

/// Streams that talk both ways at once, each end on this loop.
async fn everybody_talks(streams: usize, most: usize, sizes: Sizes) -> IoTotals {
    let sent = Rc::new(pattern(most));
    let mut tasks = Vec::new();
    for n in 0..streams {
        let (here, there) = squall_pair().await;
        let (here, there) = (Rc::new(here), Rc::new(there));
        for (writer, reader, seed) in [(&here, &there, 2 * n + 1), (&there, &here, 2 * n + 2)] {
            let dice = Rc::new(RefCell::new(Dice((seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))));
            let len = dice.borrow_mut().below(most);
            let (writer, all, its_dice) = (writer.clone(), sent.clone(), dice.clone());
            tasks.push(spawn(async move { write_somehow(&writer, &all[..len], sizes, &its_dice).await }));
            let (reader, all) = (reader.clone(), sent.clone());
            tasks.push(spawn(async move {
                let bytes = read_somehow(&reader, sizes, &dice).await?;
                assert!(bytes == all[..len], "{} of {len} bytes, or others", bytes.len());
                Ok(())
            }));
        }
    }
    // Wakes of other threads come by the same queue.
    tasks.push(spawn(async {
        for n in 0..100 {
            assert_eq!(squall::blocking::run(move || n).await, n);
        }
        Ok(())
    }));
    for ended in join_all(tasks).await {
        ended.unwrap().unwrap();
    }
    io_totals()
}

#[test]
fn everything_arrives_in_order_through_a_driver_that_is_short_of_everything() {
    for (is_incremental, is_multishot) in [(true, true), (false, true), (true, false), (false, false)] {
        let limits = Limits { is_incremental, is_multishot, ..scarce() };
        let Some(totals) = on_uring(limits, everybody_talks(24, 60_000, SMALL)) else { return };
        assert!(totals.buffer_shortages > 0, "no receive found the buffers used up: {totals:?}");
        assert!(totals.queue_overflows > 0, "the queue of operations was never full: {totals:?}");
        assert!(totals.completion_overflows > 0, "the kernel always had room for completions: {totals:?}");
    }
}

#[test]
fn everything_arrives_in_order_whatever_the_sizes_and_the_ways() {
    on_uring(Limits::default(), everybody_talks(20, 1_000_000, ANY));
}

#[test]
fn signals_that_interrupt_the_wait_again_and_again_change_nothing() {
    extern "C" fn ignore(_: libc::c_int) {}
    alone("signals_that_interrupt_the_wait_again_and_again_change_nothing", || {
        let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        // SAFETY: the handler does nothing, and the structs are valid. Without SA_RESTART, so calls are interrupted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
        }
        on_uring(scarce(), everybody_talks(12, 30_000, SMALL));
        on_uring(Limits::default(), everybody_talks(12, 300_000, ANY));
        // SAFETY: as above; no more of them.
        unsafe {
            let off: libc::itimerval = std::mem::zeroed();
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const off, std::ptr::null_mut()), 0);
        }
    });
}

#[test]
fn more_operations_than_the_queue_holds_are_all_done() {
    let limits = Limits { submissions: 4, completions: 4, ..Limits::default() };
    on_uring(limits, async {
        let mut pairs: Vec<_> = (0..100).map(|_| pair()).collect();
        for (stream, _) in &pairs {
            assert!(stream.recv().now_or_never().is_none());
        }
        turn().await;
        for (n, (stream, peer)) in pairs.iter_mut().enumerate() {
            peer.write_all(&[n as u8; 10]).unwrap();
            stream.write_all(&[n as u8; 20]).await.unwrap();
        }
        for (n, (stream, peer)) in pairs.iter_mut().enumerate() {
            assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&[n as u8; 10][..]));
            let mut received = [0; 20];
            turn().await;
            io::Read::read_exact(peer, &mut received).unwrap();
            assert_eq!(received, [n as u8; 20]);
        }
        // All at once.
        drop(pairs);
        assert!(io_totals().queue_overflows >= 90, "{:?}", io_totals());
    });
}
