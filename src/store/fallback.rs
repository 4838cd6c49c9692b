//! The fallback stores of a store: given by the program, or named and opened when they are needed.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

use super::Store;
use crate::config::{FallbackPolicy, hash_mismatch};
use crate::error::{MetaxyError, Result};

/// Gives stores by their names in the configuration.
pub(crate) trait OpenStores: Debug + Send + Sync {
    /// The store of this name; nothing of it is read yet.
    fn open_store(&self, name: &str) -> Result<Arc<Store>>;
}

/// Where a store looks for what it doesn't have, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fallbacks {
    stores: Vec<Fallback>,
    policy: FallbackPolicy,
    /// Weak, since what opens stores also keeps them.
    opener: Option<Weak<dyn OpenStores>>,
}

#[derive(Debug, Clone)]
enum Fallback {
    Given(Arc<Store>),
    Named(String),
}

impl Fallbacks {
    /// Stores that a configuration names.
    pub(super) fn named(names: &[String], policy: FallbackPolicy) -> Self {
        let stores = names.iter().cloned().map(Fallback::Named).collect();
        Self { stores, policy, opener: None }
    }

    /// Stores that a program has made.
    pub(super) fn given(stores: Vec<Arc<Store>>, policy: FallbackPolicy) -> Self {
        Self { stores: stores.into_iter().map(Fallback::Given).collect(), policy, opener: None }
    }

    pub(super) fn with_opener(self, opener: Weak<dyn OpenStores>) -> Self {
        Self { opener: Some(opener), ..self }
    }

    pub(super) fn with_policy(self, policy: FallbackPolicy) -> Self {
        Self { policy, ..self }
    }

    pub(super) fn policy(&self) -> FallbackPolicy {
        self.policy
    }

    pub(super) fn len(&self) -> usize {
        self.stores.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let name = |fallback: &Fallback| match fallback {
            Fallback::Given(store) => store.name().to_owned(),
            Fallback::Named(name) => name.clone(),
        };
        self.stores.iter().map(name).collect()
    }

    /// The fallback store of `owner` at this place.
    ///
    /// # Errors
    /// A name that can't be opened, or a store that hashes otherwise.
    pub(super) fn open(&self, owner: &Store, index: usize) -> Result<Arc<Store>> {
        let fail = |reason| MetaxyError::Store { store: owner.name().to_owned(), reason };
        let store = match (self.stores.get(index), &self.opener) {
            (Some(Fallback::Given(store)), _) => Arc::clone(store),
            (Some(Fallback::Named(name)), Some(opener)) => match opener.upgrade() {
                Some(opener) => opener.open_store(name)?,
                None => return Err(fail(format!("its fallback store {name} is closed, as is its session"))),
            },
            (Some(Fallback::Named(name)), None) => {
                return Err(fail(format!(
                    "its fallback store {name} is only a name here; open the store with Extension::from_config"
                )));
            }
            (None, _) => return Err(fail(format!("it has no fallback store number {index}"))),
        };
        check_settings(owner, &store)?;
        Ok(match &owner.once {
            Some(once) => once.store(&store),
            None => store,
        })
    }
}

impl Store {
    /// This store with others to read from, in order, what it doesn't have itself.
    ///
    /// # Errors
    /// One of them hashes differently.
    pub fn with_fallback_stores(mut self, stores: Vec<Arc<Store>>) -> Result<Self> {
        for fallback in &stores {
            check_settings(&self, fallback)?;
        }
        self.fallbacks = Fallbacks::given(stores, self.fallbacks.policy());
        Ok(self)
    }

    /// This store with a policy for its fallback stores; without one, reading from them warns.
    pub fn with_fallback_policy(mut self, policy: FallbackPolicy) -> Self {
        self.fallbacks = self.fallbacks.with_policy(policy);
        self
    }

    /// This store with what opens the fallback stores that its configuration names.
    pub(crate) fn with_opener(mut self, opener: Weak<dyn OpenStores>) -> Self {
        self.fallbacks = self.fallbacks.with_opener(opener);
        self
    }

    pub(super) fn fallbacks(&self) -> &Fallbacks {
        &self.fallbacks
    }

    /// Whether what this store lacks may be read from another.
    pub(crate) fn has_fallbacks(&self) -> bool {
        !self.fallbacks.is_empty()
    }
}

/// Versions of one store mean nothing in another that hashes differently.
fn check_settings(store: &Store, fallback: &Store) -> Result<()> {
    if store.settings() == fallback.settings() {
        return Ok(());
    }
    let [own, its] =
        [store, fallback].map(|s| (s.name(), s.settings().algorithm.name(), s.settings().length));
    Err(hash_mismatch(own, its))
}
