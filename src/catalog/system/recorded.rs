//! `system.feature_versions` and `system.events`: what the store has recorded, as it is.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal, cast};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::boxed::{self, BoxFuture};
use crate::store::{Store, SystemTable};

/// A system table with its own columns in their own types, whoever has written it, and empty before anybody has.
#[derive(Debug)]
pub(super) struct Recorded {
    store: Arc<Store>,
    table: SystemTable,
    schema: SchemaRef,
}

impl Recorded {
    pub(super) fn new(store: Arc<Store>, table: SystemTable) -> Self {
        Self { store, table, schema: table.schema() }
    }
}

#[async_trait]
impl TableProvider for Recorded {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    boxed::scan!(planned);
}

impl Recorded {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        session: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            let shown = self.schema.project(projection.unwrap_or(&all))?;
            let Some(stored) = self.store.system_table(self.table).await? else {
                return Ok(Arc::new(EmptyExec::new(Arc::new(shown))) as Arc<dyn ExecutionPlan>);
            };
            let columns = stored.schema();
            let read: Vec<usize> =
                shown.fields().iter().filter_map(|field| columns.index_of(field.name()).ok()).collect();
            let rows = stored.scan(session, Some(&read), &[], limit).await?;
            let input = rows.schema();
            let columns = shown.fields().iter().map(|field| {
                let column = column(&input, field.name(), field.data_type())?;
                Ok((column, field.name().clone()))
            });
            Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Result<Vec<_>>>()?, rows)?)
                as Arc<dyn ExecutionPlan>)
        })
    }
}

/// The column in its type; NULL where an older version of Python made none.
fn column(input: &SchemaRef, name: &str, data_type: &DataType) -> Result<Arc<dyn PhysicalExpr>> {
    let Ok(index) = input.index_of(name) else {
        return Ok(Arc::new(Literal::new(ScalarValue::try_from(data_type)?)));
    };
    cast(Arc::new(Column::new(name, index)), input, data_type.clone())
}
