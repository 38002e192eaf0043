//! What stands between the parentheses of an attribute.
//!
//! Read as `syn::Meta`, not with a parser of our own: its paths admit the keyword `crate`, and each item keeps a span to point at.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Meta, MetaNameValue, Path, Result, Token};

/// Which attribute is being read; each has options of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Main,
    Test,
}

impl Attribute {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Attribute::Main => "#[squall::main]",
            Attribute::Test => "#[squall::test]",
        }
    }

    fn known(self) -> &'static str {
        match self {
            Attribute::Main => "`driver = \"poll\"` and `crate = \"path::to::squall\"`",
            Attribute::Test => "`real`, `allow_leaks` and `crate = \"path::to::squall\"`",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DriverOption {
    Auto,
    Uring,
    Poll,
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) driver: Option<DriverOption>,
    pub(crate) is_real: bool,
    pub(crate) allows_leaks: bool,
    pub(crate) squall: Option<Path>,
}

impl Options {
    pub(crate) fn parse(attribute: Attribute, tokens: TokenStream) -> Result<Options> {
        let mut options = Options::default();
        let mut seen = Vec::new();
        for meta in Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens)? {
            let name = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
            options.take(attribute, &name, &meta)?;
            if seen.contains(&name) {
                return Err(Error::new_spanned(&meta, "this option is given twice: keep one of them"));
            }
            seen.push(name);
        }
        Ok(options)
    }

    fn take(&mut self, attribute: Attribute, name: &str, meta: &Meta) -> Result<()> {
        match (attribute, name) {
            (_, "crate") => self.squall = Some(path_in(string_of(meta)?)?),
            (Attribute::Main, "driver") => self.driver = Some(driver_in(string_of(meta)?)?),
            (Attribute::Test, "real") => self.is_real = flag(meta)?,
            (Attribute::Test, "allow_leaks") => self.allows_leaks = flag(meta)?,
            _ => {
                let message = format!("unknown option: {} knows {}", attribute.name(), attribute.known());
                return Err(Error::new_spanned(meta, message));
            }
        }
        Ok(())
    }
}

fn flag(meta: &Meta) -> Result<bool> {
    match meta {
        Meta::Path(_) => Ok(true),
        _ => Err(Error::new_spanned(meta, "this option takes no value: write its name alone")),
    }
}

fn string_of(meta: &Meta) -> Result<&LitStr> {
    if let Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. }) = meta
    {
        return Ok(text);
    }
    Err(Error::new_spanned(meta, "this option takes a string: write `name = \"value\"`"))
}

fn path_in(text: &LitStr) -> Result<Path> {
    text.parse_with(Path::parse_mod_style).map_err(|_| {
        Error::new_spanned(text, "not a path: write where squall is found, as in \"my_crate::squall\"")
    })
}

fn driver_in(text: &LitStr) -> Result<DriverOption> {
    match text.value().as_str() {
        "auto" => Ok(DriverOption::Auto),
        "uring" => Ok(DriverOption::Uring),
        "poll" => Ok(DriverOption::Poll),
        _ => Err(Error::new_spanned(text, "unknown driver: there are \"auto\", \"uring\" and \"poll\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn error_of(attribute: Attribute, tokens: TokenStream) -> String {
        Options::parse(attribute, tokens).err().expect("these options are wrong").to_string()
    }

    #[test]
    fn every_option_is_read() {
        let main = Options::parse(Attribute::Main, quote!(driver = "poll", crate = "my::squall")).unwrap();
        assert_eq!(main.driver, Some(DriverOption::Poll));
        let path = main.squall.map(|path| quote!(#path).to_string());
        assert_eq!(path.as_deref(), Some("my :: squall"));

        let test = Options::parse(Attribute::Test, quote!(real, allow_leaks,)).unwrap();
        assert!(test.is_real && test.allows_leaks && test.squall.is_none());
    }

    #[test]
    fn an_unknown_option_is_answered_with_the_known_ones() {
        let message = error_of(Attribute::Main, quote!(flavor = "current_thread"));
        assert!(message.contains("#[squall::main] knows `driver = \"poll\"`"), "{message}");
        let message = error_of(Attribute::Test, quote!(driver = "poll"));
        assert!(message.contains("#[squall::test] knows `real`"), "{message}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_says_which_is_right() {
        assert!(error_of(Attribute::Test, quote!(real = true)).contains("takes no value"));
        assert!(error_of(Attribute::Main, quote!(driver = 1)).contains("takes a string"));
        assert!(error_of(Attribute::Main, quote!(driver)).contains("takes a string"));
        assert!(
            error_of(Attribute::Main, quote!(driver = "kqueue")).contains("\"auto\", \"uring\" and \"poll\"")
        );
        assert!(error_of(Attribute::Main, quote!(crate = "not a path")).contains("not a path"));
        assert!(error_of(Attribute::Test, quote!(real, real)).contains("twice"));
    }
}
