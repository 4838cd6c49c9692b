//! What appended rows were worked out from, and whether that still holds when they are added.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::operators::Keys;

/// A state of a table, which every write to it changes. Nothing but comparing is done with it, except by the store that
/// made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState(String);

impl TableState {
    /// The state that this text stands for; the empty one is that of a table which isn't there.
    pub fn new(state: impl Into<String>) -> Self {
        Self(state.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What rows were worked out from: they may only be added while it holds.
#[derive(Debug, Clone)]
pub struct Basis {
    /// The state that the table had when it was read.
    pub state: TableState,
    /// The samples that the rows are about, if it makes no difference what is added of others meanwhile.
    pub samples: Option<Arc<Samples>>,
}

impl Basis {
    /// Whether rows that came since leave everything as it is: they are of other samples.
    ///
    /// # Errors
    /// An error in the stream.
    pub async fn survives(&self, mut added: BoxStream<'static, Result<RecordBatch>>) -> Result<bool> {
        let Some(samples) = &self.samples else { return Ok(false) };
        while let Some(batch) = added.next().await.transpose()? {
            if samples.any_in(&batch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Samples, known by their ids.
pub struct Samples {
    ids: Vec<String>,
    keys: Keys,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// The types of the ids: keys of values of one type can be compared.
    types: Option<Vec<DataType>>,
    keys: HashSet<u128>,
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Samples({})", self.ids.join(", "))
    }
}

impl Samples {
    pub(crate) fn new(ids: &[String]) -> Arc<Self> {
        Arc::new(Self { ids: ids.to_vec(), keys: Keys::new(), found: Mutex::default() })
    }

    /// The same rows, whose samples are remembered as they pass.
    pub(crate) fn of(
        self: &Arc<Self>,
        rows: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let samples = Arc::clone(self);
        rows.map(move |batch| {
            let batch = batch?;
            samples.add(&batch)?;
            Ok(batch)
        })
        .boxed()
    }

    fn add(&self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<ArrayRef> =
            self.ids.iter().filter_map(|id| batch.column_by_name(id).cloned()).collect();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let types = columns.iter().map(|column| column.data_type().clone()).collect();
        found.types.get_or_insert(types);
        found.keys.extend(self.keys.of(&columns)?);
        Ok(())
    }

    /// Whether any row is of one of these samples, or can't be told from one.
    pub fn any_in(&self, batch: &RecordBatch) -> Result<bool> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(types) = &found.types else { return Ok(false) };
        let mut columns = Vec::new();
        for (id, data_type) in self.ids.iter().zip(types) {
            match batch.column_by_name(id).map(|column| cast(column, data_type)) {
                Some(Ok(column)) => columns.push(column),
                _ => return Ok(true),
            }
        }
        Ok(types.len() != self.ids.len()
            || self.keys.of(&columns)?.iter().any(|key| found.keys.contains(key)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, Int64Array, StringArray};

    use super::*;

    fn batch(id: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("id", id)]).unwrap()
    }

    #[test]
    fn samples_are_the_same_in_any_layout() {
        let samples = Samples::new(&["id".into()]);
        assert!(!samples.any_in(&batch(Arc::new(Int32Array::from(vec![1])))).unwrap());
        samples.add(&batch(Arc::new(Int64Array::from(vec![1, 2])))).unwrap();
        assert!(samples.any_in(&batch(Arc::new(Int32Array::from(vec![7, 2])))).unwrap());
        assert!(!samples.any_in(&batch(Arc::new(Int32Array::from(vec![7, 3])))).unwrap());
    }

    #[test]
    fn rows_without_ids_may_be_of_any_sample() {
        let samples = Samples::new(&["id".into()]);
        samples.add(&batch(Arc::new(StringArray::from(vec!["a"])))).unwrap();
        let other: ArrayRef = Arc::new(StringArray::from(vec!["b"]));
        assert!(samples.any_in(&RecordBatch::try_from_iter([("x", other)]).unwrap()).unwrap());
    }
}
