//! Bytes in bulk and in the worst order: nothing lost, nothing doubled, no wait without an end.
//!
//! An edge-triggered driver is told of each arrival once. Where it then believes that nothing is left although something is (data and
//! end in one segment, an end right after a short read, more slices than a call takes), the reader waits for ever. So these orders are played
//! many times over.

#![cfg(not(miri))]

mod support;

use socket2::SockRef;
use squall::net::TcpStream;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::sync::mpsc;
use std::thread;
use support::*;

const LARGE: usize = 16 * 1024 * 1024;

async fn read_to_end(stream: &TcpStream, room: &mut [u8]) -> (Vec<u8>, io::Result<usize>) {
    let mut all = Vec::new();
    loop {
        match stream.read(room).await {
            Ok(n) if n > 0 => all.extend_from_slice(&room[..n]),
            end => return (all, end),
        }
    }
}

// --- many slices -----------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn more_slices_than_one_call_takes_are_written_in_order() {
    bounded(async {
        let (stream, mut peer) = pair();
        let text = pattern(3000);
        let mut slices: Vec<_> = text.chunks(1).map(IoSlice::new).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let n = stream.write_vectored(rest).await.unwrap();
            assert!(n > 0);
            IoSlice::advance_slices(&mut rest, n);
        }
        stream.flush().await.unwrap();
        let mut received = vec![0; text.len()];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(received, text);
    })
    .await;
}

#[squall::test(real)]
async fn more_slices_than_one_call_takes_are_filled_in_order_without_waiting_for_more_data() {
    bounded(async {
        let (stream, mut peer) = pair();
        // Watched from the first wait on: what is there before is told as an edge.
        let (first, ()) = futures::join!(stream.recv(), async {
            squall::yield_now().await;
            peer.write_all(b"x").unwrap();
        });
        assert_eq!(first.unwrap().as_deref(), Some(&b"x"[..]));
        let text = pattern(3000);
        peer.write_all(&text).unwrap();
        until_arrived(&stream, text.len());
        let mut received = vec![0; text.len()];
        let mut filled = 0;
        while filled < text.len() {
            let mut slices: Vec<_> = received[filled..].chunks_mut(1).map(IoSliceMut::new).collect();
            filled += stream.read_vectored(&mut slices).await.unwrap();
        }
        assert_eq!(received, text);
    })
    .await;
}

#[squall::test(real)]
async fn a_thousand_empty_slices_in_front_are_no_end() {
    bounded(async {
        let (stream, mut peer) = pair();
        let mut from = vec![IoSlice::new(b""); 2000];
        from.push(IoSlice::new(b"hello"));
        assert_eq!(stream.write_vectored(&from).await.unwrap(), 5);
        stream.flush().await.unwrap();
        let mut text = [0; 5];
        peer.read_exact(&mut text).unwrap();
        peer.write_all(&text).unwrap();
        let mut received = [0; 5];
        let mut into: Vec<_> = (0..2000).map(|_| IoSliceMut::new(&mut [])).collect();
        into.push(IoSliceMut::new(&mut received));
        assert_eq!(stream.read_vectored(&mut into).await.unwrap(), 5);
        assert_eq!(&received, b"hello");
    })
    .await;
}

#[squall::test(real)]
async fn several_buffers_are_filled_one_after_the_other() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"hello world").unwrap();
        until_arrived(&stream, 11);
        let (mut one, mut none, mut two) = ([0; 5], [], [0; 20]);
        let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut none), IoSliceMut::new(&mut two)];
        assert_eq!(stream.read_vectored(&mut slices).await.unwrap(), 11);
        assert_eq!((&one, &two[..6]), (b"hello", &b" world"[..]));
    })
    .await;
}

// --- bulk ------------------------------------------------------------------------------------------------------------

/// Reads everything on a thread, in pieces of `piece` bytes.
fn slow_reader(mut peer: StdStream, piece: usize) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        let mut room = vec![0; piece];
        loop {
            match peer.read(&mut room).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&room[..n]),
            }
            thread::yield_now();
        }
    })
}

#[squall::test(real)]
async fn a_slow_reader_gets_sixteen_mebibytes_whole() {
    bounded(async {
        let (stream, peer) = pair();
        stream.set_send_buffer_bytes(64 * 1024).unwrap();
        SockRef::from(&peer).set_recv_buffer_size(64 * 1024).unwrap();
        let text = pattern(LARGE);
        let reader = slow_reader(peer, 20_011);
        stream.write_all(&text).await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown(Shutdown::Write).await.unwrap();
        assert!(squall::blocking::run(|| reader.join().unwrap()).await == text, "bytes were lost or changed");
    })
    .await;
}

#[squall::test(real)]
async fn a_slow_reader_gets_everything_that_vectored_writes_took() {
    bounded(async {
        let (stream, peer) = pair();
        stream.set_send_buffer_bytes(16 * 1024).unwrap();
        let text = pattern(LARGE / 4);
        let reader = slow_reader(peer, 4099);
        let mut slices: Vec<_> = text.chunks(1021).map(IoSlice::new).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let n = stream.write_vectored(rest).await.unwrap();
            IoSlice::advance_slices(&mut rest, n);
        }
        drop(stream);
        assert!(squall::blocking::run(|| reader.join().unwrap()).await == text, "bytes were lost or changed");
    })
    .await;
}

#[squall::test(real)]
async fn sixteen_mebibytes_come_whole_while_as_many_go() {
    bounded(async {
        let (stream, peer) = pair();
        let text = pattern(LARGE);
        let mut from = peer.try_clone().unwrap();
        let (mut to, theirs) = (peer, text.clone());
        let writer = thread::spawn(move || {
            for piece in theirs.chunks(50_021) {
                to.write_all(piece).unwrap();
            }
            to.shutdown(Shutdown::Write).unwrap();
        });
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).unwrap();
            all
        });
        let sending = async {
            stream.write_all(&text).await.unwrap();
            stream.shutdown(Shutdown::Write).await.unwrap();
        };
        let receiving = async {
            let mut all = vec![0; LARGE];
            stream.read_exact(&mut all).await.unwrap();
            assert!(stream.recv().await.unwrap().is_none());
            all
        };
        let (received, ()) = futures::join!(receiving, sending);
        assert!(received == text, "bytes that came were lost or changed");
        let sent = squall::blocking::run(|| {
            writer.join().unwrap();
            reader.join().unwrap()
        });
        assert!(sent.await == text, "bytes that went were lost or changed");
    })
    .await;
}

// --- orders ----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Debug)]
enum Ending {
    End,
    Reset,
    /// The peer keeps the connection and waits to be left.
    Open,
}

/// What the peer does with one connection.
struct Play {
    peer: StdStream,
    pieces: Vec<Vec<u8>>,
    ending: Ending,
}

fn play(mut play: Play) -> Option<StdStream> {
    for piece in &play.pieces {
        play.peer.write_all(piece).unwrap();
        // The last piece and what ends it should also come together, so a pause here is only sometimes one.
        if piece.len() % 3 == 0 {
            thread::yield_now();
        }
    }
    match play.ending {
        Ending::End => None,
        Ending::Reset => {
            until_acknowledged(&play.peer);
            reset(play.peer);
            None
        }
        Ending::Open => Some(play.peer),
    }
}

/// Data in pieces, then an end, a reset, or silence, read with room that is sometimes too small, sometimes exact, sometimes too large.
async fn any_order(seed: u64, rounds: usize, is_late: bool) {
    let (plays, stage) = mpsc::channel();
    let actor = thread::spawn(move || {
        let mut open: Vec<StdStream> = Vec::new();
        for act in stage {
            open.extend(play(act));
        }
        open.len()
    });
    let mut dice = Dice(seed);
    let mut left_open = 0;
    for round in 0..rounds {
        let (stream, peer) = pair();
        if dice.below(2) == 0 {
            // Watched from the beginning.
            assert!(squall::time::timeout(Default::default(), stream.recv()).await.is_err());
        }
        let ending = [Ending::End, Ending::End, Ending::Reset, Ending::Open][dice.below(4)];
        let pieces: Vec<_> = (0..1 + dice.below(4)).map(|_| pattern(1 + dice.below(3000))).collect();
        let whole = pieces.concat();
        let mut room = vec![0; [1 + dice.below(300), pieces[0].len(), whole.len(), 65536][dice.below(4)]];
        let act = Play { peer, pieces, ending };
        if is_late {
            plays.send(act).unwrap();
        } else {
            // All of it stands there before the first read.
            let peer = play(act);
            match ending {
                Ending::End => until_ended(&stream),
                Ending::Reset => until_hung_up(&stream),
                Ending::Open => until_arrived(&stream, whole.len()),
            }
            if let Some(peer) = peer {
                plays.send(Play { peer, pieces: Vec::new(), ending }).unwrap();
            }
        }
        let what = format!("round {round} of seed {seed}, {ending:?}, room {}", room.len());
        if ending == Ending::Open {
            left_open += 1;
            let mut all = vec![0; whole.len()];
            stream.read_exact(&mut all).await.unwrap();
            assert!(all == whole, "{what}");
            continue;
        }
        let (all, end) = read_to_end(&stream, &mut room).await;
        assert!(all == whole, "{what}: {} of {} bytes", all.len(), whole.len());
        match ending {
            Ending::Reset => assert_eq!(end.unwrap_err().raw_os_error(), Some(libc::ECONNRESET), "{what}"),
            _ => assert_eq!(end.unwrap(), 0, "{what}"),
        }
    }
    drop(plays);
    assert_eq!(squall::blocking::run(|| actor.join().unwrap()).await, left_open);
}

#[squall::test(real)]
async fn data_then_an_end_in_any_order_while_the_reader_reads() {
    for seed in 1..=4 {
        bounded(any_order(seed, 250, true)).await;
    }
}

#[squall::test(real)]
async fn data_then_an_end_that_stand_there_before_the_first_read() {
    for seed in 11..=14 {
        bounded(any_order(seed, 250, false)).await;
    }
}

#[squall::test(real)]
async fn an_end_right_after_a_short_read_is_told() {
    bounded(async {
        for round in 0..300 {
            let (stream, mut peer) = pair();
            let (mut first, mut second) = ([0; 64], [0; 64]);
            let reader = async {
                let n = stream.read(&mut first).await.unwrap();
                // Nothing is between the two reads but, in every other round, a look of the driver.
                if round % 2 == 0 {
                    squall::yield_now().await;
                }
                (n, stream.read(&mut second).await.unwrap())
            };
            let writer = async {
                squall::yield_now().await;
                peer.write_all(b"short").unwrap();
                // The reader's edge is taken, or not yet, when the end comes.
                for _ in 0..round % 5 {
                    squall::yield_now().await;
                }
                drop(peer);
            };
            let (read, ()) = futures::join!(reader, writer);
            assert_eq!((read, &first[..5]), ((5, 0), &b"short"[..]), "round {round}");
        }
    })
    .await;
}

// --- urgent data -----------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn urgent_data_in_the_stream_hides_nothing_that_follows_it() {
    bounded(async {
        for _ in 0..50 {
            let (stream, mut peer) = pair();
            let (first, ()) = futures::join!(stream.recv(), async {
                squall::yield_now().await;
                peer.write_all(b"watched").unwrap();
            });
            assert_eq!(first.unwrap().as_deref(), Some(&b"watched"[..]));
            peer.write_all(b"before ").unwrap();
            SockRef::from(&peer).send_out_of_band(b"!").unwrap();
            peer.write_all(b"after").unwrap();
            until_arrived(&stream, 7);
            let mut text = [0; 12];
            stream.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"before after");
        }
    })
    .await;
}
