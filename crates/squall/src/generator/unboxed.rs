//! A generator without an allocation: it lies where its holder has pinned it, on the stack mostly.
//!
//! It is a type of its own, not a borrow that `Generator` could be made of: a generator that delegates keeps its delegates' frames on a stack for `'a`, and
//! what lies in a stack frame of somebody else's does not live so long. So an unboxed one delegates, and nobody delegates to it.

use super::channel::State;
use super::co::Co;
use super::frame::{FrameOf, TypedFrame, tell};
use super::outcome::{ResumeError, Resumed, Step};
use super::root::Root;
use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;

/// A generator that lies where it is pinned. [`unboxed`] makes it.
///
/// It allocates nothing (its delegates, which are [`Generator`](super::Generator)s, have one allocation each), and it can be used only through a pin. Its calls
/// are those of `Generator`. A pin of one that takes nothing is an iterator.
///
/// `F` is what holds its body, and has no name that could be written down.
pub struct Unboxed<'a, Y, S, R, X, F>
where
    F: FrameOf<'a, Y, S, R, X> + 'a,
{
    frame: F,
    /// The frame's own, so no other.
    _types: PhantomData<Cell<&'a (Y, S, R, X)>>,
}

/// A generator to be pinned, that has not begun: its body runs when it is started.
///
/// ```
/// use squall::generator::{Co, Step, unboxed};
/// use std::pin::pin;
///
/// let mut total = pin!(unboxed(async |co: &Co<'_, u32, Option<u32>>| {
///     let mut total = 0;
///     while let Some(n) = co.yield_(total).await {
///         total += n;
///     }
///     total
/// }));
/// assert_eq!(total.as_mut().start(), Ok(Step::Yielded(0)));
/// assert_eq!(total.as_mut().send(Some(40)), Ok(Step::Yielded(40)));
/// assert_eq!(total.as_mut().send(Some(2)), Ok(Step::Yielded(42)));
/// assert_eq!(total.as_mut().send(None), Ok(Step::Returned(42)));
///
/// let countdown = pin!(unboxed(async |co: &Co<'_, u32>| {
///     for n in (0..3).rev() {
///         co.yield_(n).await;
///     }
/// }));
/// assert_eq!(countdown.collect::<Vec<_>>(), [2, 1, 0]);
/// ```
///
/// Where it was pinned it stays:
///
/// ```compile_fail,E0277
/// # use squall::generator::{Co, unboxed};
/// # use std::pin::{Pin, pin};
/// let generator = pin!(unboxed(async |co: &Co<'_, u32>| co.yield_(1).await));
/// let movable: &mut _ = Pin::get_mut(generator);
/// ```
pub fn unboxed<'a, Y, S, R, X, F>(f: F) -> Unboxed<'a, Y, S, R, X, impl FrameOf<'a, Y, S, R, X> + 'a>
where
    Y: 'a,
    S: 'a,
    R: 'a,
    X: 'a,
    F: for<'c> AsyncFnOnce(&'c Co<'a, Y, S, X>) -> R + 'a,
{
    from_maker(move |co: &'a Co<'a, Y, S, X>| f(co))
}

fn from_maker<'a, Y: 'a, S: 'a, R: 'a, X: 'a, B>(
    maker: impl FnOnce(&'a Co<'a, Y, S, X>) -> B + 'a,
) -> Unboxed<'a, Y, S, R, X, impl FrameOf<'a, Y, S, R, X> + 'a>
where
    B: Future<Output = R> + 'a,
{
    Unboxed { frame: TypedFrame::new(maker), _types: PhantomData }
}

impl<'a, Y, S, R, X, F> Unboxed<'a, Y, S, R, X, F>
where
    F: FrameOf<'a, Y, S, R, X> + 'a,
{
    #[inline]
    fn root(self: Pin<&mut Self>) -> Root<'a, Y, S, R, X> {
        let frame: &(dyn FrameOf<'a, Y, S, R, X> + 'a) = &self.into_ref().get_ref().frame;
        // SAFETY: pinned, and what is given is used only while this is borrowed. (All that changes in a frame lies in cells.)
        unsafe { Root::new(NonNull::from(frame)) }
    }

    fn state(&self) -> State {
        self.frame.state()
    }

    /// As [`Generator::start`](super::Generator::start).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn start(self: Pin<&mut Self>) -> Resumed<Y, S, R, X> {
        self.root().start()
    }

    /// As [`Generator::resume`](super::Generator::resume).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    #[inline]
    pub fn resume(self: Pin<&mut Self>) -> Resumed<Y, S, R, X>
    where
        S: Default,
    {
        if self.state() == State::Fresh { self.start() } else { self.send(S::default()) }
    }

    /// As [`Generator::send`](super::Generator::send).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    #[inline]
    pub fn send(self: Pin<&mut Self>, value: S) -> Resumed<Y, S, R, X> {
        self.root().send(value)
    }

    /// As [`Generator::throw`](super::Generator::throw).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn throw(self: Pin<&mut Self>, thrown: X) -> Resumed<Y, S, R, X> {
        self.root().throw(thrown)
    }

    /// As [`Generator::close`](super::Generator::close).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn close(self: Pin<&mut Self>) -> Result<Option<R>, ResumeError<S, X>> {
        self.root().close()
    }

    /// True if it was started.
    pub fn is_started(&self) -> bool {
        self.state() != State::Fresh
    }

    /// True if it has ended.
    pub fn is_finished(&self) -> bool {
        self.state() == State::Finished
    }
}

impl<'a, Y, S, R, X, F> Drop for Unboxed<'a, Y, S, R, X, F>
where
    F: FrameOf<'a, Y, S, R, X> + 'a,
{
    fn drop(&mut self) {
        // SAFETY: pinned if it was ever resumed, and in any case not moved any more.
        tell(unsafe { Pin::new_unchecked(self) }.root().end());
    }
}

/// The values that it yields. What it returns is dropped.
impl<'a, Y, R, F> Iterator for Pin<&mut Unboxed<'a, Y, (), R, Infallible, F>>
where
    F: FrameOf<'a, Y, (), R, Infallible> + 'a,
{
    type Item = Y;

    #[inline]
    fn next(&mut self) -> Option<Y> {
        self.as_mut().resume().ok().and_then(Step::yielded)
    }
}

impl<'a, Y, R, F> std::iter::FusedIterator for Pin<&mut Unboxed<'a, Y, (), R, Infallible, F>> where
    F: FrameOf<'a, Y, (), R, Infallible> + 'a
{
}

impl<'a, Y, S, R, X, F> fmt::Debug for Unboxed<'a, Y, S, R, X, F>
where
    F: FrameOf<'a, Y, S, R, X> + 'a,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unboxed").field("state", &self.state()).finish_non_exhaustive()
    }
}
