//! `DESCRIBE FEATURE`: everything that is known about a definition, one row per thing.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::error::DataFusionError;

use super::print;
use crate::error::Result;
use crate::model::{FeatureDefinition, FeatureGraph};

/// What a row says: what it is about, the name of that, and the rest.
type Row = [Option<String>; 3];

/// The rows that describe a feature.
///
/// # Errors
/// Only those of Arrow.
pub(super) fn describe(graph: &FeatureGraph, definition: &FeatureDefinition) -> Result<RecordBatch> {
    let spec = &definition.spec;
    let one = |item: &str, value: String| [Some(item.to_owned()), None, Some(value)];
    let mut rows: Vec<Row> = vec![
        one("feature", spec.key.to_string()),
        one("table", spec.table_name()),
        one("project", definition.project.clone()),
        one("defined in", definition.origin.to_string()),
        one(
            "feature version",
            graph.feature_version(&spec.key).unwrap_or_else(|error| format!("unknown: {error}")),
        ),
        one("id columns", spec.id_columns.join(", ")),
    ];
    if definition.external.is_some() {
        rows.push(one(
            "external",
            format!("what is expected of a feature of project {}", definition.project),
        ));
    }
    let plan = graph.plan(&spec.key).ok();
    for (place, field) in spec.fields.iter().enumerate() {
        let mut said = vec![format!("code version {}", field.code_version)];
        if let Ok(version) = graph.field_version(&spec.key, &field.key) {
            said.push(format!("version {version}"));
        }
        let inputs = plan.iter().filter_map(|plan| plan.fields.get(place)).flat_map(|field| &field.parents);
        let inputs: Vec<&str> = inputs.map(|input| input.name.as_str()).collect();
        if !inputs.is_empty() {
            said.push(format!("computed from {}", inputs.join(", ")));
        }
        rows.push([Some("field".to_owned()), Some(field.key.to_string()), Some(said.join(", "))]);
    }
    for dep in &spec.deps {
        let clauses = print::parent(dep).into_iter().skip(1).collect::<Vec<_>>().join(" ");
        let clauses = (!clauses.is_empty()).then_some(clauses);
        rows.push([Some("parent".to_owned()), Some(dep.feature.to_string()), clauses]);
    }
    if let Some(description) = &spec.description {
        rows.push(one("description", description.clone()));
    }
    if !spec.metadata.is_empty() {
        rows.push(one("metadata", serde_json::Value::Object(spec.metadata.clone()).to_string()));
    }
    self::rows(["item", "name", "value"], &rows)
}

/// Rows of text.
///
/// # Errors
/// Only those of Arrow.
pub(super) fn rows<const N: usize>(columns: [&str; N], rows: &[[Option<String>; N]]) -> Result<RecordBatch> {
    let values = columns.into_iter().enumerate().map(|(at, column)| {
        let values: StringArray = rows.iter().map(|row| row[at].as_deref()).collect();
        (column, Arc::new(values) as ArrayRef, true)
    });
    Ok(RecordBatch::try_from_iter_with_nullable(values).map_err(DataFusionError::from)?)
}
