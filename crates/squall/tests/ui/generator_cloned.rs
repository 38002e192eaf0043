use squall::generator::Generator;

fn twice(generator: Generator<'_, u32>) -> (Generator<'_, u32>, Generator<'_, u32>) {
    (generator.clone(), generator)
}

fn main() {}
