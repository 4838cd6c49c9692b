//! The definitions that features have had, as a table that is opened only when it is read.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType, cast, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::Store;
use crate::boxed::{self, BoxFuture};

const COLUMNS: [&str; 3] = ["feature_key", "metaxy_feature_version", "feature_spec"];

/// Key, version and spec of every definition that was pushed to a store.
#[derive(Debug)]
pub(super) struct PastDefinitions {
    store: Arc<Store>,
    schema: SchemaRef,
}

impl PastDefinitions {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let fields = COLUMNS.map(|name| Field::new(name, DataType::Utf8, true));
        Self { store, schema: Arc::new(Schema::new(fields.to_vec())) }
    }
}

#[async_trait]
impl TableProvider for PastDefinitions {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    boxed::scan!(planned);
}

impl PastDefinitions {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let rows = match self.store.feature_versions().await.map_err(DataFusionError::from)? {
                Some(table) => {
                    let text = COLUMNS.map(|name| cast(col(name), DataType::Utf8).alias(name));
                    SessionContext::new().read_table(table)?.select(text.to_vec())?.collect().await?
                }
                None => Vec::new(),
            };
            let rows = MemTable::try_new(self.schema(), vec![rows])?;
            rows.scan(state, projection, filters, limit).await
        })
    }
}
