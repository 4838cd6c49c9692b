//! Soft deletes: rows are written again, with the time of their end.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use super::redo::Redo;
use crate::boxed::{self, BoxFuture};
use crate::config::TakenKey;
use crate::error::Result;
use crate::model::FeatureDefinition;
use crate::store::transfer::{again, stored_rows};
use crate::store::{Append, Basis, FeatureTable, Samples, Store, TableState, WriteTime, session_key};

/// Where the rows of a soft delete go.
#[derive(Clone)]
pub(super) struct SoftDelete {
    store: Arc<Store>,
    definition: Arc<FeatureDefinition>,
    schema: SchemaRef,
    write_key: DeleteKey,
    table: FeatureTable,
    /// The state of the table when its rows were read.
    read_at: Arc<Mutex<Option<TableState>>>,
    redo: Option<Redo>,
}

/// The key of the write that a soft delete is.
#[derive(Debug, Clone)]
pub(crate) enum DeleteKey {
    /// Just this one, or none.
    Given(Option<String>),
    /// The one that the session has for its next write.
    OfSession,
}

impl SoftDelete {
    pub(super) fn new(table: &FeatureTable, write_key: DeleteKey) -> Self {
        Self {
            store: Arc::clone(table.store()),
            definition: Arc::clone(table.definition()),
            schema: table.schema(),
            write_key,
            table: table.clone(),
            read_at: Arc::default(),
            redo: None,
        }
    }

    /// The same as the target of these rows, which are of this table.
    pub(super) fn of_rows(&self, rows: LogicalPlan) -> Self {
        Self { redo: Some(Redo::new(rows)), ..self.clone() }
    }

    async fn write(&self, data: SendableRecordBatchStream, write_key: Option<String>) -> Result<u64> {
        let (schema, rows) = stored_rows(data, None);
        let ids = &self.definition.spec.id_columns;
        let samples = Samples::new(ids);
        let state = self.read_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let append = Append {
            schema,
            rows: samples.of(rows),
            settings: self.store.settings(),
            id_columns: ids.clone(),
            write_key,
            time: WriteTime::Deleted,
            only_at: state.map(|state| Basis { state, samples: Some(samples) }),
        };
        self.store.backend.append(self.definition.key(), append).await
    }
}

impl fmt::Debug for SoftDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftDelete({})", self.definition.key())
    }
}

impl DisplayAs for SoftDelete {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "soft delete={}", self.definition.key()),
            _ => write!(f, "SoftDelete: feature={}, store={}", self.definition.key(), self.store.name()),
        }
    }
}

#[async_trait]
impl TableProvider for SoftDelete {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    boxed::scan!(planned);

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self.sink(state, input))
    }
}

impl SoftDelete {
    /// The plan that marks the rows of another one as deleted.
    fn sink(&self, state: &dyn Session, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let redo = self.redo.clone().map(|redo| redo.in_session(state));
        let sink = Self { schema: input.schema(), redo, ..self.clone() };
        Arc::new(DataSinkExec::new(input, Arc::new(sink), None))
    }

    /// The rows that may go. What is written of the same samples from here on makes the delete start again.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DataFusionResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let read_at = self.store.backend.state(self.definition.key()).await?;
            *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(read_at);
            self.table.scan(state, projection, filters, limit).await
        })
    }
}

#[async_trait]
impl DataSink for SoftDelete {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        mut data: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> DataFusionResult<u64> {
        let taken = match &self.write_key {
            DeleteKey::Given(_) => None,
            DeleteKey::OfSession => Some(session_key(context.session_config().options())),
        };
        let key = match &self.write_key {
            DeleteKey::Given(key) => key.clone(),
            DeleteKey::OfSession => taken.as_ref().and_then(TakenKey::key),
        };
        let mut attempt = 1;
        loop {
            let outcome = self.write(data, key.clone()).await;
            let found = match &self.redo {
                Some(redo) if again(&outcome, attempt) => redo.rows(context).await?,
                _ => None,
            };
            let Some(found) = found else {
                let rows = outcome?;
                taken.into_iter().for_each(TakenKey::done);
                return Ok(rows);
            };
            data = found;
            attempt += 1;
        }
    }
}
