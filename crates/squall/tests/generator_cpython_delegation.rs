//! What CPython's `test_yield_from.py` checks and no other test here does: whole traces of who runs when, as two bodies delegate. The table of all its tests
//! is in `python/cpython_tests.md`.

mod trace;

use squall::generator::{Co, Generator, Raised, ResumeError, Step};
use std::rc::Rc;
use trace::{Trace, panic_of};

use Step::{Returned, Yielded};

/// Yields texts, is sent numbers, raises texts.
type Talk<'a, R = ()> = Generator<'a, &'static str, u32, R, &'static str>;
type TalkCo<'a> = Co<'a, &'static str, u32, &'static str>;

/// Says so when its body begins and when it ends.
fn begins(name: &'static str, trace: &Trace) -> impl Drop + use<> {
    trace.say(format!("{name} begins"));
    trace.at_drop(&format!("{name} ends"))
}

#[derive(Clone, Copy, PartialEq)]
enum Inner {
    Plain,
    RaisesAtOnce,
    RaisesAfterOne,
    RaisesUponClose,
    CatchesAndGoesOn,
    ReturnsUponClose,
    YieldsUponClose,
}

fn inner<'a>(kind: Inner, trace: &Trace) -> Talk<'a, u32> {
    let says = trace.clone();
    Generator::new(async move |co: &TalkCo<'a>| {
        let _life = begins("inner", &says);
        if kind == Inner::RaisesAtOnce {
            match co.raise("at once").await {}
        }
        match co.try_yield("inner first").await {
            Ok(sent) => says.say(format!("inner got {sent}")),
            Err(Raised::Thrown(thrown)) if kind == Inner::CatchesAndGoesOn => {
                says.say(format!("inner caught {thrown}"));
                co.yield_("inner saved").await;
                return 70;
            }
            Err(Raised::Thrown(thrown)) => match co.raise(thrown).await {},
            Err(Raised::Closed) => match kind {
                Inner::RaisesUponClose => match co.raise("upon close").await {},
                Inner::YieldsUponClose => _ = co.yield_("upon close").await,
                _ => return 71,
            },
        }
        if kind == Inner::RaisesAfterOne {
            match co.raise("after one").await {}
        }
        let sent = co.yield_("inner second").await;
        says.say(format!("inner got {sent}"));
        7
    })
}

fn outer<'a>(kind: Inner, trace: &Trace) -> Talk<'a, u32> {
    let says = trace.clone();
    Generator::new(async move |co: &TalkCo<'a>| {
        let _life = begins("outer", &says);
        let sent = co.yield_("outer first").await;
        says.say(format!("outer got {sent}"));
        let value = co.yield_from(inner(kind, &says)).await;
        says.say(format!("inner gave {value}"));
        let sent = co.yield_("outer second").await;
        says.say(format!("outer got {sent}"));
        value + 1
    })
}

/// Sends 1, 2, 3 … and says what came.
fn send_all(talk: &mut Talk<'_, u32>, trace: &Trace) -> Result<u32, &'static str> {
    let mut step = talk.start();
    for n in 1.. {
        match step {
            Ok(Yielded(text)) => trace.say(format!("came {text}")),
            Ok(Returned(value)) => return Ok(value),
            Err(ResumeError::Thrown(thrown)) => return Err(thrown),
            Err(error) => panic!("{error:?}"),
        }
        step = talk.send(n);
    }
    unreachable!()
}

const UP_TO_THE_DELEGATE: [&str; 5] =
    ["outer begins", "came outer first", "outer got 1", "inner begins", "came inner first"];

fn after<const N: usize>(begin: &[&str], rest: [&str; N]) -> Vec<String> {
    begin.iter().copied().chain(rest).map(String::from).collect()
}

#[test]
fn values_that_are_sent_and_yielded_pass_by_the_outer_body() {
    let trace = Trace::default();
    assert_eq!(send_all(&mut outer(Inner::Plain, &trace), &trace), Ok(8));
    let rest = [
        "inner got 2",
        "came inner second",
        "inner got 3",
        "inner ends",
        "inner gave 7",
        "came outer second",
        "outer got 4",
        "outer ends",
    ];
    assert_eq!(trace.take(), after(&UP_TO_THE_DELEGATE, rest));
}

#[test]
fn a_delegate_that_raises_ends_itself_then_its_outer_then_the_call() {
    let trace = Trace::default();
    assert_eq!(send_all(&mut outer(Inner::RaisesAfterOne, &trace), &trace), Err("after one"));
    assert_eq!(trace.take(), after(&UP_TO_THE_DELEGATE, ["inner got 2", "inner ends", "outer ends"]));
}

#[test]
fn a_delegate_that_raises_in_its_first_step_does_so_too() {
    let trace = Trace::default();
    assert_eq!(send_all(&mut outer(Inner::RaisesAtOnce, &trace), &trace), Err("at once"));
    assert_eq!(trace.take(), after(&UP_TO_THE_DELEGATE[..4], ["inner ends", "outer ends"]));
}

/// An outer one that waits behind its delegate.
fn delegating<'a>(kind: Inner, trace: &Trace) -> Talk<'a, u32> {
    let mut talk = outer(kind, trace);
    assert_eq!(talk.start(), Ok(Yielded("outer first")));
    assert_eq!(talk.send(1), Ok(Yielded("inner first")));
    assert_eq!(trace.take(), ["outer begins", "outer got 1", "inner begins"]);
    talk
}

#[test]
fn what_is_thrown_comes_to_the_delegate_and_ends_both_inner_first() {
    let trace = Trace::default();
    let mut talk = delegating(Inner::Plain, &trace);
    assert_eq!(talk.throw("out"), Err(ResumeError::Thrown("out")));
    assert_eq!(trace.take(), ["inner ends", "outer ends"]);
    assert_eq!(talk.send(2), Err(ResumeError::Finished));
}

#[test]
fn a_delegate_that_catches_goes_on_and_its_value_is_its_outers() {
    let trace = Trace::default();
    let mut talk = delegating(Inner::CatchesAndGoesOn, &trace);
    assert_eq!(talk.throw("lunch"), Ok(Yielded("inner saved")));
    assert_eq!(talk.send(5), Ok(Yielded("outer second")));
    assert_eq!(talk.send(6), Ok(Returned(71)));
    let whole = ["inner caught lunch", "inner ends", "inner gave 70", "outer got 6", "outer ends"];
    assert_eq!(trace.take(), whole);
}

#[test]
fn a_close_comes_to_the_delegate_first_and_ends_its_outer_whatever_that_returns() {
    let trace = Trace::default();
    for kind in [Inner::Plain, Inner::ReturnsUponClose] {
        let mut talk = delegating(kind, &trace);
        assert_eq!(talk.close(), Ok(None));
        assert_eq!(trace.take(), ["inner ends", "outer ends"]);
    }
}

#[test]
fn what_a_delegate_raises_upon_close_is_what_the_close_gives() {
    let trace = Trace::default();
    let mut talk = delegating(Inner::RaisesUponClose, &trace);
    assert_eq!(talk.close(), Err(ResumeError::Thrown("upon close")));
    assert_eq!(trace.take(), ["inner ends", "outer ends"]);
    assert_eq!(talk.close(), Ok(None));
}

/// Where this differs from CPython, which ends the outer one with its `RuntimeError`.
#[test]
fn a_delegate_that_ignores_the_exit_leaves_the_whole_chain_waiting() {
    let trace = Trace::default();
    let mut talk = delegating(Inner::YieldsUponClose, &trace);
    assert_eq!(talk.close(), Err(ResumeError::IgnoredExit));
    assert!(trace.take().is_empty() && !talk.is_finished());
    assert_eq!(talk.send(3), Ok(Yielded("inner second")));
    assert_eq!(talk.close(), Ok(None));
    assert_eq!(trace.take(), ["inner ends", "outer ends"]);
}

#[test]
fn delegates_in_turn_give_each_its_own_value_whatever_its_type() {
    fn gives<'a, R: 'a>(value: R) -> Generator<'a, u32, (), R> {
        Generator::new(async move |co: &Co<'a, u32>| {
            co.yield_(1).await;
            co.yield_(2).await;
            value
        })
    }
    let mut outer: Generator<'_, u32, (), String> = Generator::new(async |co| {
        let none = co.yield_from(gives(None::<u32>)).await;
        let one = co.yield_from(gives(1)).await;
        let tuple = co.yield_from(gives((2,))).await;
        let step = co.yield_from(gives(Step::<u32, Box<u32>>::Returned(Box::new(3)))).await;
        format!("{none:?} {one} {tuple:?} {step:?}")
    });
    assert_eq!(outer.by_ref().take(8).collect::<Vec<_>>(), [1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(outer.resume(), Ok(Returned("None 1 (2,) Returned(3)".into())));
}

/// A value that only the generator counts for, once it is returned.
#[test]
fn a_delegates_value_that_nobody_takes_is_dropped_once() {
    let shared = Rc::new(());
    let value = shared.clone();
    let outer: Generator<'_, u32> = Generator::new(async move |co| {
        let delegate: Generator<'_, u32, (), Rc<()>> = Generator::new(async move |co| {
            co.yield_(1).await;
            value
        });
        co.yield_from(delegate).await;
    });
    assert_eq!(outer.collect::<Vec<_>>(), [1]);
    assert_eq!(Rc::strong_count(&shared), 1);
}

#[test]
fn a_delegate_that_yields_nothing_is_passed_over() {
    let empty = || Generator::<'_, u32, (), u32>::new(async |_| 5);
    let mut outer: Generator<'_, u32, (), u32> =
        Generator::new(async |co| co.yield_from(empty()).await + co.yield_from(empty()).await);
    assert_eq!(outer.resume(), Ok(Returned(10)));
}

/// Python's `yield from` takes any iterable; here a loop says it.
#[test]
fn an_iterator_is_yielded_by_a_loop_and_is_dropped_with_the_body() {
    let trace = Trace::default();
    let held = trace.at_drop("iterator dropped");
    let make = |held| {
        Generator::<'_, u32, (), (), &str>::new(async move |co| {
            let numbers = (0..3).inspect(move |_| _ = &held);
            for n in numbers {
                co.yield_(n).await;
            }
        })
    };
    let mut generator = make(held);
    assert_eq!(generator.resume(), Ok(Yielded(0)));
    assert_eq!(generator.resume(), Ok(Yielded(1)));
    assert_eq!(generator.throw("out"), Err(ResumeError::Thrown("out")));
    assert_eq!(trace.take(), ["iterator dropped"]);
    let mut closed = make(trace.at_drop("iterator dropped"));
    closed.resume().unwrap();
    assert_eq!(closed.close(), Ok(None));
    assert_eq!(trace.take(), ["iterator dropped"]);
}

/// A loop of delegates would need a generator that owns itself; by a shared cell it is found out when it runs.
#[test]
fn a_delegate_that_resumes_its_own_outer_is_refused_by_the_cell_they_share() {
    use std::cell::RefCell;
    let own: Rc<RefCell<Option<Talk<'static>>>> = Rc::default();
    let (reaches, trace) = (own.clone(), Trace::default());
    let says = trace.clone();
    *own.borrow_mut() = Some(Generator::new(async move |co| {
        co.yield_("outer").await;
        let delegate: Talk<'static> = Generator::new(async move |co: &TalkCo<'static>| {
            let _life = begins("inner", &says);
            co.yield_("inner").await;
            _ = reaches.borrow_mut().as_mut().unwrap().resume();
        });
        co.yield_from(delegate).await;
    }));
    let resume = || own.borrow_mut().as_mut().unwrap().resume();
    assert_eq!(resume(), Ok(Yielded("outer")));
    assert_eq!(resume(), Ok(Yielded("inner")));
    let text = panic_of(resume);
    assert!(text.contains("already"), "{text}");
    assert_eq!(trace.take(), ["inner begins", "inner ends"]);
    assert_eq!(resume(), Err(ResumeError::Finished));
}

/// The order of ownership may be anything: the outermost made last, the innermost first started.
#[test]
fn a_chain_that_was_made_inside_out_is_dropped_inside_out() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut middle: Talk<'_, u32> = Generator::new(async move |co| {
        let _life = begins("middle", &says);
        co.yield_("middle first").await;
        co.yield_from(inner(Inner::Plain, &says)).await
    });
    assert_eq!(middle.start(), Ok(Yielded("middle first")));
    let says = trace.clone();
    let mut outer: Talk<'_, u32> = Generator::new(async move |co| {
        let _life = begins("outer", &says);
        co.resume_from(middle, 1).await
    });
    assert_eq!(outer.start(), Ok(Yielded("inner first")));
    drop(outer);
    let whole = ["middle begins", "outer begins", "inner begins", "inner ends", "middle ends", "outer ends"];
    assert_eq!(trace.take(), whole);
}
