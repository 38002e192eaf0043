// The second option is wrong, the first is not.
#[squall::test(real, paused)]
async fn adds() {
    assert_eq!(1 + 1, 2);
}

fn main() {}
