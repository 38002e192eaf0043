//! The attributes of the squall runtime, in a crate of their own because the compiler asks that of attributes.
//!
//! Use them through `squall`, which re-exports both: `#[squall::main]` and `#[squall::test]`.

#![forbid(unsafe_code)]

mod expand;
mod options;

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
