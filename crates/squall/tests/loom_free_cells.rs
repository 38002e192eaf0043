//! The stack of free registry cells, model-checked like the inbox (see `loom.rs` for how and why).

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
#[path = "../src/task/free_cells.rs"]
mod free_cells;

use free_cells::FreeCells;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::thread;

/// Free cells 1 and 2 (2 on top), with what their holders write.
struct Registry {
    free: FreeCells,
    links: [AtomicU32; 3],
    held: [UnsafeCell<u32>; 3],
}

impl Registry {
    fn new() -> Arc<Registry> {
        let registry = Registry {
            free: FreeCells::over(AtomicU64::new(0)),
            links: [0; 3].map(AtomicU32::new),
            held: [0; 3].map(UnsafeCell::new),
        };
        registry.free.push(1, &registry.links[1]);
        registry.free.push(2, &registry.links[2]);
        Arc::new(registry)
    }

    fn lease(&self) -> Option<u32> {
        let home = self.free.pop(|home| &self.links[home as usize])?;
        // SAFETY: loom checks what this model claims: that nobody else holds the cell, and that its last holder is done.
        self.held[home as usize].with_mut(|held| unsafe { assert_eq!(std::mem::replace(&mut *held, 1), 0) });
        Some(home)
    }

    fn release(&self, home: u32) {
        // SAFETY: as above.
        self.held[home as usize].with_mut(|held| unsafe { *held = 0 });
        self.free.push(home, &self.links[home as usize]);
    }
}

/// Catches: no change counter (ABA); `pop` or `push` with relaxed orderings; a link that is not written anew when the exchange is
/// tried again.
#[test]
fn a_cell_is_leased_to_one_loop_at_a_time() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(|| {
        let registry = Registry::new();
        let threads = [0, 1].map(|_| {
            let registry = Arc::clone(&registry);
            thread::spawn(move || {
                if let Some(home) = registry.lease() {
                    registry.release(home);
                }
            })
        });
        let (first, second) = (registry.lease(), registry.lease());
        first.into_iter().for_each(|home| registry.release(home));
        for thread in threads {
            thread.join().unwrap();
        }
        second.into_iter().for_each(|home| registry.release(home));
        let mut all = [registry.lease(), registry.lease()];
        all.sort_unstable();
        assert_eq!((all, registry.lease()), ([Some(1), Some(2)], None), "a cell was lost or came twice");
    });
}
