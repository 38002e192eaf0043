//! What other threads leave for a loop, and how it sleeps without missing it.
//!
//! Three small pieces, each free of locks, each model-checked with loom (`tests/loom.rs` includes this very
//! file with loom's atomics, so nothing here names `std::sync::atomic` or the rest of the crate):
//!
//! * [`WakeStack`]: remote wakes. A slot links itself through the loop's immortal pages: nothing is allocated, an
//!   entry stands at most once, a push never blocks and never fails.
//! * [`MessageStack`]: everything that carries data (a spawn, a descriptor to close); one allocation each, and
//!   it can be closed, so that nothing is accepted that nobody will read.
//! * [`Sleep`]: announce, fence, look again, sleep; a producer pushes, fences, looks whether the loop sleeps.
//!
//! A bounded queue was rejected: when it is full a wake must block or be lost, and both have been seen to
//! deadlock programs. An `Arc` per wake was rejected: a wake must not allocate.

use super::atomics::{AtomicBool, AtomicPtr, AtomicU32, Ordering, fence};

/// One slot's membership in a [`WakeStack`].
///
/// `queued` is true from the push until the loop has taken the entry. Whoever turns it from false to true owns
/// `next` until the loop takes over. A waker that finds it true adds nothing, but its read-modify-write
/// is in the modification order before the loop's clearing one, so the poll that follows sees all that it wrote.
#[derive(Clone, Copy)]
pub(crate) struct WakeLink<'a> {
    pub(crate) queued: &'a AtomicBool,
    pub(crate) next: &'a AtomicU32,
}

/// The stack of slots that other threads have woken. Zero is the empty stack; otherwise slot + 1.
pub(crate) struct WakeStack {
    head: AtomicU32,
}

impl WakeStack {
    pub(crate) fn new() -> WakeStack {
        WakeStack { head: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == 0
    }

    /// Pushes `slot`; false if it was there already (then there is nobody to notify: whoever pushed it will).
    pub(crate) fn push(&self, slot: u32, link: WakeLink<'_>) -> bool {
        if link.queued.swap(true, Ordering::AcqRel) {
            return false;
        }
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link.next.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, slot + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all entries and calls `each` for them, oldest first. Only the loop calls this.
    pub(crate) fn take<'a>(&self, link_of: impl Fn(u32) -> WakeLink<'a>, mut each: impl FnMut(u32)) {
        let mut newest = self.head.swap(0, Ordering::Acquire);
        let mut oldest = 0;
        while newest != 0 {
            let link = link_of(newest - 1);
            let next = link.next.load(Ordering::Relaxed);
            link.next.store(oldest, Ordering::Relaxed);
            oldest = newest;
            newest = next;
        }
        while oldest != 0 {
            let slot = oldest - 1;
            let link = link_of(slot);
            oldest = link.next.load(Ordering::Relaxed);
            // Cleared after `next` was read (the entry may be pushed again at once) and before the task is
            // polled (a wake during the poll must not be lost).
            link.queued.swap(false, Ordering::AcqRel);
            each(slot);
        }
    }
}

struct Node<T> {
    message: T,
    next: *mut Node<T>,
}

/// A stack of boxed messages that can be closed.
///
/// # Invariant
/// `head` is null, `closed()`, or a `Box<Node>` that the stack owns, whose `next` is again null or an owned
/// node. A node belongs to its pusher until the exchange that publishes it, and to whoever swaps it out after.
///
/// An exchange compares addresses, so a push may link to a node that is younger than the pointer it had loaded and lies
/// where an older one was freed. That is the right node; only the pointer's provenance is the dead one's. So
/// nodes are exposed when they are made, and the taker follows their addresses.
pub(crate) struct MessageStack<T> {
    head: AtomicPtr<Node<T>>,
}

// SAFETY: nodes are owned by the stack and handed over whole (see the invariant), so sharing the stack moves `T`s
// between threads and nothing else.
unsafe impl<T: Send> Sync for MessageStack<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for MessageStack<T> {}

impl<T> MessageStack<T> {
    /// A stack that is closed until [`open`](Self::open).
    pub(crate) fn new_closed() -> MessageStack<T> {
        MessageStack { head: AtomicPtr::new(Self::closed()) }
    }

    /// The address of no node: the stack takes nothing any more.
    fn closed() -> *mut Node<T> {
        std::ptr::without_provenance_mut(std::mem::align_of::<Node<T>>())
    }

    pub(crate) fn open(&self) {
        self.head.store(std::ptr::null_mut(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Pushes a message, or gives it back when the stack is closed.
    pub(crate) fn push(&self, message: T) -> Result<(), T> {
        let node = Box::into_raw(Box::new(Node { message, next: std::ptr::null_mut() }));
        node.expose_provenance();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == Self::closed() {
                // SAFETY: the node was never published, it is still ours alone.
                return Err(unsafe { Box::from_raw(node) }.message);
            }
            // SAFETY: as above: unpublished, so nobody else looks at it.
            unsafe { (*node).next = head };
            match self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all messages, oldest first. Only the loop calls this.
    pub(crate) fn take(&self) -> Vec<T> {
        self.collect(std::ptr::null_mut())
    }

    /// Takes all messages and refuses new ones.
    pub(crate) fn close(&self) -> Vec<T> {
        self.collect(Self::closed())
    }

    fn collect(&self, leave: *mut Node<T>) -> Vec<T> {
        let mut node = self.head.swap(leave, Ordering::AcqRel);
        let mut messages = Vec::new();
        while !node.is_null() && node != Self::closed() {
            // SAFETY: the swap made the whole chain ours, and its nodes were exposed (see the invariant).
            let owned =
                unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Node<T>>(node.addr())) };
            node = owned.next;
            messages.push(owned.message);
        }
        messages.reverse();
        messages
    }
}

impl<T> Drop for MessageStack<T> {
    fn drop(&mut self) {
        self.close();
    }
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// The sleep handshake.
///
/// The loop: [`announce`](Self::announce), look at both stacks again, sleep, [`awake`](Self::awake). A producer: push, then
/// [`must_notify`](Self::must_notify). The two full fences order one side's write before its own read, so
/// at least one side sees the other: either the loop finds the entry, or the producer finds the loop asleep.
pub(crate) struct Sleep {
    state: AtomicU32,
}

impl Sleep {
    pub(crate) fn new() -> Sleep {
        Sleep { state: AtomicU32::new(AWAKE) }
    }

    pub(crate) fn announce(&self) {
        // Release: who finds the loop asleep (and acquires) must also find the bell that this loop has set up before.
        self.state.store(ASLEEP, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn awake(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// True for one producer per sleep: the one that has to wake the loop.
    pub(crate) fn must_notify(&self) -> bool {
        fence(Ordering::SeqCst);
        self.state.load(Ordering::Relaxed) == ASLEEP
            && self.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}
