//! What a push would change: the features with a project as it is declared here, and as it was pushed last.

use std::collections::HashSet;

use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey, Origin};
use crate::store::Store;

impl Store {
    /// The features as they would be if a project was pushed now: its own are those that the push would record,
    /// those of other projects are as they are known.
    ///
    /// What the push would take out of the project is there as [`Origin::Removed`], as it is after a push: versions of
    /// features that still depend on it are known by it.
    ///
    /// # Errors
    /// No feature of the project is declared here, or the store can't be read.
    pub async fn declared_graph(&self, project: &str) -> Result<FeatureGraph> {
        let graph = self.graph().await?;
        let is_own = |feature: &FeatureDefinition| feature.project == project && feature.external.is_none();
        if !graph.iter().any(|feature| is_own(feature) && !feature.origin.is_recorded()) {
            return Err(MetaxyError::Invalid(format!(
                "no features of project {project} are declared here; name two of its pushed versions, or another \
                 project"
            )));
        }
        let recorded: HashSet<&FeatureKey> =
            graph.project_features(project).map(|feature| feature.key()).collect();
        let features = graph.iter().filter(|feature| feature.project != project || is_own(feature));
        let features = features.map(|feature| {
            let mut feature = FeatureDefinition::clone(feature);
            if feature.project == project && !recorded.contains(feature.key()) {
                feature.origin = Origin::Removed(self.name().to_owned());
            }
            feature
        });
        FeatureGraph::new(features, graph.hash_length())
    }

    /// The features with a project as it was pushed last, and those of other projects as they are known; without the
    /// project's if it was never pushed. What was taken out of the project before is there as [`Origin::Removed`].
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn pushed_graph(&self, project: &str) -> Result<FeatureGraph> {
        let versions = self.project_versions().await?;
        let last = versions.iter().find(|version| version.project == project && version.is_current);
        let mut features = Vec::new();
        if let Some(last) = last {
            let pushed = self.load_graph(project, &last.version).await?;
            let own = pushed.iter().filter(|feature| feature.project == project);
            features.extend(own.map(|feature| FeatureDefinition::clone(feature)));
        }
        let graph = self.graph().await?;
        let is_known = |feature: &FeatureDefinition| {
            feature.project != project || matches!(feature.origin, Origin::Removed(_))
        };
        for other in graph.iter().filter(|feature| is_known(feature)) {
            if features.iter().all(|own| own.key() != other.key()) {
                features.push(FeatureDefinition::clone(other));
            }
        }
        FeatureGraph::new(features, graph.hash_length())
    }
}
