//! Stacks: how many there may be, and what becomes of their memory.
//!
//! Each test that counts memory or uses up a limit runs in a process of its own.

mod trace;

use squall::fiber;
use std::future::pending;
use trace::{alone, alone_as, check, reports_of, virtual_loop};

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * page()
}

fn page() -> usize {
    // SAFETY: a query without arguments that can be wrong.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

fn areas() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn a_hundred_thousand_fibers_live_at_once() {
    let told = alone("a_hundred_thousand_fibers_live_at_once", &[], || {
        // Twice as many as there may be areas with a mapping for each.
        let fibers = if has_marks() { 100_000 } else { 10_000 };
        let before = areas();
        virtual_loop().run_until(async {
            let handles: Vec<_> = (0..fibers)
                .map(|n| {
                    fiber::spawn(move || {
                        fiber::yield_now();
                        n
                    })
                })
                .collect();
            squall::yield_now().await;
            assert_eq!(fiber::stacks().in_use, fibers);
            if has_marks() {
                assert!(areas() < before + 100, "{} areas", areas());
            }
            for (n, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.await.unwrap(), n);
            }
            let totals = fiber::stacks();
            assert_eq!((totals.in_use, totals.pooled), (0, fibers));
        });
    });
    told.iter().for_each(check);
}

/// Linux 6.13 and later.
fn has_marks() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 13)
}

#[test]
fn a_million_fibers_one_after_another_leave_nothing_behind() {
    let told = alone("a_million_fibers_one_after_another_leave_nothing_behind", &[], || {
        let event_loop = virtual_loop();
        let cycles = |times: u32| {
            event_loop.run_until(async {
                for n in 0..times / 10 {
                    let handles: [_; 10] = std::array::from_fn(|k| {
                        fiber::spawn(move || {
                            if k % 2 == 0 {
                                fiber::yield_now();
                            }
                            n
                        })
                    });
                    for handle in handles {
                        assert_eq!(handle.await.unwrap(), n);
                    }
                }
                fiber::stacks()
            })
        };
        let first = cycles(10_000);
        let before = resident_bytes();
        let last = cycles(1_000_000);
        assert_eq!(first, last, "no stack was made that was not needed before");
        assert!(resident_bytes() < before + (1 << 20), "{before} bytes have become {}", resident_bytes());
    });
    told.iter().for_each(check);
}

#[test]
fn the_memory_of_a_crowd_is_given_back() {
    let told = alone("the_memory_of_a_crowd_is_given_back", &[], || {
        #[inline(never)]
        fn touch_much() {
            std::hint::black_box([1_u8; 64 * 1024]);
        }
        let event_loop = virtual_loop();
        let before = resident_bytes();
        let within = event_loop.run_until(async {
            let handles: Vec<_> = (0..1000)
                .map(|_| {
                    fiber::spawn(|| {
                        touch_much();
                        fiber::yield_now();
                    })
                })
                .collect();
            squall::yield_now().await;
            let within = resident_bytes();
            for handle in handles {
                handle.await.unwrap();
            }
            within
        });
        assert!(within > before + (60 << 20), "the crowd has touched its stacks: {before}, {within}");
        let after = resident_bytes();
        // The pool keeps all of 64 stacks and three pages at most of the others, and there is the table of tasks.
        assert!(after < before + (22 << 20), "{before} bytes, {within} within, {after} after");
    });
    told.iter().for_each(check);
}

#[test]
fn loops_that_come_and_go_use_the_same_stacks() {
    let told = alone("loops_that_come_and_go_use_the_same_stacks", &[], || {
        let once = || {
            virtual_loop().run_until(async {
                let ends = fiber::spawn(fiber::yield_now);
                let _is_dropped = fiber::spawn(|| fiber::wait(pending::<()>()));
                ends.await.unwrap();
                fiber::stacks().reserved_bytes
            })
        };
        let first = once();
        assert!((0..2000).all(|_| once() == first));
    });
    told.iter().for_each(check);
}

#[test]
fn running_out_of_stacks_is_an_error_and_the_loop_goes_on() {
    let name = "running_out_of_stacks_is_an_error_and_the_loop_goes_on";
    let limit_addresses = |command: &mut std::process::Command| {
        use std::os::unix::process::CommandExt;
        // SAFETY: a system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
                if libc::setrlimit(libc::RLIMIT_AS, &raw const limit) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
    };
    let told = alone_as(name, limit_addresses, || {
        virtual_loop().run_until(async {
            let mut handles = Vec::new();
            let error = loop {
                let builder = fiber::Builder::new().stack_size(16 << 20);
                match builder.spawn(|| fiber::wait(pending::<()>())) {
                    Ok(handle) => handles.push(handle),
                    Err(error) => break error,
                }
            };
            assert!(handles.len() > 20, "{}", handles.len());
            assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
            assert!(error.to_string().contains(&format!("beside the {} in use", handles.len())), "{error}");
            squall::yield_now().await;

            // From `spawn` it comes out of the handle.
            let mut small = Vec::new();
            loop {
                let fiber = fiber::spawn(|| fiber::wait(pending::<()>()));
                squall::yield_now().await;
                if fiber.is_finished() {
                    let error = fiber.await.unwrap_err();
                    assert!(error.is_not_started() && !error.is_panic() && !error.is_cancelled());
                    assert!(error.to_string().contains("no stack of 262144 bytes can be had"), "{error}");
                    break;
                }
                small.push(fiber);
            }
            // Where nobody awaits the handle it is reported.
            drop(fiber::spawn(|| unreachable!("without a stack")));
            squall::yield_now().await;

            // Room comes back.
            small.pop().unwrap().abort();
            assert_eq!(fiber::spawn(|| 42).await.unwrap(), 42);
        });
    });
    if let Some(output) = told {
        check(&output);
        let reports = reports_of(&output);
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(
            reports[0].contains("could not be started and nobody awaits it: no stack of "),
            "{reports:?}"
        );
    }
}
