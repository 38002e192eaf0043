//! What can be told of a task: for messages, reports and trees.

use super::context::WaitingOn;
use super::handle::Handle;
use super::joins::Standing;
use super::slot::{CALLBACK, Phase, SCOPE};
use super::table::Tasks;
use crate::driver::Waiter;
use std::fmt;
use std::panic::Location;

/// A task's number, counted from 1 in each run of a loop, in the order of spawning. It says the same in every run of a
/// deterministic program, which a handle or an address would not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(crate) u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TaskInfo {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) parent: u64,
    pub(crate) spawned_at: Option<&'static Location<'static>>,
    pub(crate) is_callback: bool,
    pub(crate) is_scope: bool,
    pub(crate) is_ready: bool,
    pub(crate) is_running: bool,
    pub(crate) waiting_on: WaitingOn,
    pub(crate) awaited: Option<u64>,
    pub(crate) waits_at: Option<&'static Location<'static>>,
}

/// `task 3 "accept" (spawned at src/main.rs:9:5)`
pub(crate) struct Who<'a> {
    pub(crate) id: u64,
    pub(crate) name: Option<&'a str>,
    pub(crate) spawned_at: Option<&'static Location<'static>>,
    pub(crate) is_callback: bool,
    pub(crate) is_scope: bool,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, how) = match (self.is_callback, self.is_scope) {
            (true, _) => ("callback", "registered"),
            (_, true) => ("scope", "opened"),
            _ => ("task", "spawned"),
        };
        write!(f, "{what} {}", self.id)?;
        if let Some(name) = self.name {
            write!(f, " {name:?}")?;
        }
        match self.spawned_at {
            Some(place) => write!(f, " ({how} at {place})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, is_callback, is_scope) = (self.name.as_deref(), self.is_callback, self.is_scope);
        Who { id: self.id, name, spawned_at: self.spawned_at, is_callback, is_scope }.fmt(f)
    }
}

impl TaskInfo {
    /// `is ready`, `waits for a timer at src/main.rs:12:3`…
    pub(crate) fn state(&self) -> String {
        if self.is_running {
            return "is running".into();
        }
        if self.is_ready {
            return "is ready".into();
        }
        let mut text = format!("waits for {}", self.waiting_on.describe());
        if let Some(id) = self.awaited {
            text += &format!(" {id}");
        }
        if let Some(place) = self.waits_at {
            text += &format!(" at {place}");
        }
        text
    }
}

/// What a tree shows at most: it is for reading, and a loop may hold millions of tasks, or a chain of them.
const MOST_LINES: usize = 500;
const MOST_LEVELS: usize = 32;

/// The tasks (in the order of their ids) as a tree, each below the one that spawned it, one line a task.
pub(crate) fn draw(tasks: &[TaskInfo]) -> String {
    let is_known = |id: u64| tasks.binary_search_by_key(&id, |task| task.id).is_ok();
    let parent_of = |task: &TaskInfo| if is_known(task.parent) { task.parent } else { 0 };
    let mut by_parent: Vec<_> = tasks.iter().map(|task| (parent_of(task), task)).collect();
    by_parent.sort_by_key(|(parent, _)| *parent);
    let children_of = |id: u64| {
        let begin = by_parent.partition_point(|(parent, _)| *parent < id);
        begin..by_parent.partition_point(|(parent, _)| *parent <= id)
    };

    let (mut out, mut shown, mut indent) = (String::new(), 0, String::new());
    let mut open = vec![(children_of(0), 0)];
    while let Some((children, width)) = open.last_mut() {
        indent.truncate(*width);
        let Some(next) = children.next().filter(|_| shown < MOST_LINES) else {
            open.pop();
            continue;
        };
        let (task, is_last) = (by_parent[next].1, children.start == children.end);
        out += &format!("{indent}{}{task} {}\n", if is_last { "└── " } else { "├── " }, task.state());
        shown += 1;
        if open.len() < MOST_LEVELS {
            indent += if is_last { "    " } else { "│   " };
            open.push((children_of(task.id), indent.len()));
        }
    }
    if shown < tasks.len() {
        out += &format!("… and {} more\n", tasks.len() - shown);
    }
    out
}

impl Tasks {
    /// Who a waiter is, for an error that has to name somebody.
    pub(crate) fn describe(&self, waiter: Waiter) -> String {
        let handle = Handle::from_bits(waiter.0);
        let info = (handle.home() == self.home()).then(|| self.info_of(handle)).flatten();
        info.map_or_else(
            || "a future of another executor".into(),
            |info| format!("{info}, which {}", info.state()),
        )
    }

    pub(crate) fn info_of(&self, handle: Handle) -> Option<TaskInfo> {
        match self.look(handle) {
            Standing::Live(_) | Standing::Done(_) => Some(self.info(handle.slot())),
            Standing::Gone => None,
        }
    }

    fn info(&self, index: u32) -> TaskInfo {
        let (slot, cold) = (self.slot(index), self.cold(index));
        let name = cold.name.take();
        let copy = name.as_deref().map(|name| name.to_string());
        cold.name.set(name);
        let waiting_on = slot.waiting_on();
        let awaited = (waiting_on == WaitingOn::Join).then(|| self.cold(slot.detail.get()).id.get());
        TaskInfo {
            id: cold.id.get(),
            name: copy,
            parent: cold.parent.get(),
            spawned_at: cold.spawned_at.get(),
            is_callback: slot.has(CALLBACK),
            is_scope: slot.has(SCOPE),
            is_ready: slot.scheduled.get(),
            is_running: slot.phase() == Phase::Running || self.running.get() == index,
            waiting_on,
            awaited,
            // What is left from an earlier poll says nothing.
            waits_at: slot.place.get().filter(|_| waiting_on != WaitingOn::Nothing),
        }
    }

    /// The tasks that have not ended, in the order of their spawning.
    pub(crate) fn infos(&self) -> Vec<TaskInfo> {
        self.live_slots().into_iter().map(|(_, index)| self.info(index)).collect()
    }
}
