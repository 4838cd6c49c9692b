//! Removing files of a Parquet folder that nothing refers to any more.

use super::location_files::TableFile;
use super::parquet::ParquetStore;
use super::parquet_folder::STAGING;
use super::upkeep::{Vacuum, VacuumedFile};
use crate::error::Result;
use crate::model::FeatureKey;

/// Removes, or only lists, the files of a feature's folder that are old enough: what writers that have died left in the
/// staging folder, and what others have replaced.
pub(super) async fn vacuum(
    store: &ParquetStore,
    feature: &FeatureKey,
    vacuum: &Vacuum,
) -> Result<Vec<VacuumedFile>> {
    let table = store.location.table_path(feature);
    let folder = store.folder(feature)?;
    let mut files = folder.files().await?;
    let is_settled = files.unsettled().is_empty() && files.superseded().is_empty();
    if !vacuum.dry_run && !is_settled {
        // A replacement that a crash has cut short is not complete without what it has staged.
        folder.settle(&files, false).await?;
        files = folder.files().await?;
    }
    let needed = |file: &TableFile| {
        let staged = file.path.strip_prefix(&format!("{STAGING}/"));
        staged.is_some_and(|name| files.unsettled().iter().any(|added| added.staged == name))
    };
    let replaced =
        |file: &TableFile| files.superseded().iter().any(|path| path.filename() == Some(&file.path));
    let goes = |file: &&TableFile| {
        let staged = file.path.starts_with(&format!("{STAGING}/")) && !needed(file);
        let abandoned = file.modified < vacuum.abandoned && (staged || file.is_leftover());
        abandoned || (file.modified < vacuum.before && replaced(file))
    };
    let mut gone = Vec::new();
    for file in store.location.files_below(&table).await?.iter().filter(goes) {
        if !vacuum.dry_run {
            store.location.remove_file(&table, file).await?;
        }
        gone.push(VacuumedFile { path: format!("{table}/{}", file.path), bytes: file.bytes });
    }
    if !vacuum.dry_run {
        store.location.tidy(&format!("{table}/{STAGING}"));
    }
    Ok(gone)
}
