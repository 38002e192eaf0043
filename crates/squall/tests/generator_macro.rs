//! Bodies that say `yield`: in each place where an expression may stand, without a warning.
#![cfg(feature = "macros")]
#![deny(warnings)]
// What a macro must take is not what one would write.
#![allow(clippy::never_loop, clippy::same_item_push)]

use squall::generator::{AsyncGenerator, Generator, Raised, Step};
use squall::{async_generator, generator};

/// What it yields when it is sent 1, 2, 3 and so on, and what it returns.
fn run<R>(mut generator: Generator<'_, u32, u32, R>) -> (Vec<u32>, R) {
    let (mut yielded, mut step) = (Vec::new(), generator.start());
    loop {
        match step.unwrap() {
            Step::Yielded(value) => yielded.push(value),
            Step::Returned(value) => return (yielded, value),
        }
        step = generator.send(yielded.len() as u32);
    }
}

fn pair<'a>() -> Generator<'a, u32, u32, u32> {
    generator! { yield 50 + yield 51 }
}

#[derive(Clone, Copy)]
struct Point {
    x: u32,
}

#[test]
fn a_yield_in_a_head_ends_before_the_block() {
    fn heads<'a>(n: u32, takes_five: bool) -> Generator<'a, u32, u32, Vec<&'static str>> {
        generator! {
            let mut said = Vec::new();
            while let 1..3 = yield n {
                said.push("while");
            }
            if (yield n) == 4 {
                said.push("if");
            }
            match yield n {
                5 if takes_five => said.push("arm"),
                five if five == yield n => said.push("guard"),
                _ => said.push("neither"),
            }
            for _ in 5..yield n {
                said.push("for");
            }
            if (yield Point { x: 9 }.x) > 100 {
                said.push("never");
            } else if let Some(7..9) = Some(yield n) {
                said.push("else if");
            }
            said
        }
    }
    let said = vec!["while", "while", "if", "arm", "for", "else if"];
    assert_eq!(run(heads(3, true)), (vec![3, 3, 3, 3, 3, 3, 9, 3], said));
    let said = vec!["while", "while", "if", "neither", "for", "for"];
    assert_eq!(run(heads(3, false)), (vec![3, 3, 3, 3, 3, 3, 3, 9, 3], said));
}

#[test]
fn a_yield_stands_wherever_an_expression_may() {
    let generator: Generator<'_, u32, u32, u32> = generator! {
        let array = [yield 10, yield 11];
        let Some(third) = Some(yield 12) else { return 0 };
        let point = Point { x: yield 13 };
        let inside = async { yield 14 };
        let inside = inside.await;
        let broken = loop {
            break yield 15;
        };
        return array[0] + array[1] * 10 + third * 100 + point.x * 1000 + inside * 10_000 + broken * 100_000;
    };
    assert_eq!(run(generator), (vec![10, 11, 12, 13, 14, 15], 654_321));
    assert_eq!(run(pair()), (vec![51, 51], 2), "it takes the whole expression behind it");
}

#[test]
fn the_other_calls_may_be_written_in_braces() {
    let generator: Generator<'_, u32, u32, u32> = generator! {
        yield_from! { pair() }
        let second = yield_from! { pair() };
        if second == 4 {
            yield_from! { pair() }
        } else {
            0
        }
    };
    assert_eq!(run(generator), (vec![51, 51, 51, 53, 51, 55], 6));
}

#[test]
fn what_is_raised_and_caught_is_too() {
    let mut generator: Generator<'_, u32, (), u32, &'static str> = generator! {
        match try_yield!(1) {
            Ok(()) => 0,
            Err(Raised::Thrown(thrown)) => match raise!(thrown) {},
            Err(Raised::Closed) => 7,
        }
    };
    assert_eq!(generator.start(), Ok(Step::Yielded(1)));
    assert_eq!(generator.close(), Ok(Some(7)));
}

#[squall::test]
async fn an_asynchronous_body_awaits_beside() {
    let mut generator: AsyncGenerator<'_, u32, u32> = async_generator! {
        while let 1..3 = yield 5 {
            squall::yield_now().await;
            yield_from_async! { async_generator! { yield 6; } }
        }
    };
    let mut yielded = Vec::new();
    let mut step = generator.start().await;
    while let Ok(Step::Yielded(value)) = step {
        yielded.push(value);
        step = generator.send(yielded.len() as u32).await;
    }
    assert_eq!((yielded, step), (vec![5, 6, 5], Ok(Step::Returned(()))));
}
