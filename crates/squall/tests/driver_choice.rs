//! Which driver a loop gets where io_uring is forbidden, hidden or broken: a real seccomp filter refuses the system calls, as the sandboxes of containers do.
//! Each case is a process of its own, since a filter cannot be taken off again.

#![cfg(all(target_os = "linux", not(miri)))]

mod support;

use squall::net::{TcpListener, TcpStream};
use squall::{Builder, DriverChoice, DriverKind};
use support::*;

/// From now on a system call fails with that error, in this thread and those that it starts.
fn refuse(call: libc::c_long, errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        // The number of the call, which lies in front.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: call as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers, and a program that outlives the call, which copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

const CASES: [(&str, libc::c_long, i32, &str); 5] = [
    (
        "setup EPERM",
        libc::SYS_io_uring_setup,
        libc::EPERM,
        "the sandbox forbids it, as containers do by default, or the system does (sysctl kernel.io_uring_disabled)",
    ),
    ("setup ENOSYS", libc::SYS_io_uring_setup, libc::ENOSYS, "the kernel has none, or the sandbox hides it"),
    (
        "setup ENOMEM",
        libc::SYS_io_uring_setup,
        libc::ENOMEM,
        "the limit of locked memory is too low (ulimit -l)",
    ),
    // The rings are there already when these are refused.
    (
        "register EPERM",
        libc::SYS_io_uring_register,
        libc::EPERM,
        "the sandbox forbids it, as containers do by default, or the system does (sysctl kernel.io_uring_disabled)",
    ),
    (
        "enter EPERM",
        libc::SYS_io_uring_enter,
        libc::EPERM,
        "the sandbox forbids it, as containers do by default, or the system does (sysctl kernel.io_uring_disabled)",
    ),
];

/// The case that this process plays, if it was started for one: with its filter on.
fn case() -> Option<(String, &'static str)> {
    let role = role()?;
    let (_, call, errno, reason) = CASES.into_iter().find(|(name, ..)| *name == role).unwrap();
    refuse(call, errno);
    let error = std::io::Error::from_raw_os_error(errno);
    Some((format!("io_uring is not to be had here: {reason} ({error})"), reason))
}

async fn converse() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.write_all(b"hello").await.unwrap();
    assert_eq!(server.recv().await.unwrap().as_deref(), Some(&b"hello"[..]));
}

/// Runs each case of a test in a process of its own. Gives what it said on stderr.
fn each_case(test: &str, driver: &str, mut check: impl FnMut(&str, i32, &str)) {
    for (name, _, errno, reason) in CASES {
        let output = again(test, name).env("SQUALL_DRIVER", driver).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stdout));
        check(&said, errno, reason);
    }
}

#[cfg(feature = "uring")]
#[test]
fn where_io_uring_is_refused_loops_run_on_poll_and_the_reason_is_said_once() {
    if case().is_some() {
        // (The notifier of the first loop's cell is kept.)
        squall::run(async { assert_eq!(squall::driver(), DriverKind::Poll) });
        let before = descriptors();
        for _ in 0..3 {
            squall::run(async {
                assert_eq!(squall::driver(), DriverKind::Poll);
                converse().await;
            });
        }
        assert_eq!(descriptors(), before, "an attempt leaves a descriptor behind");
        return;
    }
    for driver in ["", "auto"] {
        each_case(
            "where_io_uring_is_refused_loops_run_on_poll_and_the_reason_is_said_once",
            driver,
            |said, errno, reason| {
                let error = std::io::Error::from_raw_os_error(errno);
                let line = format!(
                    "squall: the driver is \"poll\": io_uring is not to be had here: {reason} ({error})"
                );
                let lines: Vec<_> = said.lines().filter(|line| line.starts_with("squall:")).collect();
                assert_eq!(lines, [line]);
            },
        );
    }
}

#[cfg(feature = "uring")]
#[test]
fn a_driver_that_is_asked_for_and_refused_is_an_error_that_says_why() {
    if let Some((refusal, _)) = case() {
        let by_name = Builder::new().driver(DriverChoice::Uring).build();
        for built in [Builder::new().build(), by_name] {
            assert_eq!(text_of(built), format!("cannot start an event loop's driver: {refusal}"));
        }
        // Another one can be had.
        let by_name = Builder::new().driver(DriverChoice::Poll).run(converse());
        by_name.unwrap();
        return;
    }
    each_case("a_driver_that_is_asked_for_and_refused_is_an_error_that_says_why", "uring", |said, _, _| {
        assert!(!said.contains("squall: the driver is"), "{said}")
    });
}

#[cfg(feature = "uring")]
#[test]
fn where_poll_is_asked_for_nothing_is_said_of_io_uring() {
    if case().is_some() {
        squall::run(converse());
        return;
    }
    each_case("where_poll_is_asked_for_nothing_is_said_of_io_uring", "poll", |said, _, _| {
        assert!(!said.contains("io_uring"), "{said}");
    });
}

#[cfg(feature = "uring")]
#[test]
fn a_driver_that_is_forbidden_while_it_runs_ends_its_loop_with_a_panic_that_says_why() {
    let test = "a_driver_that_is_forbidden_while_it_runs_ends_its_loop_with_a_panic_that_says_why";
    if role().is_some() {
        let ran = Builder::new().driver(DriverChoice::Uring).run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            drop(squall::spawn(async move { listener.accept().await.map(drop) }));
            let reading = squall::spawn(async move { server.recv().await.map(drop) });
            // Some are in the kernel, others are queued only.
            squall::time::sleep(std::time::Duration::from_nanos(1)).await;
            client.write_all(b"never sent").await.unwrap();
            refuse(libc::SYS_io_uring_enter, libc::EPERM);
            reading.await
        });
        return eprintln!("it is not to be had here: {:?}", ran.map(drop).unwrap_err());
    }
    let output = again(test, "forbidden").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("is not to be had here") {
        return eprintln!("skipped: {said}");
    }
    // A failed test, not a process that was killed.
    assert_eq!(output.status.code(), Some(101), "{said}");
    let panic = "the event loop cannot wait for events any more: Operation not permitted";
    assert!(said.contains(panic), "{said}");
    assert!(said.contains("operations of an event loop could not be ended; its memory is kept"), "{said}");
}

#[test]
fn the_driver_that_runs_is_named() {
    let runs = |builder: Builder| builder.run(async { squall::driver() });
    assert_eq!(runs(Builder::new().virtual_time()).unwrap(), DriverKind::Null);
    assert_eq!(runs(Builder::new().driver(DriverChoice::Poll)).unwrap(), DriverKind::Poll);
    let (asked, by_itself) =
        (runs(Builder::new().driver(DriverChoice::Uring)), runs(Builder::new().driver(DriverChoice::Auto)));
    let forced = std::env::var("SQUALL_DRIVER").is_ok_and(|name| name == "poll");
    match asked {
        Ok(kind) => {
            assert_eq!(kind, DriverKind::Uring);
            assert_eq!(by_itself.unwrap(), if forced { DriverKind::Poll } else { DriverKind::Uring });
        }
        Err(error) => {
            assert!(error.to_string().starts_with("cannot start an event loop's driver: "), "{error}");
            eprintln!("io_uring cannot be tried here: {error}");
        }
    }
    assert_eq!(
        [DriverKind::Uring, DriverKind::Poll, DriverKind::Null].map(|kind| kind.to_string()),
        ["uring", "poll", "null"]
    );
}
