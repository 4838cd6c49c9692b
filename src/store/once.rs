//! A look at a store in which every table is opened once, whatever is asked about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{Store, StoredTable};
use crate::error::Result;
use crate::model::FeatureKey;

/// The tables that were opened in a look, and the fallback stores that take part in it.
#[derive(Debug, Default)]
pub(super) struct Once {
    tables: Mutex<HashMap<(String, FeatureKey), Opening>>,
    stores: Mutex<HashMap<String, Arc<Store>>>,
}

/// A table that is open or being opened.
type Opening = Arc<OnceCell<Option<StoredTable>>>;

impl Once {
    /// The table as the look first saw it.
    pub(super) async fn table(&self, store: &Store, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let key = (store.name().to_owned(), feature.clone());
        let opening = Arc::clone(lock(&self.tables).entry(key).or_default());
        opening.get_or_try_init(|| store.backend.open(feature)).await.cloned()
    }

    /// A fallback store, as part of the look.
    pub(super) fn store(self: &Arc<Self>, store: &Arc<Store>) -> Arc<Store> {
        let mut stores = lock(&self.stores);
        let joined = || Arc::new(store.looking(Arc::clone(self)));
        Arc::clone(stores.entry(store.name().to_owned()).or_insert_with(joined))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// A handle for one look at many features: it opens each table once, fallback stores' too, and may not see what is
    /// written afterwards.
    #[must_use]
    pub fn opened_once(&self) -> Arc<Self> {
        Arc::new(self.looking(Arc::default()))
    }

    fn looking(&self, once: Arc<Once>) -> Self {
        let mut handle = self.clone();
        handle.once = Some(once);
        handle
    }
}
