//! Where what is yielded ends in the head of an `if`, a `while`, a `match` or a `for`: before the block.
//!
//! rustc reads `while let Some(x) = yield total { … }` so. syn takes `total { … }` for a struct, because it forgets behind a `yield` that it is in a head; and parentheses
//! around it, which would do, are a warning of rustc's. So they are set here, before syn reads the body, and taken off again when the yield is replaced. (Writing the
//! parser again was rejected.) Heads are known by their keyword, and what is yielded by ending at the first block that no keyword such as `unsafe` introduces.

use proc_macro2::{Delimiter, Group, Spacing, Span, TokenStream, TokenTree};

pub(crate) fn delimited(tokens: TokenStream) -> TokenStream {
    let mut reading = Reading::default();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_followed_by_block = tokens.peek().is_some_and(is_block);
        reading.take(token, is_followed_by_block);
    }
    reading.flush();
    reading.read.into_iter().collect()
}

#[derive(Default)]
struct Reading {
    read: Vec<TokenTree>,
    is_in_head: bool,
    /// What stands behind a `yield` in a head so far, and where that is.
    yielded: Option<(Vec<TokenTree>, Span)>,
}

impl Reading {
    fn take(&mut self, token: TokenTree, is_followed_by_block: bool) {
        if self.is_in_head && is_block(&token) && !self.is_operand(is_followed_by_block) {
            self.is_in_head = false;
            if let Some((yielded, span)) = self.yielded.take() {
                let mut group = Group::new(Delimiter::Parenthesis, yielded.into_iter().collect());
                group.set_span(span);
                self.read.push(group.into());
            }
        } else if self.ends_head(&token) {
            self.flush();
            self.is_in_head = false;
        }
        let begins = token_is(&token, &["yield"]).then(|| token.span());
        let opens = token_is(&token, &["if", "while", "match", "in"]);
        let token = match token {
            TokenTree::Group(group) if !self.is_behind_macro() => {
                let mut inside = Group::new(group.delimiter(), delimited(group.stream()));
                inside.set_span(group.span());
                inside.into()
            }
            other => other,
        };
        match &mut self.yielded {
            Some((yielded, _)) => yielded.push(token),
            None => self.read.push(token),
        }
        self.is_in_head |= opens;
        if let (true, None, Some(span)) = (self.is_in_head, &self.yielded, begins) {
            self.yielded = Some((Vec::new(), span));
        }
    }

    fn flush(&mut self) {
        if let Some((yielded, _)) = self.yielded.take() {
            self.read.extend(yielded);
        }
    }

    fn last(&self) -> &[TokenTree] {
        match &self.yielded {
            Some((yielded, _)) if !yielded.is_empty() => yielded,
            _ => &self.read,
        }
    }

    /// A block in a head that is not the one behind it.
    fn is_operand(&self, is_followed_by_block: bool) -> bool {
        match (self.last().last(), &self.yielded) {
            (Some(last), _) if token_is(last, &["unsafe", "async", "move", "const", "loop"]) => true,
            (_, Some((yielded, _))) => yielded.is_empty() && is_followed_by_block,
            _ => false,
        }
    }

    /// A `;`, or the `=>` behind the guard of an arm.
    fn ends_head(&self, token: &TokenTree) -> bool {
        let TokenTree::Punct(punct) = token else { return false };
        let is_arrow = punct.as_char() == '>'
            && matches!(self.last().last(), Some(TokenTree::Punct(equals)) if equals.as_char() == '=' && equals.spacing() == Spacing::Joint);
        punct.as_char() == ';' || is_arrow
    }

    /// What is in a macro's arguments only that macro knows.
    fn is_behind_macro(&self) -> bool {
        matches!(self.last(), [.., TokenTree::Ident(_), TokenTree::Punct(bang)] if bang.as_char() == '!')
    }
}

fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn token_is(token: &TokenTree, keywords: &[&str]) -> bool {
    matches!(token, TokenTree::Ident(ident) if keywords.iter().any(|keyword| ident == keyword))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn becomes(written: TokenStream, read: TokenStream) {
        assert_eq!(delimited(written).to_string(), read.to_string());
    }

    #[test]
    fn what_is_yielded_in_a_head_ends_before_the_block() {
        becomes(
            quote!(while let Some(x) = yield a + b { f(x); }),
            quote!(while let Some(x) = yield (a + b) {
                f(x);
            }),
        );
        becomes(
            quote!(if yield a { 1 } else if yield b { 2 }),
            quote!(if yield (a) {
                1
            } else if yield (b) {
                2
            }),
        );
        becomes(
            quote!(for x in yield a { match yield x { _ => {} } }),
            quote!(for x in yield (a) {
                match yield (x) {
                    _ => {}
                }
            }),
        );
        becomes(
            quote!(while yield { f(); }),
            quote!(while yield () {
                f();
            }),
        );
        becomes(
            quote!(if yield yield a { 1 }),
            quote!(if yield (yield a) {
                1
            }),
        );
        becomes(
            quote!(if yield unsafe { a } {
                1
            }),
            quote!(if yield (unsafe { a }) {
                1
            }),
        );
        becomes(
            quote!(if yield { a } {
                1
            }),
            quote!(if yield ({ a }) {
                1
            }),
        );
    }

    #[test]
    fn elsewhere_nothing_is_changed() {
        for same in [
            quote!(let x = yield S { a }; if b { c }),
            quote!(let Some(x) = yield a else { return };),
            quote!(match a {
                n if n == yield b => {
                    c
                }
                S { d } => yield S { d },
                _ => {}
            }),
            quote!(if (yield a) { b } else { yield c }),
            quote!(if a { yield b } yield S { c };),
            quote!(other! { if yield a { b } }),
        ] {
            becomes(same.clone(), same);
        }
    }
}
