//! Signals: many listeners, many loops, and what happens when nobody listens. Each test has a signal of its own, for they are the process's.

mod trace;

use futures::StreamExt;
use squall::callback::{add_signal_handler, remove_signal_handler};
use squall::signal::{SignalKind, ctrl_c, signal};
use squall::time::{sleep, timeout};
use squall::{LoopHandle, spawn};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn send(kind: SignalKind) {
    // SAFETY: asks the system to send a signal to this process.
    assert_eq!(unsafe { libc::kill(libc::getpid(), kind.as_raw()) }, 0);
}

fn real_time(number: i32) -> SignalKind {
    SignalKind::from_raw(libc::SIGRTMIN() + number)
}

#[squall::test(real)]
async fn every_listener_learns_of_every_signal() {
    let kind = SignalKind::USER_1;
    let mut listeners = [signal(kind).unwrap(), signal(kind).unwrap(), signal(kind).unwrap()];
    for _ in 0..3 {
        send(kind);
        for listener in &mut listeners {
            timeout(PATIENCE, listener.recv()).await.expect("it is told");
        }
    }
    let [first, ..] = &mut listeners;
    assert!(timeout(Duration::from_millis(20), first.recv()).await.is_err(), "and of no more");
}

#[squall::test(real)]
async fn signals_that_come_while_nobody_awaits_are_kept() {
    // Real-time signals are queued by the system, one by one.
    let kind = real_time(1);
    let mut stream = signal(kind).unwrap();
    for _ in 0..5 {
        send(kind);
    }
    for _ in 0..5 {
        assert_eq!(timeout(PATIENCE, stream.next()).await.expect("all of them"), Some(()));
    }
    assert!(timeout(Duration::from_millis(20), stream.recv()).await.is_err());
    assert_eq!(stream.kind(), kind);
}

#[test]
fn loops_on_several_threads_are_told() {
    let kind = real_time(2);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let ready = ready.clone();
            std::thread::spawn(move || {
                squall::run(async {
                    let mut stream = signal(kind).unwrap();
                    ready.send(()).unwrap();
                    timeout(PATIENCE, stream.recv()).await.expect("it is told");
                })
            })
        })
        .collect();
    threads.iter().for_each(|_| is_ready.recv().unwrap());
    send(kind);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_loop_on_virtual_time_is_told_too() {
    let kind = real_time(3);
    squall::Builder::new()
        .virtual_time()
        .run(async {
            let mut stream = signal(kind).unwrap();
            send(kind);
            stream.recv().await;
        })
        .unwrap();
}

#[squall::test(real)]
async fn a_handler_is_called_on_the_loop_until_it_is_removed_or_replaced() {
    let kind = SignalKind::USER_2;
    let mut other = signal(kind).unwrap();
    let calls = Rc::new(Cell::new((0, 0)));
    let (first, thread) = (calls.clone(), std::thread::current().id());
    let scheduled = add_signal_handler(kind, move || {
        assert_eq!(std::thread::current().id(), thread);
        first.set((first.get().0 + 1, 0));
    })
    .unwrap();
    let once = async |other: &mut squall::signal::Signal| {
        send(kind);
        timeout(PATIENCE, other.recv()).await.expect("it is told");
        sleep(Duration::from_millis(5)).await;
    };
    once(&mut other).await;
    assert_eq!(calls.get(), (1, 0));
    let second = calls.clone();
    add_signal_handler(kind, move || second.set((second.get().0, second.get().1 + 1))).unwrap();
    assert!(!scheduled.is_pending(), "replaced");
    once(&mut other).await;
    assert_eq!(calls.get(), (1, 1));
    assert!(remove_signal_handler(kind) && !remove_signal_handler(kind));
    once(&mut other).await;
    assert_eq!(calls.get(), (1, 1));
}

#[squall::test(real)]
async fn a_handler_removes_itself_and_one_that_panics_is_removed() {
    let kind = real_time(4);
    let _keeps_the_default_away = signal(kind).unwrap();
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    let scheduled = add_signal_handler(kind, move || {
        counted.set(counted.get() + 1);
        assert!(remove_signal_handler(kind));
    })
    .unwrap();
    send(kind);
    send(kind);
    let gone = async {
        while scheduled.is_pending() || calls.get() == 0 {
            sleep(Duration::from_millis(1)).await
        }
    };
    timeout(PATIENCE, gone).await.expect("it goes");
    assert_eq!(calls.get(), 1);
    let scheduled = add_signal_handler(kind, || panic!("as tested")).unwrap();
    send(kind);
    let gone = async {
        while scheduled.is_pending() {
            sleep(Duration::from_millis(1)).await
        }
    };
    timeout(PATIENCE, gone).await.expect("it goes");
    assert!(!remove_signal_handler(kind));
}

#[squall::test(real)]
async fn a_waiting_task_says_that_it_waits_for_a_signal() {
    let task = spawn(async { signal(real_time(5)).unwrap().recv().await });
    sleep(Duration::from_millis(1)).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[squall::test(real)]
async fn a_foreign_executor_inside_a_task_is_told() {
    let kind = real_time(6);
    let mut streams: Vec<_> = (0..4).map(|_| signal(kind).unwrap()).collect();
    send(kind);
    let all = futures::future::join_all(streams.iter_mut().map(|stream| stream.recv()));
    timeout(PATIENCE, all).await.expect("all of them");
}

#[test]
fn what_cannot_be_listened_to_is_an_error_that_says_so() {
    for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 65, 1000] {
        let error = signal(SignalKind::from_raw(number)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{number}");
        assert!(error.to_string().contains("cannot be listened to"), "{error}");
    }
    assert_eq!(SignalKind::INTERRUPT.to_string(), "SIGINT");
    assert_eq!(format!("{:?}", SignalKind::from_raw(40)), "SignalKind(signal 40)");
}

#[test]
fn after_the_last_listener_a_signal_ends_the_process_again() {
    use std::os::unix::process::ExitStatusExt;
    let ended = trace::alone("after_the_last_listener_a_signal_ends_the_process_again", &[], || {
        squall::run(async {
            let mut stream = signal(SignalKind::TERMINATE).unwrap();
            send(SignalKind::TERMINATE);
            stream.recv().await;
            drop(stream);
            // A signal that does nothing by default does nothing.
            drop(signal(SignalKind::CHILD).unwrap());
            send(SignalKind::CHILD);
            sleep(Duration::from_millis(50)).await;
            send(SignalKind::TERMINATE);
            sleep(PATIENCE).await;
        });
    });
    if let Some(ended) = ended {
        assert_eq!(ended.status.signal(), Some(libc::SIGTERM), "{ended:?}");
    }
}

#[test]
fn a_signal_that_the_process_ignores_stays_ignored_without_listeners() {
    let ended =
        trace::alone("a_signal_that_the_process_ignores_stays_ignored_without_listeners", &[], || {
            // SAFETY: no pointer is passed.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
            squall::run(async {
                drop(signal(SignalKind::HANGUP).unwrap());
                send(SignalKind::HANGUP);
                sleep(Duration::from_millis(50)).await;
            });
        });
    ended.iter().for_each(trace::check);
}

#[test]
fn ctrl_c_is_waited_for_and_stops_a_loop() {
    let ended = trace::alone("ctrl_c_is_waited_for_and_stops_a_loop", &[], || {
        let done: io::Result<()> = squall::run(async {
            let waits = ctrl_c();
            send(SignalKind::INTERRUPT);
            waits.await?;
            let here = LoopHandle::current();
            add_signal_handler(SignalKind::INTERRUPT, move || here.stop())?;
            send(SignalKind::INTERRUPT);
            squall::stopping().await;
            Ok(())
        });
        done.unwrap();
    });
    ended.iter().for_each(trace::check);
}

#[test]
fn after_a_fork_the_child_listens_anew() {
    let ended = trace::alone("after_a_fork_the_child_listens_anew", &[], || {
        let kind = real_time(7);
        let mut before = squall::run(async {
            let mut stream = signal(kind).unwrap();
            send(kind);
            stream.recv().await;
            stream
        });
        // SAFETY: this process runs one test on one thread, besides the one that waits for signals; the child uses what it makes itself.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let heard = squall::run(async {
                let mut stream = signal(kind).unwrap();
                send(kind);
                timeout(PATIENCE, stream.recv()).await.is_ok()
            });
            // SAFETY: ends the child without the parent's destructors.
            unsafe { libc::_exit(if heard { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: the status lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 0, "the child is told of its own signal");
        squall::run(async {
            assert!(
                timeout(Duration::from_millis(20), before.recv()).await.is_err(),
                "which is not the parent's"
            );
            send(kind);
            timeout(PATIENCE, before.recv()).await.expect("the parent still listens");
        });
    });
    ended.iter().for_each(trace::check);
}
