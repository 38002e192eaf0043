//! How much a completion driver has of everything. Tests make it little, since what happens at the ends of it cannot be provoked otherwise.

/// Sizes of the `uring` driver, for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Operations that the queue holds; what is more waits for the next call.
    pub submissions: u32,
    /// Completions that find room; the kernel keeps what is more.
    pub completions: u32,
    /// Buffers that the kernel receives into, at the beginning.
    pub first_buffers: u16,
    /// As many at most, a power of two.
    pub most_buffers: u16,
    /// Bytes in one of them.
    pub buffer_bytes: u32,
    /// The kernel fills a buffer piece by piece, if it can.
    pub is_incremental: bool,
    /// A receive goes on after its first data; otherwise each ends as if the kernel had ended it.
    pub is_multishot: bool,
    /// Bytes that one operation sends; otherwise the kernel takes all unless it is interrupted.
    pub most_per_send: u32,
    /// Bytes to be sent of all sockets, beyond which a closed one is reset instead of drained.
    pub most_unsent: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            submissions: 1024,
            completions: 4096,
            first_buffers: 16,
            most_buffers: 256,
            buffer_bytes: 16 * 1024,
            is_incremental: true,
            is_multishot: true,
            most_per_send: u32::MAX,
            most_unsent: 64 * 1024 * 1024,
        }
    }
}
