//! A store as a catalog.

use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, SchemaProvider, UrlTableFactory};

use super::features::FeaturesSchema;
use super::history::HistorySchema;
use super::system::SystemSchema;
use crate::session::Extension;
use crate::store::Store;

/// The schema with the current rows of each feature; the default one at the prompt.
pub const FEATURES_SCHEMA: &str = "features";
/// The schema with every row ever written.
pub const HISTORY_SCHEMA: &str = "history";
/// The schema with what is known about features and stores.
pub const SYSTEM_SCHEMA: &str = "system";

/// A store as DataFusion's catalogs show it.
#[derive(Debug)]
pub struct StoreCatalog {
    features: Arc<FeaturesSchema>,
    history: Arc<HistorySchema>,
    system: Arc<SystemSchema>,
}

impl StoreCatalog {
    /// The catalog of `store`; `files` opens table names that are paths, where that is wanted.
    pub(crate) fn new(
        store: &Arc<Store>,
        extension: &Arc<Extension>,
        files: Option<Arc<dyn UrlTableFactory>>,
    ) -> Self {
        Self {
            features: Arc::new(FeaturesSchema::new(Arc::clone(store), files)),
            history: Arc::new(HistorySchema::new(Arc::clone(store))),
            system: Arc::new(SystemSchema::new(Arc::clone(store), Arc::downgrade(extension))),
        }
    }
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        [FEATURES_SCHEMA, HISTORY_SCHEMA, SYSTEM_SCHEMA].map(str::to_owned).into()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            FEATURES_SCHEMA => Some(Arc::clone(&self.features) as _),
            HISTORY_SCHEMA => Some(Arc::clone(&self.history) as _),
            SYSTEM_SCHEMA => Some(Arc::clone(&self.system) as _),
            _ => None,
        }
    }
}
