//! Giving way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Gives way: the task goes to the end of the ready queue and continues next turn, after every task that is ready now.
///
/// It never delays the loop's look at the driver: a task that only yields does not keep a socket waiting
/// (see [`MOST_POLLS_BETWEEN_LOOKS`](crate::MOST_POLLS_BETWEEN_LOOKS)).
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
///
/// squall::run(async {
///     let trace = Rc::new(RefCell::new(Vec::new()));
///     let mut tasks = Vec::new();
///     for name in ["one", "two"] {
///         let trace = trace.clone();
///         tasks.push(squall::spawn(async move {
///             for step in 1..=2 {
///                 trace.borrow_mut().push((name, step));
///                 squall::yield_now().await;
///             }
///         }));
///     }
///     for task in tasks {
///         task.await.unwrap();
///     }
///     assert_eq!(*trace.borrow(), [("one", 1), ("two", 1), ("one", 2), ("two", 2)]);
/// });
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { has_yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    has_yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_yielded {
            return Poll::Ready(());
        }
        self.has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
