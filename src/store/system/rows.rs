//! The rows of the record of definitions, as they were written by us or by the Python package.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType, UInt64Type};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::prelude::SessionContext;

use super::SystemTable;
use crate::columns::ROW_ORDER;
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureSpec, Origin};
use crate::store::Store;

/// A definition as it was recorded.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub project: String,
    pub feature: String,
    pub definition_version: String,
    /// Microseconds in UTC.
    pub recorded_at: Option<i64>,
    pub spec: String,
    pub schema: String,
    pub class_path: String,
    pub project_version: String,
    pub tags: String,
    pub deleted: bool,
    order: u64,
}

impl Row {
    /// The definition, if the row can be understood.
    pub(super) fn definition(&self, store: &str) -> Result<FeatureDefinition> {
        let spec = FeatureSpec::from_json(&self.spec)?;
        let schema = serde_json::from_str(&self.schema).map_err(|error| MetaxyError::Spec {
            feature: self.feature.clone(),
            reason: format!("feature_schema: {error}"),
        })?;
        Ok(FeatureDefinition {
            spec,
            schema,
            project: self.project.clone(),
            class_path: self.class_path.clone(),
            origin: Origin::Store(store.to_owned()),
            external: None,
        })
    }
}

impl Store {
    /// All definitions ever recorded, the oldest first.
    pub(super) async fn recorded_definitions(&self) -> Result<Vec<Row>> {
        let Some(table) = self.system_table(SystemTable::FeatureVersions).await? else {
            return Ok(Vec::new());
        };
        let columns = selection(table.as_ref());
        let mut rows = Vec::new();
        for batch in SessionContext::new().read_table(table)?.select(columns)?.collect().await? {
            rows.extend(read(&batch)?);
        }
        rows.sort_by_key(|row| (row.recorded_at, row.order));
        Ok(rows)
    }
}

/// The columns under their names and in their types; NULL where an older version of Python made none.
fn selection(table: &dyn TableProvider) -> Vec<Expr> {
    let stored = table.schema();
    let wanted = SystemTable::FeatureVersions.schema();
    let mut columns: Vec<(&str, DataType)> =
        wanted.fields().iter().map(|field| (field.name().as_str(), field.data_type().clone())).collect();
    columns.push((ROW_ORDER, DataType::UInt64));
    columns
        .into_iter()
        .map(|(name, data_type)| {
            let value = match stored.field_with_name(name) {
                Ok(_) => ident(name),
                Err(_) => lit(ScalarValue::Null),
            };
            cast(value, data_type).alias(name)
        })
        .collect()
}

fn read(batch: &RecordBatch) -> Result<Vec<Row>> {
    let column = |name: &str| {
        batch.column_by_name(name).map(Arc::clone).ok_or_else(|| {
            MetaxyError::from(DataFusionError::Internal(format!("feature_versions: no column {name}")))
        })
    };
    let texts = [
        "project",
        "feature_key",
        "metaxy_definition_version",
        "feature_spec",
        "feature_schema",
        "feature_class_path",
        "metaxy_project_version",
        "tags",
    ];
    let texts = texts.map(|name| Ok::<_, MetaxyError>(column(name)?.as_string::<i32>().clone()));
    let mut columns = Vec::with_capacity(texts.len());
    for column in texts {
        columns.push(column?);
    }
    let (recorded, deleted, order) = (column("recorded_at")?, column("deleted_at")?, column(ROW_ORDER)?);
    let recorded = recorded.as_primitive::<TimestampMicrosecondType>();
    let order = order.as_primitive::<UInt64Type>();
    let row = |row: usize| {
        // A NULL reads as the empty string, which is no key, no spec and no version.
        let text = |column: usize| columns[column].value(row).to_owned();
        Row {
            project: text(0),
            feature: text(1),
            definition_version: text(2),
            recorded_at: recorded.is_valid(row).then(|| recorded.value(row)),
            spec: text(3),
            schema: text(4),
            class_path: text(5),
            project_version: text(6),
            tags: text(7),
            deleted: deleted.is_valid(row),
            order: order.value(row),
        }
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
