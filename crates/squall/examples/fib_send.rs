//! Sending into a generator: the Fibonacci numbers, with a caller that may say where to go on.
//!
//! `send` does two things at once: its argument becomes the value of the `yield_` that the generator waits at, and it gives what the generator
//! yields next. A generator waits at no yield before it was started, so the first value comes from `start`.
//!
//! Run it: `cargo run --example fib_send`

use squall::generator::{Generator, Step};

/// Yields the numbers; a pair that is sent is where it goes on.
fn fibonacci<'a>() -> Generator<'a, u64, Option<(u64, u64)>> {
    Generator::new(async |co| {
        let (mut a, mut b) = (0, 1);
        loop {
            (a, b) = match co.yield_(a).await {
                Some(pair) => pair,
                None => (b, a + b),
            };
        }
    })
}

fn main() {
    let mut numbers = fibonacci();
    let Ok(Step::Yielded(first)) = numbers.start() else { unreachable!("it yields for ever") };
    print!("{first}");
    for n in 1..16 {
        // Half-way it is told to begin again with the Lucas numbers.
        let sent = (n == 8).then_some((2, 1));
        let Ok(Step::Yielded(number)) = numbers.send(sent) else { unreachable!("it yields for ever") };
        print!("{}{number}", if n == 8 { "\n" } else { " " });
    }
    println!();
}
