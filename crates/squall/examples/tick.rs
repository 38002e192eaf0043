//! Timers and Ctrl-C: a clock that ticks until somebody stops it.
//!
//! Three callbacks on one loop, and none of them waits: the tick, the end after so many ticks, and the handler of a signal, which is called in a turn like
//! the others and may therefore do whatever they may.
//!
//! Run it: `cargo run --example tick` (or `-- 100` for a hundred ticks), and press Ctrl-C whenever you like.

use squall::callback::{add_signal_handler, call_every};
use squall::signal::SignalKind;
use squall::time::Instant;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

fn main() -> io::Result<()> {
    let most: u32 = std::env::args().nth(1).and_then(|ticks| ticks.parse().ok()).unwrap_or(5);
    let ticks = Rc::new(Cell::new(0));
    squall::run_forever(async {
        let (began, counted) = (Instant::now(), ticks.clone());
        call_every(Duration::from_millis(200), move || {
            counted.set(counted.get() + 1);
            println!("tick {} after {:.1} s", counted.get(), began.elapsed().as_secs_f32());
            if counted.get() == most {
                squall::stop();
            }
        });
        add_signal_handler(SignalKind::INTERRUPT, || {
            println!("Ctrl-C");
            squall::stop();
        })?;
        io::Result::Ok(())
    })?;
    println!("{} ticks", ticks.get());
    Ok(())
}
