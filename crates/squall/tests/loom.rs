//! The inbox and the sleep handshake, model-checked: every interleaving (up to a bound on preemptions) and every value that
//! the memory model lets a load see.
//!
//! The file under test is included as it is, with loom's atomics in the place of the standard ones, which is all that loom
//! needs. `--cfg loom` was rejected: that flag reaches every dependency, some of which then leave out half of
//! themselves, and it makes a second build of everything; a test that needs a flag is also one that nobody runs. So these
//! models are an ordinary test. `LOOM_MAX_PREEMPTIONS` widens the search, as CI does in release mode.
//!
//! A model is worth what it catches. Each names the slips that were made on purpose, one at a time, in a copy of `inbox.rs` (or
//! in the mirror of its callers below) to see it fail.

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering, fence};
}
#[allow(dead_code)]
#[path = "../src/task/inbox.rs"]
mod inbox;

use inbox::{MessageStack, Sleep, WakeLink, WakeStack};
use loom::alloc::Track;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// Explores a model; two preemptions unless the environment asks for more.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

/// What a message carries: a plain word that only a proper handover makes readable, and a leak check.
struct Letter {
    number: u32,
    word: UnsafeCell<u32>,
    /// The lease that it is for.
    lease: u64,
    _leak_check: Track<()>,
}

impl Letter {
    fn new(number: u32, lease: u64) -> Letter {
        let letter = Letter { number, word: UnsafeCell::new(0), lease, _leak_check: Track::new(()) };
        // SAFETY: nobody else has the letter yet.
        letter.word.with_mut(|word| unsafe { *word = number });
        letter
    }

    /// Its number; loom fails the model if the writer's word is not ordered before this look.
    fn open(self) -> u32 {
        // SAFETY: the letter is owned here.
        assert_eq!(self.word.with(|word| unsafe { *word }), self.number);
        self.number
    }
}

struct Slot {
    queued: AtomicBool,
    next: AtomicU32,
    /// What the task will look at when it is polled; a waker's owner writes it first. Relaxed: the wake has to order it.
    data: [AtomicU32; 2],
}

/// One registry cell, as far as other threads see it.
struct Cell {
    slots: [Slot; 2],
    wakes: WakeStack,
    messages: MessageStack<Letter>,
    sleep: Sleep,
    lease: AtomicU64,
    /// The eventfd: rung until the loop has read it.
    rung: Mutex<bool>,
    bell: Condvar,
    rings: AtomicU32,
}

impl Cell {
    /// A cell at the beginning of its first lease, number 1.
    fn leased() -> Arc<Cell> {
        let slot = || Slot {
            queued: AtomicBool::new(false),
            next: AtomicU32::new(0),
            data: [AtomicU32::new(0), AtomicU32::new(0)],
        };
        let cell = Cell {
            slots: [slot(), slot()],
            wakes: WakeStack::new(),
            messages: MessageStack::new_closed(),
            sleep: Sleep::new(),
            lease: AtomicU64::new(1),
            rung: Mutex::new(false),
            bell: Condvar::new(),
            rings: AtomicU32::new(0),
        };
        cell.messages.open();
        Arc::new(cell)
    }

    fn link(&self, slot: u32) -> WakeLink<'_> {
        let slot = &self.slots[slot as usize];
        WakeLink { queued: &slot.queued, next: &slot.next }
    }

    /// A waker's owner: writes what the task waits for, then pushes.
    fn provide(&self, slot: u32, which: usize) -> bool {
        self.slots[slot as usize].data[which].store(1, Ordering::Relaxed);
        self.wakes.push(slot, self.link(slot))
    }

    /// `registry::wake_from_afar`.
    fn wake(&self, slot: u32, which: usize) {
        if self.provide(slot, which) {
            self.notify_if_asleep();
        }
    }

    /// `Home::send`. Gives back the number of a letter that was refused.
    fn send(&self, letter: Letter) -> Option<u32> {
        if self.lease.load(Ordering::Acquire) != letter.lease {
            return Some(letter.open());
        }
        match self.messages.push(letter) {
            Ok(()) => self.notify_if_asleep(),
            Err(letter) => return Some(letter.open()),
        }
        None
    }

    fn notify_if_asleep(&self) {
        if self.sleep.must_notify() {
            self.rings.fetch_add(1, Ordering::Relaxed);
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        }
    }

    /// The driver's wait. A ring that never comes is a deadlock, which loom reports.
    fn wait_for_bell(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.bell.wait(rung).unwrap();
        }
        *rung = false;
    }

    /// Takes the wakes, each slot at most once; `poll` sees the task's data.
    fn poll_woken(&self, mut poll: impl FnMut(u32, [u32; 2])) {
        let mut taken = [0; 2];
        self.wakes.take(
            |slot| self.link(slot),
            |slot| {
                taken[slot as usize] += 1;
                let data = &self.slots[slot as usize].data;
                poll(slot, [data[0].load(Ordering::Relaxed), data[1].load(Ordering::Relaxed)]);
            },
        );
        assert!(taken.iter().all(|times| *times <= 1), "a slot was taken twice at once");
    }

    /// Turns of a loop until `is_done`; sleeps in between, as `Core::park` does. Gives the number of sleeps announced.
    fn run_until(&self, mut turn: impl FnMut(&Cell) -> bool) -> u32 {
        let mut announced = 0;
        while !turn(self) {
            self.sleep.announce();
            announced += 1;
            if self.wakes.is_empty() && self.messages.is_empty() {
                self.wait_for_bell();
            }
            self.sleep.awake();
        }
        announced
    }

    fn read_letters(&self) -> Vec<u32> {
        self.messages.take().into_iter().map(Letter::open).collect()
    }
}

fn on_thread<R: 'static>(cell: &Arc<Cell>, f: impl FnOnce(&Cell) -> R + 'static) -> thread::JoinHandle<R> {
    let cell = Arc::clone(cell);
    thread::spawn(move || f(&cell))
}

/// Catches: either exchange of `queued` weaker than AcqRel (or a plain store); a look at `queued` before the exchange, to save it;
/// `queued` cleared after the poll.
#[test]
fn a_wake_that_finds_the_slot_queued_is_seen_by_the_poll_that_follows() {
    explore(|| {
        let cell = Cell::leased();
        let first = on_thread(&cell, |cell| cell.provide(0, 0));
        let second = on_thread(&cell, |cell| cell.provide(0, 1));
        let mut seen = [0, 0];
        cell.poll_woken(|_, data| seen = data);
        first.join().unwrap();
        second.join().unwrap();
        cell.poll_woken(|_, data| seen = data);
        assert_eq!(seen, [1, 1], "the last poll missed what a waker's owner had written");
    });
}

/// Catches: the push or the take with relaxed ordering (a stale link cuts the stack off); a link that is not written anew when the
/// exchange is tried again; a take by load and store.
#[test]
fn wakes_of_two_slots_are_each_taken_once() {
    explore(|| {
        let cell = Cell::leased();
        let first = on_thread(&cell, |cell| assert!(cell.provide(0, 0)));
        let second = on_thread(&cell, |cell| assert!(cell.provide(1, 0)));
        let mut polls = [0, 0];
        let mut poll = |slot: u32, data: [u32; 2]| {
            polls[slot as usize] += 1;
            assert_eq!(data, [1, 0], "polled before its data could be seen");
        };
        cell.poll_woken(&mut poll);
        cell.poll_woken(&mut poll);
        first.join().unwrap();
        second.join().unwrap();
        cell.poll_woken(&mut poll);
        assert_eq!(polls, [1, 1]);
    });
}

/// Catches: `queued` cleared before the link was read.
#[test]
fn a_slot_pushed_again_while_the_stack_is_taken_cuts_off_no_other() {
    explore(|| {
        let cell = Cell::leased();
        assert!(cell.provide(0, 0) && cell.provide(1, 0));
        let again = on_thread(&cell, |cell| _ = cell.provide(0, 1));
        let (mut last, mut polls) = ([0, 0], [0, 0]);
        let mut poll = |slot: u32, data: [u32; 2]| {
            polls[slot as usize] += 1;
            if slot == 0 {
                last = data;
            }
        };
        cell.poll_woken(&mut poll);
        again.join().unwrap();
        cell.poll_woken(&mut poll);
        assert_eq!((last, polls[1]), ([1, 1], 1));
    });
}

/// Catches: push or take with relaxed ordering; a push that does not look for the closed mark; a close that leaves the stack open; a
/// node forgotten or freed twice; messages newest first.
#[test]
fn every_message_is_taken_or_comes_back_and_each_once() {
    explore(|| {
        let cell = Cell::leased();
        let first = on_thread(&cell, |cell| [1, 2].map(|n| cell.messages.push(Letter::new(n, 1)).err()));
        let second = on_thread(&cell, |cell| cell.messages.push(Letter::new(3, 1)).err());
        let mut arrived = cell.read_letters();
        arrived.extend(cell.messages.close().into_iter().map(Letter::open));
        assert!(cell.messages.close().is_empty());
        let mut in_order = arrived.clone();
        in_order.retain(|number| *number != 3);
        assert!(in_order.is_sorted(), "one sender's messages overtook each other");
        let refused = first.join().unwrap().into_iter().chain([second.join().unwrap()]).flatten();
        arrived.extend(refused.map(Letter::open));
        arrived.sort_unstable();
        assert_eq!(arrived, [1, 2, 3]);
        assert!(cell.messages.push(Letter::new(4, 1)).is_err(), "closed is closed");
    });
}

/// Catches: no `Drop`.
#[test]
fn messages_left_in_a_dropped_stack_are_freed() {
    explore(|| {
        let cell = Cell::leased();
        let sender = on_thread(&cell, |cell| _ = cell.messages.push(Letter::new(1, 1)));
        drop(cell);
        sender.join().unwrap();
    });
}

/// Catches: a closed mark that is taken for a node.
#[test]
fn a_stack_that_opens_refuses_or_delivers() {
    explore(|| {
        let cell = Cell::leased();
        assert!(cell.messages.close().is_empty());
        let sender = on_thread(&cell, |cell| cell.messages.push(Letter::new(1, 1)).err().map(Letter::open));
        cell.messages.open();
        let refused = sender.join().unwrap();
        assert_eq!(cell.read_letters().first().copied().or(refused), Some(1));
    });
}

/// Catches: either fence missing, or weaker than SeqCst; a loop that announces after it looked, does not look again, or looks at one of
/// the stacks only; a producer that rings before it pushes, or two that ring out of one sleep.
#[test]
fn a_loop_that_goes_to_sleep_misses_neither_a_wake_nor_a_message() {
    explore(|| {
        let cell = Cell::leased();
        let waker = on_thread(&cell, |cell| cell.wake(0, 0));
        let sender = on_thread(&cell, |cell| assert_eq!(cell.send(Letter::new(7, 1)), None));
        let (mut polled, mut letters) = (false, Vec::new());
        let announced = cell.run_until(|cell| {
            cell.poll_woken(|_, data| polled |= data[0] == 1);
            letters.extend(cell.read_letters());
            polled && !letters.is_empty()
        });
        waker.join().unwrap();
        sender.join().unwrap();
        assert_eq!(letters, [7]);
        assert!(cell.rings.load(Ordering::Relaxed) <= announced, "a sleep was rung out of twice");
    });
}

/// Catches: the same, where the second producer finds the slot queued and relies on the first to ring.
#[test]
fn two_wakes_of_one_slot_both_reach_a_loop_that_goes_to_sleep() {
    explore(|| {
        let cell = Cell::leased();
        let threads = [0, 1].map(|which| on_thread(&cell, move |cell| cell.wake(0, which)));
        let mut seen = [0, 0];
        let announced = cell.run_until(|cell| {
            cell.poll_woken(|_, data| seen = data);
            seen == [1, 1]
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(cell.rings.load(Ordering::Relaxed) <= announced);
    });
}

/// Catches: the same, with a sleep before that a timer ended. An unconditional exchange in `must_notify` fails here too, although only
/// because loom lets a plain store come between the two halves of an exchange.
#[test]
fn a_ring_that_comes_after_the_loop_woke_by_itself_is_no_more_than_a_spurious_one() {
    explore(|| {
        let cell = Cell::leased();
        let early = on_thread(&cell, |cell| cell.wake(0, 0));
        // A sleep that a timer ended.
        cell.sleep.announce();
        cell.sleep.awake();
        let late = on_thread(&cell, |cell| cell.wake(1, 0));
        let mut polls = [0, 0];
        let announced = cell.run_until(|cell| {
            cell.poll_woken(|slot, _| polls[slot as usize] += 1);
            polls == [1, 1]
        });
        early.join().unwrap();
        late.join().unwrap();
        assert!(cell.rings.load(Ordering::Relaxed) <= announced + 1);
    });
}

/// Catches: `announce` or `must_notify` with relaxed ordering.
#[test]
fn whoever_finds_the_loop_asleep_finds_out_how_to_ring() {
    explore(|| {
        let cell = Cell::leased();
        // Stands for `uses_bell` and the notifier's address: what a loop sets when it begins, on a cell that older wakers know.
        let how = Arc::new(AtomicU32::new(0));
        let straggler = {
            let (cell, how) = (Arc::clone(&cell), Arc::clone(&how));
            thread::spawn(move || {
                cell.provide(0, 0);
                if cell.sleep.must_notify() {
                    assert_eq!(how.load(Ordering::Relaxed), 1, "rings the bell of the loop before");
                }
            })
        };
        how.store(1, Ordering::Relaxed);
        cell.sleep.announce();
        straggler.join().unwrap();
    });
}

/// Catches: `awake` that does nothing.
#[test]
fn a_loop_that_is_awake_is_not_rung() {
    explore(|| {
        let cell = Cell::leased();
        cell.sleep.announce();
        cell.sleep.awake();
        on_thread(&cell, |cell| cell.wake(0, 0)).join().unwrap();
        assert_eq!(cell.rings.load(Ordering::Relaxed), 0);
    });
}

/// The end of lease 1 and the beginning of lease 3, as `Core::end`, `LoopCell::release` and `registry::lease` do it (even
/// numbers are free cells). Gives the letters that lease 1 read or got back.
fn end_and_lease_again(cell: &Cell) -> Vec<u32> {
    let mut letters = cell.read_letters();
    cell.lease.fetch_add(1, Ordering::AcqRel);
    letters.extend(cell.messages.close().into_iter().map(Letter::open));
    cell.wakes.take(|slot| cell.link(slot), |_| ());
    cell.messages.open();
    cell.lease.fetch_add(1, Ordering::AcqRel);
    letters
}

/// A message may have been accepted in the very moment when the lease ended.
#[test]
fn a_message_for_a_lease_that_ended_is_never_run_in_the_next() {
    explore(|| {
        let cell = Cell::leased();
        let sender = on_thread(&cell, |cell| cell.send(Letter::new(1, 1)));
        let mut fate = end_and_lease_again(&cell);
        let next = on_thread(&cell, |cell| cell.send(Letter::new(2, 3)));
        let mut run = Vec::new();
        let mut read = |cell: &Cell| {
            let (ours, stale): (Vec<_>, Vec<_>) =
                cell.messages.take().into_iter().partition(|l| l.lease == 3);
            run.extend(ours.into_iter().map(Letter::open));
            fate.extend(stale.into_iter().map(Letter::open));
            run == [2]
        };
        cell.run_until(&mut read);
        let refused = sender.join().unwrap();
        assert_eq!(next.join().unwrap(), None);
        read(&cell);
        fate.extend(refused);
        assert_eq!((run, fate), (vec![2], vec![1]));
    });
}

/// A waker may have marked its slot queued and not have linked it when the lease ended: the link then lands in the next lease.
#[test]
fn a_wake_from_a_lease_that_ended_leaves_the_next_lease_able_to_sleep_and_wake() {
    explore(|| {
        let cell = Cell::leased();
        let straggler = on_thread(&cell, |cell| cell.wake(0, 0));
        assert!(end_and_lease_again(&cell).is_empty());
        let waker = on_thread(&cell, |cell| cell.wake(1, 0));
        let mut polls = [0, 0];
        cell.run_until(|cell| {
            cell.poll_woken(|slot, _| polls[slot as usize] += 1);
            polls[1] == 1
        });
        straggler.join().unwrap();
        waker.join().unwrap();
        cell.poll_woken(|slot, _| polls[slot as usize] += 1);
        assert!(polls[0] <= 1, "at most one spurious poll");
        assert!(cell.wakes.is_empty() && cell.slots.iter().all(|slot| !slot.queued.load(Ordering::Relaxed)));
        assert!(cell.provide(0, 1), "the slot can be woken again");
        cell.poll_woken(|_, data| assert_eq!(data, [1, 1]));
    });
}
