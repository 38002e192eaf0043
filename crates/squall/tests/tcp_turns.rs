//! Whose turn it is at a direction of a socket, and on whose loop the socket lives: a second waiter is told of the first, a turn goes back
//! however its future ends, and a stream that strays to another loop, another thread or a later time gives an error and is closed.

#![cfg(not(miri))]

mod support;

use futures::future::{Either, join_all, select};
use futures::io::AsyncRead;
use futures::stream::{FuturesUnordered, StreamExt};
use squall::net::{TcpListener, TcpStream};
use squall::{EventLoop, spawn, spawn_named, yield_now};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use support::*;

const ON_ANOTHER_LOOP: &str =
    "it belongs to another event loop; move it with detach() there and attach() here";
const LOOP_ENDED: &str = "the event loop it belongs to has ended";

fn shared_pair() -> (Rc<TcpStream>, StdStream) {
    let (stream, peer) = pair();
    (Rc::new(stream), peer)
}

type Received = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>>>>;

/// A read of its own, to be polled by anybody.
fn reading(stream: &Rc<TcpStream>) -> Received {
    let stream = stream.clone();
    Box::pin(async move { Ok(stream.recv().await?.map_or(Vec::new(), |chunk| chunk.to_vec())) })
}

#[track_caller]
fn busy<T>(answer: io::Result<T>) -> String {
    let error = answer.err().expect("another has the turn");
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    error.to_string()
}

// --- one waiter for each direction -----------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_second_reader_is_told_which_task_reads_and_where() {
    bounded(async {
        let (stream, mut peer) = shared_pair();
        let spawned_at = line!() + 1;
        let first = spawn_named("reader", reading(&stream));
        yield_now().await;
        let here = file!();
        for error in [
            busy(stream.read(&mut [0; 9]).await),
            busy(stream.peek(&mut [0; 9]).await),
            busy(stream.recv().await),
            busy(stream.read_exact(&mut [0; 9]).await),
            busy(futures::AsyncReadExt::read(&mut &*stream, &mut [0; 9]).await),
        ] {
            let who = format!("task {} \"reader\" (spawned at {here}:{spawned_at}:", first.id());
            let where_to = format!("which waits for data from a stream at {here}:");
            assert!(error.contains(&who) && error.contains(&where_to), "{error}");
        }
        // The other direction is free, and the first has lost nothing.
        stream.write_all(b"x").await.unwrap();
        peer.write_all(b"for the first").unwrap();
        assert_eq!(first.await.unwrap().unwrap(), b"for the first");
        peer.write_all(b"for the second").unwrap();
        assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"for the second"[..]));
    })
    .await;
}

#[squall::test(real)]
async fn a_second_writer_is_told_which_task_writes() {
    bounded(async {
        let (stream, peer) = shared_pair();
        let first = spawn_named("writer", {
            let stream = stream.clone();
            async move { stream.write_all(&vec![1; 8 << 20]).await }
        });
        yield_now().await;
        let who = format!("task {} \"writer\" (spawned at {}:", first.id(), file!());
        for error in [
            busy(stream.write(b"x").await),
            busy(stream.write_all(b"x").await),
            busy(stream.flush().await),
            busy(stream.shutdown(Shutdown::Write).await),
        ] {
            assert!(error.contains(&who) && error.contains("room to write to a stream"), "{error}");
        }
        let reader = thread::spawn(move || {
            let mut peer = peer;
            let mut all = vec![0; 8 << 20];
            peer.read_exact(&mut all).map(|()| all.iter().all(|byte| *byte == 1))
        });
        first.await.unwrap().unwrap();
        stream.shutdown(Shutdown::Write).await.unwrap();
        assert!(reader.join().unwrap().unwrap());
    })
    .await;
}

#[squall::test(real)]
async fn a_second_acceptor_is_told_which_task_accepts() {
    bounded(async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let first = spawn_named("acceptor", {
            let listener = listener.clone();
            async move { listener.accept().await.map(|(_, peer)| peer) }
        });
        yield_now().await;
        let error = busy(listener.accept().await);
        assert!(error.contains(&format!("task {} \"acceptor\"", first.id())), "{error}");
        assert!(error.contains("a connection to accept at "), "{error}");
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), client.local_addr().unwrap());
    })
    .await;
}

#[squall::test(real)]
async fn a_write_of_several_pieces_lets_nobody_in_between_when_its_budget_ends() {
    bounded(async {
        // However much of its budget the task has used up before the first piece: all but the last of it is seen here.
        for used in 100..128 {
            let (stream, peer) = shared_pair();
            let first = spawn({
                let stream = stream.clone();
                async move {
                    for _ in 0..used {
                        stream.write(b"").await?;
                    }
                    stream.write_all(&vec![b'a'; 16 << 20]).await
                }
            });
            yield_now().await;
            until_readable(&peer);
            let Poll::Ready(second) = futures::poll!(stream.write(b"b")) else {
                panic!("after {used}: in between")
            };
            busy(second);
            drop(peer);
            first.await.unwrap().unwrap_err();
        }
    })
    .await;
}

#[squall::test(real)]
async fn a_read_of_several_pieces_lets_nobody_in_between_when_its_budget_ends() {
    bounded(async {
        for used in 100..128 {
            let (stream, mut peer) = shared_pair();
            peer.write_all(b"12345").unwrap();
            until_arrived(&*stream, 5);
            let first = spawn({
                let stream = stream.clone();
                async move {
                    for _ in 0..used {
                        stream.peek(&mut []).await?;
                    }
                    let mut all = [0; 10];
                    stream.read_exact(&mut all).await.map(|()| all)
                }
            });
            yield_now().await;
            let Poll::Ready(second) = futures::poll!(stream.recv()) else {
                panic!("after {used}: in between")
            };
            busy(second);
            peer.write_all(b"67890").unwrap();
            assert_eq!(&first.await.unwrap().unwrap(), b"1234567890");
        }
    })
    .await;
}

// --- turns that go back ----------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_dropped_read_frees_its_turn_and_loses_no_data() {
    bounded(async {
        let (stream, mut peer) = shared_pair();
        let mut waits = reading(&stream);
        assert!(futures::poll!(&mut waits).is_pending());
        drop(waits);
        let mut woken = reading(&stream);
        assert!(futures::poll!(&mut woken).is_pending());
        peer.write_all(b"hello").unwrap();
        until_arrived(&*stream, 5);
        // Turns in which the driver tells of the data; the future is not polled.
        for _ in 0..3 {
            spawn(async {}).await.unwrap();
        }
        busy(stream.recv().await);
        drop(woken);
        assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"hello"[..]));
        let aborted = spawn(reading(&stream));
        yield_now().await;
        aborted.abort();
        peer.write_all(b"again").unwrap();
        assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"again"[..]));
        assert!(aborted.await.unwrap_err().is_cancelled());
    })
    .await;
}

#[squall::test(real)]
async fn a_dropped_accept_loses_no_connection() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut accept = Box::pin(listener.accept());
        assert!(futures::poll!(&mut accept).is_pending());
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        until_readable(&listener);
        drop(accept);
        assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
    })
    .await;
}

#[squall::test(real)]
async fn a_read_that_moves_to_another_task_keeps_its_turn() {
    bounded(async {
        let (stream, mut peer) = shared_pair();
        let mut moving = reading(&stream);
        assert!(futures::poll!(&mut moving).is_pending());
        let moved = spawn_named("new home", moving);
        busy(stream.recv().await);
        yield_now().await;
        let error = busy(stream.recv().await);
        assert!(error.contains(&format!("task {} \"new home\"", moved.id())), "{error}");
        peer.write_all(b"hello").unwrap();
        assert_eq!(moved.await.unwrap().unwrap(), b"hello");
    })
    .await;
}

#[squall::test(real)]
async fn polling_holds_no_turn_and_the_last_waker_is_woken() {
    bounded(async {
        let (stream, mut peer) = shared_pair();
        let polling = |stream: &Rc<TcpStream>| {
            let stream = stream.clone();
            poll_fn(move |cx| {
                let mut room = [0; 9];
                Pin::new(&mut &*stream).poll_read(cx, &mut room).map_ok(|n| room[..n].to_vec())
            })
        };
        let first = spawn(polling(&stream));
        yield_now().await;
        let second = spawn(polling(&stream));
        yield_now().await;
        peer.write_all(b"two").unwrap();
        assert_eq!(second.await.unwrap().unwrap(), b"two");
        assert!(!first.is_finished());
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());

        // A future takes over from what only polled, and is not overtaken itself.
        assert!(futures::poll!(polling(&stream)).is_pending());
        let third = spawn(reading(&stream));
        yield_now().await;
        busy(polling(&stream).await);
        peer.write_all(b"three").unwrap();
        assert_eq!(third.await.unwrap().unwrap(), b"three");
    })
    .await;
}

// --- wakers of other executors ---------------------------------------------------------------------------------------

#[test]
fn combinators_with_wakers_of_their_own_are_woken_and_leave_none_behind() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.run_until(bounded(async {
        let (streams, peers): (Vec<_>, Vec<_>) = (0..50).map(|_| shared_pair()).unzip();
        let mut readings: FuturesUnordered<_> = streams.iter().map(reading).collect();
        assert!(futures::poll!(readings.next()).is_pending());
        assert_eq!(shown(&event_loop, "foreign_wakers"), 50);
        // Polled again for other reasons: no waker more.
        assert!(futures::poll!(readings.next()).is_pending());
        assert_eq!(shown(&event_loop, "foreign_wakers"), 50);
        for (i, mut peer) in peers.iter().enumerate().take(20) {
            peer.write_all(&[i as u8]).unwrap();
            assert_eq!(readings.next().await.unwrap().unwrap(), [i as u8]);
        }
        assert_eq!(shown(&event_loop, "foreign_wakers"), 30);
        drop(readings);
        assert_eq!(shown(&event_loop, "foreign_wakers"), 0);

        // Polled by one after another: the waker that was replaced goes.
        let mut passed_on = reading(&streams[0]);
        for _ in 0..3 {
            let mut first = FuturesUnordered::from_iter([&mut passed_on]);
            assert!(futures::poll!(first.next()).is_pending());
            assert_eq!(shown(&event_loop, "foreign_wakers"), 1);
        }
        drop(passed_on);

        // A second read is refused also where the first is no task's.
        let mut first = FuturesUnordered::from_iter([reading(&streams[0])]);
        assert!(futures::poll!(first.next()).is_pending());
        let error = busy(streams[0].recv().await);
        assert!(error.contains("taken by a future of another executor"), "{error}");
        drop(first);

        let mut each = join_all(streams.iter().skip(20).map(reading));
        assert!(futures::poll!(&mut each).is_pending());
        for mut peer in &peers {
            peer.write_all(b"x").unwrap();
        }
        assert!(each.await.into_iter().all(|answer| answer.unwrap() == b"x"));

        let (first, second) = (reading(&streams[0]), reading(&streams[1]));
        let Either::Left((answer, second)) = select(first, second).await else { panic!("the second waits") };
        assert_eq!(answer.unwrap(), b"x");
        drop(second);
        assert_eq!(shown(&event_loop, "foreign_wakers"), 0);
    }));
    assert_eq!((shown(&event_loop, "sockets"), shown(&event_loop, "foreign_wakers")), (0, 0));
}

// --- the wrong loop --------------------------------------------------------------------------------------------------

async fn every_use(stream: TcpStream) -> (Vec<String>, TcpStream) {
    let errors = vec![
        text_of(stream.read(&mut [0; 9]).await),
        text_of(stream.recv().await),
        text_of(stream.peek(&mut [0; 9]).await),
        text_of(stream.write(b"x").await),
        text_of(stream.write_all(b"x").await),
        text_of(stream.flush().await),
        text_of(stream.shutdown(Shutdown::Write).await),
        text_of(stream.shutdown(Shutdown::Read).await),
        text_of(stream.try_read(&mut [0; 9])),
        text_of(stream.try_write(b"x")),
        text_of(futures::AsyncReadExt::read(&mut &stream, &mut [0; 9]).await),
    ];
    (errors, stream)
}

#[track_caller]
fn all_say(errors: &[String], text: &str) {
    assert!(errors.iter().all(|error| error.contains(text)), "{errors:#?}");
}

#[test]
fn a_stream_used_on_another_loop_says_how_to_move_it() {
    let (home, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let (stream, mut peer) = home.run_until(async { pair() });
    let (errors, stream) = other.run_until(bounded(every_use(stream)));
    all_say(&errors, ON_ANOTHER_LOOP);
    assert!(errors[0].starts_with("read: ") && errors[6].starts_with("shutdown: "), "{errors:#?}");
    let thread = thread::spawn(|| squall::run(bounded(every_use(stream))));
    let (errors, stream) = thread.join().unwrap();
    all_say(&errors, ON_ANOTHER_LOOP);
    // At home it has felt nothing of all that.
    home.run_until(bounded(async {
        stream.write_all(b"home").await.unwrap();
        stream.flush().await.unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
    }));
    let file = identity(&stream);
    let refused = other.run_until(async { text_of(stream.detach()) });
    assert!(refused.contains(ON_ANOTHER_LOOP), "{refused}");
    home.turn();
    assert!(!is_open(&file), "what could not be detached is closed");
    assert_eq!((peer.read(&mut [0]).unwrap(), shown(&home, "sockets")), (0, 0));
}

#[test]
fn a_stream_dropped_on_another_loop_is_closed_by_its_own() {
    let (home, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let (stream, mut peer) = home.run_until(async { pair() });
    let file = identity(&stream);
    other.run_until(async move { drop(stream) });
    assert_eq!(shown(&home, "sockets"), 1);
    home.turn();
    assert_eq!((shown(&home, "sockets"), is_open(&file)), (0, false));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[squall::test(real)]
async fn a_stream_dropped_in_another_thread_is_closed_by_its_loop_even_if_that_sleeps() {
    bounded(async {
        let (stream, mut peer) = pair();
        let file = identity(&stream);
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            gone.recv().unwrap();
            drop(stream);
        });
        // The loop waits for the pool, which waits for the end that only the loop can send.
        let end = squall::blocking::run(move || {
            go.send(()).unwrap();
            peer.read(&mut [0]).unwrap()
        });
        assert_eq!(end.await, 0);
        thread.join().unwrap();
        assert!(!is_open(&file));
    })
    .await;
}

#[test]
fn a_read_dropped_on_another_loop_gives_its_turn_back_at_home() {
    let (home, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let (stream, mut peer) = home.run_until(async {
        let (stream, peer) = pair();
        (Arc::new(stream), peer)
    });
    let held = stream.clone();
    let mut waits = Box::pin(async move { held.read(&mut [0; 9]).await });
    home.run_until(async { assert!(futures::poll!(&mut waits).is_pending()) });
    let refused = home.run_until(async { text_of(stream.recv().await) });
    assert!(refused.contains("is taken by"), "{refused}");
    other.run_until(async { drop(waits) });
    home.run_until(bounded(async {
        yield_now().await;
        peer.write_all(b"free").unwrap();
        assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"free"[..]));
    }));
    drop(stream);
    home.turn();
    assert_eq!((shown(&home, "sockets"), shown(&home, "foreign_wakers")), (0, 0));
}

// --- after the end ---------------------------------------------------------------------------------------------------

#[test]
fn a_stream_that_outlives_its_loop_says_so_and_is_closed_when_dropped() {
    let (stream, mut peer) = squall::run(async { pair() });
    assert!(text_of(stream.try_write(b"x")).contains(LOOP_ENDED));
    let (errors, stream) = squall::run(bounded(every_use(stream)));
    all_say(&errors, LOOP_ENDED);
    let file = identity(&stream);
    drop(stream);
    assert!(!is_open(&file));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);

    let listener = squall::run(TcpListener::bind("127.0.0.1:0")).unwrap();
    assert!(text_of(squall::run(async { listener.accept().await })).contains(LOOP_ENDED));
    let mut waits = None;
    squall::run(async {
        let (stream, _peer) = pair();
        let mut read = Box::pin(async move { stream.recv().await.map(|_| ()) });
        assert!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        waits = Some(read);
    });
    // Its turn and its waker went with the loop.
    assert!(text_of(squall::run(waits.unwrap())).contains(LOOP_ENDED));
}

#[test]
fn a_chunk_outlives_its_stream_and_its_loop() {
    let (chunk, text) = squall::run(bounded(async {
        let (stream, mut peer) = pair();
        let text = pattern(10_000);
        peer.write_all(&text).unwrap();
        until_arrived(&stream, text.len());
        (stream.recv().await.unwrap().unwrap(), text)
    }));
    assert_eq!(&*chunk, text);
    drop(chunk);
}

#[squall::test(real)]
async fn a_chunk_that_is_kept_stays_as_it_was_while_others_come_and_go() {
    bounded(async {
        let (stream, mut peer) = pair();
        let mut kept = Vec::new();
        for i in 0..200u32 {
            peer.write_all(&i.to_be_bytes()).unwrap();
            let mut chunk = stream.recv().await.unwrap().unwrap();
            if i % 3 == 0 {
                chunk[0] = 0xFF;
                kept.push((i, chunk));
            }
        }
        for (i, chunk) in &kept {
            assert_eq!((chunk[0], &chunk[1..]), (0xFF, &i.to_be_bytes()[1..]));
        }
    })
    .await;
}
