//! What is said when a stack is too small, before the process ends: each test has a process to end.

mod trace;

use squall::fiber;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use trace::{alone, virtual_loop};

/// Deeper than any stack.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[7] }
}

fn complaints(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_overflow_is_reported_with_name_place_and_size() {
    let name = "an_overflow_is_reported_with_name_place_and_size";
    let told = alone(name, &[], || {
        virtual_loop().run_until(async {
            let deep =
                fiber::Builder::new().name("parser").stack_size(64 * 1024).spawn(|| recurse(0)).unwrap();
            _ = deep.await;
        });
    });
    let Some(output) = told else { return };
    let text = complaints(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{:?} {text}", output.status);
    assert!(text.contains("squall: fiber \"parser\" (spawned at "), "{text}");
    assert!(text.contains("fiber_overflow.rs:"), "{text}");
    assert!(
        text.contains(
            "has overflowed its stack of 65536 bytes: give it a larger one with fiber::Builder::stack_size"
        ),
        "{text}"
    );
}

#[test]
fn an_overflow_is_reported_on_a_thread_that_std_did_not_make() {
    let name = "an_overflow_is_reported_on_a_thread_that_std_did_not_make";
    let told = alone(name, &[], || {
        extern "C" fn begin(_: *mut libc::c_void) -> *mut libc::c_void {
            virtual_loop().run_until(async { fiber::spawn(|| recurse(0)).await.unwrap() });
            std::ptr::null_mut()
        }
        // SAFETY: plain pthreads: the thread is joined, and its argument unused.
        unsafe {
            let mut thread = std::mem::zeroed();
            assert_eq!(
                libc::pthread_create(&raw mut thread, std::ptr::null(), begin, std::ptr::null_mut()),
                0
            );
            libc::pthread_join(thread, std::ptr::null_mut());
        }
    });
    let Some(output) = told else { return };
    let text = complaints(&output);
    assert!(text.contains("squall: the fiber spawned at "), "{text}");
    assert!(text.contains("has overflowed its stack of 262144 bytes"), "{text}");
}

#[test]
fn other_faults_go_to_whoever_handled_them_before() {
    let name = "other_faults_go_to_whoever_handled_them_before";
    let told = alone(name, &[], || {
        extern "C" fn on_fault(_: libc::c_int) {
            // SAFETY: ends the process at once, which a handler may.
            unsafe { libc::_exit(42) };
        }
        // SAFETY: zeros are a valid sigaction, and the handler does what a handler may.
        unsafe {
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = on_fault as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const ours, std::ptr::null_mut()), 0);
        }
        virtual_loop().run_until(async {
            let faults = fiber::spawn(|| {
                // SAFETY: none: a fault is what is wanted. Nothing is mapped at the address, and the process ends.
                unsafe { std::ptr::without_provenance::<u8>(64).read_volatile() }
            });
            _ = faults.await;
        });
    });
    if let Some(output) = told {
        assert_eq!(output.status.code(), Some(42), "{}", complaints(&output));
        assert!(!complaints(&output).contains("overflowed"));
    }
}

#[test]
fn a_threads_own_overflow_is_reported_by_whoever_did_before() {
    let told = alone("a_threads_own_overflow_is_reported_by_whoever_did_before", &[], || {
        virtual_loop().run_until(async { fiber::spawn(|| ()).await.unwrap() });
        recurse(0);
    });
    let Some(output) = told else { return };
    let text = complaints(&output);
    assert!(!output.status.success());
    // std's words, or the address sanitizer's.
    assert!(text.contains("has overflowed its stack") || text.contains("stack-overflow"), "{text}");
    assert!(!text.contains("squall: "), "{text}");
}
