//! The echo server proper: a task per connection, and nothing that happens to one ends another or the server.

use super::counts::Counts;
use crate::gauge::Inside;
use crate::until::until;
use squall::net::{TcpListener, TcpStream};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How long accepting rests after it failed: with too many files open it would fail again at once.
const REST: Duration = Duration::from_millis(50);

pub(super) struct Server {
    listener: TcpListener,
    counts: Rc<Counts>,
    most: usize,
}

impl Server {
    /// Serves at most `most` connections at once; further clients wait in the kernel's backlog.
    pub(super) fn new(listener: TcpListener, counts: Rc<Counts>, most: usize) -> Server {
        Server { listener, counts, most }
    }

    /// Accepts until the loop is asked to stop, then closes the listener. Open connections go on.
    pub(super) async fn serve(self) {
        while until(squall::stopping(), self.counts.open.below(self.most)).await.is_some() {
            match until(squall::stopping(), self.listener.accept()).await {
                None => return,
                Some(Ok((conn, _peer))) => self.take(conn),
                Some(Err(_)) => {
                    self.counts.add_error();
                    until(squall::stopping(), squall::time::sleep(REST)).await;
                }
            }
        }
    }

    fn take(&self, conn: TcpStream) {
        self.counts.add_connection();
        let open = self.counts.open.enter();
        let connection =
            Connection { conn, counts: self.counts.clone(), ended_well: Cell::new(false), _open: open };
        squall::spawn(serve(connection));
    }
}

/// A connection and its place in the counts: open until it is dropped, and an error unless it ended well. (A task that panics ends nobody but itself,
/// and drops what it had.) The stream is dropped first: a connection counts as open until its file is closed.
struct Connection {
    conn: TcpStream,
    counts: Rc<Counts>,
    ended_well: Cell<bool>,
    _open: Inside,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.ended_well.get() {
            self.counts.add_error();
        }
    }
}

/// One future and no other inside, and a block, which keeps what it captures in one place (an `async fn` keeps its arguments twice): with ten thousand connections
/// that is a megabyte, and two lines of the cache for each message.
#[allow(clippy::manual_async_fn, reason = "see above")]
fn serve(connection: Connection) -> impl Future<Output = ()> {
    async move {
        let Connection { conn, counts, ended_well, .. } = &connection;
        // An answer must not wait for the acknowledgement of the one before it.
        if conn.set_nodelay(true).is_err() {
            return;
        }
        loop {
            match conn.recv().await {
                Ok(Some(chunk)) => {
                    if conn.write_all(&chunk).await.is_err() {
                        return;
                    }
                    counts.add_message(chunk.len());
                }
                Ok(None) => return ended_well.set(true),
                Err(_) => return,
            }
        }
    }
}
