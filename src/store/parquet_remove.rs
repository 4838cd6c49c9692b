//! A Parquet folder at one moment: removing rows of it for good, and writing its files anew.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use futures::StreamExt;

use super::parquet::ParquetStore;
use super::parquet_commit::latest_time;
use super::parquet_folder::{DataFile, Files, ParquetFolder, STAGING};
use super::parquet_rewrite::{Needs, Rewriting, Rewritten};
use super::parquet_scan::ParquetRows;
use super::remove::{by_file, remaining, removed_meanwhile};
use super::row_order::MOST_FILES;
use super::snapshot::{Replacement, Rewrite, RewriteOutcome, TablePart};
use super::stamp::{later_than, read_back};
use super::{Append, TableSnapshot, WriteTime};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// Rows that are written again keep their times.
const KEPT: (WriteTime, DateTime<Utc>) = (WriteTime::Kept, DateTime::<Utc>::MIN_UTC);

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

    /// Writes the files without those rows, and a last one with what is appended.
    async fn without<'a>(
        &'a self,
        gone: Vec<(&'a DataFile, Vec<u64>)>,
        append: Option<Append>,
    ) -> Result<Rewritten<'a>> {
        self.store.location.check_writable(&self.feature)?;
        let replaced = gone.iter().map(|(file, _)| *file).collect();
        let mut files = Rewriting::new(&self.folder, replaced);
        match self.fill(&mut files, gone, append).await {
            Ok(()) => files.finish().await,
            Err(error) => {
                files.discard().await;
                Err(error)
            }
        }
    }

    async fn fill<'a>(
        &'a self,
        files: &mut Rewriting<'a>,
        gone: Vec<(&'a DataFile, Vec<u64>)>,
        append: Option<Append>,
    ) -> Result<()> {
        for (file, gone) in gone {
            let objects = Arc::clone(&self.folder.objects.store);
            let rows = match read_back(objects, file.meta.location.clone()).await {
                Ok(rows) => rows,
                Err(_) if self.folder.is_gone(&file.meta.location).await => {
                    return Err(removed_meanwhile(&self.feature));
                }
                Err(error) => return Err(error),
            };
            let Some((schema, mut rows)) = remaining(rows, gone).await? else { continue };
            files.begin(&schema, KEPT, Some(file), false).await?;
            while let Some(batch) = rows.next().await.transpose()? {
                files.add(&batch).await?;
            }
        }
        if let Some(Append { schema, mut rows, time, .. }) = append {
            let latest = latest_time(&self.folder, &self.files).await?;
            files.begin(&schema, (time, later_than(latest)), None, false).await?;
            while let Some(batch) = rows.next().await.transpose()? {
                files.add(&batch).await?;
            }
        }
        Ok(())
    }

    /// Writes the rows of each replacement to files that take the places of its first ones, the last that of its last.
    async fn anew<'a>(&'a self, replacements: Vec<Replacement>, file_size: u64) -> Result<Rewritten<'a>> {
        self.store.location.check_writable(&self.feature)?;
        let replaced = replacements.iter().flat_map(|one| &self.files.files[one.parts.clone()]).collect();
        let mut files = Rewriting::new(&self.folder, replaced);
        for replacement in replacements {
            let places = &self.files.files[replacement.parts.clone()];
            if let Err(error) = write_anew(&mut files, places, replacement, file_size).await {
                files.discard().await;
                return Err(error);
            }
        }
        files.finish().await
    }

    fn tidy(&self) {
        let table = self.store.location.table_path(&self.feature);
        self.store.location.tidy(&format!("{table}/{STAGING}"));
    }

    fn changed(&self) -> MetaxyError {
        MetaxyError::Changed { feature: self.feature.to_string() }
    }
}

async fn write_anew<'a>(
    files: &mut Rewriting<'a>,
    places: &'a [DataFile],
    replacement: Replacement,
    file_size: u64,
) -> Result<()> {
    let Replacement { schema, mut rows, .. } = replacement;
    let Some((last, first)) = places.split_last() else { return Ok(()) };
    files.mixes(first.first().unwrap_or(last), last);
    let mut first = first.iter();
    let mut place = first.next();
    files.begin(&schema, KEPT, Some(place.unwrap_or(last)), true).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        if files.bytes() >= file_size && place.is_some() {
            place = first.next();
            files.begin(&schema, KEPT, Some(place.unwrap_or(last)), true).await?;
        }
        files.add(&batch).await?;
    }
    Ok(())
}

#[async_trait]
impl TableSnapshot for ParquetSnapshot {
    fn rows(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.rows) as _
    }

    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64> {
        self.removed(rows, append).await
    }

    fn parts(&self) -> Result<Vec<TablePart>> {
        let part =
            |(rank, file): (usize, &DataFile)| TablePart { files: rank..rank + 1, bytes: file.meta.size };
        Ok(self.files.files.iter().enumerate().map(part).collect())
    }

    async fn rows_of(&self, parts: Range<usize>) -> Result<Arc<dyn TableProvider>> {
        let files = Arc::new(self.files.part(parts));
        Ok(Arc::new(ParquetRows::new(self.folder.clone(), files.schema()).pinned(files)))
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<RewriteOutcome> {
        let Rewrite { replacements, file_size, drops_rows, .. } = rewrite;
        let needs = if drops_rows { Needs::AllFiles } else { Needs::Replaced };
        let outcome = match self.anew(replacements, file_size).await {
            Ok(written) => {
                let (files, bytes) = written.size();
                let committed = written.commit(&self.files, needs, &|| self.changed()).await;
                committed.map(|()| RewriteOutcome { files, bytes })
            }
            Err(error) => Err(error),
        };
        self.tidy();
        outcome
    }
}

impl ParquetSnapshot {
    /// Takes rows out, as [`TableSnapshot::remove`] says.
    fn removed<'a>(&'a self, rows: &'a [u64], append: Option<Append>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            if self.files.files.len() as u64 > MOST_FILES {
                return Err(self.folder.error("", "it has too many files to delete from; optimize it first"));
            }
            let mut gone = Vec::new();
            for (rank, positions) in by_file(rows) {
                match self.files.files.get(rank) {
                    Some(file) => gone.push((file, positions)),
                    None => return Err(self.folder.error("", "a row to delete is in no file of it")),
                }
            }
            // What stands in for removed rows was worked out from all that there are.
            let needs = if append.is_some() { Needs::Unchanged } else { Needs::Replaced };
            let outcome = match self.without(gone, append).await {
                Ok(files) => files.commit(&self.files, needs, &|| removed_meanwhile(&self.feature)).await,
                Err(error) => Err(error),
            };
            self.tidy();
            outcome?;
            Ok(rows.len() as u64)
        })
    }
}
