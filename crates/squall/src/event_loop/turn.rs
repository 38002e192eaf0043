//! One turn of the loop: the heart. Four steps, always in this order.
//!
//! Completions are queued as wakes and never run inline: a chain of completions would otherwise grow the stack without bound, and a trace of
//! who ran when would depend on who happened to be waiting.

use super::core::{Core, Idle};
use super::current::INHERITED;
use crate::task::{self, Handle, Message, Standing};

/// So many events at once are of connections that the caches have forgotten.
const MANY: u32 = 8;

impl Core {
    /// Turns until the task has ended. One call for all turns: entering and leaving a function costs a third of a turn with one task.
    pub(super) fn turn_until(&self, main: Handle) {
        let _turning = self.begin_turns();
        let slot = self.tasks.cell.slot_at(main.slot());
        while slot.generation() == main.generation() || !matches!(self.tasks.look(main), Standing::Done(_)) {
            self.one_turn(Idle::WaitFor(main));
        }
    }

    /// One turn. Gives the number of polls.
    pub(super) fn turn(&self, idle: Idle) -> u32 {
        let _turning = self.begin_turns();
        let before = self.polls();
        self.one_turn(idle);
        (self.polls() - before) as u32
    }

    /// The polls so far.
    pub(super) fn polls(&self) -> u64 {
        self.quantum.spent() - self.tasks.skipped.get()
    }

    #[inline(always)]
    fn one_turn(&self, idle: Idle) {
        self.refuse_inherited_loop();
        self.forget_time();
        self.turns.set(self.turns.get() + 1);

        // 1. What other threads left.
        if !self.tasks.cell.wakes.is_empty() || !self.tasks.cell.messages.is_empty() {
            self.take_inbox();
        }

        // 2. Exactly the tasks that are ready now; what they wake runs next turn. The driver is consulted on the way.
        let mut left = self.tasks.ready();
        let is_cold = left >= MANY && self.is_cold.take();
        while left > 0 {
            let stretch = left.min(self.quantum.left());
            self.tasks.begin_stretch(stretch);
            let ends = EndOfStretch { core: self, stretch };
            if is_cold {
                self.run_cold(stretch);
            } else {
                for _ in 0..stretch {
                    self.tasks.run_next();
                }
            }
            drop(ends);
            left -= stretch;
            if self.quantum.left() == 0 {
                self.consult();
            }
        }

        // 3. and 4. Wait for the outside if nothing is ready, and wake who waited for it.
        if self.tasks.ready() == 0 && !self.is_over(idle) {
            self.park(idle);
        }
    }

    #[inline(never)]
    fn run_cold(&self, stretch: u32) {
        for _ in 0..stretch {
            self.tasks.fetch_ahead();
            self.tasks.run_next();
        }
    }

    fn is_over(&self, idle: Idle) -> bool {
        matches!(idle, Idle::WaitFor(task) if matches!(self.tasks.look(task), Standing::Done(_)))
    }

    /// Looks at the outside without waiting, in the midst of work: wakes join the next turn. (Messages wait for it: they run user code.)
    #[cold]
    fn consult(&self) {
        self.take_wakes();
        self.ask_driver(Some(0));
        self.quantum.renew(self.read_clock());
        self.fire_timers();
    }

    /// Nothing is ready: sleeps until a completion, a timer or another thread, unless told to return.
    #[inline(never)]
    fn park(&self, idle: Idle) {
        let next = self.timers.borrow_mut().next_deadline();
        let timeout = match (idle, next) {
            (Idle::Return, _) => Some(0),
            (_, None) => None,
            (_, Some(deadline)) => Some(deadline.saturating_sub(self.read_clock())),
        };
        if timeout == Some(0) {
            self.ask_driver(timeout);
        } else if !self.spin.is_on() {
            self.sleep(timeout);
        } else if !self.spin_for_news(timeout) {
            let before = self.clock.now_ns();
            self.sleep(next.map(|deadline| deadline.saturating_sub(before)));
            self.spin.note_sleep(self.clock.now_ns().saturating_sub(before));
        }
        self.quantum.restart();
        self.forget_time();
        self.fire_timers();
    }

    #[inline]
    fn sleep(&self, timeout_ns: Option<u64>) {
        let cell = self.tasks.cell;
        cell.sleep.announce();
        if cell.wakes.is_empty() && cell.messages.is_empty() {
            self.ask_driver(timeout_ns);
        }
        cell.sleep.awake();
    }

    /// Looks for news before sleeping, if that is due. True if there is some, or a timer is due, so that no sleep is needed.
    #[cold]
    fn spin_for_news(&self, timeout_ns: Option<u64>) -> bool {
        if !self.spin.is_due() {
            return false;
        }
        let cell = self.tasks.cell;
        let start = self.clock.now_ns();
        let (mut took, timeout) = (0, timeout_ns.unwrap_or(u64::MAX));
        let has_paid = loop {
            self.ask_driver(Some(0));
            if self.tasks.ready() > 0
                || !cell.wakes.is_empty()
                || !cell.messages.is_empty()
                || took >= timeout
            {
                break true;
            }
            if took >= self.spin.budget_ns() {
                break false;
            }
            std::hint::spin_loop();
            took = self.clock.now_ns().saturating_sub(start);
        };
        self.spin.note_spin(took, has_paid);
        has_paid
    }

    /// Hands the driver what is queued, waits at most that long, wakes whose operations are done.
    fn ask_driver(&self, timeout_ns: Option<u64>) {
        if self.clock.is_virtual() {
            return self.wait_virtually(timeout_ns);
        }
        // A task may have forked since the turn began.
        self.refuse_inherited_loop();
        let mut events = self.events.take();
        if let Err(error) = self.driver.borrow_mut().park(timeout_ns, &mut events) {
            panic!("squall: the event loop cannot wait for events any more: {error}");
        }
        if events.len() >= MANY as usize {
            self.is_cold.set(true);
        }
        for (waiter, _cause) in events.drain(..) {
            self.tasks.wake_waiter(waiter);
        }
        self.events.replace(events);
    }

    /// Wakes the sleepers that are due: in the order of their deadlines, equal ones first come first served.
    fn fire_timers(&self) {
        if self.timers.borrow().len() == 0 {
            return;
        }
        let now = self.now_ns();
        while let Some(waiter) = { self.timers.borrow_mut().pop_due(now) } {
            self.tasks.wake_waiter(crate::driver::Waiter(waiter));
        }
    }

    /// Virtual time jumps to the next timer, unless work on the pool is pending; with neither timers nor work only another
    /// thread could go on, and if none does it is a deadlock.
    fn wait_virtually(&self, timeout_ns: Option<u64>) {
        let cell = self.tasks.cell;
        match timeout_ns {
            Some(0) => {}
            _ if cell.has_pending_work() => _ = cell.sleep_on_bell(None),
            // It ended since the inbox was looked at: its wake was there before its count fell.
            _ if !cell.wakes.is_empty() || !cell.messages.is_empty() => {}
            Some(wait) => self.clock.advance_to(self.clock.now_ns().saturating_add(wait)),
            None if cell.sleep_on_bell(Some(self.patience)) => {}
            None => self.report_deadlock(),
        }
    }

    fn report_deadlock(&self) -> ! {
        let tasks = self.tasks.infos();
        panic!(
            "deadlock: no task is ready, no timer is set and no work is pending, so nothing can ever happen again. {} {}:\n{}",
            tasks.len(),
            if tasks.len() == 1 { "task waits" } else { "tasks wait" },
            task::draw(&tasks)
        );
    }

    #[cold]
    #[inline(never)]
    fn take_inbox(&self) {
        self.take_wakes();
        if !self.tasks.cell.messages.is_empty() {
            for message in self.tasks.take_messages() {
                self.obey(message);
            }
        }
    }

    #[inline]
    fn take_wakes(&self) {
        if !self.tasks.cell.wakes.is_empty() {
            self.tasks.take_remote_wakes();
        }
    }

    #[cold]
    fn obey(&self, message: Message) {
        match message {
            Message::Spawn(start) => {
                if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start)) {
                    task::report_panic("a closure given to LoopHandle::spawn panicked", panic);
                }
            }
            Message::Call(f, place) => _ = self.tasks.call_soon(f, place),
            Message::CancelCall(number) => self.tasks.cancel_call(number),
            Message::Close(key, fd) => {
                let orphans = self.driver.borrow_mut().close(key, fd);
                self.wake_orphans(orphans);
            }
            Message::Forget(key) => {
                let orphans = self.driver.borrow_mut().forget(key);
                self.wake_orphans(orphans);
            }
            Message::Finish(key, direction, op) => {
                let waiter = self.driver.borrow_mut().finish(key, direction, op);
                waiter.into_iter().for_each(|waiter| self.tasks.discard(waiter));
            }
            Message::CancelTimer(key) => {
                if let Some(waiter) = { self.timers.borrow_mut().cancel(key) } {
                    self.tasks.discard(crate::driver::Waiter(waiter));
                }
            }
            Message::Abort(handle) => self.tasks.abort(handle),
            Message::Detach(handle) => self.tasks.detach(handle),
            Message::FreeMember(handle) => self.tasks.free_member(handle),
            Message::Stop => self.stop.request(),
        }
    }

    fn begin_turns(&self) -> Turning<'_> {
        self.refuse_inherited_loop();
        if self.is_turning.replace(true) {
            panic!(
                "this event loop is in a turn already: a task cannot turn the loop it runs on; await instead"
            );
        }
        Turning(self)
    }

    /// Turning a loop that came along with a `fork`, or waiting at its driver, would take the parent's events.
    #[inline]
    fn refuse_inherited_loop(&self) {
        if self.tasks.cell.is_inherited() {
            self.leave_parent();
            panic!("{INHERITED}");
        }
    }
}

/// Ends a stretch, also when a callback's panic leaves the turn in its midst: then the polls that did not happen are counted too, so that the driver's
/// turn comes no later.
struct EndOfStretch<'a> {
    core: &'a Core,
    stretch: u32,
}

impl Drop for EndOfStretch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.core.tasks.end_stretch();
        self.core.quantum.spend(self.stretch);
    }
}

/// Ends the turn, also when a deadlock is reported by a panic.
struct Turning<'a>(&'a Core);

impl Drop for Turning<'_> {
    fn drop(&mut self) {
        self.0.is_turning.set(false);
    }
}
