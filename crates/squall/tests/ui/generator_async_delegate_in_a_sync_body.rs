use squall::generator::{AsyncGenerator, Generator};

fn ticks<'a>() -> AsyncGenerator<'a, u32> {
    AsyncGenerator::new(async |co| co.yield_(1).await)
}

fn main() {
    let _: Generator<'_, u32> = Generator::new(async |co| co.yield_from(ticks()).await);
}
