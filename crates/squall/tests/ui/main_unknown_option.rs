// Another runtime's option: this one has a single thread.
#[squall::main(worker_threads = 4)]
async fn main() {}
