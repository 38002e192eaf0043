//! kqueue, a pipe as notifier, and accept. The same few names as `epoll.rs`. Checked by the compiler only; not run here.

use super::watches::Event;
use rustix::event::kqueue::{self, EventFilter, EventFlags};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Events taken from the kernel in one call.
const EVENTS: usize = 1024;

pub(super) struct Selector {
    kqueue: OwnedFd,
    events: Vec<kqueue::Event>,
}

impl Selector {
    pub(super) fn new() -> io::Result<Selector> {
        let kqueue = kqueue::kqueue()?;
        rustix::io::fcntl_setfd(&kqueue, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Selector { kqueue, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches both directions, edge-triggered (`EV_CLEAR`).
    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let udata = std::ptr::without_provenance_mut(token as usize);
        let raw = fd.as_raw_fd();
        let flags = EventFlags::ADD | EventFlags::CLEAR | EventFlags::RECEIPT;
        let changes = [
            kqueue::Event::new(EventFilter::Read(raw), flags, udata),
            kqueue::Event::new(EventFilter::Write(raw), flags, udata),
        ];
        let mut receipts = Vec::with_capacity(changes.len());
        self.change(&changes, &mut receipts)?;
        for receipt in &receipts {
            // With EV_RECEIPT each change answers with EV_ERROR and an errno in `data`, 0 for success. A pipe's read end has no
            // write filter and the other way round (EINVAL, EPIPE): its one direction is enough.
            match receipt.data() as i32 {
                0 | libc::EINVAL | libc::EPIPE => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        Ok(())
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        let raw = fd.as_raw_fd();
        let flags = EventFlags::DELETE | EventFlags::RECEIPT;
        let changes = [
            kqueue::Event::new(EventFilter::Read(raw), flags, std::ptr::null_mut()),
            kqueue::Event::new(EventFilter::Write(raw), flags, std::ptr::null_mut()),
        ];
        // Fails only where the kernel has forgotten the descriptor already, which is what is wanted.
        let _ = self.change(&changes, &mut Vec::with_capacity(changes.len()));
    }

    fn change(&self, changes: &[kqueue::Event], receipts: &mut Vec<kqueue::Event>) -> io::Result<()> {
        // SAFETY: the descriptors in `changes` are open for the time of this call (the callers borrow them).
        unsafe {
            kqueue::kevent(
                &self.kqueue,
                changes,
                rustix::buffer::spare_capacity(receipts),
                Some(Duration::ZERO),
            )?;
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, timeout_ns: Option<u64>, mut each: impl FnMut(Event)) -> io::Result<()> {
        self.events.clear();
        let timeout = timeout_ns.map(Duration::from_nanos);
        // SAFETY: no changes are made, so no descriptor is named.
        let got = unsafe {
            kqueue::kevent(&self.kqueue, &[], rustix::buffer::spare_capacity(&mut self.events), timeout)
        };
        match got {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &self.events {
            let hung_up = event.flags().contains(EventFlags::EOF);
            each(Event {
                token: event.udata().addr() as u64,
                readable: matches!(event.filter(), EventFilter::Read(_)) || hung_up,
                writable: matches!(event.filter(), EventFilter::Write(_)),
                hung_up,
            });
        }
        Ok(())
    }
}

/// What other threads wake a sleeping loop with. It belongs to the registry and is never closed, unlike a kqueue, so it is a pipe
/// and not an `EVFILT_USER` event.
pub(crate) struct Notifier {
    read: OwnedFd,
    write: OwnedFd,
}

impl Notifier {
    pub(crate) fn new() -> io::Result<Notifier> {
        let (read, write) = rustix::pipe::pipe()?;
        for end in [&read, &write] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Notifier { read, write })
    }

    pub(in crate::driver) fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Never blocks: a full pipe is readable already, which is all it is for.
    pub(crate) fn notify(&self) {
        let _ = rustix::io::write(&self.write, &[1]);
    }

    pub(in crate::driver) fn drain(&self) {
        while matches!(rustix::io::read(&self.read, &mut [0u8; 64]), Ok(64)) {}
    }
}

pub(in crate::driver) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let (stream, peer) = rustix::net::acceptfrom(listener)?;
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&stream, true)?;
    #[cfg(target_os = "macos")]
    rustix::net::sockopt::set_socket_nosigpipe(&stream, true)?;
    Ok((stream, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
}
