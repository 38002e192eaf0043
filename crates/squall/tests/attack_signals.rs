//! Attacks on signals: they come while listeners come and go, to children of a fork, past masks. Each test of the default action is alone in a process.

mod trace;

use squall::signal::{SignalKind, signal};
use squall::time::{sleep, timeout};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn send(kind: SignalKind) {
    // SAFETY: asks the system to send a signal to this process.
    assert_eq!(unsafe { libc::kill(libc::getpid(), kind.as_raw()) }, 0);
}

/// Forks; gives how the child ended.
fn in_child(act: impl FnOnce() -> i32) -> libc::c_int {
    // SAFETY: these tests run alone in a process; the child uses what it makes itself and leaves without destructors.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(act());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status
    }
}

#[test]
fn a_signal_that_came_while_somebody_listened_does_not_end_the_process() {
    let ended =
        trace::alone("a_signal_that_came_while_somebody_listened_does_not_end_the_process", &[], || {
            squall::run(async {
                for _ in 0..20 {
                    let listener = signal(SignalKind::USER_1).unwrap();
                    // To this very thread, so it has come when this returns.
                    // SAFETY: no pointer is passed.
                    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
                    drop(listener);
                }
                sleep(Duration::from_millis(100)).await;
            });
        });
    ended.iter().for_each(trace::check);
}

#[test]
fn a_child_that_listens_to_nothing_can_be_ended() {
    let ended = trace::alone("a_child_that_listens_to_nothing_can_be_ended", &[], || {
        let _listener = signal(SignalKind::TERMINATE).unwrap();
        let status = in_child(|| {
            send(SignalKind::TERMINATE);
            std::thread::sleep(SECOND);
            7
        });
        assert!(
            libc::WIFSIGNALED(status),
            "SIGTERM did nothing to the child, which went on and exited with {}",
            libc::WEXITSTATUS(status)
        );
    });
    ended.iter().for_each(trace::check);
}

#[test]
fn a_listener_hears_nothing_of_before_a_child_listened() {
    let ended = trace::alone("a_listener_hears_nothing_of_before_a_child_listened", &[], || {
        // One that does nothing to a process in which nobody listens.
        let kind = SignalKind::WINDOW_CHANGE;
        let _listener = signal(kind).unwrap();
        let status = in_child(|| {
            for _ in 0..5 {
                send(kind);
            }
            squall::run(async {
                let mut listener = signal(kind).unwrap();
                send(kind);
                let mut heard = 0;
                while timeout(SECOND / 4, listener.recv()).await.is_ok() {
                    heard += 1;
                }
                heard
            })
        });
        assert_eq!((libc::WIFSIGNALED(status), libc::WEXITSTATUS(status)), (false, 1));
    });
    ended.iter().for_each(trace::check);
}

#[test]
fn faults_of_the_processor_are_refused() {
    for number in [libc::SIGBUS, libc::SIGSEGV, libc::SIGFPE, libc::SIGILL] {
        assert!(signal(SignalKind::from_raw(number)).is_err(), "signal {number}");
    }
}

#[test]
fn a_thread_that_blocks_a_signal_takes_its_default_from_nobody() {
    let ended = trace::alone("a_thread_that_blocks_a_signal_takes_its_default_from_nobody", &[], || {
        // It takes every signal.
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
        // SAFETY: the set lives through the calls.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        drop(signal(SignalKind::TERMINATE).unwrap());
        send(SignalKind::TERMINATE);
        std::thread::sleep(SECOND);
    });
    if let Some(ended) = ended {
        assert_eq!(ended.status.signal(), Some(libc::SIGTERM), "{ended:?}");
    }
}

#[test]
fn a_child_forked_while_others_begin_to_listen_is_not_stuck() {
    let ended = trace::alone("a_child_forked_while_others_begin_to_listen_is_not_stuck", &[], || {
        let (begun, have_begun) = std::sync::mpsc::channel();
        for _ in 0..2 {
            let begun = begun.clone();
            std::thread::spawn(move || {
                loop {
                    drop(signal(SignalKind::USER_1).unwrap());
                    let _ = begun.send(());
                }
            });
        }
        (0..20).for_each(|_| have_begun.recv().unwrap());
        // Nobody counts any more, so the two do nothing but listen and leave.
        drop(have_begun);
        for _ in 0..50 {
            let status = in_child(|| {
                // SAFETY: no pointer is passed; who is stuck is ended by the alarm.
                unsafe { libc::alarm(2) };
                drop(signal(SignalKind::USER_2));
                0
            });
            assert!(!libc::WIFSIGNALED(status), "it was stuck");
        }
    });
    ended.iter().for_each(trace::check);
}

#[test]
fn listeners_come_and_go_while_signals_rain() {
    let kind = SignalKind::from_raw(libc::SIGRTMIN() + 12);
    // For good: a signal that is still under way when the last listener leaves would end the process, as it should.
    std::mem::forget(signal(kind).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                squall::run(async {
                    for n in 0..200 {
                        let mut listener = signal(kind).unwrap();
                        send(kind);
                        if n % 2 == 0 {
                            timeout(30 * SECOND, listener.recv()).await.expect("it is told");
                        }
                    }
                })
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
