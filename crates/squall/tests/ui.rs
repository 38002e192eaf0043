//! What the attributes refuse, and the exact words and place of each refusal: these errors are read by people on their first day.

#[test]
fn attributes_refuse_what_they_cannot_run() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
