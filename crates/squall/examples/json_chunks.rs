//! A lexer and a parser that are fed text as it arrives: JSON documents in chunks that end anywhere, in the middle of a word or ten brackets deep.
//!
//! A parser that *pulls* its input reads best, each rule a function, but it has to have it all, or a thread to block. One that is *pushed* may be
//! fed from a socket, but it is written as a table of states. As generators they are both: each rule is a body that asks for the next token where it
//! needs one (`yield_`), calls other rules (`yield_from`, whose value is what the rule has read), and raises what is wrong; and the caller pushes.
//! A token costs the same at any depth, since rules that wait for an inner one are not passed through.
//!
//! Run it: `cargo run --example json_chunks`, or `… -- FILE`

use squall::generator::{Co, Generator, ResumeError, Step};
use std::fmt;
use std::process::ExitCode;

// --- the lexer: characters in, tokens out ------------------------------------------------------------------------------

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Sign(char),
    Text(String),
    Number(f64),
    Word(String),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    line: u32,
}

/// What is wrong, and in which line.
#[derive(Debug)]
struct Wrong {
    line: u32,
    what: String,
}

/// What the lexer is sent.
#[derive(Debug, Default)]
enum Input {
    /// "Go on with what you have": it answers a token.
    #[default]
    Nothing,
    Char(char),
    End,
}

/// What it yields.
enum Lexed {
    Token(Token),
    /// The next character, please.
    More,
}

type Lexer<'a> = Generator<'a, Lexed, Input, (), Wrong>;
type LexerCo<'a> = Co<'a, Lexed, Input, Wrong>;

async fn next_char(co: &LexerCo<'_>, line: &mut u32) -> Option<char> {
    loop {
        match co.yield_(Lexed::More).await {
            Input::Char(c) => {
                *line += u32::from(c == '\n');
                return Some(c);
            }
            Input::End => return None,
            Input::Nothing => {}
        }
    }
}

fn lexer<'a>() -> Lexer<'a> {
    Generator::new(async |co: &LexerCo<'a>| {
        let mut line = 1;
        let mut next = next_char(co, &mut line).await;
        while let Some(c) = next {
            if c.is_whitespace() {
                next = next_char(co, &mut line).await;
                continue;
            }
            let begin = line;
            let kind = match c {
                '"' => {
                    let text = text(co, &mut line).await;
                    next = next_char(co, &mut line).await;
                    Kind::Text(text)
                }
                c if c.is_alphanumeric() || c == '-' => {
                    // A word or a number ends with the first character that is not its own, and that is the next token's.
                    let mut word = String::from(c);
                    next = next_char(co, &mut line).await;
                    while let Some(c) = next.filter(|c| c.is_alphanumeric() || "+-.".contains(*c)) {
                        word.push(c);
                        next = next_char(co, &mut line).await;
                    }
                    word.parse().map_or(Kind::Word(word), Kind::Number)
                }
                sign => {
                    next = next_char(co, &mut line).await;
                    Kind::Sign(sign)
                }
            };
            co.yield_(Lexed::Token(Token { kind, line: begin })).await;
        }
    })
}

/// Up to the closing quote.
async fn text(co: &LexerCo<'_>, line: &mut u32) -> String {
    let mut text = String::new();
    loop {
        let c = match next_char(co, line).await {
            Some('"') => return text,
            Some('\\') => match next_char(co, line).await {
                Some('n') => Some('\n'),
                Some('t') => Some('\t'),
                other => other,
            },
            other => other,
        };
        match c {
            Some(c) => text.push(c),
            None => match co.raise(Wrong { line: *line, what: "a text without its end".into() }).await {},
        }
    }
}

// --- the parser: tokens in, a value out --------------------------------------------------------------------------------

#[derive(Debug)]
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Each rule is one: it asks for tokens and returns what it has read.
type Rule<'a, R> = Generator<'a, (), Token, R, Wrong>;
type RuleCo<'a> = Co<'a, (), Token, Wrong>;

async fn unexpected(co: &RuleCo<'_>, token: Token, wanted: &str) -> ! {
    let what = format!("{wanted} was expected, and {} came", token.kind);
    match co.raise(Wrong { line: token.line, what }).await {}
}

fn document<'a>() -> Rule<'a, Json> {
    Generator::new(async |co: &RuleCo<'a>| {
        let first = co.yield_(()).await;
        co.yield_from(value(first)).await
    })
}

fn value<'a>(first: Token) -> Rule<'a, Json> {
    Generator::new(async move |co: &RuleCo<'a>| match &first.kind {
        Kind::Sign('[') => Json::Array(co.yield_from(array()).await),
        Kind::Sign('{') => Json::Object(co.yield_from(object()).await),
        Kind::Text(text) => Json::Text(text.clone()),
        Kind::Number(number) => Json::Number(*number),
        Kind::Word(word) if word == "null" => Json::Null,
        Kind::Word(word) if word == "true" || word == "false" => Json::Bool(word == "true"),
        _ => unexpected(co, first, "a value").await,
    })
}

fn array<'a>() -> Rule<'a, Vec<Json>> {
    Generator::new(async |co: &RuleCo<'a>| {
        let mut items = Vec::new();
        loop {
            match co.yield_(()).await {
                Token { kind: Kind::Sign(']'), .. } if items.is_empty() => return items,
                first => items.push(co.yield_from(value(first)).await),
            }
            match co.yield_(()).await {
                Token { kind: Kind::Sign(','), .. } => {}
                Token { kind: Kind::Sign(']'), .. } => return items,
                other => unexpected(co, other, "`,` or `]`").await,
            }
        }
    })
}

fn object<'a>() -> Rule<'a, Vec<(String, Json)>> {
    Generator::new(async |co: &RuleCo<'a>| {
        let mut members = Vec::new();
        loop {
            let name = match co.yield_(()).await {
                Token { kind: Kind::Sign('}'), .. } if members.is_empty() => return members,
                Token { kind: Kind::Text(name), .. } => name,
                other => unexpected(co, other, "a name").await,
            };
            match co.yield_(()).await {
                Token { kind: Kind::Sign(':'), .. } => {}
                other => unexpected(co, other, "`:`").await,
            }
            let first = co.yield_(()).await;
            members.push((name, co.yield_from(value(first)).await));
            match co.yield_(()).await {
                Token { kind: Kind::Sign(','), .. } => {}
                Token { kind: Kind::Sign('}'), .. } => return members,
                other => unexpected(co, other, "`,` or `}`").await,
            }
        }
    })
}

// --- the pipeline ------------------------------------------------------------------------------------------------------

struct Pipeline {
    lexer: Lexer<'static>,
    /// Of the document that has begun.
    parser: Option<Rule<'static, Json>>,
    /// Of the last token.
    line: u32,
}

impl Pipeline {
    fn new() -> Pipeline {
        Pipeline { lexer: lexer(), parser: None, line: 1 }
    }

    /// Pushes what has arrived; `out` gets each document that is whole.
    fn push(&mut self, chunk: &str, mut out: impl FnMut(Json)) -> Result<(), Wrong> {
        for c in chunk.chars() {
            self.put(Input::Char(c), &mut out)?;
        }
        Ok(())
    }

    fn end(mut self, mut out: impl FnMut(Json)) -> Result<(), Wrong> {
        self.put(Input::End, &mut out)?;
        match self.parser {
            None => Ok(()),
            Some(_) => Err(Wrong { line: self.line, what: "the last document is not whole".into() }),
        }
    }

    fn put(&mut self, input: Input, out: &mut impl FnMut(Json)) -> Result<(), Wrong> {
        if !self.lexer.is_started() {
            wrong(self.lexer.start())?;
        }
        let mut input = input;
        while let Some(Lexed::Token(token)) = wrong(self.lexer.send(input))?.yielded() {
            input = Input::Nothing;
            self.line = token.line;
            let parser = match &mut self.parser {
                Some(parser) => parser,
                none => {
                    let parser = none.insert(document());
                    wrong(parser.start())?;
                    parser
                }
            };
            if let Step::Returned(json) = wrong(parser.send(token))? {
                self.parser = None;
                out(json);
            }
        }
        Ok(())
    }
}

/// What a body raised. (Nothing else can come: the pipeline starts both, and sends to neither once it has ended.)
fn wrong<T, S: fmt::Debug>(step: Result<T, ResumeError<S, Wrong>>) -> Result<T, Wrong> {
    step.map_err(|error| match error {
        ResumeError::Thrown(wrong) => wrong,
        other => unreachable!("{other:?}"),
    })
}

const SAMPLE: &str = r#"
{"name": "协程", "since": 1958, "kinds": ["generator", "task", "fiber"]}
[1, 2.5, -3e2, [[[[[]]]]], true, null]
{"a": {"b": {"c": "a \"quoted\" word"}}}
["not", "closed"}
"#;

/// Seven characters at a time, as bad as a network can be.
fn read(text: &str) -> Result<(), Wrong> {
    let characters: Vec<char> = text.chars().collect();
    let (mut pipeline, mut arrived) = (Pipeline::new(), 0);
    for chunk in characters.chunks(7) {
        arrived += chunk.len();
        let chunk: String = chunk.iter().collect();
        pipeline.push(&chunk, |json| println!("after {arrived:3} characters: {json}"))?;
    }
    pipeline.end(|json| println!("at the end: {json}"))
}

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        // The last line of the sample is wrong on purpose.
        println!("{}", read(SAMPLE).expect_err("it is wrong"));
        return ExitCode::SUCCESS;
    };
    match std::fs::read_to_string(&file).map(|text| read(&text)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(wrong)) => {
            eprintln!("{file}: {wrong}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::from(2)
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Sign(sign) => write!(f, "`{sign}`"),
            Kind::Text(text) => write!(f, "the text {text:?}"),
            Kind::Number(number) => write!(f, "the number {number}"),
            Kind::Word(word) => write!(f, "the word {word}"),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(number) => write!(f, "{number}"),
            Json::Text(text) => write!(f, "{text:?}"),
            Json::Array(items) => {
                f.write_str("[")?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (n, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{name:?}: {value}", if n > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}
