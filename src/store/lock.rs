//! Writing the lock file: the definitions of the features of other projects on which those declared here depend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Store;
use crate::config::FeatureSelection;
use crate::error::{MetaxyError, Result};
use crate::model::{
    External, FeatureDefinition, FeatureGraph, FeatureKey, LockChange, LockFile, LockedFeature,
};

/// What a caller can say about a lock file besides where it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LockOptions {
    /// The caller's project: what was pushed of it is never locked.
    pub project: Option<String>,
    /// More features of the store to lock, as `extra_features` of the configuration names them.
    pub extra_features: Vec<FeatureSelection>,
}

impl Store {
    /// Writes the store's definitions of all external features that the features declared here depend on, directly or
    /// not, to a lock file. A file that says the same already is left alone.
    ///
    /// # Errors
    /// A feature that the store doesn't know, or a file that can't be read or written.
    pub async fn lock(&self, path: &Path, options: &LockOptions) -> Result<Vec<LockChange>> {
        let old = LockFile::read(path)?;
        let new = self.lock_file(options).await?;
        let is_first = old.is_none();
        let changes = new.changes_from(&old.unwrap_or_default());
        if is_first || changes.iter().any(|change| !change.unchanged) {
            new.write(path)?;
        }
        Ok(changes)
    }

    async fn lock_file(&self, options: &LockOptions) -> Result<LockFile> {
        let own = self.declared();
        let is_own = |key: &FeatureKey| own.iter().any(|feature| feature.key() == key);
        let mut known: BTreeMap<FeatureKey, FeatureDefinition> = BTreeMap::new();
        for feature in self.pushed_definitions().await? {
            if options.project.as_ref() != Some(&feature.project) && !is_own(feature.key()) {
                known.insert(feature.key().clone(), feature);
            }
        }
        // Who needs a feature, for the error when there is none.
        let mut wanted: Vec<(FeatureKey, String)> = Vec::new();
        let parents = |feature: &FeatureDefinition| {
            let needed_by = format!("feature {} depends on it", feature.key());
            let deps = feature.spec.deps.iter().map(|dep| (dep.feature.clone(), needed_by.clone()));
            deps.collect::<Vec<_>>()
        };
        wanted.extend(own.iter().flat_map(parents));
        for selection in &options.extra_features {
            wanted.extend(selected(selection, &known)?);
        }
        let mut locked: BTreeSet<FeatureKey> = BTreeSet::new();
        let mut missing: BTreeMap<FeatureKey, String> = BTreeMap::new();
        while let Some((key, needed_by)) = wanted.pop() {
            if is_own(&key) || locked.contains(&key) {
                continue;
            }
            match known.get(&key) {
                Some(feature) => {
                    wanted.extend(parents(feature));
                    locked.insert(key);
                }
                None => {
                    missing.insert(key, needed_by);
                }
            }
        }
        if !missing.is_empty() {
            let missing: Vec<String> = missing.iter().map(|(key, why)| format!("{key} ({why})")).collect();
            return Err(MetaxyError::Store {
                store: self.name().to_owned(),
                reason: format!(
                    "features are not in the store: {}; push the projects that own them",
                    missing.join(", ")
                ),
            });
        }
        let all = own.iter().chain(known.values()).cloned();
        let graph = FeatureGraph::new(all, self.settings().length)?.in_store(self.name());
        let features = locked.into_iter().map(|key| Ok((key.clone(), locked_feature(&graph, &key)?)));
        Ok(LockFile { features: features.collect::<Result<_>>()? })
    }
}

fn locked_feature(graph: &FeatureGraph, key: &FeatureKey) -> Result<LockedFeature> {
    let definition = graph.lookup(&key.to_string())?.as_ref().clone();
    let fields =
        graph.field_versions(key)?.iter().map(|(field, version)| (field.to_string(), version.clone()));
    Ok(LockedFeature {
        version: graph.feature_version(key)?,
        version_by_field: fields.collect(),
        definition_version: graph.definition_version(key)?,
        definition: FeatureDefinition { external: Some(External::default()), ..definition },
    })
}

/// The features of the store that a selection means.
fn selected(
    selection: &FeatureSelection,
    known: &BTreeMap<FeatureKey, FeatureDefinition>,
) -> Result<Vec<(FeatureKey, String)>> {
    let chosen = |feature: &FeatureDefinition| selection.all || selection.projects.contains(&feature.project);
    let why = || "extra_features names it".to_owned();
    let mut found: Vec<_> =
        known.values().filter(|feature| chosen(feature)).map(|f| (f.key().clone(), why())).collect();
    for key in &selection.keys {
        found.push((FeatureKey::parse(key)?, why()));
    }
    Ok(found)
}
