//! The latest row of each id.

use super::chunk::Chunk;
use super::rows::Row;
use crate::operators::Numbers;

/// The best row of an id so far.
#[derive(Clone, Copy)]
struct Best {
    age: (i64, u64),
    row: Row,
}

/// The best rows of numbered ids.
pub(super) struct Latest<'a> {
    chunks: &'a [Chunk],
    best: Vec<Best>,
}

impl<'a> Latest<'a> {
    pub(super) fn new(chunks: &'a [Chunk], known: usize) -> Self {
        let none = Best { age: (i64::MIN, 0), row: Row::NONE };
        Self { chunks, best: vec![none; known] }
    }

    #[inline]
    pub(super) fn offer(&mut self, id: u32, row: Row) {
        let age = self.chunks[row.chunk()].age(row.row());
        let offered = Best { age, row };
        match self.best.get_mut(id as usize) {
            Some(best) => {
                // As everywhere, of two rows of one age the one that is read later wins.
                if best.row.is_none() || offered.age >= best.age {
                    *best = offered;
                }
            }
            None => {
                let none = Best { age: (i64::MIN, 0), row: Row::NONE };
                self.best.resize(id as usize, none);
                self.best.push(offered);
            }
        }
    }

    /// The rows that are left, by number of their id: neither deleted nor filtered out.
    pub(super) fn rows(self) -> Vec<Row> {
        let chunks = self.chunks;
        self.best
            .into_iter()
            .map(|best| {
                let row = best.row;
                let counts = !row.is_none() && chunks[row.chunk()].counts(row.row());
                if counts { row } else { Row::NONE }
            })
            .collect()
    }
}

/// The latest rows among these, where ids are not the keys.
pub(super) fn latest_rows(chunks: &[Chunk], rows: &[Row]) -> Vec<Row> {
    let mut numbers = Numbers::with_capacity(rows.len());
    let mut latest = Latest::new(chunks, 0);
    for &row in rows {
        if let Some(ids) = &chunks[row.chunk()].ids {
            latest.offer(numbers.number(ids[row.row()]), row);
        }
    }
    latest.rows().into_iter().filter(|row| !row.is_none()).collect()
}
