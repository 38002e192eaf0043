//! What goes wrong outside of the program: addresses that are taken, refused or unknown, peers that vanish, descriptors that run out. Each must come
//! out as an error that names what failed, or be sat out, and none may make the loop spin.

#![cfg(not(miri))]

mod support;

use socket2::{Domain, SockAddr, Socket, Type};
use squall::EventLoop;
use squall::net::{ListenOptions, TcpListener, TcpStream};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Child, Stdio};
use support::*;

/// An address where nobody listens, for as long as the socket lives.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

// --- listening -------------------------------------------------------------------------------------------------------

#[squall::test(real)]
async fn a_port_in_use_is_named() {
    bounded(async {
        let holder = StdListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let error = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
        // Of several, the last is named.
        let other = StdListener::bind("127.0.0.1:0").unwrap();
        let last = other.local_addr().unwrap();
        let error = TcpListener::bind([address, last]).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {last}: ")), "{error}");
    })
    .await;
}

#[squall::test(real)]
async fn what_is_no_address_says_how_to_write_one() {
    bounded(async {
        for text in ["", "8888", "localhost", ":8888", "localhost:http"] {
            let expected = format!("{text:?} is no address: write it as host:port, like \"127.0.0.1:8888\"");
            assert_eq!(text_of(TcpListener::bind(text).await), expected);
            assert_eq!(text_of(TcpStream::connect(text).await), expected);
        }
        let none: [SocketAddr; 0] = [];
        let error = TcpListener::bind(none).await.unwrap_err();
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (ErrorKind::InvalidInput, "an empty list of addresses was given")
        );
        assert_eq!(text_of(TcpStream::connect(none).await), "an empty list of addresses was given");
    })
    .await;
}

#[squall::test(real)]
async fn an_address_that_may_not_be_listened_on_is_named() {
    bounded(async {
        // RFC 5737: of no machine.
        let error = TcpListener::bind("192.0.2.1:0").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:0: "), "{error}");
        match TcpListener::bind("127.0.0.1:1").await {
            Ok(_) => eprintln!("skipped in part: this user may listen on low ports"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}"),
        }
    })
    .await;
}

// --- connecting ------------------------------------------------------------------------------------------------------

#[test]
fn a_refused_connection_names_the_address_and_leaves_nothing_behind() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.run_until(bounded(async {
        let (_holder, address) = refusing();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")), "{error}");
    }));
    assert_eq!(shown(&event_loop, "sockets"), 0);
}

#[test]
fn each_address_is_tried_in_turn_and_the_last_one_is_named() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.run_until(bounded(async {
        let ((_one, first), (_two, second)) = (refusing(), refusing());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let third = listener.local_addr().unwrap();
        let stream = TcpStream::connect([first, second, third]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), third);
        let (accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, stream.local_addr().unwrap());
        // What became of a second try works in both directions.
        stream.write_all(b"ping").await.unwrap();
        assert_eq!(accepted.recv().await.unwrap().as_deref(), Some(&b"ping"[..]));

        let error = TcpStream::connect(vec![third, first, second][1..].to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("cannot connect to {second}: ")), "{error}");
    }));
    assert_eq!(shown(&event_loop, "sockets"), 0);
}

#[test]
fn a_connection_attempt_that_is_given_up_closes_its_socket() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.run_until(bounded(async {
        // A full backlog answers nobody.
        let listener = ListenOptions::new().backlog(0).bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _kept = StdStream::connect(address).unwrap();
        let before = shown(&event_loop, "sockets");
        let mut attempts: Vec<_> = (0..3).map(|_| Box::pin(TcpStream::connect(address))).collect();
        for attempt in &mut attempts {
            assert!(futures::poll!(attempt).is_pending());
        }
        assert_eq!(shown(&event_loop, "sockets"), before + 3);
        drop(attempts);
        assert_eq!(shown(&event_loop, "sockets"), before);
    }));
    assert_eq!(shown(&event_loop, "sockets"), 0);
}

#[squall::test(real)]
async fn names_are_looked_up_and_an_unknown_one_is_named() {
    bounded(async {
        let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(address.ip().is_loopback());
        let stream = TcpStream::connect(format!("localhost:{}", address.port())).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        // RFC 6761: never exists.
        for error in [
            text_of(TcpStream::connect("no-such-host.invalid:80").await),
            text_of(TcpListener::bind(("no-such-host.invalid", 80)).await),
        ] {
            assert!(error.starts_with("cannot look up \"no-such-host.invalid\": "), "{error}");
        }
    })
    .await;
}

// --- no descriptor left ----------------------------------------------------------------------------------------------

fn limit_descriptors(to: usize) {
    let limit = libc::rlimit { rlim_cur: to as libc::rlim_t, rlim_max: to as libc::rlim_t };
    // SAFETY: the limit is read from a valid struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Opens descriptors until there are none.
fn use_up() -> Vec<std::fs::File> {
    let mut hoard = Vec::new();
    loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return hoard;
            }
        }
    }
}

#[test]
fn accepting_without_a_descriptor_left_waits_without_spinning_and_goes_on() {
    let output = alone("accepting_without_a_descriptor_left_waits_without_spinning_and_goes_on", || {
        limit_descriptors(64);
        let event_loop = EventLoop::new().unwrap();
        let listener = event_loop.run_until(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..5).map(|_| StdStream::connect(address).unwrap()).collect();
        let mut hoard = use_up();
        let server = event_loop.spawn(async move {
            let mut peers = Vec::new();
            for _ in 0..5 {
                // Closed at once: its descriptor serves the next.
                peers.push(listener.accept().await.unwrap().1);
            }
            (peers, listener)
        });
        // The connections stand there all the while. One poll, and perhaps one for each pause that has ended.
        for _ in 0..1000 {
            event_loop.turn();
        }
        assert!(shown(&event_loop, "polls") < 20, "it spins: {event_loop:?}");
        assert!(!server.is_finished(), "the shortage came out as an error");
        for _ in 0..3 {
            event_loop.wait_turn();
        }
        // In a pause, or at the end of one.
        assert_eq!(shown(&event_loop, "timers") + shown(&event_loop, "ready"), 1, "{event_loop:?}");
        assert!(!server.is_finished());

        // Others are told.
        let refused = text_of(event_loop.run_until(TcpStream::connect(address)));
        assert!(refused.contains("Too many open files"), "{refused}");
        let refused = text_of(event_loop.run_until(TcpListener::bind("127.0.0.1:0")));
        assert!(refused.starts_with("cannot listen on 127.0.0.1:0: Too many open files"), "{refused}");
        let refused = text_of(EventLoop::new());
        assert!(refused.starts_with("cannot start an event loop's driver: "), "{refused}");

        hoard.truncate(hoard.len() - 1);
        let (peers, listener) = event_loop.run_until(bounded(server)).unwrap();
        let expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        assert_eq!(peers, expected);
        // And it lives.
        drop(hoard);
        let late = StdStream::connect(address).unwrap();
        let (_, peer) = event_loop.run_until(bounded(async { listener.accept().await })).unwrap();
        assert_eq!(peer, late.local_addr().unwrap());
    });
    if let Some(output) = output {
        let reports =
            String::from_utf8_lossy(&output.stderr).matches("squall: accept: Too many open files").count();
        assert_eq!(reports, 1, "said once, however often it is tried");
    }
}

#[test]
fn a_program_that_opens_and_drops_everything_has_as_many_descriptors_as_before() {
    alone("a_program_that_opens_and_drops_everything_has_as_many_descriptors_as_before", || {
        let round = || {
            squall::run(bounded(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                let mut waits = Vec::new();
                for _ in 0..20 {
                    let client = TcpStream::connect(address).await?;
                    let (server, _) = listener.accept().await?;
                    waits.push(squall::spawn(async move { server.recv().await.map(|_| ()) }));
                    waits.push(squall::spawn(async move { client.into_split().0.recv().await.map(|_| ()) }));
                }
                squall::yield_now().await;
                waits.truncate(10);
                io::Result::Ok(())
            }))
        };
        round().unwrap();
        let before = descriptors();
        for _ in 0..20 {
            round().unwrap();
        }
        assert_eq!(descriptors(), before);
    });
}

// --- peers that vanish -----------------------------------------------------------------------------------------------

struct Killed(Child);

impl Killed {
    /// A process that connects, says so, and then does nothing until it is killed.
    fn peer(test: &str, listener: &StdListener) -> (Killed, StdStream) {
        let role = format!("peer {}", listener.local_addr().unwrap());
        let child = Killed(again(test, &role).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
        until_readable(listener);
        (child, listener.accept().unwrap().0)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The peer's part: true if this process is one.
fn plays_the_peer() -> bool {
    let Some(role) = role() else { return false };
    let address: SocketAddr = role.strip_prefix("peer ").unwrap().parse().unwrap();
    let mut stream = StdStream::connect(address).unwrap();
    stream.write_all(b"here").unwrap();
    // Until it is killed, or the test is gone.
    let _ = BufReader::new(io::stdin()).read_line(&mut String::new());
    true
}

#[test]
fn a_peer_that_is_killed_ends_the_stream() {
    if plays_the_peer() {
        return;
    }
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let (mut child, stream) = Killed::peer("a_peer_that_is_killed_ends_the_stream", &listener);
    squall::run(bounded(async {
        let stream = TcpStream::from_std(stream).unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        let (end, ()) = futures::join!(stream.recv(), async {
            squall::yield_now().await;
            child.kill();
        });
        assert!(end.unwrap().is_none());
    }));
}

#[test]
fn a_peer_that_is_killed_before_it_has_read_resets_the_stream() {
    if plays_the_peer() {
        return;
    }
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let test = "a_peer_that_is_killed_before_it_has_read_resets_the_stream";
    let (mut child, stream) = Killed::peer(test, &listener);
    squall::run(bounded(async {
        let stream = TcpStream::from_std(stream).unwrap();
        stream.write_all(b"never read").await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        let (end, ()) = futures::join!(stream.recv(), async {
            squall::yield_now().await;
            child.kill();
        });
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        // A write is taken before the kernel was asked, where the driver gathers writes: then it is the flush that tells.
        let told = async {
            stream.write_all(b"x").await?;
            stream.flush().await
        };
        assert_eq!(told.await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }));
}

#[test]
fn what_was_written_arrives_although_the_process_exits_at_once() {
    const BYTES: usize = 3 << 20;
    if let Some(role) = role() {
        squall::run(async {
            let stream = TcpStream::connect(&*role).await.unwrap();
            stream.write_all(&pattern(BYTES)).await.unwrap();
            std::process::exit(0);
        })
    }
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let test = "what_was_written_arrives_although_the_process_exits_at_once";
    let role = listener.local_addr().unwrap().to_string();
    let mut writer = again(test, &role).stdout(Stdio::null()).spawn().unwrap();
    until_readable(&listener);
    let (mut stream, _) = listener.accept().unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == pattern(BYTES), "{} of {BYTES} bytes", received.len());
    assert!(writer.wait().unwrap().success());
}
