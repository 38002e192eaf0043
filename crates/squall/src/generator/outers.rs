//! Outer bodies that wait for more than their delegate: a timeout around a `yield_from`, a join with it.
//!
//! Only the innermost body is polled, which is what makes an item cheap at any depth. But where that one awaits, what it is raced with above it may be
//! ready; so before a generator says that it waits, the outer bodies have their turn too, from the innermost outwards, until one has given up its delegate. Nearly
//! all of them wait for nothing else, and need not be asked twice. A future that waits registers the waker that it is polled with, so a body that has
//! not cloned it waits for its delegate alone: that is found out once for each delegation. Those that wait alone are passed over by the run, so an item that is
//! awaited costs what else is waited for, and not the depth. (Polling every outer body at every wake was rejected: it costs the depth for each item
//! that is awaited. Not polling them was too: a timeout that never fires is a silent hang. So was watching a body that is known to wait for something each time:
//! it would see another waker by turns, and there are futures that wake the one they had before.)

use super::channel::{Besides, State};
use super::frame::{FramePtr, channel_of};
use super::outcome::Raised;
use super::resume::{Came, EndOnPanic};
use std::mem::forget;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Polls the outer bodies until one has done something. Gives that one, and what it came to.
///
/// # Safety
/// As for `resume`.
#[cold]
pub(super) unsafe fn poll_outers<'a, Y, S, X>(
    frame: FramePtr<'a, Y, S, X>,
    waker: &Waker,
) -> Option<(FramePtr<'a, Y, S, X>, Came<X>)> {
    // SAFETY: by the contract.
    let root = unsafe { channel_of(frame) };
    let changes = root.changes.get();
    let (depth, mut at, mut learned) = (root.depth(), root.depth(), None);
    while let Some(below) = at.checked_sub(1) {
        at = below;
        let outer = root.below(at).unwrap_or(frame);
        // SAFETY: nothing has changed so far, so it is on the stack, or the root.
        let channel = unsafe { channel_of(outer) };
        if let Some(thrown) = channel.raised.take() {
            return Some((outer, Came::Raises(Raised::Thrown(thrown))));
        }
        if channel.state.get() != State::Begun {
            continue;
        }
        let besides = channel.besides.get();
        if let Besides::Nothing(run) = besides {
            at = (at + 1).saturating_sub(run as usize);
            continue;
        }
        let watch = Watch { waker, is_registered: AtomicBool::new(besides == Besides::Something) };
        let guard = EndOnPanic { frame };
        // SAFETY: BEGUN and pinned, as all that have a delegate; none of them is being polled. The waker of a watch is lent for this call.
        let has_returned = unsafe {
            match besides {
                Besides::Something => outer.as_ref().poll(waker),
                _ => outer.as_ref().poll(&watch.lend()),
            }
        };
        forget(guard);
        if has_returned {
            return Some((outer, Came::Returned));
        }
        if root.changes.get() != changes {
            return Some((outer, Came::Paused));
        }
        if let Some(thrown) = channel.raised.take() {
            return Some((outer, Came::Raises(Raised::Thrown(thrown))));
        }
        if watch.is_registered.load(Ordering::Relaxed) {
            channel.besides.set(Besides::Something);
        } else {
            channel.besides.set(Besides::Nothing(1));
            learned = Some(at);
        }
    }
    // From the lowest that is new to its run, each counts those below it.
    let mut run = 0;
    for at in learned.map_or(depth, |lowest| lowest.saturating_sub(1))..depth {
        // SAFETY: as above.
        let besides = unsafe { &channel_of(root.below(at).unwrap_or(frame)).besides };
        run = match besides.get() {
            Besides::Nothing(known) => known.max(run + 1),
            _ => 0,
        };
        if run > 0 {
            besides.set(Besides::Nothing(run));
        }
    }
    None
}

/// Says whether a waker was cloned, or woken at once.
struct Watch<'w> {
    waker: &'w Waker,
    is_registered: AtomicBool,
}

/// # Invariant
/// The data of a waker with this vtable is a `Watch` that outlives it: it is only lent, and its clones are those of the waker inside.
static LENT: RawWakerVTable = RawWakerVTable::new(
    |data| {
        let waker = watch(&data).register().clone();
        let clone = RawWaker::new(waker.data(), waker.vtable());
        forget(waker);
        clone
    },
    |data| watch(&data).register().wake_by_ref(),
    |data| watch(&data).register().wake_by_ref(),
    |_| {},
);

fn watch<'d>(data: &'d *const ()) -> &'d Watch<'d> {
    // SAFETY: by the invariant of `LENT`, whose functions alone call this.
    unsafe { &*data.cast() }
}

impl Watch<'_> {
    fn register(&self) -> &Waker {
        self.is_registered.store(true, Ordering::Relaxed);
        self.waker
    }

    /// # Safety
    /// What is given is dropped before this, and only references to it are handed out.
    unsafe fn lend(&self) -> Waker {
        // SAFETY: the vtable's functions take the data as what it is, from any thread; clones are those of the waker inside. By the contract it outlives what is made here.
        unsafe { Waker::new((&raw const *self).cast(), &LENT) }
    }
}
