//! The children of one scope that have not ended, in the order of their spawning.
//!
//! A slab with links, so that a child is found by its number, leaves from anywhere, and the youngest is known: all in one step, and without an
//! allocation for each.

use super::node::AnyChild;
use crate::task::Handle;
use std::rc::Rc;

const NONE: u32 = u32::MAX;

/// What the scope owns.
pub(super) enum Entry {
    /// Polled and dropped by the scope.
    Child(Rc<dyn AnyChild>),
    /// A task of the loop, or a fiber. A shielded one is not aborted.
    Task { handle: Handle, is_shielded: bool },
}

struct Place {
    entry: Option<Entry>,
    older: u32,
    younger: u32,
}

pub(super) struct Entries {
    places: Vec<Place>,
    youngest: u32,
    free: u32,
    len: u32,
}

impl Entries {
    pub(super) const fn new() -> Entries {
        Entries { places: Vec::new(), youngest: NONE, free: NONE, len: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A place for a child that is about to be made: its number must be known before.
    ///
    /// # Panics
    /// With four billion children.
    pub(super) fn reserve(&mut self) -> u32 {
        self.len += 1;
        if self.free != NONE {
            let number = self.free;
            self.free = self.places[number as usize].older;
            return number;
        }
        let number = u32::try_from(self.places.len()).ok().filter(|number| *number != NONE);
        self.places.push(Place { entry: None, older: NONE, younger: NONE });
        number.expect("four billion children are alive in one scope")
    }

    /// Fills a reserved place: the youngest now.
    pub(super) fn fill(&mut self, number: u32, entry: Entry) {
        let older = std::mem::replace(&mut self.youngest, number);
        self.places[number as usize] = Place { entry: Some(entry), older, younger: NONE };
        if older != NONE {
            self.places[older as usize].younger = number;
        }
    }

    /// Gives up a reserved place that was not filled.
    pub(super) fn give_up(&mut self, number: u32) {
        self.places[number as usize].older = std::mem::replace(&mut self.free, number);
        self.len -= 1;
    }

    pub(super) fn child(&self, number: u32) -> Option<Rc<dyn AnyChild>> {
        match &self.places.get(number as usize)?.entry {
            Some(Entry::Child(child)) => Some(child.clone()),
            _ => None,
        }
    }

    /// Takes out an entry; the caller drops it.
    pub(super) fn remove(&mut self, number: u32) -> Option<Entry> {
        let place = &mut self.places[number as usize];
        let entry = place.entry.take()?;
        let (older, younger) = (place.older, place.younger);
        match younger {
            NONE => self.youngest = older,
            younger => self.places[younger as usize].older = older,
        }
        if older != NONE {
            self.places[older as usize].younger = younger;
        }
        self.give_up(number);
        Some(entry)
    }

    /// The numbers of those that are there, the youngest first. (A copy: what is done with them may add and remove.)
    pub(super) fn youngest_first(&self) -> Vec<u32> {
        let next = |number: &u32| Some(self.places[*number as usize].older).filter(|number| *number != NONE);
        std::iter::successors(Some(self.youngest).filter(|number| *number != NONE), next).collect()
    }

    pub(super) fn task(&self, number: u32) -> Option<(Handle, bool)> {
        match &self.places.get(number as usize)?.entry {
            Some(Entry::Task { handle, is_shielded }) => Some((*handle, *is_shielded)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(entries: &Entries) -> Vec<u32> {
        entries.youngest_first()
    }

    fn add(entries: &mut Entries) -> u32 {
        let number = entries.reserve();
        entries.fill(number, Entry::Task { handle: Handle::task(1, number, 0), is_shielded: false });
        number
    }

    #[test]
    fn the_order_is_that_of_spawning_whoever_leaves_and_whatever_number_is_used_again() {
        for leaver in 0..4 {
            let mut entries = Entries::new();
            let added: Vec<_> = (0..4).map(|_| add(&mut entries)).collect();
            assert!(entries.remove(added[leaver]).is_some());
            assert!(entries.remove(added[leaver]).is_none(), "once");
            let again = add(&mut entries);
            assert_eq!(again, added[leaver]);
            let mut expected: Vec<_> = added.iter().copied().filter(|number| *number != again).collect();
            expected.push(again);
            expected.reverse();
            assert_eq!(numbers(&entries), expected);
        }
    }

    #[test]
    fn a_place_that_was_given_up_is_used_again_and_does_not_count() {
        let mut entries = Entries::new();
        let number = entries.reserve();
        entries.give_up(number);
        assert!(entries.is_empty());
        assert_eq!(add(&mut entries), number);
        assert_eq!(numbers(&entries), [number]);
    }
}
