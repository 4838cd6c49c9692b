//! The latest row of each id.

use super::chunk::Chunk;
use super::rows::{Entry, Found};
use crate::operators::Numbers;

/// The best row of an id so far.
#[derive(Clone, Copy)]
struct Best {
    age: (i64, u64),
    found: Found,
}

/// The best rows of numbered ids.
pub(super) struct Latest<'a> {
    chunks: &'a [Chunk],
    best: Vec<Best>,
}

impl<'a> Latest<'a> {
    const NONE: Best = Best { age: (i64::MIN, 0), found: Found::NONE };

    pub(super) fn new(chunks: &'a [Chunk]) -> Self {
        Self { chunks, best: Vec::new() }
    }

    #[inline]
    pub(super) fn offer(&mut self, id: u32, entry: Entry) {
        let Entry { row, version, .. } = entry;
        let offered = Best { age: self.chunks[row.chunk()].age(row.row()), found: Found { row, version } };
        match self.best.get_mut(id as usize) {
            Some(best) => {
                // As everywhere, of two rows of one age the one that is read later wins.
                if best.found.row.is_none() || offered.age >= best.age {
                    *best = offered;
                }
            }
            None => {
                self.best.resize(id as usize, Self::NONE);
                self.best.push(offered);
            }
        }
    }

    /// The rows that are left, by number of their id: neither deleted nor filtered out.
    pub(super) fn rows(self) -> Vec<Found> {
        let chunks = self.chunks;
        let counts = |found: Found| !found.row.is_none() && chunks[found.row.chunk()].counts(found.row.row());
        let left = |best: Best| if counts(best.found) { best.found } else { Found::NONE };
        self.best.into_iter().map(left).collect()
    }
}

/// The latest rows among these, whose keys are ids.
pub(super) fn latest_rows(chunks: &[Chunk], entries: impl Iterator<Item = Entry>) -> Vec<Found> {
    let mut numbers = Numbers::default();
    let mut latest = Latest::new(chunks);
    entries.for_each(|entry| latest.offer(numbers.number(entry.key), entry));
    latest.rows().into_iter().filter(|found| !found.row.is_none()).collect()
}
