//! From a body that says `yield` to one that awaits what its `Co` gives.
//!
//! `yield` is a keyword without a use in stable Rust, so it can be read in the arguments of a macro and nowhere else: an attribute on a function was rejected,
//! because there rustc refuses the word before the attribute sees it. Looking for the word among tokens was rejected too: where what is
//! yielded ends only a parser knows.

use crate::heads::delimited;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{VisitMut, visit_block_mut, visit_expr_mut, visit_stmt_mut};
use syn::{Block, Expr, ExprClosure, Item, Macro, Stmt, parse_quote_spanned, parse2};

pub(crate) fn generator(body: TokenStream) -> TokenStream {
    expand(&quote!(::squall::generator::Generator), body)
}

pub(crate) fn async_generator(body: TokenStream) -> TokenStream {
    expand(&quote!(::squall::generator::AsyncGenerator), body)
}

fn expand(kind: &TokenStream, body: TokenStream) -> TokenStream {
    let body = delimited(body);
    let mut body: Block = match parse2(quote!({ #body })) {
        Ok(body) => body,
        Err(error) => return error.into_compile_error(),
    };
    let mut yields = Yields { co: Ident::new("__co", Span::mixed_site()), error: None };
    yields.visit_block_mut(&mut body);
    if let Some(error) = yields.error {
        return error.into_compile_error();
    }
    let co = yields.co;
    let statements = body.stmts;
    quote!(#kind::new(async move |#co| { #(#statements)* }))
}

struct Yields {
    co: Ident,
    error: Option<syn::Error>,
}

/// What a body may write as a macro, and the function of `Co` that it calls.
const CALLS: &[&str] = &[
    "try_yield",
    "yield_from",
    "try_yield_from",
    "yield_from_async",
    "try_yield_from_async",
    "resume_from",
    "raise",
];

fn is_call(called: &Macro) -> bool {
    called.path.get_ident().is_some_and(|name| CALLS.iter().any(|call| name == call))
}

impl Yields {
    fn call(&mut self, called: &Macro) -> Option<Expr> {
        let name = called.path.get_ident().filter(|_| is_call(called))?;
        let (co, arguments) = (&self.co, delimited(called.tokens.clone()));
        let mut call: Expr = match parse2(quote_spanned!(called.span()=> #co.#name(#arguments).await)) {
            Ok(call) => call,
            Err(error) => {
                self.error = Some(error);
                return None;
            }
        };
        self.visit_expr_mut(&mut call);
        Some(call)
    }
}

impl VisitMut for Yields {
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        let is_yield = matches!(expression, Expr::Paren(paren) if paren.attrs.is_empty() && matches!(*paren.expr, Expr::Yield(_)));
        visit_expr_mut(self, expression);
        let replaced = match expression {
            Expr::Yield(yields) => {
                let co = &self.co;
                let value = match yields.expr.take().map(|value| *value) {
                    None => parse_quote_spanned!(yields.span()=> ()),
                    Some(Expr::Paren(inside)) if inside.attrs.is_empty() => *inside.expr,
                    Some(value) => value,
                };
                Some(parse_quote_spanned!(yields.span()=> #co.yield_(#value).await))
            }
            Expr::Macro(called) => self.call(&called.mac),
            // A call needs none around it, and rustc would say so.
            Expr::Paren(paren) if is_yield => Some((*paren.expr).clone()),
            _ => None,
        };
        if let Some(replaced) = replaced {
            *expression = replaced;
        }
    }

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        if let Stmt::Macro(called) = statement {
            if let Some(call) = self.call(&called.mac) {
                *statement = Stmt::Expr(call, called.semi_token);
                return;
            }
        }
        visit_stmt_mut(self, statement);
    }

    /// A macro in braces is a statement without a semicolon, a call is not.
    fn visit_block_mut(&mut self, block: &mut Block) {
        let last = block.stmts.len().saturating_sub(1);
        for statement in block.stmts.iter_mut().take(last) {
            match statement {
                Stmt::Macro(called) if is_call(&called.mac) => {
                    called.semi_token.get_or_insert_default();
                }
                _ => {}
            }
        }
        visit_block_mut(self, block);
    }

    /// Another function: what it yields is not this one's.
    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}

    fn visit_item_mut(&mut self, _: &mut Item) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(body: TokenStream) -> String {
        generator(body).to_string()
    }

    fn same(body: TokenStream, becomes: TokenStream) {
        let whole = quote!(::squall::generator::Generator::new(async move |__co| { #becomes }));
        assert_eq!(expanded(body), whole.to_string());
    }

    #[test]
    fn a_yield_takes_the_whole_expression_and_is_one() {
        same(quote!(let x = yield a + 1;), quote!(let x = __co.yield_(a + 1).await;));
        same(quote!(yield), quote!(__co.yield_(()).await));
        same(quote!((yield a) + (yield b)), quote!(__co.yield_(a).await + __co.yield_(b).await));
        same(quote!(match yield a {}), quote!(match __co.yield_(a).await {}));
        same(quote!(yield yield a;), quote!(__co.yield_(__co.yield_(a).await).await;));
        same(
            quote!(while let Some(x) = yield () {
                f(x);
            }),
            quote!(while let Some(x) = __co.yield_(()).await {
                f(x);
            }),
        );
    }

    #[test]
    fn the_other_calls_are_macros_wherever_they_stand() {
        same(
            quote!(let x = yield_from!(g(yield 1));),
            quote!(let x = __co.yield_from(g(__co.yield_(1).await)).await;),
        );
        same(quote!(raise!(e);), quote!(__co.raise(e).await;));
        same(
            quote!(yield_from! { g } yield_from! { h }),
            quote!(__co.yield_from(g).await; __co.yield_from(h).await),
        );
        same(quote!(resume_from!(g, 1)), quote!(__co.resume_from(g, 1).await));
        same(quote!(f(try_yield!(1)?);), quote!(f(__co.try_yield(1).await?);));
        same(quote!(println!("{}", 1);), quote!(println!("{}", 1);));
    }

    #[test]
    fn other_functions_inside_keep_what_is_theirs() {
        for theirs in [
            quote!(let f = |a| yield a;),
            quote!(
                fn f() {
                    yield 1;
                }
            ),
        ] {
            same(theirs.clone(), theirs);
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(expanded(quote!(let = 1;)).contains("compile_error"));
        assert!(expanded(quote!(yield_from!(g g);)).contains("compile_error"));
    }
}
