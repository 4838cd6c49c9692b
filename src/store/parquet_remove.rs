//! Removing rows of a Parquet folder for good: each file that holds some is superseded by one without them.
//!
//! A folder has no log, so files change one by one, oldest first: whoever reads in between, or after a crash, may
//! still see rows that were to go, but never an older row of a sample in the place of its latest one.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use object_store::ObjectStoreExt;

use super::parquet::ParquetStore;
use super::parquet_folder::{DataFile, Files, ParquetFolder, STAGING};
use super::parquet_scan::ParquetRows;
use super::parquet_stage::Stage;
use super::remove::{by_file, remaining, removed_meanwhile};
use super::row_order::MOST_FILES;
use super::stamp::read_back;
use super::{Append, Basis, TableSnapshot, WriteTime};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// A Parquet folder with the files that it had at one moment.
#[derive(Debug)]
pub(crate) struct ParquetSnapshot {
    store: ParquetStore,
    feature: FeatureKey,
    folder: ParquetFolder,
    files: Arc<Files>,
    rows: Arc<ParquetRows>,
}

impl ParquetSnapshot {
    pub(crate) async fn open(store: &ParquetStore, feature: &FeatureKey) -> Result<Option<Self>> {
        let folder = store.folder(feature)?;
        let files = Arc::new(folder.files().await?);
        if files.is_empty() {
            return Ok(None);
        }
        let rows = ParquetRows::new(folder.clone(), files.schema()).pinned(Arc::clone(&files));
        let (store, feature) = (store.clone(), feature.clone());
        Ok(Some(Self { store, feature, folder, files, rows: Arc::new(rows) }))
    }

    /// Writes the file without those rows; a file stays even if no row does, for its number and its write key.
    async fn rewrite(&self, file: &DataFile, gone: Vec<u64>) -> Result<()> {
        let objects = Arc::clone(&self.folder.objects.store);
        let rows = match read_back(objects, file.meta.location.clone()).await {
            Ok(rows) => rows,
            Err(_) if self.folder.is_gone(&file.meta.location).await => {
                return Err(removed_meanwhile(&self.feature));
            }
            Err(error) => return Err(error),
        };
        let Some((schema, rows)) = remaining(rows, gone).await? else { return Ok(()) };
        let time = (WriteTime::Kept, DateTime::<Utc>::MIN_UTC);
        let key = file.footer.write_key().map(str::to_owned);
        let before = || self.store.location.check_writable(&self.feature);
        let stage = Stage::write_file(self.folder.clone(), schema, key, time, rows, &before).await?;
        let published = stage.publish_as(&file.successor()).await;
        stage.discard().await;
        if !published? || !self.folder.files().await?.has_file(&file.successor()) {
            return Err(removed_meanwhile(&self.feature));
        }
        let superseded = self.folder.objects.store.delete(&file.meta.location).await;
        match superseded {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                let reason = format!("its rows were deleted, but the old file can't be removed: {error}");
                Err(self.folder.error(file.name(), &reason))
            }
        }
    }

    async fn rewrite_all(&self, rows: &[u64]) -> Result<()> {
        if self.files.files.len() as u64 > MOST_FILES {
            return Err(self.folder.error("", "it has too many files to delete from"));
        }
        let mut files = Vec::new();
        for (rank, gone) in by_file(rows) {
            match self.files.files.get(rank) {
                Some(file) => files.push((file, gone)),
                None => return Err(self.folder.error("", "a row to delete is in no file of it")),
            }
        }
        // By the time of their rows: a file that was written anew by an earlier delete looks young.
        files.sort_by_key(|(file, _)| file.age());
        let mut done = 0_usize;
        for (file, gone) in files {
            match self.rewrite(file, gone).await {
                Ok(()) => done += 1,
                // Whatever is left is found and deleted once more.
                Err(error @ MetaxyError::Changed { .. }) => return Err(error),
                Err(error) if done == 0 => return Err(error),
                Err(error) => {
                    return Err(MetaxyError::Store {
                        store: self.store.location.store().to_owned(),
                        reason: format!(
                            "feature {}: rows in {done} files were deleted, then: {error}; repeat the DELETE for the rest",
                            self.feature
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TableSnapshot for ParquetSnapshot {
    fn rows(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.rows) as _
    }

    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64> {
        // What stands in for removed rows has to be there before they go.
        if let Some(append) = append {
            let append =
                Append { only_at: Some(Basis { state: self.files.state(), samples: None }), ..append };
            super::parquet_commit::append(&self.store, &self.feature, append).await?;
        }
        let outcome = self.rewrite_all(rows).await;
        let table = self.store.location.table_path(&self.feature);
        self.store.location.tidy(&format!("{table}/{STAGING}"));
        outcome?;
        Ok(rows.len() as u64)
    }
}
