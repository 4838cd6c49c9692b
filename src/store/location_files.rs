//! The files of a table, in a local folder or in a bucket: finding them, and removing those that nobody needs.

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use super::location::Location;
use super::objects::said;
use crate::error::{MetaxyError, Result, one_line};

impl Location {
    /// All files below the table at `path`; in a bucket, that is one listing.
    ///
    /// # Errors
    /// A folder or the bucket can't be read.
    pub(crate) async fn files_below(&self, path: &str) -> Result<Vec<TableFile>> {
        let mut found = Vec::new();
        match (self.folder(path), self.remote()) {
            (Some(folder), _) => {
                walk(&folder, "", &mut found).map_err(|error| self.failed(path, &error.to_string()))?;
            }
            (None, Some(remote)) => {
                let below = self.object_path(path)?;
                let mut listed = remote.store.list(Some(&below));
                while let Some(meta) = listed.try_next().await.map_err(|e| self.object_error(path, &e))? {
                    let Some(parts) = meta.location.prefix_match(&below) else { continue };
                    let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
                    found.push(TableFile {
                        path: parts.join("/"),
                        bytes: meta.size,
                        modified: meta.last_modified.into(),
                    });
                }
            }
            (None, None) => return Err(self.failed(path, "it is no folder")),
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Removes a file that [`files_below`](Self::files_below) has found; one that is gone already is fine.
    ///
    /// # Errors
    /// The file can't be removed.
    pub(crate) async fn remove_file(&self, path: &str, file: &TableFile) -> Result<()> {
        let shown = format!("{path}/{}", file.path);
        if let Some(remote) = self.remote() {
            let object = self.object_path(&shown)?;
            return match remote.store.delete(&object).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.object_error(&shown, &error)),
            };
        }
        let Some(folder) = self.folder(path) else { return Ok(()) };
        match std::fs::remove_file(folder.join(&file.path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(self.failed(&shown, &format!("the file can't be removed: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Where something below the root is in its object store. Names are as in listings.
    pub(crate) fn object_path(&self, path: &str) -> Result<object_store::path::Path> {
        let fail = |error: object_store::path::Error| self.failed(path, &error.to_string());
        let root = object_store::path::Path::from_url_path(self.root().path()).map_err(fail)?;
        let root = if root.as_ref().is_empty() { String::new() } else { format!("{root}/") };
        object_store::path::Path::parse(format!("{root}{path}")).map_err(fail)
    }

    fn object_error(&self, path: &str, error: &object_store::Error) -> MetaxyError {
        self.failed(path, &said(error).unwrap_or_else(|| one_line(&error.to_string())))
    }

    fn failed(&self, path: &str, reason: &str) -> MetaxyError {
        MetaxyError::Store { store: self.store().to_owned(), reason: format!("{path}: {reason}") }
    }
}

/// A file below a table's folder.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    /// Where it is below that folder, with slashes.
    pub path: String,
    pub bytes: u64,
    pub modified: SystemTime,
}

impl TableFile {
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether a writer that has died must have left it: a part of a file that was never completed, or the probe whether a
    /// folder can be written to.
    pub(crate) fn is_leftover(&self) -> bool {
        let part = self.name().rsplit_once('#').is_some_and(|(_, digits)| digits.parse::<u64>().is_ok());
        part || self.name().strip_prefix('.').is_some_and(|id| uuid::Uuid::parse_str(id).is_ok())
    }
}

/// Links are not followed: what they lead to belongs to somebody else.
fn walk(folder: &Path, prefix: &str, found: &mut Vec<TableFile>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found)?;
        } else if metadata.is_file() {
            found.push(TableFile { path, bytes: metadata.len(), modified: metadata.modified()? });
        }
    }
    Ok(())
}
