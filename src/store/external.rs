//! Features of other projects: what is expected of them, and whether the store's definitions are that.
//!
//! Expectations come from feature files (`external = true`) and from the lock file. The definition in the store is the
//! one that holds; an expectation stands in for it while the store has none, or when `sync` is off.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use chrono::DateTime;

use super::{Store, Warnings};
use crate::config::Config;
use crate::error::Result;
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey, LockFile, OnMismatch};

/// What a project expects of features that it doesn't own.
#[derive(Debug)]
pub(crate) struct Expectations {
    /// Where the lock file is, or would be.
    path: Option<PathBuf>,
    lock: RwLock<LockFile>,
    /// Whether the store's definitions replace what is expected.
    sync: bool,
    /// Whether every difference is an error.
    locked: bool,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { path: None, lock: RwLock::default(), sync: true, locked: false }
    }
}

impl Expectations {
    /// As the configuration says, with the lock file if there is one.
    ///
    /// # Errors
    /// A lock file that can't be read.
    pub(crate) fn from_config(config: &Config, warnings: &Warnings) -> Result<Self> {
        let external = &config.external;
        let path = config.lock_file();
        let lock = LockFile::read(&path)?;
        if lock.is_none() && external.lock_path.is_some() {
            warnings.push(format!(
                "lock file {} does not exist; CALL lock() writes it (metaxy_lock_path names it)",
                path.display()
            ));
        }
        let lock = RwLock::new(lock.unwrap_or_default());
        Ok(Self { path: Some(path), lock, sync: external.sync, locked: external.locked })
    }

    /// Where the lock file is, or would be; `None` when there is no configuration.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the lock file again.
    ///
    /// # Errors
    /// A lock file that can't be read.
    pub(crate) fn reload(&self) -> Result<()> {
        if let Some(path) = &self.path {
            let lock = LockFile::read(path)?.unwrap_or_default();
            *self.lock.write().unwrap_or_else(PoisonError::into_inner) = lock;
        }
        Ok(())
    }

    fn lock(&self) -> LockFile {
        self.lock.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A version that a feature should have.
struct Expected {
    key: FeatureKey,
    /// Who expects it, and what can be done when the store has another.
    source: String,
    remedy: &'static str,
    version: String,
    fields: Vec<(String, String)>,
    is_error: bool,
}

impl Store {
    /// The features that are known here: the declared ones, those that were pushed to the store, and stand-ins for
    /// external ones that are not in the store. Says what is not as expected.
    pub(super) fn known_features(
        &self,
        declared: Vec<FeatureDefinition>,
        pushed: &[FeatureDefinition],
    ) -> Result<FeatureGraph> {
        let expectations = self.expectations();
        let lock = expectations.lock();
        let (expected, own): (Vec<_>, Vec<_>) =
            declared.into_iter().partition(|feature| feature.external.is_some());
        // The others that are expected come from the lock file.
        let declared: HashSet<FeatureKey> = expected.iter().map(|feature| feature.key().clone()).collect();
        let mut taken: HashSet<FeatureKey> = own.iter().map(|feature| feature.key().clone()).collect();
        let mut stand_ins = Vec::new();
        for feature in
            expected.into_iter().chain(lock.features.values().map(|locked| locked.definition.clone()))
        {
            if taken.insert(feature.key().clone()) {
                stand_ins.push(feature);
            }
        }
        let is_own = |key: &FeatureKey| own.iter().any(|feature| feature.key() == key);
        let stands_in = |key: &FeatureKey| stand_ins.iter().any(|feature| feature.key() == key);
        let in_store: Vec<FeatureDefinition> = pushed
            .iter()
            .filter(|p| !is_own(p.key()) && (expectations.sync || !stands_in(p.key())))
            .cloned()
            .collect();
        let (replaced, left): (Vec<_>, Vec<_>) =
            stand_ins.into_iter().partition(|s| in_store.iter().any(|stored| stored.key() == s.key()));
        let length = self.settings().length;
        let all = own.iter().chain(&in_store).chain(&left).cloned();
        let graph = FeatureGraph::new(all, length)?.in_store(self.name());
        if expectations.sync {
            for feature in &left {
                self.warn_once(format!(
                    "external feature {} is not in store {}; what {} says of it is used",
                    feature.key(),
                    self.name(),
                    feature.origin
                ));
            }
        }
        let others = in_store.iter().filter(|stored| replaced.iter().all(|r| r.key() != stored.key()));
        let others: Vec<_> = others.chain(&left).collect();
        let expected = self.expected(&replaced, &declared, &others, &own, &lock);
        Ok(self.compare(graph, &expected, expectations.locked))
    }

    /// The versions that the expectations come to.
    fn expected(
        &self,
        replaced: &[FeatureDefinition],
        declared: &HashSet<FeatureKey>,
        others: &[&FeatureDefinition],
        own: &[FeatureDefinition],
        lock: &LockFile,
    ) -> Vec<Expected> {
        let mut found = Vec::new();
        let is_own = |key: &FeatureKey| own.iter().any(|feature| feature.key() == key);
        if replaced.is_empty() {
            return found;
        }
        let path = self.expectations().path().map_or_else(String::new, |path| path.display().to_string());
        for (key, locked) in lock.features.iter().filter(|(key, _)| !is_own(key)) {
            found.push(Expected {
                key: key.clone(),
                source: format!("lock file {path}"),
                remedy: "CALL lock() accepts the store's definition",
                version: locked.version.clone(),
                fields: locked.version_by_field.clone().into_iter().collect(),
                is_error: false,
            });
        }
        let graph = FeatureGraph::new(with_ancestors(replaced, others), self.settings().length);
        for feature in replaced.iter().filter(|feature| declared.contains(feature.key())) {
            let versions = graph.as_ref().map_err(ToString::to_string).and_then(|graph| {
                let fields = graph.field_versions(feature.key()).map_err(|error| error.to_string())?;
                Ok((graph.feature_version(feature.key()).map_err(|error| error.to_string())?, fields))
            });
            let (version, fields) = match versions {
                Ok(versions) => versions,
                Err(reason) => {
                    self.warn_once(format!(
                        "{}: the version of external feature {} can't be worked out, so it is not compared with the \
                         store's: {reason}",
                        feature.origin,
                        feature.key()
                    ));
                    continue;
                }
            };
            found.push(Expected {
                key: feature.key().clone(),
                source: feature.origin.to_string(),
                remedy: "declare it as it is in the store, or push its project again",
                version,
                fields: fields.iter().map(|(field, version)| (field.to_string(), version.clone())).collect(),
                is_error: matches!(&feature.external, Some(e) if e.on_version_mismatch == OnMismatch::Error),
            });
        }
        found
    }

    /// Warns of features that are not as expected; where that is an error, they can't be used.
    fn compare(&self, graph: FeatureGraph, expected: &[Expected], locked: bool) -> FeatureGraph {
        let mut refused = HashMap::new();
        for expected in expected {
            let is_replaced = graph.get(&expected.key).is_some_and(|feature| feature.external.is_none());
            let Ok(actual) = graph.feature_version(&expected.key) else { continue };
            if !is_replaced || actual == expected.version {
                continue;
            }
            let reason = format!(
                "{} expects version {} of external feature {}, but store {} has {actual}{}; {}",
                expected.source,
                expected.version,
                expected.key,
                self.name(),
                differences(&graph, expected),
                expected.remedy
            );
            if locked || expected.is_error {
                refused.entry(expected.key.clone()).or_insert(reason);
            } else {
                self.warn_once(reason);
            }
        }
        graph.refusing(refused)
    }

    /// Adds a warning that is given once, however often the definitions are read.
    fn warn_once(&self, message: String) {
        self.warnings().push_once(message, DateTime::UNIX_EPOCH);
    }
}

/// The features, and those of the others that they depend on. More would only add faults that matter to nobody.
fn with_ancestors(features: &[FeatureDefinition], others: &[&FeatureDefinition]) -> Vec<FeatureDefinition> {
    let mut found: Vec<FeatureDefinition> = features.to_vec();
    let mut at = 0;
    while let Some(feature) = found.get(at) {
        let parents = feature.spec.deps.iter().map(|dep| &dep.feature);
        let unknown = |key: &&FeatureKey| found.iter().all(|known| known.key() != *key);
        let next: Vec<FeatureDefinition> = parents
            .filter(unknown)
            .filter_map(|key| others.iter().find(|other| other.key() == key))
            .map(|other| FeatureDefinition::clone(other))
            .collect();
        found.extend(next);
        at += 1;
    }
    found
}

/// The fields whose versions differ, in brackets.
fn differences(graph: &FeatureGraph, expected: &Expected) -> String {
    let Ok(actual) = graph.field_versions(&expected.key) else { return String::new() };
    let actual: Vec<(String, &str)> =
        actual.iter().map(|(field, v)| (field.to_string(), v.as_str())).collect();
    let find = |field: &str| actual.iter().find(|(other, _)| other == field).map(|(_, version)| *version);
    let mut parts = Vec::new();
    for (field, version) in &expected.fields {
        match find(field) {
            Some(actual) if actual == version => {}
            Some(actual) => parts.push(format!("{field} {version}, not {actual}")),
            None => parts.push(format!("{field} is gone")),
        }
    }
    let added = actual.iter().filter(|(field, _)| expected.fields.iter().all(|(other, _)| other != field));
    parts.extend(added.map(|(field, _)| format!("{field} is new")));
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}
