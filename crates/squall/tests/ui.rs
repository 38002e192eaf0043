//! What the compiler says where squall refuses something: these errors are read by people on their first day.

/// The exact words and place of each refusal of the attributes.
#[test]
fn attributes_refuse_what_they_cannot_run() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/main_*.rs");
    cases.compile_fail("tests/ui/test_*.rs");
}

/// What Python finds out when it runs: awaiting a generator, delegating to what is none, yielding what nobody expects, resuming oneself, two calls at once. And what keeps
/// generators sound: a body cannot keep its `Co`, a delegate cannot borrow its outer body's locals, and what is pinned stays where it is.
#[test]
fn misuse_of_generators_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/generator_*.rs");
}

/// What keeps borrowing fibers sound: only a scope's children borrow, only what encloses the scope, and their handles stay inside.
#[cfg(feature = "fiber")]
#[test]
fn misuse_of_fibers_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/fiber_*.rs");
}

/// What keeps borrowing children sound: they borrow what encloses the scope and nothing of the body's; handles and scopes stay inside; what the loop runs by itself borrows nothing.
#[cfg(feature = "fiber")]
#[test]
fn misuse_of_scopes_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/scope_*.rs");
}
