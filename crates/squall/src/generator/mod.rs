//! Generators: functions that pause at `yield`, take values and exceptions there, and delegate to one another.
//!
//! What [PEP 342](https://peps.python.org/pep-0342/) and [PEP 380](https://peps.python.org/pep-0380/) made of Python's generators, in Rust's types, on stable Rust and
//! without a macro. A generator needs no event loop: whoever holds it resumes it. That is what a loop does with its tasks, and how the article that
//! squall grew from comes to coroutines.
//!
//! ```
//! use squall::generator::Generator;
//!
//! let countdown: Generator<'_, u32> = Generator::new(async |co| {
//!     for n in (0..3).rev() {
//!         co.yield_(n).await;
//!     }
//! });
//! assert_eq!(countdown.collect::<Vec<_>>(), [2, 1, 0]);
//! ```
//!
//! The body is an async closure, and `yield_(…)` is awaited; but nothing here is asynchronous: a body that awaits anything else that is not ready has nobody to wake
//! it, and is told so by a panic. (`squall::generator!` has `yield`.)
//!
//! # Which
//!
//! | | |
//! |---|---|
//! | [`Generator`] | one allocation; may be kept anywhere, and delegated to |
//! | [`Unboxed`], by [`unboxed`] | no allocation; lies where it is pinned |
//! | [`AsyncGenerator`] | its body also awaits: a `Stream` (PEP 525) |
//! | [`spawn_generator`] | a generator that a loop resumes |
//!
//! From a generator to a coroutine, step by step and with programs, as the article goes: `docs/generators.md`.
//!
//! # On a loop
//!
//! A generator that yields what it waits for ([`Wait`]) is run by the loop with [`spawn_generator`]: the article's coroutine. It is a task then, and stands in the ready queue
//! beside the others.
//!
//! | | a generator on the loop | an async task |
//! |---|---|---|
//! | pauses at | `co.yield_(Wait::readable(&conn)).await` | `conn.recv().await` |
//! | what happens between | it is told that it may read, and reads | it has the data |
//! | delegates by | `co.yield_from(other(…)).await` | `other(…).await` |
//! | who may resume it | whoever holds it: a loop, a test, another generator | a loop |
//!
//! So `async` and `await` are `yield from` with the scheduler's side of it taken for granted, which is how Python came to them (PEP 492).
//!
//! # Beside Python
//!
//! | Python | here | |
//! |---|---|---|
//! | `def g(): x = yield v` | `Generator::new(async \|co\| { let x = co.yield_(v).await; })` | |
//! | `next(g)` | [`resume`](Generator::resume), or `next` of the iterator | |
//! | `g.send(v)` | [`send`](Generator::send) | to a fresh one: [`NotStarted`](ResumeError::NotStarted) gives `v` back |
//! | `g.throw(e)` | [`throw`](Generator::throw) | of one type for each generator, `X` |
//! | `g.close()` | [`close`](Generator::close) | `Some` of what the body returns upon it, as in CPython 3.13 |
//! | `x = yield from h` | [`co.yield_from(h).await`](Co::yield_from) | a started one: [`resume_from`](Co::resume_from) |
//! | `try: yield v except E` | [`co.try_yield(v).await`](Co::try_yield) | |
//! | `try: yield from h except E` | [`co.try_yield_from(h).await`](Co::try_yield_from) | |
//! | `except GeneratorExit` | [`Raised::Closed`] | |
//! | `raise e` | [`co.raise(e).await`](Co::raise) | |
//! | `try: … finally:` | a value with a destructor | |
//! | `StopIteration`, its `value` | [`Step::Returned`], then [`Finished`](ResumeError::Finished) | the value comes once |
//! | `RuntimeError: generator ignored GeneratorExit` | [`IgnoredExit`](ResumeError::IgnoredExit) | where a *delegate* ignores it, Python ends the outer ones with the error; here all wait on |
//! | `ValueError: generator already executing` | does not compile | a generator is resumed by `&mut` |
//! | PEP 479: `StopIteration` raised inside | does not exist | the end is no exception |
//! | `async def` with `yield`, `anext`, `asend`, `athrow`, `aclose` | [`AsyncGenerator`] and its `resume`, `send`, `throw`, `close` | it may return a value, and delegate |
//! | `RuntimeError: asynchronous generator is already running` | does not compile; [`Running`](ResumeError::Running) after a call that was given up | |
//! | a generator that is collected is closed | one that is dropped is dropped | destructors run, innermost first; handlers do not |
//!
//! Random programs of all of these are run by CPython and here, and leave the same trace (`tests/generator_python.rs`). Each of CPython's own tests has one here, or a
//! reason why it has none (`tests/python/cpython_tests.md`).

// Level 7. The core imports nothing of the crate; on_loop.rs does.
mod caller;
mod channel;
mod co;
mod frame;
mod on_loop;
mod outcome;
mod outers;
mod resume;
mod root;
mod stream;
mod unboxed;

pub use caller::Generator;
pub use co::{Co, Raise, TryYield, TryYieldFrom, Yield, YieldFrom};
pub use on_loop::{Wait, spawn_generator};
pub use outcome::{Raised, ResumeError, Resumed, Step};
pub use stream::{AsyncCo, AsyncGenerator, Closing, Resuming};
pub use unboxed::{Unboxed, unboxed};

/// The chapters of the guide, so that their programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/generators.md")]
#[doc = include_str!("../../../../docs/generators.zh-CN.md")]
struct Guide;
