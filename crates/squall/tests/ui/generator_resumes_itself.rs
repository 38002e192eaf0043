use squall::generator::Generator;

fn main() {
    let mut generator: Option<Generator<'_, u32>> = None;
    generator = Some(Generator::new(async |_| {
        generator.as_mut().unwrap().resume().unwrap();
    }));
    generator.unwrap().resume().unwrap();
}
