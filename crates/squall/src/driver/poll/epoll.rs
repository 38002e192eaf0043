//! epoll, eventfd and accept4. The same few names as `kqueue.rs`.

use super::slack::ExactWaits;
use super::watches::Event;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Events taken from the kernel in one call.
const EVENTS: usize = 1024;

pub(super) struct Selector {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    _exact: ExactWaits,
}

impl Selector {
    pub(super) fn new() -> io::Result<Selector> {
        Ok(Selector {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            _exact: ExactWaits::new(),
        })
    }

    /// Watches both directions, edge-triggered.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        use epoll::EventFlags as F;
        let flags = F::IN | F::OUT | F::RDHUP | F::PRI | F::ET;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags).map_err(|errno| match errno {
            Errno::PERM => crate::driver::direct::no_readiness(),
            Errno::EXIST => crate::driver::direct::watched_already(),
            errno => errno.into(),
        })
    }

    #[cfg(feature = "uring")]
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        // Fails only if the kernel has forgotten the descriptor already, which is what is wanted.
        let _ = epoll::delete(&self.epoll, fd);
    }

    pub(super) fn wait(&mut self, timeout_ns: Option<u64>, mut each: impl FnMut(Event)) -> io::Result<()> {
        self.events.clear();
        match self.wait_into_events(timeout_ns) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        use epoll::EventFlags as F;
        for event in &self.events {
            let flags = event.flags;
            let hung_up = flags.intersects(F::RDHUP | F::HUP | F::ERR);
            each(Event {
                token: event.data.u64(),
                readable: hung_up || flags.intersects(F::IN | F::PRI),
                writable: flags.intersects(F::OUT | F::HUP | F::ERR),
                // A read stops short at urgent data too, with more behind it.
                hung_up: hung_up || flags.contains(F::PRI),
            });
        }
        Ok(())
    }

    fn wait_into_events(&mut self, timeout_ns: Option<u64>) -> Result<(), Errno> {
        let timeout = match timeout_ns {
            None => None,
            Some(0) => Some(rustix::event::Timespec::default()),
            Some(ns) => match self.wait_exactly(ns) {
                Err(Errno::NOSYS | Errno::PERM) => {
                    HAS_NANOSECONDS.store(false, Ordering::Relaxed);
                    rustix::event::Timespec::try_from(Duration::from_nanos(ns)).ok()
                }
                answer => return answer,
            },
        };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref())?;
        Ok(())
    }

    /// `epoll_pwait2`, for nanoseconds: plain `epoll_wait` rounds a sleep up to the next millisecond.
    fn wait_exactly(&mut self, timeout_ns: u64) -> Result<(), Errno> {
        if !HAS_NANOSECONDS.load(Ordering::Relaxed) {
            return Err(Errno::NOSYS);
        }
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as _,
            tv_nsec: (timeout_ns % 1_000_000_000) as _,
        };
        // SAFETY: `events` has room for EVENTS entries, and rustix's Event has the kernel's layout (it passes a pointer to them to
        // the same kernel interface). `timeout` is the kernel's 64-bit timespec on the 64-bit targets we build for. No signal mask.
        let got = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
        }
        // SAFETY: the kernel has filled that many entries.
        unsafe { self.events.set_len(got as usize) };
        Ok(())
    }
}

/// False once the kernel (before 5.11) or a sandbox has refused `epoll_pwait2`.
static HAS_NANOSECONDS: AtomicBool = AtomicBool::new(true);

/// What other threads wake a sleeping loop with. It belongs to the registry and is never closed.
pub(crate) struct Notifier {
    eventfd: OwnedFd,
}

impl Notifier {
    pub(crate) fn new() -> io::Result<Notifier> {
        Ok(Notifier { eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    pub(in crate::driver) fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Never blocks. The counter cannot overflow in practice, and if it did the descriptor would be readable, which is all it is for.
    pub(crate) fn notify(&self) {
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    pub(in crate::driver) fn drain(&self) {
        let _ = rustix::io::read(&self.eventfd, &mut [0u8; 8]);
    }
}

pub(in crate::driver) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let (stream, peer) =
        rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    Ok((stream, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
}
