//! The queue against a model of it: the same random operations on both, every result and every wake compared.
//!
//! The model is the semantics in a few lines: every item has the number under which it entered, and the lines are plain lists.

use proptest::prelude::*;
use proptest::test_runner::Config;
use squall::sync::Queue;
use squall::sync::queue::{Get, Put, TryGetError, TryPutError};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Clone, Copy, Debug)]
enum Op {
    TryPut,
    TryGet,
    Put,
    Get,
    /// The n-th future that is neither ready nor dropped.
    Poll(usize),
    Drop(usize),
    Done,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::TryPut),
        4 => Just(Op::TryGet),
        6 => Just(Op::Put),
        8 => Just(Op::Get),
        10 => any::<usize>().prop_map(Op::Poll),
        6 => any::<usize>().prop_map(Op::Drop),
        2 => Just(Op::Done),
        1 => Just(Op::Close),
    ]
}

/// What an operation gave: an item that came out or came back, or how it ended without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Nothing,
    Pending,
    Put,
    Item(u32),
    Full(u32),
    Refused(u32),
    Empty,
    Closed,
}

#[derive(Default)]
struct Model {
    capacity: usize,
    inside: BTreeMap<u64, u32>,
    entered: u64,
    getters: VecDeque<usize>,
    putters: VecDeque<(usize, u32)>,
    granted: HashMap<usize, (u64, Outcome)>,
    is_closed: bool,
    unfinished: usize,
    taken: usize,
    woken: Vec<usize>,
}

impl Model {
    fn enter(&mut self, item: u32) {
        let number = self.entered;
        self.entered += 1;
        self.unfinished += 1;
        self.hand_out(number, item);
    }

    fn hand_out(&mut self, number: u64, item: u32) {
        match self.getters.pop_front() {
            Some(getter) => self.grant(getter, number, Outcome::Item(item)),
            None => _ = self.inside.insert(number, item),
        }
    }

    fn grant(&mut self, waiter: usize, number: u64, outcome: Outcome) {
        self.granted.insert(waiter, (number, outcome));
        self.woken.push(waiter);
    }

    fn try_put(&mut self, item: u32) -> Outcome {
        match () {
            () if self.is_closed => Outcome::Refused(item),
            () if self.inside.len() >= self.capacity => Outcome::Full(item),
            () => {
                self.enter(item);
                Outcome::Put
            }
        }
    }

    fn try_get(&mut self) -> Outcome {
        let Some((_, item)) = self.inside.pop_first() else {
            return if self.is_closed { Outcome::Closed } else { Outcome::Empty };
        };
        self.taken += 1;
        if self.inside.len() < self.capacity {
            if let Some((putter, item)) = self.putters.pop_front() {
                self.enter(item);
                self.grant(putter, 0, Outcome::Put);
            }
        }
        Outcome::Item(item)
    }

    fn put(&mut self, id: usize, item: u32) -> Outcome {
        match self.try_put(item) {
            Outcome::Full(item) => {
                self.putters.push_back((id, item));
                Outcome::Pending
            }
            outcome => outcome,
        }
    }

    fn get(&mut self, id: usize) -> Outcome {
        match self.try_get() {
            Outcome::Empty => {
                self.getters.push_back(id);
                Outcome::Pending
            }
            outcome => outcome,
        }
    }

    fn poll(&mut self, id: usize) -> Outcome {
        match self.granted.remove(&id) {
            None => Outcome::Pending,
            Some((_, outcome)) => {
                self.taken += usize::from(matches!(outcome, Outcome::Item(_)));
                outcome
            }
        }
    }

    fn drop(&mut self, id: usize) {
        self.getters.retain(|getter| *getter != id);
        self.putters.retain(|(putter, _)| *putter != id);
        if let Some((number, Outcome::Item(item))) = self.granted.remove(&id) {
            self.hand_out(number, item);
        }
    }

    fn close(&mut self) {
        self.is_closed = true;
        for getter in std::mem::take(&mut self.getters) {
            self.grant(getter, 0, Outcome::Closed);
        }
        for (putter, item) in std::mem::take(&mut self.putters) {
            self.grant(putter, 0, Outcome::Refused(item));
        }
    }
}

enum Wait<'q> {
    Get(Get<'q, u32>),
    Put(Put<'q, u32>),
}

struct Note {
    id: usize,
    log: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.log.lock().unwrap().push(self.id);
    }
}

fn poll(wait: &mut Wait<'_>, id: usize, log: &Arc<Mutex<Vec<usize>>>) -> Outcome {
    let waker = Waker::from(Arc::new(Note { id, log: log.clone() }));
    let cx = &mut Context::from_waker(&waker);
    match wait {
        Wait::Get(get) => match Pin::new(get).poll(cx) {
            Poll::Pending => Outcome::Pending,
            Poll::Ready(Ok(item)) => Outcome::Item(item),
            Poll::Ready(Err(_)) => Outcome::Closed,
        },
        Wait::Put(put) => match Pin::new(put).poll(cx) {
            Poll::Pending => Outcome::Pending,
            Poll::Ready(Ok(())) => Outcome::Put,
            Poll::Ready(Err(error)) => Outcome::Refused(error.into_inner()),
        },
    }
}

fn check(capacity: Option<usize>, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let queue = capacity.map_or_else(Queue::unbounded, Queue::bounded);
    let mut model = Model { capacity: capacity.unwrap_or(usize::MAX), ..Model::default() };
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut waits: Vec<(usize, Wait<'_>)> = Vec::new();
    for (step, op) in ops.into_iter().enumerate() {
        let item = step as u32;
        let (mine, theirs) = match op {
            Op::TryPut => {
                let mine = match queue.try_put(item) {
                    Ok(()) => Outcome::Put,
                    Err(TryPutError::Full(item)) => Outcome::Full(item),
                    Err(TryPutError::Closed(item)) => Outcome::Refused(item),
                };
                (mine, model.try_put(item))
            }
            Op::TryGet => {
                let mine = match queue.try_get() {
                    Ok(item) => Outcome::Item(item),
                    Err(TryGetError::Empty) => Outcome::Empty,
                    Err(TryGetError::Closed) => Outcome::Closed,
                };
                (mine, model.try_get())
            }
            Op::Put | Op::Get => {
                let is_put = matches!(op, Op::Put);
                let mut wait = if is_put { Wait::Put(queue.put(item)) } else { Wait::Get(queue.get()) };
                let mine = poll(&mut wait, step, &log);
                if mine == Outcome::Pending {
                    waits.push((step, wait));
                }
                (mine, if is_put { model.put(step, item) } else { model.get(step) })
            }
            Op::Poll(_) | Op::Drop(_) if waits.is_empty() => continue,
            Op::Poll(n) => {
                let n = n % waits.len();
                let (id, wait) = &mut waits[n];
                let outcomes = (poll(wait, *id, &log), model.poll(*id));
                if outcomes.0 != Outcome::Pending {
                    waits.remove(n);
                }
                outcomes
            }
            Op::Drop(n) => {
                let (id, wait) = waits.remove(n % waits.len());
                drop(wait);
                model.drop(id);
                (Outcome::Nothing, Outcome::Nothing)
            }
            Op::Done if model.taken == 0 => continue,
            Op::Done => {
                queue.task_done();
                model.taken -= 1;
                model.unfinished -= 1;
                (Outcome::Nothing, Outcome::Nothing)
            }
            Op::Close => {
                queue.close();
                model.close();
                (Outcome::Nothing, Outcome::Nothing)
            }
        };
        prop_assert_eq!(mine, theirs, "step {}: {:?}", step, op);
        prop_assert_eq!(
            std::mem::take(&mut *log.lock().unwrap()),
            std::mem::take(&mut model.woken),
            "step {}",
            step
        );
        prop_assert_eq!(
            (queue.len(), queue.unfinished()),
            (model.inside.len(), model.unfinished),
            "step {}",
            step
        );
        prop_assert_eq!(queue.is_full(), model.inside.len() >= model.capacity, "step {}", step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config {
        cases: if cfg!(miri) { 3 } else { 500 },
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn the_queue_does_what_its_model_does(
        capacity in prop_oneof![4 => (1usize..5).prop_map(Some), 1 => Just(None)],
        ops in prop::collection::vec(op(), 0..if cfg!(miri) { 20 } else { 80 }),
    ) {
        check(capacity, ops)?;
    }
}
