//! squall: a task per connection, and the loop's own memory to receive into.

use squall::net::{TcpListener, TcpStream};
use squall::{Builder, DriverChoice};
use std::io;

pub(super) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    Builder::new().driver(DriverChoice::Poll).run(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (conn, _) = listener.accept().await?;
            squall::spawn(echo(conn));
        }
    })?
}

async fn echo(conn: TcpStream) -> io::Result<()> {
    while let Some(chunk) = conn.recv().await? {
        conn.write_all(&chunk).await?;
    }
    Ok(())
}
