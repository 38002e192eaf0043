//! What squall's figures are made of, field by field.

use std::mem::size_of;

/// A part of a waiting task's memory, in bytes.
pub struct Part {
    pub what: &'static str,
    pub parked: f64,
    pub sleeping: f64,
}

const fn both(bytes: f64, what: &'static str) -> Part {
    Part { what, parked: bytes, sleeping: bytes }
}

const SLEEP: f64 = size_of::<squall::time::Sleep>() as f64;
/// The body holds the future first and the task's output after: `Result<(), JoinError>` is the larger for `()`.
const OUTPUT: f64 = size_of::<Result<(), squall::JoinError>>() as f64;

/// The sizes that squall's sources assert; the measured figure beside their sum says whether they are all.
pub const PARTS: &[Part] = &[
    both(32.0, "slot, hot: generation, inbox link, state, waiting-on and its place, task pointer"),
    both(32.0, "slot, cold: id, parent, place of spawn, name"),
    both(4.0, "its place in the ready ring"),
    both(24.0, "task: vtable, joiner's waker"),
    Part { what: "task: future, or its output where that is larger", parked: OUTPUT, sleeping: SLEEP + 8.0 },
    Part { what: "allocator: header and rounding of the task's one allocation", parked: 16.0, sleeping: 8.0 },
    Part { what: "entry in the timer wheel", parked: 0.0, sleeping: 32.0 },
];
