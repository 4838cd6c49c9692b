//! The schema `history`: every row ever written to a feature.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;

use super::table_names;
use crate::boxed::BoxFuture;
use crate::store::{FeatureTable, Store};

#[derive(Debug)]
pub(super) struct HistorySchema {
    store: Arc<Store>,
}

impl HistorySchema {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl SchemaProvider for HistorySchema {
    fn table_names(&self) -> Vec<String> {
        table_names(self.store.known_graph().as_ref())
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        self.found(name).await
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.store.known_graph().is_some_and(|graph| graph.lookup(name).is_ok())
    }
}

impl HistorySchema {
    /// The table of this name.
    fn found<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>, DataFusionError>> {
        Box::pin(async move {
            let graph = self.store.graph().await?;
            match graph.lookup(name) {
                Ok(definition) => {
                    let table = self.store.history_table(definition).await.unwrap_or_else(|error| {
                        FeatureTable::unreadable(Arc::clone(&self.store), Arc::clone(definition), &error)
                    });
                    Ok(Some(Arc::new(table) as Arc<dyn TableProvider>))
                }
                Err(_) => Ok(None),
            }
        })
    }
}
