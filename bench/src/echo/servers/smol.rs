//! smol: a `LocalExecutor` under `block_on`, which drives the I/O.

use super::BUFFER_BYTES;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::{Async, LocalExecutor};
use std::io;

pub(super) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = TcpListener::from(Async::new(listener)?);
        loop {
            let (conn, _) = listener.accept().await?;
            executor.spawn(echo(conn)).detach();
        }
    }))
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
