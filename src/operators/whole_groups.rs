//! Cutting a sorted stream of rows where one group ends and the next begins.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{concat, concat_batches, partition};
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;

use super::compact::compact;

/// Holds back rows until their group is complete; rows of a group come one after the other.
pub(super) struct WholeGroups {
    /// What a group has in common.
    by: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows of the group that may go on.
    pending: Vec<RecordBatch>,
    reservation: MemoryReservation,
}

/// Complete groups: rows, and the rows of each group.
pub(super) type Groups = (RecordBatch, Vec<Range<usize>>);

impl WholeGroups {
    pub(super) fn new(by: Vec<Arc<dyn PhysicalExpr>>, reservation: MemoryReservation) -> Self {
        Self { by, pending: Vec::new(), reservation }
    }

    /// Takes rows, and gives the groups that are complete now.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<Option<Groups>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let ranges = self.ranges(&batch)?;
        let last = ranges.last().map_or(0, |range| range.start);
        if last == 0 && self.continues(&batch)? {
            self.hold(batch)?;
            return Ok(None);
        }
        let mut whole = std::mem::take(&mut self.pending);
        self.reservation.free();
        if last > 0 {
            whole.push(batch.slice(0, last));
        }
        self.hold(compact(&batch.slice(last, batch.num_rows() - last))?)?;
        self.groups(&whole)
    }

    /// The last group.
    pub(super) fn finish(&mut self) -> Result<Option<Groups>> {
        let whole = std::mem::take(&mut self.pending);
        self.reservation.free();
        self.groups(&whole)
    }

    fn hold(&mut self, batch: RecordBatch) -> Result<()> {
        self.reservation.try_grow(batch.get_array_memory_size())?;
        self.pending.push(batch);
        Ok(())
    }

    fn groups(&self, batches: &[RecordBatch]) -> Result<Option<Groups>> {
        let rows = match batches {
            [] => return Ok(None),
            [one] => compact(one)?,
            [first, ..] => compact(&concat_batches(first.schema_ref(), batches)?)?,
        };
        let ranges = self.ranges(&rows)?;
        Ok(Some((rows, ranges)))
    }

    fn ranges(&self, batch: &RecordBatch) -> Result<Vec<Range<usize>>> {
        if self.by.is_empty() {
            return Ok(std::iter::once(0..batch.num_rows()).collect());
        }
        Ok(partition(&values(&self.by, batch)?)?.ranges())
    }

    /// Whether the first row of the batch belongs to the group that is held back.
    fn continues(&self, batch: &RecordBatch) -> Result<bool> {
        let Some(last) = self.pending.last() else { return Ok(false) };
        let before = values(&self.by, &last.slice(last.num_rows() - 1, 1))?;
        let after = values(&self.by, &batch.slice(0, 1))?;
        let both: Vec<ArrayRef> = before
            .iter()
            .zip(&after)
            .map(|(before, after)| concat(&[before.as_ref(), after.as_ref()]))
            .collect::<Result<_, _>>()?;
        Ok(both.is_empty() || partition(&both)?.len() == 1)
    }
}

fn values(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
    use datafusion::physical_expr::expressions::Column;

    use super::*;

    #[test]
    fn groups_are_never_cut() {
        let batch = |values: &[Option<i64>]| {
            let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
            RecordBatch::try_from_iter_with_nullable([("g", values, true)]).unwrap()
        };
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let mut whole = WholeGroups::new(
            vec![Arc::new(Column::new("g", 0))],
            MemoryConsumer::new("test").register(&pool),
        );
        let mut found = Vec::new();
        for values in [
            &[None, None][..],
            &[None, Some(1), Some(2)],
            &[Some(2), Some(2)],
            &[],
            &[Some(2)],
            &[Some(3), Some(4), Some(4)],
            &[Some(5)],
        ] {
            found.extend(whole.push(batch(values)).unwrap());
        }
        found.extend(whole.finish().unwrap());
        let sizes: Vec<Vec<usize>> =
            found.iter().map(|(_, ranges)| ranges.iter().map(ExactSizeIterator::len).collect()).collect();
        assert_eq!(sizes, [vec![3, 1], vec![4, 1], vec![2], vec![1]]);
        assert_eq!(pool.reserved(), 0);
    }
}
