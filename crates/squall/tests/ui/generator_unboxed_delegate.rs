use squall::generator::{Co, Generator, unboxed};
use std::pin::pin;

fn main() {
    let _: Generator<'_, u32> = Generator::new(async |co| {
        let delegate = pin!(unboxed(async |co: &Co<'_, u32>| co.yield_(1).await));
        co.yield_from(delegate).await;
    });
}
