//! All that one loop owns: its tasks, its driver, its timers and its clock.
//!
//! Fields are cells and short borrows; no borrow is held while user code runs.

use super::choice::DriverChoice;
use super::current::Entered;
use super::quantum::Quantum;
use super::spin::Spin;
use crate::driver::{Cause, Driver, DriverKind, IoTotals, Limits, Orphans, Waiter};
use crate::task::{self, CallbackPanics, Enter, Handle, Message, PendingWork, Tasks};
use crate::timer::{Clock, Wheel};
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The clock was not read since the driver was consulted.
const UNREAD: u64 = u64::MAX;

pub(crate) struct Core {
    pub(crate) tasks: Tasks,
    pub(crate) driver: RefCell<Driver>,
    pub(crate) timers: RefCell<Wheel>,
    pub(super) clock: Clock,
    now_ns: Cell<u64>,
    pub(super) quantum: Quantum,
    pub(super) spin: Spin,
    pub(super) events: RefCell<Vec<(Waiter, Cause)>>,
    /// The driver has woken many since the turn began: the next one's tasks are not in the cache.
    pub(super) is_cold: Cell<bool>,
    pub(super) stop: super::stopping::StopRequest,
    /// How long a loop under virtual time waits (in real time) for another thread before it calls a standstill a deadlock.
    pub(super) patience: Duration,
    /// Who is called for which signal.
    pub(crate) signal_handlers: RefCell<Vec<(i32, Handle)>>,
    /// A turn is on the call stack.
    pub(super) is_turning: Cell<bool>,
    pub(super) turns: Cell<u64>,
}

/// What a loop is made from.
pub(super) struct Setup {
    /// `None`: no outside world, and virtual time.
    pub(super) driver: Option<DriverChoice>,
    pub(super) limits: Limits,
    pub(super) patience: Duration,
    pub(super) spin_ns: u64,
    pub(super) callback_panics: CallbackPanics,
}

impl Core {
    pub(super) fn new(setup: &Setup) -> io::Result<Core> {
        let is_virtual = setup.driver.is_none();
        let patience = setup.patience;
        let tasks = Tasks::lease()?;
        tasks.set_callback_panics(setup.callback_panics);
        let cell = tasks.cell;
        let first = cell.next_generation.load(Ordering::Relaxed);
        cell.uses_bell.store(is_virtual, Ordering::Relaxed);
        let driver = match setup.driver {
            None => Ok(Driver::null(first)),
            Some(choice) => cell.notifier().and_then(|notifier| choice.start(notifier, first, setup.limits)),
        };
        let driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                drop(tasks.end_lease());
                cell.release();
                return Err(io::Error::new(
                    error.kind(),
                    format!("cannot start an event loop's driver: {error}"),
                ));
            }
        };
        if driver.kind() == DriverKind::Uring {
            super::exit::push_out_at_exit();
        }
        let clock = if is_virtual { Clock::virtual_from(0) } else { Clock::real() };
        let timers = Wheel::new(clock.now_ns(), first);
        Ok(Core {
            tasks,
            driver: RefCell::new(driver),
            timers: RefCell::new(timers),
            clock,
            now_ns: Cell::new(UNREAD),
            quantum: Quantum::new(is_virtual),
            spin: Spin::new(if is_virtual { 0 } else { setup.spin_ns }),
            events: RefCell::new(Vec::new()),
            is_cold: Cell::new(false),
            stop: super::stopping::StopRequest::new(),
            patience,
            signal_handlers: RefCell::new(Vec::new()),
            is_turning: Cell::new(false),
            turns: Cell::new(0),
        })
    }

    /// The turn's time: read once, when somebody first asks in a turn.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        let now = self.now_ns.get();
        if now != UNREAD { now } else { self.read_clock() }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.clock.is_virtual()
    }

    /// The time now, which becomes the turn's time.
    pub(crate) fn read_clock(&self) -> u64 {
        let now = self.clock.now_ns();
        self.now_ns.set(now);
        now
    }

    #[inline]
    pub(super) fn forget_time(&self) {
        self.now_ns.set(UNREAD);
    }

    /// What the driver holds, and what spinning has cost.
    pub(super) fn io_totals(&self) -> IoTotals {
        let spin = self.spin.totals();
        IoTotals {
            spun: Duration::from_nanos(spin.spun_ns),
            spins: spin.spins,
            spins_that_paid: spin.paid,
            ..self.driver.borrow().totals()
        }
    }

    /// After a fork the kernel objects are the parent's too: a loop that came along lets go of them, and takes nothing out.
    pub(crate) fn leave_parent(&self) {
        if self.tasks.cell.is_inherited() {
            let first = self.driver.borrow().next_generation();
            drop(self.driver.replace(Driver::null(first)));
        }
    }

    /// Ends the loop's life: tasks dropped, the youngest first, then what other threads sent and nobody read.
    fn end(&self, entered: &Enter<'_>) {
        self.leave_parent();
        self.tasks.close(entered);
        self.driver.borrow_mut().leave_sockets();
        for message in self.tasks.end_lease() {
            let message = match message {
                // Its last bytes may still be the driver's.
                Message::Close(key, fd) => {
                    let orphans = self.driver.borrow_mut().close(key, fd);
                    self.wake_orphans(orphans);
                    continue;
                }
                Message::FreeMember(handle) => {
                    self.tasks.free_member(handle);
                    continue;
                }
                message => message,
            };
            if let Some(panic) = task::drop_quietly(message) {
                task::report_panic(
                    "a request to an event loop that has ended panicked in its destructor",
                    panic,
                );
            }
        }
        self.tasks.drop_foreign_wakers();
        let next = self.driver.borrow().next_generation().max(self.timers.borrow().next_generation());
        self.tasks.cell.next_generation.store(next, Ordering::Relaxed);
    }

    /// Work of other threads that this loop waits for: until it is dropped, a virtual clock stands still.
    pub(crate) fn pending_work(&self) -> PendingWork {
        PendingWork::new(self.tasks.cell)
    }

    /// Those who waited at a socket that went away: their next try says so.
    pub(crate) fn wake_orphans(&self, orphans: Orphans) {
        orphans.into_iter().flatten().for_each(|waiter| self.tasks.wake_waiter(waiter));
    }

    /// A foreign waker's clone may run user code that takes a turn of another loop; nothing here is borrowed meanwhile.
    #[inline]
    pub(crate) fn waiter(&self, waker: &std::task::Waker) -> Waiter {
        self.tasks.waiter(waker)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let entered = Entered::new(self);
        self.end(&entered.tasks);
        drop(entered);
        self.tasks.cell.release();
    }
}

/// What a turn does when nothing is ready.
#[derive(Clone, Copy)]
pub(super) enum Idle {
    Wait,
    /// Wait, unless this task has ended meanwhile: the turn was for it.
    WaitFor(Handle),
    Return,
}
