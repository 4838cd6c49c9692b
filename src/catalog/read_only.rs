//! A table that can only be read.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::boxed::{self, BoxFuture};
use crate::columns::ROW_ORDER;
use crate::error::MetaxyError;

/// Shows the columns of another table, except for the hidden one, and refuses every change.
#[derive(Debug)]
pub(super) struct ReadOnly {
    name: &'static str,
    inner: Arc<dyn TableProvider>,
    schema: SchemaRef,
}

impl ReadOnly {
    pub(super) fn new(name: &'static str, inner: Arc<dyn TableProvider>) -> Result<Self> {
        let schema = inner.schema();
        let shown: Vec<usize> =
            (0..schema.fields().len()).filter(|&i| schema.field(i).name() != ROW_ORDER).collect();
        // The hidden column comes last, so that shown columns keep their indices.
        Ok(Self { name, inner, schema: Arc::new(schema.project(&shown)?) })
    }

    fn refuse<T>(&self) -> Result<T> {
        Err(MetaxyError::Invalid(format!("system table {} can only be read", self.name)).into())
    }
}

#[async_trait]
impl TableProvider for ReadOnly {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    boxed::scan!(planned);

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        _input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse()
    }

    boxed::refuse_changes!(refuse, refuse);

    async fn truncate(&self, _state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse()
    }
}

impl ReadOnly {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            self.inner.scan(state, Some(projection.unwrap_or(&all)), filters, limit).await
        })
    }
}
