//! The schema `system`: what is known about features and stores.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;

use super::read_only::ReadOnly;
use crate::session::Extension;
use crate::store::Store;

const FEATURES: &str = "features";
const FEATURE_VERSIONS: &str = "feature_versions";
const STORES: &str = "stores";

#[derive(Debug)]
pub(super) struct SystemSchema {
    store: Arc<Store>,
    extension: Weak<Extension>,
}

impl SystemSchema {
    pub(super) fn new(store: Arc<Store>, extension: Weak<Extension>) -> Self {
        Self { store, extension }
    }

    /// One row per feature known in the store.
    async fn features(&self) -> Result<Arc<dyn TableProvider>> {
        let graph = self.store.graph().await?;
        let features: Vec<_> = graph.iter().collect();
        let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let list = |values: Vec<String>| values.join(", ");
        let versions =
            features.iter().map(|f| Ok(graph.feature_version(f.key())?)).collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_from_iter([
            ("feature", text(features.iter().map(|f| f.key().to_string()).collect())),
            ("table_name", text(features.iter().map(|f| f.key().table_name()).collect())),
            ("project", text(features.iter().map(|f| f.project.clone()).collect())),
            ("feature_version", text(versions)),
            ("id_columns", text(features.iter().map(|f| f.spec.id_columns.join(", ")).collect())),
            (
                "fields",
                text(
                    features
                        .iter()
                        .map(|f| list(f.spec.fields.iter().map(|field| field.key.to_string()).collect()))
                        .collect(),
                ),
            ),
            (
                "parents",
                text(
                    features
                        .iter()
                        .map(|f| list(f.spec.deps.iter().map(|dep| dep.feature.to_string()).collect()))
                        .collect(),
                ),
            ),
            ("defined_in", text(features.iter().map(|f| f.origin.to_string()).collect())),
            (
                "description",
                Arc::new(StringArray::from(
                    features.iter().map(|f| f.spec.description.as_deref()).collect::<Vec<_>>(),
                )),
            ),
        ])?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }

    /// Every definition ever pushed to the store.
    async fn feature_versions(&self) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(table) = self.store.feature_versions().await? else {
            // Nothing was pushed yet.
            let schema = Arc::new(crate::store::feature_versions_schema());
            return Ok(Some(Arc::new(MemTable::try_new(schema, vec![vec![]])?)));
        };
        Ok(Some(table))
    }

    /// One row per configured store.
    fn stores(&self) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(extension) = self.extension.upgrade() else {
            return Ok(None);
        };
        let stores = extension.described_stores();
        let text = |f: &dyn Fn(&crate::session::DescribedStore) -> String| {
            Arc::new(StringArray::from(stores.iter().map(f).collect::<Vec<_>>())) as ArrayRef
        };
        let batch = RecordBatch::try_from_iter([
            ("store", text(&|s| s.name.clone())),
            ("type", text(&|s| s.kind.clone())),
            ("location", text(&|s| s.location.clone())),
            ("hash_algorithm", text(&|s| s.hash_algorithm.clone())),
            (
                "hash_truncation_length",
                Arc::new(Int64Array::from(
                    stores
                        .iter()
                        .map(|s| i64::try_from(s.hash_length).unwrap_or(i64::MAX))
                        .collect::<Vec<_>>(),
                )) as ArrayRef,
            ),
            (
                "is_default",
                Arc::new(BooleanArray::from(stores.iter().map(|s| s.is_default).collect::<Vec<_>>())),
            ),
        ])?;
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        [FEATURE_VERSIONS, FEATURES, STORES].map(str::to_owned).into()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let (name, table) = match name {
            FEATURES => (FEATURES, Some(self.features().await?)),
            FEATURE_VERSIONS => (FEATURE_VERSIONS, self.feature_versions().await?),
            STORES => (STORES, self.stores()?),
            _ => return Ok(None),
        };
        table.map(|table| Ok(Arc::new(ReadOnly::new(name, table)?) as Arc<dyn TableProvider>)).transpose()
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        [FEATURES, FEATURE_VERSIONS, STORES].contains(&name)
    }
}
