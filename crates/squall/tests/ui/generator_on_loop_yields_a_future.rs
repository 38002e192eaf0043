use squall::generator::{Generator, spawn_generator};

fn main() {
    squall::run(async {
        spawn_generator(Generator::new(async |co| _ = co.yield_(squall::time::sleep(std::time::Duration::ZERO)).await));
    });
}
