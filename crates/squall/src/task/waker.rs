//! Wakers that are numbers: clone copies, drop does nothing, wake looks the number up.
//!
//! The data word is a [`Handle`], made with `without_provenance` because it never was an address. There is one `static` vtable,
//! so that `will_wake` (which compares addresses) is exact and a waker of ours can be told from a foreign one.

use super::handle::Handle;
use super::{context, registry};
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::task::{RawWaker, RawWakerVTable, Waker};

const _: () =
    assert!(usize::BITS == 64, "squall's wakers are 64-bit handles: only 64-bit targets are supported");

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake_word, wake_word, drop_word);

unsafe fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake_word(data: *const ()) {
    // SAFETY: wakers are made of handles only.
    wake(Handle::from_bits(unsafe { NonZeroU64::new_unchecked(data.addr() as u64) }));
}

unsafe fn drop_word(_: *const ()) {}

/// The waker of a task. `ManuallyDrop` only spares the call of a drop that does nothing.
#[inline]
pub(crate) fn waker_of(handle: Handle) -> ManuallyDrop<Waker> {
    let data = std::ptr::without_provenance(handle.bits().get() as usize);
    // SAFETY: every function of the vtable takes any word at all: none reads memory through it, so the contract of
    // RawWaker (thread-safe, valid for as long as a clone stands) holds trivially.
    ManuallyDrop::new(unsafe { Waker::new(data, &VTABLE) })
}

/// The handle inside a waker of ours; `None` for a foreign waker.
#[inline]
pub(crate) fn handle_of(waker: &Waker) -> Option<Handle> {
    if std::ptr::eq(waker.vtable(), &VTABLE) {
        NonZeroU64::new(waker.data().addr() as u64).map(Handle::from_bits)
    } else {
        None
    }
}

/// Makes the task ready, wherever this thread stands: never blocks, never fails; stale handles do nothing.
#[inline]
pub(crate) fn wake(handle: Handle) {
    match context::current() {
        Some(tasks) if tasks.home() == handle.home() => tasks.wake(handle),
        _ => registry::wake_from_afar(handle),
    }
}
