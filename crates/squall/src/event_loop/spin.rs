//! Looking for news for a while before the thread sleeps: waking a halted core takes longer than many a peer's answer.
//!
//! It is off unless asked for, because it burns what others could use, and it gives up by itself where it does not pay: after each spin in which
//! nothing came, so many more sleeps go without one (1, 3, 7 … 1,023), until a sleep shows that a spin would have caught what ended it. A fixed
//! spin was rejected: an idle program would take a core for nothing, and nobody would see why.

use std::cell::Cell;

/// After so many spins in vain, one in about a thousand sleeps is preceded by one.
const MOST_FAILURES: u32 = 10;

#[derive(Default)]
pub(super) struct Spin {
    budget_ns: u64,
    /// Spins in vain, in a row.
    failures: Cell<u32>,
    /// Sleeps that go without one.
    skip: Cell<u32>,
    spun_ns: Cell<u64>,
    spins: Cell<u64>,
    paid: Cell<u64>,
}

/// What spinning has cost and brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SpinTotals {
    pub(super) spun_ns: u64,
    pub(super) spins: u64,
    pub(super) paid: u64,
}

impl Spin {
    pub(super) fn new(budget_ns: u64) -> Spin {
        Spin { budget_ns, ..Spin::default() }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.budget_ns > 0
    }

    pub(super) fn budget_ns(&self) -> u64 {
        self.budget_ns
    }

    /// True if the sleep that is due shall be preceded by a spin.
    pub(super) fn is_due(&self) -> bool {
        match self.skip.get() {
            0 => true,
            skip => {
                self.skip.set(skip - 1);
                false
            }
        }
    }

    /// A spin has ended.
    pub(super) fn note_spin(&self, took_ns: u64, has_paid: bool) {
        self.spun_ns.set(self.spun_ns.get() + took_ns);
        self.spins.set(self.spins.get() + 1);
        if has_paid {
            self.paid.set(self.paid.get() + 1);
            self.failures.set(0);
        } else {
            let failures = (self.failures.get() + 1).min(MOST_FAILURES);
            self.failures.set(failures);
            self.skip.set((1 << failures) - 1);
        }
    }

    /// A sleep has ended: where a spin would have caught what ended it, spins are worth a try again.
    pub(super) fn note_sleep(&self, took_ns: u64) {
        if took_ns < self.budget_ns {
            self.failures.set(0);
            self.skip.set(0);
        }
    }

    pub(super) fn totals(&self) -> SpinTotals {
        SpinTotals { spun_ns: self.spun_ns.get(), spins: self.spins.get(), paid: self.paid.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of sleeps among the next so many that are preceded by a spin, none of which brings anything.
    fn spins_in_vain(spin: &Spin, sleeps: u32) -> u32 {
        let mut spins = 0;
        for _ in 0..sleeps {
            if spin.is_due() {
                spins += 1;
                spin.note_spin(spin.budget_ns(), false);
            }
            spin.note_sleep(u64::MAX);
        }
        spins
    }

    #[test]
    fn a_spin_that_never_pays_gives_up_and_one_in_a_thousand_sleeps_tries_again() {
        let spin = Spin::new(50_000);
        assert_eq!(spins_in_vain(&spin, 2_036), 10, "1 + 2 + 4 + … + 512 sleeps for the first ten");
        assert_eq!(spins_in_vain(&spin, 10_240), 10);
        assert_eq!(spin.totals(), SpinTotals { spun_ns: 20 * 50_000, spins: 20, paid: 0 });
    }

    #[test]
    fn a_short_sleep_or_a_spin_that_paid_brings_it_back() {
        let spin = Spin::new(50_000);
        spins_in_vain(&spin, 5_000);
        assert!(!spin.is_due());
        spin.note_sleep(49_999);
        assert!(spin.is_due());
        spin.note_spin(10, true);
        assert!(spin.is_due());
        assert_eq!(spin.totals().paid, 1);
    }

    #[test]
    fn without_a_budget_it_is_off() {
        assert!(!Spin::new(0).is_on() && Spin::new(1).is_on());
    }
}
