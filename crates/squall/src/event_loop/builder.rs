//! How a loop is configured.

use super::core::{Core, Setup};
use super::life::EventLoop;
use crate::driver::DriverKind;
use crate::task::CallbackPanics;
use std::future::Future;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// The environment variable that picks the driver where the program does not.
const VARIABLE: &str = "SQUALL_DRIVER";

/// Which driver a loop shall use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum DriverChoice {
    /// What the environment variable `SQUALL_DRIVER` names, else the best that works here.
    #[default]
    Auto,
    /// Readiness by epoll or kqueue.
    Poll,
}

impl FromStr for DriverChoice {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<DriverChoice> {
        match name {
            "auto" => Ok(DriverChoice::Auto),
            "poll" => Ok(DriverChoice::Poll),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no driver {name:?}: choose \"auto\" or \"poll\""),
            )),
        }
    }
}

impl DriverChoice {
    fn resolve(self) -> io::Result<DriverKind> {
        let choice = match (self, std::env::var_os(VARIABLE)) {
            (DriverChoice::Auto, Some(name)) if !name.is_empty() => {
                let name = name.to_string_lossy();
                name.parse().map_err(|error: io::Error| {
                    io::Error::new(error.kind(), format!("{VARIABLE}: {error}"))
                })?
            }
            (choice, _) => choice,
        };
        match choice {
            DriverChoice::Auto | DriverChoice::Poll => Ok(DriverKind::Poll),
        }
    }
}

/// Configures an event loop.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// // An hour that takes no time.
/// let slept = squall::Builder::new().virtual_time().run(async {
///     let start = squall::time::Instant::now();
///     squall::time::sleep(Duration::from_secs(3600)).await;
///     start.elapsed()
/// })?;
/// assert_eq!(slept, Duration::from_secs(3600));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build() or run()"]
pub struct Builder {
    driver: DriverChoice,
    is_virtual: bool,
    patience: Duration,
    callback_panics: CallbackPanics,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// Real time and the best driver that works here.
    pub fn new() -> Builder {
        Builder {
            driver: DriverChoice::Auto,
            is_virtual: false,
            patience: Duration::from_secs(2),
            callback_panics: CallbackPanics::Report,
        }
    }

    /// Picks the driver. A choice made here is not overridden by the environment.
    pub fn driver(mut self, choice: DriverChoice) -> Builder {
        self.driver = choice;
        self
    }

    /// Runs on a virtual clock: it starts at zero and jumps to the next timer whenever nothing is ready and no blocking work is pending.
    /// There is no outside world then: opening a socket is an error. When nothing can ever happen again the run panics
    /// with the list of waiting tasks. (A repeating timer can always happen again.)
    pub fn virtual_time(mut self) -> Builder {
        self.is_virtual = true;
        self
    }

    /// How long, in real time, a loop under virtual time with nothing to do and no timer waits for another thread before it calls that
    /// a deadlock. Default: 2 s.
    pub fn deadlock_patience(mut self, patience: Duration) -> Builder {
        self.patience = patience;
        self
    }

    /// What becomes of the loop when a [callback](crate::callback) panics. Default: the panic is reported and the loop goes on.
    pub fn callback_panics(mut self, policy: CallbackPanics) -> Builder {
        self.callback_panics = policy;
        self
    }

    /// Makes the loop, to be turned by hand or by [`EventLoop::run_until`].
    ///
    /// # Errors
    /// When the system gives no descriptor for the driver, when `SQUALL_DRIVER` names one that does not exist, and when as many loops
    /// exist in the process as wakers can name (4094).
    pub fn build(&self) -> io::Result<EventLoop> {
        let driver = if self.is_virtual { DriverKind::Null } else { self.driver.resolve()? };
        let (patience, callback_panics) = (self.patience, self.callback_panics);
        Core::new(&Setup { driver, patience, callback_panics }).map(EventLoop::from_core)
    }

    /// Like [`run`](crate::run), with this configuration.
    ///
    /// # Errors
    /// Those of [`build`](Self::build). The future is dropped then.
    ///
    /// # Panics
    /// As `run`: inside a loop, and with the panic of `main`.
    #[track_caller]
    pub fn run<F: Future>(&self, main: F) -> io::Result<F::Output> {
        super::life::refuse_nesting("run");
        Ok(self.build()?.run_until(main))
    }

    /// Like [`run_forever`](crate::run_forever), with this configuration.
    ///
    /// # Errors
    /// Those of [`build`](Self::build), converted, and that of `setup`.
    ///
    /// # Panics
    /// As `run_forever`.
    #[track_caller]
    pub fn run_forever<E: From<io::Error>>(
        &self,
        setup: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        super::life::refuse_nesting("run_forever");
        self.build()?.run_forever(setup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_does_not_exist_is_refused_with_the_names_of_those_that_do() {
        let error = "kqueue".parse::<DriverChoice>().unwrap_err().to_string();
        assert_eq!(error, "there is no driver \"kqueue\": choose \"auto\" or \"poll\"");
        assert_eq!("poll".parse::<DriverChoice>().unwrap(), DriverChoice::Poll);
    }
}
