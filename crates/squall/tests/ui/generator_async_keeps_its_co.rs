use squall::generator::{AsyncCo, AsyncGenerator};

fn main() {
    let mut kept: Option<&AsyncCo<'_, u32>> = None;
    let _: AsyncGenerator<'_, u32> = AsyncGenerator::new(async |co| kept = Some(co));
}
