//! How a loop is configured.

use super::choice::DriverChoice;
use super::core::{Core, Setup};
use super::life::EventLoop;
use crate::driver::Limits;
use crate::task::CallbackPanics;
use std::future::Future;
use std::io;
use std::time::Duration;

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
    limits: Limits,
    is_virtual: bool,
    patience: Duration,
    spin: Duration,
    callback_panics: CallbackPanics,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// Real time and the default driver.
    pub fn new() -> Builder {
        Builder {
            driver: DriverChoice::Auto,
            limits: Limits::default(),
            is_virtual: false,
            patience: Duration::from_secs(2),
            spin: Duration::ZERO,
            callback_panics: CallbackPanics::Report,
        }
    }

    /// Picks the driver. A choice made here is not overridden by the environment.
    pub fn driver(mut self, choice: DriverChoice) -> Builder {
        self.driver = choice;
        self
    }

    /// Makes the driver small, so that a test comes to its ends.
    #[doc(hidden)]
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
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

    /// Before the loop sleeps it looks for news for at most this long, which takes CPU time and saves the time that a halted core needs to wake up
    /// (some 20 to 40 µs). Default: zero, not at all.
    ///
    /// 50 µs is a good value where peers answer that fast. Where looking is in vain the loop gives it up by itself, until a
    /// sleep is shorter than this again; [`io_totals`](crate::io_totals) tells what it has cost and how often it paid. Under virtual time it is ignored.
    pub fn spin(mut self, at_most: Duration) -> Builder {
        self.spin = at_most;
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
    /// When the system gives no descriptor for the driver, when a driver was asked for that is not offered here (the error says why), when
    /// `SQUALL_DRIVER` names one that does not exist, and when as many loops exist in the process as wakers can name (4094).
    pub fn build(&self) -> io::Result<EventLoop> {
        let driver = if self.is_virtual { None } else { Some(self.driver.resolve()?) };
        let (patience, callback_panics) = (self.patience, self.callback_panics);
        let spin_ns = u64::try_from(self.spin.as_nanos()).unwrap_or(u64::MAX);
        Core::new(&Setup { driver, limits: self.limits, patience, spin_ns, callback_panics })
            .map(EventLoop::from_core)
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
