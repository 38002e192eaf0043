use squall::generator::AsyncGenerator;

async fn waits(generator: AsyncGenerator<'_, u32>) {
    generator.await;
}

fn main() {}
