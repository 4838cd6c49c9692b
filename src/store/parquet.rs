//! Parquet files as a store: one folder of files per feature below a root folder.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::cache::cache_manager::{CacheManager, CacheManagerConfig, FileMetadataCache};
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::location::Location;
use super::parquet_folder::{Objects, ParquetFolder};
use super::parquet_remove::ParquetSnapshot;
use super::parquet_scan::ParquetRows;
use super::{Append, MetadataStore, StoredTable, TableSnapshot, TableState, Vacuum, VacuumedFile};
use crate::config::StoreConfig;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// Feature tables as folders of Parquet files, one file per write.
#[derive(Clone)]
pub struct ParquetStore {
    pub(crate) location: Location,
    objects: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
}

impl std::fmt::Debug for ParquetStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetStore").field("location", &self.location).finish_non_exhaustive()
    }
}

impl ParquetStore {
    /// A store below `config.root_path`; the folder need not exist yet.
    ///
    /// # Errors
    /// When `root_path` is missing or not a path or URL that this build can reach.
    pub fn try_new(config: &StoreConfig) -> Result<Self> {
        // Of its own: a session's cache goes with the session.
        let footers = CacheManager::try_new(&CacheManagerConfig::default())?.get_file_metadata_cache();
        let location = Location::try_new(config, ".parquet")?;
        let objects = match location.remote() {
            Some(remote) => Arc::clone(&remote.store),
            None => Arc::new(LocalFileSystem::new()),
        };
        Ok(Self { location, objects, footers })
    }

    /// The folder of a feature, whether it exists or not.
    pub(crate) fn folder(&self, feature: &FeatureKey) -> Result<ParquetFolder> {
        let table = self.location.table_path(feature);
        let url = self.location.table_url(feature)?;
        let fail = |reason: String| MetaxyError::Store {
            store: self.location.store().to_owned(),
            reason: format!("{table}: {reason}"),
        };
        let path = Path::from_url_path(url.path()).map_err(|error| fail(error.to_string()))?;
        let remote = self.location.remote();
        let objects = Objects {
            store: Arc::clone(&self.objects),
            url: match remote {
                Some(remote) => remote.session_url().map_err(fail)?,
                None => ObjectStoreUrl::local_filesystem(),
            },
            is_remote: remote.is_some(),
            footers: Arc::clone(&self.footers),
        };
        Ok(ParquetFolder::new(self.location.store(), table, objects, path))
    }
}

#[async_trait]
impl MetadataStore for ParquetStore {
    fn kind(&self) -> &'static str {
        "parquet"
    }

    fn format(&self) -> &'static str {
        "Parquet"
    }

    fn location(&self) -> String {
        self.location.shown_root().to_owned()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let folder = self.folder(feature)?;
        let files = folder.files().await?;
        if files.is_empty() {
            return Ok(None);
        }
        // After the listing: the first file of ours appears after the settings.
        let recorded = folder.recorded().await?;
        let sample_version = files.sample_version();
        let provider = ParquetRows::new(folder, files.schema());
        Ok(Some(StoredTable { provider: Arc::new(provider), recorded, sample_version }))
    }

    async fn state(&self, feature: &FeatureKey) -> Result<TableState> {
        Ok(self.folder(feature)?.files().await?.state())
    }

    async fn snapshot(&self, feature: &FeatureKey) -> Result<Option<Arc<dyn TableSnapshot>>> {
        Ok(ParquetSnapshot::open(self, feature).await?.map(|snapshot| Arc::new(snapshot) as _))
    }

    async fn vacuum(&self, feature: &FeatureKey, vacuum: &Vacuum) -> Result<Vec<VacuumedFile>> {
        super::parquet_vacuum::vacuum(self, feature, vacuum).await
    }

    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64> {
        super::parquet_commit::append(self, feature, rows).await
    }
}
