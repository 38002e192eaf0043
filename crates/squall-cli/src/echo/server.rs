//! The echo server proper: a task per connection, and nothing that happens to one ends another or the server.

use super::counts::Counts;
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
        let counts = self.counts.clone();
        let open = counts.open.enter();
        counts.add_connection();
        squall::spawn(async move {
            let _open = open;
            // Dropped before the guard: a connection counts as open until its file is closed.
            let conn = conn;
            match squall::catch_unwind(echo(&conn, &counts)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => counts.add_error(),
            }
        });
    }
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
