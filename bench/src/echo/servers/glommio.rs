//! glommio, placed on the core of the runtimes.

use super::BUFFER_BYTES;
use crate::machine::RUNTIME_CORE;
use futures::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};

pub(super) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Fixed(RUNTIME_CORE)).make()?;
    executor.run(async {
        // SAFETY: the descriptor is given away.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        loop {
            let conn = listener.accept().await?;
            glommio::spawn_local(echo(conn)).detach();
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
