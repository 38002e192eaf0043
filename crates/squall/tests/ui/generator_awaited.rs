use squall::generator::Generator;

async fn waits(generator: Generator<'_, u32>) {
    generator.await;
}

fn main() {}
