//! The echo server proper: a task per connection, and nothing that happens to one ends another or the server.

use super::counts::Counts;
use crate::gauge::Inside;
use crate::until::until;
use squall::net::{TcpListener, TcpStream};
use std::io;
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
        squall::spawn(serve(Connection::open(&self.counts), conn));
    }
}

/// A connection in the counts: open until dropped, and an error unless it ended well. (A task that panics ends nobody but itself, and drops
/// what it had.)
struct Connection {
    counts: Rc<Counts>,
    ended_well: bool,
    _open: Inside,
}

impl Connection {
    fn open(counts: &Rc<Counts>) -> Connection {
        Connection { counts: counts.clone(), ended_well: false, _open: counts.open.enter() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.ended_well {
            self.counts.add_error();
        }
    }
}

/// The stream comes last, so it is dropped first: a connection counts as open until its file is closed.
async fn serve(mut connection: Connection, conn: TcpStream) {
    connection.ended_well = echo(&conn, &connection.counts).await.is_ok();
}

async fn echo(conn: &TcpStream, counts: &Counts) -> io::Result<()> {
    // An answer must not wait for the acknowledgement of the one before it.
    conn.set_nodelay(true)?;
    while let Some(chunk) = conn.recv().await? {
        conn.write_all(&chunk).await?;
        counts.add_message(chunk.len());
    }
    Ok(())
}
