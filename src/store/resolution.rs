//! Which store serves each parent of a feature: what `system.resolution` shows.

use std::sync::Arc;

use super::Store;
use super::search::{Wanted, search};
use crate::error::Result;
use crate::model::FeatureKey;

/// Which store serves a parent of a feature, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentResolution {
    /// The parent's key.
    pub parent: FeatureKey,
    /// The parent's current version, rows of which are looked for.
    pub feature_version: String,
    /// The store that has them; `None` if none has.
    pub store: Option<String>,
    /// Whether that is a fallback store.
    pub is_fallback: bool,
    /// What each store has, in words.
    pub reason: String,
    /// The stores that were asked, in order.
    pub searched: Vec<String>,
}

impl Store {
    /// For each parent of a feature the store that an increment would read it from; none for a root feature.
    ///
    /// A parent that no store has is among them, too.
    ///
    /// # Errors
    /// An unknown feature or parent, or a store that can't be read.
    pub async fn resolution(self: &Arc<Self>, feature: &str) -> Result<Vec<ParentResolution>> {
        let plan = self.graph().await?.plan(self.feature(feature).await?.key())?;
        let mut resolutions = Vec::with_capacity(plan.parents.len());
        for parent in plan.parents {
            let wanted = Wanted::Current(parent.feature_version.clone());
            let (search, _) = search(self, &parent.dep.feature, wanted).await?;
            resolutions.push(ParentResolution {
                parent: parent.dep.feature,
                feature_version: parent.feature_version,
                store: search.served_by().map(str::to_owned),
                is_fallback: search.fallback().is_some(),
                reason: search.explain(parent.dep.optional),
                searched: search.asked(),
            });
        }
        Ok(resolutions)
    }
}
