//! Pushes of the past: which there were, and the features as they were then.

use chrono::{DateTime, Utc};
use indexmap::{IndexMap, IndexSet};

use super::rows::Row;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureGraph;
use crate::store::Store;

/// A version of a project that was pushed to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectVersion {
    /// The project.
    pub project: String,
    /// The version of its definitions.
    pub version: String,
    /// When it was pushed last.
    pub recorded_at: Option<DateTime<Utc>>,
    /// How many features it has.
    pub features: usize,
    /// The tags of its latest push, as JSON text.
    pub tags: String,
    /// Whether it is what the project's latest push has recorded.
    pub is_current: bool,
}

impl Store {
    /// All versions of projects that were pushed, in the order of their latest pushes.
    ///
    /// # Errors
    /// The record of definitions can't be read.
    pub async fn project_versions(&self) -> Result<Vec<ProjectVersion>> {
        let rows = self.recorded_definitions().await?;
        let mut versions: IndexMap<(&str, &str), (ProjectVersion, IndexSet<&str>)> = IndexMap::new();
        let mut current: IndexMap<&str, &str> = IndexMap::new();
        for row in &rows {
            current.insert(&row.project, &row.project_version);
            let (version, features) =
                versions.entry((&row.project, &row.project_version)).or_insert_with(|| {
                    let version = ProjectVersion {
                        project: row.project.clone(),
                        version: row.project_version.clone(),
                        recorded_at: None,
                        features: 0,
                        tags: String::new(),
                        is_current: false,
                    };
                    (version, IndexSet::new())
                });
            features.insert(&row.feature);
            version.tags.clone_from(&row.tags);
            version.recorded_at = row.recorded_at.and_then(DateTime::from_timestamp_micros);
        }
        // Those of one push keep their order.
        versions.sort_by(|_, (a, _), _, (b, _)| a.recorded_at.cmp(&b.recorded_at));
        let finish = |(version, features): (ProjectVersion, IndexSet<&str>)| {
            let is_current = current.get(version.project.as_str()) == Some(&version.version.as_str());
            ProjectVersion { features: features.len(), is_current, ..version }
        };
        Ok(versions.into_values().map(finish).collect())
    }

    /// The features as they were when this version of a project was pushed (the last time): the project's own, and
    /// those of other projects as the store had them then.
    ///
    /// # Errors
    /// The version was never pushed; the error names those that were.
    pub async fn load_graph(&self, project: &str, project_version: &str) -> Result<FeatureGraph> {
        let rows = self.recorded_definitions().await?;
        let of_push = |row: &&Row| row.project == project && row.project_version == project_version;
        let Some(last) = rows.iter().rposition(|row| of_push(&row)) else {
            return Err(self.never_pushed(project, project_version).await);
        };
        let mut definitions = self.latest_definitions(rows.iter().filter(of_push));
        let others = self.latest_definitions(rows[..=last].iter().filter(|row| row.project != project));
        let others =
            others.into_iter().filter(|other| definitions.iter().all(|own| own.key() != other.key()));
        let others: Vec<_> = others.collect();
        definitions.extend(others);
        FeatureGraph::new(definitions, self.settings().length)
    }

    async fn never_pushed(&self, project: &str, project_version: &str) -> MetaxyError {
        let known = match self.project_versions().await {
            Ok(versions) => versions,
            Err(error) => return error,
        };
        let known: Vec<_> =
            known.into_iter().filter(|v| v.project == project).map(|version| version.version).collect();
        let known = if known.is_empty() {
            format!("nothing of project {project} was pushed")
        } else {
            format!("pushed versions of project {project} are {}", known.join(", "))
        };
        MetaxyError::Store {
            store: self.name().to_owned(),
            reason: format!("project version {project_version:?} is not recorded; {known}"),
        }
    }
}
