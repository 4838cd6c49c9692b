//! Removing files of a Delta table that nothing refers to any more.
//!
//! What the log takes out of a table stays in its folder: readers of an earlier version may still be at it. And a writer
//! that dies leaves files behind that no log entry names. delta-rs's own vacuum is not used: it writes two commits into
//! the log, which makes every delete that runs meanwhile fail, and does not know how large the files are that it would
//! remove.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use deltalake::DeltaTable;
use futures::TryStreamExt;

use super::delta::DeltaStore;
use super::location_files::TableFile;
use super::upkeep::{Vacuum, VacuumedFile};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// The folder of the log.
const LOG: &str = "_delta_log/";

/// Removes, or only lists, the files of a feature's table that are old enough.
pub(super) async fn vacuum(
    store: &DeltaStore,
    feature: &FeatureKey,
    vacuum: &Vacuum,
) -> Result<Vec<VacuumedFile>> {
    let folder = store.location.table_path(feature);
    // Before the log is read: what is committed from here on was not in the folder then, or is named by the log.
    let files = store.location.files_below(&folder).await?;
    let Some(table) = store.load(feature).await? else {
        // Its first write may have been cut short.
        let goes = |file: &&TableFile| file.modified < vacuum.abandoned && file.is_leftover();
        let gone = remove(store, &folder, files.iter().filter(goes), vacuum).await?;
        if !vacuum.dry_run && !gone.is_empty() {
            store.location.tidy(&folder);
        }
        return Ok(gone);
    };
    check_retention(store, feature, &table, vacuum)?;
    let named = Named::of(store, feature, &table, vacuum).await?;
    let goes = |file: &&TableFile| {
        let abandoned = file.modified < vacuum.abandoned;
        if file.path.starts_with(LOG) {
            return abandoned && (file.is_leftover() || file.name().ends_with(".tmp"));
        }
        // Folders and files that begin so belong to others.
        let hidden = file.path.split('/').any(|part| part.starts_with(['_', '.']));
        if hidden || !file.name().ends_with(".parquet") {
            return abandoned && file.is_leftover();
        }
        let is_old =
            if named.removed.contains(file.name()) { file.modified < vacuum.before } else { abandoned };
        is_old && !named.kept.contains(file.name())
    };
    remove(store, &folder, files.iter().filter(goes), vacuum).await
}

/// Removes these files of a folder, or only lists them.
async fn remove(
    store: &DeltaStore,
    folder: &str,
    files: impl Iterator<Item = &TableFile>,
    vacuum: &Vacuum,
) -> Result<Vec<VacuumedFile>> {
    let mut gone = Vec::new();
    for file in files {
        if !vacuum.dry_run {
            store.location.remove_file(folder, file).await?;
        }
        gone.push(VacuumedFile { path: format!("{folder}/{}", file.path), bytes: file.bytes });
    }
    Ok(gone)
}

/// Names of files in the log.
struct Named {
    /// Those that the table consists of, or that were taken out of it too recently.
    kept: HashSet<String>,
    /// Those that were taken out of it long ago.
    removed: HashSet<String>,
}

impl Named {
    async fn of(
        store: &DeltaStore,
        feature: &FeatureKey,
        table: &DeltaTable,
        vacuum: &Vacuum,
    ) -> Result<Self> {
        let fail = |error: &_| store.error(feature, error);
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let state = table.snapshot().map_err(|e| fail(&e))?;
        let kept = state.log_data().iter().map(|file| name(&file.path())).collect();
        let mut named = Self { kept, removed: HashSet::new() };
        let before = vacuum.before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let log = table.log_store();
        let mut tombstones = state.all_tombstones(log.as_ref());
        while let Some(file) = tombstones.try_next().await.map_err(|e| fail(&e))? {
            let time = file.deletion_timestamp().and_then(|time| u128::try_from(time).ok());
            let names =
                if time.is_some_and(|time| time < before) { &mut named.removed } else { &mut named.kept };
            names.insert(name(&file.path()));
        }
        Ok(named)
    }
}

/// A table may ask for a longer retention than others.
fn check_retention(
    store: &DeltaStore,
    feature: &FeatureKey,
    table: &DeltaTable,
    vacuum: &Vacuum,
) -> Result<()> {
    let state = table.snapshot().map_err(|error| store.error(feature, &error))?;
    let asked: Option<Duration> = state.table_config().deleted_file_retention_duration;
    match asked {
        Some(asked) if vacuum.retain < asked && !vacuum.allow_short => Err(MetaxyError::Invalid(format!(
            "vacuum: table {} asks to keep its files for {} (delta.deletedFileRetentionDuration), not for {}; say \
             allow_short_retention if nobody reads an earlier version of it or writes to it",
            store.location.table_path(feature),
            super::upkeep::shown(asked),
            super::upkeep::shown(vacuum.retain)
        ))),
        _ => Ok(()),
    }
}
