//! The wheel against hand-picked times, and against a sorted map that does the same slowly.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TICK: u64 = 1 << TICK_BITS;
const HOUR: u64 = 3_600_000_000_000;

fn waiter(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).unwrap()
}

/// All that is due, in order.
fn fire(wheel: &mut Wheel, now: u64) -> Vec<u64> {
    std::iter::from_fn(|| wheel.pop_due(now)).map(NonZeroU64::get).collect()
}

impl Wheel {
    /// What must hold between any two calls. (Under Miri it would take most of the time, and finds nothing of Miri's kind.)
    fn check(&self) {
        if cfg!(miri) {
            return;
        }
        let mut found = 0;
        for slot in 0..SLOTS {
            let (level, digit) = (slot >> DIGIT_BITS, slot as u32 & DIGIT as u32);
            let (mut link, mut prev, mut latest, mut sorted) =
                (self.slots[slot].first, SLOT | slot as u32, 0, true);
            while link < SLOT {
                let entry = &self.entries[link as usize];
                assert_eq!(entry.prev, prev);
                assert!(entry.generation != 0, "a free entry stands in a slot");
                assert!(entry.deadline >> TICK_BITS > self.cursor);
                assert_eq!(
                    place(self.cursor, entry.deadline),
                    (level, digit),
                    "a timer lies in another's slot"
                );
                sorted &= entry.deadline >= latest;
                (latest, prev, link) = (entry.deadline, link, entry.next);
                found += 1;
            }
            assert_eq!(link, SLOT | slot as u32, "a list ends in another slot");
            assert_eq!(self.slots[slot].last, prev);
            assert_eq!(self.occupied[level] >> digit & 1 == 1, prev < SLOT);
            assert!(sorted || self.unsorted[level] >> digit & 1 == 1);
            assert!(prev < SLOT || self.unsorted[level] >> digit & 1 == 0);
        }
        let others =
            self.entries.iter().filter(|entry| entry.generation != 0 && entry.prev >= IN_NONE).count();
        assert_eq!(found + others, self.len);
        let in_slots = self.entries.iter().filter(|entry| entry.generation != 0 && entry.prev < IN_NONE);
        assert!(self.earliest == 0 || in_slots.map(|entry| entry.deadline).min() == Some(self.earliest));
        let near = self.entries.iter().filter(|entry| entry.generation != 0 && entry.prev == IN_NEAR).count();
        assert!(self.near.items() <= 2 * near + 64, "cancelled timers pile up");
        assert_eq!(self.near.is_empty(), near == 0);
    }
}

#[test]
fn timers_fire_at_their_nanosecond_and_not_before() {
    for deadline in
        [1, TICK - 1, TICK, TICK + 1, 63 * TICK, 64 * TICK, 64 * TICK + 1, HOUR, 1 << 62, u64::MAX - 1]
    {
        let mut wheel = Wheel::new(0, 0);
        wheel.insert(deadline, waiter(1));
        assert_eq!(wheel.next_deadline(), Some(deadline));
        assert_eq!(wheel.pop_due(deadline - 1), None);
        assert_eq!(wheel.next_deadline(), Some(deadline), "and still after the clock came near");
        assert_eq!(wheel.pop_due(deadline), Some(waiter(1)));
        assert_eq!((wheel.pop_due(u64::MAX), wheel.next_deadline(), wheel.len()), (None, None, 0));
    }
}

#[test]
fn the_order_is_that_of_deadlines_then_that_of_setting() {
    let mut wheel = Wheel::new(0, 0);
    let deadlines = [5 * HOUR, 7, HOUR, 5 * HOUR, HOUR + 1, 7, HOUR, 3 * TICK, 5 * HOUR];
    for (n, deadline) in deadlines.into_iter().enumerate() {
        wheel.insert(deadline, waiter(n as u64 + 1));
    }
    assert_eq!(fire(&mut wheel, 7), [2, 6]);
    assert_eq!(fire(&mut wheel, 2 * HOUR), [8, 3, 7, 5]);
    assert_eq!(fire(&mut wheel, u64::MAX), [1, 4, 9]);
}

#[test]
fn equal_deadlines_stay_in_order_on_whatever_level_each_was_set() {
    let mut wheel = Wheel::new(0, 0);
    let deadline = 3 * HOUR + 12_345;
    for (n, before) in
        [3 * HOUR, HOUR, 60_000_000_000, 1_000_000_000, 10 * TICK, TICK, 1, 0].into_iter().enumerate()
    {
        assert_eq!(wheel.pop_due(deadline - before - 1), None);
        wheel.insert(deadline, waiter(n as u64 + 1));
        wheel.check();
    }
    assert_eq!(fire(&mut wheel, deadline), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_deadline_in_the_past_fires_at_the_next_look() {
    let mut wheel = Wheel::new(10 * HOUR, 0);
    wheel.insert(10 * HOUR, waiter(1));
    wheel.insert(0, waiter(2));
    wheel.insert(HOUR, waiter(3));
    assert_eq!(wheel.next_deadline(), Some(0));
    assert_eq!(fire(&mut wheel, 10 * HOUR), [2, 3, 1]);
}

#[test]
fn the_last_nanosecond_never_comes() {
    let mut wheel = Wheel::new(0, 0);
    let early = wheel.insert(u64::MAX, waiter(1));
    assert_eq!((wheel.next_deadline(), wheel.len()), (None, 1));
    assert_eq!(wheel.pop_due(u64::MAX), None);
    let late = wheel.insert(u64::MAX, waiter(2));
    assert_eq!((wheel.next_deadline(), wheel.pop_due(u64::MAX)), (None, None));
    assert_eq!(wheel.waiter_of(early), Some(waiter(1)));
    assert_eq!((wheel.cancel(early), wheel.cancel(late)), (Some(waiter(1)), Some(waiter(2))));
    assert_eq!(wheel.len(), 0);
}

#[test]
fn a_key_is_stale_once_its_timer_fired_or_was_cancelled() {
    let mut wheel = Wheel::new(0, 7);
    for deadline in [5, 5 * TICK, HOUR, u64::MAX] {
        let key = wheel.insert(deadline, waiter(9));
        assert_eq!(wheel.replace_waiter(key, waiter(4)), Some(waiter(9)));
        assert_eq!(wheel.waiter_of(key), Some(waiter(4)));
        assert_eq!(wheel.cancel(key), Some(waiter(4)));
        let reused = wheel.insert(deadline, waiter(3));
        assert_eq!(
            (wheel.cancel(key), wheel.waiter_of(key), wheel.replace_waiter(key, waiter(1))),
            (None, None, None)
        );
        assert_eq!(wheel.cancel(reused), Some(waiter(3)));
    }
    let key = wheel.insert(5, waiter(2));
    assert_eq!(wheel.pop_due(5), Some(waiter(2)));
    assert_eq!(wheel.waiter_of(key), None);
}

#[test]
fn a_key_of_an_earlier_wheel_means_nothing_in_a_later_one() {
    let mut wheel = Wheel::new(0, 0);
    let key = wheel.insert(5, waiter(1));
    let mut later = Wheel::new(0, wheel.next_generation());
    later.insert(5, waiter(2));
    assert_eq!((later.cancel(key), later.waiter_of(key)), (None, None));
}

#[test]
fn a_multitude_that_is_moved_down_takes_no_other_along() {
    let mut wheel = Wheel::new(0, 0);
    let never = wheel.insert(u64::MAX, waiter(900));
    let start = u64::MAX - 1000;
    // Out of order, so that the multitude is moved when the next deadline is asked for; every fourth is gone by then.
    let keys: Vec<_> = (0..400).map(|n| wheel.insert(start + n * 7 % 400, waiter(n * 7 % 400 + 1))).collect();
    for key in keys.iter().step_by(4) {
        assert!(wheel.cancel(*key).is_some());
    }
    wheel.check();
    assert_eq!(wheel.next_deadline(), Some(start + 1));
    wheel.check();
    let left: Vec<u64> = (0..400).filter(|n| n % 4 != 0).map(|n| n + 1).collect();
    assert_eq!(fire(&mut wheel, u64::MAX), left);
    assert_eq!((wheel.waiter_of(never), wheel.len()), (Some(waiter(900)), 1));
}

#[test]
fn a_cancelled_timer_is_no_ones_next_deadline() {
    let mut wheel = Wheel::new(0, 0);
    // Out of order, in one slot of the third level.
    let keys = [7, 3, 9, 5].map(|n| (n, wheel.insert(HOUR + n, waiter(n))));
    assert_eq!(wheel.next_deadline(), Some(HOUR + 3));
    assert_eq!(wheel.cancel(keys[1].1), Some(waiter(3)));
    assert_eq!(wheel.next_deadline(), Some(HOUR + 5));
    wheel.insert(HOUR + 4, waiter(4));
    assert_eq!(wheel.next_deadline(), Some(HOUR + 4));
    wheel.check();
    assert_eq!(fire(&mut wheel, 2 * HOUR), [4, 5, 7, 9]);
}

#[test]
fn a_crowd_out_of_order_is_looked_through_in_small_pieces() {
    let mut wheel = Wheel::new(0, 0);
    let mut deadlines: Vec<u64> = (0..300).map(|n| HOUR + n * 7_919_000_000_001 % (10 * TICK)).collect();
    let mut keys: Vec<_> =
        deadlines.iter().map(|deadline| (*deadline, wheel.insert(*deadline, waiter(1)))).collect();
    deadlines.sort_unstable();
    keys.sort_unstable_by_key(|(deadline, _)| *deadline);
    for ((_, key), deadline) in keys.into_iter().zip(deadlines) {
        assert_eq!(wheel.next_deadline(), Some(deadline));
        wheel.check();
        // A timer before the crowd, although the wheel has already turned there.
        let early = wheel.insert(HOUR / 2, waiter(2));
        assert_eq!((wheel.pop_due(HOUR / 2 - 1), wheel.next_deadline()), (None, Some(HOUR / 2)));
        assert_eq!((wheel.cancel(early), wheel.cancel(key)), (Some(waiter(2)), Some(waiter(1))));
    }
    assert_eq!((wheel.next_deadline(), wheel.len()), (None, 0));
}

#[test]
fn cancelled_timers_of_this_tick_do_not_pile_up() {
    let mut wheel = Wheel::new(0, 0);
    let first = wheel.insert(1, waiter(1));
    for n in 2..2_000 {
        let key = wheel.insert(n, waiter(n));
        assert!(wheel.cancel(key).is_some());
        wheel.check();
    }
    assert_eq!((wheel.entries.len(), wheel.len()), (2, 1));
    wheel.cancel(first);
    assert_eq!(wheel.near.items(), 0);
}

#[test]
fn a_crowd_with_one_deadline_fires_in_order() {
    let crowd = if cfg!(miri) { 200 } else { 20_000 };
    let mut wheel = Wheel::new(0, 0);
    for n in 1..=crowd {
        wheel.insert(HOUR, waiter(n));
    }
    assert_eq!(wheel.next_deadline(), Some(HOUR));
    assert_eq!(fire(&mut wheel, HOUR - 1), []);
    assert!(fire(&mut wheel, HOUR).into_iter().eq(1..=crowd));
}

#[derive(Clone, Debug)]
enum Step {
    /// So long from now; a negative number lies in the past.
    Insert(i128),
    /// At the deadline of a timer that is set.
    InsertEqual(usize),
    /// Many in one stretch of time, out of order.
    Crowd(u64),
    Cancel(usize),
    /// A key that is stale.
    CancelStale(usize),
    Replace(usize),
    Advance(u64),
    /// To the next deadline, as a virtual clock does.
    Jump,
    /// Takes one timer and leaves others that are due.
    PopOne,
}

fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..3 * TICK,
        4 => 0..200 * TICK,
        3 => (0u64..70, 0u64..3).prop_map(|(ticks, ns)| ticks * TICK + ns),
        3 => 0..100_000_000_000_u64,
        2 => (0u32..64, 0u64..3).prop_map(|(bit, more)| (1 << bit) + more),
        1 => 0..u64::MAX,
        1 => Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => distance().prop_map(|d| Step::Insert(d.into())),
        1 => (0..10 * TICK).prop_map(|d| Step::Insert(-i128::from(d))),
        3 => any::<usize>().prop_map(Step::InsertEqual),
        1 => distance().prop_map(Step::Crowd),
        5 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::CancelStale),
        1 => any::<usize>().prop_map(Step::Replace),
        3 => (0..3 * TICK).prop_map(Step::Advance),
        2 => (0..10_000_000_000_u64).prop_map(Step::Advance),
        1 => (0u32..60).prop_map(|bit| Step::Advance(1 << bit)),
        4 => Just(Step::Jump),
        2 => Just(Step::PopOne),
    ]
}

/// The same as the wheel does, by a sorted map: deadline and order of setting to waiter and key.
struct Model {
    wheel: Wheel,
    now: u64,
    sorted: BTreeMap<(u64, u64), (u64, TimerKey)>,
    stale: Vec<TimerKey>,
    set: u64,
}

impl Model {
    fn insert(&mut self, deadline: u64) {
        self.set += 1;
        let key = self.wheel.insert(deadline, waiter(self.set));
        self.sorted.insert((deadline, self.set), (self.set, key));
    }

    fn nth(&self, n: usize) -> Option<((u64, u64), (u64, TimerKey))> {
        let (name, value) = self.sorted.iter().nth(n % self.sorted.len().max(1))?;
        Some((*name, *value))
    }

    fn pop(&mut self) -> bool {
        let due = self.sorted.first_key_value().map(|(name, value)| (*name, *value));
        let due = due.filter(|((deadline, _), _)| *deadline <= self.now && *deadline != u64::MAX);
        assert_eq!(self.wheel.pop_due(self.now), due.map(|(_, (n, _))| waiter(n)));
        if let Some((name, (_, key))) = due {
            self.sorted.remove(&name);
            self.stale.push(key);
        }
        due.is_some()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Insert(from_now) => {
                self.insert((i128::from(self.now) + from_now).clamp(0, u64::MAX.into()) as u64);
            }
            Step::InsertEqual(n) => {
                if let Some(((deadline, _), _)) = self.nth(n) {
                    self.insert(deadline);
                }
            }
            Step::Crowd(from_now) => {
                for n in 0..100 {
                    self.insert(
                        self.now.saturating_add(from_now).saturating_add(n * 7_919_000_000_001 % (20 * TICK)),
                    );
                }
            }
            Step::Cancel(n) => {
                if let Some((name, (n, key))) = self.nth(n) {
                    assert_eq!(self.wheel.cancel(key), Some(waiter(n)));
                    self.sorted.remove(&name);
                    self.stale.push(key);
                }
            }
            Step::CancelStale(n) => {
                if let Some(key) = self.stale.get(n % self.stale.len().max(1)) {
                    assert_eq!(self.wheel.cancel(*key), None);
                }
            }
            Step::Replace(n) => {
                if let Some((name, (n, key))) = self.nth(n) {
                    self.set += 1;
                    assert_eq!(self.wheel.replace_waiter(key, waiter(self.set)), Some(waiter(n)));
                    self.sorted.insert(name, (self.set, key));
                }
            }
            Step::Advance(by) => {
                self.now = self.now.saturating_add(by);
                while self.pop() {}
            }
            Step::Jump => {
                self.now = self.wheel.next_deadline().map_or(self.now, |next| next.max(self.now));
                while self.pop() {}
            }
            Step::PopOne => {
                self.pop();
            }
        }
        self.wheel.check();
        let next = self.sorted.first_key_value().map(|((deadline, _), _)| *deadline);
        assert_eq!(self.wheel.next_deadline(), next.filter(|next| *next != u64::MAX));
        assert_eq!(self.wheel.len(), self.sorted.len());
        self.wheel.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 500 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_wheel_does_what_a_sorted_map_does(
        start in prop_oneof![Just(0), Just(1 << 58), any::<u64>(), Just(u64::MAX - 1000)],
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 30 } else { 200 }),
    ) {
        let wheel = Wheel::new(start, 1);
        let mut model = Model { wheel, now: start, sorted: BTreeMap::new(), stale: Vec::new(), set: 0 };
        for step in steps {
            model.step(step);
        }
    }
}
