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
fn program(name: &str) -> PathBuf {
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
    Command::new(program(name)).args(arguments).output().expect("the example runs")
}

/// A server of the article on a port of its own; killed when dropped.
struct Server {
    child: Child,
    /// What it prints. Read on a thread, since a pipe's reads have no timeout.
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Server {
    fn start(example: &'static str) -> Server {
        // The port is found free and then given up for the server to take; in between another program may take it.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|probe| probe.local_addr())
                .expect("a free port")
                .port();
            let mut child = Command::new(program(example))
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
        panic!("{example} found its port taken ten times");
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
    takes_turns("work_queue_yield");
}

#[test]
fn work_queue_callback_prints_the_same() {
    takes_turns("work_queue_callback");
}

#[test]
fn work_queue_generator_prints_the_same() {
    takes_turns("work_queue_generator");
}

#[test]
fn fib_send_begins_again_where_it_is_told() {
    let output = run("fib_send", &[]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 1 1 2 3 5 8 13\n2 1 3 4 7 11 18 29\n");
}

#[test]
fn averager_gives_a_row_for_each_group() {
    let output = run("averager", &[]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), " girls: 41.23 kg\n  boys: 40.95 kg\n");
}

#[test]
fn tour_four_kinds_is_answered_by_all_four() {
    let output = run("tour_four_kinds", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "callback: 14 letters, goodbye\n\
         generator: 14 letters, goodbye\n\
         task: 14 letters, goodbye\n\
         fiber: 14 letters, goodbye\n"
    );
}

#[track_caller]
fn takes_turns(example: &str) {
    let output = run(example, &[]);
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
fn tick_counts_and_ends() {
    let output = run("tick", &["2"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let [first, second, "2 ticks"] = lines[..] else { panic!("{lines:?}") };
    assert!(first.starts_with("tick 1 after ") && second.starts_with("tick 2 after "), "{lines:?}");
}

#[test]
fn tick_ends_by_ctrl_c() {
    let mut child = Command::new(program("tick"))
        .arg("1000000")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example runs");
    let mut lines =
        BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
    assert!(lines.next().expect("it ticks").starts_with("tick 1 "));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let rest: Vec<String> = lines.skip_while(|line| line.starts_with("tick")).collect();
    assert_eq!(rest[0], "Ctrl-C");
    assert!(rest[1].ends_with(" ticks") && rest.len() == 2, "{rest:?}");
    assert!(child.wait().expect("it ends").success());
}

/// The article has its server with callbacks and with coroutines; nobody who talks to it can tell which.
macro_rules! of_every_server {
    ($($test:ident,)*) => {
        mod echo_async { $(#[test] fn $test() { super::$test("echo_async") })* }
        mod echo_fiber { $(#[test] fn $test() { super::$test("echo_fiber") })* }
        mod echo_generator { $(#[test] fn $test() { super::$test("echo_generator") })* }
        mod echo_callback { $(#[test] fn $test() { super::$test("echo_callback") })* }
    };
}

of_every_server! {
    prints_each_step_of_the_articles_conversation_when_it_happens,
    serves_two_hundred_clients_at_once,
    is_not_stopped_by_a_silent_client,
    is_not_stopped_by_bytes_that_are_not_utf8,
    answers_a_client_that_half_closes,
    is_not_stopped_by_resets,
    is_not_stopped_by_a_client_that_never_reads,
    says_that_its_port_is_taken,
    answers_wrong_arguments_with_its_usage,
}

fn prints_each_step_of_the_articles_conversation_when_it_happens(example: &'static str) {
    let server = Server::start(example);
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

fn serves_two_hundred_clients_at_once(example: &'static str) {
    let server = Server::start(example);
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

fn is_not_stopped_by_a_silent_client(example: &'static str) {
    let server = Server::start(example);
    let _silent: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    server.prints(&["Accept ..."; 20]);
    server.serves(b"hello");
}

fn is_not_stopped_by_bytes_that_are_not_utf8(example: &'static str) {
    let server = Server::start(example);
    server.serves(&[0xff, 0xfe, 0x80, 0x00]);
    server.serves(b"hello");
}

fn answers_a_client_that_half_closes(example: &'static str) {
    let server = Server::start(example);
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

fn is_not_stopped_by_resets(example: &'static str) {
    let server = Server::start(example);
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

fn is_not_stopped_by_a_client_that_never_reads(example: &'static str) {
    let server = Server::start(example);
    let mut deaf = server.connect();
    SockRef::from(&deaf).set_recv_buffer_size(1).unwrap();
    deaf.write_all(b"hello").unwrap();
    server.prints(&["Accept ...", "Connect ...", "Write ..."]);
    server.serves(b"hello");
}

fn says_that_its_port_is_taken(example: &'static str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(example, &["--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{message}");
    assert!(
        message.contains("in use") && message.ends_with("; choose another port with --port\n"),
        "{message}"
    );
}

fn answers_wrong_arguments_with_its_usage(example: &'static str) {
    for arguments in
        [&["--port", "ninety"][..], &["--port"], &["--port", "65536"], &["8888"], &["--port", "1", "2"]]
    {
        let output = run(example, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with(&format!("usage: {example} [--port PORT]")),
            "{arguments:?}"
        );
    }
}
