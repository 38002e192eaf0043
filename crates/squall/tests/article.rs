//! The article's programs, run as processes of their own: what a reader sees is compared whole, and no client may spoil the server for others.

use socket2::SockRef;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Once, mpsc};
use std::time::Duration;

/// A server that does not answer for so long is a failure, not slowness.
const PATIENCE: Duration = Duration::from_secs(30);

/// The example's program. `cargo test` builds it on the way; a single test target (`--test article`) does not, then it is built here.
fn example(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let own = std::env::current_exe().expect("a test knows its own program");
    let profile =
        own.parent().and_then(|deps| deps.parent()).expect("a test lies in <target>/<profile>/deps");
    let program = profile.join("examples").join(name);
    if !program.exists() {
        BUILT.call_once(|| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args([
                "build",
                "--examples",
                "--manifest-path",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ]);
            cargo.arg("--target-dir").arg(profile.parent().expect("a profile lies in the target directory"));
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().expect("cargo runs").success(), "the examples do not build");
        });
    }
    program
}

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(example(name)).args(arguments).output().expect("the example runs")
}

/// `echo_async` on a port of its own; killed when dropped.
struct Server {
    child: Child,
    /// What it prints. Read on a thread, since a pipe's reads have no timeout.
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Server {
    fn start() -> Server {
        // The port is found free and then given up for the server to take; in between another program may take it.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|probe| probe.local_addr())
                .expect("a free port")
                .port();
            let mut child = Command::new(example("echo_async"))
                .args(["--port", &port.to_string()])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the example runs");
            let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
            let (sender, lines) = mpsc::channel();
            std::thread::spawn(move || {
                stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
            let server = Server { child, lines, port };
            match server.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    assert_eq!(line, "启动服务端...");
                    return server;
                }
                Err(_ended) => continue,
            }
        }
        panic!("echo_async found its port taken ten times");
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the server prints another line")
    }

    #[track_caller]
    fn prints(&self, expected: &[&str]) {
        let lines: Vec<String> = expected.iter().map(|_| self.line()).collect();
        assert_eq!(lines, expected);
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", self.port)).expect("the server accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        client
    }

    /// A whole conversation, and what the server prints of it.
    #[track_caller]
    fn serves(&self, message: &[u8]) {
        let mut client = self.connect();
        client.write_all(message).expect("the server reads");
        assert_ok(&mut client);
        drop(client);
        self.prints(&["Accept ...", "Connect ...", "Write ...", "Success ..."]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[track_caller]
fn assert_ok(client: &mut TcpStream) {
    let mut reply = [0; 2];
    client.read_exact(&mut reply).expect("the server replies");
    assert_eq!(&reply, b"ok");
}

#[track_caller]
fn assert_end(client: &mut TcpStream) {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the server closes");
    assert_eq!(rest, b"");
}

#[test]
fn work_queue_sync_prints_what_the_article_prints() {
    let output = run("work_queue_sync", &[]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Task One running\n\
         Task One total: 15\n\
         Task One running\n\
         Task One total: 10\n\
         Task One running\n\
         Task One total: 5\n\
         Task One running\n\
         Task One total: 2\n\
         Task Two nothing to do\n"
    );
}

#[test]
fn work_queue_yield_prints_what_the_article_prints() {
    let output = run("work_queue_yield", &[]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Task One running\n\
         Task Two running\n\
         Task Two total: 10\n\
         Task Two running\n\
         Task One total: 15\n\
         Task One running\n\
         Task Two total: 5\n\
         Task One total: 2\n"
    );
}

#[test]
fn echo_async_prints_each_step_of_the_articles_conversation_when_it_happens() {
    let server = Server::start();
    for _ in 0..3 {
        let mut client = server.connect();
        server.prints(&["Accept ..."]);
        client.write_all(b"hello").unwrap();
        assert_ok(&mut client);
        server.prints(&["Connect ...", "Write ..."]);
        drop(client);
        server.prints(&["Success ..."]);
    }
}

#[test]
fn echo_async_serves_two_hundred_clients_at_once() {
    let server = Server::start();
    let mut clients: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    server.prints(&["Accept ..."; 200]);

    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    clients.iter_mut().for_each(assert_ok);
    let mut steps: Vec<String> = (0..400).map(|_| server.line()).collect();
    steps.sort();
    assert_eq!(steps[..200], ["Connect ..."; 200]);
    assert_eq!(steps[200..], ["Write ..."; 200]);

    drop(clients);
    server.prints(&["Success ..."; 200]);
}

#[test]
fn echo_async_is_not_stopped_by_a_silent_client() {
    let server = Server::start();
    let _silent: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    server.prints(&["Accept ..."; 20]);
    server.serves(b"hello");
}

#[test]
fn echo_async_is_not_stopped_by_bytes_that_are_not_utf8() {
    let server = Server::start();
    server.serves(&[0xff, 0xfe, 0x80, 0x00]);
    server.serves(b"hello");
}

#[test]
fn echo_async_answers_a_client_that_half_closes() {
    let server = Server::start();
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_ok(&mut client);
    assert_end(&mut client);
    server.prints(&["Accept ...", "Connect ...", "Write ...", "Success ..."]);

    let mut wordless = server.connect();
    wordless.shutdown(Shutdown::Write).unwrap();
    assert_end(&mut wordless);
    server.prints(&["Accept ..."]);
    server.serves(b"hello");
}

#[test]
fn echo_async_is_not_stopped_by_resets() {
    let server = Server::start();
    let reset = |client: TcpStream| SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();

    reset(server.connect());
    server.prints(&["Accept ..."]);
    server.serves(b"hello");

    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    assert_ok(&mut client);
    reset(client);
    server.prints(&["Accept ...", "Connect ...", "Write ..."]);
    server.serves(b"hello");
}

#[test]
fn echo_async_is_not_stopped_by_a_client_that_never_reads() {
    let server = Server::start();
    let mut deaf = server.connect();
    SockRef::from(&deaf).set_recv_buffer_size(1).unwrap();
    deaf.write_all(b"hello").unwrap();
    server.prints(&["Accept ...", "Connect ...", "Write ..."]);
    server.serves(b"hello");
}

#[test]
fn echo_async_says_that_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run("echo_async", &["--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with(&format!("cannot listen on port {port}: ")), "{message}");
    assert!(message.contains("in use") && message.ends_with("choose another one with --port\n"), "{message}");
}

#[test]
fn echo_async_answers_wrong_arguments_with_its_usage() {
    for arguments in
        [&["--port", "ninety"][..], &["--port"], &["--port", "65536"], &["8888"], &["--port", "1", "2"]]
    {
        let output = run("echo_async", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with("usage: echo_async [--port PORT]"),
            "{arguments:?}"
        );
    }
}
