//! A relation as a DataFusion table, and the operator that reads it.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};

use super::database::Database;
use super::filters::condition;
use super::relation::Relation;
use crate::boxed::{self, BoxFuture};

/// All rows of a relation, with their row order as a last column.
#[derive(Debug, Clone)]
pub(crate) struct PostgresTable {
    relation: Relation,
    schema: SchemaRef,
}

impl PostgresTable {
    pub(crate) fn new(relation: Relation) -> Self {
        let schema = relation.numbered_schema();
        Self { relation, schema }
    }

    /// What is read.
    pub(crate) fn relation(&self) -> &Relation {
        &self.relation
    }
}

#[async_trait]
impl TableProvider for PostgresTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match condition(&self.relation, filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    boxed::scan!(planned);
}

impl PostgresTable {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let schema = match projection {
                Some(projection) => Arc::new(self.schema.project(projection)?),
                None => Arc::clone(&self.schema),
            };
            let conditions: Vec<String> =
                filters.iter().filter_map(|filter| condition(&self.relation, filter)).collect();
            let limit = limit.filter(|_| conditions.len() == filters.len());
            let columns: Vec<String> =
                schema.fields().iter().map(|field| self.relation.selected(field.name())).collect();
            let mut sql = format!("SELECT {} FROM {}", columns.join(", "), self.relation.qualified());
            if !conditions.is_empty() {
                sql.push_str(" WHERE ");
                sql.push_str(&conditions.join(" AND "));
            }
            if let Some(limit) = limit {
                sql.push_str(&format!(" LIMIT {limit}"));
            }
            Ok(Arc::new(PostgresScanExec::new(self.relation(), sql, schema, conditions.join(" AND "), limit))
                as Arc<dyn ExecutionPlan>)
        })
    }
}

/// Reads the rows of one query.
#[derive(Debug)]
struct PostgresScanExec {
    database: Arc<Database>,
    table: String,
    sql: String,
    predicate: String,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PostgresScanExec {
    fn new(
        relation: &Relation,
        sql: String,
        schema: SchemaRef,
        predicate: String,
        limit: Option<usize>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            database: Arc::clone(&relation.database),
            table: relation.table.clone(),
            sql,
            predicate,
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for PostgresScanExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        if matches!(t, DisplayFormatType::TreeRender) {
            return write!(f, "table={}", self.table);
        }
        let schema = self.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "PostgresScanExec: table={}, projection=[{}]", self.table, columns.join(", "))?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        if !self.predicate.is_empty() {
            write!(f, ", predicate={}", self.predicate)?;
        }
        Ok(())
    }
}

impl ExecutionPlan for PostgresScanExec {
    fn name(&self) -> &'static str {
        "PostgresScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (database, sql, schema) = (Arc::clone(&self.database), self.sql.clone(), self.schema());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let wanted = Arc::clone(&schema);
        let rows =
            futures::stream::once(
                async move { database.query(sql, wanted).await.map_err(DataFusionError::from) },
            );
        let rows = rows.try_flatten().inspect(move |batch| {
            if let Ok(batch) = batch {
                metrics.record_output(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
