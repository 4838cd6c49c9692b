//! Dividing keys over partitions.

use super::chunk::Chunk;
use super::rows::Row;
use crate::operators::fold;

/// Rows per partition that a table of keys is meant for: it stays in the processor's cache.
const ROWS: usize = 1 << 16;
/// The most partitions.
const MOST: u32 = 10;

/// The partition of each key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partitioner {
    bits: u32,
}

impl Partitioner {
    /// Enough partitions for this many rows, and for each core.
    pub(super) fn new(rows: usize, cores: usize) -> Self {
        if rows < ROWS / 4 {
            return Self { bits: 0 };
        }
        let partitions = (rows / ROWS).max(cores * 4).next_power_of_two();
        Self { bits: partitions.trailing_zeros().min(MOST) }
    }

    pub(super) fn partitions(self) -> usize {
        1 << self.bits
    }

    #[inline]
    fn of(self, key: u128) -> usize {
        if self.bits == 0 {
            return 0;
        }
        // Other bits than those that the table of a partition looks at.
        let mixed = (fold(key) ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> (64 - self.bits)) as usize
    }

    /// The rows of some chunks, numbered from `first`, by partition.
    pub(super) fn divide(
        self,
        chunks: &[Chunk],
        first: usize,
        key: impl Fn(&Chunk) -> &[u128],
        takes: impl Fn(&Chunk, usize) -> bool,
    ) -> Vec<Vec<Row>> {
        let mut divided = vec![Vec::new(); self.partitions()];
        for (i, chunk) in chunks.iter().enumerate() {
            for (row, &key) in key(chunk).iter().enumerate() {
                if takes(chunk, row) {
                    divided[self.of(key)].push(Row::new(first + i, row));
                }
            }
        }
        divided
    }

    /// Rows again, by another key.
    pub(super) fn divide_rows(self, rows: &[Row], key: impl Fn(Row) -> u128) -> Vec<Vec<Row>> {
        let mut divided = vec![Vec::new(); self.partitions()];
        for &row in rows {
            divided[self.of(key(row))].push(row);
        }
        divided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_integers_are_spread_over_all_partitions() {
        let partitioner = Partitioner::new(1 << 22, 2);
        let mut counts = vec![0; partitioner.partitions()];
        (0..1_u128 << 16).for_each(|key| counts[partitioner.of(key)] += 1);
        let fair = (1 << 16) / counts.len();
        assert!(counts.iter().all(|&count| count > fair / 2 && count < fair * 2), "{counts:?}");
    }
}
