//! Memory that the kernel sends from: what programs write is copied here, so that their buffers are theirs again at once.
//!
//! One pool for all sockets, in three sizes; a buffer used last is used next. An idle connection holds none.
//!
//! # Invariant
//! A buffer that is in flight is neither changed, moved nor freed until its completion was taken: buffers are boxed, a socket appends only to
//! the one that is queued, and [`release`](SendPool::release) is called for a flying one by its completion alone.

/// The sizes of buffers, in bytes.
const SIZES: [usize; 3] = [256, 4096, MOST];
/// The most that is taken of one socket at once: in flight and queued each.
pub(super) const MOST: usize = 64 * 1024;
/// Buffers of each size that are kept for reuse.
const KEPT: [usize; 3] = [4096, 128, 16];

/// The number of a buffer, or none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SendId(u32);

impl SendId {
    pub(super) const NONE: SendId = SendId(u32::MAX);

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self == SendId::NONE
    }
}

struct SendBuffer {
    bytes: Box<[u8]>,
    len: u32,
    sent: u32,
    class: u8,
}

impl SendBuffer {
    /// A part was sent by a system call: the rest moves to the front, so that there is room behind it.
    fn close_gap(&mut self) {
        if self.sent > 0 {
            self.bytes.copy_within(self.sent as usize..self.len as usize, 0);
            (self.len, self.sent) = (self.len - self.sent, 0);
        }
    }
}

#[derive(Default)]
pub(super) struct SendPool {
    buffers: Vec<SendBuffer>,
    /// Buffers to be used again, by size.
    free: [Vec<u32>; 3],
    /// Numbers whose memory was given back.
    empty: Vec<u32>,
    /// Bytes that sockets have given and the kernel has not taken.
    unsent: usize,
}

impl SendPool {
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    fn acquire(&mut self, bytes: usize) -> SendId {
        let class = SIZES.iter().position(|size| bytes <= *size).unwrap_or(SIZES.len() - 1);
        if let Some(number) = self.free[class].pop() {
            return SendId(number);
        }
        let buffer = SendBuffer {
            bytes: vec![0; SIZES[class]].into_boxed_slice(),
            len: 0,
            sent: 0,
            class: class as u8,
        };
        match self.empty.pop() {
            Some(number) => {
                self.buffers[number as usize] = buffer;
                SendId(number)
            }
            None => {
                self.buffers.push(buffer);
                SendId((self.buffers.len() - 1) as u32)
            }
        }
    }

    /// Takes as much of `from` as there is room for; gives the buffer that holds it, and how much it was.
    pub(super) fn append(&mut self, queued: SendId, from: &[u8]) -> (SendId, usize) {
        let before = self.len(queued);
        let n = from.len().min(MOST - before);
        let mut id = queued;
        if id.is_none() {
            id = self.acquire(n);
        } else if before + n > self.buffers[id.0 as usize].bytes.len() {
            let larger = self.acquire(before + n);
            let mut bytes = std::mem::take(&mut self.buffers[larger.0 as usize].bytes);
            bytes[..before].copy_from_slice(self.rest(id));
            let new = &mut self.buffers[larger.0 as usize];
            (new.bytes, new.len) = (bytes, before as u32);
            self.recycle(id);
            id = larger;
        } else {
            self.buffers[id.0 as usize].close_gap();
        }
        let buffer = &mut self.buffers[id.0 as usize];
        buffer.bytes[before..before + n].copy_from_slice(&from[..n]);
        buffer.len = (before + n) as u32;
        self.unsent += n;
        (id, n)
    }

    /// Bytes in a buffer that are still to be sent.
    #[inline]
    pub(super) fn len(&self, id: SendId) -> usize {
        if id.is_none() { 0 } else { self.rest(id).len() }
    }

    /// What is still to be sent.
    #[inline]
    pub(super) fn rest(&self, id: SendId) -> &[u8] {
        let buffer = &self.buffers[id.0 as usize];
        &buffer.bytes[buffer.sent as usize..buffer.len as usize]
    }

    /// So many bytes are the kernel's now. True if that was all.
    #[inline]
    pub(super) fn advance(&mut self, id: SendId, bytes: usize) -> bool {
        let buffer = &mut self.buffers[id.0 as usize];
        buffer.sent += bytes as u32;
        self.unsent -= bytes;
        buffer.sent == buffer.len
    }

    /// Gives a buffer back, whatever is left in it.
    #[inline]
    pub(super) fn release(&mut self, id: SendId) {
        if !id.is_none() {
            self.unsent -= self.len(id);
            self.recycle(id);
        }
    }

    #[inline]
    fn recycle(&mut self, id: SendId) {
        let buffer = &mut self.buffers[id.0 as usize];
        (buffer.len, buffer.sent) = (0, 0);
        let class = usize::from(buffer.class);
        if self.free[class].len() < KEPT[class] {
            self.free[class].push(id.0);
        } else {
            buffer.bytes = Box::default();
            self.empty.push(id.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_after_a_part_was_sent_comes_behind_the_rest() {
        // In place, in a larger buffer, and up to the bound.
        for (first, sent, more) in [(100, 60, 100), (200, 150, 1000), (MOST, 1000, 5000)] {
            let mut pool = SendPool::default();
            let bytes: Vec<u8> = (0..first + more).map(|n| n as u8).collect();
            let (id, taken) = pool.append(SendId::NONE, &bytes[..first]);
            assert_eq!(taken, first);
            assert!(!pool.advance(id, sent));
            let (id, taken) = pool.append(id, &bytes[first..]);
            assert_eq!(taken, more.min(MOST - (first - sent)));
            assert!(pool.rest(id) == &bytes[sent..first + taken], "{first}, {sent}, {more}");
            assert_eq!(pool.unsent(), first - sent + taken);
            pool.release(id);
            assert_eq!(pool.unsent(), 0);
        }
    }
}
