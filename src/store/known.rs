//! What is known of a store's features: who declares them, what was pushed, and the graph that comes of it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Store;
use crate::error::Result;
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey};

/// All of it changes in one step, so that nobody sees a definition without its graph.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Defined one by one since the store was opened; they come before what it was opened with.
    defined: Vec<FeatureDefinition>,
    /// The definitions in the store, as they were last read.
    pushed: Vec<FeatureDefinition>,
    /// `None` until the store was read.
    graph: Option<Arc<FeatureGraph>>,
}

/// A change of the definitions in a session.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Defines a feature, in place of any other definition of it.
    Define(Box<FeatureDefinition>),
    /// Takes back a definition that was made that way.
    Forget(FeatureKey),
}

impl Change {
    /// The feature that it is about.
    pub(crate) fn key(&self) -> &FeatureKey {
        match self {
            Self::Define(definition) => definition.key(),
            Self::Forget(key) => key,
        }
    }

    /// Carries the change out on a list of definitions.
    pub(crate) fn apply(&self, defined: &mut Vec<FeatureDefinition>) {
        let place = defined.iter().position(|definition| definition.key() == self.key());
        match (self, place) {
            (Self::Define(definition), Some(place)) => defined[place] = FeatureDefinition::clone(definition),
            (Self::Define(definition), None) => defined.push(FeatureDefinition::clone(definition)),
            (Self::Forget(_), Some(place)) => drop(defined.remove(place)),
            (Self::Forget(_), None) => {}
        }
    }
}

/// The graph of a store's features, held so that nobody else can change it meanwhile.
pub(crate) struct Changing<'a> {
    store: &'a Store,
    known: RwLockWriteGuard<'a, Known>,
    defined: Vec<FeatureDefinition>,
    graph: Option<Arc<FeatureGraph>>,
}

impl Changing<'_> {
    /// The graph as it will be; `None` if the store was not read yet.
    pub(crate) fn graph(&self) -> Option<&FeatureGraph> {
        self.graph.as_deref()
    }

    /// The store's name.
    pub(crate) fn store(&self) -> &str {
        self.store.name()
    }

    /// Makes the change.
    pub(crate) fn finish(mut self) {
        self.known.defined = self.defined;
        self.known.graph = self.graph;
    }
}

impl Store {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The features that its user declares, whatever was pushed to the store: one's own, and external ones.
    fn all_declared(&self, defined: &[FeatureDefinition]) -> Vec<FeatureDefinition> {
        let is_replaced = |given: &&FeatureDefinition| defined.iter().any(|d| d.key() == given.key());
        self.definitions.iter().filter(|given| !is_replaced(given)).chain(defined).cloned().collect()
    }

    /// The features that its user declares as the owner of them.
    pub(super) fn declared(&self) -> Vec<FeatureDefinition> {
        let mut declared = self.all_declared(&self.known().defined);
        declared.retain(|feature| feature.external.is_none());
        declared
    }

    /// The features as they were last read, without looking into the store.
    pub fn known_graph(&self) -> Option<Arc<FeatureGraph>> {
        self.known().graph.clone()
    }

    /// Reads the definitions in the store again.
    ///
    /// # Errors
    /// As [`graph`](Self::graph).
    pub async fn refresh(&self) -> Result<Arc<FeatureGraph>> {
        let pushed = self.pushed_definitions().await?;
        // Whatever was defined while the store was read is among them.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let graph = Arc::new(self.known_features(self.all_declared(&known.defined), &pushed)?);
        known.pushed = pushed;
        known.graph = Some(Arc::clone(&graph));
        Ok(graph)
    }

    /// Works out a change of the definitions; nothing has happened until it is finished.
    ///
    /// # Errors
    /// Definitions that do not fit together.
    pub(crate) fn changing(&self, change: &Change) -> Result<Changing<'_>> {
        let known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut defined = known.defined.clone();
        change.apply(&mut defined);
        let graph = match &known.graph {
            Some(_) => Some(Arc::new(self.known_features(self.all_declared(&defined), &known.pushed)?)),
            None => None,
        };
        Ok(Changing { store: self, known, defined, graph })
    }

    /// This store with definitions that were made before it was opened.
    pub(crate) fn with_defined(self, defined: Vec<FeatureDefinition>) -> Self {
        self.with_known(Known { defined, ..Known::default() })
    }

    /// This store with other definitions of its features.
    pub(super) fn with_graph(&self, graph: Arc<FeatureGraph>) -> Arc<Self> {
        let defined = self.known().defined.clone();
        Arc::new(self.clone().with_known(Known { defined, pushed: Vec::new(), graph: Some(graph) }))
    }

    fn with_known(mut self, known: Known) -> Self {
        self.known = Arc::new(RwLock::new(known));
        self
    }

    /// This store with the definitions as they are now: what is planned over it stays of one piece, whatever is
    /// defined meanwhile.
    pub(super) async fn pinned(&self) -> Result<Arc<Self>> {
        Ok(self.with_graph(self.graph().await?))
    }
}
