// Nobody calls it with any.
#[squall::main]
async fn main(port: u16, host: String) {
    println!("{host}:{port}");
}
