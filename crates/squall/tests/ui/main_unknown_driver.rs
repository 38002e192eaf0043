// A driver that does not exist.
#[squall::main(driver = "kqueue")]
async fn main() {}
