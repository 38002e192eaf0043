//! Bytes that the driver holds for a connection, in both directions: their order when system calls and completions mix, who is woken, and what becomes of
//! them when a stream, a listener, the loop or the process ends. Under a driver that holds none all of this is the kernel's work, and must hold too.

#![cfg(not(miri))]

mod support;

use futures::FutureExt;
use socket2::{Domain, SockRef, Socket, Type};
use squall::EventLoop;
use squall::net::{TcpListener, TcpStream};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream as StdStream;
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::*;

/// A stream with little room in the kernel's buffers, and its blocking peer. Segments are small, else TCP would wait by timers for room for a whole one.
fn narrow_pair() -> (TcpStream, StdStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let here = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    here.set_tcp_mss(1000).unwrap();
    here.set_send_buffer_size(8 << 10).unwrap();
    here.connect(&listener.local_addr().unwrap().into()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    SockRef::from(&peer).set_recv_buffer_size(16 << 10).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (TcpStream::from_std(here.into()).unwrap(), peer)
}

/// Bounded room, and segments as large as the system likes: a peer that reads again gets the rest without TCP's timers.
fn bounded_pair() -> (TcpStream, StdStream) {
    let (stream, peer) = pair();
    stream.set_send_buffer_bytes(32 << 10).unwrap();
    SockRef::from(&peer).set_recv_buffer_size(128 << 10).unwrap();
    (stream, peer)
}

/// A turn of the loop in which the kernel was asked: what was queued is its now.
async fn turn() {
    let (stream, mut peer) = pair();
    let mut received = pin!(stream.recv());
    assert!(received.as_mut().now_or_never().is_none());
    peer.write_all(b"x").unwrap();
    assert_eq!(received.await.unwrap().as_deref(), Some(&b"x"[..]));
    // A driver that tries first may have found it without asking.
    squall::time::sleep(Duration::from_nanos(1)).await;
}

/// Writes in pieces of that size, each flushed, until a flush has to wait. Gives the number of bytes taken.
fn fill(stream: &TcpStream, bytes: &[u8], piece: usize) -> usize {
    let mut taken = 0;
    while taken + piece <= bytes.len() {
        match stream.try_write(&bytes[taken..taken + piece]) {
            Ok(n) => taken += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return taken;
            }
        }
        match stream.flush().now_or_never() {
            Some(flushed) => flushed.unwrap(),
            None => return taken,
        }
    }
    panic!("the kernel has taken everything");
}

/// As [`fill`], until the kernel has really no room: what it passes on by itself has been passed on.
async fn fill_up(stream: &TcpStream, bytes: &[u8], piece: usize) -> usize {
    let mut taken = 0;
    loop {
        let more = fill(stream, &bytes[taken..], piece);
        taken += more;
        turn().await;
        turn().await;
        if more == 0 || stream.flush().now_or_never().is_none() {
            return taken;
        }
    }
}

fn read_all(mut peer: StdStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).map(|_| bytes)
}

#[squall::test(real)]
async fn what_is_written_after_a_flush_that_was_given_up_in_its_midst_comes_in_order() {
    let sent = pattern(8 << 20);
    for piece in [700, 7000] {
        let (stream, peer) = narrow_pair();
        // The flush has sent a part of what was taken, and is dropped.
        let mut taken = fill(&stream, &sent, piece);
        for size in [1, 100, 5000, 70_000] {
            if let Ok(n) = stream.try_write(&sent[taken..taken + size]) {
                taken += n;
            }
        }
        let reader = thread::spawn(|| read_all(peer).unwrap());
        bounded(stream.write_all(&sent[taken..taken + 1000])).await.unwrap();
        taken += 1000;
        drop(stream);
        bounded(turn()).await;
        let received = reader.join().unwrap();
        assert!(received == sent[..taken], "{} of {taken} bytes, or others", received.len());
    }
}

#[squall::test(real)]
async fn a_writer_that_waits_for_room_is_woken_though_small_messages_came_meanwhile() {
    const BYTES: usize = 4 << 20;
    let (stream, mut peer) = narrow_pair();
    let stream = Rc::new(stream);
    let writing = stream.clone();
    let writer = squall::spawn(async move { writing.write_all(&pattern(BYTES)).await });
    turn().await;
    for _ in 0..200 {
        peer.write_all(b"small").unwrap();
        let received = bounded(stream.recv()).await.unwrap();
        assert_eq!(received.as_deref(), Some(&b"small"[..]));
    }
    assert!(!writer.is_finished(), "it had room for everything");
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; BYTES];
        peer.read_exact(&mut bytes).map(|()| bytes)
    });
    bounded(writer).await.unwrap().unwrap();
    drop(stream);
    turn().await;
    assert!(reader.join().unwrap().unwrap() == pattern(BYTES));
}

/// A stream whose reader waits in the kernel, though nobody waits for it.
async fn with_a_reader_that_gave_up() -> (TcpStream, StdStream) {
    let (stream, peer) = pair();
    assert!(stream.recv().now_or_never().is_none());
    turn().await;
    (stream, peer)
}

#[squall::test(real)]
async fn the_end_of_a_dropped_stream_reaches_its_peer_though_others_keep_the_driver_busy() {
    let sent = pattern(1 << 20);
    let (busy, mut busy_peer) = narrow_pair();
    // A few bytes are in the kernel's hands without room for them, and many behind them.
    fill_up(&busy, &sent, 100).await;
    let behind: usize = (0..10).map(|_| busy.try_write(&sent[..6000]).unwrap_or(0)).sum();
    let (dropped, dropped_peer) = with_a_reader_that_gave_up().await;
    // Room for the few: when they are sent, the many are queued and have to wait.
    busy_peer.set_nonblocking(true).unwrap();
    let mut room = vec![0; 12_000];
    assert_eq!(busy_peer.read(&mut room).unwrap(), room.len());
    // Something is queued that the kernel has not seen.
    let (fresh, _fresh_peer) = pair();
    assert!(fresh.recv().now_or_never().is_none());
    drop(dropped);
    assert_eq!(bounded(squall::blocking::run(|| read_all(dropped_peer))).await.unwrap(), b"");
    // (Under a driver that holds nothing there is no room behind.)
    assert!(behind == 60_000 || squall::driver() != squall::DriverKind::Uring);
    drop((busy, busy_peer));
}

#[squall::test(real)]
async fn dropping_a_stream_that_must_not_linger_resets_at_once_though_bytes_wait_for_room() {
    let sent = pattern(1 << 20);
    let (stream, peer) = narrow_pair();
    fill_up(&stream, &sent, 4000).await;
    stream.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    turn().await;
    assert_eq!(squall::io_totals().draining, 0, "it is kept open: {:?}", squall::io_totals());
    until_hung_up(&peer);
    assert_eq!(read_all(peer).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[squall::test(real)]
async fn a_reset_in_the_midst_of_a_send_is_no_clean_end_for_who_reads_afterwards() {
    let sent = pattern(1 << 20);
    let (stream, mut peer) = narrow_pair();
    fill_up(&stream, &sent, 4000).await;
    while let Ok(n) = stream.try_write(&sent[..4000]) {
        assert!(n > 0);
    }
    // Room for a part of what is in flight.
    let mut room = vec![0; 12_000];
    peer.read_exact(&mut room).unwrap();
    turn().await;
    turn().await;
    reset(peer);
    until_hung_up(&stream);
    turn().await;
    turn().await;
    // The send has learned of it first, if one was under way.
    assert_eq!(bounded(stream.read(&mut room)).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(bounded(stream.read(&mut room)).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    bounded(async { stream.write_all(b"x").await.and(stream.flush().await) }).await.unwrap_err();
}

#[test]
fn what_was_written_to_many_streams_is_sent_when_the_loop_ends_if_their_peers_read() {
    let sent = pattern(1 << 20);
    let mut peers = Vec::new();
    let mut taken = Vec::new();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let reader = squall::run(async {
        for _ in 0..240 {
            let (stream, peer) = bounded_pair();
            let first = fill_up(&stream, &sent, 1000).await;
            let more = stream.try_write(&sent[first..first + 500]).unwrap_or(0);
            taken.push(first + more);
            peers.push(peer);
            // A task keeps it: the end of the loop ends it.
            drop(squall::spawn(async move {
                std::future::pending::<()>().await;
                drop(stream);
            }));
        }
        turn().await;
        // One after the other, so they end one by one.
        let reader = thread::spawn(move || {
            gone.recv().unwrap();
            peers.into_iter().map(|peer| read_all(peer).map(|bytes| bytes.len())).collect::<Vec<_>>()
        });
        go.send(()).unwrap();
        reader
    });
    let received: Vec<_> = reader.join().unwrap().into_iter().map(|read| read.ok()).collect();
    assert_eq!(received, taken.into_iter().map(Some).collect::<Vec<_>>());
}

#[test]
fn what_was_written_is_sent_though_the_stream_is_dropped_elsewhere_while_the_loop_ends() {
    let peer = squall::run(async {
        let (stream, peer) = pair();
        stream.write_all(b"the last words").await.unwrap();
        // Its loop would close it in the next turn, and there is none.
        thread::spawn(move || drop(stream)).join().unwrap();
        peer
    });
    assert_eq!(read_all(peer).unwrap(), b"the last words");
}

#[test]
fn what_was_written_to_a_stream_that_outlives_its_loop_is_sent() {
    let sent = pattern(1 << 20);
    let (stream, reader, taken) = squall::run(async {
        let (stream, peer) = bounded_pair();
        let mut taken = fill_up(&stream, &sent, 1000).await;
        while let Ok(n) = stream.try_write(&sent[taken..taken + 1000]) {
            taken += n;
        }
        (stream, thread::spawn(|| read_all(peer)), taken)
    });
    drop(stream);
    let received = reader.join().unwrap().unwrap();
    assert!(received == sent[..taken], "{} of {taken} bytes", received.len());
}

#[test]
fn small_writes_arrive_although_the_process_exits_at_once() {
    let test = "small_writes_arrive_although_the_process_exits_at_once";
    if let Some(role) = role() {
        squall::run(async {
            let stream = TcpStream::connect(&*role).await.unwrap();
            stream.write_all(b"the last ").await.unwrap();
            turn().await;
            stream.write_all(b"words").await.unwrap();
            std::process::exit(0);
        })
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let role = listener.local_addr().unwrap().to_string();
    let mut writer = again(test, &role).stdout(Stdio::null()).spawn().unwrap();
    until_readable(&listener);
    assert_eq!(read_all(listener.accept().unwrap().0).unwrap(), b"the last words");
    assert!(writer.wait().unwrap().success());
}

#[squall::test(real)]
async fn a_reader_callback_is_not_called_because_a_large_write_found_no_room() {
    let sent = pattern(1 << 20);
    let (stream, mut peer) = bounded_pair();
    let (stream, calls) = (Rc::new(stream), Rc::new(Cell::new(0)));
    let counted = calls.clone();
    squall::callback::add_reader(&stream, move |stream| {
        counted.set(counted.get() + 1);
        let mut room = [0; 100];
        assert_eq!(stream.try_read(&mut room).expect("there is something to read"), 2);
    });
    for _ in 0..3 {
        turn().await;
        while stream.try_write(&sent).is_ok() {}
        turn().await;
        turn().await;
    }
    assert_eq!(calls.get(), 0);
    for n in 1..=3 {
        peer.write_all(b"hi").unwrap();
        while calls.get() < n {
            turn().await;
        }
    }
    turn().await;
    assert_eq!(calls.get(), 3);
    squall::callback::remove_reader(&stream);
}

#[test]
fn a_stream_that_goes_from_loop_to_loop_while_data_flows_loses_none() {
    let sent = pattern(1 << 20);
    let (here, mut peer) = std_pair();
    let echo = thread::spawn(move || {
        let mut room = [0; 10_000];
        loop {
            match peer.read(&mut room).unwrap() {
                0 => return,
                n => peer.write_all(&room[..n]).unwrap(),
            }
        }
    });
    let (mut dice, mut written, mut received) = (Dice(11), 0, Vec::new());
    let mut detached = squall::run(async { TcpStream::from_std(here)?.detach() }).unwrap();
    for _ in 0..300 {
        detached = squall::run(bounded(async {
            let stream = detached.attach()?;
            for _ in 0..dice.below(4) {
                let end = sent.len().min(written + 1 + dice.below(9000)).min(received.len() + 100_000);
                stream.write_all(&sent[written..end]).await?;
                written = end;
                // A receive is left in the kernel, or brings something.
                match dice.below(4) {
                    0 => {
                        if let Some(chunk) = stream.recv().now_or_never() {
                            received.extend_from_slice(&chunk?.unwrap());
                        }
                    }
                    _ if received.len() == written => {}
                    1 => received.extend_from_slice(&stream.recv().await?.unwrap()),
                    _ => {
                        let mut room = vec![0; 1 + dice.below(20_000)];
                        let n = stream.read(&mut room).await?;
                        received.extend_from_slice(&room[..n]);
                    }
                }
            }
            stream.flush().await?;
            stream.detach()
        }))
        .unwrap();
    }
    squall::run(bounded(async {
        let stream = detached.attach()?;
        while received.len() < written {
            received.extend_from_slice(&stream.recv().await?.unwrap());
        }
        io::Result::Ok(())
    }))
    .unwrap();
    assert!(received == sent[..written] && written > 500_000, "{} of {written} bytes", received.len());
    echo.join().unwrap();
}

#[squall::test(real)]
async fn a_listener_that_becomes_std_s_loses_no_connection_without_a_word() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3).map(|_| StdStream::connect(address).unwrap()).collect();
    // The first is taken at once; then somebody waits, so the driver may take more on its own account.
    for _ in 0..3 {
        listener.accept().await.unwrap();
    }
    assert!(listener.accept().now_or_never().is_none());
    turn().await;
    let late: Vec<_> = (0..2).map(|_| StdStream::connect(address).unwrap()).collect();
    turn().await;
    match listener.into_std() {
        Ok(listener) => {
            listener.set_nonblocking(true).unwrap();
            for client in &late {
                assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("TcpListener::into_std: 2 connections were accepted"), "{text}");
        }
    }
    drop(clients);
}

#[squall::test(real)]
async fn a_listener_that_becomes_std_s_leaves_nothing_behind_that_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(listener.accept().now_or_never().is_none());
    turn().await;
    let listener = listener.into_std().unwrap();
    let clients: Vec<_> = (0..40).map(|_| StdStream::connect(address).unwrap()).collect();
    turn().await;
    listener.set_nonblocking(true).unwrap();
    for client in &clients {
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }
}

#[test]
fn a_loop_ends_though_its_peers_never_read() {
    let sent = pattern(1 << 20);
    let event_loop = EventLoop::new().unwrap();
    let mut pairs: Vec<_> = (0..20)
        .map(|_| {
            event_loop.run_until(async {
                let (stream, peer) = narrow_pair();
                let taken = fill_up(&stream, &sent, 4000).await;
                (Some(stream), peer, taken)
            })
        })
        .collect();
    // Some closed before, some with the loop, some after it.
    event_loop.run_until(async {
        pairs[..7].iter_mut().for_each(|(stream, ..)| *stream = None);
        for (stream, ..) in &mut pairs[7..14] {
            let stream = stream.take();
            drop(squall::spawn(async move {
                std::future::pending::<()>().await;
                drop(stream);
            }));
        }
        turn().await;
    });
    drop(event_loop);
    for (stream, peer, taken) in pairs {
        drop(stream);
        // All of it, or a reset; never an end that looks whole and is not.
        if let Ok(received) = read_all(peer) {
            assert!(received == sent[..taken], "{} of {taken} bytes", received.len());
        }
    }
}
