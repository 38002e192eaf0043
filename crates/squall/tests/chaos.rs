//! Tasks that do anything to one another, from polls, destructors of futures and destructors of outputs, in every order that a seed gives.
//!
//! The other tests name a situation each; this one is for those that nobody has thought of. What must hold in all of them: nothing is polled
//! once it has ended, every future and output is dropped exactly once, no wake is lost, and the same seed does the same again.

mod trace;

use squall::time::{Sleep, sleep};
use squall::{EventLoop, JoinHandle, LoopHandle, spawn};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{panic_any, set_hook, take_hook};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use trace::{at_drop, settle, virtual_loop};

/// Prefix of the panics that belong to the game.
const MEANT: &str = "chaos: ";

struct World {
    seed: Cell<u64>,
    may_spawn: Cell<u32>,
    wakers: RefCell<Vec<(Waker, Rc<Life>)>>,
    handles: RefCell<Vec<JoinHandle<Output>>>,
    lives: RefCell<Vec<Rc<Life>>>,
    outputs: Cell<i64>,
    actions: Cell<u64>,
    depth: Cell<u32>,
}

/// One task's life, as it should be.
#[derive(Default)]
struct Life {
    is_over: Cell<bool>,
    is_polled_now: Cell<bool>,
    woken_since_poll: Cell<bool>,
    drops: Cell<u32>,
}

struct Chaotic {
    world: Rc<World>,
    life: Rc<Life>,
    timer: Option<Sleep>,
    awaited: Option<JoinHandle<Output>>,
}

struct Output(Rc<World>);

impl World {
    fn random(&self, below: u64) -> u64 {
        // xorshift64*, which is enough to be no one's friend.
        let mut x = self.seed.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.seed.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    fn pick<T>(&self, list: &[T]) -> Option<usize> {
        (!list.is_empty()).then(|| self.random(list.len() as u64) as usize)
    }

    fn take_handle(&self) -> Option<JoinHandle<Output>> {
        let mut handles = self.handles.borrow_mut();
        let at = self.pick(&handles)?;
        Some(handles.swap_remove(at))
    }

    /// A new task, on the given loop or on the current one.
    fn spawn(self: &Rc<World>, on: Option<&EventLoop>) {
        if self.may_spawn.get() == 0 {
            return;
        }
        self.may_spawn.set(self.may_spawn.get() - 1);
        let life = Rc::new(Life::default());
        self.lives.borrow_mut().push(life.clone());
        let task = Chaotic { world: self.clone(), life, timer: None, awaited: None };
        let handle = match on {
            Some(event_loop) => event_loop.spawn(task),
            None => spawn(task),
        };
        if self.random(4) > 0 {
            self.handles.borrow_mut().push(handle);
        }
    }

    fn wake_somebody(&self) {
        let picked = {
            let wakers = self.wakers.borrow();
            self.pick(&wakers).map(|at| wakers[at].clone())
        };
        let Some((waker, life)) = picked else { return };
        life.woken_since_poll.set(true);
        match self.random(20) {
            0 => thread::scope(|scope| _ = scope.spawn(|| waker.wake_by_ref())),
            _ => waker.wake(),
        }
    }

    /// Does something to somebody. Called from wherever user code may run.
    fn act(self: &Rc<World>) {
        self.actions.set(self.actions.get() + 1);
        if self.depth.get() > 20 {
            return;
        }
        self.depth.set(self.depth.get() + 1);
        match self.random(12) {
            0..=2 => self.spawn_inside(),
            3..=5 => self.wake_somebody(),
            6 | 7 => drop(self.take_handle()),
            8 | 9 => {
                if let Some(handle) = self.take_handle() {
                    handle.abort();
                    if self.random(2) == 0 {
                        self.handles.borrow_mut().push(handle);
                    }
                }
            }
            10 => {
                if let Some(mut handle) = self.take_handle() {
                    let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
                    match polled {
                        Poll::Ready(output) => drop(output),
                        Poll::Pending => self.handles.borrow_mut().push(handle),
                    }
                }
            }
            _ => {
                // The oldest wakers are stale, most of them; they are kept all the same.
                let mut wakers = self.wakers.borrow_mut();
                let many = wakers.len().saturating_sub(50);
                wakers.drain(..many);
            }
        }
        self.depth.set(self.depth.get() - 1);
    }

    fn spawn_inside(self: &Rc<World>) {
        if LoopHandle::try_current().is_some() {
            self.spawn(None);
        }
    }
}

impl Future for Chaotic {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let world = self.world.clone();
        assert!(!self.life.is_over.get(), "polled after its end");
        assert!(!self.life.is_polled_now.replace(true), "polled inside of its own poll");
        self.life.woken_since_poll.set(false);
        let life = self.life.clone();
        let _now = at_drop(move || life.is_polled_now.set(false));
        for _ in 0..world.random(4) {
            world.act();
        }
        match world.random(16) {
            0..=2 => {
                self.life.is_over.set(true);
                world.outputs.set(world.outputs.get() + 1);
                return Poll::Ready(Output(world));
            }
            3 => {
                self.life.is_over.set(true);
                panic_any(format!("{MEANT}poll"));
            }
            4..=7 => {
                self.life.woken_since_poll.set(true);
                cx.waker().wake_by_ref();
            }
            8 | 9 => {
                let timer = self.timer.insert(sleep(Duration::from_nanos(world.random(1000))));
                if Pin::new(timer).poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
            10 | 11 => self.awaited = world.take_handle(),
            _ => {}
        }
        if let Some(mut awaited) = self.awaited.take() {
            match Pin::new(&mut awaited).poll(cx) {
                Poll::Ready(output) => drop(output),
                Poll::Pending => self.awaited = Some(awaited),
            }
        }
        world.wakers.borrow_mut().push((cx.waker().clone(), self.life.clone()));
        Poll::Pending
    }
}

impl Drop for Chaotic {
    fn drop(&mut self) {
        assert!(!self.life.is_polled_now.get(), "dropped inside of its poll");
        self.life.is_over.set(true);
        self.life.drops.set(self.life.drops.get() + 1);
        for _ in 0..self.world.random(3) {
            self.world.act();
        }
        if self.world.random(20) == 0 {
            panic_any(format!("{MEANT}destructor"));
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.0.outputs.set(self.0.outputs.get() - 1);
        for _ in 0..self.0.random(3) {
            self.0.act();
        }
        // Only where the loop drops it: elsewhere it is this test's own panic.
        if self.0.random(30) == 0 && self.0.depth.get() == 0 {
            panic_any(format!("{MEANT}output"));
        }
    }
}

/// Plays one game; gives what could differ.
fn play(seed: u64, tasks: u32) -> (u64, u64, u32) {
    let world = Rc::new(World {
        seed: Cell::new(seed),
        may_spawn: Cell::new(tasks),
        wakers: RefCell::default(),
        handles: RefCell::default(),
        lives: RefCell::default(),
        outputs: Cell::new(0),
        actions: Cell::new(0),
        depth: Cell::new(0),
    });
    let event_loop = virtual_loop();
    for _ in 0..100 {
        (0..world.random(10)).for_each(|_| world.spawn(Some(&event_loop)));
        settle(&event_loop);
        // Quiet: whoever was woken has been polled since, or is gone.
        for life in world.lives.borrow().iter() {
            assert!(life.is_over.get() || !life.woken_since_poll.get(), "a wake was lost (seed {seed})");
        }
        (0..world.random(10)).for_each(|_| world.act());
        event_loop.run_until(async { sleep(Duration::from_nanos(100)).await });
    }
    drop(event_loop);
    let handles = world.handles.take();
    drop(handles);
    world.wakers.borrow().iter().for_each(|(waker, _)| waker.wake_by_ref());
    for life in world.lives.borrow().iter() {
        assert_eq!(life.drops.get(), 1, "every future is dropped once (seed {seed})");
    }
    assert_eq!(world.outputs.get(), 0, "every output is dropped once (seed {seed})");
    world.wakers.take();
    assert_eq!(Rc::strong_count(&world), 1, "nothing is left (seed {seed})");
    (world.seed.get(), world.actions.get(), world.may_spawn.get())
}

/// Panics that are part of the game are not printed.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            let text = panic.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with(MEANT)) {
                before(panic);
            }
        }));
    });
}

#[test]
fn whatever_tasks_do_to_one_another_each_ends_once_and_no_wake_is_lost() {
    hush();
    let (seeds, tasks) = if cfg!(miri) { (3, 60) } else { (100, 600) };
    for seed in 1..=seeds {
        assert_eq!(play(seed, tasks), play(seed, tasks), "the same seed, the same game");
    }
}
