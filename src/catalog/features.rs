//! The schema `features`: each feature's latest live rows, and the session's own tables and views beside them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider, UrlTableFactory};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;

use super::table_names;
use crate::boxed::BoxFuture;
use crate::model::FeatureKey;
use crate::store::{FeatureTable, Store};

#[derive(Debug)]
pub(super) struct FeaturesSchema {
    store: Arc<Store>,
    /// Tables and views of the session; a store doesn't know them.
    session: RwLock<BTreeMap<String, Arc<dyn TableProvider>>>,
    files: Option<Arc<dyn UrlTableFactory>>,
}

impl FeaturesSchema {
    pub(super) fn new(store: Arc<Store>, files: Option<Arc<dyn UrlTableFactory>>) -> Self {
        Self { store, session: RwLock::default(), files }
    }

    fn session_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn is_feature(&self, name: &str) -> bool {
        self.store.known_graph().is_some_and(|graph| graph.lookup(name).is_ok())
    }
}

#[async_trait]
impl SchemaProvider for FeaturesSchema {
    fn table_names(&self) -> Vec<String> {
        let mut names = table_names(self.store.known_graph().as_ref());
        names.extend(self.session.read().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        self.found(name).await
    }

    /// Listing tables must not open each of them.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.is_feature(name) {
            return Ok(Some(TableType::Base));
        }
        Ok(self.session_table(name).map(|table| table.table_type()))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.is_feature(&name) {
            return exec_err!("{name} is the name of a feature; give the table or view another name");
        }
        Ok(self.session.write().unwrap_or_else(PoisonError::into_inner).insert(name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.is_feature(name) {
            return exec_err!("{name} is a feature; DROP TABLE removes only tables of this session");
        }
        Ok(self.session.write().unwrap_or_else(PoisonError::into_inner).remove(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.is_feature(name) || self.session_table(name).is_some()
    }
}

impl FeaturesSchema {
    /// The table of this name.
    fn found<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>, DataFusionError>> {
        Box::pin(async move {
            let graph = self.store.graph().await?;
            if let Ok(definition) = graph.lookup(name) {
                let table = self.store.current_table(definition).await.unwrap_or_else(|error| {
                    FeatureTable::unreadable(Arc::clone(&self.store), Arc::clone(definition), &error)
                });
                return Ok(Some(Arc::new(table) as Arc<dyn TableProvider>));
            }
            if let Some(table) = self.session_table(name) {
                return Ok(Some(table));
            }
            match &self.files {
                // A name that could be a feature's is never taken for a file.
                Some(files) if FeatureKey::parse(name).is_err() => files.try_new(name).await,
                _ => Ok(None),
            }
        })
    }
}
