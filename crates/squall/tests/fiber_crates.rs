//! Blocking libraries that know nothing of squall, as they come from the registry, on fibers: nothing of them is patched, and the loop is never blocked.
//!
//! In each test both ends run on one loop and one thread. Any call that really blocked would stop it for ever.

mod support;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use squall::JoinHandle;
use squall::fiber::{self, Blocking};
use squall::net::{TcpListener, TcpStream};
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use support::{bounded, pattern};
use tungstenite::Message;

/// Serves one connection after another on a fiber, each on a fiber of its own.
async fn serve(serve_one: impl Fn(Blocking<TcpStream>) + Copy + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = fiber::spawn(move || {
        loop {
            let (conn, _) = fiber::wait(listener.accept()).unwrap();
            fiber::spawn(move || serve_one(Blocking::new(conn)));
        }
    });
    (address, server)
}

fn connect(address: SocketAddr) -> Blocking<TcpStream> {
    Blocking::new(fiber::wait(TcpStream::connect(address)).unwrap())
}

/// Runs so many clients at once, and the test under a bound.
fn with_clients(
    clients: usize,
    serve_one: impl Fn(Blocking<TcpStream>) + Copy + 'static,
    client: impl Fn(usize, Blocking<TcpStream>) + Copy + 'static,
) {
    squall::run(bounded(async {
        let (address, server) = serve(serve_one).await;
        let clients: Vec<_> =
            (0..clients).map(|n| fiber::spawn(move || client(n, connect(address)))).collect();
        for client in clients {
            client.await.unwrap();
        }
        server.abort();
    }));
}

#[test]
fn tungstenite_echoes_over_websockets() {
    with_clients(
        20,
        |conn| {
            let mut socket = tungstenite::accept(conn).unwrap();
            loop {
                match socket.read() {
                    Ok(message) if message.is_text() || message.is_binary() => socket.send(message).unwrap(),
                    Ok(_) => {}
                    Err(tungstenite::Error::ConnectionClosed) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        },
        |n, conn| {
            let (mut socket, response) = tungstenite::client("ws://localhost/echo", conn).unwrap();
            assert_eq!(response.status(), 101);
            let large = pattern(200_000 + n);
            socket.send(Message::binary(large.clone())).unwrap();
            socket.send(Message::text(format!("from {n}"))).unwrap();
            assert_eq!(socket.read().unwrap().into_data(), large);
            assert_eq!(socket.read().unwrap().into_text().unwrap(), format!("from {n}"));
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
        },
    );
}

/// The client's and the server's side of TLS.
fn tls() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from(&include_bytes!("tls/cert.der")[..]);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(&include_bytes!("tls/key.der")[..]));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    (Arc::new(client), Arc::new(server))
}

#[test]
fn rustls_streams_talk_tls() {
    thread_local! {
        static CONFIGS: (Arc<ClientConfig>, Arc<ServerConfig>) = tls();
    }
    with_clients(
        10,
        |conn| {
            let server = CONFIGS.with(|(_, server)| ServerConnection::new(server.clone()).unwrap());
            let mut stream = StreamOwned::new(server, conn);
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut text = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut text).unwrap();
            text.reverse();
            stream.write_all(&text).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        },
        |n, conn| {
            let name = ServerName::try_from("localhost").unwrap();
            let client = CONFIGS.with(|(client, _)| ClientConnection::new(client.clone(), name).unwrap());
            let mut stream = StreamOwned::new(client, conn);
            let text = pattern(100_000 + n);
            stream.write_all(&u32::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&text).unwrap();
            stream.flush().unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).unwrap();
            reply.reverse();
            assert!(reply == text, "{} bytes have come back otherwise", reply.len());
        },
    );
}

/// How servers read with httparse: into a buffer, parsing it anew until the head is whole.
fn read_head(conn: &mut impl Read) -> io::Result<(String, usize, Vec<u8>)> {
    let mut buffer = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(length) = request.parse(&buffer).map_err(io::Error::other)? {
            let body =
                request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let body =
                body.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).unwrap_or(0);
            return Ok((request.path.unwrap_or("").to_owned(), body, buffer.split_off(length)));
        }
        let mut some = [0; 7];
        match conn.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buffer.extend_from_slice(&some[..n]),
        }
    }
}

#[test]
fn an_http_server_on_httparse() {
    with_clients(
        10,
        |mut conn| {
            let (path, length, mut body) = read_head(&mut conn).unwrap();
            let read = body.len();
            body.resize(length, 0);
            conn.read_exact(&mut body[read..]).unwrap();
            write!(conn, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len() + length).unwrap();
            conn.write_all(&body).unwrap();
            conn.close().unwrap();
        },
        |n, mut conn| {
            write!(conn, "POST /client/{n} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
                .unwrap();
            let mut reply = String::new();
            conn.read_to_string(&mut reply).unwrap();
            assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
            assert!(reply.ends_with(&format!("\r\n\r\n/client/{n}hello")), "{reply}");
        },
    );
}

#[test]
fn stds_copy_and_lines_and_buffered_writers() {
    with_clients(
        10,
        |conn| {
            // By shared reference, as with std's sockets.
            let mut lines = BufReader::new(&conn).lines();
            let name = lines.next().unwrap().unwrap();
            let mut out = BufWriter::new(&conn);
            for line in lines.by_ref().take(3) {
                writeln!(out, "{name}: {}", line.unwrap().to_uppercase()).unwrap();
            }
            out.flush().unwrap();
            let copied = io::copy(&mut Cursor::new(pattern(500_000)), &mut &conn).unwrap();
            assert_eq!(copied, 500_000);
        },
        |n, conn| {
            writeln!(&conn, "client {n}\none\ntwo\nthree").unwrap();
            let mut reader = BufReader::new(&conn);
            for word in ["ONE", "TWO", "THREE"] {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                assert_eq!(line, format!("client {n}: {word}\n"));
            }
            let mut rest = Vec::new();
            assert_eq!(io::copy(&mut reader, &mut rest).unwrap(), 500_000);
            assert!(rest == pattern(500_000));
        },
    );
}
