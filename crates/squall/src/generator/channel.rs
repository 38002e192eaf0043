//! What a generator's caller and its body speak through, and the stack of delegates.
//!
//! Whoever delegates (`yield from`) puts the delegate's frame on the *stack* of the outermost generator, its root, and pauses; the root resumes the frame on top and
//! no other until that one has ended. So a value travels through a thousand levels for the price of one. (Polling a delegate inside its outer's poll was
//! rejected: it costs a call per level for each item.)
//!
//! ```text
//!   caller ⇄ root.stack: [ delegate of the root, delegate of that, … ] ⇄ the innermost yields
//!            an empty stack: the root itself
//! ```

use super::frame::{FramePtr, Panic, channel_of, either, end};
use super::outcome::Raised;
use std::cell::{Cell, UnsafeCell};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Fresh,
    /// At a yield, behind a delegate, awaiting something else, or being polled.
    Begun,
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

/// What a body that delegates waits for besides its delegate, as far as is known.
///
/// # Invariant
/// It is learned of bodies that stand below others on a stack, and holds until they delegate anew; so nothing that stands below such a body, which is what
/// a run counts, changes before it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Besides {
    Unknown,
    Something,
    /// Nothing; and so do the others of a run of so many that stand below it without a gap, itself included.
    Nothing(u32),
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
    /// The channel of the generator that is resumed by a caller; null if that is this one, because nobody delegates to it.
    root: Cell<*const Channel<'a, Y, S, X>>,
    /// What its body waits for besides its delegate.
    pub(super) besides: Cell<Besides>,
    /// How often the stack of this root was changed by a body.
    pub(super) changes: Cell<usize>,
    /// The delegates of a root.
    stack: UnsafeCell<Vec<FramePtr<'a, Y, S, X>>>,
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
            besides: Cell::new(Besides::Unknown),
            changes: Cell::new(0),
            stack: UnsafeCell::new(Vec::new()),
        }
    }

    fn root(&self) -> &Channel<'a, Y, S, X> {
        // SAFETY: null, or the root that this frame stands on the stack of. A root takes its frames off, or ends them, before it goes.
        unsafe { self.root.get().as_ref() }.unwrap_or(self)
    }

    /// The frame on top of a root's stack.
    #[inline]
    pub(super) fn top(&self) -> Option<FramePtr<'a, Y, S, X>> {
        // SAFETY: no reference into the stack outlives a method of this type, and none calls anything meanwhile.
        unsafe { (*self.stack.get()).last().copied() }
    }

    /// How many delegates stand on a root's stack.
    pub(super) fn depth(&self) -> usize {
        // SAFETY: as in `top`.
        unsafe { (*self.stack.get()).len() }
    }

    /// The frame that so many others stand below, on a root's stack: the root itself is below all of them.
    pub(super) fn below(&self, depth: usize) -> Option<FramePtr<'a, Y, S, X>> {
        // SAFETY: as in `top`.
        let stack = unsafe { &*self.stack.get() };
        stack.get(depth.checked_sub(1)?).copied()
    }

    pub(super) fn is_top(&self) -> bool {
        let root = self.root();
        // SAFETY: frames on the stack are alive.
        let top = root.top().map_or(root, |frame| unsafe { channel_of(frame) });
        std::ptr::eq(top, self)
    }

    /// Takes a frame off the stack of this root, with what it has put above itself and forgotten.
    pub(super) fn take_off(&self, done: FramePtr<'a, Y, S, X>) {
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
        root.changes.set(root.changes.get().wrapping_add(1));
        self.besides.set(Besides::Unknown);
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
        root.changes.set(root.changes.get().wrapping_add(1));
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
