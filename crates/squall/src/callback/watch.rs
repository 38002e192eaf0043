//! Callbacks for as long as a descriptor is ready: level-triggered on every driver.
//!
//! A watch is a callback with a slot, and it holds its direction of the socket as an operation would, so two cannot mix. Between two calls
//! it waits for the driver's word. Whether the direction is still ready after a call is known without a system call where the callback took
//! what was there through the socket's own methods; else the kernel is asked. (Registering the descriptor level-triggered was
//! rejected: tasks need edges from the same registration.)

use super::scheduled::{Scheduled, Which};
use crate::driver::{Direction, OpId, SocketKey, Waiter, WatchState};
use crate::event_loop;
use crate::io::{Readiness, taken};
use crate::task::{Handle, WaitingOn, note_waiting};
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Calls a closure whenever the socket can be read from (or has ended, or failed: reading will tell).
///
/// *Level-triggered*: it is called once a turn for as long as the socket is ready, whether or not it takes what is there. The loop keeps the `Rc` until the
/// reader is removed, by [`remove_reader`], [`Scheduled::cancel`] or another `add_reader` on the same socket; so a socket whose
/// last `Rc` is the loop's is closed by that. All three may be called from the callback itself. What removing lets go of is dropped when the
/// callback returns.
///
/// Reading with a task meanwhile is an error that names the callback, as a second reader is; the other direction is free.
///
/// # Panics
/// Where [`try_add_reader`] gives an error. A callback that panics itself is removed; see [`CallbackPanics`](crate::CallbackPanics).
///
/// ```
/// use squall::{callback::{add_reader, remove_reader}, io::Source};
/// use std::io::{self, Read, Write};
/// use std::rc::Rc;
///
/// # fn main() -> io::Result<()> {
/// squall::run(async {
///     let (reader, mut writer) = io::pipe()?;
///     add_reader(&Rc::new(Source::new(reader)?), |reader| {
///         let mut text = [0; 16];
///         match reader.get_ref().read(&mut text) {
///             Ok(0) => {
///                 remove_reader(reader);
///                 squall::stop();
///             }
///             read => assert_eq!(&text[..read.unwrap()], b"hello"),
///         }
///     });
///     writer.write_all(b"hello")?;
///     squall::yield_now().await;
///     drop(writer);
///     squall::stopping().await;
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn add_reader<S: Readiness + 'static>(socket: &Rc<S>, f: impl FnMut(&Rc<S>) + 'static) -> Scheduled {
    expect("callback::add_reader", register("callback::add_reader", socket, Direction::Recv, f))
}

/// Calls a closure whenever the socket can be written to (or has failed: writing will tell). Everything else as [`add_reader`].
///
/// A socket can be written to most of the time, so a writer is for when a write gave `WouldBlock`, and is removed when all is
/// written.
///
/// # Panics
/// Where [`try_add_writer`] gives an error.
#[track_caller]
pub fn add_writer<S: Readiness + 'static>(socket: &Rc<S>, f: impl FnMut(&Rc<S>) + 'static) -> Scheduled {
    expect("callback::add_writer", register("callback::add_writer", socket, Direction::Send, f))
}

/// [`add_reader`], with an error where that panics.
///
/// # Errors
/// When a task waits for the same direction; on another loop than the socket's; when the system cannot watch the descriptor (it has no readiness to wait
/// for, or the system is out of memory).
#[track_caller]
pub fn try_add_reader<S: Readiness + 'static>(
    socket: &Rc<S>,
    f: impl FnMut(&Rc<S>) + 'static,
) -> io::Result<Scheduled> {
    register("callback::try_add_reader", socket, Direction::Recv, f)
}

/// [`add_writer`], with an error where that panics.
///
/// # Errors
/// As for [`try_add_reader`].
#[track_caller]
pub fn try_add_writer<S: Readiness + 'static>(
    socket: &Rc<S>,
    f: impl FnMut(&Rc<S>) + 'static,
) -> io::Result<Scheduled> {
    register("callback::try_add_writer", socket, Direction::Send, f)
}

/// Ends what [`add_reader`] began. False if there was no reader, and on another loop than the socket's.
pub fn remove_reader<S: Readiness>(socket: &Rc<S>) -> bool {
    remove(socket, Direction::Recv)
}

/// Ends what [`add_writer`] began. False if there was no writer, and on another loop than the socket's.
pub fn remove_writer<S: Readiness>(socket: &Rc<S>) -> bool {
    remove(socket, Direction::Send)
}

#[track_caller]
fn expect(what: &str, registered: io::Result<Scheduled>) -> Scheduled {
    match registered {
        Ok(scheduled) => scheduled,
        Err(error) => {
            let error = error.to_string();
            panic!(
                "{what}: {}",
                error.strip_prefix(what).map_or(&*error, |rest| rest.trim_start_matches(": "))
            )
        }
    }
}

#[track_caller]
fn register<S: Readiness + 'static, F: FnMut(&Rc<S>) + 'static>(
    what: &str,
    socket: &Rc<S>,
    direction: Direction,
    f: F,
) -> io::Result<Scheduled> {
    let place = Location::caller();
    // May be the user's `as_fd`: before anything is borrowed.
    let at = socket.watched();
    at.home.with(what, |core| {
        core.leave_parent();
        let before = core.driver.borrow_mut().watcher(at.key, direction);
        let held =
            if before.is_some() { Ok(()) } else { core.driver.borrow().check_turn(at.key, direction, None) };
        if let Err(first) = held {
            return Err(taken(core, what, first));
        }
        let op = core.driver.borrow_mut().new_watch()?;
        let watch = Watch { socket: socket.clone(), f, key: at.key, direction, op, place };
        let Some(handle) = core.tasks.park_callback(watch, place, waiting_on(direction)) else {
            return Ok(Scheduled::new(core, Which::None));
        };
        let replaced = core.driver.borrow_mut().begin_watch(at.key, direction, op, Waiter(handle.bits()));
        let armed = match replaced {
            Ok(replaced) => {
                // A polled operation (`poll_read` and its like) has waited here: it is to learn who has taken its turn.
                if let Some(replaced) = replaced {
                    core.tasks.wake_waiter(replaced);
                }
                core.driver.borrow_mut().arm_watch(at.key, at.fd, direction)
            }
            Err(error) => Err(error),
        };
        match armed {
            Ok(false) => {}
            Ok(true) => core.tasks.wake(handle),
            Err(_) => core.tasks.abort(handle),
        }
        // Last, since it drops what the user gave. Where arming has failed it has lost its turn as well.
        if let Some((_, waiter)) = before {
            core.tasks.abort(Handle::from_bits(waiter.0));
        }
        armed.map(|_| Scheduled::new(core, Which::Waiting(handle)))
    })
}

fn remove<S: Readiness>(socket: &Rc<S>, direction: Direction) -> bool {
    let at = socket.watched();
    let removed = at.home.try_with(|core| {
        let watcher = core.driver.borrow_mut().watcher(at.key, direction);
        let Some((op, waiter)) = watcher else { return false };
        // At once, though the callback may be running: the direction is free when this returns.
        core.driver.borrow_mut().finish(at.key, direction, op);
        core.tasks.abort(Handle::from_bits(waiter.0));
        true
    });
    removed == Some(true)
}

fn waiting_on(direction: Direction) -> WaitingOn {
    match direction {
        Direction::Recv => WaitingOn::Readable,
        Direction::Send => WaitingOn::Writable,
    }
}

struct Watch<S: Readiness, F> {
    socket: Rc<S>,
    f: F,
    key: SocketKey,
    direction: Direction,
    op: OpId,
    place: &'static Location<'static>,
}

impl<S: Readiness, F> Unpin for Watch<S, F> {}

impl<S: Readiness, F: FnMut(&Rc<S>)> Future for Watch<S, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let state = this.state();
        match state {
            WatchState::Due => {
                (this.f)(&this.socket);
                // It may have removed itself, and another may have come.
                if this.state() == WatchState::Gone {
                    return Poll::Ready(());
                }
            }
            WatchState::Drained => {}
            WatchState::Waiting => {
                note_waiting(waiting_on(this.direction), this.place);
                return Poll::Pending;
            }
            WatchState::Gone => return Poll::Ready(()),
        }
        let at = this.socket.watched();
        let armed = event_loop::with("a reader or writer", |core| {
            core.driver.borrow_mut().arm_watch(at.key, at.fd, this.direction)
        });
        match armed {
            Ok(true) => cx.waker().wake_by_ref(),
            Ok(false) => note_waiting(waiting_on(this.direction), this.place),
            // Reported like any panic of a callback.
            Err(error) => panic!("the descriptor cannot be watched any more: {error}"),
        }
        Poll::Pending
    }
}

impl<S: Readiness, F> Watch<S, F> {
    #[inline]
    fn state(&self) -> WatchState {
        event_loop::with("a reader or writer", |core| {
            core.leave_parent();
            core.driver.borrow_mut().watch_state(self.key, self.direction, self.op)
        })
    }
}

impl<S: Readiness, F> Drop for Watch<S, F> {
    fn drop(&mut self) {
        event_loop::try_with(|core| core.driver.borrow_mut().finish(self.key, self.direction, self.op));
    }
}
