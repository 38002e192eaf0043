//! The attributes on the runtime that they are made for. What they expand to is tested where they are written, what they refuse in `ui.rs`.

use squall::time::{Instant, sleep};
use std::future::pending;
use std::io;
use std::process::Termination;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[squall::test]
async fn a_test_lives_in_virtual_time() {
    let real = std::time::Instant::now();
    let begin = Instant::now();
    sleep(HOUR).await;
    assert_eq!(begin.elapsed(), HOUR);
    assert!(real.elapsed() < HOUR);
    assert_eq!(squall::driver().to_string(), "null");
}

#[squall::test(real)]
#[cfg_attr(miri, ignore = "no epoll there")]
async fn a_real_test_has_the_machines_driver() -> io::Result<()> {
    squall::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    assert_ne!(squall::driver().to_string(), "null");
    Ok(())
}

#[squall::test]
#[should_panic(expected = "as expected")]
async fn a_test_may_be_expected_to_panic() {
    squall::yield_now().await;
    panic!("as expected");
}

#[squall::test]
#[should_panic(
    expected = "attributes::a_test_that_leaves_a_waiting_task_behind_fails has ended and left 1 task behind"
)]
async fn a_test_that_leaves_a_waiting_task_behind_fails() {
    squall::spawn(pending::<()>());
}

#[squall::test]
async fn a_test_may_leave_tasks_that_are_about_to_end() {
    squall::spawn(squall::yield_now());
}

#[squall::test(allow_leaks)]
async fn a_test_may_leave_tasks_where_it_says_so() {
    squall::spawn(pending::<()>());
}

#[squall::test]
#[cfg(any())]
async fn what_is_configured_out_is_not_compiled() {
    there_is_no_such_function();
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn main_may_stand_before_any_function_and_keeps_its_return_type() {
    #[squall::main]
    async fn number() -> u8 {
        squall::yield_now().await;
        42
    }
    #[squall::main]
    async fn failure() -> io::Result<()> {
        Err(io::Error::other("no"))?;
        Ok(())
    }
    #[squall::main]
    async fn outcome() -> impl Termination {
        squall::yield_now().await;
    }
    #[squall::main]
    async fn never() -> ! {
        squall::yield_now().await;
        panic!("the only way out");
    }
    assert_eq!(number(), 42);
    assert_eq!(failure().unwrap_err().to_string(), "no");
    let _: std::process::ExitCode = outcome().report();
    let panic = std::panic::catch_unwind(|| never()).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the only way out"));
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn main_takes_a_driver_and_another_path_to_squall() {
    mod my {
        pub(super) use squall as runtime;
    }
    #[squall::main(driver = "poll", crate = "my::runtime")]
    async fn driver() -> String {
        squall::driver().to_string()
    }
    assert_eq!(driver(), "poll");
}
