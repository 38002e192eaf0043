//! The bars: what squall has to reach in each row, and against whom.

use crate::rounds::Outcome;
use crate::runtimes::{FLOOR, SQUALL};
use crate::stats::{max, median, paired_ratio};

#[derive(Clone, Copy)]
pub enum Against {
    /// So many times the floor's figure of the same run.
    Floor,
    /// So many times the best peer's figure of the same run.
    BestPeer,
    /// So many times another row of squall's own.
    Row(&'static str),
    /// So many bytes.
    Bytes,
}

pub struct Bar {
    pub row: &'static str,
    pub limit: f64,
    pub against: Against,
}

const fn bar(row: &'static str, limit: f64, against: Against) -> Bar {
    Bar { row, limit, against }
}

pub const BARS: &[Bar] = &[
    bar("yield x1k", 1.6, Against::Floor),
    bar("yield x1k", 0.35, Against::BestPeer),
    bar("yield x1", 2.5, Against::Floor),
    bar("callback x1", 1.5, Against::Row("yield x1")),
    bar("generator send", 3.0, Against::Row("boxed poll")),
    bar("generator send, 1k deep", 2.0, Against::Row("generator send")),
    bar("spawn+join", 1.7, Against::Floor),
    bar("scope x1000", 2.0, Against::Row("spawn x1000")),
    bar("scope x1000", 0.6, Against::Row("FuturesUnordered x1000")),
    bar("scope x1000", 0.5, Against::BestPeer),
    bar("local-slot ping-pong", 1.4, Against::Floor),
    bar("oneshot request", 0.5, Against::BestPeer),
    bar("timer insert+cancel", 0.33, Against::BestPeer),
    bar("sleep 1 ms late p50", 1.3, Against::BestPeer),
    bar("sleep 1 ms late p99", 1.3, Against::BestPeer),
    bar("cross-thread round trip", 1.1, Against::BestPeer),
    bar("queue, 1 consumer", 2.0, Against::Floor),
    bar("queue, 100 consumers", 2.0, Against::Floor),
    bar("parked task", 144.0, Against::Bytes),
    bar("sleeping task", 208.0, Against::Bytes),
    bar("idle fiber", 4608.0, Against::Bytes),
];

/// How a bar came out.
pub struct Verdict {
    pub bar: &'static Bar,
    pub measured: f64,
    /// The peer it was held against.
    pub peer: Option<String>,
}

impl Verdict {
    pub fn is_met(&self) -> bool {
        self.measured <= self.bar.limit
    }
}

/// The figures of one row.
pub struct RowOutcomes<'a>(pub Vec<&'a Outcome>);

impl<'a> RowOutcomes<'a> {
    pub fn of(outcomes: &'a [Outcome], row: &str) -> RowOutcomes<'a> {
        RowOutcomes(outcomes.iter().filter(|outcome| outcome.row == row).collect())
    }

    pub fn rounds_of(&self, runtime: &str) -> Option<&'a [f64]> {
        let outcome = self.0.iter().find(|outcome| outcome.runtime == runtime)?;
        Some(&*outcome.rounds).filter(|rounds| !rounds.is_empty())
    }

    /// The peer with the smallest median. The floor is none.
    pub fn best_peer(&self) -> Option<&'a Outcome> {
        let peers = self.0.iter().filter(|outcome| {
            outcome.runtime != FLOOR && outcome.runtime != SQUALL && !outcome.rounds.is_empty()
        });
        peers.copied().min_by(|a, b| median(&a.rounds).total_cmp(&median(&b.rounds)))
    }
}

/// The verdicts on the bars whose rows were measured.
pub fn judge(outcomes: &[Outcome]) -> Vec<Verdict> {
    let judge = |bar: &'static Bar| {
        let row = RowOutcomes::of(outcomes, bar.row);
        let squall = row.rounds_of(SQUALL)?;
        let (measured, peer) = match bar.against {
            Against::Floor => (paired_ratio(squall, row.rounds_of(FLOOR)?), None),
            Against::BestPeer => {
                let peer = row.best_peer()?;
                (paired_ratio(squall, &peer.rounds), Some(peer.runtime.clone()))
            }
            Against::Row(other) => {
                (paired_ratio(squall, RowOutcomes::of(outcomes, other).rounds_of(SQUALL)?), None)
            }
            Against::Bytes => (max(squall), None),
        };
        Some(Verdict { bar, measured, peer })
    };
    BARS.iter().filter_map(judge).collect()
}
