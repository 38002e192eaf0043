//! Clients that a server must bear: what each of them does goes on beside the load, and nobody else may notice.

use crate::gauge::Inside;
use crate::load::Load;
use squall::net::TcpStream;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

/// Between two conversations of one hostile client, and between two bytes of a slow one: an annoyance, not a flood.
const PAUSE: Duration = Duration::from_millis(20);

/// One of five kinds, by number. It goes on until the load is done and the loop ends.
pub(crate) async fn client(number: usize, connecting: Inside, load: Rc<Load>) {
    let mut connecting = Some(connecting);
    loop {
        let conversation = async {
            let conn = TcpStream::connect(load.options.addr).await?;
            connecting = None;
            match number % 5 {
                0 => silent(&conn).await,
                1 => half_close(&conn).await,
                2 => reset(&conn).await,
                3 => never_read(&conn).await,
                _ => byte_by_byte(&conn).await,
            }
        };
        match conversation.await {
            Ok(()) => load.add_hostile(),
            Err(error) => {
                load.add_broken();
                load.note(format_args!("hostile client {number}: {error}"));
                return;
            }
        }
        squall::time::sleep(PAUSE).await;
    }
}

/// Says nothing, and expects to be let be.
async fn silent(conn: &TcpStream) -> io::Result<()> {
    conn.recv().await?;
    Err(io::Error::other("the server ended a silent connection"))
}

/// Closes its own direction first; the answer is still owed, then the end.
async fn half_close(conn: &TcpStream) -> io::Result<()> {
    let message = [7; 1000];
    conn.write_all(&message).await?;
    conn.shutdown(Shutdown::Write).await?;
    let mut answer = [0; 1000];
    conn.read_exact(&mut answer).await?;
    if answer != message {
        return Err(io::Error::other("a half-closed connection got a changed answer"));
    }
    match conn.recv().await? {
        None => Ok(()),
        Some(_) => Err(io::Error::other("a half-closed connection got more than it sent")),
    }
}

/// Leaves in the middle of an answer, without a goodbye.
async fn reset(conn: &TcpStream) -> io::Result<()> {
    conn.write_all(&[7; 1000]).await?;
    conn.set_linger(Some(Duration::ZERO))
}

/// Sends and sends, and never takes an answer: the server's buffers fill up and must stay bounded.
async fn never_read(conn: &TcpStream) -> io::Result<()> {
    loop {
        conn.write_all(&[7; 16384]).await?;
    }
}

/// A message so slow that a server which waits for the whole of it waits long.
async fn byte_by_byte(conn: &TcpStream) -> io::Result<()> {
    for byte in 0..50 {
        conn.write_all(&[byte]).await?;
        let mut answer = [0];
        conn.read_exact(&mut answer).await?;
        if answer != [byte] {
            return Err(io::Error::other("a byte came back changed"));
        }
        squall::time::sleep(PAUSE).await;
    }
    Ok(())
}
