//! compio on io_uring: buffers move into the operation and come back.

use super::BUFFER_BYTES;
use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use std::io;

pub(super) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    Runtime::new()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (conn, _) = listener.accept().await?;
            compio::runtime::spawn(echo(conn)).detach();
        }
    })
}

async fn echo(mut conn: TcpStream) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let BufResult(got, filled) = conn.read(buffer).await;
        if got? == 0 {
            return Ok(());
        }
        let BufResult(sent, emptied) = conn.write_all(filled).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}
