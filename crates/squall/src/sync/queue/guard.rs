//! An item that marks itself done.
//!
//! It is two fields and no destructor of its own: the item is dropped first, then the mark, and Rust drops the second
//! field even when the first one's destructor panics. So the item is always counted, and never before it is gone.

use super::Queue;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An item of a queue that is being worked on: dropping it marks the item done, whatever the reason for the drop.
///
/// Made by [`Queue::get_guard`] and [`Queue::try_get_guard`].
#[must_use = "dropping the guard at once drops the item and marks it done"]
pub struct WorkGuard<'q, T> {
    item: T,
    mark: Mark<'q, T>,
}

struct Mark<'q, T>(&'q Queue<T>);

impl<'q, T> WorkGuard<'q, T> {
    #[inline]
    pub(super) fn new(queue: &'q Queue<T>, item: T) -> WorkGuard<'q, T> {
        WorkGuard { item, mark: Mark(queue) }
    }

    /// The item, which stays unfinished: [`Queue::task_done`] is the caller's to call from here, as after [`Queue::get`]. (Marking it done
    /// here would end a [`join`](Queue::join) with the work still to do.)
    ///
    /// ```
    /// use squall::sync::Queue;
    ///
    /// let queue = Queue::unbounded();
    /// queue.try_put(String::from("work")).unwrap();
    /// let item: String = queue.try_get_guard().unwrap().into_inner();
    /// assert_eq!(queue.unfinished(), 1);
    /// drop(item);
    /// queue.task_done();
    /// assert_eq!(queue.unfinished(), 0);
    /// ```
    pub fn into_inner(self) -> T {
        let WorkGuard { item, mark } = self;
        mark.0.count_taken();
        std::mem::forget(mark);
        item
    }
}

impl<T> Drop for Mark<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.finish_one();
    }
}

impl<T> Deref for WorkGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> DerefMut for WorkGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: fmt::Debug> fmt::Debug for WorkGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkGuard").field(&self.item).finish()
    }
}
