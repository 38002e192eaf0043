use squall::fiber;

fn main() {
    fiber::scope(|s| {
        let of_the_body = String::from("gone when the body returns");
        s.spawn(|| of_the_body.len());
    });
}
