//! A generator's memory, and the loop that resumes it.
//!
//! A *frame* is one allocation: the channel that caller and body speak through, the body, and later its value. Whoever delegates (`yield from`) puts the
//! delegate's frame on the *stack* of the outermost generator, its root, and pauses; the root resumes the frame on top and no other until that one has
//! ended. So a value travels through a thousand levels for the price of one. (Polling a delegate inside its outer's poll was rejected: it costs a
//! call per level for each item.)
//!
//! ```text
//!   caller ⇄ root.stack: [ delegate of the root, delegate of that, … ] ⇄ the innermost yields
//!            an empty stack: the root itself
//! ```

use super::attach::Attaching;
use super::outcome::Raised;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Fresh,
    /// At a yield, or behind a delegate.
    Suspended,
    /// Its poll is on the call stack.
    Running,
    /// The body is gone; a value may be there.
    Finished,
}

/// What the body of a frame waits at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Nothing,
    /// What is raised here ends the body.
    Plain,
    /// What is raised here is told to the body.
    Catching,
}

pub(super) type Answer<S, X> = Result<S, Raised<X>>;

/// What caller and body speak through.
pub(super) struct Channel<'a, Y, S, X> {
    pub(super) state: Cell<State>,
    pub(super) at: Cell<At>,
    /// What was yielded and not taken yet.
    pub(super) out: Cell<Option<Y>>,
    /// The answer to the yield.
    pub(super) answer: Cell<Option<Answer<S, X>>>,
    /// What the body itself raises.
    pub(super) raised: Cell<Option<X>>,
    /// The channel of the generator that is resumed by a caller; its own, unless somebody delegates to it.
    root: Cell<*const Channel<'a, Y, S, X>>,
    /// The delegates of a root.
    stack: UnsafeCell<Vec<FramePtr<'a, Y, S, X>>>,
}

/// # Invariant
/// A frame on a root's stack is alive: it is owned by a `YieldFrom` that takes it off when it is dropped, or was leaked. What it borrows lives for
/// `'a`, which outlives the root.
pub(super) type FramePtr<'a, Y, S, X> = NonNull<dyn Frame<'a, Y, S, X> + 'a>;

/// A frame without the types of its body and of its value.
///
/// # Safety
/// What implements it begins with its channel.
pub(super) unsafe trait Frame<'a, Y, S, X> {
    /// Runs the body up to its next pause, not for the first time. True if it has returned: then its value is kept.
    ///
    /// # Safety
    /// The frame is pinned, and RUNNING with no poll of it on the call stack.
    unsafe fn poll(&self) -> bool;

    /// As `poll`, for the first time.
    ///
    /// # Safety
    /// As for `poll`.
    unsafe fn poll_first(&self) -> bool;

    /// Drops the body.
    ///
    /// # Safety
    /// The body was not dropped before and no poll of it is on the call stack.
    unsafe fn drop_body(&self);
}

/// A frame's channel.
///
/// # Safety
/// The frame is alive, for as long as what is given is used.
#[inline(always)]
pub(super) unsafe fn channel_of<'f, 'a, Y, S, X>(frame: FramePtr<'a, Y, S, X>) -> &'f Channel<'a, Y, S, X> {
    // SAFETY: alive, and every frame begins with its channel.
    unsafe { frame.cast().as_ref() }
}

impl<'a, Y, S, X> Channel<'a, Y, S, X> {
    pub(super) fn new() -> Channel<'a, Y, S, X> {
        Channel {
            state: Cell::new(State::Fresh),
            at: Cell::new(At::Nothing),
            out: Cell::new(None),
            answer: Cell::new(None),
            raised: Cell::new(None),
            root: Cell::new(std::ptr::null()),
            stack: UnsafeCell::new(Vec::new()),
        }
    }

    fn root(&self) -> &Channel<'a, Y, S, X> {
        // SAFETY: null, or the root that this frame stands on the stack of. A root takes its frames off, or ends them, before it goes.
        unsafe { self.root.get().as_ref() }.unwrap_or(self)
    }

    /// The frame on top of a root's stack.
    #[inline]
    fn top(&self) -> Option<FramePtr<'a, Y, S, X>> {
        // SAFETY: no reference into the stack outlives a method of this type, and none calls anything meanwhile.
        unsafe { (*self.stack.get()).last().copied() }
    }

    fn is_top(&self) -> bool {
        let root = self.root();
        // SAFETY: frames on the stack are alive.
        let top = root.top().map_or(root, |frame| unsafe { channel_of(frame) });
        std::ptr::eq(top, self)
    }

    /// Takes a frame off the stack of this root, with what it has put above itself and forgotten.
    fn take_off(&self, done: FramePtr<'a, Y, S, X>) {
        // SAFETY: as in `top`; the frames are alive.
        unsafe {
            while let Some(frame) = (*self.stack.get()).pop() {
                channel_of(frame).root.set(std::ptr::null());
                if frame.cast::<()>() == done.cast() {
                    break;
                }
            }
        }
    }

    /// Puts a delegate, with those that it delegates to itself, on top of the caller's frame.
    ///
    /// # Panics
    /// If the body of this frame delegates or yields already.
    pub(super) fn delegate(&self, frame: FramePtr<'a, Y, S, X>) {
        assert!(
            self.is_top() && self.at.get() == At::Nothing,
            "a generator's body awaits one yield at a time: it cannot join or race them"
        );
        let root = self.root();
        // SAFETY: the frame is alive, and it is not the root, which is being resumed; so these are two stacks. As in `top`.
        unsafe {
            let theirs = std::mem::take(&mut *channel_of(frame).stack.get());
            let mine = &mut *root.stack.get();
            for frame in std::iter::once(frame).chain(theirs) {
                channel_of(frame).root.set(root);
                mine.push(frame);
            }
        }
    }

    /// Takes a delegate off again, with those above it, which are its own.
    pub(super) fn recall(&self, frame: &Channel<'a, Y, S, X>) {
        if self.is_top() {
            return;
        }
        let root = self.root();
        // SAFETY: as in `top`; frames on the stack are alive.
        unsafe {
            let stack = &mut *root.stack.get();
            let Some(at) = stack.iter().rposition(|known| std::ptr::eq(channel_of(*known), frame)) else {
                return;
            };
            let mut taken = stack.split_off(at).into_iter();
            taken.next();
            frame.root.set(std::ptr::null());
            for delegate in taken {
                channel_of(delegate).root.set(frame);
                (*frame.stack.get()).push(delegate);
            }
        }
    }

    /// Leaves an answer for the yield that this generator waits at, its delegates included. For a root that is not resumed.
    pub(super) fn answer_innermost(&self, answer: Answer<S, X>) {
        // SAFETY: frames on the stack are alive.
        let innermost = self.top().map_or(self, |frame| unsafe { channel_of(frame) });
        innermost.answer.set(Some(answer));
    }

    /// Ends a generator, innermost delegates first. Gives the first panic of a destructor. For a root.
    ///
    /// # Safety
    /// `frame` is this channel's own, and no poll of it or its delegates is on the call stack.
    pub(super) unsafe fn end_all(&self, frame: FramePtr<'a, Y, S, X>) -> Option<Panic> {
        let mut first = None;
        while let Some(top) = self.top() {
            // SAFETY: frames on the stack are alive and none is polled.
            let panic = unsafe { end(top) };
            self.take_off(top);
            first = either(first, panic);
        }
        // SAFETY: by the contract.
        either(first, unsafe { end(frame) })
    }
}

type Panic = Box<dyn Any + Send>;

fn either(first: Option<Panic>, second: Option<Panic>) -> Option<Panic> {
    if first.is_none() {
        return second;
    }
    discard(second);
    first
}

/// Drops a panic that cannot be told: its destructor may panic too.
pub(super) fn discard(panic: Option<Panic>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(panic);
    }
}

/// Drops a body that was not dropped yet. Gives the panic of its destructors.
///
/// # Safety
/// The frame is alive, and no poll of it is on the call stack.
unsafe fn end<Y, S, X>(frame: FramePtr<'_, Y, S, X>) -> Option<Panic> {
    // SAFETY: by the contract.
    let channel = unsafe { channel_of(frame) };
    if channel.state.replace(State::Finished) == State::Finished {
        return None;
    }
    // SAFETY: by the contract, and it was not finished.
    let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { frame.as_ref().drop_body() }));
    channel.at.set(At::Nothing);
    dropped.err()
}

/// What a call of the caller's came to.
pub(super) enum Outcome<Y, X> {
    Yielded(Y),
    /// The root's value is in its frame.
    Returned,
    Raised(Raised<X>),
    IgnoredExit,
}

/// Resumes a root: `answer` goes to whoever yielded last, or nobody has yet.
///
/// # Safety
/// `frame` is a root's, pinned and not finished, and no poll of it or its delegates is on the call stack.
#[inline]
pub(super) unsafe fn resume<Y, S, X>(
    frame: FramePtr<'_, Y, S, X>,
    mut answer: Option<Answer<S, X>>,
    is_closing: bool,
) -> Outcome<Y, X> {
    // SAFETY: by the contract; the frame outlives the call.
    let root = unsafe { channel_of(frame) };
    loop {
        let top = root.top();
        let running = top.unwrap_or(frame);
        // SAFETY: frames on the stack are alive.
        let channel = unsafe { channel_of(running) };
        let error = match answer.take() {
            Some(Err(error)) if channel.at.get() != At::Catching => error,
            told => {
                channel.answer.set(told);
                let was = channel.state.replace(State::Running);
                let guard = EndOnPanic { root, frame, running };
                // SAFETY: RUNNING since just now, and pinned: a root by the contract, a delegate since it was made.
                let has_returned = unsafe {
                    if was == State::Fresh { running.as_ref().poll_first() } else { running.as_ref().poll() }
                };
                std::mem::forget(guard);
                if has_returned {
                    if top.is_none() {
                        return Outcome::Returned;
                    }
                    root.take_off(running);
                    // Its outer goes on with the value, unless all of them are to end: PEP 380.
                    if is_closing {
                        answer = Some(Err(Raised::Closed));
                    }
                    continue;
                }
                channel.state.set(State::Suspended);
                if let Some(yielded) = channel.out.take() {
                    return if is_closing { Outcome::IgnoredExit } else { Outcome::Yielded(yielded) };
                }
                let now = root.top();
                if now.map(NonNull::cast::<()>) != top.map(NonNull::cast) {
                    // It delegates. One that had come to a yield before was given its answer with that.
                    let delegate = now.expect("a frame that is polled pushes, and pops nothing");
                    // SAFETY: frames on the stack are alive.
                    answer = unsafe { channel_of(delegate) }.answer.take();
                    continue;
                }
                match channel.raised.take() {
                    Some(thrown) => Raised::Thrown(thrown),
                    None => not_a_yield(root, frame),
                }
            }
        };
        // SAFETY: no poll is on the call stack any more.
        if let Some(panic) = unsafe { end(running) } {
            // SAFETY: as above. What else panics is not told: one panic is all that can come out.
            discard(unsafe { root.end_all(frame) });
            resume_unwind(panic);
        }
        if top.is_none() {
            return Outcome::Raised(error);
        }
        root.take_off(running);
        answer = Some(Err(error));
    }
}

#[cold]
fn not_a_yield<'a, Y, S, X>(root: &Channel<'a, Y, S, X>, frame: FramePtr<'a, Y, S, X>) -> ! {
    // SAFETY: no poll is on the call stack.
    discard(unsafe { root.end_all(frame) });
    panic!(
        "a generator's body awaited something that is neither a yield nor ready: a synchronous generator has no loop to wait on; use an async generator"
    );
}

/// A panic of a body ends the whole chain.
struct EndOnPanic<'f, 'a, Y, S, X> {
    root: &'f Channel<'a, Y, S, X>,
    frame: FramePtr<'a, Y, S, X>,
    running: FramePtr<'a, Y, S, X>,
}

impl<Y, S, X> Drop for EndOnPanic<'_, '_, Y, S, X> {
    fn drop(&mut self) {
        // SAFETY: frames are alive. The poll that panicked is off the stack; its frame may have put a delegate above itself, which was not
        // polled. One whose body has returned, and panicked in its destructor, is FINISHED already.
        unsafe {
            let state = &channel_of(self.running).state;
            if state.get() == State::Running {
                state.set(State::Suspended);
            }
            discard(self.root.end_all(self.frame));
        }
    }
}

/// A frame with its types.
///
/// # Invariant
/// Pinned from the first poll on. `body` holds the body until the state is FINISHED, `value` its value after it has returned and until that is
/// taken. Both are touched only by `poll`, `drop_body` and `take_value`, of which no two are on the call stack for one frame.
#[repr(C)]
pub(super) struct TypedFrame<'a, Y, S, R, X, F> {
    pub(super) channel: Channel<'a, Y, S, X>,
    value: UnsafeCell<Option<R>>,
    body: UnsafeCell<ManuallyDrop<F>>,
    _pinned: PhantomPinned,
}

impl<'a, Y, S, R, X, F> TypedFrame<'a, Y, S, R, X, F> {
    pub(super) fn new(body: F) -> Self {
        TypedFrame {
            channel: Channel::new(),
            value: UnsafeCell::new(None),
            body: UnsafeCell::new(ManuallyDrop::new(body)),
            _pinned: PhantomPinned,
        }
    }
}

/// A frame without the type of its body.
pub(super) trait FrameOf<'a, Y, S, R, X>: Frame<'a, Y, S, X> {
    fn take_value(&self) -> Option<R>;
}

impl<'a, Y, S, R, X, F: Future<Output = R>> FrameOf<'a, Y, S, R, X> for TypedFrame<'a, Y, S, R, X, F> {
    fn take_value(&self) -> Option<R> {
        // SAFETY: by the invariant nobody else is in there, and nothing is called meanwhile.
        unsafe { (*self.value.get()).take() }
    }
}

// SAFETY: `repr(C)`, and the channel comes first.
unsafe impl<'a, Y, S, R, X, F: Future<Output = R>> Frame<'a, Y, S, X> for TypedFrame<'a, Y, S, R, X, F> {
    #[cold]
    unsafe fn poll_first(&self) -> bool {
        let _here = Attaching::new(&self.channel);
        // SAFETY: by the contract.
        unsafe { self.poll() }
    }

    #[inline]
    unsafe fn poll(&self) -> bool {
        // SAFETY: pinned and there by the contract.
        let body = unsafe { Pin::new_unchecked(&mut **self.body.get()) };
        match body.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => false,
            Poll::Ready(value) => {
                // SAFETY: by the invariant; the body has returned and is dropped here for good (FINISHED comes before anybody looks).
                unsafe {
                    *self.value.get() = Some(value);
                    self.channel.state.set(State::Finished);
                    ManuallyDrop::drop(&mut *self.body.get());
                }
                true
            }
        }
    }

    unsafe fn drop_body(&self) {
        // SAFETY: by the contract.
        unsafe { ManuallyDrop::drop(&mut *self.body.get()) }
    }
}
