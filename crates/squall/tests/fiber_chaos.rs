//! Random programs of fibers: they wait, spawn, lend to scopes, panic, catch, and end one another at any moment, also while a thread unwinds. Whatever happens, each
//! value is dropped once, nothing is used after its owner has gone (the address sanitizer looks on), no stack is lost, and the thread is as it was.

mod trace;

use squall::JoinHandle;
use squall::fiber;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::time::Duration;
use trace::virtual_loop;

/// What all fibers of a run share.
struct World {
    /// Numbers that look random and are the same in every run (Marsaglia's xorshift64).
    dice: Cell<u64>,
    alive: Cell<i64>,
    made: Cell<i64>,
    handles: RefCell<Vec<Rc<JoinHandle<()>>>>,
}

impl World {
    fn below(&self, bound: u64) -> u64 {
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        dice % bound
    }

    fn a_while(&self) -> squall::time::Sleep {
        squall::time::sleep(Duration::from_millis(self.below(5)))
    }

    fn abort_one(&self) {
        let one = {
            let handles = self.handles.borrow();
            if handles.is_empty() {
                return;
            }
            handles[self.below(handles.len() as u64) as usize].clone()
        };
        one.abort();
    }

    fn spawn(self: &Rc<World>) {
        if self.made.get() < 500 {
            let world = self.clone();
            let fiber = fiber::spawn(move || live(&world, 0));
            self.handles.borrow_mut().push(Rc::new(fiber));
        }
    }
}

/// A value on a stack: counted, and it knows if it was written over.
struct Value<'w> {
    world: &'w World,
    check: Box<u64>,
}

const CHECK: u64 = 0x7371_7561_6c6c;

impl<'w> Value<'w> {
    fn new(world: &'w World) -> Value<'w> {
        world.alive.set(world.alive.get() + 1);
        world.made.set(world.made.get() + 1);
        Value { world, check: Box::new(CHECK) }
    }

    fn look(&self) {
        assert_eq!(*self.check, CHECK);
    }
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        self.look();
        *self.check = 0;
        self.world.alive.set(self.world.alive.get() - 1);
        // Destructors may do anything that need not wait, or says so. (What waits may unwind, and leave the rest undone.)
        match self.world.below(8) {
            0 => _ = fiber::is_current() && fiber::try_wait(self.world.a_while()).is_ok(),
            1 if fiber::is_current() && std::thread::panicking() => fiber::yield_now(),
            2 => self.world.abort_one(),
            _ => {}
        }
    }
}

/// What a panic of this test is told by.
struct Chaos;

fn live(world: &Rc<World>, depth: u32) {
    let mine = Value::new(world);
    for _ in 0..world.below(7) {
        match world.below(13) {
            0 => fiber::yield_now(),
            1 => fiber::wait(world.a_while()),
            2 => {
                if fiber::try_wait(world.a_while()).is_err() {
                    return;
                }
            }
            3 => world.spawn(),
            4 => world.abort_one(),
            5 | 6 if depth < 3 => lend(world, depth, &mine),
            7 if depth < 4 => {
                if let Err(caught) = catch_unwind(AssertUnwindSafe(|| live(world, depth + 1))) {
                    // Some pass on what is not theirs, some do not.
                    if fiber::is_cancellation(&*caught) && world.below(2) == 0 {
                        resume_unwind(caught);
                    }
                }
            }
            8 if world.below(3) == 0 => panic_any(Chaos),
            9 => {
                let task = squall::spawn(async { squall::yield_now().await });
                if world.below(2) == 0 {
                    _ = fiber::wait(task);
                }
            }
            10 if fiber::is_cancelled() => return,
            _ => mine.look(),
        }
    }
}

/// Children that borrow a value of this stack.
fn lend(world: &Rc<World>, depth: u32, value: &Value<'_>) {
    let own = Value::new(world);
    fiber::scope(|s| {
        for _ in 0..=world.below(3) {
            let child = s.spawn(|| {
                value.look();
                own.look();
                live(world, depth + 1);
                own.look();
                value.look();
                &own
            });
            match world.below(6) {
                0 => child.abort(),
                1 => _ = child.join().map(Value::look),
                2 => s.cancel(),
                3 => live(world, depth + 1),
                _ => {}
            }
        }
    });
}

fn run(seed: u64) {
    let world = Rc::new(World {
        dice: Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        alive: Cell::new(0),
        made: Cell::new(0),
        handles: RefCell::default(),
    });
    let event_loop = virtual_loop();
    event_loop.run_until(async {
        for _ in 0..10 {
            world.spawn();
        }
        // Some runs end in the midst of it.
        for _ in 0..world.below(60) {
            squall::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let stacks = event_loop.run_until(async { fiber::stacks() });
    // Some loops end while their thread unwinds.
    if world.below(3) == 0 {
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _ended_by_a_panic = event_loop;
            panic_any(Chaos);
        }));
        assert!(unwound.is_err());
    } else {
        drop(event_loop);
    }
    assert!(!std::thread::panicking());
    assert_eq!(world.alive.get(), 0, "seed {seed}: of {} values", world.made.get());
    world.handles.take();
    assert_eq!(Rc::strong_count(&world), 1, "seed {seed}");
    let after = virtual_loop().run_until(async { fiber::stacks() });
    assert_eq!(after.in_use, 0, "seed {seed}: {stacks:?}");
}

#[test]
fn random_programs_drop_everything_once() {
    // Panics here are meant.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Chaos>() {
            hook(info);
        }
    }));
    let seeds = std::env::var("SQUALL_CHAOS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        run(seed);
    }
}
