//! Which file of a write each of its batches goes to.
//!
//! Rows that several partitions have in turns come in no order, though those of each partition do. So there is a file for
//! each sequence of batches that is in the order of the ids; how many there are is for the rows to say.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use deltalake::kernel::Add;

use super::increasing::{Bound, Increasing, is_increasing};

/// Files that are written at the same time at most.
const RUNS: usize = 16;
/// Bytes of rows that they hold in memory at most, together; encoded they are about a tenth of that.
const BYTES: usize = 2 << 30;

/// The files of a write.
#[derive(Debug)]
pub(super) struct Runs {
    ids: Vec<String>,
    /// Rows that a file holds in memory until it is large enough.
    held: usize,
    runs: Vec<Increasing>,
    /// The ids of batches, and the file that they went to.
    batches: Vec<(Bound, Bound, usize)>,
    /// Whether more than one file may be written.
    several: bool,
    /// The file of batches that are in no order, once there was one.
    mixed: Option<usize>,
}

impl Runs {
    /// `held`: rows that a file holds in memory. With `several`, whose rows must have each id once, there may be more than
    /// one file.
    pub(super) fn new(ids: Vec<String>, held: usize, several: bool) -> Self {
        Self { ids, held, runs: Vec::new(), batches: Vec::new(), several, mixed: None }
    }

    /// The number of the file for these rows: one that has rows already, or the next.
    pub(super) fn place(&mut self, batch: &RecordBatch) -> usize {
        let place = self.mixed.unwrap_or_else(|| self.of_order(batch));
        if place == self.runs.len() {
            self.runs.push(Increasing::new(self.ids.clone()));
        }
        self.runs[place].add(batch);
        match self.ends(batch) {
            Some((first, last)) if self.runs[place].holds() => self.batches.push((first, last, place)),
            // From now on there is no more order to be kept.
            _ => {
                self.runs[place].give_up();
                self.mixed = Some(place);
            }
        }
        place
    }

    fn of_order(&self, batch: &RecordBatch) -> usize {
        let columns = self.ids.iter().map(|id| batch.column_by_name(id).cloned()).collect::<Option<Vec<_>>>();
        let is_ordered = |columns: &Vec<ArrayRef>| is_increasing(columns).unwrap_or(false);
        let Some(columns) = columns.filter(|columns| self.several && is_ordered(columns)) else { return 0 };
        // The closest one: the others may have what comes next.
        let mut closest: Option<usize> = None;
        for (number, run) in self.runs.iter().enumerate().filter(|(_, run)| run.is_before(&columns)) {
            if closest.is_none_or(|closest| self.runs[closest].is_behind(run)) {
                closest = Some(number);
            }
        }
        let bytes = batch.get_array_memory_size() / batch.num_rows().max(1) * self.held;
        let most = RUNS.min(BYTES / bytes.max(1));
        match closest {
            Some(closest) => closest,
            None if self.runs.len() < most => self.runs.len(),
            None => 0,
        }
    }

    /// The first and the last value of the first id.
    fn ends(&self, batch: &RecordBatch) -> Option<(Bound, Bound)> {
        let column = batch.column_by_name(self.ids.first()?)?;
        let last = batch.num_rows().checked_sub(1)?;
        Some((Bound::at(column, 0)?, Bound::at(column, last)?))
    }

    /// Tags files with what is known of their rows; `files` has those of each number.
    pub(super) fn tag(mut self, files: &mut [Vec<Add>]) {
        if self.runs.len() > 1 {
            self.batches.sort_unstable();
        }
        // Batches of one file are one range if no other file has anything in between.
        let mut ranges: Vec<Vec<(Bound, Bound)>> = vec![Vec::new(); self.runs.len()];
        let mut before = None;
        for (first, last, run) in self.batches {
            match ranges[run].last_mut().filter(|_| before == Some(run)) {
                Some(range) => range.1 = last,
                None => ranges[run].push((first, last)),
            }
            before = Some(run);
        }
        let alone = self.runs.len() == 1;
        for ((files, run), ranges) in files.iter_mut().zip(&self.runs).zip(ranges) {
            run.tag(files, if alone { &[] } else { &ranges });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use datafusion::arrow::array::Int64Array;
    use serde_json::json;

    use super::*;
    use crate::store::increasing::have_each_once;

    fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
        RecordBatch::try_from_iter([("id", ids)]).unwrap()
    }

    /// The numbers of the files of batches, and whether the log proves that each id is there once.
    fn placed(batches: &[std::ops::Range<i64>], several: bool) -> (Vec<usize>, bool) {
        let mut runs = Runs::new(vec!["id".to_owned()], 1000, several);
        let places: Vec<usize> = batches.iter().map(|ids| runs.place(&batch(ids.clone()))).collect();
        let range = |number: usize| {
            let own = || batches.iter().zip(&places).filter(|(_, place)| **place == number);
            let (least, greatest) =
                (own().map(|(ids, _)| ids.start).min(), own().map(|(ids, _)| ids.end - 1).max());
            json!({"minValues": {"id": least}, "maxValues": {"id": greatest}}).to_string()
        };
        let count = places.iter().max().map_or(0, |most| most + 1);
        let mut files: Vec<Vec<Add>> = (0..count).map(|number| vec![logged(range(number))]).collect();
        runs.tag(&mut files);
        (places, have_each_once(files.into_iter().flatten(), &["id".to_owned()]))
    }

    fn logged(stats: String) -> Add {
        Add {
            path: "f".into(),
            partition_values: HashMap::new(),
            size: 1,
            modification_time: 1,
            data_change: true,
            stats: Some(stats),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }

    #[test]
    fn each_partition_gets_a_file_if_several_take_turns() {
        assert_eq!(placed(&[0..5, 5..9, 20..30], true), (vec![0, 0, 0], true));
        // 100 fits behind 0 to 10; what comes after those needs another file.
        assert_eq!(placed(&[0..10, 100..110, 10..20, 110..120, 20..30], true), (vec![0, 0, 1, 0, 1], true));
        assert!(placed(&[0..10, 100..110, 50..60, 10..20, 60..70, 110..120], true).1);
    }

    #[test]
    fn rows_in_no_order_are_in_one_file() {
        assert_eq!(placed(&[0..10, 5..7, 100..110, 0..1], false), (vec![0; 4], false));
        // More files than are written at the same time.
        let falling: Vec<_> = (0..40).map(|n| 10 * (40 - n)..10 * (40 - n) + 10).collect();
        let (places, once) = placed(&falling, true);
        assert_eq!((places[..16].to_vec(), once), ((0..16).collect(), false));
        assert!(places[16..].iter().all(|place| *place == 0), "{places:?}");
    }

    #[test]
    fn large_rows_are_in_fewer_files() {
        let large: ArrayRef = Arc::new(Int64Array::from(vec![3, 4]));
        let rows = RecordBatch::try_from_iter([("id", large)]).unwrap();
        let mut runs = Runs::new(vec!["id".to_owned()], BYTES, true);
        assert_eq!([runs.place(&rows), runs.place(&batch(0..1))], [0, 0]);
    }
}
