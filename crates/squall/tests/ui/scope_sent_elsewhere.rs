fn main() {
    squall::run(async {
        squall::scope(async |s| {
            let child = s.spawn(async {});
            std::thread::scope(|threads| {
                threads.spawn(move || drop(child));
            });
        })
        .await;
    });
}
