//! monoio on io_uring: buffers move into the operation and come back.

use super::BUFFER_BYTES;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use std::io;

pub(super) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    RuntimeBuilder::<IoUringDriver>::new().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (conn, _) = listener.accept().await?;
            monoio::spawn(echo(conn));
        }
    })
}

async fn echo(mut conn: TcpStream) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let got;
        (got, buffer) = conn.read(buffer).await;
        if got? == 0 {
            return Ok(());
        }
        let sent;
        (sent, buffer) = conn.write_all(buffer).await;
        sent?;
        buffer.clear();
    }
}
