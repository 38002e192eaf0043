//! How many files this process may have open: a connection is one.
//!
//! The soft limit is often 1024 for the sake of programs that use `select`; nothing here does, so it is raised to what the
//! administrator allows.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as it goes, and gives it.
pub(crate) fn raise_open_files() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    // macOS refuses "unlimited" here: then the limit stays what it was.
    let now = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { before };
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX))
}
