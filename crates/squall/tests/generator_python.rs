//! Squall's generators against CPython's: random programs of yields, catches, delegation, `finally`, raises and returns are run by both, and the
//! two traces are compared line by line. The same programs run in every form of a generator here, the asynchronous one with bodies that await as well, and with every
//! pending call given up.
//!
//! Differences that are meant, and that the programs avoid: a *delegate* that yields upon close ends its outers with a `RuntimeError` in Python, while
//! here the whole chain waits on and `close` gives `IgnoredExit`; and a generator that is collected is closed by Python, while here it
//! is dropped (destructors run, handlers do not).

use serde::Value;
use squall::generator::{AsyncGenerator, Co, Generator, Raised, ResumeError, Step, unboxed};
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::io::Write as _;
use std::mem::replace;
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::{cell::RefCell, rc::Rc};

/// The little of JSON that the programs are handed over in.
mod serde {
    #[derive(Clone, Debug)]
    pub(super) enum Value {
        None,
        Number(i64),
        Text(&'static str),
        List(Vec<Value>),
    }

    impl std::fmt::Display for Value {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Value::None => f.write_str("null"),
                Value::Number(number) => write!(f, "{number}"),
                Value::Text(text) => write!(f, "{text:?}"),
                Value::List(values) => {
                    f.write_str("[")?;
                    for (n, value) in values.iter().enumerate() {
                        if n > 0 {
                            f.write_str(",")?;
                        }
                        value.fmt(f)?;
                    }
                    f.write_str("]")
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Statement {
    Yield(i64),
    Catch { value: i64, on_throw: Vec<Statement>, on_close: Vec<Statement> },
    From(Vec<Statement>),
    CatchFrom(Vec<Statement>, Vec<Statement>),
    Finally(i64, Vec<Statement>),
    Raise(i64),
    Return(Option<i64>),
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Next,
    Send(i64),
    Throw(i64),
    Close,
}

// --- making programs ---------------------------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    /// Less than `bound` (splitmix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn number(&mut self) -> i64 {
        self.below(100) as i64
    }

    fn statements(&mut self, depth: u64, is_root: bool) -> Vec<Statement> {
        (0..1 + self.below(3)).map(|_| self.statement(depth, is_root)).collect()
    }

    fn statement(&mut self, depth: u64, is_root: bool) -> Statement {
        match self.below(if depth == 0 { 4 } else { 9 }) {
            0 | 1 => Statement::Yield(self.number()),
            2 => {
                let value = self.number();
                let on_throw = if depth > 0 { self.statements(depth - 1, false) } else { vec![] };
                // Only the outermost body may yield upon close.
                let yields = is_root && self.below(4) == 0;
                let on_close = if yields { vec![Statement::Yield(self.number())] } else { vec![] };
                Statement::Catch { value, on_throw, on_close }
            }
            3 => match self.below(4) {
                0 => Statement::Raise(self.number()),
                1 => Statement::Return(None),
                2 => Statement::Return(Some(self.number())),
                _ => Statement::Yield(self.number()),
            },
            4 | 5 => Statement::From(self.statements(depth - 1, false)),
            6 => Statement::CatchFrom(self.statements(depth - 1, false), self.statements(depth - 1, false)),
            _ => Statement::Finally(self.number(), self.statements(depth - 1, false)),
        }
    }

    fn calls(&mut self) -> Vec<Call> {
        let call = |random: &mut Random| match random.below(12) {
            0..5 => Call::Next,
            5..9 => Call::Send(random.number()),
            9..11 => Call::Throw(random.number()),
            _ => Call::Close,
        };
        let mut calls: Vec<Call> = (0..4 + self.below(12)).map(|_| call(self)).collect();
        // Most programs are started properly.
        if self.below(8) > 0 {
            calls[0] = Call::Next;
        }
        calls
    }
}

fn json_of(statements: &[Statement]) -> Value {
    use Value::{List, Number, Text};
    let one = |statement: &Statement| match statement {
        Statement::Yield(value) => List(vec![Text("yield"), Number(*value)]),
        Statement::Catch { value, on_throw, on_close } => {
            List(vec![Text("catch"), Number(*value), json_of(on_throw), json_of(on_close)])
        }
        Statement::From(body) => List(vec![Text("from"), json_of(body)]),
        Statement::CatchFrom(body, on_throw) => {
            List(vec![Text("catch_from"), json_of(body), json_of(on_throw)])
        }
        Statement::Finally(name, body) => List(vec![Text("finally"), Number(*name), json_of(body)]),
        Statement::Raise(thrown) => List(vec![Text("raise"), Number(*thrown)]),
        Statement::Return(value) => List(vec![Text("return"), value.map_or(Value::None, Number)]),
    };
    List(statements.iter().map(one).collect())
}

fn json_of_call(call: Call) -> Value {
    use Value::{List, Number, Text};
    match call {
        Call::Next => List(vec![Text("next")]),
        Call::Send(value) => List(vec![Text("send"), Number(value)]),
        Call::Throw(thrown) => List(vec![Text("throw"), Number(thrown)]),
        Call::Close => List(vec![Text("close")]),
    }
}

// --- running them here -------------------------------------------------------------------------------------------------

/// What both languages print. It is closed before the generator is dropped.
#[derive(Clone, Default)]
struct Log {
    text: Rc<RefCell<(String, bool)>>,
    /// The bodies also await, before each statement.
    awaits: bool,
}

impl Log {
    fn say(&self, line: std::fmt::Arguments<'_>) {
        let mut log = self.text.borrow_mut();
        if !log.1 {
            writeln!(log.0, "{line}").unwrap();
        }
    }
}

fn python(value: Option<i64>) -> String {
    value.map_or("None".into(), |value| value.to_string())
}

type Body = Generator<'static, i64, Option<i64>, Option<i64>, i64>;
type Channel = Co<'static, i64, Option<i64>, i64>;

fn body(statements: Vec<Statement>, log: Log) -> Body {
    Generator::new(async move |co: &Channel| run(co, &statements, &log).await.flatten())
}

/// Not ready at once.
async fn pause() {
    let mut paused = false;
    poll_fn(|_| if replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// `Some` if the body is to return.
fn run<'c>(
    co: &'c Channel,
    statements: &'c [Statement],
    log: &'c Log,
) -> Pin<Box<dyn Future<Output = Option<Option<i64>>> + 'c>> {
    struct Finally<'c>(i64, &'c Log);
    impl Drop for Finally<'_> {
        fn drop(&mut self) {
            self.1.say(format_args!("  finally {}", self.0));
        }
    }
    Box::pin(async move {
        for statement in statements {
            if log.awaits {
                pause().await;
            }
            let returned = match statement {
                Statement::Yield(value) => {
                    let got = co.yield_(*value).await;
                    log.say(format_args!("  got {}", python(got)));
                    None
                }
                Statement::Catch { value, on_throw, on_close } => match co.try_yield(*value).await {
                    Ok(got) => {
                        log.say(format_args!("  got {}", python(got)));
                        None
                    }
                    Err(Raised::Thrown(thrown)) => {
                        log.say(format_args!("  caught {thrown}"));
                        run(co, on_throw, log).await
                    }
                    Err(Raised::Closed) => {
                        log.say(format_args!("  closing"));
                        run(co, on_close, log).await.or(Some(None))
                    }
                },
                Statement::From(inner) => {
                    let value = co.yield_from(body(inner.clone(), log.clone())).await;
                    log.say(format_args!("  value {}", python(value)));
                    None
                }
                Statement::CatchFrom(inner, on_throw) => {
                    match co.try_yield_from(body(inner.clone(), log.clone())).await {
                        Ok(value) => {
                            log.say(format_args!("  value {}", python(value)));
                            None
                        }
                        Err(Raised::Thrown(thrown)) => {
                            log.say(format_args!("  caught {thrown}"));
                            run(co, on_throw, log).await
                        }
                        // Python's program does not catch that.
                        Err(Raised::Closed) => Some(None),
                    }
                }
                Statement::Finally(name, inner) => {
                    let _finally = Finally(*name, log);
                    run(co, inner, log).await
                }
                Statement::Raise(thrown) => match co.raise(*thrown).await {},
                Statement::Return(value) => Some(*value),
            };
            if returned.is_some() {
                return returned;
            }
        }
        None
    })
}

/// `None` if it was closed.
type Came = Result<Option<Step<i64, Option<i64>>>, ResumeError<Option<i64>, i64>>;

fn trace(program: usize, calls: &[Call], log: &Log, ask: &mut dyn FnMut(Call) -> Came) {
    log.say(format_args!("program {program}"));
    for call in calls {
        match *call {
            Call::Next => log.say(format_args!("next")),
            Call::Send(value) => log.say(format_args!("send {value}")),
            Call::Throw(thrown) => log.say(format_args!("throw {thrown}")),
            Call::Close => log.say(format_args!("close")),
        }
        match ask(*call) {
            Ok(None) => log.say(format_args!(" closed")),
            Ok(Some(Step::Yielded(value))) => log.say(format_args!(" yields {value}")),
            Ok(Some(Step::Returned(value))) => log.say(format_args!(" ends {}", python(value))),
            Err(ResumeError::Finished) => log.say(format_args!(" ends None")),
            Err(ResumeError::Thrown(thrown)) => log.say(format_args!(" raises {thrown}")),
            Err(ResumeError::NotStarted(_)) => log.say(format_args!(" not started")),
            Err(ResumeError::IgnoredExit) => log.say(format_args!(" ignored exit")),
            Err(other) => panic!("{other:?}"),
        }
    }
    log.text.borrow_mut().1 = true;
}

fn trace_boxed(program: usize, statements: &[Statement], calls: &[Call], log: &Log) {
    let mut generator = body(statements.to_vec(), log.clone());
    trace(program, calls, log, &mut |call| match call {
        Call::Next => generator.resume().map(Some),
        Call::Send(value) => generator.send(Some(value)).map(Some),
        Call::Throw(thrown) => generator.throw(thrown).map(Some),
        Call::Close => generator.close().map(|_| None),
    });
    drop(generator);
    log.text.borrow_mut().1 = false;
}

fn trace_unboxed(program: usize, statements: &[Statement], calls: &[Call], log: &Log) {
    {
        let (body, says) = (statements.to_vec(), log.clone());
        let mut generator = pin!(unboxed(async move |co: &Channel| run(co, &body, &says).await.flatten()));
        trace(program, calls, log, &mut |call| match call {
            Call::Next => generator.as_mut().resume().map(Some),
            Call::Send(value) => generator.as_mut().send(Some(value)).map(Some),
            Call::Throw(thrown) => generator.as_mut().throw(thrown).map(Some),
            Call::Close => generator.as_mut().close().map(|_| None),
        });
    }
    log.text.borrow_mut().1 = false;
}

/// With bodies that await before each statement. `gives_up`: each call, whenever it is pending, is given up, and gone on with by another.
fn trace_async(program: usize, statements: &[Statement], calls: &[Call], log: &Log, gives_up: bool) {
    let mut generator = AsyncGenerator::from(body(statements.to_vec(), log.clone()));
    let mut cx = Context::from_waker(Waker::noop());
    trace(program, calls, log, &mut |call| {
        let mut goes_on = false;
        'again: loop {
            let mut closing;
            let mut resuming;
            let came: &mut dyn FnMut() -> Poll<Came> = match call {
                Call::Close => {
                    closing = generator.close();
                    &mut || Pin::new(&mut closing).poll(&mut cx).map(|closed| closed.map(|_| None))
                }
                _ => {
                    resuming = match call {
                        _ if goes_on => generator.resume(),
                        Call::Send(value) => generator.send(Some(value)),
                        Call::Throw(thrown) => generator.throw(thrown),
                        _ => generator.resume(),
                    };
                    &mut || Pin::new(&mut resuming).poll(&mut cx).map(|step| step.map(Some))
                }
            };
            loop {
                match came() {
                    Poll::Ready(came) => return came,
                    Poll::Pending if gives_up => {
                        goes_on = true;
                        continue 'again;
                    }
                    Poll::Pending => {}
                }
            }
        }
    });
    drop(generator);
    log.text.borrow_mut().1 = false;
}

#[test]
fn random_programs_leave_the_same_trace_in_every_form() {
    let mut random = Random(525);
    for program in 0..if cfg!(miri) { 40 } else { 4000 } {
        let (statements, calls) = (random.statements(4, true), random.calls());
        let boxed = Log::default();
        trace_boxed(program, &statements, &calls, &boxed);
        let pinned = Log::default();
        trace_unboxed(program, &statements, &calls, &pinned);
        assert_eq!(*pinned.text.borrow(), *boxed.text.borrow(), "unboxed: {statements:?} {calls:?}");
        for gives_up in [false, true] {
            let awaits = Log { awaits: true, ..Log::default() };
            trace_async(program, &statements, &calls, &awaits, gives_up);
            let what = format_args!("async, gives up: {gives_up}: {statements:?} {calls:?}").to_string();
            assert_eq!(*awaits.text.borrow(), *boxed.text.borrow(), "{what}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn random_programs_leave_the_same_trace_in_cpython() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: python3 is not here, so nothing was compared");
        return;
    }
    let (mut random, mut input, log) = (Random(380), String::new(), Log::default());
    for program in 0..4000 {
        let (statements, calls) = (random.statements(4, true), random.calls());
        trace_boxed(program, &statements, &calls, &log);
        let calls = Value::List(calls.iter().map(|call| json_of_call(*call)).collect());
        writeln!(input, "program {program}\n{}\n{calls}", json_of(&statements)).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/generators.py");
    let mut child =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let programs = input.clone();
    let writes = std::thread::spawn(move || stdin.write_all(programs.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writes.join().unwrap().unwrap();
    assert!(output.status.success());
    let theirs = String::from_utf8(output.stdout).unwrap();
    let log = log.text.borrow();
    let mut program = "";
    for (line, (ours, theirs)) in log.0.lines().zip(theirs.lines()).enumerate() {
        if ours.starts_with("program") {
            program = ours;
        }
        if ours != theirs {
            let at = input.lines().position(|line| line == program).unwrap();
            let source: Vec<&str> = input.lines().skip(at).take(3).collect();
            panic!("line {line}: here {ours:?}, in CPython {theirs:?}\n{}", source.join("\n"));
        }
    }
    assert_eq!(log.0.lines().count(), theirs.lines().count());
    assert!(log.0.lines().count() > 50_000, "the programs do something");
}
