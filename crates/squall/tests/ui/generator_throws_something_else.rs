use squall::generator::Generator;

fn main() {
    let mut generator: Generator<'_, u32, (), (), std::io::Error> = Generator::new(async |co| co.yield_(1).await);
    _ = generator.throw("text");
}
