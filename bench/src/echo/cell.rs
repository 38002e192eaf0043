//! One cell of the matrix: how many connections, how long a message, how many of them under way on each connection.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    pub connections: usize,
    pub bytes: usize,
    pub outstanding: usize,
}

/// All that are measured unless some are named.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for bytes in [64, 1024, 16 * 1024] {
        for connections in [1, 50, 1_000, 10_000] {
            cells.push(Cell { connections, bytes, outstanding: 1 });
        }
        cells.push(Cell { connections: 50, bytes, outstanding: 16 });
    }
    cells
}

impl Cell {
    /// The files that each process of the cell has open at least, and some more.
    fn files(self) -> usize {
        self.connections + 32
    }

    /// Why this machine cannot do it.
    pub fn refused(self, open_files: usize) -> Option<String> {
        (self.files() > open_files).then(|| {
            format!(
                "{} connections need {} open files in one process and the limit is {open_files}",
                self.connections,
                self.files()
            )
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.connections, self.bytes, self.outstanding)
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Cell, String> {
        let wrong = || format!("{text:?} is no cell: write CONNECTIONSxBYTESxOUTSTANDING, as in 50x64x1");
        let numbers: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
        match numbers.map_err(|_| wrong())?[..] {
            [connections @ 1..=60_000, bytes @ 1..=65_536, outstanding @ 1..=64] => {
                Ok(Cell { connections, bytes, outstanding })
            }
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
