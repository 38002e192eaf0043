fn main() {
    squall::run(async {
        let mut kept = None;
        squall::scope(async |s| kept = Some(s)).await;
        kept.unwrap().spawn(async {});
    });
}
