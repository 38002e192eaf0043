//! Memory for receiving that the driver owns, lent to programs one chunk at a time.
//!
//! An idle connection pins no buffer: one is taken when data is there. The buffer used last is used next, because it is
//! still in the cache. The pool is shared by reference count, so a chunk may be kept after its stream, or its loop, has
//! ended; then its memory is simply freed. It is `!Send`: the pool belongs to one thread.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Room in one buffer, in bytes.
const BUFFER_BYTES: usize = 32 * 1024;
/// Buffers kept for reuse: the pool holds 2 MiB at most, whatever the past peak was.
const KEPT: usize = 64;

#[derive(Clone, Default)]
pub(super) struct ChunkPool {
    free: Rc<RefCell<Vec<Box<[u8]>>>>,
}

impl ChunkPool {
    /// Fills a buffer; it goes back at once if there is nothing to lend.
    #[inline]
    pub(super) fn fill<E>(
        &self,
        receive: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<Chunk>, E> {
        let taken = self.free.borrow_mut().pop();
        let mut buffer = taken.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        match receive(&mut buffer) {
            Ok(len) if len > 0 => {
                Ok(Some(Chunk { memory: Memory::Pooled { buffer, len, pool: self.clone() } }))
            }
            answer => {
                self.take_back(buffer);
                answer.map(|_| None)
            }
        }
    }

    fn take_back(&self, buffer: Box<[u8]>) {
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// Bytes received from a stream, in memory lent by the loop's driver.
///
/// It is read (and may be changed) like a slice of bytes. Dropping it gives the memory back for the next receive, so drop it, or copy out
/// what must stay, soon. It may outlive its stream and its loop; it cannot be sent to another thread
/// ([`to_vec`](slice::to_vec) makes a copy that can).
///
/// ```
/// use squall::net::{TcpListener, TcpStream};
/// # fn main() -> std::io::Result<()> {
/// squall::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, _) = listener.accept().await?;
///     client.write_all(b"hello").await?;
///     let chunk = server.recv().await?.expect("the peer has not closed");
///     assert_eq!(&*chunk, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct Chunk {
    memory: Memory,
}

enum Memory {
    Pooled {
        buffer: Box<[u8]>,
        len: usize,
        pool: ChunkPool,
    },
    /// A range of the buffers that the kernel fills.
    #[cfg(all(feature = "uring", target_os = "linux"))]
    Ring(super::uring::Lent),
}

impl Chunk {
    #[cfg(all(feature = "uring", target_os = "linux"))]
    #[inline]
    pub(super) fn of_ring(lent: super::uring::Lent) -> Chunk {
        Chunk { memory: Memory::Ring(lent) }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Pooled { buffer, len, .. } => &buffer[..*len],
            #[cfg(all(feature = "uring", target_os = "linux"))]
            Memory::Ring(lent) => lent.bytes(),
        }
    }
}

impl DerefMut for Chunk {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Pooled { buffer, len, .. } => &mut buffer[..*len],
            #[cfg(all(feature = "uring", target_os = "linux"))]
            Memory::Ring(lent) => lent.bytes_mut(),
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        match self {
            Memory::Pooled { buffer, pool, .. } => pool.take_back(std::mem::take(buffer)),
            // It gives itself back.
            #[cfg(all(feature = "uring", target_os = "linux"))]
            Memory::Ring(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pool: &ChunkPool, text: &[u8]) -> Chunk {
        let filled = pool.fill(|buffer| {
            buffer[..text.len()].copy_from_slice(text);
            Ok::<_, ()>(text.len())
        });
        filled.unwrap().expect("there is something to lend")
    }

    #[test]
    fn the_buffer_used_last_is_used_next() {
        let pool = ChunkPool::default();
        let (first, second) = (fill(&pool, b"one"), fill(&pool, b"two"));
        let address = second.as_ptr();
        drop(first);
        drop(second);
        assert_eq!(fill(&pool, b"three").as_ptr(), address);
    }

    #[test]
    fn nothing_received_lends_nothing_and_keeps_the_buffer() {
        let pool = ChunkPool::default();
        assert!(pool.fill(|_| Ok::<_, ()>(0)).unwrap().is_none());
        assert_eq!(pool.fill(|_| Err("would block")).unwrap_err(), "would block");
        assert_eq!(pool.free.borrow().len(), 1);
    }

    #[test]
    fn a_chunk_outlives_its_pool_and_the_pool_keeps_a_bounded_number() {
        let pool = ChunkPool::default();
        let chunks: Vec<_> = (0..KEPT + 10).map(|_| fill(&pool, b"x")).collect();
        let free = pool.free.clone();
        drop(pool);
        assert_eq!(&*chunks[0], b"x");
        drop(chunks);
        assert_eq!(free.borrow().len(), KEPT);
    }
}
