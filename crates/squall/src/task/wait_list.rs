//! The waiting list: everybody who waits for a turn at something, first come first served.
//!
//! The crate has one, because the hard part is the same everywhere: a turn belongs to the oldest waiter from the moment it exists,
//! nobody who comes later can take it on the way (no barging), and a waiter that is cancelled hands its turn on. The idea is trio's
//! ParkingLot; that what is handed over travels inside the waiter's own node is Tornado's queue.
//!
//! A turn is *granted*: the owner puts a value into the oldest node and wakes it. Woken waiters that look for themselves whether
//! there is something left (asyncio's loop in `Queue.get`) were rejected: a newcomer can be faster, so a waiter may starve.
//!
//! Nodes live in a vector and are linked by index: no `unsafe`, no allocation until somebody waits, and a future that was forgotten
//! (`mem::forget`) leaves a node that is merely never freed. An intrusive list through pinned futures was rejected: it saves the
//! vector and costs `unsafe` in every future that waits. A `VecDeque` of wakers was rejected: cancelling would be a search.
//!
//! **User code.** Cloning, waking or dropping a foreign waker runs user code, which may come back into the same list. So no method here
//! does any of the three: wakers go in owned and come out owned, and the caller lets go of its borrow of the list before it wakes or
//! drops them. [`poll_turn`] is that protocol, written once.

use super::context::{WaitingOn, note_waiting, poll_proceed};
use super::table::{drop_foreign, wake_quietly};
use std::cell::RefCell;
use std::mem;
use std::panic::Location;
use std::task::{Context, Poll, Waker, ready};

const NONE: u32 = u32::MAX;

/// Nodes that an empty list may keep. Above that a past peak is given back as soon as nobody waits.
const KEPT: usize = 1024;

/// Waiters in the order of their coming. `C` is what a waiter brings, `G` what it is granted.
///
/// # Invariant
/// Exactly the WAITING nodes are linked between `oldest` and `youngest`. A FREE node is in the free list, linked by `younger`; a
/// GRANTED one in no list, waiting for the holder of its key.
pub(crate) struct WaitList<C, G> {
    nodes: Vec<Node<C, G>>,
    oldest: u32,
    youngest: u32,
    free: u32,
    /// Nodes that are not FREE.
    held: u32,
}

struct Node<C, G> {
    older: u32,
    younger: u32,
    state: State<C, G>,
}

enum State<C, G> {
    Free,
    Waiting(Waker, C),
    Granted(G),
}

/// A waiter's place. Not `Clone`, used up by `poll_turn` and `cancel`: so an index can never be stale, and needs no generation.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Key(u32);

/// What a waiter that gives up leaves behind. The caller drops the waker, and hands a grant on.
#[derive(Debug)]
pub(crate) enum Cancelled<C, G> {
    Waiting(Waker, C),
    Granted(G),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Granted,
    Waiting,
    /// Waiting, with a waker that would wake somebody else than the one who asks.
    OtherWaker,
}

impl<C, G> WaitList<C, G> {
    pub(crate) const fn new() -> WaitList<C, G> {
        WaitList { nodes: Vec::new(), oldest: NONE, youngest: NONE, free: NONE, held: 0 }
    }

    /// True if nobody waits. (Granted turns that were not taken yet do not count.)
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    /// The number of those who wait. It walks the list: for reports.
    pub(crate) fn len(&self) -> usize {
        let next = |index: &u32| Some(self.nodes[*index as usize].younger).filter(|index| *index != NONE);
        std::iter::successors(Some(self.oldest).filter(|index| *index != NONE), next).count()
    }

    /// Joins the line at its end.
    ///
    /// # Panics
    /// With four billion waiters.
    #[inline]
    pub(crate) fn push(&mut self, waker: Waker, carried: C) -> Key {
        let node = Node { older: self.youngest, younger: NONE, state: State::Waiting(waker, carried) };
        let index = self.free;
        let index = if index != NONE {
            self.free = mem::replace(&mut self.nodes[index as usize], node).younger;
            index
        } else {
            let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index != NONE);
            self.nodes.push(node);
            index.expect("four billion waiters in one line")
        };
        match self.youngest {
            NONE => self.oldest = index,
            youngest => self.nodes[youngest as usize].younger = index,
        }
        self.youngest = index;
        self.held += 1;
        Key(index)
    }

    /// Gives the oldest waiter its turn: `grant` makes it from what the waiter brought. The caller wakes the waker after it
    /// has let go of the list. `None`, and `grant` is not called, if nobody waits.
    #[inline]
    pub(crate) fn grant_oldest(&mut self, grant: impl FnOnce(C) -> G) -> Option<Waker> {
        if self.oldest == NONE {
            return None;
        }
        let node = &mut self.nodes[self.oldest as usize];
        let State::Waiting(waker, carried) = mem::replace(&mut node.state, State::Free) else {
            unreachable!("only waiting nodes are linked")
        };
        node.state = State::Granted(grant(carried));
        self.oldest = node.younger;
        match self.oldest {
            NONE => self.youngest = NONE,
            oldest => self.nodes[oldest as usize].older = NONE,
        }
        Some(waker)
    }

    /// Gives everybody who waits now a turn. The wakers come out oldest first, for [`wake_all`]: all turns are given before the
    /// first waker runs, so those who join meanwhile are not among them.
    pub(crate) fn grant_all(&mut self, mut grant: impl FnMut(C) -> G) -> Vec<Waker> {
        std::iter::from_fn(|| self.grant_oldest(&mut grant)).collect()
    }

    fn look(&self, key: &Key, waker: &Waker) -> Look {
        match &self.nodes[key.0 as usize].state {
            State::Granted(_) => Look::Granted,
            State::Waiting(mine, _) if mine.will_wake(waker) => Look::Waiting,
            State::Waiting(..) => Look::OtherWaker,
            State::Free => unreachable!("a key's node is never free"),
        }
    }

    /// Puts the waker into a node that still waits. The waker that is not needed comes back, to be dropped by the caller.
    fn set_waker(&mut self, key: &Key, waker: Waker) -> Waker {
        match &mut self.nodes[key.0 as usize].state {
            State::Waiting(mine, _) => mem::replace(mine, waker),
            _ => waker,
        }
    }

    /// Takes the grant and frees the node.
    ///
    /// # Panics
    /// If there is no grant yet.
    #[inline]
    fn take(&mut self, key: Key) -> G {
        match self.vacate(key.0) {
            State::Granted(grant) => grant,
            _ => unreachable!("a turn is taken after it was granted"),
        }
    }

    /// Leaves the line.
    pub(crate) fn cancel(&mut self, key: Key) -> Cancelled<C, G> {
        let index = key.0;
        let Node { older, younger, ref state } = self.nodes[index as usize];
        if matches!(state, State::Waiting(..)) {
            match older {
                NONE => self.oldest = younger,
                older => self.nodes[older as usize].younger = younger,
            }
            match younger {
                NONE => self.youngest = older,
                younger => self.nodes[younger as usize].older = older,
            }
        }
        match self.vacate(index) {
            State::Waiting(waker, carried) => Cancelled::Waiting(waker, carried),
            State::Granted(grant) => Cancelled::Granted(grant),
            State::Free => unreachable!("a key's node is never free"),
        }
    }

    /// Frees an unlinked node.
    #[inline]
    fn vacate(&mut self, index: u32) -> State<C, G> {
        let node = &mut self.nodes[index as usize];
        let state = mem::replace(&mut node.state, State::Free);
        node.younger = mem::replace(&mut self.free, index);
        self.held -= 1;
        if self.held == 0 && self.nodes.len() > KEPT {
            self.give_back();
        }
        state
    }

    #[cold]
    fn give_back(&mut self) {
        self.nodes = Vec::new();
        self.free = NONE;
    }
}

/// Polls a place in the line: `Ready` with the grant (the key is used up and `place` is `None`), or `Pending` with the task's waker
/// in the node and its wait noted. `list` finds the list in whatever owns it.
///
/// A poll that gives way for its budget leaves the grant in the node: the turn stays the waiter's own.
#[inline]
pub(crate) fn poll_turn<S, C, G>(
    owner: &RefCell<S>,
    list: fn(&mut S) -> &mut WaitList<C, G>,
    key: &mut Option<Key>,
    cx: &mut Context<'_>,
    on: WaitingOn,
    place: &'static Location<'static>,
) -> Poll<G> {
    let standing = key.as_ref().expect("a waiter polls the place it stands in");
    let mut look = list(&mut owner.borrow_mut()).look(standing, cx.waker());
    if look == Look::OtherWaker {
        look = renew_waker(owner, list, standing, cx.waker());
    }
    if look != Look::Granted {
        note_waiting(on, place);
        return Poll::Pending;
    }
    ready!(poll_proceed(cx));
    let key = key.take().expect("looked at above");
    Poll::Ready(list(&mut owner.borrow_mut()).take(key))
}

/// The task that polls is another than the one that polled before.
#[cold]
fn renew_waker<S, C, G>(
    owner: &RefCell<S>,
    list: fn(&mut S) -> &mut WaitList<C, G>,
    standing: &Key,
    waker: &Waker,
) -> Look {
    let clone = waker.clone();
    let unneeded = list(&mut owner.borrow_mut()).set_waker(standing, clone);
    drop_foreign(Some(unneeded));
    // Both ran foreign code, which may have granted the turn. No loop: a waker need not be equal to its own clone.
    list(&mut owner.borrow_mut()).look(standing, waker)
}

/// Wakes them in their order. A foreign waker's panic is reported; the rest are woken.
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        wake_quietly(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), count.into())
    }

    fn noop() -> Waker {
        Waker::noop().clone()
    }

    /// What the waiters brought, oldest first, read both ways along the links.
    fn line<G>(list: &WaitList<u32, G>) -> Vec<u32> {
        let walk = |from: u32, next: fn(&Node<u32, G>) -> u32| {
            let mut line = Vec::new();
            let mut at = from;
            while at != NONE {
                let node = &list.nodes[at as usize];
                let State::Waiting(_, carried) = &node.state else {
                    panic!("a linked node that does not wait")
                };
                line.push(*carried);
                at = next(node);
            }
            line
        };
        let forwards = walk(list.oldest, |node| node.younger);
        let mut backwards = walk(list.youngest, |node| node.older);
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_eq!(list.len(), forwards.len());
        assert_eq!(list.is_empty(), forwards.is_empty());
        forwards
    }

    fn poll<G>(list: &RefCell<WaitList<u32, G>>, key: &mut Option<Key>, waker: &Waker) -> Poll<G> {
        poll_turn(
            list,
            |list| list,
            key,
            &mut Context::from_waker(waker),
            WaitingOn::Nothing,
            Location::caller(),
        )
    }

    #[test]
    fn an_empty_list_has_allocated_nothing() {
        let list = WaitList::<u32, u32>::new();
        assert_eq!(list.nodes.capacity(), 0);
        assert_eq!(line(&list), [0u32; 0]);
    }

    #[test]
    fn turns_are_granted_in_the_order_of_coming_and_wake_their_own_waiter() {
        let list = RefCell::new(WaitList::new());
        let (counts, mut keys): (Vec<_>, Vec<_>) = (0..3)
            .map(|carried| {
                let (count, waker) = count();
                (count, Some(list.borrow_mut().push(waker, carried)))
            })
            .unzip();
        let woken = || counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect::<Vec<_>>();

        let waker = list.borrow_mut().grant_oldest(|carried| carried + 10).unwrap();
        waker.wake();
        assert_eq!(woken(), [1, 0, 0]);
        assert_eq!(line(&list.borrow()), [1, 2]);
        wake_all(list.borrow_mut().grant_all(|carried| carried + 20));
        assert_eq!(woken(), [1, 1, 1]);
        assert!(list.borrow_mut().grant_oldest(|_| panic!("nobody waits")).is_none());

        let taken: Vec<_> = keys.iter_mut().rev().map(|key| poll(&list, key, &noop())).collect();
        assert_eq!(taken, [Poll::Ready(22), Poll::Ready(21), Poll::Ready(10)]);
        assert_eq!(keys, [None, None, None]);
    }

    #[test]
    fn whoever_leaves_the_line_closes_its_gap() {
        for leaver in 0..4 {
            let mut list = WaitList::<u32, ()>::new();
            let mut keys: Vec<_> = (0..4).map(|carried| list.push(noop(), carried)).collect();
            let cancelled = list.cancel(keys.remove(leaver));
            assert!(matches!(cancelled, Cancelled::Waiting(_, carried) if carried as usize == leaver));
            let rest: Vec<_> = (0..4).filter(|carried| *carried as usize != leaver).collect();
            assert_eq!(line(&list), rest);
        }
    }

    #[test]
    fn a_cancelled_turn_comes_out_with_its_grant() {
        let mut list = WaitList::new();
        let key = list.push(noop(), 7);
        drop(list.grant_oldest(|carried| carried * 2));
        assert!(matches!(list.cancel(key), Cancelled::Granted(14)));
    }

    #[test]
    fn a_poll_from_another_task_moves_the_wake_there() {
        let list = RefCell::new(WaitList::new());
        let (first, first_waker) = count();
        let (second, second_waker) = count();
        let mut key = Some(list.borrow_mut().push(first_waker.clone(), 0));
        assert!(poll(&list, &mut key, &first_waker).is_pending());
        assert!(poll(&list, &mut key, &second_waker).is_pending());
        let waker = list.borrow_mut().grant_oldest(|_| ()).unwrap();
        waker.wake();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
        drop((first_waker, second_waker));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1), "no waker is kept");
    }

    #[test]
    fn a_waker_whose_clone_grants_the_turn_is_seen_by_the_same_poll() {
        struct Meddler {
            list: Rc<RefCell<WaitList<u32, &'static str>>>,
            clones: Cell<u32>,
        }
        use std::task::{RawWaker, RawWakerVTable};
        static VTABLE: RawWakerVTable = RawWakerVTable::new(
            |data| {
                // SAFETY: `data` is the Rc that the test keeps.
                let meddler = unsafe { &*data.cast::<Meddler>() };
                meddler.clones.set(meddler.clones.get() + 1);
                drop(meddler.list.borrow_mut().grant_oldest(|_| "granted"));
                RawWaker::new(data, &VTABLE)
            },
            |_| {},
            |_| {},
            |_| {},
        );
        let list = Rc::new(RefCell::new(WaitList::new()));
        let meddler = Rc::new(Meddler { list: list.clone(), clones: Cell::new(0) });
        // SAFETY: the vtable only reads the Meddler, which outlives the waker, on this thread.
        let waker = unsafe { Waker::new(Rc::as_ptr(&meddler).cast(), &VTABLE) };
        let mut key = Some(list.borrow_mut().push(noop(), 0));
        assert_eq!(poll(&list, &mut key, &waker), Poll::Ready("granted"));
        assert_eq!(meddler.clones.get(), 1);
    }

    #[test]
    fn nodes_are_used_again_and_a_past_peak_is_given_back() {
        let mut list = WaitList::<u32, ()>::new();
        for _ in 0..3 {
            let keys: Vec<_> = (0..100).map(|carried| list.push(noop(), carried)).collect();
            keys.into_iter().for_each(|key| drop(list.cancel(key)));
        }
        assert_eq!(list.nodes.len(), 100);
        let keys: Vec<_> = (0..=KEPT as u32).map(|carried| list.push(noop(), carried)).collect();
        keys.into_iter().for_each(|key| drop(list.cancel(key)));
        assert_eq!(list.nodes.capacity(), 0);
        let key = list.push(noop(), 5);
        assert_eq!(line(&list), [5]);
        drop(list.cancel(key));
    }

    #[test]
    fn a_key_that_was_forgotten_costs_its_node_and_nothing_else() {
        let mut list = WaitList::new();
        let _forgotten = list.push(noop(), 0);
        let key = list.push(noop(), 1);
        drop(list.grant_oldest(|carried| carried));
        drop(list.grant_oldest(|carried| carried));
        assert!(matches!(list.cancel(key), Cancelled::Granted(1)));
        assert_eq!(line(&list), [0u32; 0]);
    }
}
