//! What a body awaits: its yields, and its delegates.

use super::caller::Generator;
use super::channel::{Answer, At, Channel, State};
use super::outcome::Raised;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is handed to a body: its end of what it speaks through with its caller.
///
/// A body gets it by reference, so it cannot be kept where the generator is gone.
#[repr(transparent)]
pub struct Co<'a, Y, S = (), X = std::convert::Infallible> {
    pub(super) channel: Channel<'a, Y, S, X>,
}

impl<Y, S, X> std::fmt::Debug for Co<'_, Y, S, X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Co").finish_non_exhaustive()
    }
}

impl<'a, Y, S, X> Co<'a, Y, S, X> {
    pub(super) fn new() -> Self {
        Co { channel: Channel::new() }
    }

    /// Pauses, and gives a value to whoever resumes the generator; the expression's value is what is sent.
    ///
    /// If something is thrown instead, or the generator is closed, the body ends here: what it holds is dropped, and nothing after this runs. To
    /// catch, use [`try_yield`](Self::try_yield).
    ///
    /// It is for the body to await, one at a time; alone, or with something else by what polls all its parts whenever it is polled (a join, a select, a timeout). A yield
    /// wakes nobody, so what polls only parts that were woken, such as a `FuturesUnordered`, never comes back to it.
    ///
    /// ```
    /// use squall::generator::{Generator, Step};
    ///
    /// let mut echo: Generator<'_, u32, u32> = Generator::new(async |co| {
    ///     let first = co.yield_(0).await;
    ///     co.yield_(first + 1).await;
    /// });
    /// assert_eq!(echo.start(), Ok(Step::Yielded(0)));
    /// assert_eq!(echo.send(41), Ok(Step::Yielded(42)));
    /// ```
    pub fn yield_<'c>(&'c self, value: Y) -> Yield<'c, 'a, Y, S, X> {
        Yield { co: self, waits: Waits::Holds(value) }
    }

    /// As [`yield_`](Self::yield_), for a body that catches what is thrown, and cleans up when it is asked to close: then it returns. Yielding once more is
    /// an error of the caller's ([`IgnoredExit`](super::ResumeError::IgnoredExit)).
    pub fn try_yield<'c>(&'c self, value: Y) -> TryYield<'c, 'a, Y, S, X> {
        TryYield { co: self, waits: Waits::Holds(value) }
    }

    /// Lets another generator go on in this one's place until it ends: what it yields goes to the caller, what the caller sends or throws goes to it. The
    /// expression's value is what it returns. (Python: `yield from`, PEP 380.)
    ///
    /// An item costs the same however many generators delegate to each other.
    ///
    /// Where the delegate ends by something thrown, so does this body. To catch, use [`try_yield_from`](Self::try_yield_from).
    ///
    /// # Panics
    /// When awaited, if the delegate was started already: [`resume_from`](Self::resume_from) says with what it goes on.
    pub fn yield_from<'c, R>(&'c self, delegate: Generator<'a, Y, S, R, X>) -> YieldFrom<'c, 'a, Y, S, R, X> {
        YieldFrom { delegates: Delegates { co: self, delegate, first: None, at: At::Plain, is_begun: false } }
    }

    /// As [`yield_from`](Self::yield_from), for a body that catches what the delegate raises, or that the generator is asked to close (when
    /// the delegate has been closed).
    pub fn try_yield_from<'c, R>(
        &'c self,
        delegate: Generator<'a, Y, S, R, X>,
    ) -> TryYieldFrom<'c, 'a, Y, S, R, X> {
        TryYieldFrom {
            delegates: Delegates { co: self, delegate, first: None, at: At::Catching, is_begun: false },
        }
    }

    /// As [`yield_from`](Self::yield_from), for a delegate that waits at a yield already: `first` is sent to it.
    ///
    /// # Panics
    /// When awaited, if the delegate was not started.
    pub fn resume_from<'c, R>(
        &'c self,
        delegate: Generator<'a, Y, S, R, X>,
        first: S,
    ) -> YieldFrom<'c, 'a, Y, S, R, X> {
        YieldFrom {
            delegates: Delegates { co: self, delegate, first: Some(first), at: At::Plain, is_begun: false },
        }
    }

    /// Raises: the body ends here, and whoever delegates to it, or resumes it, is told.
    pub fn raise<'c>(&'c self, thrown: X) -> Raise<'c, 'a, Y, S, X> {
        Raise { co: self, thrown: Some(thrown), is_raised: false }
    }
}

/// A yield in either form.
#[derive(Debug)]
enum Waits<Y> {
    Holds(Y),
    /// Its value is the caller's, and its answer is awaited.
    Asked,
    Answered,
}

impl<Y> Waits<Y> {
    #[inline]
    fn poll<S, X>(&mut self, channel: &Channel<'_, Y, S, X>, at: At) -> Poll<Answer<S, X>> {
        if let Waits::Asked = self {
            let Some(answer) = channel.answer.take() else { return Poll::Pending };
            // In this order the compiler sees what the destructor will find.
            channel.at.set(At::Nothing);
            *self = Waits::Answered;
            return Poll::Ready(answer);
        }
        assert!(
            channel.at.get() == At::Nothing,
            "a generator's body awaits one yield at a time: it cannot join or race them"
        );
        if let Waits::Answered = self {
            awaited_twice();
        }
        let Waits::Holds(value) = std::mem::replace(self, Waits::Asked) else { unreachable!() };
        channel.out.set(Some(value));
        channel.at.set(at);
        Poll::Pending
    }

    /// The body gives it up.
    #[inline]
    fn drop<S, X>(&mut self, channel: &Channel<'_, Y, S, X>) {
        if let Waits::Asked = self {
            // Nothing is yielded. An answer that came and was not taken goes with it: it must not become that of a later yield.
            channel.at.set(At::Nothing);
            let _given_up = (channel.out.take(), channel.answer.take());
        }
    }
}

#[cold]
fn awaited_twice() -> ! {
    panic!("a yield was polled after it had its answer")
}

/// The future of [`Co::yield_`].
#[derive(Debug)]
#[must_use = "a generator yields when this is awaited"]
pub struct Yield<'c, 'a, Y, S, X> {
    co: &'c Co<'a, Y, S, X>,
    waits: Waits<Y>,
}

impl<Y, S, X> Unpin for Yield<'_, '_, Y, S, X> {}

impl<Y, S, X> Future for Yield<'_, '_, Y, S, X> {
    type Output = S;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.waits.poll(&this.co.channel, At::Plain) {
            Poll::Ready(Ok(sent)) => Poll::Ready(sent),
            // What is raised here ends the body instead of resuming it.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<Y, S, X> Drop for Yield<'_, '_, Y, S, X> {
    #[inline]
    fn drop(&mut self) {
        self.waits.drop(&self.co.channel);
    }
}

/// The future of [`Co::try_yield`].
#[derive(Debug)]
#[must_use = "a generator yields when this is awaited"]
pub struct TryYield<'c, 'a, Y, S, X> {
    co: &'c Co<'a, Y, S, X>,
    waits: Waits<Y>,
}

impl<Y, S, X> Unpin for TryYield<'_, '_, Y, S, X> {}

impl<Y, S, X> Future for TryYield<'_, '_, Y, S, X> {
    type Output = Result<S, Raised<X>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.waits.poll(&this.co.channel, At::Catching)
    }
}

impl<Y, S, X> Drop for TryYield<'_, '_, Y, S, X> {
    #[inline]
    fn drop(&mut self) {
        self.waits.drop(&self.co.channel);
    }
}

/// A delegation in either form.
#[derive(Debug)]
struct Delegates<'c, 'a, Y, S, R, X> {
    co: &'c Co<'a, Y, S, X>,
    delegate: Generator<'a, Y, S, R, X>,
    first: Option<S>,
    at: At,
    is_begun: bool,
}

impl<Y, S, R, X> Delegates<'_, '_, Y, S, R, X> {
    /// (Once or twice for each delegate: not worth a place in every body.)
    #[inline(never)]
    fn poll(&mut self) -> Poll<Result<R, Raised<X>>> {
        let channel = &self.co.channel;
        if self.is_begun {
            if self.delegate.root.channel().state.get() != State::Finished {
                return Poll::Pending;
            }
            // What was raised comes first: a delegate that returns upon being closed does not keep its outer from being closed.
            let ended = match channel.answer.take() {
                Some(Err(raised)) => Some(Err(raised)),
                _ => self.delegate.root.take_value().map(Ok),
            };
            return match ended {
                Some(ended) => {
                    self.end();
                    Poll::Ready(ended)
                }
                None => Poll::Pending,
            };
        }
        let delegate = self.delegate.root.channel();
        match (delegate.state.get(), self.first.take()) {
            (State::Fresh, None) => {}
            (State::Begun, Some(first)) => delegate.answer_innermost(Ok(first)),
            (State::Fresh, Some(_)) => {
                panic!("resume_from() was given a generator that was not started: use yield_from()")
            }
            (_, None) => panic!(
                "yield_from() was given a generator that was started: use resume_from(), or start it here"
            ),
            (_, Some(_)) => panic!("resume_from() was given a generator that has ended"),
        }
        channel.delegate(self.delegate.root.frame());
        channel.at.set(self.at);
        self.is_begun = true;
        Poll::Pending
    }

    fn end(&mut self) {
        self.is_begun = false;
        self.co.channel.at.set(At::Nothing);
    }
}

impl<Y, S, R, X> Drop for Delegates<'_, '_, Y, S, R, X> {
    fn drop(&mut self) {
        if self.is_begun {
            // Given up by the body: the delegate, dropped next, is on no stack any more.
            self.co.channel.recall(self.delegate.root.channel());
            self.end();
            drop(self.co.channel.answer.take());
        }
    }
}

/// The future of [`Co::yield_from`] and [`Co::resume_from`].
#[derive(Debug)]
#[must_use = "a generator delegates when this is awaited"]
pub struct YieldFrom<'c, 'a, Y, S, R, X> {
    delegates: Delegates<'c, 'a, Y, S, R, X>,
}

impl<Y, S, R, X> Unpin for YieldFrom<'_, '_, Y, S, R, X> {}

impl<Y, S, R, X> Future for YieldFrom<'_, '_, Y, S, R, X> {
    type Output = R;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        match self.delegates.poll() {
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The future of [`Co::try_yield_from`].
#[derive(Debug)]
#[must_use = "a generator delegates when this is awaited"]
pub struct TryYieldFrom<'c, 'a, Y, S, R, X> {
    delegates: Delegates<'c, 'a, Y, S, R, X>,
}

impl<Y, S, R, X> Unpin for TryYieldFrom<'_, '_, Y, S, R, X> {}

impl<Y, S, R, X> Future for TryYieldFrom<'_, '_, Y, S, R, X> {
    type Output = Result<R, Raised<X>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.delegates.poll()
    }
}

/// The future of [`Co::raise`], which is never ready.
#[derive(Debug)]
#[must_use = "a generator raises when this is awaited"]
pub struct Raise<'c, 'a, Y, S, X> {
    co: &'c Co<'a, Y, S, X>,
    thrown: Option<X>,
    is_raised: bool,
}

impl<Y, S, X> Unpin for Raise<'_, '_, Y, S, X> {}

impl<Y, S, X> Future for Raise<'_, '_, Y, S, X> {
    type Output = std::convert::Infallible;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let thrown = self.thrown.take();
        if thrown.is_some() {
            self.is_raised = true;
            self.co.channel.raised.set(thrown);
        }
        Poll::Pending
    }
}

impl<Y, S, X> Drop for Raise<'_, '_, Y, S, X> {
    fn drop(&mut self) {
        if self.is_raised {
            drop(self.co.channel.raised.take());
        }
    }
}
