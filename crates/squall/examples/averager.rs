//! `yield from` with a value: a grouper delegates to one averager for each group, and what is sent goes straight to the averager.
//!
//! The delegate's `return` is the value of the expression `yield_from(…).await`, so the grouper gets each average without having seen a single number.
//!
//! Run it: `cargo run --example averager`

use squall::generator::{Generator, ResumeError, Step};

/// Takes numbers until `None`; returns their mean.
fn averager<'a>() -> Generator<'a, (), Option<f64>, f64> {
    Generator::new(async |co| {
        let (mut sum, mut n) = (0.0, 0_u32);
        while let Some(x) = co.yield_(()).await {
            sum += x;
            n += 1;
        }
        sum / f64::from(n)
    })
}

/// One row for each name.
fn report<'a>(names: &'a [&'a str]) -> Generator<'a, (), Option<f64>, Vec<(&'a str, f64)>> {
    Generator::new(async move |co| {
        let mut rows = Vec::new();
        for name in names {
            rows.push((*name, co.yield_from(averager()).await));
        }
        rows
    })
}

fn main() -> Result<(), ResumeError<Option<f64>, std::convert::Infallible>> {
    let groups: [(&str, &[f64]); 2] = [("girls", &[40.9, 38.5, 44.3]), ("boys", &[39.0, 40.8, 43.2, 40.8])];
    let names = groups.map(|(name, _)| name);
    let mut rows = report(&names);
    rows.start()?;
    for (_, weights) in groups {
        for weight in weights {
            rows.send(Some(*weight))?;
        }
        if let Step::Returned(rows) = rows.send(None)? {
            for (name, mean) in rows {
                println!("{name:>6}: {mean:.2} kg");
            }
        }
    }
    Ok(())
}
