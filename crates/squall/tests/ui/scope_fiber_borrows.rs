fn main() {
    squall::run(async {
        let outside = String::from("a fiber of an async scope may not borrow");
        squall::scope(async |s| {
            s.spawn_fiber(|| println!("{outside}"));
        })
        .await;
    });
}
