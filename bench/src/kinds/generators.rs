//! Generators of squall's, resumed by hand: those of the row "generator send", so that nothing else of the library is compiled for them and the counts of that row stay what
//! they are.

use super::ours::keep;
use crate::rounds::Effort;
use crate::sched::CpuTime;
use crate::sched::generators::nested;
use squall::generator::{Co, Generator, Step};
use std::hint::black_box;

pub fn generator_1(effort: Effort) -> Vec<f64> {
    generators(1, effort.times(10_000_000))
}

pub fn generator_1000(effort: Effort) -> Vec<f64> {
    generators(1000, effort.times(10_000))
}

fn begun() -> Generator<'static, u64, u64> {
    let mut one = nested(0);
    assert_eq!(one.start(), Ok(Step::Yielded(1)));
    one
}

fn generators(generators: u64, times: u64) -> Vec<f64> {
    let mut many: Vec<_> = (0..generators).map(|_| begun()).collect();
    let mut began = CpuTime::now();
    for n in 0..times + times / 10 {
        if n == times / 10 {
            began = CpuTime::now();
        }
        for one in &mut many {
            assert_eq!(black_box(one).send(n), Ok(Step::Yielded(n + 1)));
        }
    }
    vec![began.each(generators * times)]
}

pub fn create_generator(effort: Effort) -> Vec<f64> {
    let times = effort.times(3_000_000);
    let began = CpuTime::now();
    for _ in 0..times {
        let mut one: Generator<'_, u64, u64> = Generator::new(async |_: &Co<'_, u64, u64>| ());
        assert_eq!(black_box(&mut one).start(), Ok(Step::Returned(())));
    }
    vec![began.each(times)]
}

pub fn keep_generators(effort: Effort) -> Vec<f64> {
    keep(effort.times(100_000), begun, || {})
}
