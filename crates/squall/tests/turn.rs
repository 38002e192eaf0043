//! The order of a turn, and what may take turns with what. A loop is stepped by hand here, so every trace shows where a turn ends.

mod trace;

use squall::io::Source;
use squall::time::sleep;
use squall::{LoopHandle, spawn, yield_now};
use std::io::Write;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use trace::{Gate, Trace, at_drop, panic_of, virtual_loop};

/// Takes turns until nothing is ready; each begins with a line that says how many polls it made.
fn turns(event_loop: &squall::EventLoop, trace: &Trace) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let polls = event_loop.turn();
        let said = trace.take();
        if polls == 0 && said.is_empty() {
            return all;
        }
        all.push(format!("turn of {polls}"));
        all.extend(said);
    }
}

#[test]
fn a_turn_runs_exactly_the_tasks_that_were_ready_when_it_began() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    for name in ["a", "b"] {
        let trace = trace.clone();
        drop(event_loop.spawn(async move {
            trace.say(format!("{name} spawns"));
            let child = trace.clone();
            drop(spawn(async move { child.say(format!("child of {name}")) }));
            yield_now().await;
            trace.say(format!("{name} again"));
        }));
    }
    let expected =
        ["turn of 2", "a spawns", "b spawns", "turn of 4", "child of a", "a again", "child of b", "b again"];
    assert_eq!(turns(&event_loop, &trace), expected);
}

#[test]
fn tasks_run_in_the_order_of_their_wakes_and_once_however_often_they_are_woken() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let gates: Vec<Gate> = (0..4).map(|_| Gate::default()).collect();
    for (n, gate) in gates.iter().enumerate() {
        let (gate, trace) = (gate.clone(), trace.clone());
        drop(event_loop.spawn(async move {
            gate.wait().await;
            trace.say(format!("{n}"));
        }));
    }
    let waking = gates.clone();
    drop(event_loop.spawn(async move {
        for n in [2, 0, 3, 0, 1, 2] {
            waking[n].open();
        }
    }));
    assert_eq!(turns(&event_loop, &trace), ["turn of 5", "turn of 4", "2", "0", "3", "1"]);
}

#[test]
fn a_task_that_wakes_itself_runs_again_next_turn_after_those_woken_before_it() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let gate = Gate::default();
    let (said, first) = (trace.clone(), gate.clone());
    drop(event_loop.spawn(async move {
        first.wait().await;
        said.say("woken");
    }));
    let said = trace.clone();
    drop(event_loop.spawn(async move {
        gate.open();
        yield_now().await;
        said.say("yielded");
    }));
    assert_eq!(turns(&event_loop, &trace), ["turn of 2", "turn of 2", "woken", "yielded"]);
}

#[test]
fn the_inbox_is_taken_first_and_what_it_wakes_stands_behind_what_was_ready() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let gate = Gate::default();
    let (said, waiting) = (trace.clone(), gate.clone());
    drop(event_loop.spawn(async move {
        waiting.wait().await;
        said.say("woken from afar");
    }));
    assert_eq!(turns(&event_loop, &trace), ["turn of 1"]);

    let said = trace.clone();
    drop(event_loop.spawn(async move { said.say("was ready") }));
    let (handle, said) = (event_loop.handle(), trace.clone());
    thread::spawn(move || {
        let remote = handle.spawn(move || {
            said.say("the inbox");
            async move { said.say("spawned from afar") }
        });
        drop(remote);
        gate.open();
    })
    .join()
    .unwrap();
    let expected = ["turn of 3", "the inbox", "was ready", "woken from afar", "spawned from afar"];
    assert_eq!(turns(&event_loop, &trace), expected);
}

#[test]
fn a_task_aborted_before_its_turn_came_is_not_polled_and_not_counted() {
    let (event_loop, trace) = (virtual_loop(), Trace::default());
    let late = Rc::new(std::cell::OnceCell::<squall::JoinHandle<()>>::new());
    let (said, aborted) = (trace.clone(), late.clone());
    drop(event_loop.spawn(async move {
        said.say("aborts");
        aborted.get().unwrap().abort();
    }));
    let said = trace.clone();
    late.set(event_loop.spawn(async move { said.say("too late") })).unwrap();
    let held = trace.at_drop("dropped");
    let victim = event_loop.spawn(async move {
        let _held = held;
        yield_now().await;
    });
    victim.abort();
    assert_eq!(turns(&event_loop, &trace), ["turn of 1", "dropped", "aborts"]);
}

#[test]
fn timers_fire_by_deadline_and_equal_ones_first_come_first_served() {
    let trace = Trace::default();
    let said = trace.clone();
    trace::impatient()
        .run(async move {
            let tasks: Vec<_> = [(1, 30), (2, 20), (3, 30), (4, 10), (5, 20), (6, 20), (7, 30)]
                .into_iter()
                .map(|(n, ms)| {
                    let said = said.clone();
                    spawn(async move {
                        sleep(Duration::from_millis(ms)).await;
                        said.say(format!("{n} at {ms}"));
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    let expected = ["4 at 10", "2 at 20", "5 at 20", "6 at 20", "1 at 30", "3 at 30", "7 at 30"];
    assert_eq!(trace.take(), expected);
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn what_the_driver_says_comes_before_the_timers_of_the_same_turn() {
    let trace = Trace::default();
    let said = trace.clone();
    squall::run(async move {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = Source::new(reader).unwrap();
        let sleeper = said.clone();
        let sleeper = spawn(async move {
            sleep(Duration::from_nanos(1)).await;
            sleeper.say("timer");
        });
        let waiter = spawn(async move {
            reader.readable().await.unwrap();
            said.say("driver");
        });
        drop(spawn(async move { writer.write_all(b"x").unwrap() }));
        sleeper.await.unwrap();
        waiter.await.unwrap();
    });
    assert_eq!(trace.take(), ["driver", "timer"]);
}

#[test]
fn two_loops_on_one_thread_take_turns_and_each_is_the_current_one_in_its_own() {
    let (a, b, trace) = (virtual_loop(), virtual_loop(), Trace::default());
    for (name, event_loop) in [("a", &a), ("b", &b)] {
        let (said, home) = (trace.clone(), event_loop.handle());
        drop(event_loop.spawn(async move {
            for n in 1..=3 {
                assert_eq!(LoopHandle::current(), home);
                said.say(format!("{name}{n}"));
                yield_now().await;
            }
        }));
    }
    assert_eq!(LoopHandle::try_current(), None);
    assert_eq!((a.turn(), b.turn(), b.turn(), a.turn(), a.turn(), b.turn()), (1, 1, 1, 1, 1, 1));
    assert_eq!(trace.take(), ["a1", "b1", "b2", "a2", "a3", "b3"]);
    assert_eq!(LoopHandle::try_current(), None);
}

#[test]
fn a_task_may_take_a_turn_of_another_loop_and_wake_across() {
    let (outer, inner, trace) = (virtual_loop(), Rc::new(virtual_loop()), Trace::default());
    let (there, here) = (Gate::default(), Gate::default());
    let (said, gate, answer) = (trace.clone(), there.clone(), here.clone());
    let far = inner.spawn(async move {
        said.say(format!("inner, task {}", squall::spawn(async {}).id()));
        gate.wait().await;
        said.say("inner woken");
        answer.open();
    });
    let (said, home, turned) = (trace.clone(), outer.handle(), inner.clone());
    drop(outer.spawn(async move {
        said.say(format!("{} polls inside", turned.turn()));
        assert_eq!(LoopHandle::current(), home);
        there.open();
        said.say(format!("{} polls inside", turned.turn()));
        here.wait().await;
        said.say(format!("outer woken, task {}", squall::spawn(async {}).id()));
    }));
    let expected = [
        "turn of 1",
        "inner, task 2",
        "1 polls inside",
        "inner woken",
        "2 polls inside",
        "outer woken, task 2",
        "turn of 1",
    ];
    assert_eq!(turns(&outer, &trace), expected);
    assert!(far.is_finished());
}

const REFUSED: &str =
    "this event loop is in a turn already: a task cannot turn the loop it runs on; await instead";

#[test]
fn a_turn_inside_a_turn_of_the_same_loop_is_refused_and_the_outer_one_goes_on() {
    let (event_loop, other, trace) = (Rc::new(virtual_loop()), virtual_loop(), Trace::default());
    let (said, same) = (trace.clone(), event_loop.clone());
    drop(event_loop.spawn(async move {
        for _ in 0..2 {
            assert_eq!(panic_of(|| same.turn()), REFUSED);
            assert_eq!(panic_of(|| same.wait_turn()), REFUSED);
            assert_eq!(panic_of(|| same.run_until(async {})), REFUSED);
            // Not through a turn of another loop either.
            let through = same.clone();
            let refused = other.spawn(async move { assert_eq!(panic_of(|| through.turn()), REFUSED) });
            other.run_until(refused).unwrap();
            yield_now().await;
        }
        said.say("went on");
    }));
    let said = trace.clone();
    drop(event_loop.spawn(async move { said.say("the next task") }));
    assert_eq!(
        turns(&event_loop, &trace),
        ["turn of 2", "the next task", "turn of 1", "turn of 1", "went on"]
    );
}

#[test]
fn a_destructor_may_take_a_turn_of_a_loop_that_is_not_in_one() {
    let (event_loop, trace) = (Rc::new(virtual_loop()), Trace::default());
    let said = trace.clone();
    drop(event_loop.spawn(async move { said.say("a task") }));
    let (turned, said) = (event_loop.clone(), trace.clone());
    let output =
        event_loop.run_until(async move { at_drop(move || said.say(format!("{} polls", turned.turn()))) });
    assert_eq!(trace.take(), ["a task"]);
    let said = trace.clone();
    drop(event_loop.spawn(async move { said.say("a later task") }));
    drop(output);
    assert_eq!(trace.take(), ["a later task", "1 polls"]);
}
