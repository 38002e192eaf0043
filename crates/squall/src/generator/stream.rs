//! Generators that also await: PEP 525's, as streams.
//!
//! The body is polled with the waker of whoever resumes it, and where it pauses without a yield it waits; that is all the difference to a synchronous
//! one, so frames, delegation, and what is thrown are the same. A pending call may be given up (its future dropped): then the body stands at an await,
//! not at a yield, and the next call finds it there. Python ends the body in that case, by an exception at the await; here it goes on, because
//! what polls a stream (`select`, a timeout) gives its calls up as a matter of course.

use super::caller::Generator;
use super::channel::{Answer, State};
use super::co::{Co, TryYieldFrom, YieldFrom};
use super::outcome::{Raised, ResumeError, Resumed, Step};
use super::resume::Outcome;
use futures_core::{FusedStream, Stream};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is handed to an asynchronous body: a [`Co`] that can delegate to asynchronous generators too.
#[repr(transparent)]
pub struct AsyncCo<'a, Y, S = (), X = Infallible> {
    co: Co<'a, Y, S, X>,
}

impl<'a, Y, S, X> AsyncCo<'a, Y, S, X> {
    fn of<'c>(co: &'c Co<'a, Y, S, X>) -> &'c Self {
        // SAFETY: `repr(transparent)`.
        unsafe { &*(&raw const *co).cast() }
    }

    /// As [`Co::yield_from`], for an asynchronous delegate. (A synchronous one is [`yield_from`](Co::yield_from)'s here too.) Python has none:
    /// PEP 525 leaves it out for its cost, which delegation does not have here.
    ///
    /// It may be raced, by a timeout for example: what else this body waits for has its turn whenever the delegate awaits, though not while it waits to be resumed.
    ///
    /// # Panics
    /// When awaited, if the delegate was started already.
    pub fn yield_from_async<'c, R>(
        &'c self,
        delegate: AsyncGenerator<'a, Y, S, R, X>,
    ) -> YieldFrom<'c, 'a, Y, S, R, X> {
        self.co.yield_from(delegate.generator)
    }

    /// As [`Co::try_yield_from`], for an asynchronous delegate.
    ///
    /// # Panics
    /// As [`yield_from_async`](Self::yield_from_async).
    pub fn try_yield_from_async<'c, R>(
        &'c self,
        delegate: AsyncGenerator<'a, Y, S, R, X>,
    ) -> TryYieldFrom<'c, 'a, Y, S, R, X> {
        self.co.try_yield_from(delegate.generator)
    }
}

impl<'a, Y, S, X> Deref for AsyncCo<'a, Y, S, X> {
    type Target = Co<'a, Y, S, X>;

    fn deref(&self) -> &Co<'a, Y, S, X> {
        &self.co
    }
}

impl<Y, S, X> fmt::Debug for AsyncCo<'_, Y, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCo").finish_non_exhaustive()
    }
}

/// A generator whose body also awaits: a [`Stream`] where nothing is sent to it.
///
/// Its calls are those of [`Generator`], as futures that borrow it: a second call while one is pending does not compile. It needs no squall loop: whoever polls it
/// provides the waker. Between two calls nothing of the body runs.
///
/// # Cancellation
/// A call whose future is dropped before it is ready is not taken back: the body stands where it awaits. [`resume`](Self::resume), or the next poll as a stream,
/// goes on from there, and gives what the dropped one would have; a value [sent](Self::send) then comes back as [`Running`](ResumeError::Running); what is
/// [thrown](Self::throw), and [`close`](Self::close), end the innermost body there, as they do at a [`yield_`](Co::yield_). A future that was not polled has done nothing.
///
/// # How it ends
/// * The body returns: its value once, then [`Finished`](ResumeError::Finished); as a stream, `None` for ever.
/// * It is dropped: what its body holds is dropped there, innermost delegates first. Destructors run and nothing is awaited: nobody could wait for it.
/// * [`close`](Self::close) asks it to end, and *can* wait: a body that catches (`try_yield`, [`Raised::Closed`]) may await as it cleans up. Await it before you drop a
///   generator that has something to say goodbye to.
/// * Its task is aborted, or its loop ends: it is dropped with that. There is no list of living generators that a loop closes at its end, as asyncio keeps
///   (`shutdown_asyncgens`): it exists because collected generators are not finalised in time.
///
/// ```
/// use futures::StreamExt;
/// use squall::generator::AsyncGenerator;
/// use squall::time::sleep;
/// use std::time::Duration;
///
/// fn ticks<'a>(every: Duration, times: u32) -> AsyncGenerator<'a, u32> {
///     AsyncGenerator::new(async move |co| {
///         for n in 0..times {
///             sleep(every).await;
///             co.yield_(n).await;
///         }
///     })
/// }
///
/// # squall::Builder::new().virtual_time().run(async {
/// let ticks: Vec<u32> = ticks(Duration::from_secs(60), 3).collect().await;
/// assert_eq!(ticks, [0, 1, 2]);
/// # }).unwrap();
/// ```
pub struct AsyncGenerator<'a, Y, S = (), R = (), X = Infallible> {
    generator: Generator<'a, Y, S, R, X>,
    /// A call has not come to a yield yet.
    pending: Option<Call>,
}

/// A call that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Resume,
    Close,
}

impl<'a, Y: 'a, S: 'a, R: 'a, X: 'a> AsyncGenerator<'a, Y, S, R, X> {
    /// A generator that has not begun: its body runs when it is started.
    pub fn new<F>(f: F) -> AsyncGenerator<'a, Y, S, R, X>
    where
        F: for<'c> AsyncFnOnce(&'c AsyncCo<'a, Y, S, X>) -> R + 'a,
    {
        Generator::boxed(move |co: &'a Co<'a, Y, S, X>| f(AsyncCo::of(co))).into()
    }
}

/// One that awaits nothing.
impl<'a, Y, S, R, X> From<Generator<'a, Y, S, R, X>> for AsyncGenerator<'a, Y, S, R, X> {
    fn from(generator: Generator<'a, Y, S, R, X>) -> Self {
        AsyncGenerator { generator, pending: None }
    }
}

impl<'a, Y, S, R, X> AsyncGenerator<'a, Y, S, R, X> {
    /// As [`Generator::start`].
    ///
    /// # Errors
    /// As there. Also [`Started`](ResumeError::Started) if an earlier call was given up.
    ///
    /// # Panics
    /// The future, with the panic of the body, which has ended then.
    pub fn start(&mut self) -> Resuming<'_, 'a, Y, S, R, X> {
        self.call(Ask::Start)
    }

    /// As [`Generator::resume`]. (Python: `anext`.) Goes on where a call that was given up has left it.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn resume(&mut self) -> Resuming<'_, 'a, Y, S, R, X>
    where
        S: Default,
    {
        self.call(Ask::Resume(S::default))
    }

    /// As [`Generator::send`]. (Python: `asend`.)
    ///
    /// # Errors
    /// As there. [`Running`](ResumeError::Running), with the value, if an earlier call was given up before the body came to a yield.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    ///
    /// ```
    /// use squall::generator::{AsyncGenerator, Step};
    /// use squall::yield_now;
    ///
    /// # squall::run(async {
    /// let mut echo: AsyncGenerator<'_, u32, u32> = AsyncGenerator::new(async |co| {
    ///     let mut value = 0;
    ///     loop {
    ///         value = co.yield_(value).await;
    ///         yield_now().await;
    ///     }
    /// });
    /// assert_eq!(echo.start().await, Ok(Step::Yielded(0)));
    /// assert_eq!(echo.send(7).await, Ok(Step::Yielded(7)));
    /// # });
    /// ```
    pub fn send(&mut self, value: S) -> Resuming<'_, 'a, Y, S, R, X> {
        self.call(Ask::Send(value))
    }

    /// As [`Generator::throw`]. (Python: `athrow`.)
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn throw(&mut self, thrown: X) -> Resuming<'_, 'a, Y, S, R, X> {
        self.call(Ask::Throw(thrown))
    }

    /// As [`Generator::close`]. (Python: `aclose`.) What a body awaits as it cleans up is waited for.
    ///
    /// Cancellation: a body that was told goes on cleaning up at the next call.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn close(&mut self) -> Closing<'_, 'a, Y, S, R, X> {
        Closing { generator: self, stage: Stage::New(()) }
    }

    fn call(&mut self, ask: Ask<S, X>) -> Resuming<'_, 'a, Y, S, R, X> {
        Resuming { generator: self, stage: Stage::New(ask) }
    }

    /// True if it was started.
    pub fn is_started(&self) -> bool {
        self.generator.is_started()
    }

    /// True if it has ended.
    pub fn is_finished(&self) -> bool {
        self.generator.is_finished()
    }

    /// One step of a call. `Pending` if the body awaits.
    ///
    /// # Panics
    /// If it has finished.
    fn step(
        &mut self,
        answer: Option<Answer<S, X>>,
        call: Call,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<Y, X>> {
        assert!(!self.is_finished(), "a finished generator is not polled");
        self.pending = None;
        // SAFETY: not finished.
        match unsafe { self.generator.root.resume(answer, call == Call::Close, cx.waker()) } {
            Outcome::Waits => {
                self.pending = Some(call);
                Poll::Pending
            }
            outcome => Poll::Ready(outcome),
        }
    }

    /// What is told to the body of a new call. `Err` if it does not come to that.
    fn admit(&self, ask: Ask<S, X>) -> Result<Admitted<S, X>, ResumeError<S, X>> {
        let finished = Err(ResumeError::Finished);
        let resume = |answer| Ok((answer, Call::Resume));
        match (ask, self.generator.root.state(), self.pending) {
            (Ask::Throw(thrown), State::Finished, _) => Err(ResumeError::Thrown(thrown)),
            (_, State::Finished, _) => finished,
            (Ask::Throw(thrown), ..) => resume(Some(Err(Raised::Thrown(thrown)))),
            (Ask::Start | Ask::Resume(_), State::Fresh, _) => resume(None),
            (Ask::Send(value), State::Fresh, _) => Err(ResumeError::NotStarted(value)),
            (Ask::Start, State::Begun, _) => Err(ResumeError::Started),
            (Ask::Resume(_), State::Begun, Some(call)) => Ok((None, call)),
            (Ask::Resume(default), State::Begun, None) => resume(Some(Ok(default()))),
            (Ask::Send(value), State::Begun, Some(_)) => Err(ResumeError::Running(value)),
            (Ask::Send(value), State::Begun, None) => resume(Some(Ok(value))),
        }
    }
}

/// What a call asks for.
enum Ask<S, X> {
    Start,
    Resume(fn() -> S),
    Send(S),
    Throw(X),
}

/// What is told to the body, and in which call.
type Admitted<S, X> = (Option<Answer<S, X>>, Call);

/// How far the future of a call has come.
enum Stage<A> {
    New(A),
    Begun(Call),
    Done,
}

#[cold]
fn polled_again() -> ! {
    panic!("a generator's call was polled after it was ready");
}

/// The future of a call of an [`AsyncGenerator`]'s: how far it came.
#[must_use = "a generator is resumed when this is awaited"]
pub struct Resuming<'g, 'a, Y, S, R, X> {
    generator: &'g mut AsyncGenerator<'a, Y, S, R, X>,
    stage: Stage<Ask<S, X>>,
}

impl<Y, S, R, X> Unpin for Resuming<'_, '_, Y, S, R, X> {}

impl<Y, S, R, X> Future for Resuming<'_, '_, Y, S, R, X> {
    type Output = Resumed<Y, S, R, X>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (answer, call) = match std::mem::replace(&mut this.stage, Stage::Done) {
            Stage::New(ask) => match this.generator.admit(ask) {
                Ok(admitted) => admitted,
                Err(error) => return Poll::Ready(Err(error)),
            },
            Stage::Begun(call) => (None, call),
            Stage::Done => polled_again(),
        };
        let outcome = this.generator.step(answer, call, cx);
        if outcome.is_pending() {
            this.stage = Stage::Begun(call);
        }
        outcome.map(|outcome| this.generator.generator.root.came_to(outcome))
    }
}

/// The future of [`AsyncGenerator::close`].
#[must_use = "a generator is asked to end when this is awaited"]
pub struct Closing<'g, 'a, Y, S, R, X> {
    generator: &'g mut AsyncGenerator<'a, Y, S, R, X>,
    stage: Stage<()>,
}

impl<Y, S, R, X> Unpin for Closing<'_, '_, Y, S, R, X> {}

impl<Y, S, R, X> Future for Closing<'_, '_, Y, S, R, X> {
    type Output = Result<Option<R>, ResumeError<S, X>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let answer = match std::mem::replace(&mut this.stage, Stage::Done) {
            Stage::New(()) if this.generator.is_finished() => return Poll::Ready(Ok(None)),
            // It was told already.
            Stage::New(()) if this.generator.pending == Some(Call::Close) => None,
            Stage::New(()) => Some(Err(Raised::Closed)),
            Stage::Begun(_) => None,
            Stage::Done => polled_again(),
        };
        let outcome = this.generator.step(answer, Call::Close, cx);
        if outcome.is_pending() {
            this.stage = Stage::Begun(Call::Close);
        }
        outcome.map(|outcome| this.generator.generator.root.closed(outcome))
    }
}

/// The values that it yields. What it returns is dropped.
impl<Y, R> Stream for AsyncGenerator<'_, Y, (), R, Infallible> {
    type Item = Y;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Y>> {
        loop {
            let Ok((answer, call)) = self.admit(Ask::Resume(Default::default)) else {
                return Poll::Ready(None);
            };
            let Poll::Ready(outcome) = self.step(answer, call, cx) else { return Poll::Pending };
            match self.generator.root.came_to(outcome) {
                // What it yielded upon a close that was given up is dropped, as it would have been there.
                Err(ResumeError::IgnoredExit) => {}
                step => return Poll::Ready(step.ok().and_then(Step::yielded)),
            }
        }
    }
}

impl<Y, R> FusedStream for AsyncGenerator<'_, Y, (), R, Infallible> {
    fn is_terminated(&self) -> bool {
        self.is_finished()
    }
}

impl<Y, S, R, X> fmt::Debug for AsyncGenerator<'_, Y, S, R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.generator.root.state();
        let is_pending = self.pending.is_some();
        f.debug_struct("AsyncGenerator")
            .field("state", &state)
            .field("is_pending", &is_pending)
            .finish_non_exhaustive()
    }
}

impl<Y, S, R, X> fmt::Debug for Resuming<'_, '_, Y, S, R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").field("generator", self.generator).finish_non_exhaustive()
    }
}

impl<Y, S, R, X> fmt::Debug for Closing<'_, '_, Y, S, R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing").field("generator", self.generator).finish_non_exhaustive()
    }
}
