//! Columns that only the answer needs are read once it is known which samples are in it.
//!
//! What an increment says of a sample depends on the rows of its key alone. So it is worked out twice: first over ids and
//! versions of everything, then over all columns, of the keys that the first one found. A steady state reads no user column.
//! What orphaned rows show of the stored ones is read if there are any.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::Result;
use futures::future::BoxFuture;

use super::answer::Answer;
use super::input::Input;
use super::plan::Plan;
use crate::operators::compact;

/// Of which rows all columns are read.
pub(crate) struct Chosen {
    /// Those with one of these keys; `None` for all.
    pub keys: Option<Vec<ArrayRef>>,
    /// Whether there may be orphaned rows. Without them, what these show of the stored rows is NULL.
    pub orphans: bool,
}

/// Plans the inputs with all columns.
pub(crate) type Inputs = dyn Fn(Chosen) -> BoxFuture<'static, Result<Vec<Input>>> + Send + Sync;

/// One sample in this many may be in the answer: of more, everything is read.
const ONE_IN: usize = 3;

/// Rows that are gathered at once.
const ROWS: usize = 1 << 16;

/// The second step.
#[derive(Clone)]
pub(crate) struct Late {
    pub(super) plan: Arc<Plan>,
    pub(super) inputs: Arc<Inputs>,
}

impl Late {
    /// The columns that the first step does not find.
    pub(super) fn columns(&self, first: &Plan) -> Vec<&str> {
        let names = self.plan.schema.fields().iter().map(|field| field.name().as_str());
        names.filter(|name| !Plan::is_class(name) && first.schema.field_with_name(name).is_err()).collect()
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").finish_non_exhaustive()
    }
}

/// Whether an answer has nearly all of the rows that were read.
pub(super) fn is_most(answer: &Answer) -> bool {
    answer.rows() > answer.rows_read() / ONE_IN
}

/// The keys of an answer as columns of this schema.
pub(super) fn keys_of(answer: &Answer, keys: &SchemaRef) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    for (part, rows) in answer.pieces(ROWS) {
        // Texts of their own: the keys are kept when all that was read is gone.
        batches.push(compact(&columns_of(&answer.batch(part, rows)?, keys)?)?);
    }
    Ok(concat_batches(keys, &batches)?)
}

/// The columns of these names, in these types.
pub(crate) fn columns_of(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &FieldRef| {
        let index = batch.schema().index_of(field.name())?;
        cast(batch.column(index), field.data_type())
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
