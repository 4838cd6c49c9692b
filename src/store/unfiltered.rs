//! The rows of a table, in one partition and all of them: only then their numbers mean something.

use std::sync::Arc;

use crate::boxed::{self, BoxFuture};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// A table that takes no filters.
#[derive(Debug)]
pub(super) struct Unfiltered(pub Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for Unfiltered {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    boxed::scan!(planned);
}

impl Unfiltered {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _filters: &'a [Expr],
        _limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let config = state.config().clone().with_target_partitions(1);
            let state = SessionStateBuilder::new()
                .with_default_features()
                .with_config(config)
                .with_runtime_env(Arc::clone(state.runtime_env()))
                .build();
            self.0.scan(&state, projection, &[], None).await
        })
    }
}
