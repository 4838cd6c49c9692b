//! All features that are known, how they depend on each other, and their versions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::definition::FeatureDefinition;
use super::key::{FeatureKey, FieldKey};
use super::plan::FeaturePlan;
use super::suggest::nearest;
use super::versions;
use crate::error::{MetaxyError, Result};

/// Features that fit together. Everything is computed when it is made; it never changes afterwards.
#[derive(Debug, Clone)]
pub struct FeatureGraph {
    pub(super) hash_length: usize,
    /// The store in which definitions were looked for, for messages.
    pub(super) store: Option<String>,
    /// Parents before children.
    pub(super) entries: Vec<Entry>,
    pub(super) by_key: HashMap<FeatureKey, usize>,
    pub(super) by_table: HashMap<String, usize>,
    pub(super) projects: BTreeMap<String, Project>,
}

/// What a project consists of here.
#[derive(Debug, Clone)]
pub(super) struct Project {
    pub(super) version: String,
    pub(super) features: HashSet<FeatureKey>,
}

/// A feature and what is known about it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) definition: Arc<FeatureDefinition>,
    pub(super) spec_version: String,
    pub(super) definition_version: String,
    pub(super) resolved: Result<Resolved, Unusable>,
}

/// What can be said of a feature whose ancestors are all defined.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) plan: FeaturePlan,
    pub(super) field_versions: Vec<(FieldKey, String)>,
}

/// Why nothing can be computed for a feature.
#[derive(Debug, Clone)]
pub(super) enum Unusable {
    /// A feature, perhaps further up, has a parent that isn't defined.
    Undefined { child: FeatureKey, parent: FeatureKey },
    /// A feature, perhaps further up, is not what it was expected to be.
    Unexpected { reason: String },
}

impl FeatureGraph {
    /// This graph, as that of a store whose definitions are among it.
    pub(crate) fn in_store(mut self, name: &str) -> Self {
        self.store = Some(name.to_owned());
        self
    }

    /// This graph without the use of some features and of what depends on them, and why.
    pub(crate) fn refusing(mut self, mut reasons: HashMap<FeatureKey, String>) -> Self {
        for entry in &mut self.entries {
            let key = entry.definition.key();
            let mut above = entry.definition.spec.deps.iter().map(|dep| &dep.feature);
            let reason = reasons.get(key).or_else(|| above.find_map(|parent| reasons.get(parent))).cloned();
            if let Some(reason) = reason {
                entry.resolved = Err(Unusable::Unexpected { reason: reason.clone() });
                reasons.insert(key.clone(), reason);
            }
        }
        self
    }

    /// The definition of this feature, if there is one.
    pub fn get(&self, key: &FeatureKey) -> Option<&Arc<FeatureDefinition>> {
        self.by_key.get(key).and_then(|index| self.entries.get(*index)).map(|entry| &entry.definition)
    }

    /// The definition of the feature with this key (`a/b`) or table name (`a__b`).
    ///
    /// The error suggests a name that is nearly the same, if there is one.
    pub fn lookup(&self, name: &str) -> Result<&Arc<FeatureDefinition>> {
        let by_key = FeatureKey::parse(name).ok().and_then(|key| self.by_key.get(&key));
        let index = by_key.or_else(|| self.by_table.get(name));
        let entry = index.and_then(|index| self.entries.get(*index)).ok_or_else(|| self.unknown(name))?;
        Ok(&entry.definition)
    }

    /// All features, parents before children, by key where that leaves a choice.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<FeatureDefinition>> + ExactSizeIterator {
        self.entries.iter().map(|entry| &entry.definition)
    }

    /// All defined ancestors of a feature, parents before children; none for an unknown feature.
    pub fn upstream(&self, key: &FeatureKey) -> Vec<&Arc<FeatureDefinition>> {
        let mut wanted: HashSet<&FeatureKey> = HashSet::from([key]);
        // Children come first this way round, so that whoever is wanted has been seen by then.
        let mut found = Vec::new();
        for definition in self.iter().rev() {
            if wanted.contains(definition.key()) {
                wanted.extend(definition.spec.deps.iter().map(|dep| &dep.feature));
                if definition.key() != key {
                    found.push(definition);
                }
            }
        }
        found.reverse();
        found
    }

    /// All features that depend on this one, directly or not, parents before children.
    pub fn downstream(&self, key: &FeatureKey) -> Vec<&Arc<FeatureDefinition>> {
        let mut reached: HashSet<&FeatureKey> = HashSet::from([key]);
        let mut found = Vec::new();
        for definition in self.iter() {
            if definition.spec.deps.iter().any(|dep| reached.contains(&dep.feature)) {
                reached.insert(definition.key());
                found.push(definition);
            }
        }
        found
    }

    /// What an increment of the feature needs to know.
    ///
    /// An error if the feature is unknown or an ancestor isn't defined.
    pub fn plan(&self, key: &FeatureKey) -> Result<FeaturePlan> {
        Ok(self.resolved(key)?.plan.clone())
    }

    /// Changes with everything that goes into the feature's samples. Errors as for [`FeatureGraph::plan`].
    pub fn feature_version(&self, key: &FeatureKey) -> Result<String> {
        Ok(self.resolved(key)?.plan.feature_version.clone())
    }

    /// Changes with everything that goes into one field. Errors as for [`FeatureGraph::plan`], or no such field.
    pub fn field_version(&self, key: &FeatureKey, field: &FieldKey) -> Result<String> {
        let versions = &self.resolved(key)?.field_versions;
        let found = versions.iter().find(|(other, _)| other == field);
        found.map(|(_, version)| version.clone()).ok_or_else(|| MetaxyError::Spec {
            feature: key.to_string(),
            reason: format!("it has no field {field}"),
        })
    }

    /// The versions of all fields. Errors as for [`FeatureGraph::plan`].
    pub fn field_versions(&self, key: &FeatureKey) -> Result<&[(FieldKey, String)]> {
        Ok(&self.resolved(key)?.field_versions)
    }

    /// Changes with the feature's own spec. An error if the feature is unknown.
    pub fn spec_version(&self, key: &FeatureKey) -> Result<String> {
        Ok(self.entry(key)?.spec_version.clone())
    }

    /// Changes with the feature's own spec and schema. An error if the feature is unknown.
    pub fn definition_version(&self, key: &FeatureKey) -> Result<String> {
        Ok(self.entry(key)?.definition_version.clone())
    }

    /// Changes with any definition of the project; the word `empty` if the project has no features here.
    pub fn project_version(&self, project: &str) -> Result<String> {
        let found = self.projects.get(project).map(|project| project.version.clone());
        Ok(found.unwrap_or_else(|| versions::project_version(&[], self.hash_length)))
    }

    /// The features that make up a project's version, parents before children.
    pub fn project_features(&self, project: &str) -> impl Iterator<Item = &Arc<FeatureDefinition>> {
        let features = self.projects.get(project).map(|project| &project.features);
        self.iter().filter(move |feature| features.is_some_and(|keys| keys.contains(feature.key())))
    }

    /// How many characters of each version are kept.
    pub fn hash_length(&self) -> usize {
        self.hash_length
    }

    /// Are there no features?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many features there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, key: &FeatureKey) -> Result<&Entry> {
        let entry = self.by_key.get(key).and_then(|index| self.entries.get(*index));
        entry.ok_or_else(|| self.unknown(&key.to_string()))
    }

    fn resolved(&self, key: &FeatureKey) -> Result<&Resolved> {
        self.entry(key)?.resolved.as_ref().map_err(|unusable| match unusable {
            Unusable::Undefined { child, parent } => {
                let below = if child == key { String::new() } else { format!(" (above feature {key})") };
                let place = self
                    .store
                    .as_ref()
                    .map_or_else(String::new, |store| format!(" in the feature files or in store {store}"));
                let remedy = match self.near(&parent.to_string()).filter(|near| *near != child.to_string()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "define it or push its project".to_owned(),
                };
                MetaxyError::Graph(format!(
                    "feature {child}{below} depends on {parent}, which is not defined{place}; {remedy}"
                ))
            }
            Unusable::Unexpected { reason } => {
                MetaxyError::Graph(format!("feature {key} can't be used: {reason}"))
            }
        })
    }

    fn unknown(&self, name: &str) -> MetaxyError {
        let reason = match self.near(name) {
            Some(near) => format!("did you mean {near}?"),
            None if self.is_empty() => "no features are defined".to_owned(),
            None => String::new(),
        };
        MetaxyError::UnknownFeature { feature: name.to_owned(), reason }
    }

    /// The feature that somebody may have meant by this name.
    fn near(&self, name: &str) -> Option<String> {
        nearest(&name.replace("__", "/"), self.iter().map(|definition| definition.key().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FeatureSpec, FeatureSpecBuilder, FieldSpec, Origin};

    fn key(text: &str) -> FeatureKey {
        FeatureKey::parse(text).unwrap()
    }

    fn spec(key: &str) -> FeatureSpecBuilder {
        FeatureSpec::builder(key).id_columns(["video_id"])
    }

    fn graph(specs: impl IntoIterator<Item = FeatureSpecBuilder>) -> Result<FeatureGraph> {
        let declare = |spec: FeatureSpecBuilder| {
            FeatureDefinition::declared(spec.build().unwrap(), "demo", Origin::Session)
        };
        FeatureGraph::new(specs.into_iter().map(declare), 64)
    }

    fn example() -> FeatureGraph {
        let field = |key: &str| FieldSpec::new(key).code_version("1");
        graph([
            spec("example/face")
                .dep("example/crop")
                .field(field("faces").depends_on("example/crop", ["frames"])),
            spec("example/crop").dep("example/video").field(field("audio")).field(field("frames")),
            spec("example/video").field(field("audio")).field(field("frames")),
        ])
        .unwrap()
    }

    fn keys(definitions: &[&Arc<FeatureDefinition>]) -> String {
        definitions.iter().map(|found| found.key().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn walks() {
        let graph = example();
        assert_eq!(keys(&graph.iter().collect::<Vec<_>>()), "example/video example/crop example/face");
        assert_eq!(keys(&graph.upstream(&key("example/face"))), "example/video example/crop");
        assert_eq!(keys(&graph.downstream(&key("example/video"))), "example/crop example/face");
        assert!(graph.upstream(&key("example/video")).is_empty());
        assert!(graph.downstream(&key("unknown")).is_empty());
        assert_eq!((graph.len(), graph.is_empty(), graph.hash_length()), (3, false, 64));
    }

    #[test]
    fn plans() {
        let graph = example();
        let plan = graph.plan(&key("example/face")).unwrap();
        assert!(!plan.is_root());
        assert_eq!(plan.parents[0].feature_version, graph.feature_version(&key("example/crop")).unwrap());
        assert_eq!(plan.fields[0].parents.len(), 1);
        assert_eq!(plan.fields[0].parents[0].name, "example/crop.frames");
        assert_eq!(plan.comparison_columns, ["video_id"]);
        assert!(graph.plan(&key("example/video")).unwrap().is_root());
    }

    #[test]
    fn lookup_by_key_and_table_name() {
        let graph = graph([spec("a-x/b"), spec("video/crop")]).unwrap();
        for name in ["a-x/b", "a_x__b"] {
            assert_eq!(graph.lookup(name).unwrap().key(), &key("a-x/b"));
        }
        for name in ["video/corp", "video__corp", "Video/Crop"] {
            let error = graph.lookup(name).unwrap_err().to_string();
            assert_eq!(error, format!("unknown feature {name}; did you mean video/crop?"));
        }
        assert_eq!(graph.lookup("document").unwrap_err().to_string(), "unknown feature document");
        assert!(graph.feature_version(&key("x")).is_err());
        let none = FeatureGraph::new([], 8).unwrap();
        assert_eq!(none.lookup("a").unwrap_err().to_string(), "unknown feature a; no features are defined");
    }

    #[test]
    fn undefined_parents_matter_only_when_asked_for() {
        let graph = graph([spec("b").dep("gone"), spec("c").dep("b"), spec("d")]).unwrap();
        let error = graph.plan(&key("b")).unwrap_err().to_string();
        assert!(error.contains("feature b depends on gone, which is not defined"), "{error}");
        let error = graph.feature_version(&key("c")).unwrap_err().to_string();
        assert!(error.contains("feature b (above feature c) depends on gone"), "{error}");
        assert!(graph.field_version(&key("c"), &FieldKey::parse("default").unwrap()).is_err());
        assert!(graph.definition_version(&key("c")).is_ok() && graph.spec_version(&key("c")).is_ok());
        assert!(graph.plan(&key("d")).is_ok());
        assert!(graph.field_version(&key("d"), &FieldKey::parse("x").unwrap()).is_err());
    }

    #[test]
    fn what_is_refused_takes_its_children_along() {
        let graph = graph([spec("a"), spec("b").dep("a"), spec("c").dep("b"), spec("d")]).unwrap();
        let graph = graph.refusing(HashMap::from([(key("a"), "no".to_owned())]));
        for feature in ["a", "b", "c"] {
            let error = graph.feature_version(&key(feature)).unwrap_err().to_string();
            assert_eq!(error, format!("feature graph: feature {feature} can't be used: no"));
        }
        assert!(graph.feature_version(&key("d")).is_ok() && graph.lookup("a").is_ok());
    }

    #[test]
    fn threads_can_share_it() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<FeatureGraph>();
        shared::<FeaturePlan>();
    }
}
