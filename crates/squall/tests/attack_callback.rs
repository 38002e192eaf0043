//! Attacks on callbacks with safe programs: spurious wakes, panics in the middle of a batch, re-entrant destructors, sockets that tasks and callbacks
//! share.

mod trace;

use futures::AsyncReadExt;
use squall::callback::{
    Scheduled, add_reader, add_writer, call_every, call_later, call_soon, remove_reader, remove_writer,
};
use squall::net::{TcpListener, TcpStream};
use squall::time::{Instant, sleep, timeout};
use squall::{Builder, CallbackPanics, EventLoop, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use trace::{Gate, Trace, at_drop, panic_of, settle, virtual_loop};

const SECOND: Duration = Duration::from_secs(1);

fn ends_run() -> EventLoop {
    Builder::new()
        .virtual_time()
        .deadlock_patience(Duration::ZERO)
        .callback_panics(CallbackPanics::EndRun)
        .build()
        .unwrap()
}

fn turn_panics(event_loop: &EventLoop) -> bool {
    catch_unwind(AssertUnwindSafe(|| event_loop.turn())).is_err()
}

// --- timers and wakes ----------------------------------------------------------------------------------------------

#[test]
fn a_wake_that_was_meant_for_an_earlier_task_of_the_slot_calls_no_timer_callback() {
    virtual_loop().run_until(async {
        let gate = Gate::default();
        let task = spawn(gate.wait());
        yield_now().await;
        // Another thread wakes the task, and before the loop has taken that in, the task is gone and a callback has its slot.
        let waker = gate.waker().unwrap();
        std::thread::spawn(move || waker.wake()).join().unwrap();
        task.abort();
        drop(task);
        let start = Instant::now();
        let called = Rc::new(Cell::new(None));
        let calls = called.clone();
        let scheduled = call_later(3600 * SECOND, move || calls.set(Some(start.elapsed())));
        sleep(SECOND).await;
        assert_eq!((called.get(), scheduled.is_pending()), (None, true), "called after a second");
        sleep(3600 * SECOND).await;
        assert_eq!(called.get(), Some(3600 * SECOND));
    });
}

// --- panics that end the run -----------------------------------------------------------------------------------------

#[test]
fn a_panic_that_ends_the_run_after_cancelled_callbacks_leaves_the_counts_right() {
    let event_loop = ends_run();
    drop(event_loop.spawn(async {
        for _ in 0..3 {
            call_soon(|| {}).cancel();
        }
        call_soon(|| panic!("as tested"));
        call_soon(|| {});
    }));
    assert_eq!(event_loop.turn(), 1);
    assert_eq!(panic_of(|| event_loop.turn()), "as tested");
    assert_eq!(event_loop.turn(), 1, "the last callback");
    assert!(format!("{event_loop:?}").contains("polls"));
}

#[test]
fn a_chain_of_panicking_callbacks_starves_no_timer() {
    fn again() {
        call_soon(again);
        panic!("as tested");
    }
    std::panic::set_hook(Box::new(|_| {}));
    let event_loop = ends_run();
    let fired = Rc::new(Cell::new(false));
    let fires = fired.clone();
    drop(event_loop.spawn(async move {
        call_later(Duration::ZERO, move || fires.set(true));
        call_soon(again);
    }));
    for _ in 0..if cfg!(miri) { 200 } else { 5000 } {
        if fired.get() {
            break;
        }
        turn_panics(&event_loop);
    }
    let _ = std::panic::take_hook();
    assert!(fired.get(), "a timer that is due waits for ever");
}

#[test]
fn a_panic_of_a_nested_loop_reaches_only_whoever_turns_it() {
    let (outer, trace) = (ends_run(), Trace::default());
    let says = trace.clone();
    drop(outer.spawn(async move {
        let inner_says = says.clone();
        call_soon(move || {
            let inner = ends_run();
            drop(inner.spawn(async move {
                let held = inner_says.at_drop("dropped with the inner loop");
                call_soon(|| panic!("inner"));
                call_soon(move || drop(held));
                call_later(SECOND, || unreachable!());
            }));
            inner.turn();
            inner.turn();
        });
        call_soon(move || says.say("the outer loop goes on"));
    }));
    outer.turn();
    assert_eq!(panic_of(|| outer.turn()), "inner");
    assert_eq!(trace.take(), ["dropped with the inner loop"]);
    settle(&outer);
    assert_eq!(trace.take(), ["the outer loop goes on"]);
    // The thread is outside of all loops again.
    assert!(squall::LoopHandle::try_current().is_none());
}

#[test]
fn the_main_future_is_gone_when_a_panic_ends_the_run_of_a_loop_whose_main_has_just_ended() {
    let event_loop = ends_run();
    for main_panics in [false, true] {
        let (local, trace) = (Cell::new(0), Trace::default());
        let says = trace.clone();
        let panic = panic_of(|| {
            event_loop.run_until(async {
                let local = &local;
                let held = says.at_drop("output dropped");
                // Main stands in the line before the callback, so it has ended when that panics.
                let mut is_first = true;
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if std::mem::take(&mut is_first) {
                        call_soon(|| panic!("the callback"));
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                })
                .await;
                local.set(1);
                assert!(!main_panics, "the main future");
                (local, held)
            });
        });
        assert_eq!(panic, "the callback");
        assert_eq!((local.get(), trace.take()), (1, vec!["output dropped".to_string()]));
    }
    assert_eq!(event_loop.tasks(), 0);
    event_loop.run_until(yield_now());
}

// --- destructors and the queue ---------------------------------------------------------------------------------------

#[test]
fn destructors_of_cancelled_callbacks_turn_and_drop_other_loops_and_cancel_during_teardown() {
    let trace = Trace::default();
    let event_loop = virtual_loop();
    let names: Rc<RefCell<Vec<Scheduled>>> = Rc::default();
    let (all, says) = (names.clone(), trace.clone());
    event_loop.run_until(async move {
        for n in 0..20_u32 {
            let (all_, says_) = (all.clone(), says.clone());
            let held = at_drop(move || {
                let names = all_.borrow().clone();
                names.iter().for_each(Scheduled::cancel);
                let other = virtual_loop();
                let inner = says_.at_drop(&format!("inner {n}"));
                drop(other.spawn(async move {
                    names.iter().for_each(Scheduled::cancel);
                    call_soon(move || drop(inner));
                }));
                other.turn();
                drop(other);
                drop(spawn(async {}));
                assert!(n % 3 > 0, "as tested");
            });
            let mut held = Some(held);
            let name = match n % 4 {
                0 => call_soon(move || drop(held.take())),
                1 => call_later(SECOND, move || drop(held.take())),
                2 => call_every(SECOND, move || drop(held.take())),
                _ => {
                    drop(spawn(async move {
                        let _held = held;
                        pending::<()>().await;
                    }));
                    continue;
                }
            };
            all.borrow_mut().push(name);
        }
    });
    drop(event_loop);
    let mut said = trace.take();
    said.sort();
    said.dedup();
    assert_eq!(said.len(), 20, "{said:?}");
}

#[test]
fn closures_of_every_shape_keep_their_order_while_the_table_grows() {
    #[repr(align(256))]
    #[derive(Clone, Copy)]
    struct Aligned(u32);
    #[derive(Clone, Copy)]
    struct Nothing;
    let order = Rc::new(RefCell::new(Vec::new()));
    let (says, most) = (order.clone(), if cfg!(miri) { 300_u32 } else { 20_000 });
    virtual_loop().run_until(async move {
        let mut tasks = Vec::new();
        let mut cancelled = Vec::new();
        for n in 0..most {
            let says = says.clone();
            match n % 6 {
                0 => _ = call_soon(move || says.borrow_mut().push(n)),
                1 => {
                    let aligned = Aligned(n);
                    call_soon(move || {
                        let aligned = &aligned;
                        assert_eq!(&raw const *aligned as usize % 256, 0);
                        says.borrow_mut().push(aligned.0);
                    });
                }
                2 => {
                    let large = [u64::from(n); 40];
                    call_soon(move || says.borrow_mut().push(large.iter().sum::<u64>() as u32 / 40));
                }
                3 => tasks.push(spawn(async move { says.borrow_mut().push(n) })),
                4 => {
                    let nothing = Nothing;
                    call_soon(move || _ = (nothing, says.borrow_mut().push(n)));
                }
                _ => cancelled.push(call_soon(move || says.borrow_mut().push(n))),
            }
        }
        cancelled.iter().for_each(Scheduled::cancel);
        yield_now().await;
        yield_now().await;
    });
    let expected: Vec<_> = (0..most).filter(|n| n % 6 < 5).collect();
    assert_eq!(*order.borrow(), expected);
}

// --- sockets ---------------------------------------------------------------------------------------------------------

async fn pair() -> (Rc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (Rc::new(server), client)
}

#[cfg(not(miri))]
#[squall::test(real)]
async fn a_task_that_waits_in_poll_read_is_not_forgotten_when_a_reader_takes_its_turn() {
    let (stream, client) = pair().await;
    let reading = stream.clone();
    let task = spawn(async move { AsyncReadExt::read(&mut &*reading, &mut [0; 8]).await });
    sleep(Duration::from_millis(5)).await;
    let added = squall::callback::try_add_reader(&stream, |_| {});
    if added.is_ok() {
        remove_reader(&stream);
    }
    client.write_all(b"x").await.unwrap();
    let read = timeout(5 * SECOND, task).await;
    assert!(read.is_ok(), "neither data nor an error reached the task (added: {})", added.is_ok());
}

#[cfg(not(miri))]
#[squall::test(real)]
async fn a_reader_that_replaces_itself_removes_another_and_panics_leaves_the_new_one() {
    let (stream, client) = pair().await;
    let trace = Trace::default();
    let says = trace.clone();
    add_writer(&stream, move |stream| {
        let says = says.clone();
        add_reader(stream, move |stream| {
            says.say("old");
            let says = says.clone();
            add_reader(stream, move |stream| {
                says.say(format!("new {}", stream.try_read(&mut [0; 8]).unwrap()));
                remove_reader(stream);
                squall::stop();
                panic!("as tested");
            });
            remove_writer(stream);
            virtual_loop().run_until(yield_now());
            panic!("as tested");
        });
        remove_writer(stream);
        panic!("as tested");
    });
    client.write_all(b"abc").await.unwrap();
    timeout(5 * SECOND, squall::stopping()).await.expect("the new one is called");
    yield_now().await;
    assert_eq!((trace.take(), Rc::strong_count(&stream)), (vec!["old".into(), "new 3".into()], 1));
    assert!(!remove_reader(&stream) && !remove_writer(&stream));
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

// A model of how much lies in each socket: who is registered is called again and again if there is anything, and else not at all.
#[cfg(not(miri))]
#[squall::test(real, allow_leaks)]
async fn readers_are_level_triggered_whoever_else_reads_and_however() {
    for seed in 1..20_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut sockets = Vec::new();
        for _ in 0..4 {
            let (stream, client) = pair().await;
            sockets.push((
                stream,
                client,
                Rc::new(Cell::new(0)),
                Rc::new(Cell::new(0)),
                Rc::new(Cell::new(false)),
            ));
        }
        for _ in 0..100 {
            let (stream, client, lies, calls, is_on) = &sockets[random.below(4) as usize];
            let (kind, size) = (random.below(5), 1 + random.below(30) as usize);
            match random.below(8) {
                0 | 1 => {
                    client.write_all(&vec![1; size]).await.unwrap();
                    lies.set(lies.get() + size);
                    sleep(Duration::from_micros(300)).await;
                }
                2 | 3 => {
                    is_on.set(true);
                    let (lies, calls, is_on) = (lies.clone(), calls.clone(), is_on.clone());
                    add_reader(stream, move |stream| {
                        calls.set(calls.get() + 1);
                        let mut into = vec![0; size];
                        let take = |n: usize| lies.set(lies.get() - n);
                        match kind {
                            0 => take(stream.try_read(&mut into).unwrap_or(0)),
                            1 => {
                                let (fd, at) = (stream.as_fd().as_raw_fd(), into.as_mut_ptr().cast());
                                // SAFETY: the buffer is that long. The loop does not learn of this read.
                                take(unsafe { libc::recv(fd, at, size, libc::MSG_DONTWAIT) }.max(0) as usize);
                            }
                            2 => is_on.set(!remove_reader(stream)),
                            3 => take(
                                stream.try_recv().map_or(0, |chunk| chunk.map_or(0, |chunk| chunk.len())),
                            ),
                            _ => {
                                take(stream.try_read(&mut into[..1]).unwrap_or(0));
                                is_on.set(calls.get() % 3 > 0);
                                assert!(is_on.get(), "as tested");
                            }
                        }
                    });
                }
                4 => assert_eq!(remove_reader(stream), is_on.replace(false)),
                5 => lies.set(lies.get() - stream.try_read(&mut [0; 16]).unwrap_or(0)),
                6 if !is_on.get() => {
                    let read = timeout(Duration::from_micros(500), stream.read(&mut [0; 8])).await;
                    lies.set(lies.get() - read.map_or(0, Result::unwrap));
                }
                _ => {
                    for _ in 0..200 {
                        yield_now().await;
                    }
                    let before: Vec<_> =
                        sockets.iter().map(|s| (s.3.get(), s.4.get() && s.2.get() > 0)).collect();
                    for _ in 0..50 {
                        yield_now().await;
                    }
                    for ((calls, is_due), socket) in before.into_iter().zip(&sockets) {
                        assert_eq!(socket.3.get() > calls, is_due, "seed {seed}: {calls} calls before");
                    }
                }
            }
        }
    }
}
