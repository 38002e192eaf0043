//! Memory that the kernel receives into: a ring of buffers, from which it picks one when data is there.
//!
//! An idle connection pins no memory. Where the kernel can (6.12), it fills a buffer piece by piece (`IOU_PBUF_RING_INC`), so a thousand small
//! messages lie side by side on a few pages instead of at the start of a thousand buffers; elsewhere each piece uses up a
//! buffer. Few buffers are in the ring as long as few are needed, and they come back soon, because a
//! buffer used lately is still in the cache.
//!
//! # Invariant
//! Memory belongs to [`Buffers`], which the ring and every piece that is lent share; it is freed when the last of them goes. A piece is a range of a
//! buffer that the kernel has filled and will not touch again; ranges of different pieces are disjoint. A buffer goes back into the
//! ring only when the kernel is done with it (`is_out`) and no piece of it is lent, so nobody reads what the kernel writes. The ring itself goes
//! only after the last operation that may pick a buffer has completed.

use crate::driver::Limits;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// `IOU_PBUF_RING_INC`.
const INCREMENTAL: u16 = 2;
/// The kernel wants whole pages.
const PAGE: usize = 4096;

/// A range of a buffer, filled by the kernel.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) buffer: u16,
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Piece {
    pub(super) const NONE: Piece = Piece { buffer: 0, start: 0, len: 0 };
}

struct Region {
    memory: NonNull<u8>,
    layout: Layout,
}

#[derive(Clone, Copy)]
struct Buffer {
    memory: NonNull<u8>,
    used: u32,
    lent: u32,
    /// The kernel is done with it.
    is_out: bool,
}

/// The memory, shared with what is lent of it.
pub(in crate::driver) struct Buffers {
    buffers: RefCell<Vec<Buffer>>,
    regions: RefCell<Vec<Region>>,
    /// Done with by everybody: to go back into the ring.
    returned: RefCell<Vec<u16>>,
    lent: Cell<usize>,
    /// Bytes in one buffer.
    buffer_bytes: usize,
}

impl Buffers {
    fn at(&self, piece: Piece) -> NonNull<u8> {
        let buffer = self.buffers.borrow()[usize::from(piece.buffer)];
        debug_assert!((piece.start + piece.len) as usize <= self.buffer_bytes);
        // SAFETY: a piece lies in its buffer.
        unsafe { buffer.memory.add(piece.start as usize) }
    }

    fn release(&self, buffer: u16) {
        let mut buffers = self.buffers.borrow_mut();
        let of = &mut buffers[usize::from(buffer)];
        of.lent -= 1;
        self.lent.set(self.lent.get() - 1);
        if of.lent == 0 && of.is_out {
            self.returned.borrow_mut().push(buffer);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for region in self.regions.borrow().iter() {
            // SAFETY: it was allocated with this layout, and nobody shares it any more.
            unsafe { dealloc(region.memory.as_ptr(), region.layout) };
        }
    }
}

/// A piece lent to the program: its memory stays, whatever becomes of the loop.
pub(in crate::driver) struct Lent {
    at: NonNull<u8>,
    buffer: u16,
    len: u32,
    buffers: Rc<Buffers>,
}

impl Lent {
    #[inline]
    pub(in crate::driver) fn bytes(&self) -> &[u8] {
        // SAFETY: the kernel has filled this range and nobody else touches it while the piece is lent (see the invariant).
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len as usize) }
    }

    #[inline]
    pub(in crate::driver) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and pieces are disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len as usize) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.release(self.buffer);
    }
}

/// The ring of buffers that the kernel picks from.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    /// Places in the ring, so also the most buffers.
    most: usize,
    /// Buffers at the beginning; their number doubles when they run out.
    first: usize,
    tail: u16,
    /// Buffers that the kernel has, whole or in part.
    available: usize,
    shortages: u64,
    shared: Rc<Buffers>,
}

/// The number of the only group.
pub(super) const GROUP: u16 = 0;

impl BufferRing {
    fn layout(most: usize) -> Layout {
        Layout::from_size_align(most * size_of::<BufRingEntry>(), PAGE).expect("a valid layout")
    }

    pub(super) fn new(submitter: &io_uring::Submitter<'_>, limits: &Limits) -> io::Result<BufferRing> {
        let most = usize::from(limits.most_buffers);
        let layout = BufferRing::layout(most);
        // SAFETY: the layout is not empty.
        let Some(entries) = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout)
        };
        let mut registered = Err(io::ErrorKind::Unsupported.into());
        for flags in if limits.is_incremental { &[INCREMENTAL, 0][..] } else { &[0] } {
            // SAFETY: the memory has room for so many entries, is zeroed and page-aligned, and stays until it is unregistered, or the ring
            // has no operation left.
            registered = unsafe {
                submitter.register_buf_ring_with_flags(
                    entries.as_ptr() as u64,
                    limits.most_buffers,
                    GROUP,
                    *flags,
                )
            };
            if registered.is_ok() {
                break;
            }
        }
        if let Err(error) = registered {
            // SAFETY: allocated above with the same layout; the kernel has not taken it.
            unsafe { dealloc(entries.as_ptr().cast(), layout) };
            return Err(error);
        }
        let shared = Rc::new(Buffers {
            buffers: RefCell::new(Vec::new()),
            regions: RefCell::new(Vec::new()),
            returned: RefCell::new(Vec::new()),
            lent: Cell::new(0),
            buffer_bytes: limits.buffer_bytes as usize,
        });
        let first = usize::from(limits.first_buffers);
        let mut ring = BufferRing { entries, most, first, tail: 0, available: 0, shortages: 0, shared };
        ring.grow();
        Ok(ring)
    }

    /// Ends the kernel's use of the ring. Only when no operation is left that may pick a buffer.
    pub(super) fn unregister(&self, submitter: &io_uring::Submitter<'_>) {
        _ = submitter.unregister_buf_ring(GROUP);
    }

    /// A receive found no buffer: there will be twice as many, up to the bound.
    pub(super) fn note_shortage(&mut self) {
        self.shortages += 1;
        self.grow();
    }

    pub(super) fn shortages(&self) -> u64 {
        self.shortages
    }

    fn grow(&mut self) {
        let before = self.shared.buffers.borrow().len();
        let more = if before == 0 { self.first } else { before.min(self.most - before) };
        if more == 0 {
            return;
        }
        let bytes = self.shared.buffer_bytes;
        let layout = Layout::from_size_align(more * bytes, PAGE).expect("a valid layout");
        // SAFETY: the layout is not empty.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        self.shared.regions.borrow_mut().push(Region { memory, layout });
        for n in 0..more {
            // SAFETY: inside the region.
            let memory = unsafe { memory.add(n * bytes) };
            self.shared.buffers.borrow_mut().push(Buffer { memory, used: 0, lent: 0, is_out: true });
            self.give((before + n) as u16);
        }
        self.publish();
    }

    /// Puts a buffer into the ring; the kernel sees it after [`publish`](Self::publish).
    fn give(&mut self, number: u16) {
        let mut buffers = self.shared.buffers.borrow_mut();
        let buffer = &mut buffers[usize::from(number)];
        debug_assert!(buffer.is_out && buffer.lent == 0);
        (buffer.used, buffer.is_out) = (0, false);
        let at = usize::from(self.tail) % self.most;
        // SAFETY: the place is one of ours, and the kernel reads places below the tail only; there are as many places as buffers, so it is done
        // with this one. The three fields do not touch the ring's tail, which lies in the first entry's unused field.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(buffer.memory.as_ptr() as u64);
            entry.set_len(self.shared.buffer_bytes as u32);
            entry.set_bid(number);
        }
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
    }

    fn publish(&self) {
        // SAFETY: the address of the first entry; the tail is a 16-bit field that the kernel reads while we write it.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// Puts back what everybody is done with.
    #[inline]
    pub(super) fn recycle(&mut self) {
        if self.shared.returned.borrow().is_empty() {
            return;
        }
        let mut returned = self.shared.returned.take();
        for buffer in returned.drain(..) {
            self.give(buffer);
        }
        self.shared.returned.replace(returned);
        self.publish();
    }

    /// What a completion has brought.
    #[inline]
    pub(super) fn take(&mut self, buffer: u16, len: u32, has_more: bool) -> Piece {
        let mut buffers = self.shared.buffers.borrow_mut();
        let of = &mut buffers[usize::from(buffer)];
        let piece = Piece { buffer, start: of.used, len };
        of.used += len;
        of.lent += 1;
        self.shared.lent.set(self.shared.lent.get() + 1);
        if !has_more {
            of.is_out = true;
            self.available -= 1;
        }
        piece
    }

    /// So few are left that nothing should be kept in them.
    pub(super) fn is_scarce(&self) -> bool {
        self.available * 4 <= self.shared.buffers.borrow().len()
    }

    pub(super) fn buffers(&self) -> usize {
        self.shared.buffers.borrow().len()
    }

    /// Runs `f` on a piece's bytes.
    #[inline]
    pub(super) fn read<R>(&self, piece: Piece, f: impl FnOnce(&[u8]) -> R) -> R {
        let at = self.shared.at(piece);
        // SAFETY: as for `Lent::bytes`: the piece is the caller's.
        f(unsafe { std::slice::from_raw_parts(at.as_ptr(), piece.len as usize) })
    }

    #[inline]
    pub(super) fn release(&self, piece: Piece) {
        self.shared.release(piece.buffer);
    }

    /// Lends a piece to the program.
    #[inline]
    pub(super) fn lend(&self, piece: Piece) -> Lent {
        Lent { at: self.shared.at(piece), buffer: piece.buffer, len: piece.len, buffers: self.shared.clone() }
    }

    /// The memory must outlive operations of the kernel's that could not be ended.
    pub(super) fn leak(self) {
        std::mem::forget(self.shared.clone());
        std::mem::forget(self);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; whoever drops the ring has seen to it that the kernel is done with it.
        unsafe { dealloc(self.entries.as_ptr().cast(), BufferRing::layout(self.most)) };
    }
}
