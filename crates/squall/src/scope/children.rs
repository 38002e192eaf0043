//! The children of one scope that have not ended, as a list through the children themselves, in the order of their spawning.
//!
//! So one that ends leaves in one step from anywhere, the youngest is known, and nothing is allocated.

use super::node::Child;
use std::cell::Cell;
use std::ptr::{NonNull, null};

/// # Invariant
/// Every child in the list is live and owned by the scope. Links are read and written here only, and no reference to a child outlives a method.
pub(super) struct Children {
    youngest: Cell<*const super::node::Head>,
}

impl Children {
    pub(super) const fn new() -> Children {
        Children { youngest: Cell::new(null()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.youngest.get().is_null()
    }

    /// # Safety
    /// The child is live, owned by the scope, and in no list.
    #[inline]
    pub(super) unsafe fn push(&self, child: Child) {
        // SAFETY: by the contract, and the invariant for the one before.
        unsafe {
            let before = self.youngest.replace(child.as_ptr());
            child.as_ref().older.set(before);
            if !before.is_null() {
                (*before).younger.set(child.as_ptr());
            }
        }
    }

    /// # Safety
    /// The child is in this list.
    #[inline]
    pub(super) unsafe fn remove(&self, child: Child) {
        // SAFETY: by the contract and the invariant all three are live.
        unsafe {
            let (older, younger) = (child.as_ref().older.get(), child.as_ref().younger.get());
            match younger.is_null() {
                true => self.youngest.set(older),
                false => (*younger).older.set(older),
            }
            if !older.is_null() {
                (*older).younger.set(younger);
            }
        }
    }

    /// The youngest of those whose number is at most that.
    pub(super) fn youngest_until(&self, number: u64) -> Option<Child> {
        let mut child = self.youngest.get();
        // SAFETY: the invariant.
        while !child.is_null() && unsafe { (*child).number } > number {
            // SAFETY: as above.
            child = unsafe { (*child).older.get() };
        }
        NonNull::new(child.cast_mut())
    }

    /// Calls a function, which runs no user code, for each child.
    pub(super) fn for_each(&self, mut each: impl FnMut(Child)) {
        let mut child = self.youngest.get();
        while let Some(this) = NonNull::new(child.cast_mut()) {
            // SAFETY: the invariant.
            child = unsafe { this.as_ref().older.get() };
            each(this);
        }
    }
}
