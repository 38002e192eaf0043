use squall::generator::{Co, unboxed};

fn main() {
    let mut generator = unboxed(async |co: &Co<'_, u32>| co.yield_(1).await);
    _ = generator.resume();
}
