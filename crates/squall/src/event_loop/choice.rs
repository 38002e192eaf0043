//! Which driver a loop runs on: what the program says, else what the environment says, else the best that works here.

use crate::driver::{Driver, Limits, Notifier};
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The environment variable that picks the driver where the program does not.
const VARIABLE: &str = "SQUALL_DRIVER";

/// Which driver a loop shall use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum DriverChoice {
    /// What the environment variable `SQUALL_DRIVER` names, else `uring` where it works, else `poll`. That the kernel, or whoever runs this process,
    /// refuses `uring` is said once, on stderr, with the reason ([`driver`](crate::driver) tells what runs).
    #[default]
    Auto,
    /// Completions by io_uring. Where that is not offered, building the loop is an error that says why.
    Uring,
    /// Readiness by epoll or kqueue.
    Poll,
}

impl FromStr for DriverChoice {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<DriverChoice> {
        match name {
            "auto" => Ok(DriverChoice::Auto),
            "uring" => Ok(DriverChoice::Uring),
            "poll" => Ok(DriverChoice::Poll),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no driver {name:?}: choose \"auto\", \"uring\" or \"poll\""),
            )),
        }
    }
}

impl DriverChoice {
    /// The choice, once the environment was asked.
    pub(super) fn resolve(self) -> io::Result<DriverChoice> {
        Ok(match (self, std::env::var_os(VARIABLE)) {
            (DriverChoice::Auto, Some(name)) if !name.is_empty() => {
                let name = name.to_string_lossy();
                name.parse().map_err(|error: io::Error| {
                    io::Error::new(error.kind(), format!("{VARIABLE}: {error}"))
                })?
            }
            (choice, _) => choice,
        })
    }

    /// The driver that was chosen.
    pub(super) fn start(
        self,
        notifier: &'static Notifier,
        first_generation: u64,
        limits: Limits,
    ) -> io::Result<Driver> {
        match self {
            DriverChoice::Poll => Driver::poll(notifier, first_generation),
            DriverChoice::Uring => Driver::uring(notifier, first_generation, limits)
                .map_err(|refused| io::Error::new(refused.kind(), refusal(&refused))),
            // Nothing was asked for that is not there, so nothing is said.
            DriverChoice::Auto if !HAS_URING => Driver::poll(notifier, first_generation),
            DriverChoice::Auto => Driver::uring(notifier, first_generation, limits).or_else(|refused| {
                let driver = Driver::poll(notifier, first_generation)?;
                report(&refused);
                Ok(driver)
            }),
        }
    }
}

/// (Miri knows epoll, and stops at a system call that it does not know.)
const HAS_URING: bool = cfg!(all(feature = "uring", target_os = "linux", not(miri)));

/// Says once in a process why its loops run on another driver than they could.
fn report(refused: &io::Error) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if !REPORTED.swap(true, Ordering::Relaxed) {
        eprintln!("squall: the driver is \"poll\": {}", refusal(refused));
    }
}

fn refusal(refused: &io::Error) -> String {
    format!("io_uring is not to be had here: {}", explain(refused))
}

/// What stands in the way, and what would help.
fn explain(error: &io::Error) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "the sandbox forbids it, as containers do by default, or the system does (sysctl kernel.io_uring_disabled)"
        }
        Some(libc::ENOSYS) => "the kernel has none, or the sandbox hides it",
        Some(libc::EINVAL) => "the kernel is older than 6.1",
        Some(libc::ENOMEM) => "the limit of locked memory is too low (ulimit -l)",
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor is left (ulimit -n)",
        _ => return error.to_string(),
    };
    format!("{advice} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_does_not_exist_is_refused_with_the_names_of_those_that_do() {
        let error = "kqueue".parse::<DriverChoice>().unwrap_err().to_string();
        assert_eq!(error, "there is no driver \"kqueue\": choose \"auto\", \"uring\" or \"poll\"");
        assert_eq!("poll".parse::<DriverChoice>().unwrap(), DriverChoice::Poll);
    }
}
