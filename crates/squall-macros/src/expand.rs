//! From an async function to one that runs it on an event loop.
//!
//! The function is kept whole, as an inner function of the one that replaces it. Moving its body into an `async move` block was rejected:
//! the block's output is inferred, so a wrong type in the body is reported at the attribute, and `?` may not know its error type.

use crate::options::{Attribute, DriverOption, Options};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Path, Result, Signature};

pub(crate) fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(Attribute::Main, options, item)
}

pub(crate) fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(Attribute::Test, options, item)
}

fn expand(attribute: Attribute, options: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let message = format!("{} stands before a function: `async fn name() {{ … }}`", attribute.name());
            let error = Error::new_spanned(&item, message).into_compile_error();
            return quote!(#error #item);
        }
    };
    let checked = check(attribute, &function).and_then(|()| Options::parse(attribute, options));
    match checked {
        Ok(options) => replace(attribute, &options, &function),
        Err(error) => refuse(&error, &function),
    }
}

/// What rustc would not say, or would say of code that the user did not write.
fn check(attribute: Attribute, function: &ItemFn) -> Result<()> {
    let name = attribute.name();
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(
            signature.fn_token,
            format!("{name} runs an async function: write `async fn`"),
        ));
    }
    if !signature.inputs.is_empty() || signature.variadic.is_some() {
        let message = format!("{name} takes a function without arguments: nothing would give them");
        return Err(Error::new_spanned(arguments_of(signature), message));
    }
    if !signature.generics.params.is_empty() {
        let message = format!("{name} takes a function without type parameters: nothing would choose them");
        return Err(Error::new_spanned(&signature.generics.params, message));
    }
    if let Some(keyword) = &signature.unsafety {
        let message =
            format!("{name} calls the function, and may call no unsafe one: put the unsafe block inside");
        return Err(Error::new_spanned(keyword, message));
    }
    if attribute == Attribute::Test {
        if let Some(twin) = function.attrs.iter().find(|attribute| is_test(attribute.path())) {
            return Err(Error::new_spanned(
                twin,
                format!("{name} makes the function a test: remove this attribute"),
            ));
        }
    }
    Ok(())
}

fn arguments_of(signature: &Signature) -> TokenStream {
    let (inputs, variadic) = (&signature.inputs, &signature.variadic);
    quote!(#inputs #variadic)
}

/// `#[test]`, by whichever of its standard paths. Another crate's `test` attribute is left to say itself what it minds.
fn is_test(path: &Path) -> bool {
    let mut names = path.segments.iter().map(|segment| segment.ident.to_string());
    match path.segments.len() {
        1 => path.is_ident("test"),
        _ => {
            names.next().is_some_and(|root| root == "core" || root == "std")
                && names.next_back().is_some_and(|name| name == "test")
        }
    }
}

fn replace(attribute: Attribute, options: &Options, function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block } = function;
    let (name, output) = (&sig.ident, &sig.output);
    let squall = match &options.squall {
        Some(path) => quote!(#path),
        None => quote!(::squall),
    };
    let (marker, call) = match attribute {
        Attribute::Main => (quote!(), main_call(&squall, options, &quote!(#name()))),
        Attribute::Test => (quote!(#[::core::prelude::v1::test]), test_call(&squall, options, sig)),
    };
    quote! {
        #marker
        #(#attrs)*
        #vis fn #name() #output {
            #sig #block
            #call
        }
    }
}

fn main_call(squall: &TokenStream, options: &Options, future: &TokenStream) -> TokenStream {
    let driver = match options.driver {
        None => return quote!(#squall::run(#future)),
        Some(DriverOption::Auto) => quote!(Auto),
        Some(DriverOption::Uring) => quote!(Uring),
        Some(DriverOption::Poll) => quote!(Poll),
    };
    quote! {
        match #squall::Builder::new().driver(#squall::DriverChoice::#driver).run(#future) {
            ::core::result::Result::Ok(output) => output,
            ::core::result::Result::Err(error) => ::core::panic!("squall: {}", error),
        }
    }
}

fn test_call(squall: &TokenStream, options: &Options, signature: &Signature) -> TokenStream {
    let name = &signature.ident;
    let (real, allow_leaks) = (options.is_real, options.allows_leaks);
    quote! {
        #squall::__private::test(
            ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
            #real,
            #allow_leaks,
            #name(),
        )
    }
}

/// The error, and the function as it was written inside one that compiles: so rustc adds no complaint of its own (no `main`, an unused
/// import), and editors go on to understand the body.
fn refuse(error: &Error, function: &ItemFn) -> TokenStream {
    let error = error.to_compile_error();
    let (vis, name, output) = (&function.vis, &function.sig.ident, &function.sig.output);
    quote! {
        #error
        #[allow(dead_code, clippy::empty_loop)]
        #vis fn #name() #output {
            #function
            loop {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares token by token, so the layout of the expectation is free.
    #[track_caller]
    fn assert_same(expansion: TokenStream, expected: TokenStream) {
        assert_eq!(expansion.to_string(), expected.to_string());
    }

    #[test]
    fn main_becomes_a_function_that_runs_the_one_written() {
        assert_same(
            main(
                quote!(),
                quote!(
                    async fn main() -> io::Result<()> {
                        body().await
                    }
                ),
            ),
            quote! {
                fn main() -> io::Result<()> {
                    async fn main() -> io::Result<()> { body().await }
                    ::squall::run(main())
                }
            },
        );
    }

    #[test]
    fn attributes_visibility_and_return_type_stay() {
        assert_same(
            main(
                quote!(crate = "my::squall"),
                quote!(
                    #[cfg(unix)]
                    #[doc = "Serves."]
                    pub(crate) async fn serve() -> ! {
                        loop {}
                    }
                ),
            ),
            quote! {
                #[cfg(unix)]
                #[doc = "Serves."]
                pub(crate) fn serve() -> ! {
                    async fn serve() -> ! { loop {} }
                    my::squall::run(serve())
                }
            },
        );
    }

    #[test]
    fn a_driver_goes_through_the_builder() {
        assert_same(
            main(
                quote!(driver = "poll"),
                quote!(
                    async fn main() {}
                ),
            ),
            quote! {
                fn main() {
                    async fn main() {}
                    match ::squall::Builder::new().driver(::squall::DriverChoice::Poll).run(main()) {
                        ::core::result::Result::Ok(output) => output,
                        ::core::result::Result::Err(error) => ::core::panic!("squall: {}", error),
                    }
                }
            },
        );
    }

    #[test]
    fn test_becomes_a_test_with_its_name_and_options() {
        assert_same(
            test(
                quote!(real),
                quote!(
                    #[should_panic(expected = "no")]
                    #[ignore]
                    async fn fails() -> Result<(), E> {
                        Err(E)
                    }
                ),
            ),
            quote! {
                #[::core::prelude::v1::test]
                #[should_panic(expected = "no")]
                #[ignore]
                fn fails() -> Result<(), E> {
                    async fn fails() -> Result<(), E> { Err(E) }
                    ::squall::__private::test(
                        ::core::concat!(::core::module_path!(), "::", ::core::stringify!(fails)),
                        true,
                        false,
                        fails(),
                    )
                }
            },
        );
    }

    #[test]
    fn what_cannot_run_is_refused_with_advice() {
        for (expansion, advice) in [
            (
                main(
                    quote!(),
                    quote!(
                        fn main() {}
                    ),
                ),
                "write `async fn`",
            ),
            (
                main(
                    quote!(),
                    quote!(
                        async fn main(port: u16) {}
                    ),
                ),
                "without arguments",
            ),
            (
                main(
                    quote!(),
                    quote!(
                        async fn main<T>() {}
                    ),
                ),
                "without type parameters",
            ),
            (
                main(
                    quote!(),
                    quote!(
                        async unsafe fn main() {}
                    ),
                ),
                "put the unsafe block inside",
            ),
            (
                main(
                    quote!(),
                    quote!(
                        struct Main;
                    ),
                ),
                "stands before a function",
            ),
            (
                main(
                    quote!(threads = 4),
                    quote!(
                        async fn main() {}
                    ),
                ),
                "unknown option",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        fn adds() {}
                    ),
                ),
                "write `async fn`",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        #[test]
                        async fn adds() {}
                    ),
                ),
                "remove this attribute",
            ),
            (
                test(
                    quote!(),
                    quote!(
                        #[core::prelude::v1::test]
                        async fn adds() {}
                    ),
                ),
                "remove this attribute",
            ),
        ] {
            let expansion = expansion.to_string();
            assert!(expansion.contains("compile_error"), "{expansion}");
            assert!(expansion.contains(advice), "{advice} is not in: {expansion}");
        }
    }

    #[test]
    fn a_refused_function_is_kept_so_that_no_second_error_hides_the_first() {
        let expansion = main(
            quote!(),
            quote!(
                async fn main(port: u16) -> u8 {
                    0
                }
            ),
        )
        .to_string();
        let kept = quote!(
            fn main() -> u8 {
                async fn main(port: u16) -> u8 {
                    0
                }
                loop {}
            }
        )
        .to_string();
        assert!(expansion.ends_with(&kept), "{expansion}");
    }
}
