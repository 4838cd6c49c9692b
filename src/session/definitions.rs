//! Features that are defined while the program runs: in all stores of a session at once, or in none.

use std::sync::{Arc, PoisonError};

use super::Extension;
use crate::error::{MetaxyError, Result};
use crate::model::{DEFAULT_PROJECT, FeatureDefinition, FeatureKey, Origin};
use crate::store::{Change, Store};

/// What becomes of a definition that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is an error.
    Refuse,
    /// It is replaced.
    Replace,
    /// It stays, and nothing happens.
    Keep,
}

impl Extension {
    /// Defines a feature for this session, in all its stores; it takes the place of any other definition. It is known
    /// to others once it is [pushed](Store::push).
    ///
    /// Statements that are planned at the same time see either all of the change or nothing of it. In a session
    /// without our statement layer, [`refresh`](Self::refresh) shows the new definition to `resolve_update`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> datafusion_metaxy::error::Result<()> {
    /// # use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
    /// # use datafusion_metaxy::store::{MemoryStore, Store};
    /// use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
    /// use datafusion_metaxy::session::Extension;
    ///
    /// # let settings = HashSettings::new(HashAlgorithm::XxHash64, 16)?;
    /// # let store = Arc::new(Store::new("dev", Arc::new(MemoryStore::new()), settings, Vec::new()));
    /// let extension = Extension::from_stores([store])?;
    /// let video = FeatureSpec::builder("video").id_columns(["video_id"]).build()?;
    /// extension.define(FeatureDefinition::declared(video, "demo", Origin::Statement)).await?;
    /// assert!(extension.store("dev")?.feature("video").await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A definition that does not fit to the others: an unknown parent, a circle, a field that is not there. Then
    /// nothing has changed.
    pub async fn define(&self, definition: FeatureDefinition) -> Result<()> {
        let store = self.store(&self.default_store)?;
        self.define_in(&store, definition, Existing::Replace).await?;
        Ok(())
    }

    /// Takes back what [`define`](Self::define) has defined. What feature files, the program or a push say of the
    /// feature holds again.
    ///
    /// # Errors
    /// The feature was not defined in this session, or features that are declared here depend on it.
    pub async fn forget(&self, feature: &FeatureKey) -> Result<()> {
        let store = self.store(&self.default_store)?;
        self.forget_in(&store, feature).await
    }

    /// The project of features that are defined without naming one.
    pub(super) fn own_project(&self, store: &Store) -> String {
        self.project().or_else(|| store.project()).unwrap_or(DEFAULT_PROJECT).to_owned()
    }

    /// Defines a feature, which has to be usable in this store. Tells whether anything was done.
    pub(super) async fn define_in(
        &self,
        store: &Arc<Store>,
        definition: FeatureDefinition,
        existing: Existing,
    ) -> Result<bool> {
        let definition = FeatureDefinition { origin: Origin::Statement, ..definition };
        definition.spec.validate()?;
        if definition.key().is_system() {
            return Err(MetaxyError::Spec {
                feature: definition.key().to_string(),
                reason: "keys that start with metaxy-system are those of system tables; choose another"
                    .to_owned(),
            });
        }
        // Read before the lock: only what needs no waiting happens under it.
        store.graph().await?;
        let _alone = self.planning.write().await;
        if existing != Existing::Replace
            && let Some(graph) = store.known_graph()
            && let Some(known) = graph.get(definition.key())
            && is_taken(known, &definition)
        {
            return if existing == Existing::Keep { Ok(false) } else { Err(taken(known)) };
        }
        self.change(store, &Change::Define(Box::new(definition)))?;
        Ok(true)
    }

    /// Takes a definition back.
    pub(super) async fn forget_in(&self, store: &Arc<Store>, feature: &FeatureKey) -> Result<()> {
        let graph = store.graph().await?;
        let _alone = self.planning.write().await;
        let defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if defined.iter().all(|definition| definition.key() != feature) {
            let origin = &graph.lookup(&feature.to_string())?.origin;
            return Err(MetaxyError::Invalid(format!(
                "feature {feature} comes from {origin}; DROP FEATURE takes back what CREATE FEATURE has defined in \
                 this session"
            )));
        }
        self.change(store, &Change::Forget(feature.clone()))?;
        if store
            .known_graph()
            .is_some_and(|graph| graph.get(feature).is_some_and(|left| left.origin.is_recorded()))
        {
            self.warn(&format!(
                "feature {feature}: store {} still has the definition that was pushed to it",
                store.name()
            ));
        }
        Ok(())
    }

    /// Makes a change in all stores, or in none.
    fn change(&self, store: &Store, change: &Change) -> Result<()> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened: Vec<&Arc<Store>> = stores.values().collect();
        // Always in the same order: whoever changes several stores holds all of them.
        opened.sort_by_key(|store| store.name());
        let mut changing = Vec::new();
        for other in opened {
            let place = |error| elsewhere(error, other, store);
            changing.push(other.changing(change).map_err(place)?);
        }
        let here = changing.iter().find(|changing| changing.store() == store.name());
        if let Some(graph) = here.and_then(|here| here.graph()) {
            match (change, graph.get(change.key())) {
                (Change::Define(_), _) => drop(graph.feature_version(change.key())?),
                (Change::Forget(_), Some(left)) if !left.origin.is_recorded() => {}
                (Change::Forget(key), _) => {
                    let children = graph.iter().filter(|f| !f.origin.is_recorded());
                    let children =
                        children.filter(|f| f.spec.dep(key).is_some()).map(|f| f.key().to_string());
                    let children: Vec<String> = children.collect();
                    if !children.is_empty() {
                        return Err(MetaxyError::Graph(format!(
                            "feature {key} can't be dropped: {} {} on it; drop {} first",
                            children.join(", "),
                            if children.len() == 1 { "depends" } else { "depend" },
                            if children.len() == 1 { "it" } else { "them" },
                        )));
                    }
                }
            }
        }
        changing.into_iter().for_each(|changing| changing.finish());
        change.apply(&mut self.defined.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Whether a definition would quietly take the place of another one. What this project has pushed is replaced by
/// whatever it defines later, as with feature files; a script that defines and pushes can be run again.
fn is_taken(known: &FeatureDefinition, new: &FeatureDefinition) -> bool {
    let pushed = known.origin.is_recorded();
    !(pushed && (known.project == new.project || new.external.is_some()))
}

fn taken(known: &FeatureDefinition) -> MetaxyError {
    let key = known.key();
    MetaxyError::Invalid(match &known.origin {
        Origin::Store(store) | Origin::Removed(store) => format!(
            "feature {key} belongs to project {}, which has pushed it to store {store}; CREATE EXTERNAL FEATURE says \
             what you expect of it, CREATE OR REPLACE FEATURE puts another definition in its place",
            known.project
        ),
        origin => {
            format!(
                "feature {key} is defined already, in {origin}; CREATE OR REPLACE FEATURE defines it anew"
            )
        }
    })
}

/// An error of a store that the statement is not about.
fn elsewhere(error: MetaxyError, store: &Store, current: &Store) -> MetaxyError {
    if store.name() == current.name() {
        return error;
    }
    MetaxyError::Store { store: store.name().to_owned(), reason: error.to_string() }
}
