fn main() {
    squall::run(async {
        squall::scope(async |s| {
            let local = String::from("gone when the body ends");
            s.spawn(async { println!("{local}") });
        })
        .await;
    });
}
