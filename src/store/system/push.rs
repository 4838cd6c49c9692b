//! Recording the definitions of a project in a store.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::error::DataFusionError;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Value, json};

use super::rows::Row;
use super::{Event, EventType, Payload, SystemTable, time};
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey, python_json_in_order};
use crate::store::Store;

/// The tag that says what has made a row.
const RESERVED_TAG: &str = "metaxy";
/// The value of the reserved tag's `version`.
const PUSHED_BY: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
/// How often the record is looked at anew when others push at the same time.
const ATTEMPTS: usize = 20;

/// What a caller can say about a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Names and values to find the push by, such as the commit it was made from. `metaxy` is reserved.
    pub tags: IndexMap<String, String>,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushReport {
    /// The project.
    pub project: String,
    /// The version of its definitions.
    pub project_version: String,
    /// Whether the latest push had this version already.
    pub already_pushed: bool,
    /// Features whose definition was recorded anew although the version was pushed already.
    pub updated_features: Vec<FeatureKey>,
}

impl Store {
    /// Records the definitions of a project's features; of those declared here, if all are of one, without a name.
    ///
    /// A new version of the project is recorded whole. Of the version that was pushed last, only features whose
    /// definition has changed are; if there are none, nothing happens. Several pushes of the same at a time record
    /// it once.
    ///
    /// # Errors
    /// No features to push, or one whose parents are unknown; a reserved tag; a store that can't be written.
    pub async fn push(&self, project: Option<&str>, options: &PushOptions) -> Result<PushReport> {
        let tags = tags_json(&options.tags)?;
        let graph = self.refresh().await?;
        let project = self.pushed_project(project)?;
        let features: Vec<_> = graph.project_features(&project).collect();
        let project_version = graph.project_version(&project)?;
        for _ in 0..ATTEMPTS {
            let record = Record::new(self.recorded_definitions().await?, &project);
            let already_pushed = record.version.as_deref() == Some(&project_version);
            let mut wanted = features.clone();
            if already_pushed {
                let known = record.definition_versions(&project_version);
                let mut changed = Vec::new();
                for feature in wanted {
                    let version = graph.definition_version(feature.key())?;
                    if known.get(feature.key().to_string().as_str()) != Some(&version.as_str()) {
                        changed.push(feature);
                    }
                }
                wanted = changed;
            }
            let mut report = PushReport {
                project: project.clone(),
                project_version: project_version.clone(),
                already_pushed,
                updated_features: Vec::new(),
            };
            if wanted.is_empty() {
                return Ok(report);
            }
            let push =
                Push { graph: &graph, project_version: &project_version, tags: &tags, at: record.next() };
            // Whoever pushes the same over the same record makes the same key: one of them wins.
            let key = format!("push/{project}/{project_version}/{}", record.rows.len());
            let rows =
                self.append_system(SystemTable::FeatureVersions, push.rows(&wanted)?, Some(key)).await?;
            if rows > 0 {
                if already_pushed {
                    report.updated_features = wanted.iter().map(|feature| feature.key().clone()).collect();
                }
                let payload = Payload::RowsAffected(rows);
                self.note_event(&Event::new(&project, EventType::PushCompleted, payload)).await;
                self.refresh().await?;
                return Ok(report);
            }
        }
        Err(MetaxyError::Store {
            store: self.name().to_owned(),
            reason: format!("other pushes of project {project} were faster {ATTEMPTS} times; try again"),
        })
    }

    /// The project to push: the named one, or the only one that has features declared here.
    fn pushed_project(&self, named: Option<&str>) -> Result<String> {
        let declared = self.declared();
        let declared: IndexSet<&str> = declared.iter().map(|feature| feature.project.as_str()).collect();
        let list = || declared.iter().copied().collect::<Vec<_>>().join(", ");
        match (named, declared.first()) {
            (_, None) => Err(MetaxyError::Invalid(
                "nothing to push: no features are declared in feature files, by CREATE FEATURE or by the program".into(),
            )),
            (Some(named), _) if declared.contains(named) => Ok(named.to_owned()),
            (Some(named), _) => Err(MetaxyError::Invalid(format!(
                "nothing to push: project {named} has no features here; name the project, there are features of {}",
                list()
            ))),
            (None, Some(only)) if declared.len() == 1 => Ok((*only).to_owned()),
            (None, _) => Err(MetaxyError::Invalid(format!(
                "features of several projects are declared ({}); name the project to push, or set `project` in the \
                 configuration",
                list()
            ))),
        }
    }
}

/// What a store has recorded of a project.
struct Record {
    /// The project's rows, the oldest first.
    rows: Vec<Row>,
    /// The version that was pushed last.
    version: Option<String>,
    /// The latest time in the whole record.
    latest: Option<i64>,
}

impl Record {
    fn new(mut rows: Vec<Row>, project: &str) -> Self {
        let latest = rows.last().and_then(|row| row.recorded_at);
        rows.retain(|row| row.project == project);
        let version = rows.last().map(|row| row.project_version.clone());
        Self { rows, version, latest }
    }

    /// The definition version of each feature of a project version.
    fn definition_versions(&self, project_version: &str) -> HashMap<&str, &str> {
        let rows = self.rows.iter().filter(|row| row.project_version == project_version);
        rows.map(|row| (row.feature.as_str(), row.definition_version.as_str())).collect()
    }

    /// A time after all that are recorded, in microseconds: what is pushed now holds, whatever this clock says.
    fn next(&self) -> i64 {
        crate::store::stamp::later_than(self.latest).timestamp_micros()
    }
}

/// What all rows of a push share.
struct Push<'a> {
    graph: &'a FeatureGraph,
    project_version: &'a str,
    tags: &'a str,
    at: i64,
}

impl Push<'_> {
    fn rows(&self, features: &[&Arc<FeatureDefinition>]) -> Result<RecordBatch> {
        let text = |value: &dyn Fn(&FeatureDefinition) -> Result<String>| -> Result<ArrayRef> {
            let values = features.iter().map(|feature| value(feature)).collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StringArray::from(values)))
        };
        let columns = vec![
            text(&|feature| Ok(feature.project.clone()))?,
            text(&|feature| Ok(feature.key().to_string()))?,
            text(&|feature| self.graph.feature_version(feature.key()))?,
            text(&|feature| self.graph.definition_version(feature.key()))?,
            Arc::new(TimestampMicrosecondArray::from(vec![self.at; features.len()])),
            text(&|feature| Ok(python_json_in_order(&feature.spec.to_json())))?,
            text(&|feature| Ok(python_json_in_order(&feature.schema)))?,
            text(&|feature| Ok(feature.class_path.clone()))?,
            text(&|_| Ok(self.project_version.to_owned()))?,
            text(&|_| Ok(self.tags.to_owned()))?,
            new_null_array(&time(), features.len()),
        ];
        let rows = RecordBatch::try_new(SystemTable::FeatureVersions.schema(), columns);
        Ok(rows.map_err(DataFusionError::from)?)
    }
}

/// The tags as they are stored, with the reserved one.
fn tags_json(tags: &IndexMap<String, String>) -> Result<String> {
    if tags.contains_key(RESERVED_TAG) {
        return Err(MetaxyError::Invalid(format!("tag {RESERVED_TAG:?} is reserved; give it another name")));
    }
    let mut all: serde_json::Map<String, Value> =
        tags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    all.insert(RESERVED_TAG.into(), json!(python_json_in_order(&json!({"version": PUSHED_BY}))));
    Ok(python_json_in_order(&Value::Object(all)))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    #[test]
    fn tags_are_stored_as_python_does() {
        let tags = IndexMap::from([("git".to_owned(), "ä".to_owned())]);
        let expected = format!(r#"{{"git": "\u00e4", "metaxy": "{{\"version\": \"{PUSHED_BY}\"}}"}}"#);
        assert_eq!(tags_json(&tags).unwrap(), expected);
        let reserved = IndexMap::from([(RESERVED_TAG.to_owned(), String::new())]);
        assert_eq!(
            tags_json(&reserved).unwrap_err().to_string(),
            "tag \"metaxy\" is reserved; give it another name"
        );
    }

    #[test]
    fn a_push_is_later_than_all_others() {
        let future = Utc::now() + chrono::TimeDelta::days(1);
        let record = Record { rows: Vec::new(), version: None, latest: Some(future.timestamp_micros()) };
        assert_eq!(record.next(), future.timestamp_micros() + 1);
        let past = Record { latest: Some(0), ..record };
        assert!(DateTime::from_timestamp_micros(past.next()).unwrap() <= Utc::now());
    }
}
