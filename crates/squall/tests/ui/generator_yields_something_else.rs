use squall::generator::Generator;

fn main() {
    let _: Generator<'_, u32> = Generator::new(async |co| co.yield_("text").await);
}
