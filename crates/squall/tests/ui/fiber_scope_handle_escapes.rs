use squall::fiber;

fn main() {
    let escaped = fiber::scope(|s| s.spawn(|| 42));
    drop(escaped);
}
