use squall::fiber;

fn main() {
    squall::run(async {
        let words = vec!["lent"];
        fiber::spawn(|| words.len()).await.unwrap();
    });
}
