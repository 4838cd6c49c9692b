//! Hard deletes: rows are taken out of the store's files.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::StreamExt;

use super::hidden::tombstones;
use super::redo::Redo;
use crate::boxed::{self, BoxFuture};
use crate::columns::ROW_ORDER;
use crate::error::MetaxyError;
use crate::model::FeatureDefinition;
use crate::store::transfer::{Recorded, again};
use crate::store::unfiltered::Unfiltered;
use crate::store::{EventType, FeatureTable, Store, TableSnapshot};

/// A feature's history with the number of each row, and where the numbers of those to delete go.
///
/// The scan decides on a snapshot, and the sink deletes from the same.
#[derive(Clone)]
pub(super) struct HardDelete {
    store: Arc<Store>,
    definition: Arc<FeatureDefinition>,
    /// The feature's columns and the number of a row.
    columns: SchemaRef,
    /// What arrives in the sink.
    numbers: SchemaRef,
    snapshot: Arc<Mutex<Option<Arc<dyn TableSnapshot>>>>,
    /// Whether all rows go, and nothing has to tell that there were any.
    everything: bool,
    redo: Option<Redo>,
}

impl HardDelete {
    pub(super) fn new(table: &FeatureTable, everything: bool) -> Self {
        let number = Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false));
        let mut columns: Vec<_> = table.schema().fields().iter().cloned().collect();
        columns.push(Arc::clone(&number));
        Self {
            store: Arc::clone(table.store()),
            definition: Arc::clone(table.definition()),
            columns: Arc::new(Schema::new(columns)),
            numbers: Arc::new(Schema::new(vec![number])),
            snapshot: Arc::default(),
            everything,
            redo: None,
        }
    }

    /// The same as the target of these rows, which are numbers of this table's.
    pub(super) fn of_rows(&self, rows: LogicalPlan) -> Self {
        Self { redo: Some(Redo::new(rows)), ..self.clone() }
    }

    async fn remove(
        &self,
        mut data: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> crate::error::Result<u64> {
        let mut rows: Vec<u64> = Vec::new();
        while let Some(batch) = data.next().await.transpose()? {
            rows.extend_from_slice(batch.column(0).as_primitive::<UInt64Type>().values());
        }
        rows.sort_unstable();
        rows.dedup();
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(snapshot) = snapshot.filter(|_| !rows.is_empty()) else {
            return Ok(0);
        };
        let append = if self.everything {
            None
        } else {
            tombstones(&self.store, &self.definition, &snapshot, &rows, context.runtime_env()).await?
        };
        snapshot.remove(&rows, append).await
    }

    fn changed(&self) -> MetaxyError {
        MetaxyError::Write {
            feature: self.definition.key().to_string(),
            reason: "its columns changed since the DELETE was planned; nothing was deleted, try again".into(),
        }
    }
}

impl fmt::Debug for HardDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardDelete({})", self.definition.key())
    }
}

impl DisplayAs for HardDelete {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "hard delete={}", self.definition.key()),
            _ => write!(f, "HardDelete: feature={}, store={}", self.definition.key(), self.store.name()),
        }
    }
}

#[async_trait]
impl TableProvider for HardDelete {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    boxed::scan!(planned);

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.sink(state, input))
    }
}

impl HardDelete {
    /// The plan that takes out the rows of another one.
    fn sink(&self, state: &dyn Session, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let redo = self.redo.clone().map(|redo| redo.in_session(state));
        Arc::new(DataSinkExec::new(input, Arc::new(Self { redo, ..self.clone() }), None))
    }

    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _filters: &'a [Expr],
        _limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let wanted = match projection {
                Some(projection) => Arc::new(self.columns.project(projection)?),
                None => Arc::clone(&self.columns),
            };
            let Some(snapshot) = self.store.backend.snapshot(self.definition.key()).await? else {
                return Ok(Arc::new(EmptyExec::new(wanted)) as Arc<dyn ExecutionPlan>);
            };
            *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
            let rows = Unfiltered(snapshot.rows());
            let schema = rows.schema();
            let mut indices = Vec::new();
            for field in wanted.fields() {
                match schema.column_with_name(field.name()) {
                    Some((index, found)) if found.data_type() == field.data_type() => indices.push(index),
                    _ => return Err(self.changed().into()),
                }
            }
            rows.scan(state, Some(&indices), &[], None).await
        })
    }
}

#[async_trait]
impl DataSink for HardDelete {
    fn schema(&self) -> &SchemaRef {
        &self.numbers
    }

    async fn write_all(
        &self,
        mut data: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let project = &self.definition.project;
        let kind = EventType::HardDeleteCompleted;
        let work = Recorded::silently(&self.store, project, kind, Some(&self.definition));
        let mut attempt = 1;
        let outcome = loop {
            let outcome = self.remove(data, context).await;
            let found = match &self.redo {
                Some(redo) if again(&outcome, attempt) => redo.rows(context).await?,
                _ => None,
            };
            match found {
                Some(found) => data = found,
                None => break outcome,
            }
            attempt += 1;
        };
        if !matches!(outcome, Ok(0)) {
            work.end(kind, EventType::HardDeleteFailed, outcome.as_ref().copied()).await;
        }
        Ok(outcome?)
    }
}
