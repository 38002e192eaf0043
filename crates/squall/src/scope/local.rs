//! Task-locals: values that a task has, and what it spawns inherits. Python's contextvars.

use crate::task::{Locals, current};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// A value that each task has for itself and hands on to what it spawns: the request that it serves, a tracing id.
///
/// A child, a task, a fiber inherits the values as they are when it is spawned; setting one later changes it for the one who sets it only (copy on write). It is found through the task that runs, so it is right in
/// any function that a task calls, and lost where work leaves the loop: on the blocking pool, in callbacks. Outside a task there are no values.
///
/// The semantics are those of Python's `contextvars` (PEP 567).
///
/// ```
/// use squall::TaskLocal;
///
/// static USER: TaskLocal<&str> = TaskLocal::new();
///
/// fn greeting() -> String {
///     format!("hello {}", USER.get().unwrap_or("stranger"))
/// }
///
/// # squall::run(async {
/// USER.set("ada");
/// let child = squall::spawn(async {
///     let inherited = greeting();
///     USER.set("grace");
///     (inherited, greeting())
/// });
/// assert_eq!(child.await.unwrap(), ("hello ada".into(), "hello grace".into()));
/// assert_eq!(greeting(), "hello ada");
/// # });
/// ```
pub struct TaskLocal<T> {
    /// Drawn at the first use; zero before.
    key: AtomicUsize,
    value: PhantomData<fn() -> T>,
}

impl<T: 'static> TaskLocal<T> {
    /// A task-local that nobody has a value of. For a `static`.
    pub const fn new() -> TaskLocal<T> {
        TaskLocal { key: AtomicUsize::new(0), value: PhantomData }
    }

    fn key(&self) -> usize {
        static DRAWN: AtomicUsize = AtomicUsize::new(0);
        match self.key.load(Ordering::Relaxed) {
            0 => {
                let drawn = DRAWN.fetch_add(1, Ordering::Relaxed) + 1;
                // Whoever comes second takes what the first has drawn.
                self.key
                    .compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|key| key, |_| drawn)
            }
            key => key,
        }
    }

    fn find(&self) -> Option<Rc<T>> {
        let ambient = current()?.ambient()?;
        let key = self.key();
        let locals = ambient.locals.as_ref()?;
        let value = locals.iter().find(|(other, _)| *other == key)?.1.clone();
        value.downcast().ok()
    }

    /// Looks at the value of the task that runs. `None` if it has none, or no task runs.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.find().map(|value| look(&value))
    }

    /// A copy of the value.
    pub fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Sets the value for the task that runs, and for what it spawns from now on.
    ///
    /// # Panics
    /// Outside a task.
    #[track_caller]
    pub fn set(&self, value: T) {
        assert!(
            self.replace(Some(Rc::new(value))),
            "TaskLocal::set was called outside a task: set it in the task that is to have it, or wrap a future with TaskLocal::scoped"
        );
    }

    fn replace(&self, value: Option<Rc<T>>) -> bool {
        let Some(tasks) = current() else { return false };
        let ambient = tasks.ambient();
        let key = self.key();
        let before = ambient.as_ref().and_then(|ambient| ambient.locals.as_ref());
        let mut locals: Locals = before.map_or_else(Locals::new, |locals| {
            locals.iter().filter(|(other, _)| *other != key).cloned().collect()
        });
        locals.extend(value.map(|value| (key, value as Rc<dyn Any>)));
        tasks.set_locals(Rc::new(locals))
    }

    /// Runs a future that has this value, and what it spawns too; whoever awaits it keeps its own.
    ///
    /// ```
    /// use squall::TaskLocal;
    ///
    /// static DEPTH: TaskLocal<u32> = TaskLocal::new();
    ///
    /// # squall::run(async {
    /// DEPTH.set(1);
    /// assert_eq!(DEPTH.scoped(2, async { DEPTH.get() }).await, Some(2));
    /// assert_eq!(DEPTH.get(), Some(1));
    /// # });
    /// ```
    pub fn scoped<F: Future>(&'static self, value: T, future: F) -> Scoped<T, F> {
        Scoped { held: Held { local: self, value: Some(Rc::new(value)) }, future }
    }
}

impl<T: 'static> Default for TaskLocal<T> {
    fn default() -> TaskLocal<T> {
        TaskLocal::new()
    }
}

impl<T> fmt::Debug for TaskLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocal").finish_non_exhaustive()
    }
}

/// The future of [`TaskLocal::scoped`].
#[must_use = "futures do nothing unless awaited"]
pub struct Scoped<T: 'static, F> {
    held: Held<T>,
    // Pinned whenever this is.
    future: F,
}

/// What the task has while the future is not polled, and the future's own while it is: the two are swapped around each poll.
struct Held<T: 'static> {
    local: &'static TaskLocal<T>,
    value: Option<Rc<T>>,
}

impl<T: 'static> Held<T> {
    fn swap(&mut self) {
        // Outside a task there is nothing to swap with, and the future keeps its value for later.
        if current().is_none_or(|tasks| tasks.current_slot().is_none()) {
            return;
        }
        let other = self.local.find();
        let mine = std::mem::replace(&mut self.value, other);
        self.local.replace(mine);
    }
}

impl<T: 'static, F: Future> Future for Scoped<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        struct Back<'a, T: 'static>(&'a mut Held<T>);
        impl<T: 'static> Drop for Back<'_, T> {
            fn drop(&mut self) {
                self.0.swap();
            }
        }
        // SAFETY: `future` is pinned structurally: nothing moves it out, the type has no Drop of its own, and is Unpin only if F is.
        let (held, future) = unsafe {
            let this = self.get_unchecked_mut();
            (&mut this.held, Pin::new_unchecked(&mut this.future))
        };
        held.swap();
        let _back = Back(held);
        future.poll(cx)
    }
}

impl<T: 'static, F> fmt::Debug for Scoped<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}
