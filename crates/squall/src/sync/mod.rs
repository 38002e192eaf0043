//! What the coroutines of one loop use to hand each other work: a queue, and a value that is sent once.
//!
//! Everything here stays on one thread and costs no atomic operation. Channels that cross threads are not written again here:
//! `async-channel` is well kept and works on any executor.
//!
//! All futures work on every executor, and outside of any loop; on squall's they also say what their task waits on, and give way
//! when a task has made progress for long enough.

pub mod oneshot;
pub mod queue;

pub use queue::Queue;
