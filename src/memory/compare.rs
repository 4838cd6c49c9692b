//! The stored rows of a key, as the comparison sees them.

use super::chunk::Chunk;
use super::plan::{Plan, STALE_FLAG, TARGET_FLAG};
use super::rows::{Found, Row, Side};
use crate::update::StoredRows;

/// A version that is NULL, among numbered ones.
const NULL: u64 = 0;

/// The stored side of a partition.
pub(super) struct Stored<'a> {
    chunks: &'a [Chunk],
    side: &'a Side,
    /// Whether the stored rows of a key are one orphan.
    together: bool,
}

impl<'a> Stored<'a> {
    pub(super) fn new(plan: &Plan, chunks: &'a [Chunk], side: &'a Side) -> Self {
        Self { chunks, side, together: plan.rows != StoredRows::Ranked }
    }

    pub(super) fn has(&self, key: usize) -> bool {
        !self.side.positions(key).is_empty()
    }

    fn rows(&self, key: usize) -> impl Iterator<Item = Found> + '_ {
        self.side.positions(key).map(|position| self.side.at(position))
    }

    fn flag(&self, row: Row, flag: usize) -> bool {
        self.chunks[row.chunk()].flags[flag].value(row.row())
    }

    /// Whether a sample that is stored has to be computed again: any of its rows passes the target filters, and any
    /// differs, has no provenance or meets a staleness predicate. An expected provenance that is NULL always differs.
    pub(super) fn is_stale(&self, key: usize, provenance: u64) -> bool {
        self.rows(key).any(|stored| self.flag(stored.row, TARGET_FLAG))
            && (provenance == NULL
                || self.rows(key).any(|stored| {
                    stored.version == NULL
                        || stored.version != provenance
                        || self.flag(stored.row, STALE_FLAG)
                }))
    }

    /// The orphans of a key that nothing is expected of: rows that pass the target filters, the children of one parent
    /// together.
    pub(super) fn orphans(&self, key: usize, mut each: impl FnMut(Row)) {
        if self.together {
            if self.rows(key).any(|stored| self.flag(stored.row, TARGET_FLAG))
                && let Some(first) = self.rows(key).next()
            {
                each(first.row);
            }
            return;
        }
        self.rows(key).map(|stored| stored.row).filter(|&row| self.flag(row, TARGET_FLAG)).for_each(each);
    }
}
