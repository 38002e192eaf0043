//! One wait at one direction of a socket: the same few steps for every operation.

use super::Socket;
use crate::driver::{Armed, Direction, Driver, OpId, SocketKey};
use crate::event_loop::{Core, Home};
use crate::task::{Message, WaitingOn, note_waiting_for};
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::task::{Context, Poll};

/// A socket as an operation sees it.
#[derive(Clone, Copy, Debug)]
pub struct SocketRef<'a> {
    pub(crate) home: Home,
    pub(crate) key: SocketKey,
    pub(crate) fd: BorrowedFd<'a>,
}

/// An operation that may wait. Whoever owns it ends it with [`finish`](Self::finish) unless the socket goes first.
#[derive(Debug)]
pub(crate) struct Op {
    /// Some once it has waited: its turn at the direction.
    id: Option<OpId>,
    /// One piece of several is done: nobody else may come in before the next.
    is_under_way: bool,
    direction: Direction,
    on: WaitingOn,
    place: Option<&'static Location<'static>>,
}

impl Op {
    pub(crate) fn new(direction: Direction, on: WaitingOn, place: &'static Location<'static>) -> Op {
        Op { id: None, is_under_way: false, direction, on, place: Some(place) }
    }

    /// An operation of a `poll_…` function: nobody will tell when it is given up, so it holds no turn.
    pub(crate) fn polled(direction: Direction, on: WaitingOn) -> Op {
        Op { id: Some(OpId::POLLED), is_under_way: false, direction, on, place: None }
    }

    /// A piece is done, and the operation goes on with the next in the same poll.
    #[inline]
    pub(crate) fn keep_going(&mut self) {
        self.is_under_way = true;
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Tries; if that would block, waits. `attempt` must not run user code.
    #[inline]
    pub(crate) fn poll<R>(
        &mut self,
        socket: SocketRef<'_>,
        what: &str,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Driver, SocketKey, BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let polled = socket.home.with(what, |core| match self.poll_on(core, socket, what, cx, attempt) {
            Poll::Ready(answer) => answer.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        });
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    #[inline]
    fn poll_on<R>(
        &mut self,
        core: &Core,
        socket: SocketRef<'_>,
        what: &str,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Driver, SocketKey, BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let SocketRef { key, fd, .. } = socket;
        if core.tasks.poll_budget(cx).is_pending() {
            return if self.is_under_way { self.wait(core, socket, cx) } else { Poll::Pending };
        }
        let answer = {
            let mut driver = core.driver.borrow_mut();
            match driver.check_turn(key, self.direction, self.id) {
                Ok(()) => attempt(&mut driver, key, fd),
                Err(first) => {
                    drop(driver);
                    return Poll::Ready(Err(taken(core, what, first)));
                }
            }
        };
        match answer {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            answer => {
                core.tasks.charge_budget();
                self.finish_on(core, key);
                return Poll::Ready(answer);
            }
        }
        self.wait(core, socket, cx)
    }

    /// Waits until the direction is ready, as the kernel says when it is asked.
    pub(crate) fn poll_ready(
        &mut self,
        socket: SocketRef<'_>,
        what: &str,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let direction = self.direction;
        self.poll(socket, what, cx, |driver, key, fd| match driver.is_ready(key, fd, direction)? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// Takes the turn, or keeps it, until the driver's word.
    fn wait<R>(&mut self, core: &Core, socket: SocketRef<'_>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let SocketRef { key, fd, .. } = socket;
        // Here, where the driver would be told, not at each try.
        if let Err(error) = core.refuse_inherited() {
            return Poll::Ready(Err(error));
        }
        // Nothing is borrowed here: cloning a foreign waker runs foreign code.
        let waiter = core.waiter(cx.waker());
        let armed = core.driver.borrow_mut().arm(key, fd, self.direction, self.id, waiter);
        match armed {
            Ok((id, replaced)) => {
                self.id = Some(id);
                if let Some(replaced) = replaced.filter(|replaced| *replaced != waiter) {
                    core.tasks.discard(replaced);
                }
                note_waiting_for(self.on, 0, self.place);
                Poll::Pending
            }
            Err(error) => {
                core.tasks.discard(waiter);
                Poll::Ready(Err(error))
            }
        }
    }

    #[inline]
    fn finish_on(&mut self, core: &Core, key: SocketKey) {
        let Some(id) = self.id else { return };
        if id != OpId::POLLED {
            self.id = None;
        }
        let waiter = core.driver.borrow_mut().finish(key, self.direction, id);
        if let Some(waiter) = waiter {
            core.tasks.discard(waiter);
        }
    }

    /// Gives the turn up.
    #[inline]
    pub(crate) fn finish(&mut self, home: Home, key: SocketKey) {
        if let Some(id) = self.id {
            self.finish_turn(id, home, key);
        }
    }

    #[inline(never)]
    fn finish_turn(&mut self, id: OpId, home: Home, key: SocketKey) {
        if id == OpId::POLLED {
            return;
        }
        if home.try_with(|core| self.finish_on(core, key)).is_none() {
            // If the loop has ended there is no turn to give up.
            drop(home.send(Message::Finish(key, self.direction, id)));
        }
    }
}

#[cold]
pub(crate) fn taken(core: &Core, what: &str, first: Armed) -> io::Error {
    let first = first.0.map_or_else(|| "another operation".into(), |waiter| core.tasks.describe(waiter));
    let advice = if first.starts_with("callback") {
        "Remove it before (callback::remove_reader, remove_writer), or let it do this too"
    } else {
        "Let one task do it, and share by a queue"
    };
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("{what}: the same direction of this socket is taken by {first}. {advice}"),
    )
}

/// An operation of a future that borrows its socket: dropping it gives the turn up.
#[derive(Debug)]
pub(crate) struct SocketOp<'a> {
    pub(crate) socket: &'a Socket,
    op: Op,
}

impl<'a> SocketOp<'a> {
    pub(crate) fn new(
        socket: &'a Socket,
        direction: Direction,
        on: WaitingOn,
        place: &'static Location<'static>,
    ) -> SocketOp<'a> {
        SocketOp { socket, op: Op::new(direction, on, place) }
    }

    #[inline]
    pub(crate) fn poll<R>(
        &mut self,
        what: &str,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Driver, SocketKey, BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.op.poll(self.socket.by_ref(), what, cx, attempt)
    }

    /// As [`Op::keep_going`].
    #[inline]
    pub(crate) fn keep_going(&mut self) {
        self.op.keep_going();
    }
}

impl Drop for SocketOp<'_> {
    #[inline]
    fn drop(&mut self) {
        self.op.finish(self.socket.home(), self.socket.key());
    }
}
