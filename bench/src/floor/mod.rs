//! The floor: the least that a single-threaded executor can be, so that a runtime's cost has something to stand on.
//!
//! A slab of futures, a queue of those that are ready, wakers that are a slab index. Left out is all that costs a real
//! runtime something on the way: no I/O, no wake from another thread (its wakers are unsound there, so it stays in this
//! program), no panic is caught, a stale wake polls whoever has the slot now, nobody is cancelled, nothing is fair to
//! anything outside. What is in is done with care: one allocation a task, no reference counts on the way of a poll.

mod timers;

pub use timers::sleep;

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use timers::Timers;

thread_local! {
    static CURRENT: Cell<*const Executor> = const { Cell::new(std::ptr::null()) };
}

/// # Invariant
/// No reference into a cell outlives the method that made it, and no method calls user code while it holds one.
struct Executor {
    tasks: UnsafeCell<Vec<Entry>>,
    ready: UnsafeCell<VecDeque<u32>>,
    free: Cell<u32>,
    timers: RefCell<Timers>,
}

struct Entry {
    task: Option<Rc<dyn Run>>,
    is_scheduled: bool,
    /// The free list's link.
    next_free: u32,
}

const NONE: u32 = u32::MAX;

/// The executor of this thread.
#[inline]
fn current<'a>() -> &'a Executor {
    // SAFETY: `run` puts it there, and nothing of this program calls this after `run` has returned.
    unsafe { CURRENT.get().as_ref() }.expect("inside floor::run")
}

pub fn run<F: Future + 'static>(body: F) -> F::Output {
    let executor = Executor {
        tasks: UnsafeCell::new(Vec::new()),
        ready: UnsafeCell::new(VecDeque::new()),
        free: Cell::new(NONE),
        timers: RefCell::default(),
    };
    CURRENT.set(&executor);
    let main = executor.spawn(body);
    let output = loop {
        if let Some(output) = main.task.take_output() {
            break output;
        }
        while executor.run_next() {}
        if !main.task.is_done() {
            executor.timers.borrow_mut().wait();
        }
    };
    // Tasks that are left may hold wakers, channels and sleeps: they go while there is an executor to find.
    // SAFETY: the vector is taken out before any destructor runs.
    drop(std::mem::take(unsafe { &mut *executor.tasks.get() }));
    CURRENT.set(std::ptr::null());
    output
}

#[inline]
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    current().spawn(future)
}

impl Executor {
    #[inline]
    fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        let task = Rc::new(Task { state: UnsafeCell::new(State::Running(future)), joiner: Cell::new(None) });
        // SAFETY: as in the type's invariant.
        let tasks = unsafe { &mut *self.tasks.get() };
        let entry = Entry { task: Some(task.clone()), is_scheduled: true, next_free: NONE };
        let index = self.free.get();
        let index = match tasks.get_mut(index as usize) {
            Some(place) => {
                self.free.set(place.next_free);
                *place = entry;
                index
            }
            None => {
                tasks.push(entry);
                tasks.len() as u32 - 1
            }
        };
        // SAFETY: as above.
        unsafe { &mut *self.ready.get() }.push_back(index);
        JoinHandle { task }
    }

    #[inline]
    fn wake(&self, index: u32) {
        // SAFETY: as in the type's invariant.
        let (tasks, ready) = unsafe { (&mut *self.tasks.get(), &mut *self.ready.get()) };
        if let Some(entry) = tasks.get_mut(index as usize).filter(|entry| !entry.is_scheduled) {
            entry.is_scheduled = true;
            ready.push_back(index);
        }
    }

    #[inline]
    fn run_next(&self) -> bool {
        // SAFETY: as in the type's invariant.
        let (tasks, ready) = unsafe { (&mut *self.tasks.get(), &mut *self.ready.get()) };
        let Some(index) = ready.pop_front() else { return false };
        let entry = &mut tasks[index as usize];
        entry.is_scheduled = false;
        let Some(task) = entry.task.as_ref().map(Rc::as_ptr) else { return true };
        let waker = std::mem::ManuallyDrop::new(waker_of(index));
        // SAFETY: the entry keeps the task until it is taken out below, and nobody else takes it.
        if unsafe { &*task }.poll(&mut Context::from_waker(&waker)) {
            // SAFETY: as in the type's invariant; the task is dropped when no reference is left.
            let entry = &mut unsafe { &mut *self.tasks.get() }[index as usize];
            entry.next_free = self.free.replace(index);
            let task = entry.task.take();
            drop(task);
        }
        true
    }
}

// --- a task ------------------------------------------------------------------------------------------------------

struct Task<F: Future> {
    state: UnsafeCell<State<F>>,
    joiner: Cell<Option<Waker>>,
}

enum State<F: Future> {
    Running(F),
    Done(F::Output),
    Taken,
}

trait Run {
    /// True if it has ended.
    fn poll(&self, cx: &mut Context<'_>) -> bool;
}

trait Join<T> {
    fn take_output(&self) -> Option<T>;
    fn is_done(&self) -> bool;
    fn set_joiner(&self, waker: Waker);
}

impl<F: Future> Run for Task<F> {
    #[inline]
    fn poll(&self, cx: &mut Context<'_>) -> bool {
        // SAFETY: only this method touches a running state, it is not entered again (a task never polls itself), and
        // the future is not moved: it lies in an `Rc` and is dropped in place by the assignment.
        let output = match unsafe { &mut *self.state.get() } {
            State::Running(future) => match unsafe { Pin::new_unchecked(future) }.poll(cx) {
                Poll::Ready(output) => output,
                Poll::Pending => return false,
            },
            _ => return true,
        };
        // SAFETY: as above.
        unsafe { *self.state.get() = State::Done(output) };
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
        true
    }
}

impl<F: Future> Join<F::Output> for Task<F> {
    #[inline]
    fn take_output(&self) -> Option<F::Output> {
        if !self.is_done() {
            return None;
        }
        // SAFETY: done, so no poll holds a reference.
        match std::mem::replace(unsafe { &mut *self.state.get() }, State::Taken) {
            State::Done(output) => Some(output),
            _ => None,
        }
    }

    #[inline]
    fn is_done(&self) -> bool {
        // SAFETY: reads the discriminant; a poll may be on the stack but has no reason to change it meanwhile.
        matches!(unsafe { &*self.state.get() }, State::Done(_))
    }

    #[inline]
    fn set_joiner(&self, waker: Waker) {
        self.joiner.set(Some(waker));
    }
}

pub struct JoinHandle<T> {
    task: Rc<dyn Join<T>>,
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.task.take_output() {
            Some(output) => Poll::Ready(output),
            None => {
                self.task.set_joiner(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

// --- wakers and yields -------------------------------------------------------------------------------------------

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, |_| ());

fn waker_of(index: u32) -> Waker {
    // SAFETY: the functions read no memory through the word. They must stay on this thread, which `Waker` cannot say;
    // rows that wake from another thread leave the floor out.
    unsafe { Waker::new(std::ptr::without_provenance(index as usize), &VTABLE) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    current().wake(data.addr() as u32);
}

pub fn yield_now() -> YieldNow {
    YieldNow { has_yielded: false }
}

pub struct YieldNow {
    has_yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
