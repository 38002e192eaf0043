//! Generators that a loop drives: they yield what they wait for, take turns with tasks, delegate, and are dropped where they wait.

mod trace;

use squall::generator::{Co, Generator, Wait, spawn_generator};
use squall::io::Source;
use squall::net::{TcpListener, TcpStream};
use squall::time::{Instant, sleep};
use squall::{spawn, yield_now};
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;
use trace::Trace;

type OnLoop<R> = Generator<'static, Wait, io::Result<()>, R>;

/// Says the types, which a closure that uses what it is sent has to know.
fn on_loop<R: 'static>(
    f: impl for<'c> AsyncFnOnce(&'c Co<'static, Wait, io::Result<()>>) -> R + 'static,
) -> OnLoop<R> {
    Generator::new(f)
}

const SECOND: Duration = Duration::from_secs(1);

#[squall::test]
async fn a_delay_is_waited_for_and_the_value_comes_out_of_the_handle() {
    let start = Instant::now();
    let generator = on_loop(async |co| {
        co.yield_(Wait::delay(SECOND)).await.unwrap();
        co.yield_(Wait::delay(2 * SECOND)).await.unwrap();
        7
    });
    assert_eq!(spawn_generator(generator).await.unwrap(), 7);
    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[squall::test]
async fn generators_and_tasks_take_turns() {
    let trace = Trace::default();
    let says = trace.clone();
    let generator = on_loop(async move |co| {
        for n in 0..3 {
            says.say(format!("generator {n}"));
            co.yield_(Wait::turn()).await.unwrap();
        }
    });
    let generator = spawn_generator(generator);
    let says = trace.clone();
    let task = spawn(async move {
        for n in 0..3 {
            says.say(format!("task {n}"));
            yield_now().await;
        }
    });
    generator.await.unwrap();
    task.await.unwrap();
    assert_eq!(trace.take(), ["generator 0", "task 0", "generator 1", "task 1", "generator 2", "task 2"]);
}

#[squall::test]
async fn delegates_wait_for_themselves_and_their_errors_come_back() {
    fn nap(times: u32) -> OnLoop<u32> {
        on_loop(async move |co| {
            for _ in 0..times {
                co.yield_(Wait::delay(SECOND)).await.unwrap();
            }
            times
        })
    }
    let start = Instant::now();
    let outer = on_loop(async |co| co.yield_from(nap(2)).await + co.yield_from(nap(3)).await);
    assert_eq!(spawn_generator(outer).await.unwrap(), 5);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[squall::test]
async fn an_aborted_generator_is_dropped_where_it_waits_innermost_first() {
    let trace = Trace::default();
    let (outer_held, inner_held) = (trace.at_drop("outer"), trace.at_drop("inner"));
    let inner = on_loop(async move |co| {
        let _held = inner_held;
        co.yield_(Wait::delay(Duration::MAX)).await.unwrap();
    });
    let outer = on_loop(async move |co| {
        let _held = outer_held;
        co.yield_from(inner).await;
    });
    let task = spawn_generator(outer);
    sleep(SECOND).await;
    task.abort();
    assert_eq!(trace.take(), ["inner", "outer"]);
    assert!(task.await.unwrap_err().is_cancelled());
}

#[squall::test]
async fn a_panic_of_a_generator_is_its_tasks() {
    let panics = on_loop(async |co| {
        co.yield_(Wait::turn()).await.unwrap();
        panic!("as tested");
    });
    assert!(spawn_generator(panics).await.unwrap_err().is_panic());
}

#[cfg(not(miri))]
#[squall::test(real)]
async fn readable_and_writable_are_waited_for() {
    let (reader, mut writer) = io::pipe().unwrap();
    let reader = Rc::new(Source::new(reader).unwrap());
    let reads = on_loop(async move |co| {
        co.yield_(Wait::readable(&reader)).await.unwrap();
        let mut text = [0; 5];
        reader.get_ref().read_exact(&mut text).unwrap();
        text
    });
    let reads = spawn_generator(reads);
    sleep(Duration::from_millis(2)).await;
    assert!(!reads.is_finished());
    writer.write_all(b"hello").unwrap();
    assert_eq!(&reads.await.unwrap(), b"hello");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = Rc::new(listener.accept().await.unwrap().0);
    while server.try_write(&[0; 65536]).is_ok() {}
    let writes = server.clone();
    let writes = on_loop(async move |co| {
        co.yield_(Wait::writable(&writes)).await.unwrap();
        writes.try_write(b"x").unwrap();
    });
    let writes = spawn_generator(writes);
    sleep(Duration::from_millis(2)).await;
    assert!(!writes.is_finished());
    let mut sink = vec![0; 1 << 20];
    while !writes.is_finished() {
        client.read(&mut sink).await.unwrap();
    }
    writes.await.unwrap();
}

#[cfg(not(miri))]
#[squall::test(real)]
async fn a_direction_that_is_taken_is_an_error_that_is_sent_to_the_generator() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = Rc::new(listener.accept().await.unwrap().0);
    let reading = server.clone();
    let reader = spawn(async move { reading.recv().await.map(drop) });
    yield_now().await;
    let waits = on_loop(async move |co| co.yield_(Wait::readable(&server)).await);
    let error = spawn_generator(waits).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(error.to_string().starts_with("Wait::readable: the same direction"), "{error}");
    reader.abort();
}
