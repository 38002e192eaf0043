use squall::generator::{Co, Generator};

fn main() {
    let _: Generator<'static, usize> = Generator::new(async |co| {
        let local = String::from("of the outer body");
        let borrowed = &local;
        let delegate = Generator::new(async move |co: &Co<'_, usize>| co.yield_(borrowed.len()).await);
        co.yield_from(delegate).await;
    });
}
