//! squall: a task per connection, or a callback, or a fiber, and the loop's own memory to receive into.

use squall::callback::{add_reader, add_writer, remove_reader, remove_writer};
use squall::fiber;
use squall::net::{TcpListener, TcpStream};
use squall::{Builder, DriverChoice};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

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

pub(super) fn serve_by_callbacks(listener: std::net::TcpListener) -> io::Result<()> {
    Builder::new().driver(DriverChoice::Poll).run_forever(async {
        let listener = Rc::new(TcpListener::from_std(listener)?);
        add_reader(&listener, |listener| {
            if let Ok((conn, _)) = listener.try_accept() {
                add_reader(&Rc::new(conn), read);
            }
        });
        Ok(())
    })
}

fn read(conn: &Rc<TcpStream>) {
    match conn.try_recv() {
        Ok(Some(chunk)) => match conn.try_write(&chunk) {
            Ok(sent) if sent == chunk.len() => {}
            Ok(sent) => keep(conn, &chunk[sent..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => keep(conn, &chunk),
            Err(_) => _ = remove_reader(conn),
        },
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Ok(None) | Err(_) => _ = remove_reader(conn),
    }
}

/// What found no room is written first, and nothing is read meanwhile.
#[cold]
fn keep(conn: &Rc<TcpStream>, rest: &[u8]) {
    let rest = RefCell::new(rest.to_vec());
    remove_reader(conn);
    add_writer(conn, move |conn| {
        let mut rest = rest.borrow_mut();
        match conn.try_write(&rest) {
            Ok(sent) if sent < rest.len() => _ = rest.drain(..sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) => {
                remove_writer(conn);
                add_reader(conn, read);
            }
            Err(_) => _ = remove_writer(conn),
        }
    });
}

pub(super) fn serve_by_fibers(listener: std::net::TcpListener) -> io::Result<()> {
    Builder::new().driver(DriverChoice::Poll).run(async {
        let served = fiber::spawn(move || {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (conn, _) = fiber::wait(listener.accept())?;
                fiber::spawn(move || echo_by_fiber(&conn));
            }
        });
        served.await?
    })?
}

fn echo_by_fiber(conn: &TcpStream) -> io::Result<()> {
    while let Some(chunk) = fiber::wait(conn.recv())? {
        fiber::wait(conn.write_all(&chunk))?;
    }
    Ok(())
}
