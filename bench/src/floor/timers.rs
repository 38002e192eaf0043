//! The floor's timers: one level of a hashed wheel, a millisecond a slot.
//!
//! Insert and cancel are a push on a list and an unlink. The clock is read only when the executor has nothing to do; so
//! a sleep is late by up to a millisecond, and finding the next timer walks the wheel: nobody would keep it.

use super::current;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const SLOTS: u64 = 4096;
const NIL: u32 = u32::MAX;

struct Entry {
    waker: Option<Waker>,
    /// In milliseconds since the executor began.
    tick: u64,
    next: u32,
    prev: u32,
}

pub struct Timers {
    began: Instant,
    tick: u64,
    live: usize,
    entries: Vec<Entry>,
    free: u32,
    slots: Vec<u32>,
}

impl Default for Timers {
    fn default() -> Timers {
        let slots = vec![NIL; SLOTS as usize];
        Timers { began: Instant::now(), tick: 0, live: 0, entries: Vec::new(), free: NIL, slots }
    }
}

impl Timers {
    #[inline]
    fn insert(&mut self, tick: u64, waker: Waker) -> u32 {
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        let entry = Entry { waker: Some(waker), tick, next: *slot, prev: NIL };
        let index = match self.entries.get_mut(self.free as usize) {
            Some(place) => {
                let index = std::mem::replace(&mut self.free, place.next);
                *place = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        let next = std::mem::replace(slot, index);
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = index;
        }
        self.live += 1;
        index
    }

    /// `None` if it has fired.
    #[inline]
    fn remove(&mut self, index: u32) -> Option<Waker> {
        let entry = &mut self.entries[index as usize];
        let waker = entry.waker.take()?;
        let (tick, next, prev) = (entry.tick, entry.next, entry.prev);
        entry.next = std::mem::replace(&mut self.free, index);
        match self.entries.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => self.slots[(tick % SLOTS) as usize] = next,
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = prev;
        }
        self.live -= 1;
        Some(waker)
    }

    /// Sleeps until the next tick, and wakes those who are due.
    pub fn wait(&mut self) {
        assert!(self.live > 0, "nothing is ready and no timer is set");
        self.tick += 1;
        let due = self.began + Duration::from_millis(self.tick);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut index = self.slots[(self.tick % SLOTS) as usize];
        while let Some(entry) = self.entries.get(index as usize) {
            let (this, tick) = (index, entry.tick);
            index = entry.next;
            if tick <= self.tick {
                self.remove(this).into_iter().for_each(Waker::wake);
            }
        }
    }
}

pub fn sleep(duration: Duration) -> Sleep {
    let tick = current().timers.borrow().tick + duration.as_millis() as u64 + 1;
    Sleep { tick, key: None }
}

pub struct Sleep {
    tick: u64,
    key: Option<u32>,
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timers = current().timers.borrow_mut();
        if self.tick <= timers.tick {
            self.key = None;
            return Poll::Ready(());
        }
        if self.key.is_none() {
            self.key = Some(timers.insert(self.tick, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        if let Some(key) = self.key {
            drop(current().timers.borrow_mut().remove(key));
        }
    }
}
