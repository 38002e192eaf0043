//! tokio on one thread: the current-thread scheduler, and a `LocalSet` on it.

use super::BUFFER_BYTES;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn into_tokio(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

pub(super) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    runtime()?.block_on(async {
        let listener = into_tokio(listener)?;
        // As a task, like a connection: the future given to `block_on` is polled apart from the others.
        let accepting = tokio::spawn(async move {
            loop {
                let (conn, _) = listener.accept().await?;
                tokio::spawn(echo(conn));
            }
        });
        accepting.await?
    })
}

pub(super) fn serve_in_a_local_set(listener: std::net::TcpListener) -> io::Result<()> {
    LocalSet::new().block_on(&runtime()?, async {
        let listener = into_tokio(listener)?;
        loop {
            let (conn, _) = listener.accept().await?;
            tokio::task::spawn_local(echo(conn));
        }
    })
}

async fn echo(mut conn: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match conn.read(&mut buffer).await? {
            0 => return Ok(()),
            n => conn.write_all(&buffer[..n]).await?,
        }
    }
}
