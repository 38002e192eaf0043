//! The two rings shared with the kernel: operations go in, completions come out, one system call carries both and the wait.
//!
//! Deferred task work (`DEFER_TASKRUN`) makes completions appear only when this thread enters the kernel, so none interrupts a task; with the
//! flag that says that work is there (`TASKRUN_FLAG`) a look at the rings costs no system call. Kernel-side polling
//! (`SQPOLL`) was rejected: it burns a core beside the one it serves.
//!
//! An operation is never refused here: what does not fit waits in a backlog, and goes in with the next call.

use io_uring::{EnterFlags, IoUring, Probe, opcode, squeue, types};
use std::collections::VecDeque;
use std::io;

/// What the kernel says of one operation.
#[derive(Clone, Copy)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// The operation goes on: there will be another completion of it.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The provided buffer it used, and whether more of that buffer is left to be used.
    #[inline]
    pub(super) fn buffer(&self) -> Option<(u16, bool)> {
        Some((io_uring::cqueue::buffer_select(self.flags)?, io_uring::cqueue::buffer_more(self.flags)))
    }
}

/// How long to wait for a completion.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Not,
    Nanoseconds(u64),
    Forever,
}

pub(super) struct Ring {
    io: IoUring,
    backlog: VecDeque<squeue::Entry>,
    /// Operations whose last completion has not been seen, queued ones too.
    outstanding: usize,
    entered: u64,
    queue_overflows: u64,
    completion_overflows: u64,
}

impl Ring {
    pub(super) fn new(submissions: u32, completions: u32) -> io::Result<Ring> {
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completions)
            .build(submissions)?;
        Ok(Ring {
            io,
            backlog: VecDeque::new(),
            outstanding: 0,
            entered: 0,
            queue_overflows: 0,
            completion_overflows: 0,
        })
    }

    /// Every operation that the driver needs is there, and the wait with a timeout.
    pub(super) fn has_what_is_needed(&self) -> io::Result<()> {
        let mut probe = Probe::new();
        self.io.submitter().register_probe(&mut probe)?;
        let needed = [
            (opcode::RecvMulti::CODE, "receive"),
            (opcode::Send::CODE, "send"),
            (opcode::Accept::CODE, "accept"),
            (opcode::Connect::CODE, "connect"),
            (opcode::PollAdd::CODE, "poll"),
            (opcode::AsyncCancel::CODE, "cancel"),
            (opcode::Timeout::CODE, "timeout"),
        ];
        for (code, name) in needed {
            if !probe.is_supported(code) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("it lacks the operation \"{name}\""),
                ));
            }
        }
        let params = self.io.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() || !params.is_feature_submit_stable() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel is too old for it"));
        }
        Ok(())
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.io.submitter()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Those of them that the kernel has taken in: only these use memory.
    pub(super) fn in_kernel(&mut self) -> usize {
        self.outstanding - self.backlog.len() - self.io.submission().len()
    }

    /// System calls so far.
    pub(super) fn entered(&self) -> u64 {
        self.entered
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// What the operation points to stays valid until its last completion was taken, and so does its descriptor or its file.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.outstanding += 1;
        if self.backlog.is_empty() {
            // SAFETY: the caller's promise is the one that is asked for.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.queue_overflows += 1;
        self.backlog.push_back(entry);
    }

    /// Operations that had to wait in the backlog.
    pub(super) fn queue_overflows(&self) -> u64 {
        self.queue_overflows
    }

    pub(super) fn completion_overflows(&self) -> u64 {
        self.completion_overflows
    }

    /// The last completion of an operation was taken.
    #[inline]
    pub(super) fn is_finished(&mut self) {
        self.outstanding -= 1;
    }

    /// Moves what waits into the ring; false if some of it has to wait still.
    fn fill(&mut self) -> bool {
        let mut queue = self.io.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: `push` was given the promise.
            if unsafe { queue.push(entry) }.is_err() {
                return false;
            }
            self.backlog.pop_front();
        }
        true
    }

    /// Hands over what is queued, and waits for a completion. Makes no system call if there is nothing to hand over, to run or to wait for.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        loop {
            let is_last = self.backlog.is_empty() || self.fill();
            let wait = if is_last { wait } else { Wait::Not };
            let queue = self.io.submission();
            let queued = queue.len() as u32;
            if wait == Wait::Not && queued == 0 && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
            drop(queue);
            self.entered += 1;
            let entered = match wait {
                // With what is to be run told to run: else what a cancellation ends would end with the next call only.
                // SAFETY: no argument is passed.
                Wait::Not => unsafe {
                    self.io.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None)
                },
                Wait::Forever => self.io.submit_and_wait(1),
                Wait::Nanoseconds(ns) => {
                    let timeout =
                        types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
                    self.io.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&timeout))
                }
            };
            match entered {
                Ok(_) if is_last => return Ok(()),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    // The time is over, a signal, completions that have to be taken first, or no memory for operations now: what was not
                    // taken in stays in the ring, and the loop comes back.
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                        return Ok(());
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// The kernel has taken in all that was queued.
    #[inline]
    pub(super) fn is_handed_over(&mut self) -> bool {
        self.backlog.is_empty() && self.io.submission().is_empty()
    }

    /// Takes the completions that are there.
    #[inline]
    pub(super) fn take(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.io.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// The kernel keeps completions for which the ring had no room.
    pub(super) fn has_overflowed(&mut self) -> bool {
        let has_overflowed = self.io.submission().cq_overflow();
        self.completion_overflows += u64::from(has_overflowed);
        has_overflowed
    }
}
