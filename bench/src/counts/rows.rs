//! The operations that are counted. Those of `sched` are the same functions, on a virtual clock; echoes run on the real driver.

use super::allocator;
use crate::rounds::{Effort, Measure};
use crate::runtimes::SquallWithoutTime;
use crate::sched::{generators, hand_over, ready, work_queue};
use squall::fiber;
use squall::net::{TcpListener, TcpStream};
use squall::{Builder, DriverChoice};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    /// In the smaller of the two runs. The larger does three times as many.
    pub operations: u64,
    run: Run,
}

enum Run {
    /// A row of `sched`, and the operations of its full effort, warming up included.
    Sched(Measure, u64),
    Own(fn(u64)),
}

/// A thirtieth of the full effort, then a tenth, so that both divide it.
const fn sched(name: &'static str, what: &'static str, run: Measure, full: u64) -> Row {
    Row { name, what, operations: full / 30, run: Run::Sched(run, full) }
}

const fn own(name: &'static str, what: &'static str, operations: u64, run: fn(u64)) -> Row {
    Row { name, what, operations, run: Run::Own(run) }
}

type R = SquallWithoutTime;

pub const ROWS: &[Row] = &[
    sched("spawn+join", "spawn a task that ends at once, and await it", ready::spawn_and_join::<R>, 330_000),
    sched("spawn x1000", "spawn 1,000 of them, then await them all", ready::spawn_many::<R>, 330_000),
    sched("yield x1", "one task yields over and over", ready::yield_1::<R>, 1_100_000),
    sched("callback x1", "one callback schedules itself over and over", ready::callbacks::<R>, 1_100_000),
    sched("yield x1k", "1,000 tasks do", ready::yield_1k::<R>, 3_300_000),
    sched("local-slot ping-pong", "a round trip between two tasks", hand_over::ping_pong::<R>, 550_000),
    sched(
        "oneshot request",
        "a request with a oneshot for the answer",
        hand_over::oneshot_request::<R>,
        330_000,
    ),
    sched("queue, 1 consumer", "an item through a bounded queue", work_queue::consumers_1::<R>, 1_100_000),
    sched(
        "queue, 100 consumers",
        "the same with 100 tasks taking",
        work_queue::consumers_100::<R>,
        1_100_000,
    ),
    sched(
        "generator send",
        "a value is sent to a generator, which yields another",
        generators::send,
        5_500_000,
    ),
    sched(
        "generator send, 1k deep",
        "the same through 1,000 levels of `yield_from`",
        generators::send_1000_deep,
        5_500_000,
    ),
    own(
        "timer insert+cancel",
        "a sleep is made, polled once and dropped, beside 10,000 others",
        10_000,
        insert_and_cancel,
    ),
    own("sleep", "a task sleeps and is woken", 10_000, sleeps),
    own("fiber yield", "ten fibers take turns", 10_000, fiber_yields),
    own("fiber spawn+join", "spawn a fiber that ends at once, and await it", 10_000, fibers),
    own("timeout around a yield", "a timeout that does not elapse", 10_000, timeouts),
    own("echo x1", "64 bytes to and fro over loopback, server and client on one loop", 1_000, echo_1),
    own(
        "echo x1, callbacks",
        "the same, with a reader instead of a task for the server",
        1_000,
        echo_callback,
    ),
    own("echo x50", "the same on 50 connections at once; per message", 5_000, echo_50),
];

thread_local! {
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

/// Runs a loop and keeps the number of its polls.
pub fn run<F: Future>(builder: Builder, body: F) -> F::Output {
    let event_loop = builder.build().expect("a loop");
    let output = event_loop.run_until(body);
    // There is no other public place where a loop tells it.
    let said = format!("{event_loop:?}");
    let polls = said.split_once("polls: ").and_then(|(_, rest)| rest.split([',', ' ']).next()?.parse().ok());
    POLLS.set(polls.expect("a loop's Debug form counts its polls"));
    output
}

/// The child's side: does the row's operations and prints allocations, bytes and polls.
pub fn child(row: &str, operations: u64) -> Result<(), String> {
    let row = ROWS.iter().find(|known| known.name == row).ok_or_else(|| format!("there is no row {row}"))?;
    allocator::begin();
    match row.run {
        Run::Sched(run, full) => {
            black_box(run(Effort::divided_by(full / operations)));
        }
        Run::Own(run) => run(operations),
    }
    let (allocations, bytes) = allocator::counted();
    println!("{allocations} {bytes} {}", POLLS.get());
    Ok(())
}

const FAR: Duration = Duration::from_secs(60);

/// Deadlines in no order (a linear congruential generator), the nearest a minute away.
fn deadlines() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(1_u64), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
        .map(|n| FAR + Duration::from_micros(n >> 32))
}

fn insert_and_cancel(operations: u64) {
    run(Builder::new().virtual_time(), async move {
        let mut others: Vec<_> =
            deadlines().take(10_000).map(|after| Box::pin(squall::time::sleep(after))).collect();
        poll_fn(|cx| {
            others.iter_mut().for_each(|sleep| assert!(sleep.as_mut().poll(cx).is_pending()));
            for after in deadlines().take(operations as usize) {
                assert!(pin!(squall::time::sleep(after)).poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
    });
}

fn echo_callback(messages: u64) {
    let done = run(Builder::new().driver(DriverChoice::Poll), async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (served, _) = listener.accept().await?;
        for stream in [&client, &served] {
            stream.set_nodelay(true)?;
        }
        squall::callback::add_reader(&Rc::new(served), |stream| match stream.try_recv() {
            Ok(Some(chunk)) => _ = stream.try_write(&chunk).expect("64 bytes find room"),
            Ok(None) => _ = squall::callback::remove_reader(stream),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        });
        ask(client, messages).await
    });
    done.expect("loopback works");
}

fn sleeps(operations: u64) {
    run(Builder::new().virtual_time(), async move {
        for _ in 0..operations {
            squall::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

fn fiber_yields(operations: u64) {
    run(Builder::new().virtual_time(), async move {
        let spawn = |_| fiber::spawn(move || (0..operations / 10).for_each(|_| fiber::yield_now()));
        for fiber in (0..10).map(spawn).collect::<Vec<_>>() {
            fiber.await.expect("it ends");
        }
    });
}

fn fibers(operations: u64) {
    run(Builder::new().virtual_time(), async move {
        for n in 0..operations {
            assert_eq!(fiber::spawn(move || black_box(n)).await.expect("it ends"), n);
        }
    });
}

fn timeouts(operations: u64) {
    run(Builder::new().virtual_time(), async move {
        for _ in 0..operations {
            squall::time::timeout(FAR, squall::yield_now()).await.expect("long before the timeout");
        }
    });
}

fn echo_1(messages: u64) {
    echo(1, messages);
}

fn echo_50(messages: u64) {
    echo(50, messages / 50);
}

fn echo(connections: usize, messages_each: u64) {
    let done = run(Builder::new().driver(DriverChoice::Poll), async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut clients = Vec::new();
        for _ in 0..connections {
            let client = TcpStream::connect(address).await?;
            let (served, _) = listener.accept().await?;
            for stream in [&client, &served] {
                stream.set_nodelay(true)?;
            }
            clients.push((client, squall::spawn(serve(served))));
        }
        let clients: Vec<_> = clients
            .into_iter()
            .map(|(client, server)| {
                squall::spawn(async move {
                    ask(client, messages_each).await?;
                    server.await.map_err(io::Error::other)?
                })
            })
            .collect();
        for client in clients {
            client.await.map_err(io::Error::other)??;
        }
        io::Result::Ok(())
    });
    done.expect("loopback works");
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.recv().await? {
        stream.write_all(&chunk).await?;
    }
    Ok(())
}

async fn ask(stream: TcpStream, messages: u64) -> io::Result<()> {
    let mut answer = [0; 64];
    for n in 0..messages {
        let message = [n as u8; 64];
        stream.write_all(&message).await?;
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, message);
    }
    Ok(())
}
