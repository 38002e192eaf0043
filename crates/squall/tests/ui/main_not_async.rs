// There is no future to run.
#[squall::main]
fn main() {}
