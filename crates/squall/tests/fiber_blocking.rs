//! A stream with std's traits: what its errors are, and who may use it when.

mod support;

use squall::fiber::{self, Blocking, Cancelled};
use squall::net::TcpStream;
use std::io::{self, BufWriter, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use support::{bounded, pair, pattern, text_of};

/// Runs a function on a fiber of a loop that talks to the outside.
fn on_a_fiber<R: 'static>(body: impl FnOnce() -> R + 'static) -> R {
    squall::run(bounded(async { fiber::spawn(body).await.unwrap() }))
}

/// Never has anything, never has room.
struct Silent;

impl futures::io::AsyncRead for Silent {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl futures::io::AsyncWrite for Silent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[test]
fn it_reads_and_writes_in_pieces_and_at_once() {
    on_a_fiber(|| {
        let (here, mut peer) = pair();
        let mut here = Blocking::new(here);
        assert_eq!(here.write_vectored(&[IoSlice::new(b"two "), IoSlice::new(b"pieces")]).unwrap(), 10);
        here.flush().unwrap();
        let mut text = [0; 10];
        peer.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"two pieces");

        peer.write_all(b"answer").unwrap();
        let (mut one, mut two) = ([0; 3], [0; 8]);
        let n = here.read_vectored(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]).unwrap();
        assert_eq!((n, &one, &two[..3]), (6, b"ans", &b"wer"[..]));

        here.close().unwrap();
        let mut rest = Vec::new();
        assert_eq!(peer.read_to_end(&mut rest).unwrap(), 0);
        drop(peer);
        assert_eq!(here.read(&mut text).unwrap(), 0);
        assert!(here.into_inner().local_addr().is_ok());
    });
}

#[test]
fn one_fiber_reads_while_another_writes() {
    on_a_fiber(|| {
        let (here, peer) = pair();
        let here = Blocking::new(here);
        let much = pattern(3_000_000);
        // The peer gives back what it gets, on a thread, and stops reading while nobody reads.
        let echo = std::thread::spawn(move || {
            let (mut from, mut to) = (&peer, &peer);
            io::copy(&mut from, &mut to).unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        fiber::scope(|s| {
            let (here, much) = (&here, &much);
            s.spawn(move || {
                { here }.write_all(much).unwrap();
                fiber::wait(here.get_ref().shutdown(std::net::Shutdown::Write)).unwrap();
            });
            s.spawn(move || {
                let mut all = Vec::new();
                { here }.read_to_end(&mut all).unwrap();
                assert!(all == *much, "{} bytes", all.len());
            });
        });
        echo.join().unwrap();
    });
}

#[test]
fn timeouts_are_errors_and_the_stream_goes_on() {
    squall::Builder::new()
        .virtual_time()
        .run(async {
            fiber::spawn(|| {
                let mut silent = Blocking::new(Silent);
                let second = Duration::from_secs(1);
                silent.set_read_timeout(Some(second)).unwrap();
                silent.set_write_timeout(Some(second * 2)).unwrap();
                assert_eq!((silent.read_timeout(), silent.write_timeout()), (Some(second), Some(second * 2)));
                let begin = squall::time::Instant::now();
                let error = silent.read(&mut [0]).unwrap_err();
                assert_eq!((error.kind(), begin.elapsed()), (ErrorKind::TimedOut, second));
                assert_eq!(error.to_string(), "Blocking::read: the timeout has passed");
                assert_eq!(silent.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
                assert_eq!(silent.flush().unwrap_err().kind(), ErrorKind::TimedOut);
                assert_eq!(begin.elapsed(), second * 5);
                let zero = silent.set_read_timeout(Some(Duration::ZERO)).unwrap_err();
                assert_eq!(zero.kind(), ErrorKind::InvalidInput);
            })
            .await
            .unwrap();
        })
        .unwrap();
    on_a_fiber(|| {
        let (here, mut peer) = pair();
        let mut here = Blocking::new(here);
        // Over at the next look at the clock: nothing is slept.
        here.set_read_timeout(Some(Duration::from_nanos(1))).unwrap();
        assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        here.set_read_timeout(None).unwrap();
        peer.write_all(b"late").unwrap();
        let mut text = [0; 4];
        here.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"late");
    });
}

#[test]
fn a_second_reader_is_told_who_is_first() {
    on_a_fiber(|| {
        let (here, mut peer) = pair();
        let here = Rc::new(Blocking::new(here));
        let first = {
            let here = here.clone();
            fiber::spawn(move || {
                let mut text = [0; 3];
                (&*here).read_exact(&mut text).unwrap();
                text
            })
        };
        fiber::yield_now();
        fiber::yield_now();
        let error = (&*here).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let text = error.to_string();
        assert!(
            text.contains("is taken by the fiber spawned at ") && text.contains("fiber_blocking.rs:"),
            "{text}"
        );
        // The other direction is free.
        (&*here).write_all(b"x").unwrap();
        peer.write_all(b"abc").unwrap();
        assert_eq!(&fiber::wait(first).unwrap(), b"abc");
    });
}

#[test]
fn a_cancelled_reader_gets_an_error_that_nothing_retries() {
    squall::Builder::new()
        .virtual_time()
        .run(async {
            let told = Rc::new(std::cell::RefCell::new(Vec::new()));
            let fiber = fiber::spawn({
                let told = told.clone();
                move || {
                    let mut silent = Blocking::new(Silent);
                    // `read_exact` would go on after Interrupted.
                    let error = silent.read_exact(&mut [0]).unwrap_err();
                    told.borrow_mut().push((error.kind(), error.get_ref().unwrap().is::<Cancelled>()));
                    let error = silent.write_all(b"goodbye").unwrap_err();
                    told.borrow_mut().push((error.kind(), error.get_ref().unwrap().is::<Cancelled>()));
                }
            });
            squall::yield_now().await;
            fiber.abort();
            assert_eq!(*told.borrow(), [(ErrorKind::Other, true), (ErrorKind::Other, true)]);
        })
        .unwrap();
}

#[test]
fn a_cancelled_writer_may_still_say_what_finds_room() {
    squall::run(bounded(async {
        let (here, mut peer) = pair();
        let fiber = fiber::spawn(move || {
            let mut here = Blocking::new(here);
            if here.read(&mut [0]).is_err() {
                here.write_all(b"goodbye").unwrap();
            }
        });
        squall::yield_now().await;
        fiber.abort();
        // On the pool: a completion driver sends when the turn ends.
        let text = squall::blocking::run(move || {
            let mut text = String::new();
            peer.read_to_string(&mut text).map(|_| text)
        });
        assert_eq!(text.await.unwrap(), "goodbye");
    }));
}

#[test]
fn while_a_panic_unwinds_a_buffered_writer_gives_up_what_finds_no_room() {
    squall::Builder::new()
        .virtual_time()
        .run(async {
            let fiber = fiber::spawn(|| {
                let mut out = BufWriter::new(Blocking::new(Silent));
                out.write_all(b"never sent").unwrap();
                // A BufWriter does not flush after a panic in its own calls only: this flushes.
                let error = FlushAtDrop(out);
                fiber::yield_now();
                std::panic::panic_any(error.0.capacity());
            });
            assert!(fiber.await.unwrap_err().is_panic());
        })
        .unwrap();
}

struct FlushAtDrop(BufWriter<Blocking<Silent>>);

impl Drop for FlushAtDrop {
    fn drop(&mut self) {
        let error = self.0.flush().unwrap_err();
        assert!(error.get_ref().unwrap().is::<Cancelled>());
    }
}

#[test]
fn outside_a_fiber_it_says_what_to_use() {
    squall::run(bounded(async {
        let (here, _peer) = pair();
        let mut here = Blocking::new(here);
        let outside = text_of(here.read(&mut [0]));
        assert!(outside.starts_with("Blocking::read was called outside a fiber"), "{outside}");
        assert!(outside.contains("use the stream itself there"), "{outside}");
        let inside =
            fiber::spawn(move || fiber::wait(async move { text_of(here.write(b"x")) })).await.unwrap();
        assert!(inside.contains("or in a future that is polled on a fiber's stack"), "{inside}");
    }));
}

#[test]
fn an_overtaken_read_of_the_stream_itself_is_refused_by_the_stream() {
    on_a_fiber(|| {
        let (here, _peer) = pair();
        let here: Rc<Blocking<TcpStream>> = Rc::new(Blocking::new(here));
        let reads = {
            let here = here.clone();
            squall::spawn(async move { here.get_ref().recv().await.map(|_| ()) })
        };
        fiber::yield_now();
        let error = (&*here).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        reads.abort();
    });
}
