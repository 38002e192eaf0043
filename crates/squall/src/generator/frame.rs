//! A generator's memory: the channel that caller and body speak through, the body, and later its value, in one place.
//!
//! What the caller gave is not a future yet but what makes one of the channel: its place is known only once the frame is moved no more. So the
//! body is made at the first step, and lies where its maker lay. (Having the body ask for its channel through a thread-local, when it is first
//! polled, was rejected: it costs a state machine around the body's own, and eight instructions of every step. A reference-counted channel would be a
//! second allocation.)

use super::channel::{At, Channel, State};
use super::co::Co;
use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem::{ManuallyDrop, forget};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// # Invariant
/// A frame on a root's stack is alive: it is owned by a `YieldFrom` that takes it off when it is dropped, or was leaked. What it borrows lives for
/// `'a`, which outlives the root.
pub(super) type FramePtr<'a, Y, S, X> = NonNull<dyn Frame<'a, Y, S, X> + 'a>;

/// A frame without the types of its body and of its value.
///
/// # Safety
/// What implements it begins with its channel.
pub unsafe trait Frame<'a, Y, S, X> {
    /// Runs the body up to its next pause, not for the first time. True if it has returned: then its value is kept.
    ///
    /// # Safety
    /// The frame is pinned, and BEGUN with no poll of it on the call stack.
    unsafe fn poll(&self, waker: &Waker) -> bool;

    /// As `poll`, for the first time.
    ///
    /// # Safety
    /// The frame is pinned, and FRESH.
    unsafe fn poll_first(&self, waker: &Waker) -> bool;

    /// Drops the body, or what would make it.
    ///
    /// # Safety
    /// As `state` says it is there, and no poll of it is on the call stack.
    unsafe fn drop_body(&self, state: State);
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

pub(super) type Panic = Box<dyn Any + Send>;

pub(super) fn either(first: Option<Panic>, second: Option<Panic>) -> Option<Panic> {
    if first.is_none() {
        return second;
    }
    discard(second);
    first
}

/// Drops a panic that cannot be told: its destructor may panic too.
pub(super) fn discard(panic: Option<Panic>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        forget(panic);
    }
}

/// Goes on with a panic of a destructor, unless one is under way already.
pub(super) fn tell(panic: Option<Panic>) {
    match panic {
        Some(panic) if !std::thread::panicking() => resume_unwind(panic),
        panic => discard(panic),
    }
}

/// Drops a body that was not dropped yet. Gives the panic of its destructors.
///
/// # Safety
/// The frame is alive, and no poll of it is on the call stack.
pub(super) unsafe fn end<Y, S, X>(frame: FramePtr<'_, Y, S, X>) -> Option<Panic> {
    // SAFETY: by the contract.
    let channel = unsafe { channel_of(frame) };
    let state = channel.state.replace(State::Finished);
    if state == State::Finished {
        return None;
    }
    // SAFETY: by the contract, and it was not finished.
    let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { frame.as_ref().drop_body(state) }));
    channel.at.set(At::Nothing);
    dropped.err()
}

/// What makes a body of its channel, and then the body. Which of them is there the frame's state says: FRESH, the maker; BEGUN, the body; FINISHED,
/// neither.
pub(super) union Stages<M, B> {
    maker: ManuallyDrop<M>,
    body: ManuallyDrop<B>,
}

/// A frame with its types.
///
/// # Invariant
/// Pinned from the first poll on. `stages` holds what the state says, and `value` the body's value after it has returned and until that is
/// taken. Both are touched only by `poll`, `poll_first`, `drop_body` and `take_value`, of which no two are on the call stack for one frame.
#[repr(C)]
pub(super) struct TypedFrame<'a, Y, S, R, X, M, B> {
    co: Co<'a, Y, S, X>,
    value: UnsafeCell<Option<R>>,
    stages: UnsafeCell<Stages<M, B>>,
    _pinned: PhantomPinned,
}

impl<'a, Y: 'a, S: 'a, R, X: 'a, M, B> TypedFrame<'a, Y, S, R, X, M, B>
where
    M: FnOnce(&'a Co<'a, Y, S, X>) -> B,
{
    pub(super) fn new(maker: M) -> Self {
        TypedFrame {
            co: Co::new(),
            value: UnsafeCell::new(None),
            stages: UnsafeCell::new(Stages { maker: ManuallyDrop::new(maker) }),
            _pinned: PhantomPinned,
        }
    }
}

/// A frame without the type of its body.
pub trait FrameOf<'a, Y, S, R, X>: Frame<'a, Y, S, X> {
    fn state(&self) -> State;

    fn take_value(&self) -> Option<R>;
}

impl<'a, Y: 'a, S: 'a, R, X: 'a, M, B> FrameOf<'a, Y, S, R, X> for TypedFrame<'a, Y, S, R, X, M, B>
where
    M: FnOnce(&'a Co<'a, Y, S, X>) -> B,
    B: Future<Output = R>,
{
    fn state(&self) -> State {
        self.co.channel.state.get()
    }

    fn take_value(&self) -> Option<R> {
        // SAFETY: by the invariant nobody else is in there, and nothing is called meanwhile.
        unsafe { (*self.value.get()).take() }
    }
}

// SAFETY: `repr(C)`, and `Co` comes first, which is a channel.
unsafe impl<'a, Y: 'a, S: 'a, R, X: 'a, M, B> Frame<'a, Y, S, X> for TypedFrame<'a, Y, S, R, X, M, B>
where
    M: FnOnce(&'a Co<'a, Y, S, X>) -> B,
    B: Future<Output = R>,
{
    #[inline]
    unsafe fn poll(&self, waker: &Waker) -> bool {
        // SAFETY: pinned and there by the contract.
        let body = unsafe { Pin::new_unchecked(&mut *(*self.stages.get()).body) };
        match body.poll(&mut Context::from_waker(waker)) {
            Poll::Pending => false,
            Poll::Ready(value) => {
                // SAFETY: by the invariant; the body has returned and is dropped here for good (FINISHED comes before anybody looks).
                unsafe {
                    *self.value.get() = Some(value);
                    self.co.channel.state.set(State::Finished);
                    ManuallyDrop::drop(&mut (*self.stages.get()).body);
                }
                true
            }
        }
    }

    #[cold]
    unsafe fn poll_first(&self, waker: &Waker) -> bool {
        let state = &self.co.channel.state;
        // Neither is there while the maker runs: it may panic.
        state.set(State::Finished);
        // SAFETY: FRESH, so the maker is there, and it is read once. The channel lies here until the body is dropped, and a body that was made for
        // any lifetime cannot make use of this one's length.
        unsafe {
            let stages = self.stages.get();
            let maker = ManuallyDrop::into_inner(std::ptr::read(&raw const (*stages).maker));
            let co = &raw const self.co;
            let body = maker(&*co);
            stages.write(Stages { body: ManuallyDrop::new(body) });
        }
        state.set(State::Begun);
        // SAFETY: pinned by the contract, BEGUN since just now.
        unsafe { self.poll(waker) }
    }

    unsafe fn drop_body(&self, state: State) {
        // SAFETY: by the contract it is there, and nobody else is in there.
        unsafe {
            let stages = &mut *self.stages.get();
            match state {
                State::Fresh => ManuallyDrop::drop(&mut stages.maker),
                State::Begun => ManuallyDrop::drop(&mut stages.body),
                State::Finished => {}
            }
        }
    }
}
