fn main() {
    squall::run(async {
        squall::try_scope(async |s| {
            s.spawn(async { 42 });
            std::io::Result::Ok(())
        })
        .await
        .unwrap();
    });
}
