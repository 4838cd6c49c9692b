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

/// What a listing lists.
#[async_trait]
pub(super) trait Rows: Debug + Send + Sync + 'static {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The rows as they are now.
    async fn rows(&self, session: &dyn Session) -> Result<Vec<ArrayRef>>;
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

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = RecordBatch::try_new(self.schema(), self.0.rows(session).await?)?;
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(session, projection, filters, limit).await
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
