//! `system.resolution('feature')`: for each parent the store that serves it, and why.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

use super::arguments::Arguments;
use super::scan;
use crate::boxed::{self, BoxFuture};
use crate::catalog::SYSTEM_SCHEMA;
use crate::session::Extension;
use crate::store::{ParentResolution, Store};

/// The function's name within the schema `system`.
const RESOLUTION: &str = "resolution";
/// The name for messages.
pub(super) const NAME: &str = "system.resolution";
/// The parameters, in the order of positional arguments.
pub(super) const PARAMETERS: &[&str] = &["feature"];

/// Whether a name is this function's: `system.resolution`, or with a store before it, which comes along.
pub(super) fn called(name: &ObjectName) -> Option<Option<String>> {
    let parts: Vec<&Ident> = name.0.iter().map(|part| part.as_ident()).collect::<Option<_>>()?;
    let (store, schema, function) = match parts.as_slice() {
        [schema, function] => (None, schema, function),
        [store, schema, function] => (Some(store), schema, function),
        _ => return None,
    };
    let ours =
        schema.value.eq_ignore_ascii_case(SYSTEM_SCHEMA) && function.value.eq_ignore_ascii_case(RESOLUTION);
    // Names without quotes are lower case, as everywhere in DataFusion.
    let normalized = |name: &&Ident| match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    };
    ours.then(|| store.map(normalized))
}

pub(super) fn plan(
    extension: &Weak<Extension>,
    store: Option<&str>,
    arguments: &Arguments,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let Some(extension) = extension.upgrade() else {
        return plan_err!("{NAME}: the stores of this session are closed");
    };
    let feature = arguments.required_text("feature")?;
    let catalog = context.context_provider().options().catalog.default_catalog.clone();
    let store = extension.store_or_default(store, &catalog)?;
    if let Some(graph) = store.known_graph() {
        graph.lookup(&feature)?;
    }
    let what = format!("{}: {feature}", store.name());
    scan(RESOLUTION, &what, Arc::new(ResolutionTable { store, feature, schema: schema() }))
}

fn schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("parent", false),
        text("feature_version", false),
        text("store", true),
        Field::new("is_fallback", DataType::Boolean, false),
        text("reason", false),
        text("searched", false),
    ]))
}

/// Looks into the stores whenever it is read, so that planning has to wait for nothing.
#[derive(Debug)]
struct ResolutionTable {
    store: Arc<Store>,
    feature: String,
    schema: SchemaRef,
}

impl ResolutionTable {
    fn batch(&self, parents: &[ParentResolution]) -> Result<RecordBatch> {
        let text = |value: &dyn Fn(&ParentResolution) -> Option<String>| {
            Arc::new(parents.iter().map(value).collect::<StringArray>()) as ArrayRef
        };
        let is_fallback: Vec<bool> = parents.iter().map(|parent| parent.is_fallback).collect();
        let columns = vec![
            text(&|parent| Some(parent.parent.to_string())),
            text(&|parent| Some(parent.feature_version.clone())),
            text(&|parent| parent.store.clone()),
            Arc::new(BooleanArray::from(is_fallback)),
            text(&|parent| Some(parent.reason.clone())),
            text(&|parent| Some(parent.searched.join(", "))),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

#[async_trait]
impl TableProvider for ResolutionTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    boxed::scan!(planned);
}

impl ResolutionTable {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let parents = self.store.resolution(&self.feature).await.map_err(DataFusionError::from)?;
            let rows = MemTable::try_new(self.schema(), vec![vec![self.batch(&parents)?]])?;
            rows.scan(state, projection, filters, limit).await
        })
    }
}
