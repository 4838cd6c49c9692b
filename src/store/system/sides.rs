//! What a push would change: the features with a project as it is declared here, and as it was pushed last.

use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureGraph};
use crate::store::Store;

impl Store {
    /// The features as they would be if a project was pushed now: its own as they are declared here, those of other
    /// projects as they are known.
    ///
    /// # Errors
    /// No feature of the project is declared here, or the store can't be read.
    pub async fn declared_graph(&self, project: &str) -> Result<FeatureGraph> {
        let graph = self.graph().await?;
        // What only the store has of the project would be gone.
        let is_own = |feature: &FeatureDefinition| {
            feature.project == project && feature.external.is_none() && !feature.origin.is_recorded()
        };
        if !graph.iter().any(|feature| is_own(feature)) {
            return Err(MetaxyError::Invalid(format!(
                "no features of project {project} are declared here; name two of its pushed versions, or another \
                 project"
            )));
        }
        let features = graph.iter().filter(|feature| feature.project != project || is_own(feature));
        FeatureGraph::new(features.map(|feature| FeatureDefinition::clone(feature)), graph.hash_length())
    }

    /// The features with a project as it was pushed last, and those of other projects as they are known; without the
    /// project's if it was never pushed.
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
        for other in graph.iter().filter(|feature| feature.project != project) {
            if features.iter().all(|own| own.key() != other.key()) {
                features.push(FeatureDefinition::clone(other));
            }
        }
        FeatureGraph::new(features, graph.hash_length())
    }
}
