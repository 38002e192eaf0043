//! What CPython's `test_generators.py` checks and no other test here does, among it the programs of its doctests, which are PEP 255's. The table of
//! all its tests is in `python/cpython_tests.md`, and the last test here sees that what the table names is there.

mod trace;

use squall::generator::{Co, Generator, Raised, ResumeError, Step};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use trace::Trace;

use Step::{Returned, Yielded};

// --- the protocol ------------------------------------------------------------------------------------------------------

#[test]
fn closures_and_functions_make_the_same_generators() {
    type Echo<'a> = Generator<'a, u32, u32, u32>;
    fn named<'a>() -> Echo<'a> {
        Generator::new(async |co| co.yield_(1).await)
    }
    fn delegates<'a>() -> Echo<'a> {
        Generator::new(async |co| co.yield_from(named()).await)
    }
    let closure = || Echo::new(async |co| co.yield_(1).await);
    let closure_delegates = || Echo::new(async |co| co.yield_from(named()).await);
    for mut echo in [named(), delegates(), closure(), closure_delegates()] {
        assert_eq!(echo.start(), Ok(Yielded(1)));
        assert_eq!(echo.send(2), Ok(Returned(2)));
    }
}

#[test]
fn a_returned_value_may_be_anything_even_a_step_or_an_error() {
    type Odd = Result<Step<u32, ()>, ResumeError<u32, ()>>;
    let mut returns: Generator<'_, u32, Option<Odd>, Odd> =
        Generator::new(async |co: &Co<'_, u32, Option<Odd>>| co.yield_(1).await.unwrap());
    assert_eq!(returns.start(), Ok(Yielded(1)));
    assert_eq!(returns.send(Some(Err(ResumeError::Finished))), Ok(Returned(Err(ResumeError::Finished))));
}

#[test]
fn a_throw_through_a_chain_may_be_answered_by_returning() {
    fn answers<'a>() -> Generator<'a, u32, (), &'static str, u8> {
        Generator::new(async |co| match co.try_yield(1).await {
            Err(Raised::Thrown(2)) => "interrupted",
            _ => "went on",
        })
    }
    let mut outer: Generator<'_, u32, (), &str, u8> =
        Generator::new(async |co| co.yield_from(answers()).await);
    outer.start().unwrap();
    assert_eq!(outer.throw(2), Ok(Returned("interrupted")));
}

#[test]
fn a_handler_may_raise_another_error_or_the_same_one_later() {
    let mut generator: Generator<'_, u32, (), (), u32> = Generator::new(async |co: &Co<'_, u32, (), u32>| {
        let Err(Raised::Thrown(kept)) = co.try_yield(1).await else { return };
        co.yield_(2).await;
        let Err(Raised::Thrown(thrown)) = co.try_yield(3).await else { return };
        co.raise(kept * 10 + thrown).await;
    });
    generator.start().unwrap();
    assert_eq!(generator.throw(4), Ok(Yielded(2)));
    assert_eq!(generator.resume(), Ok(Yielded(3)));
    assert_eq!(generator.throw(5), Err(ResumeError::Thrown(45)));
    assert!(generator.is_finished());
}

#[test]
fn closing_is_not_caught_as_an_error() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut generator: Generator<'_, u32, (), (), &str> = Generator::new(async move |co| {
        let _finally = says.at_drop("finally");
        if let Err(Raised::Thrown(_)) = co.try_yield(1).await {
            says.say("caught");
        }
    });
    generator.start().unwrap();
    assert_eq!(generator.close(), Ok(Some(())));
    assert_eq!(trace.take(), ["finally"]);
}

#[test]
fn one_that_would_ignore_its_exit_is_dropped_without_being_asked() {
    let trace = Trace::default();
    let says = trace.clone();
    let mut stubborn: Generator<'_, u32> = Generator::new(async move |co| {
        let _finally = says.at_drop("finally");
        while co.try_yield(1).await.is_err() {
            says.say("asked");
        }
    });
    stubborn.start().unwrap();
    drop(stubborn);
    assert_eq!(trace.take(), ["finally"]);
}

#[test]
fn its_state_can_be_asked_for() {
    let mut outer: Generator<'_, u32> = Generator::new(async |co| {
        co.yield_from(Generator::new(async |co| co.yield_(1).await)).await;
        co.yield_(2).await;
    });
    let mut states = Vec::new();
    for _ in 0..4 {
        states.push((outer.is_started(), outer.is_finished()));
        outer.next();
    }
    assert_eq!(states, [(false, false), (true, false), (true, false), (true, true)]);
}

#[test]
fn a_yield_may_stand_wherever_an_expression_may() {
    let mut generator: Generator<'_, &str, u32, Vec<u32>> = Generator::new(async |co| {
        let mut row = vec![1, 2];
        row[co.yield_("a").await as usize] = 27;
        row[co.yield_("b").await as usize] += co.yield_("c").await;
        let mut count = 0;
        while count < 20 {
            count += co.yield_("d").await;
            row.push(count);
        }
        row
    });
    assert_eq!(generator.start(), Ok(Yielded("a")));
    // What is added is evaluated before the place that it is added to.
    for (sent, comes) in [(0, "c"), (5, "b"), (1, "d"), (10, "d")] {
        assert_eq!(generator.send(sent), Ok(Yielded(comes)));
    }
    assert_eq!(generator.send(10), Ok(Returned(vec![27, 7, 10, 20])));
}

// --- the programs of the doctests --------------------------------------------------------------------------------------

fn up_to<'a>(n: u32) -> Generator<'a, u32> {
    Generator::new(async move |co| {
        for i in 0..n {
            co.yield_(i).await;
        }
    })
}

#[test]
fn one_goes_back_to_whoever_resumed_it_last() {
    fn begins<'a>(trace: &Trace) -> Generator<'a, u32> {
        let mut numbers = up_to(4);
        trace.say(format!("maker {}", numbers.next().unwrap()));
        numbers
    }
    let trace = Trace::default();
    for n in begins(&trace) {
        trace.say(format!("caller {n}"));
    }
    assert_eq!(trace.take(), ["maker 0", "caller 1", "caller 2", "caller 3"]);
    let calls: Generator<'_, u32> = Generator::new(async |co| {
        for n in up_to(3) {
            co.yield_(n).await;
        }
    });
    assert_eq!(calls.collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn returning_early_ends_it_and_yielding_nothing_is_a_value() {
    let returns: Generator<'_, u32> = Generator::new(async |co| {
        co.yield_(1).await;
        for n in 2.. {
            co.yield_(n).await;
            if n == 2 {
                return;
            }
        }
    });
    assert_eq!(returns.collect::<Vec<_>>(), [1, 2]);
    let nothings: Generator<'_, ()> = Generator::new(async |co| {
        for _ in 0..4 {
            co.yield_(()).await;
        }
    });
    assert_eq!(nothings.count(), 4);
}

/// PEP 255's example of nested handlers; an error of the body's own is a `Result` here.
#[test]
fn handlers_and_finalisers_nest_as_in_a_function() {
    let generator: Generator<'_, u32> = Generator::new(async |co| {
        let divides = async |by: u32| 1_u32.checked_div(by).ok_or("by zero");
        let inner = async {
            co.yield_(1).await;
            let tried: Result<(), &str> = async {
                co.yield_(2).await;
                divides(0).await?;
                co.yield_(3).await;
                Ok(())
            }
            .await;
            if let Err(error) = tried {
                co.yield_(4).await;
                co.yield_(5).await;
                return Err(error);
            }
            co.yield_(7).await;
            Ok(())
        };
        if inner.await.is_err() {
            co.yield_(8).await;
        }
        co.yield_(9).await;
    });
    assert_eq!(generator.collect::<Vec<_>>(), [1, 2, 4, 5, 8, 9]);
}

struct Tree {
    label: char,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
}

fn tree(labels: &[char]) -> Option<Box<Tree>> {
    let middle = labels.len() / 2;
    let label = *labels.get(middle)?;
    Some(Box::new(Tree { label, left: tree(&labels[..middle]), right: tree(&labels[middle + 1..]) }))
}

#[test]
fn a_tree_is_walked_in_order_by_recursion_and_by_a_stack() {
    fn recursive<'a>(tree: &'a Option<Box<Tree>>) -> Generator<'a, char> {
        Generator::new(async move |co| {
            let Some(tree) = tree else { return };
            co.yield_from(recursive(&tree.left)).await;
            co.yield_(tree.label).await;
            co.yield_from(recursive(&tree.right)).await;
        })
    }
    fn by_a_stack<'a>(tree: &'a Option<Box<Tree>>) -> Generator<'a, char> {
        Generator::new(async move |co| {
            let (mut above, mut at) = (Vec::new(), tree.as_deref());
            loop {
                while let Some(tree) = at {
                    above.push(tree);
                    at = tree.left.as_deref();
                }
                let Some(tree) = above.pop() else { return };
                co.yield_(tree.label).await;
                at = tree.right.as_deref();
            }
        })
    }
    let alphabet: Vec<char> = ('A'..='Z').collect();
    let tree = tree(&alphabet);
    assert_eq!(recursive(&tree).collect::<Vec<_>>(), alphabet);
    assert_eq!(by_a_stack(&tree).collect::<Vec<_>>(), alphabet);
}

#[test]
fn combinations_come_in_order() {
    fn combinations<'a>(from: &'a [u32], k: usize) -> Generator<'a, Vec<u32>> {
        Generator::new(async move |co| {
            if k == 0 {
                co.yield_(Vec::new()).await;
            } else if let [first, rest @ ..] = from {
                for mut rest in combinations(rest, k - 1) {
                    rest.insert(0, *first);
                    co.yield_(rest).await;
                }
                co.yield_from(combinations(rest, k)).await;
            }
        })
    }
    let pairs: Vec<_> = combinations(&[1, 2, 3, 4], 2).collect();
    assert_eq!(pairs, [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]]);
    let counts: Vec<_> = (0..6).map(|k| combinations(&[1, 2, 3, 4], k).count()).collect();
    assert_eq!(counts, [1, 4, 6, 4, 1, 0]);
}

/// Union and find: a set that was merged asks its parent's generator from then on.
#[test]
fn generators_that_ask_one_another_find_the_roots_of_merged_sets() {
    struct Set {
        parent: Cell<Option<usize>>,
        finds: RefCell<Option<Generator<'static, usize>>>,
    }
    fn find(sets: &Rc<Vec<Set>>, at: usize) -> usize {
        sets[at].finds.borrow_mut().as_mut().unwrap().next().unwrap()
    }
    let make = |_| Set { parent: Cell::new(None), finds: RefCell::default() };
    let sets: Rc<Vec<Set>> = Rc::new((0..8).map(make).collect());
    for at in 0..8 {
        let all = sets.clone();
        let finds = Generator::new(async move |co: &Co<'static, usize>| {
            loop {
                let root = match all[at].parent.get() {
                    None => at,
                    Some(parent) => find(&all, parent),
                };
                co.yield_(root).await;
            }
        });
        *sets[at].finds.borrow_mut() = Some(finds);
    }
    let roots = || (0..8).map(|at| find(&sets, at)).collect::<Vec<_>>();
    assert_eq!(roots(), [0, 1, 2, 3, 4, 5, 6, 7]);
    for (at, into) in [(5, 2), (0, 5), (2, 7), (3, 4), (4, 7)] {
        sets[at].parent.set(Some(into));
    }
    assert_eq!(roots(), [7, 1, 7, 7, 7, 7, 6, 7]);
    // Each holds all the others: the circle is opened by hand.
    sets.iter().for_each(|set| drop(set.finds.take()));
}

fn from<'a>(first: u64) -> Generator<'a, u64> {
    Generator::new(async move |co| {
        for n in first.. {
            co.yield_(n).await;
        }
    })
}

#[test]
fn a_sieve_puts_a_generator_before_the_others_for_each_prime() {
    fn sieve<'a>(mut numbers: Generator<'a, u64>) -> Generator<'a, u64> {
        Generator::new(async move |co| {
            let prime = numbers.next().unwrap();
            co.yield_(prime).await;
            let others = Generator::new(async move |co: &Co<'a, u64>| {
                for n in numbers {
                    if n % prime != 0 {
                        co.yield_(n).await;
                    }
                }
            });
            co.yield_from(sieve(others)).await;
        })
    }
    let primes: Vec<_> = sieve(from(2)).take(12).collect();
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37]);
}

#[test]
fn merged_multiples_come_in_order_and_each_once() {
    fn times<'a>(factor: u64, numbers: Generator<'a, u64>) -> Generator<'a, u64> {
        Generator::new(async move |co| {
            for n in numbers {
                co.yield_(n * factor).await;
            }
        })
    }
    fn merge<'a>(mut a: Generator<'a, u64>, mut b: Generator<'a, u64>) -> Generator<'a, u64> {
        Generator::new(async move |co| {
            let (mut from_a, mut from_b) = (a.next(), b.next());
            while let (Some(x), Some(y)) = (from_a, from_b) {
                co.yield_(x.min(y)).await;
                if x <= y {
                    from_a = a.next();
                }
                if y <= x {
                    from_b = b.next();
                }
            }
        })
    }
    fn hamming<'a>() -> Generator<'a, u64> {
        Generator::new(async |co| {
            co.yield_(1).await;
            let others = merge(times(2, hamming()), merge(times(3, hamming()), times(5, hamming())));
            co.yield_from(others).await;
        })
    }
    let numbers: Vec<_> = hamming().take(15).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20, 24]);
}

#[test]
fn backtracking_is_a_generator_for_each_row() {
    fn queens<'a>(size: usize, row: usize, placed: &'a RefCell<Vec<usize>>) -> Generator<'a, Vec<usize>> {
        Generator::new(async move |co| {
            if row == size {
                let solution = placed.borrow().clone();
                co.yield_(solution).await;
                return;
            }
            for column in 0..size {
                let is_free = placed
                    .borrow()
                    .iter()
                    .enumerate()
                    .all(|(other, at)| *at != column && at.abs_diff(column) != row - other);
                if is_free {
                    placed.borrow_mut().push(column);
                    co.yield_from(queens(size, row + 1, placed)).await;
                    placed.borrow_mut().pop();
                }
            }
        })
    }
    let placed = RefCell::default();
    let size = if cfg!(miri) { 4 } else { 8 };
    let solutions: Vec<_> = queens(size, 0, &placed).collect();
    match size {
        8 => assert_eq!((solutions.len(), &solutions[0][..]), (92, &[0, 4, 7, 5, 2, 6, 1, 3][..])),
        _ => assert_eq!(solutions, [[1, 3, 0, 2], [2, 0, 3, 1]]),
    }
}

// --- the table ---------------------------------------------------------------------------------------------------------

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn every_test_that_the_table_names_is_there() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let table = std::fs::read_to_string(tests.join("python/cpython_tests.md")).unwrap();
    let (mut rows, mut named) = (BTreeSet::new(), 0);
    let mut section = "";
    for line in table.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, cpython, here, _, _] = cells[..] else { continue };
        if !cpython.starts_with('`') {
            continue;
        }
        assert!(rows.insert((section, cpython)), "{cpython} stands twice in {section}");
        let places: Vec<&str> = here.split('`').filter(|part| part.contains("::")).collect();
        for place in &places {
            let (file, test) = place.split_once("::").unwrap();
            let file = tests.join(file).with_extension("rs");
            let source =
                std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{place}: no {}", file.display()));
            assert!(source.contains(&format!("fn {test}(")), "{place} is not there");
        }
        let cases: Vec<&str> = here.split('`').filter(|part| part.starts_with("ui/")).collect();
        for case in &cases {
            assert!(tests.join(case).with_extension("stderr").is_file(), "{case} is not there");
        }
        named += places.len() + cases.len();
        assert!(!places.is_empty() || !cases.is_empty() || here == "–", "{cpython}: {here}");
    }
    assert!(rows.len() > 150 && named > 100, "{} rows, {named} tests", rows.len());
}
