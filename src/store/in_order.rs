//! Batches of a write put in the order of their ids, where that takes no more than waiting for a few of them.
//!
//! Rows that were in order come in another one when several partitions had them in turns. Files whose rows are in order
//! are read with less work: see [`increasing`](super::increasing).

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::increasing::is_increasing;
use crate::error::Result;

/// Batches that are held back: more than partitions have waiting for each other.
const HELD: usize = 16;
/// Bytes that are held back at most.
const BYTES: usize = 64 << 20;

/// The batches, whose rows have each id once, in the order of their ids as far as possible.
pub(super) fn in_order(
    rows: BoxStream<'static, Result<RecordBatch>>,
    ids: Vec<String>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let state = Some((rows, Order { ids, converter: None, held: Vec::new(), given: None, lost: false }));
    futures::stream::unfold(state, |state| async move {
        let (mut rows, mut order) = state?;
        loop {
            if order.is_full() {
                return Some((Ok(order.next()), Some((rows, order))));
            }
            match rows.next().await {
                Some(Ok(batch)) if order.lost => return Some((Ok(batch), Some((rows, order)))),
                Some(Ok(batch)) => order.add(batch),
                Some(Err(error)) => return Some((Err(error), None)),
                None if order.held.is_empty() => return None,
                None => {
                    let next = order.next();
                    return Some((Ok(next), Some((futures::stream::empty().boxed(), order))));
                }
            }
        }
    })
    .boxed()
}

/// A batch with the ids of its first and its last row; without them if its rows are in no order.
struct Held {
    batch: RecordBatch,
    ends: Option<(OwnedRow, OwnedRow)>,
}

struct Order {
    ids: Vec<String>,
    converter: Option<RowConverter>,
    held: Vec<Held>,
    /// The greatest id that was given out.
    given: Option<OwnedRow>,
    /// Whether the rows are in no order: then they are given out as they come.
    lost: bool,
}

impl Order {
    fn is_full(&self) -> bool {
        let bytes = || self.held.iter().map(|held| held.batch.get_array_memory_size()).sum::<usize>();
        let most = if self.lost { 0 } else { HELD };
        self.held.len() > most || (self.held.len() > 1 && bytes() > BYTES)
    }

    fn add(&mut self, batch: RecordBatch) {
        if batch.num_rows() == 0 {
            return;
        }
        let ends = self.ends(&batch);
        let is_late =
            |(first, _): &(OwnedRow, OwnedRow)| self.given.as_ref().is_some_and(|given| first <= given);
        self.lost |= ends.as_ref().is_none_or(is_late);
        self.held.push(Held { batch, ends });
    }

    /// The ids of the first and the last row, if all rows are in order.
    fn ends(&mut self, batch: &RecordBatch) -> Option<(OwnedRow, OwnedRow)> {
        let columns =
            self.ids.iter().map(|id| batch.column_by_name(id).cloned()).collect::<Option<Vec<_>>>()?;
        if !is_increasing(&columns).unwrap_or(false) {
            return None;
        }
        if self.converter.is_none() {
            let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
            self.converter = RowConverter::new(fields.collect()).ok();
        }
        let converter = self.converter.as_ref()?;
        let row = |at: usize| {
            let columns: Vec<_> = columns.iter().map(|column| column.slice(at, 1)).collect();
            Some(converter.convert_columns(&columns).ok()?.row(0).owned())
        };
        Some((row(0)?, row(batch.num_rows() - 1)?))
    }

    /// The batch with the least ids; the earliest one if there is no order.
    fn next(&mut self) -> RecordBatch {
        let ends = |held: &Held| held.ends.as_ref().map(|(first, _)| first.clone());
        let least = (0..self.held.len()).min_by_key(|&at| ends(&self.held[at])).filter(|_| !self.lost);
        let Held { batch, ends } = self.held.remove(least.unwrap_or(0));
        if let Some((_, last)) = ends {
            self.given = Some(last);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;
    use futures::TryStreamExt;

    use super::*;

    fn ordered(batches: impl IntoIterator<Item = Vec<i64>>) -> Vec<Vec<i64>> {
        let batches = batches.into_iter().map(|ids| {
            let ids: ArrayRef = Arc::new(Int64Array::from(ids));
            Ok(RecordBatch::try_from_iter([("id", ids)]).unwrap())
        });
        let rows = futures::stream::iter(batches.collect::<Vec<_>>()).boxed();
        let rows = in_order(rows, vec!["id".to_owned()]).try_collect::<Vec<_>>();
        let rows = futures::executor::block_on(rows).unwrap();
        rows.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn partitions_in_turns_are_put_in_order() {
        let mut mixed: Vec<Vec<i64>> = (0..100).map(|n| vec![2 * n, 2 * n + 1]).collect();
        let wanted = mixed.clone();
        for pair in mixed.chunks_mut(4) {
            pair.reverse();
        }
        assert_eq!(ordered(mixed), wanted);
    }

    #[test]
    fn rows_in_no_order_come_as_they_are() {
        let mixed = vec![vec![5, 6], vec![3, 1], vec![2, 4]];
        assert_eq!(ordered(mixed.clone()), mixed);
        // The least comes when it is too late.
        let mut late: Vec<Vec<i64>> = (1..40).map(|n| vec![n]).collect();
        late.push(vec![0]);
        let mut given = ordered(late.clone());
        assert_eq!(given.len(), late.len());
        given.sort();
        late.sort();
        assert_eq!(given, late);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(ordered([]), Vec::<Vec<i64>>::new());
        assert_eq!(ordered([vec![], vec![1]]), [[1]]);
    }

    #[test]
    fn an_error_ends_the_rows() {
        let failed = crate::error::MetaxyError::Invalid("x".into());
        let rows = futures::stream::iter([Err(failed)]).boxed();
        let given = in_order(rows, vec!["id".to_owned()]).try_collect::<Vec<_>>();
        assert!(futures::executor::block_on(given).is_err());
    }
}
