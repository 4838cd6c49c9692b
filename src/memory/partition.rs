//! Dividing keys over partitions.

use super::rows::{Entry, Row};
use crate::operators::fold;

/// There are 2 to this many partitions: at a million rows the table of one stays in the processor's cache.
const BITS: u32 = 6;

/// The number of partitions.
pub(super) const PARTITIONS: usize = 1 << BITS;

/// The partition of a key.
#[inline]
pub(super) fn partition_of(key: u128) -> usize {
    // Other bits than those that the table of a partition looks at.
    let mixed = (fold(key) ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> (64 - BITS)) as usize
}

/// Rows by partition of their key, each with all that comparing it needs, so that a partition is read front to back.
#[derive(Debug)]
pub(super) struct Divided {
    /// The number of the first chunk: entries count chunks from there.
    pub first: usize,
    partitions: Vec<Vec<Entry>>,
}

impl Divided {
    pub(super) fn new() -> Self {
        Self { first: 0, partitions: vec![Vec::new(); PARTITIONS] }
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.partitions[partition_of(entry.key)].push(entry);
    }

    /// The entries of a partition.
    pub(super) fn entries(&self, partition: usize) -> impl Iterator<Item = Entry> + '_ {
        let first = self.first;
        self.partitions[partition].iter().map(move |&entry| {
            let row =
                if first == 0 { entry.row } else { Row::new(entry.row.chunk() + first, entry.row.row()) };
            Entry { row, ..entry }
        })
    }

    pub(super) fn len(&self, partition: usize) -> usize {
        self.partitions[partition].len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_integers_are_spread_over_all_partitions() {
        let mut counts = [0; PARTITIONS];
        (0..1_u128 << 16).for_each(|key| counts[partition_of(key)] += 1);
        let fair = (1 << 16) / counts.len();
        assert!(counts.iter().all(|&count| count > fair / 2 && count < fair * 2), "{counts:?}");
    }

    #[test]
    fn chunks_are_counted_from_the_first() {
        let mut divided = Divided::new();
        divided.push(Entry { key: 7, row: Row::new(1, 3), version: 9 });
        divided.first = 10;
        let found: Vec<Entry> = divided.entries(partition_of(7)).collect();
        assert_eq!((found[0].row.chunk(), found[0].row.row(), found[0].version), (11, 3, 9));
    }
}
