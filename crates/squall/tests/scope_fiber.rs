//! Scopes and fibers: fibers that a scope owns, and scopes that a fiber waits for.
#![cfg(feature = "fiber")]

mod trace;

use squall::fiber::{self, Blocking};
use squall::net::{TcpListener, TcpStream};
use squall::{scope, try_scope, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;
use trace::{Trace, panic_of, virtual_loop};

#[squall::test]
async fn a_scope_waits_for_its_fibers_and_their_handles_give_their_values() {
    let ended = Rc::new(Cell::new(false));
    let value = scope(async |s| {
        let late = ended.clone();
        s.spawn_fiber(move || {
            fiber::sleep(Duration::from_secs(3));
            late.set(true);
        });
        let child = fiber::Builder::new().name("worker").stack_size(64 << 10).spawn_in(s, || {
            fiber::yield_now();
            42
        });
        child.unwrap().await
    })
    .await;
    assert_eq!((value, ended.get()), (42, true));
}

#[squall::test]
async fn a_fibers_error_ends_the_scope_and_its_siblings_are_cancelled_in_two_steps() {
    let trace = Trace::default();
    let error = try_scope(async |s| {
        let said = trace.clone();
        s.spawn_fiber(move || {
            let _unwound = said.at_drop("left");
            assert!(fiber::try_wait(pending::<()>()).is_err());
            said.say("was told");
            fiber::wait(pending::<()>());
        });
        s.spawn_fiber(|| {
            fiber::yield_now();
            Err::<(), _>(io::Error::other("the fiber's"))
        });
        pending::<io::Result<()>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "the fiber's");
    assert_eq!(trace.take(), ["was told", "left"]);
}

#[squall::test]
async fn a_fibers_panic_is_the_scopes() {
    let task = squall::spawn(async {
        scope(async |s| {
            s.spawn_fiber(|| {
                fiber::yield_now();
                panic!("the fiber's");
            });
            pending::<()>().await;
        })
        .await;
    });
    let error = task.await.unwrap_err();
    assert_eq!(error.to_string(), "the task panicked: the fiber's");
}

#[squall::test]
async fn a_fiber_waits_for_a_scope_whose_children_borrow_from_its_stack() {
    let fiber = fiber::spawn(|| {
        let words = ["one".to_owned(), "three".to_owned()];
        fiber::wait(scope(async |s| {
            let lengths: Vec<_> = words
                .iter()
                .map(|word| {
                    s.spawn(async move {
                        yield_now().await;
                        word.len()
                    })
                })
                .collect();
            squall::join_all(lengths).await.iter().sum::<usize>()
        }))
    });
    assert_eq!(fiber.await.unwrap(), 8);
}

#[test]
fn a_child_that_is_polled_on_a_fibers_stack_may_not_pause_it() {
    let text = panic_of(|| {
        virtual_loop().run_until(async {
            let fiber = fiber::spawn(|| {
                fiber::wait(scope(async |s| {
                    s.spawn(async { fiber::wait(yield_now()) });
                }))
            });
            let error = fiber.await.unwrap_err();
            std::panic::resume_unwind(error.into_panic());
        })
    });
    assert!(text.contains("fiber::wait was called while a future is polled on the stack of"), "{text}");
    assert!(text.contains("Await inside the future"), "{text}");
}

#[squall::test]
async fn a_fiber_that_is_aborted_while_it_waits_for_a_scope_drops_the_children_and_then_unwinds() {
    let trace = Trace::default();
    let fiber = fiber::spawn({
        let trace = trace.clone();
        move || {
            let local = trace.at_drop("the fiber's local");
            fiber::wait(scope(async |s| {
                let local = &local;
                s.spawn(async {
                    let _child = trace.at_drop("the child");
                    pending::<()>().await;
                });
                _ = local;
                pending::<()>().await;
            }));
        }
    });
    for _ in 0..3 {
        yield_now().await;
    }
    fiber.abort();
    assert_eq!(trace.take(), ["the child", "the fiber's local"]);
    assert!(fiber.await.unwrap_err().is_cancelled());
}

#[squall::test]
async fn children_of_a_fibers_scope_are_woken_and_polled_through_the_fiber() {
    let (sender, receiver) = squall::sync::oneshot::channel();
    let fiber = fiber::spawn(move || {
        fiber::wait(scope(async |s| {
            let child = s.spawn(receiver);
            s.spawn(async {
                yield_now().await;
                assert!(sender.send(7).is_ok());
            });
            child.await
        }))
    });
    assert_eq!(fiber.await.unwrap(), Ok(7));
}

#[squall::test(real)]
async fn a_server_of_fibers_in_a_scope_stops_when_it_is_asked_to() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = Rc::new(Cell::new(0));
    scope(async |s| {
        s.spawn_task({
            let served = served.clone();
            async move {
                let client = TcpStream::connect(address).await.unwrap();
                client.write_all(b"hello").await.unwrap();
                let mut answer = [0; 5];
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"HELLO");
                served.set(served.get() + 1);
            }
        });
        while let Some(accepted) = s.until_stop(listener.accept()).await {
            let (conn, _) = accepted?;
            s.spawn_fiber(move || {
                let mut conn = Blocking::new(conn);
                let mut word = [0; 5];
                conn.read_exact(&mut word).unwrap();
                conn.write_all(&word.to_ascii_uppercase()).unwrap();
            });
            s.stop(Duration::from_secs(60));
        }
        io::Result::Ok(())
    })
    .await?;
    assert_eq!(served.get(), 1);
    Ok(())
}

#[test]
fn a_scopes_fiber_that_waits_when_its_loop_ends_is_unwound() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    event_loop.spawn({
        let trace = trace.clone();
        async move {
            scope(async |s| {
                let said = trace.clone();
                s.spawn_fiber(move || {
                    let _left = said.at_drop("the fiber");
                    fiber::wait(pending::<()>());
                });
                let _body = trace.at_drop("the body");
                pending::<()>().await;
            })
            .await;
        }
    });
    trace::settle(&event_loop);
    drop(event_loop);
    assert_eq!(trace.take(), ["the fiber", "the body"]);
}
