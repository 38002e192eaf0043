fn main() {
    squall::run(async {
        let child = squall::scope(async |s| s.spawn(async { 1 })).await;
        child.await;
    });
}
