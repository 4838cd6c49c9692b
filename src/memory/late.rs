//! Columns that only the answer needs are read once it is known which samples are in it.
//!
//! What an increment says of a sample depends on the rows of its key alone. So it is worked out twice: first over ids and
//! versions of everything, then over all columns, of the keys that the first one found. A steady state reads no user column.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::concat;
use datafusion::common::Result;
use futures::future::BoxFuture;

use super::answer::Answer;
use super::input::Input;
use super::plan::Plan;

/// Plans the inputs with all columns, for the rows of these keys or for all.
pub(crate) type Inputs =
    dyn Fn(Option<Vec<ArrayRef>>) -> BoxFuture<'static, Result<Vec<Input>>> + Send + Sync;

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

/// The keys of an answer, one array for each column; `None` if it has nearly all of the rows that were read.
pub(super) fn keys_of(answer: &Answer) -> Result<Option<Vec<ArrayRef>>> {
    if answer.rows() > answer.rows_read() / ONE_IN {
        return Ok(None);
    }
    let mut columns: Vec<Vec<ArrayRef>> = Vec::new();
    for (part, rows) in answer.pieces(ROWS) {
        let batch = answer.batch(part, rows)?;
        columns.resize(batch.num_columns(), Vec::new());
        for (column, values) in columns.iter_mut().zip(batch.columns()) {
            column.push(Arc::clone(values));
        }
    }
    let whole = |pieces: Vec<ArrayRef>| {
        concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(Into::into)
    };
    columns.into_iter().map(whole).collect::<Result<Vec<_>>>().map(Some)
}
