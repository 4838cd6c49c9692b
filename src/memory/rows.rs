//! Places of rows, and the rows of an input by key.

use std::ops::Range;

/// A row of an input: its chunk and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row(u64);

impl Row {
    /// No row.
    pub(super) const NONE: Self = Self(u64::MAX);

    pub(super) fn new(chunk: usize, row: usize) -> Self {
        Self(((chunk as u64) << 32) | row as u64)
    }

    pub(super) fn chunk(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub(super) fn row(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// A row with its key, and its version as [`Keys::version`](crate::operators::Keys::version) has it, if it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub key: u128,
    pub row: Row,
    pub version: u64,
}

/// A row with its version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub row: Row,
    pub version: u64,
}

impl Found {
    /// No row.
    pub(super) const NONE: Self = Self { row: Row::NONE, version: 0 };
}

/// The rows of one input within a partition, by the number of their key.
pub(super) enum Side {
    /// At most one row per key.
    One(Vec<Found>),
    /// Any number of rows per key: those of key `k` are `rows[starts[k]..starts[k + 1]]`.
    Many { starts: Vec<u32>, rows: Vec<Found> },
}

impl Side {
    /// Sorts rows by the numbers of their keys; rows of one key keep their order.
    pub(super) fn many(numbered: &[(u32, Found)], keys: usize) -> Self {
        let mut starts = vec![0_u32; keys + 1];
        for (key, _) in numbered {
            starts[*key as usize + 1] += 1;
        }
        for key in 0..keys {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut rows = vec![Found::NONE; numbered.len()];
        for (key, row) in numbered {
            let at = &mut next[*key as usize];
            rows[*at as usize] = *row;
            *at += 1;
        }
        Self::Many { starts, rows }
    }

    /// The positions of a key's rows.
    #[inline]
    pub(super) fn positions(&self, key: usize) -> Range<usize> {
        match self {
            Self::One(rows) => match rows.get(key) {
                Some(found) if !found.row.is_none() => key..key + 1,
                _ => 0..0,
            },
            Self::Many { starts, .. } => match (starts.get(key), starts.get(key + 1)) {
                (Some(start), Some(end)) => *start as usize..*end as usize,
                _ => 0..0,
            },
        }
    }

    /// The row at a position, and its version.
    #[inline]
    pub(super) fn at(&self, position: usize) -> Found {
        match self {
            Self::One(rows) | Self::Many { rows, .. } => rows[position],
        }
    }

    /// All positions.
    pub(super) fn rows_mut(&mut self) -> &mut [Found] {
        match self {
            Self::One(rows) | Self::Many { rows, .. } => rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_key() {
        let row = |i| Found { row: Row::new(1, i), version: 0 };
        let side = Side::many(&[(2, row(0)), (0, row(1)), (2, row(2))], 4);
        let rows = |key| side.positions(key).map(|at| side.at(at).row.row()).collect::<Vec<_>>();
        assert_eq!(
            [rows(0), rows(1), rows(2), rows(3), rows(4)],
            [vec![1], vec![], vec![0, 2], vec![], vec![]]
        );
        let side = Side::One(vec![Found::NONE, row(5)]);
        assert_eq!((side.positions(0), side.positions(1), side.positions(2)), (0..0, 1..2, 0..0));
        assert_eq!((side.at(1).row.chunk(), side.at(1).row.row()), (1, 5));
    }
}
