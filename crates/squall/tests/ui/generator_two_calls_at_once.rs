use squall::generator::AsyncGenerator;

async fn concurrent_next(mut generator: AsyncGenerator<'_, u32>) {
    let first = generator.resume();
    let second = generator.resume();
    _ = (first.await, second.await);
}

fn main() {}
