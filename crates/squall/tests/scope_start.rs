//! `Scope::start`, after trio's: the rows of the table in `docs/scopes.md` that speak of it.

mod trace;

use squall::time::{Instant, sleep, timeout};
use squall::{scope, try_scope, yield_now};
use std::future::pending;
use std::time::Duration;
use trace::Trace;

const SECOND: Duration = Duration::from_secs(1);

#[squall::test]
async fn start_gives_what_the_child_says() {
    let begin = Instant::now();
    scope(async |s| {
        let said = s.start(|ready| async move {
            sleep(SECOND).await;
            ready.send(8888);
            sleep(SECOND).await;
        });
        assert_eq!((said.await, begin.elapsed()), (8888, SECOND));
    })
    .await;
    assert_eq!(begin.elapsed(), 2 * SECOND);
}

#[squall::test]
async fn start_gives_an_error_from_before_the_child_is_ready() {
    let outcome = try_scope(async |s| {
        let first = s.start(|ready: squall::scope::Ready<'_, u32>| async move {
            sleep(SECOND).await;
            let _never = ready;
            Err::<(), _>("the port is taken")
        });
        assert_eq!(first.await, Err("the port is taken"));
        let second = s.start(|ready| async move {
            ready.send(2);
            Err::<(), _>("later")
        });
        assert_eq!(second.await, Ok(2));
        pending::<Result<(), &str>>().await
    })
    .await;
    assert_eq!(outcome.unwrap_err().first(), Some(&"later"));
}

#[squall::test]
#[should_panic(expected = "has ended without saying that it is ready: call ready.send(…) in it")]
async fn start_panics_when_the_child_never_says_it() {
    scope(async |s| {
        s.start(|ready: squall::scope::Ready<'_, u32>| async move { drop(ready) }).await;
    })
    .await;
}

#[squall::test]
async fn start_given_up_drops_the_child() {
    let trace = Trace::default();
    scope(async |s| {
        let said = trace.at_drop("child");
        let starting = s.start(|ready: squall::scope::Ready<'_, ()>| async move {
            let _held = (said, ready);
            pending::<()>().await;
        });
        assert!(timeout(SECOND, starting).await.is_err());
        yield_now().await;
        yield_now().await;
        assert_eq!(trace.take(), ["child"]);
    })
    .await;
}

#[squall::test]
async fn a_pending_start_keeps_the_scope_open() {
    let begin = Instant::now();
    scope(async |s| {
        s.spawn(async move {
            let said = s.start(|ready| async move {
                sleep(4 * SECOND).await;
                ready.send(());
            });
            said.await;
        });
    })
    .await;
    assert_eq!(begin.elapsed(), 4 * SECOND);
}
