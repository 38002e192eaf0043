use squall::generator::{Co, Generator};

fn main() {
    let mut kept: Option<&Co<'_, u32>> = None;
    let _: Generator<'_, u32> = Generator::new(async |co| kept = Some(co));
}
