//! The table `docs/asyncio.md`: what each row says, run. The tests have the names of its last column.

use futures::StreamExt;
use squall::callback::{add_reader, call_later, call_soon, remove_reader};
use squall::generator::AsyncGenerator;
use squall::net::{TcpListener, TcpStream};
use squall::sync::{Queue, oneshot};
use squall::time::{Instant, sleep, timeout};
use squall::{
    LoopHandle, TaskLocal, blocking, join_all, race, scope, spawn, try_join_all, try_scope, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

async fn later(seconds: u32) -> u32 {
    sleep(SECOND * seconds).await;
    seconds
}

#[test]
fn every_row_names_a_test_that_is_here() {
    let source = include_str!("asyncio_table.rs");
    for table in [include_str!("../../../docs/asyncio.md"), include_str!("../../../docs/asyncio.zh-CN.md")] {
        let rows = table.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
        let names: Vec<_> = rows.map(|row| row.rsplit('`').nth(1).unwrap()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(source.contains(&format!("fn {name}()")), "the table names {name}, which is no test");
        }
    }
}

#[test]
fn run() {
    assert_eq!(squall::run(async { 6 * 7 }), 42);
}

#[squall::test]
async fn create_task() {
    let task = spawn(later(1));
    assert_eq!(task.await.unwrap(), 1);
    assert_eq!(scope(async |s| s.spawn(later(2)).await).await, 2);
}

#[squall::test]
async fn cancel() {
    let task = spawn(pending::<()>());
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[squall::test]
async fn gather() {
    assert_eq!(join_all([3, 1, 2].map(later)).await, [3, 1, 2]);
    let failing = ["1", "two"].map(|word| async move { word.parse::<u32>() });
    assert!(try_join_all(failing).await.is_err());
}

#[squall::test]
async fn first_completed() {
    assert_eq!(race([3, 1, 2].map(later)).await, 1);
}

#[squall::test]
async fn as_completed() {
    let done = Queue::unbounded();
    let order = scope(async |s| {
        for n in [3, 1, 2] {
            let done = &done;
            s.spawn(async move { done.put(later(n).await).await.unwrap() });
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(done.get().await.unwrap());
        }
        order
    })
    .await;
    assert_eq!(order, [1, 2, 3]);
}

#[squall::test]
async fn task_group() {
    let words = ["a".to_owned(), "bc".to_owned()];
    let total = try_scope(async |s| {
        let lengths: Vec<_> = words.iter().map(|word| s.spawn(async move { Ok(word.len()) })).collect();
        let mut total = 0;
        for length in lengths {
            total += length.await;
        }
        io::Result::Ok(total)
    })
    .await;
    assert_eq!(total.unwrap(), 3);
}

#[squall::test]
async fn timeouts() {
    assert!(timeout(SECOND, later(5)).await.is_err());
    let error = try_scope(async |s| {
        s.cancel_after(SECOND);
        io::Result::Ok(later(5).await)
    })
    .await
    .unwrap_err();
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
}

#[squall::test]
async fn shield() {
    let saved = Rc::new(Cell::new(false));
    let cancelled = try_scope(async |s| {
        let saving = saved.clone();
        drop(s.shield(5 * SECOND, async move {
            later(1).await;
            saving.set(true);
        }));
        s.cancel("now");
        pending::<Result<(), ()>>().await
    })
    .await;
    assert!(cancelled.is_err() && saved.get());
}

#[squall::test]
async fn sleeping() {
    let begin = Instant::now();
    sleep(SECOND).await;
    yield_now().await;
    assert_eq!(begin.elapsed(), SECOND);
}

#[squall::test]
async fn queue() {
    let queue = Rc::new(Queue::bounded(2));
    let worker = spawn({
        let queue = queue.clone();
        async move {
            let mut sum = 0;
            for _ in 0..3 {
                sum += queue.get().await.unwrap();
                queue.task_done();
            }
            sum
        }
    });
    for n in 1..=3 {
        queue.put(n).await.unwrap();
    }
    queue.join().await;
    assert_eq!(worker.await.unwrap(), 6);
}

#[squall::test]
async fn future() {
    let (sender, receiver) = oneshot::channel();
    drop(spawn(async move { sender.send(later(1).await).is_ok() }));
    assert_eq!(receiver.await.unwrap(), 1);
}

#[squall::test]
async fn context_variables() {
    static USER: TaskLocal<&str> = TaskLocal::new();
    USER.set("ada");
    let child = spawn(async {
        let inherited = USER.get();
        USER.set("grace");
        (inherited, USER.get())
    });
    assert_eq!(child.await.unwrap(), (Some("ada"), Some("grace")));
    assert_eq!(USER.get(), Some("ada"));
}

#[squall::test]
async fn to_thread() {
    let here = std::thread::current().id();
    assert_ne!(blocking::run(|| std::thread::current().id()).await, here);
}

#[squall::test]
async fn callbacks() {
    let said = Rc::new(RefCell::new(Vec::new()));
    let say = |word| {
        let said = said.clone();
        move || said.borrow_mut().push(word)
    };
    let _soon = call_soon(say("soon"));
    let _later = call_later(SECOND, say("later"));
    sleep(2 * SECOND).await;
    assert_eq!(*said.borrow(), ["soon", "later"]);
}

#[squall::test]
async fn from_a_thread() {
    let here = LoopHandle::current();
    let answer = blocking::run(move || here.spawn(|| async { 6 * 7 })).await;
    assert_eq!(answer.await.unwrap(), 42);
}

#[squall::test(real)]
async fn readers() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let server = Rc::new(listener.accept().await?.0);
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    add_reader(&server, move |server: &Rc<TcpStream>| {
        let mut text = [0; 8];
        if let Ok(n) = server.try_read(&mut text) {
            remove_reader(server);
            _ = sender.take().map(|sender| sender.send(text[..n].to_vec()));
        }
    });
    client.write_all(b"hello").await?;
    client.flush().await?;
    assert_eq!(receiver.await.unwrap(), b"hello");
    Ok(())
}

#[squall::test(real)]
async fn signals() -> io::Result<()> {
    let served = scope(async |s| {
        s.stop_on_signals(SECOND)?;
        let me = std::process::id().to_string();
        let told = blocking::run(move || std::process::Command::new("kill").args(["-TERM", &me]).status());
        assert!(told.await?.success());
        io::Result::Ok(s.until_stop(pending::<()>()).await)
    })
    .await?;
    assert_eq!(served, None);
    Ok(())
}

#[squall::test(real)]
async fn server() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    scope(async |s| {
        s.spawn_task(async move {
            while let Ok((conn, _)) = squall::scope::until_stop(listener.accept())
                .await
                .unwrap_or_else(|| Err(io::ErrorKind::Other.into()))
            {
                while let Ok(Some(chunk)) = conn.recv().await {
                    conn.write_all(&chunk).await.unwrap();
                }
            }
        });
        let client = TcpStream::connect(address).await?;
        client.write_all(b"hello").await?;
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        drop(client);
        s.stop(SECOND);
        Ok(())
    })
    .await
}

#[squall::test]
async fn async_generator() {
    let ticks = AsyncGenerator::<'_, u32>::new(async |co| {
        for n in 0..3 {
            sleep(SECOND).await;
            co.yield_(n).await;
        }
    });
    assert_eq!(ticks.collect::<Vec<_>>().await, [0, 1, 2]);
}

#[test]
fn forever() {
    squall::run_forever(async {
        let _stopping = call_soon(squall::stop);
        io::Result::Ok(())
    })
    .unwrap();
}
