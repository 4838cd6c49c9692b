//! A Delta table at one version: removing rows of it for good, and writing its files anew.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use deltalake::DeltaTable;
use deltalake::kernel::LogicalFileView;
use deltalake::protocol::DeltaOperation;
use serde_json::Value;

use super::delta::{DeltaRows, DeltaStore, ranked_files};
use super::delta_replace::{Needs, Replaced};
use super::delta_stage::{FileSize, Stage};
use super::remove::{by_file, remaining, removed_meanwhile};
use super::row_order::MOST_FILES;
use super::snapshot::{Replacement, Rewrite, RewriteOutcome, TablePart};
use super::stamp::{later_than, read_back};
use super::{Append, TableSnapshot, WriteTime, times};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// A Delta table at one version.
#[derive(Debug)]
pub(crate) struct DeltaSnapshot {
    pub(super) store: DeltaStore,
    pub(super) feature: FeatureKey,
    pub(super) table: DeltaTable,
    rows: Arc<DeltaRows>,
}

impl DeltaSnapshot {
    pub(crate) async fn open(store: &DeltaStore, feature: &FeatureKey) -> Result<Option<Self>> {
        let Some(table) = store.load(feature).await? else {
            return Ok(None);
        };
        let rows = Arc::new(DeltaRows::try_new(table.clone()).await?.pinned());
        Ok(Some(Self { store: store.clone(), feature: feature.clone(), table, rows }))
    }

    /// Writes the files without those rows; an error leaves nothing behind.
    async fn stage(&self, rows: &[u64], replaced: &mut Replaced) -> Result<()> {
        let files = ranked_files(&self.table)?;
        if files.len() as u64 > MOST_FILES {
            return Err(self.refused("it has too many files to delete from; optimize it first"));
        }
        let files_of_table = self.table.log_store().object_store(None);
        for (rank, gone) in by_file(rows) {
            let Some(file) = files.get(rank) else {
                return Err(self.refused("a row to delete is in no file of it"));
            };
            if file.deletion_vector_descriptor().is_some() {
                return Err(
                    self.refused("it has deletion vectors, which can't be rewritten; optimize it first")
                );
            }
            let removed = file.remove_action(true);
            let (modified, partition) = (file.modification_time(), file.partition_values_map());
            replaced.removes.push(removed);
            let rows = read_back(Arc::clone(&files_of_table), file.object_store_path()).await?;
            let Some((schema, rows)) = remaining(rows, gone).await? else { continue };
            let columns = columns_with_statistics(file.stats().as_deref());
            let before = || self.store.location.check_writable(&self.feature);
            let stage =
                Stage::write(Arc::clone(&files_of_table), schema, columns, KEPT, rows, &before).await?;
            replaced.adds.extend(stage.files().iter().cloned().map(|mut new| {
                // Rows of the same time are told apart by it.
                new.modification_time = modified;
                new.partition_values.clone_from(&partition);
                new
            }));
            replaced.stages.push(stage);
        }
        Ok(())
    }

    /// Writes the rows of a replacement; an error leaves nothing behind.
    async fn stage_anew(
        &self,
        files: &[LogicalFileView],
        replacement: Replacement,
        (ids, file_size, drops_rows): (&[String], u64, bool),
        replaced: &mut Replaced,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (files.first(), files.last()) else { return Ok(()) };
        replaced.spans.push((first.modification_time(), last.modification_time()));
        replaced.removes.extend(files.iter().map(|file| file.remove_action(drops_rows)));
        let before = || self.store.location.check_writable(&self.feature);
        let store = self.table.log_store().object_store(None);
        let Replacement { schema, rows, .. } = replacement;
        let size = FileSize::clustered(file_size);
        let stage = Stage::write_files(store, schema, ids.to_vec(), KEPT, rows, &before, size).await?;
        replaced.adds.extend(stage.files().iter().cloned().map(|mut new| {
            // Its rows stay between those of the neighbours. Among several new files the names decide, which are in order.
            new.modification_time = last.modification_time();
            new.data_change = drops_rows;
            new
        }));
        replaced.stages.push(stage);
        Ok(())
    }

    pub(super) fn refused(&self, reason: &str) -> MetaxyError {
        MetaxyError::Store {
            store: self.store.location.store().to_owned(),
            reason: format!("{}: {reason}", self.store.location.table_path(&self.feature)),
        }
    }
}

/// Rows that are written again keep their times.
const KEPT: (WriteTime, DateTime<Utc>) = (WriteTime::Kept, DateTime::<Utc>::MIN_UTC);

#[async_trait]
impl TableSnapshot for DeltaSnapshot {
    fn rows(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.rows) as _
    }

    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64> {
        self.removed(rows, append).await
    }

    /// Files of one modification time are one part: new files could not be put between them.
    fn parts(&self) -> Result<Vec<TablePart>> {
        let state = self.table.snapshot().map_err(|error| self.store.error(&self.feature, &error))?;
        if let Some(column) = state.metadata().partition_columns().first() {
            return Err(self.refused(&format!(
                "it is partitioned by {column:?}; optimize it with the program that has made it"
            )));
        }
        let files = ranked_files(&self.table)?;
        let mut parts: Vec<TablePart> = Vec::new();
        for (rank, file) in files.iter().enumerate() {
            let bytes = u64::try_from(file.size()).unwrap_or_default();
            let is_same = rank > 0 && files[rank - 1].modification_time() == file.modification_time();
            match parts.last_mut() {
                Some(part) if is_same => {
                    part.files.end = rank + 1;
                    part.bytes += bytes;
                }
                _ => parts.push(TablePart { files: rank..rank + 1, bytes }),
            }
        }
        Ok(parts)
    }

    async fn rows_of(&self, parts: Range<usize>) -> Result<Arc<dyn TableProvider>> {
        let files = self.files_of(parts)?;
        let rows = DeltaRows::try_new(self.table.clone()).await?.pinned();
        Ok(Arc::new(rows.of_files(files.iter().map(|file| file.path().into_owned()).collect())))
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<RewriteOutcome> {
        let Rewrite { replacements, file_size, id_columns, drops_rows } = rewrite;
        let mut replaced = Replaced::default();
        let mut outcome = Ok(());
        for replacement in replacements {
            let files = self.files_of(replacement.parts.clone())?;
            let how = (id_columns.as_slice(), file_size, drops_rows);
            outcome = self.stage_anew(&files, replacement, how, &mut replaced).await;
            if outcome.is_err() {
                break;
            }
        }
        let written = RewriteOutcome {
            files: replaced.adds.len() as u64,
            bytes: replaced.adds.iter().filter_map(|add| u64::try_from(add.size).ok()).sum(),
        };
        let needs = if drops_rows { Needs::AllFiles } else { Needs::Replaced };
        if outcome.is_ok() {
            let target_size = i64::try_from(file_size).unwrap_or(i64::MAX);
            let operation = DeltaOperation::Optimize { predicate: None, target_size };
            let lost = || MetaxyError::Changed { feature: self.feature.to_string() };
            outcome = replaced.commit(self, needs, operation, &lost).await;
        }
        match outcome {
            Ok(()) => Ok(written),
            Err(error) => {
                replaced.discard().await;
                Err(error)
            }
        }
    }
}

impl DeltaSnapshot {
    /// Takes rows out, as [`TableSnapshot::remove`] says.
    fn removed<'a>(&'a self, rows: &'a [u64], append: Option<Append>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let mut replaced = Replaced::default();
            let mut outcome = self.stage(rows, &mut replaced).await;
            if let (Ok(()), Some(append)) = (&outcome, append) {
                let latest = times::latest_time(&self.table).await?;
                let files = self.table.log_store().object_store(None);
                let time = (append.time, later_than(latest));
                match Stage::write(files, append.schema, append.id_columns, time, append.rows, &|| Ok(()))
                    .await
                {
                    Ok(stage) => replaced.appended = Some(stage),
                    Err(error) => outcome = Err(error),
                }
            }
            // What is appended was worked out from all rows there were.
            let needs = if replaced.appended.is_some() { Needs::Unchanged } else { Needs::Replaced };
            if outcome.is_ok() {
                let operation = DeltaOperation::Delete { predicate: None };
                let lost = || removed_meanwhile(&self.feature);
                outcome = replaced.commit(self, needs, operation, &lost).await;
            }
            if let Err(error) = outcome {
                replaced.discard().await;
                return Err(error);
            }
            Ok(rows.len() as u64)
        })
    }

    /// The files of these parts, in the order of their rows.
    fn files_of(&self, parts: Range<usize>) -> Result<Vec<LogicalFileView>> {
        let all = self.parts()?;
        let (Some(first), Some(last)) = (all.get(parts.start), all.get(..parts.end).and_then(<[_]>::last))
        else {
            return Err(self.refused("it has fewer files than that"));
        };
        let ranks = first.files.start..last.files.end;
        Ok(ranked_files(&self.table)?.drain(ranks).collect())
    }
}

/// The columns that a file's statistics bound: its successor gets statistics of the same.
fn columns_with_statistics(stats: Option<&str>) -> Vec<String> {
    let stats: Value = stats.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let plain = |(name, value): (&String, &Value)| (!value.is_object()).then(|| name.clone());
    stats["minValues"].as_object().into_iter().flatten().filter_map(plain).collect()
}
