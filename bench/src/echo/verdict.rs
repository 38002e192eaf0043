//! The bars of the echo, and how they came out.

use super::cell::Cell;
use super::idle::Idle;
use super::pairs::Compared;
use super::servers::{CALLBACK, FIBER, PROGRAM, RAW, SQUALL};

/// The upper end of the 95 % interval of squall's CPU time over the reference's.
const MOST_CPU: f64 = 1.05;
/// The median of the fibers' CPU time over the tasks'.
const MOST_CPU_OF_FIBERS: f64 = 1.10;
const CPU_CELLS: [Cell; 2] = [
    Cell { connections: 50, bytes: 64, outstanding: 1 },
    Cell { connections: 1_000, bytes: 64, outstanding: 1 },
];
/// Resident bytes of an idle connection.
const MOST_BYTES: f64 = 900.0;

pub struct Verdict {
    pub bar: String,
    pub measured: String,
    pub is_met: bool,
}

/// The verdicts on the bars that were measured. Where spinners kept the cores awake, that is the figure that counts: waking a halted
/// core is the machine's share.
pub fn judge(reference: &str, compared: &[Compared], idle: &[Idle]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for cell in CPU_CELLS {
        for (server, limit) in [(CALLBACK, 1.0), (FIBER, MOST_CPU_OF_FIBERS)] {
            let found = compared.iter().find(|found| found.cell == cell && found.server == server);
            if let (SQUALL, Some(found)) = (reference, found) {
                verdicts.push(Verdict {
                    bar: format!("{server}, {cell}: CPU per message ≤ {limit} × {SQUALL}'s"),
                    measured: format!(
                        "{:.3} × ({:.3}–{:.3})",
                        found.ratio.median, found.ratio.low, found.ratio.high
                    ),
                    is_met: found.ratio.median <= limit,
                });
            }
        }
        for server in [SQUALL, PROGRAM].into_iter().filter(|_| reference == RAW) {
            let of_it = || compared.iter().filter(|found| found.cell == cell && found.server == server);
            let found = of_it().find(|found| found.with_spinners).or_else(|| of_it().next());
            verdicts.extend(found.map(|found| Verdict {
                bar: format!("{server}, {cell}: upper end of CPU per message ≤ {MOST_CPU} × raw epoll"),
                measured: format!("{:.3} ×", found.ratio.high),
                is_met: found.ratio.high <= MOST_CPU,
            }));
        }
    }
    let programs = idle.iter().filter(|idle| idle.server == PROGRAM);
    verdicts.extend(programs.map(|idle| Verdict {
        bar: format!("{PROGRAM}, idle connection ≤ {MOST_BYTES} bytes"),
        measured: format!("{:.0} bytes", idle.max()),
        is_met: idle.max() <= MOST_BYTES,
    }));
    verdicts
}
