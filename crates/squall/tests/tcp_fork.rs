//! A process that forks. Child and parent share the kernel's objects behind the same numbers, so a loop that came along must let go of them: events,
//! registrations and wakes are the parent's. Each test has a process to itself, because only the thread that forks lives on in the child, and a
//! lock that another one holds at that moment stays locked for ever. (The harness's own thread is there, but it only waits for the test.)

#![cfg(not(miri))]

mod support;

use futures::FutureExt;
use squall::EventLoop;
use squall::io::Source;
use squall::net::{TcpListener, TcpStream};
use std::cell::Cell;
use std::future::pending;
use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use support::*;

const ADVICE: &str =
    "this event loop belongs to the parent process: after fork the child must call squall::run anew";

/// Forks. In the child `body` decides how the process ends; in the parent the child's failure is one.
fn fork(body: impl FnOnce() -> bool) {
    assert!(
        std::fs::read_dir("/proc/self/task").unwrap().count() <= 2,
        "more threads than the harness's and this one"
    );
    // SAFETY: no thread of this process holds a lock: see the file's head.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => exit(body()),
        child => succeeds(child),
    }
}

/// Ends a child.
fn exit(passed: bool) -> ! {
    // SAFETY: ends the process without the parent's exit handlers, which are not the child's to run.
    unsafe { libc::_exit(if passed { 0 } else { 1 }) }
}

#[track_caller]
fn succeeds(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `child` is a child of this process, and `status` an int.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child failed: {status:#x}");
}

/// Runs `body` in a forked child, and fails as it fails.
fn in_child(body: impl FnOnce()) {
    fork(|| catch_unwind(AssertUnwindSafe(body)).is_ok());
}

#[track_caller]
fn panic_of(body: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(body)).expect_err("it should have panicked");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
        .unwrap()
}

/// A whole conversation on the current loop.
async fn converse() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = squall::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        stream.write_all(b"ping").await?;
        stream.recv().await
    });
    let (server, _) = listener.accept().await.unwrap();
    server.write_all(&server.recv().await.unwrap().unwrap()).await.unwrap();
    assert_eq!(client.await.unwrap().unwrap().as_deref(), Some(&b"ping"[..]));
}

/// The parent's loop, with a reader that waits, and its peer.
fn parents() -> (EventLoop, Rc<TcpStream>, squall::JoinHandle<Vec<u8>>, StdStream) {
    let event_loop = EventLoop::new().unwrap();
    let (stream, peer) = event_loop.run_until(async {
        let (stream, peer) = pair();
        (Rc::new(stream), peer)
    });
    let reader = event_loop.spawn({
        let stream = stream.clone();
        async move { stream.recv().await.unwrap().unwrap().to_vec() }
    });
    for _ in 0..3 {
        event_loop.turn();
    }
    (event_loop, stream, reader, peer)
}

#[track_caller]
fn still_reads(event_loop: &EventLoop, reader: squall::JoinHandle<Vec<u8>>, peer: &mut StdStream) {
    peer.write_all(b"for the parent").unwrap();
    assert_eq!(event_loop.run_until(bounded(reader)).unwrap(), b"for the parent");
}

#[test]
fn a_child_runs_a_loop_of_its_own_and_the_parent_reads_on() {
    alone("a_child_runs_a_loop_of_its_own_and_the_parent_reads_on", || {
        let (event_loop, _stream, reader, mut peer) = parents();
        in_child(|| {
            squall::run(bounded(converse()));
            // Other threads wake the child's loop, not the parent's.
            assert_eq!(squall::run(bounded(squall::blocking::run(|| 7))), 7);
        });
        still_reads(&event_loop, reader, &mut peer);
        squall::run(bounded(converse()));
    });
}

#[test]
fn an_inherited_loop_cannot_be_turned_and_takes_nothing_from_the_parent() {
    alone("an_inherited_loop_cannot_be_turned_and_takes_nothing_from_the_parent", || {
        let (event_loop, _stream, reader, mut peer) = parents();
        // The event stands in the kernel: whoever looks takes it.
        peer.write_all(b"for the ").unwrap();
        in_child(|| {
            for _ in 0..2 {
                assert!(panic_of(|| _ = event_loop.turn()).contains(ADVICE));
            }
            assert!(panic_of(|| event_loop.run_until(async {})).contains(ADVICE));
            squall::run(bounded(converse()));
        });
        assert_eq!(event_loop.run_until(bounded(reader)).unwrap(), b"for the ");
    });
}

#[test]
fn sockets_dropped_in_the_child_stay_registered_in_the_parent() {
    alone("sockets_dropped_in_the_child_stay_registered_in_the_parent", || {
        let (event_loop, stream, reader, mut peer) = parents();
        let event_loop = Some(event_loop);
        let mut held = (event_loop, Some(stream), Some(reader));
        in_child(|| {
            // The stream is closed here by its last owner, the task that waits, when the loop goes.
            let file = identity(&**held.1.as_ref().unwrap());
            held = (None, None, None);
            assert!(!is_open(&file), "the child keeps the connection open");
        });
        let (event_loop, stream, reader) = held;
        let event_loop = event_loop.unwrap();
        still_reads(&event_loop, reader.unwrap(), &mut peer);
        drop(stream);
        event_loop.turn();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "in the child, too, it was closed");
    });
}

#[test]
fn sockets_dropped_on_a_new_loop_of_the_child_are_closed_there_only() {
    alone("sockets_dropped_on_a_new_loop_of_the_child_are_closed_there_only", || {
        let event_loop = EventLoop::new().unwrap();
        let (stream, mut peer) = event_loop.run_until(async { pair() });
        let mut stream = Some(stream);
        event_loop.run_until(async {
            assert!(futures::poll!(stream.as_ref().unwrap().recv()).is_pending());
        });
        in_child(|| {
            let file = identity(stream.as_ref().unwrap());
            squall::run(async {
                let error = text_of(stream.as_ref().unwrap().try_read(&mut [0]));
                assert!(error.contains("it belongs to another event loop"), "{error}");
                drop(stream.take());
            });
            assert!(!is_open(&file), "the child keeps the connection open");
        });
        peer.write_all(b"x").unwrap();
        let stream = stream.unwrap();
        event_loop.run_until(bounded(async { stream.recv().await.unwrap().unwrap() }));
    });
}

#[test]
fn a_task_that_forks_runs_a_new_loop_in_the_child_and_goes_on_in_the_parent() {
    alone("a_task_that_forks_runs_a_new_loop_in_the_child_and_goes_on_in_the_parent", || {
        squall::run(bounded(async {
            let (stream, mut peer) = pair();
            assert!(futures::poll!(stream.recv()).is_pending());
            in_child(|| squall::run(bounded(converse())));
            peer.write_all(b"x").unwrap();
            assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"x"[..]));
        }));
    });
}

#[test]
fn what_a_forked_task_drops_or_gives_away_in_the_child_stays_registered_in_the_parent() {
    alone("what_a_forked_task_drops_or_gives_away_in_the_child_stays_registered_in_the_parent", || {
        // The first word to the driver in the child must already be to none: one kind at a time.
        for kind in 0..3 {
            squall::run(bounded(async {
                let ((stream, mut peer), (reader, mut writer)) = (pair(), std::io::pipe().unwrap());
                let source = Source::new(reader).unwrap();
                assert!(futures::poll!(stream.recv()).is_pending());
                assert!(futures::poll!(source.readable()).is_pending());
                let mut held = (Some(stream), Some(source));
                in_child(|| match kind {
                    0 => drop(held.0.take()),
                    1 => drop(held.0.take().unwrap().detach().unwrap()),
                    _ => drop(held.1.take()),
                });
                let (stream, source) = (held.0.unwrap(), held.1.unwrap());
                // Each waits alone and before there is anything, so that only the kernel's word can wake it.
                let (received, ()) = futures::join!(stream.recv(), async {
                    squall::yield_now().await;
                    peer.write_all(b"x").unwrap();
                });
                assert_eq!(received.unwrap().as_deref(), Some(&b"x"[..]));
                let (ready, ()) = futures::join!(source.readable(), async {
                    squall::yield_now().await;
                    writer.write_all(b"x").unwrap();
                });
                ready.unwrap();
            }));
        }
    });
}

#[test]
fn what_a_forked_task_does_with_the_parents_streams_is_refused_and_changes_nothing_there() {
    alone("what_a_forked_task_does_with_the_parents_streams_is_refused_and_changes_nothing_there", || {
        for kind in 0..5 {
            squall::run(bounded(async {
                let (stream, mut peer) = pair();
                let (idle, mut idle_peer) = pair();
                let (reading, writing) = stream.into_split();
                assert!(futures::poll!(reading.recv()).is_pending());
                squall::time::sleep(std::time::Duration::from_nanos(1)).await;
                // Said once, by the parent.
                writing.write_all(b"once").await.unwrap();
                let mut held = Some(writing);
                in_child(|| match kind {
                    // A receive that would be queued for the kernel.
                    0 => is_refused(idle.recv().now_or_never().expect("at once").map(drop)),
                    1 => is_refused(reading.try_read(&mut [0; 10]).map(drop)),
                    2 => is_refused(held.as_ref().unwrap().try_write(b"twice").map(drop)),
                    // Shutting down would end the parent's stream, too.
                    3 => drop(held.take()),
                    _ => std::process::exit(0),
                });
                let writing = held.unwrap();
                let (received, ()) = futures::join!(idle.recv(), async {
                    squall::yield_now().await;
                    idle_peer.write_all(b"x").unwrap();
                });
                assert_eq!(received.unwrap().as_deref(), Some(&b"x"[..]));
                writing.write_all(b" and again").await.unwrap();
                writing.flush().await.unwrap();
                drop(writing);
                squall::time::sleep(std::time::Duration::from_nanos(1)).await;
                let mut received = String::new();
                peer.read_to_string(&mut received).unwrap();
                assert_eq!(received, "once and again");
            }));
        }
    });
}

#[track_caller]
fn is_refused(answer: std::io::Result<()>) {
    let said = answer.unwrap_err().to_string();
    assert!(said.contains(ADVICE), "{said}");
}

#[test]
fn a_task_that_goes_on_in_the_child_as_if_nothing_had_happened_is_stopped_with_advice() {
    alone("a_task_that_goes_on_in_the_child_as_if_nothing_had_happened_is_stopped_with_advice", || {
        let (event_loop, _stream, reader, mut peer) = parents();
        peer.write_all(b"for the parent").unwrap();
        let child = Cell::new(-1);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            event_loop.run_until(async {
                // SAFETY: no thread of this process holds a lock: see the file's head.
                child.set(unsafe { libc::fork() });
                if child.get() == 0 {
                    // Nothing is ready then: the turn would wait at the parent's driver.
                    pending().await
                }
            });
        }));
        if child.get() == 0 {
            exit(outcome.is_err_and(|panic| {
                panic.downcast_ref::<String>().is_some_and(|text| text.contains(ADVICE))
            }));
        }
        outcome.unwrap();
        succeeds(child.get());
        assert_eq!(event_loop.run_until(bounded(reader)).unwrap(), b"for the parent");
    });
}
