//! The echo server proper: a task per connection, owned by the scope, and nothing that happens to one ends another or the server.

use super::counts::Counts;
use crate::gauge::Inside;
use squall::Scope;
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

    /// Accepts until the scope is asked to stop, then closes the listener. Open connections go on: the scope waits for them.
    pub(super) async fn serve<'scope>(self, s: &'scope Scope<'scope, '_>) {
        while s.until_stop(self.counts.open.below(self.most)).await.is_some() {
            match s.until_stop(self.listener.accept()).await {
                None => return,
                Some(Ok((conn, _peer))) => self.take(s, conn),
                Some(Err(_)) => {
                    self.counts.add_error();
                    s.until_stop(squall::time::sleep(REST)).await;
                }
            }
        }
    }

    fn take<'scope>(&self, s: &'scope Scope<'scope, '_>, conn: TcpStream) {
        self.counts.add_connection();
        let open = self.counts.open.enter();
        let connection =
            Connection { conn, counts: self.counts.clone(), end: Cell::new(End::None), _open: open };
        s.spawn_task(async move {
            // One connection's panic is its own: it has been reported, and counted as an error.
            _ = squall::catch_unwind(serve(connection)).await;
        });
    }
}

/// A connection and its place in the counts: open until it is dropped, then ended well, an error, or cut off. The stream is dropped first: a connection counts as open
/// until its file is closed.
struct Connection {
    conn: TcpStream,
    counts: Rc<Counts>,
    end: Cell<End>,
    _open: Inside,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It was dropped in its midst.
    None,
    Well,
    Badly,
}

impl Drop for Connection {
    fn drop(&mut self) {
        match self.end.get() {
            End::Well => {}
            End::None if !std::thread::panicking() => self.counts.add_cut_off(),
            End::None | End::Badly => self.counts.add_error(),
        }
    }
}

/// One future and no other inside, and a block, which keeps what it captures in one place (an `async fn` keeps its arguments twice): with ten thousand connections
/// that is a megabyte, and two lines of the cache for each message.
#[allow(clippy::manual_async_fn, reason = "see above")]
fn serve(connection: Connection) -> impl Future<Output = ()> {
    async move {
        let Connection { conn, counts, end, .. } = &connection;
        // An answer must not wait for the acknowledgement of the one before it.
        if conn.set_nodelay(true).is_err() {
            return end.set(End::Badly);
        }
        loop {
            match conn.recv().await {
                Ok(Some(chunk)) => {
                    if conn.write_all(&chunk).await.is_err() {
                        return end.set(End::Badly);
                    }
                    counts.add_message(chunk.len());
                }
                Ok(None) => return end.set(End::Well),
                Err(_) => return end.set(End::Badly),
            }
        }
    }
}
