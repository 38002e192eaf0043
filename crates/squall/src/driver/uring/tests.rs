//! What only time, or a look inside, would show: the end of a drain that takes too long, and entries that are given away too early.

use super::*;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

/// A driver, unless io_uring is not to be had.
fn driver(limits: Limits) -> Option<UringDriver> {
    // It is the registry's, and never closed.
    let notifier = Box::leak(Box::new(Notifier::new().unwrap()));
    match UringDriver::new(notifier, 1, limits) {
        Ok(driver) => Some(driver),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// A nonblocking socket with little room to send, and its blocking peer with little room to receive.
fn narrow_pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    here.set_tcp_mss(1000).unwrap();
    here.set_send_buffer_size(8 << 10).unwrap();
    here.connect(&listener.local_addr().unwrap().into()).unwrap();
    here.set_nonblocking(true).unwrap();
    let (peer, _) = listener.accept().unwrap();
    SockRef::from(&peer).set_recv_buffer_size(16 << 10).unwrap();
    (here.into(), peer)
}

fn look(driver: &mut UringDriver) {
    let mut woken = Vec::new();
    driver.park(Some(0), &mut woken).unwrap();
}

/// Writes until the kernel and the driver have no room.
fn fill(driver: &mut UringDriver, key: SocketKey, fd: &OwnedFd) {
    for _ in 0..10 {
        while driver.send(key, fd.as_fd(), &[7; 4000]).is_ok() {}
        look(driver);
    }
}

#[test]
fn a_closed_stream_whose_peer_reads_a_little_now_and_then_is_reset_when_its_time_is_over() {
    let Some(mut driver) = driver(Limits::default()) else { return };
    let (fd, mut peer) = narrow_pair();
    let key = driver.attach(Role::Stream).unwrap();
    fill(&mut driver, key, &fd);
    driver.close(key, fd);
    look(&mut driver);
    assert_eq!((driver.sockets(), driver.totals().draining), (1, 1));
    let mut room = vec![0; 12_000];
    for _ in 0..closing::MOST_TICKS - 1 {
        driver.tick();
        look(&mut driver);
    }
    assert_eq!(driver.totals().draining, 1, "its time is not over");
    // Progress of what is in flight, just before.
    peer.read_exact(&mut room).unwrap();
    look(&mut driver);
    driver.tick();
    look(&mut driver);
    look(&mut driver);
    assert_eq!((driver.sockets(), driver.totals().draining, driver.totals().unsent_bytes), (0, 0, 0));
    let end = loop {
        match peer.read(&mut room) {
            Ok(0) => panic!("an end that looks whole"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn closed_streams_drain_within_a_bound_for_all_and_are_reset_beyond_it() {
    let limits = Limits { most_unsent: 150_000, ..Limits::default() };
    let Some(mut driver) = driver(limits) else { return };
    let mut peers = Vec::new();
    let blocked: Vec<_> = (0..5)
        .map(|_| {
            let (fd, peer) = narrow_pair();
            let key = driver.attach(Role::Stream).unwrap();
            fill(&mut driver, key, &fd);
            peers.push(peer);
            (key, fd)
        })
        .collect();
    assert!(driver.totals().unsent_bytes > 300_000);
    for (key, fd) in blocked {
        driver.close(key, fd);
        look(&mut driver);
        look(&mut driver);
    }
    let totals = driver.totals();
    assert!((1..=2).contains(&totals.draining) && totals.unsent_bytes <= 150_000, "{totals:?}");
    // The end of the driver waits for nobody who does not read, and resets.
    drop(driver);
    let mut room = vec![0; 1 << 20];
    for mut peer in peers {
        let end = loop {
            match peer.read(&mut room) {
                Ok(0) => panic!("an end that looks whole"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn an_entry_is_given_to_the_next_socket_only_when_the_kernel_names_it_no_more() {
    let Some(mut driver) = driver(Limits::default()) else { return };
    let waiter = Waiter(std::num::NonZeroU64::MIN);
    let (fd, _peer) = narrow_pair();
    let key = driver.attach(Role::Stream).unwrap();
    driver.arm(key, fd.as_fd(), Direction::Recv, None, waiter).unwrap();
    look(&mut driver);
    assert_eq!(driver.conns[key.index() as usize].in_flight, 1);
    assert_eq!(driver.close(key, fd), [Some(waiter), None]);
    // Its receive is in the kernel: another entry for another socket.
    let next = driver.attach(Role::Stream).unwrap();
    assert_ne!(next.index(), key.index());
    assert_eq!(driver.sockets(), 1);
    look(&mut driver);
    assert_eq!(driver.conns[key.index() as usize].in_flight, 0);
    let after = driver.attach(Role::Stream).unwrap();
    assert_eq!(after.index(), key.index());
    assert_ne!(after, key);
    assert!(driver.recv(key, _peer.as_fd(), &mut [0]).is_err(), "the old key reaches nothing");
}

#[test]
fn a_queued_operation_keeps_its_descriptor_s_number_from_others() {
    let Some(mut driver) = driver(Limits::default()) else { return };
    let waiter = Waiter(std::num::NonZeroU64::MIN);
    let (fd, mut peer) = narrow_pair();
    let number = fd.as_raw_fd();
    let key = driver.attach(Role::Stream).unwrap();
    driver.arm(key, fd.as_fd(), Direction::Recv, None, waiter).unwrap();
    driver.close(key, fd);
    // SAFETY: asking about a number that may be nobody's.
    let is_open = |number| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    assert!(is_open(number), "the queue names it still");
    look(&mut driver);
    // Closed, or another test's by now: then this stream has an end nevertheless.
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn operations_that_were_never_handed_over_are_nobody_s() {
    let Some(mut driver) = driver(Limits::default()) else { return };
    assert_eq!(driver.ring.in_kernel(), 1, "the watch of the notifier");
    let (fd, _peer) = narrow_pair();
    let key = driver.attach(Role::Stream).unwrap();
    driver.arm(key, fd.as_fd(), Direction::Recv, None, Waiter(std::num::NonZeroU64::MIN)).unwrap();
    assert_eq!((driver.ring.in_kernel(), driver.ring.outstanding()), (1, 2));
    look(&mut driver);
    assert_eq!((driver.ring.in_kernel(), driver.ring.outstanding()), (2, 2));
    driver.close(key, fd);
}
