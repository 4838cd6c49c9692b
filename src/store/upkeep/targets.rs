//! Which tables a call is about.

use std::sync::Arc;

use crate::error::Result;
use crate::model::{FeatureDefinition, FeatureKey};
use crate::store::{Store, WriteScope};

/// The tables of a store that it keeps about itself.
const SYSTEM: [&str; 2] = ["metaxy-system/events", "metaxy-system/feature_versions"];

/// A table to look after.
pub(super) struct Target {
    pub key: FeatureKey,
    /// `None` for the store's own tables, whose rows have no ids and no versions.
    pub definition: Option<Arc<FeatureDefinition>>,
}

impl Store {
    /// The tables of these features, or all that the caller may write to and the store's own.
    ///
    /// # Errors
    /// An unknown feature, one of another project, or one without a table here.
    pub(super) async fn upkeep_targets(
        self: &Arc<Self>,
        features: Option<&[&str]>,
        scope: &WriteScope,
    ) -> Result<Vec<Target>> {
        let mut present = Vec::new();
        for target in self.possible_targets(features, scope).await? {
            match self.backend.open(&target.key).await? {
                Some(_) => present.push(target),
                None if features.is_none() => {}
                None => return Err(self.not_found(&target.key)),
            }
        }
        Ok(present)
    }

    /// As [`upkeep_targets`](Self::upkeep_targets), whether there is a table or not.
    ///
    /// # Errors
    /// An unknown feature, or one of another project.
    pub(super) async fn possible_targets(
        self: &Arc<Self>,
        features: Option<&[&str]>,
        scope: &WriteScope,
    ) -> Result<Vec<Target>> {
        let mut targets: Vec<Target> = Vec::new();
        let Some(names) = features else {
            for definition in self.graph().await?.iter() {
                if self.check_project(definition, scope).is_ok() {
                    let definition = Arc::clone(definition);
                    targets.push(Target { key: definition.key().clone(), definition: Some(definition) });
                }
            }
            for name in SYSTEM {
                targets.push(Target { key: FeatureKey::parse(name)?, definition: None });
            }
            return Ok(targets);
        };
        // All are checked before anything is done to one.
        for name in names {
            let target = match SYSTEM.contains(name) {
                true => Target { key: FeatureKey::parse(name)?, definition: None },
                false => {
                    let definition = self.feature(name).await?;
                    self.check_project(&definition, scope)?;
                    Target { key: definition.key().clone(), definition: Some(definition) }
                }
            };
            if targets.iter().all(|known| known.key != target.key) {
                targets.push(target);
            }
        }
        Ok(targets)
    }
}
