//! Which files are written anew together.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::store::snapshot::TablePart;

/// Files that are written anew in one go; more would have more names than are good for a plan.
const MOST_AT_ONCE: usize = 50_000;

/// The runs of neighbouring parts to write anew: those that have rows to drop (`touched`), and those that are smaller than
/// half of `file_size`, where that makes fewer files. With `full` all parts are.
///
/// Only neighbours are merged: a file in between would have to be both earlier and later than the rows that it separates.
pub(super) fn runs(
    parts: &[TablePart],
    touched: &BTreeSet<usize>,
    file_size: u64,
    full: bool,
) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        if !(full || touched.contains(&index) || part.bytes < file_size / 2) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == index && files(parts, run) + part.files.len() <= MOST_AT_ONCE => {
                run.end = index + 1
            }
            _ => runs.push(index..index + 1),
        }
    }
    runs.retain(|run| full || files(parts, run) > 1 || touched.range(run.clone()).next().is_some());
    runs
}

/// How many files a run has.
pub(super) fn files(parts: &[TablePart], run: &Range<usize>) -> usize {
    parts[run.clone()].iter().map(|part| part.files.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn parts(sizes: &[u64]) -> Vec<TablePart> {
        sizes.iter().enumerate().map(|(i, &bytes)| TablePart { files: i..i + 1, bytes }).collect()
    }

    #[test]
    fn small_neighbours_are_merged_and_large_files_stay() {
        let none = BTreeSet::new();
        let parts = parts(&[100, 1, 2, 60, 3, 90, 4, 5, 6]);
        assert_eq!(runs(&parts, &none, 100, false), [1..3, 6..9]);
        assert_eq!(runs(&parts, &none, 100, true), from_ref(&(0..9)));
        assert_eq!(runs(&parts, &BTreeSet::from([0, 4]), 100, false), [0..3, 4..5, 6..9]);
        assert_eq!(runs(&[], &none, 100, true), Vec::<Range<usize>>::new());
    }

    #[test]
    fn files_of_one_part_are_merged() {
        let parts = [TablePart { files: 0..3, bytes: 10 }];
        assert_eq!(runs(&parts, &BTreeSet::new(), 100, false), from_ref(&(0..1)));
    }
}
