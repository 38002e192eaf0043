//! How a listener and a stream are set up, what they tell of themselves, and how they change hands: to the standard library, to another loop, to two
//! halves, and to libraries that are written against the `futures` traits.

#![cfg(not(miri))]

mod support;

use futures::{AsyncBufReadExt, AsyncWriteExt, StreamExt};
use socket2::SockRef;
use squall::EventLoop;
use squall::net::{ListenOptions, TcpListener, TcpStream};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Duration;
use support::*;

// --- a listener's ----------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_port_is_taken_again_while_old_connections_wind_down() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = StdStream::connect(address).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        // Who closes first keeps the address in TIME_WAIT.
        drop((stream, listener));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        let refused = text_of(ListenOptions::new().reuse_address(false).bind(address).await);
        assert!(refused.contains("in use"), "{refused}");
        TcpListener::bind(address).await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn listeners_that_share_a_port_both_get_connections() {
    bounded(async {
        let options = ListenOptions::new().reuse_port(true);
        let first = options.bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let second = options.bind(address).await.unwrap();
        let (mut to_first, mut to_second) = (0, 0);
        // The kernel deals by a hash of the addresses: that one of two gets none of 200 does not happen.
        let clients: Vec<_> = (0..200).map(|_| StdStream::connect(address).unwrap()).collect();
        while to_first + to_second < clients.len() {
            let accepted = futures::future::select(first.accept(), second.accept()).await;
            match accepted {
                futures::future::Either::Left((answer, _)) => to_first += answer.map(|_| 1).unwrap(),
                futures::future::Either::Right((answer, _)) => to_second += answer.map(|_| 1).unwrap(),
            }
        }
        assert!(to_first > 0 && to_second > 0, "{to_first} and {to_second}");

        let taken = text_of(TcpListener::bind(address).await);
        assert!(taken.starts_with(&format!("cannot listen on {address}: ")), "{taken}");
    })
    .await;
}

#[squall::test(real)]
async fn the_backlog_bounds_what_waits_to_be_accepted() {
    bounded(async {
        let listener = ListenOptions::new().backlog(2).bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The kernel keeps one more than it was told; whoever comes then gets no answer until there is room.
        let kept: Vec<_> = (0..3).map(|_| StdStream::connect(address).unwrap()).collect();
        let extra = squall::spawn(TcpStream::connect(address));
        for _ in 0..100 {
            squall::yield_now().await;
        }
        assert!(!extra.is_finished());
        for client in &kept {
            let (_stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        // Its next attempt may succeed now, after a second.
        extra.abort();
        drop(extra.await);
    })
    .await;
}

#[squall::test(real)]
async fn an_ipv6_listener_takes_ipv4_only_if_asked_to() {
    bounded(async {
        if StdListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            eprintln!("skipped: this machine has no ::1");
            return;
        }
        for v6_only in [true, false] {
            let listener = ListenOptions::new().v6_only(v6_only).bind("[::]:0").await.unwrap();
            assert_eq!(SockRef::from(&listener).only_v6().unwrap(), v6_only);
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            let by_v4 = TcpStream::connect(("127.0.0.1", port)).await;
            assert_eq!(by_v4.is_err(), v6_only, "{by_v4:?}");
        }
        // An address of the other family has no such option, and is not refused for it.
        ListenOptions::new().v6_only(true).bind("127.0.0.1:0").await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn of_several_addresses_the_first_free_one_is_listened_on() {
    bounded(async {
        let holder = StdListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = TcpListener::bind([taken, any]).await.unwrap();
        assert_ne!(listener.local_addr().unwrap(), taken);
    })
    .await;
}

#[squall::test(real)]
async fn a_listener_goes_to_the_standard_library_and_comes_back() {
    bounded(async {
        let std = StdListener::bind("127.0.0.1:0").unwrap();
        let address = std.local_addr().unwrap();
        let listener = TcpListener::from_std(std).unwrap();
        let raw = listener.as_raw_fd();
        assert_eq!(listener.as_fd().as_raw_fd(), raw);
        assert_eq!(format!("{listener:?}"), format!("TcpListener {{ local: {address}, fd: {raw} }}"));
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // Nobody has waited at this listener yet, so the kernel is asked each time.
        let _client = StdStream::connect(address).unwrap();
        until_readable(&listener);
        assert!(is_nonblocking(&listener.try_accept().unwrap().0));
        let std = listener.into_std().unwrap();
        assert!(std.as_raw_fd() == raw && !is_nonblocking(&std));
    })
    .await;
}

// --- a stream's ------------------------------------------------------------------------------------------------------

fn is_nonblocking(fd: impl AsFd) -> bool {
    SockRef::from(&fd).nonblocking().unwrap()
}

fn is_closed_on_exec(fd: impl AsFd) -> bool {
    rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC)
}

#[squall::test(real)]
async fn options_are_what_was_set() {
    bounded(async {
        let (stream, _peer) = pair();
        for on in [true, false] {
            stream.set_nodelay(on).unwrap();
            assert_eq!((stream.nodelay().unwrap(), SockRef::from(&stream).tcp_nodelay().unwrap()), (on, on));
        }
        assert!(!stream.keepalive().unwrap());
        stream.set_keepalive(Some(Duration::from_secs(50))).unwrap();
        let known = SockRef::from(&stream);
        assert!(stream.keepalive().unwrap());
        assert_eq!(known.tcp_keepalive_time().unwrap(), Duration::from_secs(50));
        assert_eq!(known.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        // The kernel counts in seconds, and takes no zero.
        stream.set_keepalive(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(known.tcp_keepalive_time().unwrap(), Duration::from_secs(1));
        assert_eq!(known.tcp_keepalive_interval().unwrap(), Duration::from_secs(1));
        stream.set_keepalive(None).unwrap();
        assert!(!stream.keepalive().unwrap());

        stream.set_send_buffer_bytes(40_000).unwrap();
        stream.set_recv_buffer_bytes(30_000).unwrap();
        assert!(
            stream.send_buffer_bytes().unwrap() >= 40_000 && stream.recv_buffer_bytes().unwrap() >= 30_000
        );
        assert_eq!(stream.send_buffer_bytes().unwrap(), known.send_buffer_size().unwrap());
        stream.set_ttl(17).unwrap();
        assert_eq!(known.ttl_v4().unwrap(), 17);
    })
    .await;
}

#[squall::test(real)]
async fn only_no_linger_and_zero_linger_are_taken() {
    bounded(async {
        let (stream, mut peer) = pair();
        assert_eq!(stream.linger().unwrap(), None);
        for long in [Duration::from_nanos(1), Duration::from_secs(5)] {
            let error = stream.set_linger(Some(long)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("shut down the write side and read until the end"), "{error}");
            assert_eq!(stream.linger().unwrap(), None);
        }
        stream.set_linger(Some(Duration::ZERO)).unwrap();
        assert_eq!(stream.linger().unwrap(), Some(Duration::ZERO));
        stream.set_linger(None).unwrap();
        drop(stream);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "a clean end");
    })
    .await;
}

#[squall::test(real)]
async fn a_stream_knows_its_ends() {
    bounded(async {
        let (stream, peer) = pair();
        let (local, far) = (peer.peer_addr().unwrap(), peer.local_addr().unwrap());
        assert_eq!((stream.local_addr().unwrap(), stream.peer_addr().unwrap()), (local, far));
        let raw = stream.as_raw_fd();
        assert_eq!(stream.as_fd().as_raw_fd(), raw);
        assert_eq!(format!("{stream:?}"), format!("TcpStream {{ local: {local}, peer: {far}, fd: {raw} }}"));
        assert!(stream.take_error().unwrap().is_none());
        reset(peer);
        until_hung_up(&stream);
        assert_eq!(stream.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionReset);
        assert_eq!(stream.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(format!("{stream:?}"), format!("TcpStream {{ local: {local}, fd: {raw} }}"));
    })
    .await;
}

#[squall::test(real)]
async fn descriptors_do_not_reach_programs_that_are_started() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        for fd in [listener.as_fd(), client.as_fd(), stream.as_fd()] {
            assert!(is_closed_on_exec(fd) && is_nonblocking(fd));
        }
    })
    .await;
}

// --- from hand to hand -----------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_stream_goes_to_the_standard_library_in_blocking_mode() {
    bounded(async {
        let (here, mut peer) = std_pair();
        assert!(!is_nonblocking(&here));
        let stream = TcpStream::from_std(here).unwrap();
        assert!(is_nonblocking(&stream));
        let (first, ()) = futures::join!(stream.recv(), async {
            squall::yield_now().await;
            peer.write_all(b"one").unwrap();
        });
        assert_eq!(first.unwrap().as_deref(), Some(&b"one"[..]));
        let mut std = stream.into_std().unwrap();
        assert!(!is_nonblocking(&std));
        let thread = thread::spawn(move || {
            let mut text = [0; 3];
            std.read_exact(&mut text).map(|()| (text, std))
        });
        peer.write_all(b"two").unwrap();
        let (text, std) = thread.join().unwrap().unwrap();
        assert_eq!(&text, b"two");
        // And back to the same loop, under the same number.
        let stream = TcpStream::from_std(std).unwrap();
        let (third, ()) = futures::join!(stream.recv(), async {
            squall::yield_now().await;
            peer.write_all(b"three").unwrap();
        });
        assert_eq!(third.unwrap().as_deref(), Some(&b"three"[..]));
    })
    .await;
}

#[squall::test(real)]
async fn a_detached_stream_goes_on_on_another_loop_and_thread() {
    bounded(async {
        let (stream, mut peer) = pair();
        peer.write_all(b"12345").unwrap();
        let mut two = [0; 2];
        stream.read_exact(&mut two).await.unwrap();
        let there = stream.detach().unwrap();
        let thread = thread::spawn(move || {
            squall::run(async {
                let stream = there.attach()?;
                let mut three = [0; 3];
                stream.read_exact(&mut three).await?;
                let next = stream.recv().await?.expect("the peer goes on").to_vec();
                stream.write_all(&next).await?;
                io::Result::Ok((three, stream.detach()?))
            })
        });
        peer.write_all(b"678").unwrap();
        let mut echo = [0; 3];
        peer.read_exact(&mut echo).unwrap();
        let (three, back) = squall::blocking::run(|| thread.join().unwrap()).await.unwrap();
        assert_eq!((&two, &three, &echo), (b"12", b"345", b"678"));
        let stream = back.attach().unwrap();
        drop(peer);
        assert!(stream.recv().await.unwrap().is_none());
    })
    .await;
}

#[squall::test(real)]
async fn halves_by_reference_read_and_write_at_once() {
    bounded(async {
        let (mut stream, mut peer) = pair();
        let (reader, writer) = stream.split();
        let mut text = [0; 4];
        let (read, ()) = futures::join!(reader.read_exact(&mut text), async {
            writer.write_all(b"ping").await.unwrap();
            writer.flush().await.unwrap();
            let mut ping = [0; 4];
            peer.read_exact(&mut ping).unwrap();
            peer.write_all(b"pong").unwrap();
        });
        read.unwrap();
        assert_eq!(&text, b"pong");
        assert_eq!(reader.peer_addr().unwrap(), writer.peer_addr().unwrap());
        // They were only borrowed: the stream is whole.
        stream.write_all(b"more").await.unwrap();
        stream.flush().await.unwrap();
        peer.read_exact(&mut [0; 4]).unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn dropping_the_owned_write_half_shuts_down_and_the_read_half_goes_on() {
    bounded(async {
        let (stream, mut peer) = pair();
        let (reader, writer) = stream.into_split();
        writer.write_all(b"question").await.unwrap();
        drop(writer);
        let mut question = String::new();
        peer.read_to_string(&mut question).unwrap();
        peer.write_all(b"answer").unwrap();
        assert_eq!(reader.recv().await.unwrap().as_deref(), Some(&b"answer"[..]));
        drop(reader);
        assert_eq!(question, "question");
    })
    .await;
}

#[squall::test(real)]
async fn a_write_half_dropped_with_bytes_that_found_no_room_sends_them_and_then_ends() {
    bounded(async {
        let (stream, mut peer) = pair();
        let (reader, writer) = stream.into_split();
        let (mut written, mut refused) = (0, 0);
        while refused < 3 {
            match writer.try_write(&[7; 4096]) {
                Ok(n) => (written, refused) = (written + n, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    refused += 1;
                    squall::yield_now().await;
                }
            }
        }
        drop(writer);
        let received = squall::blocking::run(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| (all.len(), peer))
        });
        let (received, _peer) = received.await.unwrap();
        assert_eq!(received, written);
        drop(reader);
    })
    .await;
}

#[squall::test(real)]
async fn a_forgotten_write_half_ends_with_the_read_half_only() {
    bounded(async {
        let (stream, mut peer) = pair();
        let (reader, writer) = stream.into_split();
        writer.forget();
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.set_nonblocking(false).unwrap();
        drop(reader);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    })
    .await;
}

#[squall::test(real)]
async fn halves_of_one_stream_are_reunited_and_others_given_back() {
    bounded(async {
        let ((one, mut peer), (two, _other)) = (pair(), pair());
        let (reader, stranger) = one.into_split();
        let (stray, writer) = two.into_split();
        let error = reader.reunite(writer).unwrap_err();
        assert_eq!(error.to_string(), "these halves are of two different streams");
        let whole = error.0.reunite(stranger).unwrap();
        stray.reunite(error.1).unwrap();
        // Reuniting has shut nothing down.
        whole.write_all(b"whole").await.unwrap();
        whole.flush().await.unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
    })
    .await;
}

// --- the traits of `futures` -----------------------------------------------------------------------------------------

#[squall::test(real)]
async fn futures_copy_moves_a_stream_into_another() {
    bounded(async {
        let ((from, mut source), (to, mut sink)) = (pair(), pair());
        let text = pattern(300_000);
        let theirs = text.clone();
        let writer = thread::spawn(move || source.write_all(&theirs).unwrap());
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            sink.read_to_end(&mut all).map(|_| all)
        });
        let mut to = to;
        assert_eq!(futures::io::copy(&from, &mut to).await.unwrap(), 300_000);
        to.close().await.unwrap();
        writer.join().unwrap();
        assert!(reader.join().unwrap().unwrap() == text);
        assert_eq!(AsyncWriteExt::write(&mut to, b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    })
    .await;
}

#[squall::test(real)]
async fn futures_lines_come_one_by_one_from_a_half() {
    bounded(async {
        let (stream, mut peer) = pair();
        let (reader, mut writer) = stream.into_split();
        let mut lines = futures::io::BufReader::new(reader).lines();
        for line in ["one", "two"] {
            let (got, ()) = futures::join!(lines.next(), async {
                squall::yield_now().await;
                peer.write_all(format!("{line}\n").as_bytes()).unwrap();
            });
            assert_eq!(got.unwrap().unwrap(), line);
        }
        AsyncWriteExt::write_all(&mut writer, b"done").await.unwrap();
        AsyncWriteExt::flush(&mut writer).await.unwrap();
        AsyncWriteExt::close(&mut writer).await.unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done");
        drop(peer);
        assert!(lines.next().await.is_none());
    })
    .await;
}

#[squall::test(real)]
async fn futures_traits_take_several_buffers_and_borrowed_streams() {
    bounded(async {
        let (stream, mut peer) = pair();
        let mut by_ref = &stream;
        let n = AsyncWriteExt::write_vectored(&mut by_ref, &[IoSlice::new(b"a"), IoSlice::new(b"bc")]).await;
        assert_eq!(n.unwrap(), 3);
        AsyncWriteExt::flush(&mut by_ref).await.unwrap();
        let mut text = [0; 3];
        peer.read_exact(&mut text).unwrap();
        peer.write_all(&text).unwrap();
        let (mut one, mut two) = ([0; 1], [0; 9]);
        let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        until_arrived(&stream, 3);
        assert_eq!(futures::AsyncReadExt::read_vectored(&mut by_ref, &mut slices).await.unwrap(), 3);
        assert_eq!((&one, &two[..2]), (b"a", &b"bc"[..]));
    })
    .await;
}

#[test]
fn a_socket_under_virtual_time_is_refused_with_the_way_to_a_real_one() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stream, _peer) = std_pair();
    let event_loop: EventLoop = squall::Builder::new().virtual_time().build().unwrap();
    event_loop.run_until(async {
        let (reader, _writer) = io::pipe().unwrap();
        for refusal in [
            text_of(TcpListener::bind("127.0.0.1:0").await),
            text_of(TcpStream::connect(address).await),
            text_of(TcpListener::from_std(listener)),
            text_of(TcpStream::from_std(stream)),
            text_of(squall::io::Source::new(reader).map(drop)),
        ] {
            assert!(refusal.contains("mark the test #[squall::test(real)]"), "{refusal}");
        }
    });
}
