//! The macros of the squall runtime, in a crate of their own because the compiler asks that of them.
//!
//! Use them through `squall`, which re-exports all: `#[squall::main]`, `#[squall::test]`, `squall::generator!` and `squall::async_generator!`.

#![forbid(unsafe_code)]

mod expand;
mod heads;
mod options;
mod yields;

use proc_macro::TokenStream;

/// # Options
///
/// | option | effect |
/// |---|---|
/// | `driver = "poll"` | waits with this driver, whatever the machine offers; `"uring"` likewise; `"auto"` picks the best there is |
/// | `crate = "my::squall"` | where the expansion finds squall, if not at `::squall` |
///
/// # What it becomes
///
/// ```text
/// #[squall::main]                          fn main() -> io::Result<()> {
/// async fn main() -> io::Result<()> {          async fn main() -> io::Result<()> {
///     body().await                     =>          body().await
/// }                                            }
///                                              ::squall::run(main())
///                                          }
/// ```
///
/// Attributes, visibility and return type stay as they were written. The function takes neither arguments nor type parameters: nothing
/// would give them.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::main(options.into(), item.into()).into()
}

/// # Options
///
/// | option | effect |
/// |---|---|
/// | `real` | real time, real sockets and the machine's driver instead of virtual time |
/// | `allow_leaks` | tasks still alive when the test ends do not fail it |
/// | `crate = "my::squall"` | where the expansion finds squall, if not at `::squall` |
///
/// `#[should_panic]`, `#[ignore]`, `#[cfg(…)]` and every other attribute work as they do beside `#[test]`, which this one replaces.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::test(options.into(), item.into()).into()
}

/// # What it becomes
///
/// | written | becomes |
/// |---|---|
/// | `generator! { body }` | `Generator::new(async move \|co\| { body })` |
/// | `yield value`, `yield` | `co.yield_(value).await`, `co.yield_(()).await` |
/// | `yield_from!(delegate)` | `co.yield_from(delegate).await` |
/// | `try_yield!(…)`, `try_yield_from!(…)`, `resume_from!(…)`, `raise!(…)` | the same with those |
///
/// `yield` takes the whole expression behind it, so a yield within one stands in parentheses: `(yield a) + (yield b)`. In the head of an `if`, `while`, `match` or `for` it ends
/// before the block: `while let Some(x) = yield total { … }`. Where a method is called on what was sent, say what that is: `let x: Option<u32> = yield total;`. Closures and functions inside the body, and the arguments
/// of other macros, are left as they are.
#[proc_macro]
pub fn generator(body: TokenStream) -> TokenStream {
    yields::generator(body.into()).into()
}

/// As `generator!`, for a body that also awaits: it becomes an `AsyncGenerator`. Has also `yield_from_async!(…)` and `try_yield_from_async!(…)`.
#[proc_macro]
pub fn async_generator(body: TokenStream) -> TokenStream {
    yields::async_generator(body.into()).into()
}
