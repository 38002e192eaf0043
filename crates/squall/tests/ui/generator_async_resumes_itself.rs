use squall::generator::AsyncGenerator;

fn main() {
    let mut generator: Option<AsyncGenerator<'_, u32>> = None;
    generator = Some(AsyncGenerator::new(async |_| {
        generator.as_mut().unwrap().resume().await.unwrap();
    }));
    _ = generator.unwrap().resume();
}
