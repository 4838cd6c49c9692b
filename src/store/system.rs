//! Reading feature definitions that were pushed to a store.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::MetadataStore;
use crate::error::Result;
use crate::model::{FeatureDefinition, FeatureKey, FeatureSpec, Origin};

/// The system table that holds every definition ever pushed.
pub(crate) const FEATURE_VERSIONS: &str = "metaxy-system/feature_versions";

/// The columns of the record of definitions, in the order in which the Python package makes them.
pub(crate) fn feature_versions_schema() -> Schema {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [
        ("project", DataType::Utf8),
        ("feature_key", DataType::Utf8),
        ("metaxy_feature_version", DataType::Utf8),
        ("metaxy_definition_version", DataType::Utf8),
        ("recorded_at", time.clone()),
        ("feature_spec", DataType::Utf8),
        ("feature_schema", DataType::Utf8),
        ("feature_class_path", DataType::Utf8),
        ("metaxy_project_version", DataType::Utf8),
        ("tags", DataType::Utf8),
        ("deleted_at", time),
    ];
    Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec())
}

const COLUMNS: [&str; 7] = [
    "project",
    "feature_key",
    "recorded_at",
    "feature_spec",
    "feature_schema",
    "feature_class_path",
    "deleted_at",
];

/// The current definition of each feature that was pushed to the store: its latest row.
///
/// A row that can't be read is skipped, with a line in `warnings`.
pub(crate) async fn definitions(
    name: &str,
    store: &dyn MetadataStore,
    warnings: &mut Vec<String>,
) -> Result<Vec<FeatureDefinition>> {
    let Some(table) = store.open(&FeatureKey::parse(FEATURE_VERSIONS)?).await? else {
        return Ok(Vec::new());
    };
    let rows = SessionContext::new().read_table(Arc::clone(&table.provider))?.select_columns(&COLUMNS)?;
    let mut latest: HashMap<String, Row> = HashMap::new();
    let mut order = Vec::new();
    for batch in rows.collect().await? {
        for row in read(&batch)? {
            match latest.get_mut(&row.feature) {
                None => {
                    order.push(row.feature.clone());
                    latest.insert(row.feature.clone(), row);
                }
                Some(known) if known.recorded_at <= row.recorded_at => *known = row,
                Some(_) => {}
            }
        }
    }
    let mut definitions = Vec::new();
    for feature in order {
        let Some(row) = latest.remove(&feature).filter(|row| !row.deleted) else {
            continue;
        };
        match row.definition(name) {
            Ok(definition) => definitions.push(definition),
            Err(error) => warnings.push(format!("store {name}: definition of {feature} skipped: {error}")),
        }
    }
    Ok(definitions)
}

struct Row {
    project: String,
    feature: String,
    recorded_at: Option<i64>,
    spec: String,
    schema: String,
    class_path: String,
    deleted: bool,
}

impl Row {
    fn definition(&self, store: &str) -> Result<FeatureDefinition> {
        let spec = FeatureSpec::from_json(&self.spec)?;
        let schema = serde_json::from_str(&self.schema).map_err(|error| crate::error::MetaxyError::Spec {
            feature: self.feature.clone(),
            reason: format!("feature_schema: {error}"),
        })?;
        Ok(FeatureDefinition {
            spec,
            schema,
            project: self.project.clone(),
            class_path: self.class_path.clone(),
            origin: Origin::Store(store.to_owned()),
        })
    }
}

fn read(batch: &RecordBatch) -> Result<Vec<Row>> {
    let [project, feature, recorded_at, spec, schema, class_path, deleted_at] =
        <[ArrayRef; 7]>::try_from(batch.columns().to_vec())
            .map_err(|_| DataFusionError::Internal("feature_versions: columns".into()))?;
    let text = |column: &ArrayRef| -> Result<StringArray> {
        Ok(cast(column, &DataType::Utf8).map_err(DataFusionError::from)?.as_string::<i32>().clone())
    };
    let times = cast(&recorded_at, &DataType::Int64).map_err(DataFusionError::from)?;
    let times = times.as_primitive::<Int64Type>();
    let (project, feature, spec) = (text(&project)?, text(&feature)?, text(&spec)?);
    let (schema, class_path) = (text(&schema)?, text(&class_path)?);
    Ok((0..batch.num_rows())
        .map(|row| Row {
            project: project.value(row).to_owned(),
            feature: feature.value(row).to_owned(),
            recorded_at: times.is_valid(row).then(|| times.value(row)),
            spec: spec.value(row).to_owned(),
            schema: schema.value(row).to_owned(),
            class_path: class_path.value(row).to_owned(),
            deleted: deleted_at.is_valid(row),
        })
        .collect())
}
