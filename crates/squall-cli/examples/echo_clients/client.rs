//! A client that behaves: it numbers its messages and believes no byte of the answers unseen.

use crate::gauge::Inside;
use crate::load::Load;
use squall::net::TcpStream;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

pub(crate) async fn client(number: usize, connecting: Inside, _active: Inside, load: Rc<Load>) {
    let conn = match TcpStream::connect(load.options.addr).await {
        Ok(conn) => conn,
        Err(error) => return load.note(format_args!("client {number} cannot connect: {error}")),
    };
    load.add_connected();
    drop(connecting);
    load.begin().await;
    if let Err(error) = converse(&conn, number, &load).await {
        load.note(format_args!("client {number}: {error}"));
    }
}

async fn converse(conn: &TcpStream, number: usize, load: &Load) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut message = vec![0; load.options.size as usize];
    let mut answer = message.clone();
    for round in 0..load.options.messages {
        fill(&mut message, number, round);
        conn.write_all(&message).await?;
        conn.read_exact(&mut answer).await?;
        if answer != message {
            return Err(wrong(format!("message {round} came back changed")));
        }
        load.add_echoed();
    }
    conn.shutdown(Shutdown::Write).await?;
    match conn.recv().await? {
        None => Ok(()),
        Some(rest) => Err(wrong(format!("{} bytes came back that were never sent", rest.len()))),
    }
}

/// No two messages of a load are equal: each begins with its client and its round, and the rest depends on both.
pub(crate) fn fill(message: &mut [u8], client: usize, round: usize) {
    let (client, round) = (client as u64, round as u64);
    let (head, rest) = message.split_at_mut(16);
    head[..8].copy_from_slice(&client.to_be_bytes());
    head[8..].copy_from_slice(&round.to_be_bytes());
    let mut noise =
        client.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round.wrapping_mul(0xd134_2543_de82_ef95) | 1;
    for bytes in rest.chunks_mut(8) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        bytes.copy_from_slice(&noise.to_be_bytes()[..bytes.len()]);
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
