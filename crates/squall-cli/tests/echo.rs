//! `squall echo` as a user meets it: the real program, its output, its signals and its exit codes.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A server that does nothing for so long is a failure, not slowness.
const PATIENCE: Duration = Duration::from_secs(30);

fn squall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(arguments).env_remove("SQUALL_DRIVER").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    squall(arguments).output().expect("squall runs")
}

/// A server on a free port; killed when dropped.
struct Server {
    child: Child,
    /// What it prints. Read on a thread, since a pipe's reads have no timeout.
    lines: mpsc::Receiver<String>,
    addr: SocketAddr,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let mut child = squall(&["echo", "--addr", "127.0.0.1:0", "--driver", "poll"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("squall runs");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let line = lines.recv_timeout(PATIENCE).expect("it says that it listens");
        let said = line.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix(" (driver: poll)"));
        let addr = said
            .and_then(|addr| addr.parse().ok())
            .unwrap_or_else(|| panic!("unexpected first line: {line:?}"));
        Server { child, lines, addr }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).expect("it accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        client
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server is there to be signalled");
    }

    /// Waits for its end and gives its last line and what it said on stderr.
    #[track_caller]
    fn ends(mut self) -> (String, String) {
        let last = self.lines.recv_timeout(PATIENCE).expect("it prints its counts");
        let status = self.child.wait().expect("it ends after its counts");
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(self.lines.recv().is_err(), "the counts are the last line");
        let mut stderr = String::new();
        self.child
            .stderr
            .take()
            .expect("stderr is piped")
            .read_to_string(&mut stderr)
            .expect("stderr is UTF-8");
        (last, stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[track_caller]
fn assert_echoes(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).expect("the server reads");
    let mut answer = vec![0; message.len()];
    client.read_exact(&mut answer).expect("the server answers");
    assert_eq!(answer, message);
}

/// Closes the client and waits until the server has done so too: its counts are settled then.
#[track_caller]
fn close(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).expect("the connection stands");
    assert_eq!(client.read(&mut [0]).expect("the server closes"), 0);
}

#[test]
fn echo_gives_back_every_byte_and_counts_what_it_did() {
    let server = Server::start(&[]);
    for message in ["hello", "你好"] {
        let mut client = server.connect();
        assert_echoes(&mut client, message.as_bytes());
        assert_echoes(&mut client, &[0xff, 0x00]);
        close(client);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ends(), ("connections: 2 messages: 4 bytes: 15 errors: 0".into(), String::new()));
}

#[test]
fn echo_ends_on_ctrl_c() {
    let server = Server::start(&[]);
    server.signal(Signal::INT);
    assert_eq!(server.ends(), ("connections: 0 messages: 0 bytes: 0 errors: 0".into(), String::new()));
}

#[test]
fn echo_lets_open_connections_go_on_after_the_first_signal_and_takes_no_new_ones() {
    let server = Server::start(&["--grace", "60"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"before");
    server.signal(Signal::TERM);

    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(server.addr).is_ok() {
        assert!(Instant::now() < deadline, "it still accepts");
        std::thread::yield_now();
    }
    assert_echoes(&mut client, b"after");
    close(client);
    let (counts, stderr) = server.ends();
    assert!(counts.contains(" bytes: 11 "), "{counts}");
    assert_eq!(stderr, "");
}

#[test]
fn echo_cuts_off_connections_that_outstay_the_grace() {
    let server = Server::start(&["--grace", "0.1"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"hello");
    server.signal(Signal::TERM);
    let (counts, stderr) = server.ends();
    assert_eq!(counts, "connections: 1 messages: 1 bytes: 5 errors: 0");
    assert_eq!(stderr, "squall: open connections cut off: 1\n");
}

#[test]
fn echo_ends_at_once_on_the_second_signal() {
    let server = Server::start(&["--grace", "3600"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"hello");
    // Two different ones: equal signals that are pending at once arrive as one.
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    let (counts, _) = server.ends();
    assert_eq!(counts, "connections: 1 messages: 1 bytes: 5 errors: 0");
}

#[test]
fn echo_counts_a_reset_as_an_error_and_goes_on() {
    let server = Server::start(&[]);
    let mut rude = server.connect();
    assert_echoes(&mut rude, b"hello");
    socket2::SockRef::from(&rude).set_linger(Some(Duration::ZERO)).expect("linger can be set");
    drop(rude);

    let mut client = server.connect();
    assert_echoes(&mut client, b"hello");
    close(client);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().0, "connections: 2 messages: 2 bytes: 10 errors: 1");
}

#[test]
fn echo_lets_clients_wait_at_its_bound_of_connections() {
    let server = Server::start(&["--max-connections", "1"]);
    let mut first = server.connect();
    assert_echoes(&mut first, b"first");
    let mut second = server.connect();
    second.write_all(b"second").expect("the kernel takes it");
    second.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
    let early = second.read(&mut [0]).expect_err("the first is still being served");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);

    close(first);
    second.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut answer = [0; 6];
    second.read_exact(&mut answer).expect("it is served now");
    assert_eq!(&answer, b"second");
    close(second);
    server.signal(Signal::TERM);
    server.ends();
}

/// The one line that a failed start leaves.
#[track_caller]
fn assert_fails(arguments: &[&str], beginning: &str, advice: &str) {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(output.stdout, b"");
    assert!(stderr.starts_with(beginning) && stderr.ends_with(&format!("{advice}\n")), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn echo_says_what_to_do_when_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    assert_fails(
        &["echo", "--addr", &addr],
        &format!("squall: cannot listen on {addr} ("),
        "another program listens there: stop it, or choose another port with --addr",
    );
}

#[test]
fn echo_says_what_to_do_when_its_address_is_none() {
    for addr in ["8888", "localhost", "127.0.0.1:port", "127.0.0.1:65536"] {
        assert_fails(
            &["echo", "--addr", addr],
            &format!("squall: {addr:?} is no address to listen on ("),
            "write HOST:PORT, as in 127.0.0.1:8888",
        );
    }
}

#[test]
fn echo_says_what_to_do_when_its_address_is_another_machines() {
    // 192.0.2.0/24 is set aside for documentation: no machine has it.
    assert_fails(
        &["echo", "--addr", "192.0.2.1:8888"],
        "squall: cannot listen on 192.0.2.1:8888 (",
        "this machine has no such address: choose one it has with --addr, as in 127.0.0.1:8888",
    );
}

#[test]
fn echo_says_what_to_do_when_it_may_not_listen() {
    let is_refused = |error: std::io::Error| error.kind() == ErrorKind::PermissionDenied;
    if TcpListener::bind("127.0.0.1:81").err().is_none_or(|error| !is_refused(error)) {
        return; // Who may listen on low ports (root) is never refused.
    }
    assert_fails(
        &["echo", "--addr", "127.0.0.1:81"],
        "squall: cannot listen on 127.0.0.1:81 (",
        "ports below 1024 ask for privileges: choose a higher one with --addr",
    );
}

#[test]
fn wrong_usage_is_answered_with_the_right_one() {
    for arguments in [
        &["echo", "--driver", "kqueue"][..],
        &["echo", "--grace", "-1"],
        &["echo", "--port", "1"],
        &["sing"],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
