//! Readers and writers: level-triggered, one for each direction, and free to remove, replace and drop each other from within. Real sockets and pipes.

mod trace;

use squall::callback::{
    Scheduled, add_reader, add_writer, call_soon, remove_reader, remove_writer, try_add_reader,
};
use squall::io::Source;
use squall::net::{TcpListener, TcpStream};
use squall::time::sleep;
use squall::{Builder, CallbackPanics, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use trace::{Trace, panic_of};

fn pipe() -> (Rc<Source<PipeReader>>, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (Rc::new(Source::new(reader).unwrap()), writer)
}

async fn pair() -> (Rc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (Rc::new(server), client)
}

/// Gives way until something is so. A test that hangs here says what never came.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_micros(200)).await;
    }
    panic!("never: {what}");
}

/// A few turns in which nothing may happen.
async fn a_while() {
    for _ in 0..3 {
        sleep(Duration::from_millis(2)).await;
        yield_now().await;
    }
}

fn counter() -> (Rc<Cell<u32>>, Rc<Cell<u32>>) {
    let count = Rc::new(Cell::new(0));
    (count.clone(), count)
}

fn add(count: &Cell<u32>) {
    count.set(count.get() + 1);
}

#[squall::test(real)]
async fn a_reader_is_called_when_there_is_something_and_not_before() {
    let (reader, mut writer) = pipe();
    let (calls, counted) = counter();
    add_reader(&reader, move |reader| {
        let mut byte = [0];
        reader.get_ref().read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        add(&counted);
    });
    a_while().await;
    assert_eq!(calls.get(), 0);
    for n in 1..=3 {
        writer.write_all(b"x").unwrap();
        until("the reader is called", || calls.get() == n).await;
        a_while().await;
        assert_eq!(calls.get(), n);
    }
    assert!(remove_reader(&reader) && !remove_reader(&reader));
    writer.write_all(b"x").unwrap();
    a_while().await;
    assert_eq!(calls.get(), 3);
}

#[squall::test(real)]
async fn a_reader_that_takes_nothing_is_called_again_each_turn() {
    let (stream, client) = pair().await;
    let (calls, counted) = counter();
    add_reader(&stream, move |_| add(&counted));
    client.write_all(b"hello").await.unwrap();
    until("five calls for one message", || calls.get() >= 5).await;
    // Once it is taken, by whomever, there are no more.
    let mut text = [0; 5];
    assert_eq!(stream.try_read(&mut text).unwrap(), 5);
    a_while().await;
    let so_far = calls.get();
    a_while().await;
    assert_eq!(calls.get(), so_far);
    client.write_all(b"again").await.unwrap();
    until("another message", || calls.get() > so_far).await;
    remove_reader(&stream);
}

#[squall::test(real)]
async fn a_reader_that_takes_a_part_is_called_for_the_rest() {
    let (stream, client) = pair().await;
    let text = Rc::new(RefCell::new(Vec::new()));
    let read = text.clone();
    client.write_all(b"abcdef").await.unwrap();
    add_reader(&stream, move |stream| {
        let mut two = [0; 2];
        let n = stream.try_read(&mut two).unwrap();
        read.borrow_mut().extend_from_slice(&two[..n]);
    });
    until("all of it", || text.borrow().len() == 6).await;
    assert_eq!(*text.borrow(), b"abcdef");
    remove_reader(&stream);
}

#[squall::test(real)]
async fn a_reader_registered_when_data_is_there_already_is_called_for_it() {
    let (stream, client) = pair().await;
    client.write_all(b"first").await.unwrap();
    // A task has read before, so the kernel's word has been heard.
    assert_eq!(stream.recv().await.unwrap().as_deref(), Some(&b"first"[..]));
    client.write_all(b"second").await.unwrap();
    assert!(sleep_until_readable(&stream).await);
    let (calls, counted) = counter();
    add_reader(&stream, move |stream| {
        let mut text = [0; 16];
        assert_eq!(stream.try_read(&mut text).unwrap(), 6);
        add(&counted);
    });
    until("the data of before", || calls.get() == 1).await;
    remove_reader(&stream);
}

async fn sleep_until_readable(stream: &TcpStream) -> bool {
    sleep(Duration::from_millis(5)).await;
    stream.peek(&mut [0]).await.unwrap() == 1
}

#[squall::test(real)]
async fn the_end_of_a_stream_and_a_reset_call_the_reader() {
    for is_reset in [false, true] {
        let (stream, client) = pair().await;
        let end = Rc::new(Cell::new(None));
        let seen = end.clone();
        add_reader(&stream, move |stream| {
            seen.set(Some(stream.try_read(&mut [0; 8]).map_err(|error| error.kind())));
            remove_reader(stream);
        });
        if is_reset {
            client.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        until("the end", || end.get().is_some()).await;
        assert_eq!(end.get(), Some(if is_reset { Err(ErrorKind::ConnectionReset) } else { Ok(0) }));
    }
}

#[squall::test(real)]
async fn a_writer_is_called_while_there_is_room() {
    let (stream, client) = pair().await;
    let (calls, counted) = counter();
    add_writer(&stream, move |_| add(&counted));
    until("room", || calls.get() >= 3).await;
    assert!(remove_writer(&stream) && !remove_writer(&stream));
    // Fill it up: now there is none.
    while stream.try_write(&[0; 65536]).is_ok() {}
    let (calls, counted) = counter();
    add_writer(&stream, move |_| add(&counted));
    a_while().await;
    assert_eq!(calls.get(), 0);
    let mut sink = vec![0; 1 << 20];
    until("room again", || {
        while client.try_read(&mut sink).is_ok_and(|n| n > 0) {}
        calls.get() > 0
    })
    .await;
    remove_writer(&stream);
}

#[squall::test(real)]
async fn both_directions_are_free_of_each_other() {
    let (stream, client) = pair().await;
    let (reads, counted) = counter();
    let (writes, written) = counter();
    add_reader(&stream, move |stream| {
        let _ = stream.try_read(&mut [0; 8]);
        add(&counted);
    });
    add_writer(&stream, move |stream| {
        add(&written);
        remove_writer(stream);
    });
    until("a write", || writes.get() == 1).await;
    client.write_all(b"x").await.unwrap();
    until("a read", || reads.get() == 1).await;
    remove_reader(&stream);
}

#[squall::test(real)]
async fn a_listener_calls_for_each_connection_that_waits() {
    let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    let (accepted, counted) = counter();
    add_reader(&listener, move |listener| match listener.try_accept() {
        Ok(_) => add(&counted),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    });
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    until("twenty connections", || accepted.get() == 20).await;
    remove_reader(&listener);
}

#[squall::test(real)]
async fn another_reader_replaces_the_first() {
    let (reader, mut writer) = pipe();
    let trace = Trace::default();
    let (held, says) = (trace.at_drop("first dropped"), trace.clone());
    let first = add_reader(&reader, move |_| {
        let _held = &held;
        says.say("first called");
    });
    let says = trace.clone();
    let second = add_reader(&reader, move |reader| {
        reader.get_ref().read_exact(&mut [0]).unwrap();
        says.say("second called");
    });
    assert_eq!(trace.take(), ["first dropped"]);
    assert!(!first.is_pending() && second.is_pending());
    first.cancel();
    writer.write_all(b"x").unwrap();
    until("the second is called", || trace.take() == ["second called"]).await;
    second.cancel();
    assert!(!remove_reader(&reader));
}

#[squall::test(real)]
async fn a_reader_removes_itself_and_another_takes_its_place_from_within() {
    let (stream, client) = pair().await;
    let trace = Trace::default();
    let (held, says) = (trace.at_drop("first dropped"), trace.clone());
    add_reader(&stream, move |stream| {
        let _held = &held;
        stream.try_read(&mut [0; 1]).unwrap();
        assert!(remove_reader(stream));
        assert!(!remove_reader(stream), "the direction is free at once");
        let says_ = says.clone();
        add_reader(stream, move |stream| {
            stream.try_read(&mut [0; 1]).unwrap();
            says_.say("second called");
            remove_reader(stream);
        });
        says.say("first called");
    });
    client.write_all(b"xy").await.unwrap();
    let mut said = Vec::new();
    until("both", || {
        said.extend(trace.take());
        said.len() == 3
    })
    .await;
    assert_eq!(said, ["first called", "first dropped", "second called"]);
}

#[squall::test(real)]
async fn the_loop_holds_the_socket_while_it_is_registered_and_closes_it_after() {
    let (stream, client) = pair().await;
    let count = Rc::downgrade(&stream);
    add_reader(&stream, |stream| {
        if stream.try_read(&mut [0; 8]).unwrap() > 0 {
            remove_reader(stream);
        }
    });
    drop(stream);
    assert_eq!(count.strong_count(), 1);
    client.write_all(b"x").await.unwrap();
    assert!(client.recv().await.unwrap().is_none(), "closed by the last Rc");
    assert_eq!(count.strong_count(), 0);
}

#[test]
fn a_new_descriptor_of_an_old_number_reaches_no_old_callback() {
    // Alone, or another test takes the number.
    let ended = trace::alone("a_new_descriptor_of_an_old_number_reaches_no_old_callback", &[], || {
        squall::run(async {
            let (reader, writer) = pipe();
            let number = reader.get_ref().as_raw_fd();
            let scheduled = add_reader(&reader, |_| unreachable!("removed before anything was there"));
            remove_reader(&reader);
            drop((reader, writer));
            let (reader, mut writer) = pipe();
            assert_eq!(reader.get_ref().as_raw_fd(), number, "the system gives the lowest free number");
            let (calls, counted) = counter();
            add_reader(&reader, move |reader| {
                reader.get_ref().read_exact(&mut [0]).unwrap();
                add(&counted);
            });
            scheduled.cancel();
            writer.write_all(b"x").unwrap();
            until("the new one is called", || calls.get() == 1).await;
            remove_reader(&reader);
        });
    });
    ended.iter().for_each(trace::check);
}

#[squall::test(real)]
async fn a_task_that_reads_and_a_reader_exclude_each_other_and_the_error_names_the_other() {
    let (stream, client) = pair().await;
    add_reader(&stream, |_| {});
    let error = stream.recv().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(
        error.to_string().contains("is taken by callback ") && error.to_string().contains("callback_io.rs")
    );
    remove_reader(&stream);

    let reading = stream.clone();
    let task = spawn(async move { reading.recv().await });
    yield_now().await;
    let error = try_add_reader(&stream, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(error.to_string().contains("is taken by task "), "{error}");
    let message = panic_of(|| add_reader(&stream, |_| {}));
    assert!(message.contains("callback::add_reader: ") && message.contains("is taken by task "), "{message}");
    client.write_all(b"x").await.unwrap();
    assert_eq!(task.await.unwrap().unwrap().as_deref(), Some(&b"x"[..]));
}

#[squall::test(real)]
async fn what_cannot_be_watched_is_an_error_and_leaves_nothing_behind() {
    let file = Rc::new(Source::new(std::fs::File::open("Cargo.toml").unwrap()).unwrap());
    let error = try_add_reader(&file, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(Rc::strong_count(&file), 1);
    assert!(!remove_reader(&file));
}

#[squall::test(real)]
async fn on_another_loop_a_socket_cannot_be_registered_and_removing_finds_nothing() {
    let (reader, _writer) = pipe();
    add_reader(&reader, |_| {});
    let elsewhere = reader.clone();
    let other = Builder::new().build().unwrap();
    let turned = spawn(async move {
        let task = other.spawn(async move {
            assert!(try_add_reader(&elsewhere, |_| {}).is_err());
            assert!(!remove_reader(&elsewhere));
        });
        while !task.is_finished() {
            other.turn();
        }
        other.run_until(task).unwrap();
    });
    turned.await.unwrap();
    assert!(remove_reader(&reader));
}

#[squall::test(real)]
async fn a_reader_that_panics_is_removed_and_the_loop_goes_on() {
    let (reader, mut writer) = pipe();
    let scheduled = add_reader(&reader, |_| panic!("as tested"));
    writer.write_all(b"x").unwrap();
    until("it is gone", || !scheduled.is_pending()).await;
    assert!(!remove_reader(&reader));
    assert_eq!(Rc::strong_count(&reader), 1);
    // The direction is free.
    let (calls, counted) = counter();
    add_reader(&reader, move |reader| {
        reader.get_ref().read_exact(&mut [0]).unwrap();
        add(&counted);
    });
    until("the byte is still there", || calls.get() == 1).await;
    remove_reader(&reader);
}

#[test]
fn a_reader_that_panics_ends_the_run_where_that_is_asked_for() {
    let run = Builder::new().callback_panics(CallbackPanics::EndRun);
    let message = panic_of(|| {
        run.run(async {
            let (reader, mut writer) = pipe();
            add_reader(&reader, |_| panic!("as tested"));
            writer.write_all(b"x").unwrap();
            std::future::pending::<()>().await;
        })
        .unwrap();
    });
    assert_eq!(message, "as tested");
}

#[squall::test(real)]
async fn callbacks_remove_each_other_in_one_turn() {
    let (a, mut write_a) = pipe();
    let (b, mut write_b) = pipe();
    let (calls, counted) = counter();
    for (own, other) in [(&a, &b), (&b, &a)] {
        let (other, counted) = (other.clone(), counted.clone());
        add_reader(own, move |own| {
            add(&counted);
            assert!(remove_reader(&other));
            remove_reader(own);
        });
    }
    write_a.write_all(b"x").unwrap();
    write_b.write_all(b"x").unwrap();
    until("one of them", || calls.get() == 1).await;
    a_while().await;
    assert_eq!(calls.get(), 1, "the other was removed though it was ready");
    assert_eq!((Rc::strong_count(&a), Rc::strong_count(&b)), (1, 1));
}

#[squall::test(real)]
async fn a_readers_destructor_may_register_again() {
    let (reader, mut writer) = pipe();
    let (calls, counted) = counter();
    let registers = reader.clone();
    let held = trace::at_drop(move || {
        let counted = counted.clone();
        add_reader(&registers, move |reader| {
            reader.get_ref().read_exact(&mut [0]).unwrap();
            add(&counted);
        });
    });
    add_reader(&reader, move |_| {
        let _held = &held;
    });
    assert!(remove_reader(&reader), "and its destructor has put another in its place");
    writer.write_all(b"x").unwrap();
    until("the other is called", || calls.get() == 1).await;
    assert!(remove_reader(&reader));
}

#[squall::test(real)]
async fn cancelling_a_reader_from_its_own_call_frees_the_socket_when_it_returns() {
    let (reader, mut writer) = pipe();
    let own: Rc<Cell<Option<Scheduled>>> = Rc::default();
    let (me, count) = (own.clone(), Rc::downgrade(&reader));
    own.set(Some(add_reader(&reader, move |_| me.get().unwrap().cancel())));
    writer.write_all(b"x").unwrap();
    until("it is gone", || !own.get().unwrap().is_pending()).await;
    a_while().await;
    assert_eq!(count.strong_count(), 1);
    assert!(!remove_reader(&reader));
}

#[test]
fn a_loop_that_ends_drops_its_readers_and_their_sockets() {
    let trace = Trace::default();
    let count = squall::run(async {
        let (stream, _client) = pair().await;
        let held = trace.at_drop("dropped");
        add_reader(&stream, move |_| {
            let _held = &held;
        });
        Rc::downgrade(&stream)
    });
    assert_eq!((trace.take(), count.strong_count()), (vec!["dropped".to_string()], 0));
}

#[squall::test(real)]
async fn a_wake_that_is_none_of_the_descriptors_calls_nobody() {
    let (reader, _writer) = pipe();
    let (calls, counted) = counter();
    let waker = Rc::new(RefCell::new(None));
    add_reader(&reader, move |_| add(&counted));
    // A callback's waker cannot be had, so every slot of the loop is woken: by tasks that come and go in old slots.
    for _ in 0..50 {
        let keeps = waker.clone();
        spawn(poll_fn(move |cx| {
            *keeps.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }))
        .await
        .unwrap();
        let stale: Option<std::task::Waker> = waker.borrow_mut().take();
        stale.unwrap().wake();
        call_soon(|| {});
        yield_now().await;
    }
    assert_eq!(calls.get(), 0);
    remove_reader(&reader);
}
