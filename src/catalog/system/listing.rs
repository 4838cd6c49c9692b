//! A view whose rows are worked out whenever it is read.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::boxed::{self, BoxFuture};

/// What a listing lists.
pub(super) trait Rows: Debug + Send + Sync + 'static {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The rows as they are now.
    fn rows<'a>(&'a self, session: &'a dyn Session) -> BoxFuture<'a, Result<Vec<ArrayRef>>>;
}

/// A view over [`Rows`]. A SQL view made over it stays up to date: it keeps no rows.
#[derive(Debug)]
pub(super) struct Listing<R>(R);

impl<R: Rows> Listing<R> {
    pub(super) fn new(rows: R) -> Self {
        Self(rows)
    }
}

#[async_trait]
impl<R: Rows> TableProvider for Listing<R> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    boxed::scan!(planned);
}

impl<R: Rows> Listing<R> {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let rows = RecordBatch::try_new(self.schema(), self.0.rows(session).await?)?;
            let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
            table.scan(session, projection, filters, limit).await
        })
    }
}

/// A text column with one value per item.
pub(super) fn texts<T>(items: &[T], value: impl Fn(&T) -> String) -> ArrayRef {
    Arc::new(items.iter().map(|item| Some(value(item))).collect::<StringArray>())
}

/// As [`texts`], for values that may be missing.
pub(super) fn optional_texts<T>(items: &[T], value: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(items.iter().map(value).collect::<StringArray>())
}
