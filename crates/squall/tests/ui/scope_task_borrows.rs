fn main() {
    squall::run(async {
        let outside = String::from("a task may not borrow");
        squall::scope(async |s| {
            s.spawn_task(async { println!("{outside}") });
        })
        .await;
    });
}
