//! Appending a file to a folder in a bucket that is too large for one conditional put.
//!
//! Not every server refuses to complete an upload in parts where an object is already. So the file stays in the staging
//! folder, and a file without rows, whose footer has a [`Manifest`] that names it, takes the next free number: with it
//! the rows become visible, as with a replacement of files.

use chrono::{DateTime, Utc};

use super::WriteTime;
use super::parquet_folder::ParquetFolder;
use super::parquet_manifest::{Added, Manifest};
use super::parquet_stage::{Marks, OpenStage, Stage};
use crate::error::{MetaxyError, Result};

/// Largest object that a provider copies in one request.
const LARGEST_COPIED: u64 = 5 * 1024 * 1024 * 1024;

/// The small file with which a staged one becomes visible.
pub(crate) async fn carrier(
    folder: &ParquetFolder,
    stage: &Stage,
    write_key: Option<String>,
) -> Result<Stage> {
    check_size(folder, stage)?;
    let manifest = Manifest { replaced: Vec::new(), added: vec![added(stage, stage.name().to_owned())] };
    let marks = Marks { write_key, manifest: Some(manifest), ..Marks::default() };
    empty(folder, stage, marks).await
}

/// A file with the columns of another one, and without rows.
pub(crate) async fn empty(folder: &ParquetFolder, like: &Stage, marks: Marks) -> Result<Stage> {
    let time = (WriteTime::Kept, DateTime::<Utc>::MIN_UTC);
    OpenStage::begin(folder, like.schema(), time, None)?.finish(marks).await
}

/// A staged file, which gets that name.
pub(crate) fn added(stage: &Stage, name: String) -> Added {
    Added { staged: stage.name().to_owned(), name }
}

/// # Errors
/// A file that could not be given its name.
pub(crate) fn check_size(folder: &ParquetFolder, stage: &Stage) -> Result<()> {
    if stage.is_large() && stage.bytes() > LARGEST_COPIED {
        return Err(
            folder.error("", "more than 5 GB can't be written to a bucket at once; write it in parts")
        );
    }
    Ok(())
}

impl ParquetFolder {
    /// Gives a staged file that has become visible its name. What can't be done now is done by the next writer.
    pub(crate) async fn settle_latest(&self) {
        let settled: Result<(), MetaxyError> = async {
            let files = self.files().await?;
            self.settle(&files, false).await
        }
        .await;
        if let Err(error) = settled {
            log::debug!("a staged file keeps its place for now: {error}");
        }
    }
}
