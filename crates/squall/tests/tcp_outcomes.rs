//! The table of outcomes, row by row, against real peers: what each operation gives while a direction is open, after it has ended, and after
//! it has failed. A wrong cell here is how programs lose an answer, take a cut-off stream for a whole one, or spin on an error.

#![cfg(not(miri))]

mod support;

use squall::net::TcpStream;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::time::Duration;
use support::*;

type Answer = std::io::Result<usize>;

/// Every way to receive, in this order: read, peek, recv, read_vectored, and the three that do not wait.
async fn every_receive(stream: &TcpStream) -> Vec<Answer> {
    let mut room = [0; 64];
    let mut slices = [0; 64];
    vec![
        stream.read(&mut room).await,
        stream.peek(&mut room).await,
        stream.recv().await.map(|chunk| chunk.map_or(0, |chunk| chunk.len())),
        stream.read_vectored(&mut [IoSliceMut::new(&mut slices)]).await,
        stream.try_read(&mut room),
        stream.try_recv().map(|chunk| chunk.map_or(0, |chunk| chunk.len())),
        stream.try_read_vectored(&mut [IoSliceMut::new(&mut slices)]),
    ]
}

/// Every way to send, each also with nothing.
async fn every_send(stream: &TcpStream) -> Vec<Answer> {
    vec![
        stream.write(b"x").await,
        stream.write(b"").await,
        stream.write_vectored(&[IoSlice::new(b"x")]).await,
        stream.write_vectored(&[]).await,
        stream.write_all(b"x").await.map(|()| 1),
        stream.write_all(b"").await.map(|()| 0),
        stream.try_write(b"x"),
        stream.try_write(b""),
        stream.try_write_vectored(&[IoSlice::new(b"x")]),
    ]
}

#[track_caller]
fn all_fail(answers: Vec<Answer>, errno: i32) {
    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.map_err(|error| error.raw_os_error()), Err(Some(errno)), "operation {i}");
    }
}

#[track_caller]
fn all_end(answers: Vec<Answer>) {
    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), 0, "operation {i}");
    }
}

#[track_caller]
fn all_shut_down(answers: Vec<Answer>) {
    for (i, answer) in answers.into_iter().enumerate() {
        let error = answer.expect_err(&format!("operation {i} on a side that was shut down"));
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::BrokenPipe, None), "operation {i}");
        assert!(error.to_string().contains("shut down"), "operation {i}: {error}");
    }
}

/// Lets sending learn what has become of the connection. A write is taken before the kernel was asked, where the driver gathers writes.
async fn provoke(stream: &TcpStream) {
    _ = stream.write_all(b"?").await;
    _ = stream.flush().await;
}

async fn read_to_end(stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.recv().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

// --- open ------------------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_reader_waits_and_then_gets_what_is_there() {
    bounded(async {
        let (stream, mut peer) = pair();
        let reader = squall::spawn(async move {
            let mut room = [0; 64];
            let n = stream.read(&mut room).await.unwrap();
            (room[..n].to_vec(), stream)
        });
        squall::yield_now().await;
        assert!(!reader.is_finished());
        peer.write_all(b"hello").unwrap();
        let (text, _stream) = reader.await.unwrap();
        assert_eq!(text, b"hello");
    })
    .await;
}

#[squall::test(real)]
async fn a_peek_waits_and_takes_nothing() {
    bounded(async {
        let (stream, mut peer) = pair();
        let sender = squall::spawn(async move {
            peer.write_all(b"hello").unwrap();
            peer
        });
        let mut room = [0; 3];
        assert_eq!((stream.peek(&mut room).await.unwrap(), &room), (3, b"hel"));
        assert_eq!((stream.peek(&mut room).await.unwrap(), &room), (3, b"hel"));
        let mut all = [0; 5];
        stream.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"hello");
        sender.await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn reading_into_no_room_and_writing_nothing_do_not_wait() {
    bounded(async {
        let (stream, _peer) = pair();
        assert_eq!(stream.read(&mut []).await.unwrap(), 0);
        assert_eq!(stream.peek(&mut []).await.unwrap(), 0);
        assert_eq!(stream.read_vectored(&mut []).await.unwrap(), 0);
        assert_eq!(stream.read_vectored(&mut [IoSliceMut::new(&mut [])]).await.unwrap(), 0);
        stream.read_exact(&mut []).await.unwrap();
        assert_eq!(stream.write(b"").await.unwrap(), 0);
        assert_eq!(stream.write_vectored(&[IoSlice::new(b"")]).await.unwrap(), 0);
        stream.write_all(b"").await.unwrap();
        stream.flush().await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn trying_gives_would_block_until_there_is_something() {
    bounded(async {
        let (stream, mut peer) = pair();
        for answer in [stream.try_read(&mut [0; 9]), stream.try_recv().map(|_| 0)] {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        peer.write_all(b"one").unwrap();
        until_arrived(&stream, 3);
        // Nobody has waited at this stream yet.
        squall::yield_now().await;
        let mut room = [0; 9];
        assert_eq!(stream.try_read(&mut room).unwrap(), 3);
        assert_eq!(stream.try_read(&mut room).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(b"two").unwrap();
        until_arrived(&stream, 3);
        squall::yield_now().await;
        assert_eq!(stream.try_recv().unwrap().as_deref(), Some(&b"two"[..]));
    })
    .await;
}

#[squall::test(real)]
async fn trying_to_write_gives_would_block_until_there_is_room() {
    bounded(async {
        let (stream, mut peer) = pair();
        let block = vec![7; 65536];
        let mut sent = 0;
        let error = loop {
            match stream.try_write(&block) {
                Ok(n) => sent += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(
            stream.try_write_vectored(&[IoSlice::new(&block)]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let mut received = vec![0; sent];
        peer.read_exact(&mut received).unwrap();
        let n = loop {
            match stream.try_write(b"more") {
                Ok(n) => break n,
                // Room is made when the peer's word of it arrives.
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            squall::yield_now().await;
        };
        assert_eq!(n, 4);
        peer.read_exact(&mut received[..4]).unwrap();
        assert_eq!(&received[..4], b"more");
    })
    .await;
}

#[squall::test(real)]
async fn a_read_that_must_be_full_says_how_much_came_before_the_end() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"half").unwrap();
        drop(peer);
        let error = stream.read_exact(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the stream ended after 4 of 8 bytes");
    })
    .await;
}

// --- ended, shut down ------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn the_end_is_told_each_time_to_every_receive_and_sending_goes_on() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.shutdown(Shutdown::Write).unwrap();
        for _ in 0..3 {
            all_end(every_receive(&stream).await);
            assert_eq!(stream.read(&mut []).await.unwrap(), 0);
        }
        stream.write_all(b"still here").await.unwrap();
        stream.shutdown(Shutdown::Write).await.unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
    })
    .await;
}

#[squall::test(real)]
async fn a_shut_down_write_side_refuses_every_send_and_reading_goes_on() {
    bounded(async {
        let (stream, mut peer) = pair();
        stream.write_all(b"question").await.unwrap();
        for _ in 0..2 {
            stream.shutdown(Shutdown::Write).await.unwrap();
            all_shut_down(every_send(&stream).await);
            stream.flush().await.unwrap();
        }
        let mut question = String::new();
        peer.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question", "the peer reads what was written, and then the end");
        peer.write_all(b"answer").unwrap();
        drop(peer);
        assert_eq!(read_to_end(&stream).await.unwrap(), b"answer");
        all_shut_down(every_send(&stream).await);
        stream.shutdown(Shutdown::Both).await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn after_shutting_down_reading_what_arrived_is_still_read() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"last words").unwrap();
        until_arrived(&stream, 10);
        stream.shutdown(Shutdown::Read).await.unwrap();
        assert_eq!(stream.peek(&mut [0; 64]).await.unwrap(), 10);
        assert_eq!(read_to_end(&stream).await.unwrap(), b"last words");
        all_end(every_receive(&stream).await);
        stream.shutdown(Shutdown::Read).await.unwrap();
        stream.write_all(b"ok").await.unwrap();
        stream.flush().await.unwrap();
        peer.read_exact(&mut [0; 2]).unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn shutting_down_reading_ends_the_wait_of_a_reader() {
    bounded(async {
        for how in [Shutdown::Read, Shutdown::Both] {
            let (stream, mut peer) = pair();
            let (end, shut) = futures::join!(stream.recv(), async {
                squall::yield_now().await;
                stream.shutdown(how).await
            });
            assert!(end.unwrap().is_none());
            shut.unwrap();
            if how == Shutdown::Both {
                assert_eq!(peer.read(&mut [0; 9]).unwrap(), 0);
            }
        }
    })
    .await;
}

// --- failed ----------------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_reset_is_told_to_every_receive_each_time_after_the_data_that_arrived() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"cut of").unwrap();
        reset(peer);
        until_hung_up(&stream);
        assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"cut of"[..]));
        for _ in 0..3 {
            all_fail(every_receive(&stream).await, libc::ECONNRESET);
            let no_room =
                [stream.read(&mut []).await, stream.peek(&mut []).await, stream.read_vectored(&mut []).await];
            all_fail(no_room.into(), libc::ECONNRESET);
        }
    })
    .await;
}

#[squall::test(real)]
async fn a_reset_wakes_a_reader_that_waits() {
    bounded(async {
        let (stream, peer) = pair();
        let (answer, ()) = futures::join!(stream.recv(), async {
            squall::yield_now().await;
            reset(peer);
        });
        assert_eq!(answer.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
    })
    .await;
}

#[squall::test(real)]
async fn the_error_of_reading_does_not_come_out_of_writing() {
    bounded(async {
        let (stream, peer) = pair();
        reset(peer);
        until_hung_up(&stream);
        all_fail(every_receive(&stream).await, libc::ECONNRESET);
        stream.flush().await.unwrap();
        // Sending learns for itself what the kernel says of it.
        provoke(&stream).await;
        all_fail(every_send(&stream).await.split_off(2), libc::EPIPE);
        all_fail(every_receive(&stream).await, libc::ECONNRESET);
    })
    .await;
}

#[squall::test(real)]
async fn a_connection_that_is_gone_counts_as_shut_down() {
    bounded(async {
        let (stream, peer) = pair();
        reset(peer);
        until_hung_up(&stream);
        all_fail(every_receive(&stream).await, libc::ECONNRESET);
        stream.shutdown(Shutdown::Read).await.unwrap();
        stream.shutdown(Shutdown::Write).await.unwrap();
        all_shut_down(every_send(&stream).await);
    })
    .await;
}

#[squall::test(real)]
async fn a_failed_write_sticks_and_the_answer_is_read_before_the_reset() {
    bounded(async {
        let (stream, mut peer) = pair();
        stream.write_all(b"a request that nobody reads").await.unwrap();
        stream.flush().await.unwrap();
        until_arrived(&peer, 27);
        peer.write_all(b"413 too large").unwrap();
        // With unread data: the kernel resets.
        drop(peer);
        until_hung_up(&stream);
        provoke(&stream).await;
        for _ in 0..2 {
            all_fail(every_send(&stream).await, libc::ECONNRESET);
            let flushed = stream.flush().await.map(|()| 0);
            all_fail(vec![flushed, stream.shutdown(Shutdown::Write).await.map(|()| 0)], libc::ECONNRESET);
        }
        assert_eq!(stream.peek(&mut [0; 64]).await.unwrap(), 13);
        assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"413 too large"[..]));
        // The kernel has told the reset to the write, and would report a clean end here.
        for _ in 0..2 {
            all_fail(every_receive(&stream).await, libc::ECONNRESET);
        }
        all_fail(every_send(&stream).await, libc::ECONNRESET);
    })
    .await;
}

#[squall::test(real)]
async fn a_peek_does_not_take_a_reset_that_a_write_saw_for_a_clean_end() {
    bounded(async {
        let (stream, peer) = pair();
        reset(peer);
        until_hung_up(&stream);
        provoke(&stream).await;
        all_fail(every_send(&stream).await.split_off(2), libc::ECONNRESET);
        let peeked = stream.peek(&mut [0; 64]).await;
        all_fail(vec![peeked], libc::ECONNRESET);
    })
    .await;
}

#[squall::test(real)]
async fn a_write_that_fails_leaves_a_reader_that_waits_its_data_and_its_own_outcome() {
    bounded(async {
        let (stream, mut peer) = pair();
        let reader = async {
            let first = stream.recv().await.map(|chunk| chunk.map(|chunk| chunk.to_vec()));
            (first, stream.recv().await.map(|chunk| chunk.is_some()))
        };
        let writer = async {
            squall::yield_now().await;
            stream.write_all(b"unread").await.unwrap();
            stream.flush().await.unwrap();
            until_arrived(&peer, 6);
            peer.write_all(b"413").unwrap();
            drop(peer);
            until_hung_up(&stream);
            provoke(&stream).await;
            stream.write_all(b"more").await
        };
        let ((first, second), written) = futures::join!(reader, writer);
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        assert_eq!(first.unwrap().as_deref(), Some(&b"413"[..]));
        assert_eq!(second.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
    })
    .await;
}

#[squall::test(real)]
async fn a_pipe_broken_after_the_peer_ended_is_a_clean_end_for_the_reader() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"bye").unwrap();
        drop(peer);
        until_ended(&stream);
        // The peer's kernel answers it with a reset; the end has arrived before.
        stream.write_all(b"too late").await.unwrap();
        stream.flush().await.unwrap();
        until_hung_up(&stream);
        provoke(&stream).await;
        all_fail(every_send(&stream).await, libc::EPIPE);
        assert_eq!(read_to_end(&stream).await.unwrap(), b"bye");
        all_end(every_receive(&stream).await);
        all_fail(every_send(&stream).await, libc::EPIPE);
    })
    .await;
}

// --- dropped ---------------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn what_was_written_is_still_sent_when_the_stream_is_dropped() {
    bounded(async {
        let (stream, mut peer) = pair();
        let text = pattern(100_000);
        stream.write_all(&text).await.unwrap();
        drop(stream);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received == text);
    })
    .await;
}

#[squall::test(real)]
async fn dropping_a_stream_with_unread_data_or_zero_linger_resets() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"unread").unwrap();
        until_arrived(&stream, 6);
        drop(stream);
        assert_eq!(peer.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (stream, mut peer) = pair();
        stream.set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        assert_eq!(peer.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    })
    .await;
}
