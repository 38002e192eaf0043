//! `io::Source` over descriptors that are not squall's: pipes, socket pairs, an eventfd. Readiness is a question to the kernel each time, so there is
//! nothing to clear and nothing to miss; what cannot be watched says so; and a number that is used again is never taken for its forerunner.

#![cfg(not(miri))]

mod support;

use rustix::event::{EventfdFlags, eventfd};
use squall::io::Source;
use squall::{EventLoop, spawn, spawn_named, yield_now};
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use support::*;

fn pipe() -> (Source<io::PipeReader>, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (Source::new(reader).unwrap(), writer)
}

#[squall::test(real)]
async fn a_pipe_becomes_readable_when_data_arrives_and_stays_so_while_data_remains() {
    bounded(async {
        let (reader, mut writer) = pipe();
        let (ready, ()) = futures::join!(reader.readable(), async {
            yield_now().await;
            writer.write_all(b"abc").unwrap();
        });
        ready.unwrap();
        for expected in *b"abc" {
            // Nothing new has arrived since the last byte was taken.
            reader.readable().await.unwrap();
            let mut byte = [0];
            reader.get_ref().read_exact(&mut byte).unwrap();
            assert_eq!(byte, [expected]);
        }
        assert!(futures::poll!(reader.readable()).is_pending(), "everything was taken");
        let (ready, ()) = futures::join!(reader.readable(), async { writer.write_all(b"d").unwrap() });
        ready.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn a_pipe_is_writable_until_it_is_full_and_again_when_there_is_room() {
    bounded(async {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = Source::new(writer).unwrap();
        let page = [0; 4096];
        let mut written = 0;
        while let std::task::Poll::Ready(ready) = futures::poll!(writer.writable()) {
            ready.unwrap();
            written += writer.get_ref().write(&page).unwrap();
        }
        assert!(written >= page.len());
        let (ready, ()) = futures::join!(writer.writable(), async {
            yield_now().await;
            reader.read_exact(&mut vec![0; written]).unwrap();
        });
        ready.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn a_hang_up_is_readable_and_writable() {
    bounded(async {
        let (reader, writer) = pipe();
        let (ready, ()) = futures::join!(reader.readable(), async {
            yield_now().await;
            drop(writer);
        });
        ready.unwrap();
        assert_eq!(reader.get_ref().read(&mut [0]).unwrap(), 0);
        reader.readable().await.unwrap();

        let (reader, writer) = io::pipe().unwrap();
        let writer = Source::new(writer).unwrap();
        drop(reader);
        writer.writable().await.unwrap();
        assert_eq!(writer.get_ref().write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);

        let (here, there) = UnixStream::pair().unwrap();
        let here = Source::new(here).unwrap();
        let (ready, ()) = futures::join!(here.readable(), async {
            yield_now().await;
            drop(there);
        });
        ready.unwrap();
        assert_eq!(here.get_ref().read(&mut [0]).unwrap(), 0);
    })
    .await;
}

#[squall::test(real)]
async fn one_task_waits_to_read_and_another_to_write() {
    bounded(async {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let here = Rc::new(Source::new(here).unwrap());
        let mut written = 0;
        while let Ok(n) = here.get_ref().write(&[7; 4096]) {
            written += n;
        }
        let reader = spawn({
            let here = here.clone();
            async move { here.readable().await }
        });
        let writer = spawn({
            let here = here.clone();
            async move { here.writable().await }
        });
        yield_now().await;
        assert!(!reader.is_finished() && !writer.is_finished());
        there.write_all(b"x").unwrap();
        reader.await.unwrap().unwrap();
        assert!(!writer.is_finished());
        there.read_exact(&mut vec![0; written]).unwrap();
        writer.await.unwrap().unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn an_eventfd_counts_and_wakes_from_another_thread() {
    bounded(async {
        let counter = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap());
        let source = Source::new(counter.clone()).unwrap();
        for round in 1..=50u64 {
            let writer = counter.clone();
            let thread = thread::spawn(move || rustix::io::write(&*writer, &round.to_ne_bytes()).unwrap());
            source.readable().await.unwrap();
            let mut count = [0; 8];
            rustix::io::read(source.get_ref(), &mut count).unwrap();
            assert_eq!(u64::from_ne_bytes(count), round);
            thread.join().unwrap();
        }
    })
    .await;
}

#[squall::test(real)]
async fn a_regular_file_is_refused_each_time_with_the_reason() {
    bounded(async {
        let file = Source::new(std::fs::File::open(std::env::current_exe().unwrap()).unwrap()).unwrap();
        for _ in 0..2 {
            let error = file.readable().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("a regular file or a directory is always ready"), "{error}");
            file.writable().await.unwrap_err();
        }
        // It is still a file.
        file.into_inner().read_exact(&mut [0; 4]).unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn the_same_descriptor_twice_is_refused_and_a_duplicate_is_not() {
    bounded(async {
        let (reader, mut writer) = io::pipe().unwrap();
        let first = Source::new(reader.as_fd()).unwrap();
        let second = Source::new(reader.as_fd()).unwrap();
        assert!(futures::poll!(first.readable()).is_pending());
        let error = second.readable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("watched by the event loop already"), "{error}");
        drop(second);
        let twin = Source::new(reader.try_clone().unwrap()).unwrap();
        let (one, two, ()) = futures::join!(first.readable(), twin.readable(), async {
            yield_now().await;
            writer.write_all(b"x").unwrap();
        });
        assert!(one.is_ok() && two.is_ok());
        // Once the first is gone its descriptor is free for another.
        drop(first);
        Source::new(reader.as_fd()).unwrap().readable().await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn a_second_waiter_is_told_of_the_first() {
    bounded(async {
        let (reader, mut writer) = pipe();
        let reader = Rc::new(reader);
        let first = spawn_named("watcher", {
            let reader = reader.clone();
            async move { reader.readable().await }
        });
        yield_now().await;
        let error = reader.readable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert!(error.to_string().contains(&format!("task {} \"watcher\"", first.id())), "{error}");
        assert!(error.to_string().contains("a descriptor to become readable at "), "{error}");
        writer.write_all(b"x").unwrap();
        first.await.unwrap().unwrap();
        reader.readable().await.unwrap();
    })
    .await;
}

#[squall::test(real)]
async fn a_wait_that_is_given_up_loses_nothing() {
    bounded(async {
        let (reader, mut writer) = pipe();
        for _ in 0..3 {
            assert!(futures::poll!(reader.readable()).is_pending());
        }
        writer.write_all(b"x").unwrap();
        yield_now().await;
        reader.readable().await.unwrap();
    })
    .await;
}

/// What is at a certain number from now on.
fn put_at(number: &OwnedFd, what: impl AsFd) {
    // SAFETY: both are open descriptors; the owner of `number` keeps its number and closes what is put there.
    let answer = unsafe { libc::dup2(what.as_fd().as_raw_fd(), number.as_raw_fd()) };
    assert_eq!(answer, number.as_raw_fd(), "{}", io::Error::last_os_error());
}

#[test]
fn a_new_descriptor_under_the_number_of_a_dropped_one_is_not_confused_with_it() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.run_until(bounded(async {
        let (reader, mut old_writer) = io::pipe().unwrap();
        // A second owner keeps the old pipe's file alive.
        let twin = reader.try_clone().unwrap();
        let old = Source::new(OwnedFd::from(reader)).unwrap();
        assert!(futures::poll!(old.readable()).is_pending());
        let number = old.into_inner();
        let (new_reader, mut new_writer) = io::pipe().unwrap();
        put_at(&number, &new_reader);
        drop(new_reader);
        let new = Source::new(number).unwrap();
        let mut waits = Box::pin(new.readable());
        assert!(futures::poll!(&mut waits).is_pending());
        old_writer.write_all(b"to the old one").unwrap();
        for _ in 0..20 {
            yield_now().await;
            assert!(futures::poll!(&mut waits).is_pending());
        }
        new_writer.write_all(b"x").unwrap();
        waits.await.unwrap();
        drop(twin);
    }));
    assert_eq!(shown(&event_loop, "sockets"), 0);
}

#[test]
fn a_source_taken_apart_on_another_loop_may_come_back() {
    let (home, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let (reader, mut writer) = io::pipe().unwrap();
    let source = home.run_until(async {
        let source = Source::new(reader).unwrap();
        assert!(futures::poll!(source.readable()).is_pending());
        source
    });
    other.run_until(async {
        let error = source.readable().await.unwrap_err();
        assert!(error.to_string().contains("it belongs to another event loop"), "{error}");
    });
    // Its own loop is not told by the kernel, which still sees the descriptor open.
    let reader = other.run_until(async { source.into_inner() });
    home.turn();
    assert_eq!(shown(&home, "sockets"), 0);
    home.run_until(bounded(async {
        let source = Source::new(reader).unwrap();
        let (ready, ()) = futures::join!(source.readable(), async {
            yield_now().await;
            writer.write_all(b"x").unwrap();
        });
        ready.unwrap();
        // But two at a time are still refused.
        let error = Source::new(source.as_fd()).unwrap().readable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }));
}

/// Counts what it is woken for.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_event_of_a_source_that_is_gone_wakes_nobody() {
    let (home, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let ((reader, mut old_writer), (new_reader, mut new_writer)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let old = home.run_until(async {
        let old = Source::new(reader).unwrap();
        assert!(futures::poll!(old.readable()).is_pending());
        old
    });
    let _open = other.run_until(async { old.into_inner() });
    home.turn();
    // In the old one's place of the driver's table.
    let new = home.run_until(async { Source::new(new_reader).unwrap() });
    let wakes = Arc::new(Wakes::default());
    let mut waits = Box::pin(new.readable());
    let waker = Waker::from(wakes.clone());
    home.run_until(async { assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()) });
    old_writer.write_all(b"x").unwrap();
    home.turn();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    new_writer.write_all(b"x").unwrap();
    home.turn();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    home.run_until(bounded(waits)).unwrap();
}

#[test]
fn a_source_that_outlives_its_loop_gives_its_descriptor_back() {
    let (reader, mut writer) = io::pipe().unwrap();
    let source = squall::run(async move { Source::new(reader) }).unwrap();
    let error = squall::run(async { source.readable().await.unwrap_err() });
    assert!(error.to_string().contains("the event loop it belongs to has ended"), "{error}");
    writer.write_all(b"x").unwrap();
    let mut byte = [0];
    source.into_inner().read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[squall::test(real)]
async fn what_a_source_holds_can_be_reached_and_changed() {
    bounded(async {
        let (here, mut there) = UnixStream::pair().unwrap();
        let raw = here.as_raw_fd();
        let mut source = Source::new(here).unwrap();
        assert_eq!((source.as_fd().as_raw_fd(), source.get_ref().as_raw_fd()), (raw, raw));
        source.get_mut().write_all(b"x").unwrap();
        there.read_exact(&mut [0]).unwrap();
        assert!(format!("{source:?}").starts_with("Source(UnixStream"));
        assert_eq!(source.into_inner().as_raw_fd(), raw);
    })
    .await;
}
