//! The house rules that no compiler knows: which module may import which, how long a file may be, what nothing is called.
//!
//! The levels are the architecture. One import upwards compiles, works, and from then on two layers can only be understood
//! together, so it has to fail somewhere, with the name of the line. A scanner of tokens does it: a full parser (syn) was
//! rejected, it would be the largest dependency of these tests, and paths that begin with `crate`, `super` or `self` are
//! all that can leave a module.

use std::fs;
use std::path::{Path, PathBuf};

/// Every module at the top of `src/`, with its level. An import goes to a strictly lower one.
const LEVELS: &[(&str, u8)] = &[
    ("record", 0),
    ("timer", 0),
    ("driver", 1),
    ("task", 2),
    ("event_loop", 3),
    ("time", 4),
    ("sync", 4),
    ("blocking", 4),
    ("fiber", 5),
    ("signal", 5),
    ("io", 5),
    ("scope", 6),
    ("net", 6),
    ("fs", 6),
    ("process", 6),
    ("callback", 7),
    ("generator", 7),
    ("sim", 8),
    ("observe", 8),
    ("multi", 8),
];

const MOST_LINES: usize = 500;
const NAMES_THAT_SAY_NOTHING: &[&str] = &["utils", "util", "common", "misc", "helpers", "helper"];

fn level_of(module: &str) -> Option<u8> {
    LEVELS.iter().find(|(name, _)| *name == module).map(|(_, level)| *level)
}

// --- the scanner ---------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// The words and signs of a source text: comments and the contents of literals left out, `::` as one sign.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < text.len() {
        let begin = at;
        let here = &text[at..];
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        if let Some(length) = comment(here).or_else(|| literal(here)) {
            at += length;
        } else if here.starts_with(&['r', '#']) && here.get(2).is_some_and(is_word) {
            at += 2;
        } else if is_word(&here[0]) {
            at += here.iter().take_while(|c| is_word(c)).count();
            tokens.push(Token { text: text[begin..at].iter().collect(), line });
        } else {
            at += if here.starts_with(&[':', ':']) { 2 } else { 1 };
            if !here[0].is_whitespace() {
                tokens.push(Token { text: text[begin..at].iter().collect(), line });
            }
        }
        line += text[begin..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// The length of the comment that begins here.
fn comment(text: &[char]) -> Option<usize> {
    if text.starts_with(&['/', '/']) {
        return Some(text.iter().take_while(|c| **c != '\n').count());
    }
    if !text.starts_with(&['/', '*']) {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// The length of the string or character that begins here. (A lifetime is none.)
fn literal(text: &[char]) -> Option<usize> {
    let prefix = text.iter().take_while(|c| matches!(c, 'b' | 'c' | 'r')).count();
    let is_raw = prefix > 0 && prefix <= 2 && text[prefix - 1] == 'r';
    let hashes = if is_raw { text[prefix..].iter().take_while(|c| **c == '#').count() } else { 0 };
    let open = prefix + hashes;
    match text.get(open)? {
        '"' if is_raw => {
            let mut close = vec!['"'];
            close.extend(std::iter::repeat_n('#', hashes));
            let body = &text[open + 1..];
            let end = (0..body.len()).find(|at| body[*at..].starts_with(&close)).unwrap_or(body.len());
            Some((open + 1 + end + close.len()).min(text.len()))
        }
        '"' if prefix <= 1 => Some(open + 1 + quoted(&text[open + 1..], '"')),
        '\'' if prefix <= 1 && (text.get(open + 1) == Some(&'\\') || text.get(open + 2) == Some(&'\'')) => {
            Some(open + 1 + quoted(&text[open + 1..], '\''))
        }
        _ => None,
    }
}

fn quoted(body: &[char], close: char) -> usize {
    let mut at = 0;
    while at < body.len() && body[at] != close {
        at += if body[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(body.len())
}

/// A path as the crate's root would write it, and where it stands.
#[derive(Debug, PartialEq)]
struct Import {
    path: Vec<String>,
    line: usize,
}

/// Every path in a file of `module` that begins with `crate`, `self` or `super`, groups taken apart.
fn imports(source: &str, module: &[String]) -> Vec<Import> {
    let tokens = tokens(source);
    let word = |at: usize| tokens.get(at).map_or("", |token| &token.text);
    let mut module = module.to_vec();
    let (mut found, mut depth, mut inner) = (Vec::new(), 0, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match word(at) {
            "mod" if word(at + 2) == "{" => {
                module.push(word(at + 1).to_string());
                inner.push(depth);
                (depth, at) = (depth + 1, at + 2);
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inner.last() == Some(&depth) {
                    inner.pop();
                    module.pop();
                }
            }
            "crate" | "self" | "super" if word(at + 1) == "::" => {
                at = follow(&tokens, at, &module, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows one path, or a whole tree of them, from `at`; notes where it leads; gives the place after it.
fn follow(tokens: &[Token], mut at: usize, from: &[String], found: &mut Vec<Import>) -> usize {
    let word = |at: usize| tokens.get(at).map_or("", |token| &token.text);
    let mut path = from.to_vec();
    let line = tokens[at].line;
    loop {
        match word(at) {
            "crate" => path.clear(),
            "super" => _ = path.pop(),
            "self" => {}
            "{" => {
                at += 1;
                while !matches!(word(at), "}" | "") {
                    at = if word(at) == "," { at + 1 } else { follow(tokens, at, &path, found) };
                }
                return at + 1;
            }
            name => path.push(if word(at + 1) == "!" { format!("{name}!") } else { name.to_string() }),
        }
        at += 1;
        if word(at) != "::" || word(at + 1) == "<" {
            break;
        }
        at += 1;
    }
    if word(at) == "as" {
        at += 2;
    }
    found.push(Import { path, line });
    at
}

// --- the rules ------------------------------------------------------------------------------------------------------

/// What a file of `module` imports against the rule. The root itself may use everything.
fn forbidden_imports(source: &str, module: &[String]) -> Vec<(usize, String)> {
    let Some(home) = module.first() else { return Vec::new() };
    let Some(level) = level_of(home) else {
        return vec![(
            1,
            format!("the module {home} has no level: give it one in DESIGN's table and in tests/house.rs"),
        )];
    };
    let judge = |import: &Import| {
        let path = import.path.join("::");
        match import.path.first().map(String::as_str) {
            Some(name) if name == *home || name.ends_with('!') && import.path.len() == 1 => None,
            Some(name) => match level_of(name) {
                Some(its) if its < level => None,
                Some(its) => Some(format!(
                    "{home} (level {level}) uses crate::{path} (level {its}): a module uses strictly lower levels only; \
                     move what both need further down, or let the upper one pass it in"
                )),
                None => Some(format!(
                    "{home} uses crate::{path} through the front door: lib.rs re-exports for users, name the module it lives in"
                )),
            },
            None => Some(format!("{home} uses the root of the crate itself: name the module that is meant")),
        }
    };
    imports(source, module)
        .iter()
        .filter_map(|import| judge(import).map(|what| (import.line, what)))
        .collect()
}

/// What the front door holds beyond modules and re-exports.
fn items_in_the_front_door(source: &str) -> Vec<(usize, String)> {
    let items = ["fn", "struct", "enum", "union", "trait", "impl", "static", "type", "macro_rules"];
    let is_item = |token: &&Token| items.contains(&token.text.as_str());
    let tokens = tokens(source);
    let breach = |token: &Token| {
        (
            token.line,
            format!("`{}` in lib.rs: the front door re-exports only, put it in a module", token.text),
        )
    };
    tokens.iter().filter(is_item).map(breach).collect()
}

/// `task/inbox.rs` is the module task::inbox, `task/mod.rs` is task, `lib.rs` is the root.
fn module_of(file: &Path) -> Vec<String> {
    let stem = file.with_extension("");
    let mut module: Vec<_> = stem.iter().map(|name| name.to_str().unwrap().to_string()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// All `.rs` files below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Every `.rs` file of the repository, and its text.
fn all_sources() -> Vec<(PathBuf, String)> {
    let folders = ["crates", "bench", "scripts"].map(|name| repository().join(name));
    let files = folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| sources(folder));
    files
        .map(|file| (file.strip_prefix(repository()).unwrap().into(), fs::read_to_string(&file).unwrap()))
        .collect()
}

/// The files of the runtime itself, named from its `src/`.
fn runtime_sources() -> Vec<(PathBuf, String)> {
    let below =
        |(file, text): (PathBuf, String)| Some((file.strip_prefix("crates/squall/src").ok()?.into(), text));
    let files: Vec<_> = all_sources().into_iter().filter_map(below).collect();
    assert!(files.len() > 1, "the runtime's sources are not where this test looks for them");
    files
}

fn assert_none(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{} breaches of the house rules:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn modules_import_strictly_lower_levels_only() {
    let mut breaches = Vec::new();
    for (file, text) in runtime_sources() {
        for (line, what) in forbidden_imports(&text, &module_of(&file)) {
            breaches.push(format!("crates/squall/src/{}:{line}: {what}", file.display()));
        }
    }
    assert_none(breaches);
}

#[test]
fn the_front_door_only_re_exports() {
    let text = fs::read_to_string(repository().join("crates/squall/src/lib.rs")).unwrap();
    let breaches = items_in_the_front_door(&text);
    assert_none(
        breaches.into_iter().map(|(line, what)| format!("crates/squall/src/lib.rs:{line}: {what}")).collect(),
    );
}

#[test]
fn every_file_says_first_why_it_exists() {
    let silent = |(file, text): (PathBuf, String)| {
        let opens = text.lines().find(|line| !line.is_empty() && !line.starts_with("#!")).unwrap_or_default();
        let told = opens.starts_with("//!") || opens.starts_with("// ");
        (!told).then(|| format!("{}:1: open the file with `//!` and why it exists", file.display()))
    };
    assert_none(all_sources().into_iter().filter(|(file, _)| !is_fixture(file)).filter_map(silent).collect());
}

/// Sources that a test feeds to the compiler to see them refused.
fn is_fixture(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "ui")
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = |(file, text): (PathBuf, String)| {
        let lines = text.lines().count();
        let what = format!(
            "{}:{lines}: {lines} lines: split it by mechanism, {MOST_LINES} is the most",
            file.display()
        );
        (lines > MOST_LINES).then_some(what)
    };
    assert_none(all_sources().into_iter().filter_map(long).collect());
}

#[test]
fn nothing_has_a_name_that_says_nothing() {
    let vague = |(file, _): (PathBuf, String)| {
        let stem = file.with_extension("");
        let name = stem.iter().find(|name| NAMES_THAT_SAY_NOTHING.iter().any(|vague| **name == **vague))?;
        Some(format!("{}:1: `{}` says nothing: name it after what it holds", file.display(), name.display()))
    };
    assert_none(all_sources().into_iter().filter_map(vague).collect());
}

// --- the rules can fail ---------------------------------------------------------------------------------------------

mod scanner {
    use super::*;

    fn module(path: &str) -> Vec<String> {
        module_of(Path::new(path))
    }

    fn paths(source: &str, file: &str) -> Vec<String> {
        imports(source, &module(file)).iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn files_are_modules() {
        assert_eq!(module("task/inbox.rs"), ["task", "inbox"]);
        assert_eq!(module("driver/poll/mod.rs"), ["driver", "poll"]);
        assert_eq!(module("timer/mod.rs"), ["timer"]);
        assert!(module("lib.rs").is_empty());
    }

    #[test]
    fn groups_are_taken_apart_at_every_depth() {
        let source = "use crate::{a, b::{c, self, d::*}, e as f};";
        assert_eq!(paths(source, "task/x.rs"), ["a", "b::c", "b", "b::d::*", "e"]);
    }

    #[test]
    fn paths_count_wherever_they_stand() {
        let source =
            "fn f(x: &crate::net::Tcp) -> Vec<super::Y> { crate::fs::open::<u8>(self::z); $crate::m!() }";
        assert_eq!(paths(source, "task/x.rs"), ["net::Tcp", "task::Y", "fs::open", "task::x::z", "m!"]);
    }

    #[test]
    fn super_climbs_from_files_folders_and_inline_modules() {
        assert_eq!(paths("use super::super::net::X;", "task/inbox.rs"), ["net::X"]);
        assert_eq!(paths("use super::net::X;", "task/mod.rs"), ["net::X"]);
        assert_eq!(
            paths("use super::{super::{super::net}, y};", "driver/poll/epoll.rs"),
            ["net", "driver::poll::y"]
        );
        let nested = "mod tests { use super::*; mod deep { use super::super::super::z; } } use super::w;";
        assert_eq!(paths(nested, "task/inbox.rs"), ["task::inbox::*", "task::z", "task::w"]);
    }

    #[test]
    fn comments_and_literals_hide_nothing_and_are_no_paths() {
        let source = r##"
            // crate::a  /* and `"` and '
            /* crate::b /* crate::c */ crate::d */
            const S: &str = "crate::e \" // crate::f"; const R: &str = r#"" crate::g"#; const B: &[u8] = b"\\";
            const Q: char = '"'; const N: u8 = b'\''; fn f<'a>(x: &'a str) {} use crate::seen;
        "##;
        assert_eq!(imports(source, &module("task/x.rs")), [Import { path: vec!["seen".into()], line: 5 }]);
    }

    fn verdicts(source: &str, file: &str) -> Vec<String> {
        forbidden_imports(source, &module(file))
            .into_iter()
            .map(|(line, what)| format!("{line}: {what}"))
            .collect()
    }

    #[test]
    fn downwards_is_allowed_and_the_own_module() {
        let source = "use crate::{timer::Wheel, driver::Driver}; use crate::task::inbox; use super::slot; pub(crate) fn f() {}";
        assert_eq!(verdicts(source, "task/x.rs"), [""; 0]);
        assert_eq!(verdicts("pub use net::*; use crate::sim::X;", "lib.rs"), [""; 0]);
    }

    #[test]
    fn upwards_and_sideways_are_breaches_with_line_and_advice() {
        let source = "use crate::timer;\nuse crate::{driver, event_loop::Core};\n#[cfg(test)]\nmod tests { use super::super::super::net; }";
        let found = verdicts(source, "task/x.rs");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("2: task (level 2) uses crate::event_loop::Core (level 3): "),
            "{found:?}"
        );
        assert!(found[1].starts_with("4: task (level 2) uses crate::net (level 6): "), "{found:?}");
        assert_eq!(
            verdicts("use super::super::sync::Queue;", "time/sleep.rs").len(),
            1,
            "the same level is sideways"
        );
    }

    #[test]
    fn the_front_door_and_modules_without_a_level_are_breaches() {
        assert!(verdicts("use crate::spawn;", "net/tcp.rs")[0].contains("front door"));
        assert!(verdicts("use super::*;", "task/mod.rs")[0].contains("front door"));
        assert!(verdicts("", "attic/mod.rs")[0].contains("no level"));
        assert_eq!(items_in_the_front_door("pub use a::b;\npub fn helper() {}")[0].0, 2);
        assert!(items_in_the_front_door("//! fn\n#![doc = \"struct\"]\nmod a; pub mod net;").is_empty());
    }
}
