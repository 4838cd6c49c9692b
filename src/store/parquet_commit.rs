//! Making a staged file visible in a Parquet store, alone or against other writers.
//!
//! A writer takes the next free number. Whoever finds it taken looks at the folder again: key, settings, columns and
//! times are checked against all files before each attempt, and between two numbers nobody can slip in.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::delta_schema::merge;
use super::parquet::ParquetStore;
use super::parquet_folder::{Files, ParquetFolder, STAGING};
use super::parquet_large::carrier;
use super::parquet_scan::ParquetRows;
use super::parquet_stage::Stage;
use super::stamp::later_than;
use super::stamp::read_back;
use super::times::read_latest;
use super::{Append, Basis};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::hash::HashSettings;
use crate::model::FeatureKey;

/// How often a number is tried against other writers before giving up.
pub(crate) const ATTEMPTS: u32 = 100;
/// Longest pause between two attempts.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// A staged file that nobody has touched for so long has lost its writer.
const ABANDONED: Duration = Duration::from_hours(24);

/// Appends rows to the feature's folder as one file.
pub(crate) fn append<'a>(
    store: &'a ParquetStore,
    feature: &'a FeatureKey,
    rows: Append,
) -> BoxFuture<'a, Result<u64>> {
    Box::pin(async move {
        let outcome = stage_and_publish(store, feature, rows).await;
        let table = store.location.table_path(feature);
        let staging = format!("{table}/{STAGING}");
        if outcome.is_ok() {
            // Only now: what a replacement of files has staged has its name.
            store.location.sweep(&staging, ABANDONED);
        }
        store.location.tidy(&staging);
        if outcome.is_err() {
            store.location.tidy(&table);
        }
        outcome
    })
}

async fn stage_and_publish(store: &ParquetStore, feature: &FeatureKey, rows: Append) -> Result<u64> {
    let Append { schema, rows, settings, write_key, time: column, only_at, .. } = rows;
    let folder = store.folder(feature)?;
    let files = folder.files().await?;
    folder.settle(&files, false).await?;
    if files.has_key(write_key.as_deref()) {
        return Ok(0);
    }
    let time = later_than(latest_time(&folder, &files).await?);
    let before = || store.location.check_writable(feature);
    let staged =
        Stage::write(folder.clone(), schema, write_key.clone(), (column, time), rows, &before).await?;
    let Some(mut stage) = staged else {
        return Ok(0);
    };
    let commit = Commit { feature, folder: folder.clone(), settings, write_key, only_at };
    let mut is_open = false;
    let outcome = commit.run(&mut stage, &mut is_open).await;
    if stage.is_large() && outcome.is_ok() && is_open {
        folder.settle_latest().await;
    } else if !(stage.is_large() && is_open) {
        stage.discard().await;
    }
    outcome
}

struct Commit<'a> {
    feature: &'a FeatureKey,
    folder: ParquetFolder,
    settings: HashSettings,
    write_key: Option<String>,
    only_at: Option<Basis>,
}

impl Commit<'_> {
    /// `is_open` becomes true as soon as the rows may be visible, and the staged file has to stay.
    async fn run(&self, stage: &mut Stage, is_open: &mut bool) -> Result<u64> {
        let mut pause = Duration::from_millis(2);
        let mut basis = self.only_at.clone();
        for _ in 0..ATTEMPTS {
            let files = self.folder.files().await?;
            if files.has_key(self.write_key.as_deref()) {
                return Ok(0);
            }
            if let Some(basis) = &mut basis {
                if !self.still_holds(basis, &files).await? {
                    return Err(MetaxyError::Changed { feature: self.feature.to_string() });
                }
                basis.state = files.state();
            }
            self.check(&files, stage).await?;
            if let Some(latest) = latest_time(&self.folder, &files).await?
                && stage.is_too_early(latest)
            {
                stage.restamp(later_than(Some(latest))).await?;
            }
            let Some(number) = files.next_number() else {
                return Err(self.folder.error("", "there is no number left for another file"));
            };
            let published = if stage.is_large() {
                // Nobody must be able to finish the manifest before this one any more.
                self.folder.settle(&files, true).await?;
                let carrier = carrier(&self.folder, stage, self.write_key.clone()).await?;
                *is_open = true;
                carrier.publish(number).await?
            } else {
                stage.publish(number).await?
            };
            *is_open = published;
            if published {
                return Ok(stage.rows());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(self.folder.error("", &format!("other writers won {ATTEMPTS} times in a row; try again")))
    }

    /// Whether no file went since, and those that came hold other samples.
    async fn still_holds(&self, basis: &Basis, files: &Files) -> Result<bool> {
        let mut then: HashSet<&str> =
            basis.state.as_str().split('/').filter(|name| !name.is_empty()).collect();
        for file in &files.files {
            if then.remove(file.name()) {
                continue;
            }
            let objects = Arc::clone(&self.folder.objects.store);
            if basis.samples.is_none()
                || !basis.survives(read_back(objects, file.meta.location.clone()).await?).await?
            {
                return Ok(false);
            }
        }
        Ok(then.is_empty())
    }

    /// Whether the rows may stand beside these files; records the settings of a table to be.
    async fn check(&self, files: &Files, stage: &Stage) -> Result<()> {
        let refused = |reason| MetaxyError::Write { feature: self.feature.to_string(), reason };
        // System tables have no versions of samples.
        if files.is_empty() && !self.feature.is_system() {
            self.folder.record(self.settings).await?;
        }
        if let Some(recorded) = self.folder.recorded().await? {
            recorded.check(self.settings).map_err(refused)?;
        }
        merge(files.schema(), stage.schema()).map(drop).map_err(refused)
    }
}

/// The greatest time of the folder, read from the data where footers do not tell.
pub(crate) async fn latest_time(folder: &ParquetFolder, files: &Files) -> Result<Option<i64>> {
    match files.latest_time() {
        (latest, true) => Ok(latest),
        (_, false) => read_latest(Arc::new(ParquetRows::new(folder.clone(), files.schema()))).await,
    }
}
