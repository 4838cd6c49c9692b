//! The schema `system`: what is known about features, pushes and stores.

mod features;
mod listing;
mod options;
mod project_versions;
mod recorded;
mod stores;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;

use self::features::Features;
use self::listing::Listing;
use self::options::Options;
use self::project_versions::ProjectVersions;
use self::recorded::Recorded;
use self::stores::Stores;
use super::read_only::ReadOnly;
use crate::session::Extension;
use crate::store::{Store, SystemTable};

const EVENTS: &str = "events";
const FEATURES: &str = "features";
const FEATURE_VERSIONS: &str = "feature_versions";
const OPTIONS: &str = "options";
const PROJECT_VERSIONS: &str = "project_versions";
const STORES: &str = "stores";
const NAMES: [&str; 6] = [EVENTS, FEATURE_VERSIONS, FEATURES, OPTIONS, PROJECT_VERSIONS, STORES];

#[derive(Debug)]
pub(super) struct SystemSchema {
    store: Arc<Store>,
    extension: Weak<Extension>,
}

impl SystemSchema {
    pub(super) fn new(store: Arc<Store>, extension: Weak<Extension>) -> Self {
        Self { store, extension }
    }

    fn view(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let (store, extension) = (Arc::clone(&self.store), Weak::clone(&self.extension));
        Some(match name {
            EVENTS => Arc::new(Recorded::new(store, SystemTable::Events)),
            FEATURES => Arc::new(Listing::new(Features { store })),
            FEATURE_VERSIONS => Arc::new(Recorded::new(store, SystemTable::FeatureVersions)),
            OPTIONS => Arc::new(Listing::new(Options { extension })),
            PROJECT_VERSIONS => Arc::new(Listing::new(ProjectVersions { store })),
            STORES => Arc::new(Listing::new(Stores { extension })),
            _ => return None,
        })
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        NAMES.map(str::to_owned).into()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some((name, view)) = NAMES.into_iter().find(|n| *n == name).zip(self.view(name)) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(ReadOnly::new(name, view)?)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }
}
