//! Several files of a Parquet folder replaced at once, although a folder has no log.
//!
//! The new files are staged, all but the last, which carries the [`Manifest`] in its footer: which files it replaces,
//! and which staged ones come with it. It takes the next free number, as an append does, and with its appearance the
//! whole replacement is done: whoever lists the folder from then on leaves out the replaced files and reads the new ones
//! where they are. What is left is housekeeping, which [`settle`](ParquetFolder::settle) does: giving the staged files
//! their names, then removing the replaced ones. After a crash the next writer does it. Only the manifest with the
//! greatest number means anything: before the next one appears, the one before it is settled.

use chrono::{DateTime, Utc};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::parquet_folder::{Files, ParquetFolder, STAGING};
use crate::error::Result;

/// A file's place in the order of files, by which rows of the same time are told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    /// When the file was last modified, in seconds since 1970.
    seconds: i64,
    /// What is to be added.
    nanoseconds: u32,
    name: String,
}

impl Place {
    /// The place of a file by itself.
    pub(crate) fn of(modified: DateTime<Utc>, name: &str) -> Self {
        let (seconds, nanoseconds) = (modified.timestamp(), modified.timestamp_subsec_nanos());
        Self { seconds, nanoseconds, name: name.to_owned() }
    }
}

/// What happens to a folder with the appearance of the file whose footer has this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The names of the files that are no more.
    pub replaced: Vec<String>,
    /// The files that come with it.
    pub added: Vec<Added>,
}

/// A file that becomes visible with another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Added {
    /// Its name in the staging folder.
    pub staged: String,
    /// Its name among the data files.
    pub name: String,
}

impl ParquetFolder {
    /// Where a file of the staging folder is.
    pub(crate) fn in_staging(&self, name: &str) -> Path {
        self.below(&format!("{STAGING}/{name}"))
    }

    /// Where a data file is.
    pub(crate) fn at(&self, name: &str) -> Path {
        self.below(name)
    }

    /// The names come from listings: nothing in them is to be escaped once more.
    fn below(&self, name: &str) -> Path {
        Path::parse(format!("{}/{name}", self.path())).unwrap_or_else(|_| self.path().clone().join(name))
    }

    /// Finishes what the folder's latest manifest has begun, which a crash may have cut short. With `for_good` nothing may
    /// be left of it, not even what readers don't see: before another manifest appears, nobody must be able to finish this
    /// one once more.
    ///
    /// # Errors
    /// The folder can't be written. What readers see is right all the same.
    pub(crate) async fn settle(&self, files: &Files, for_good: bool) -> Result<()> {
        for added in files.unsettled() {
            // Somebody else may be as far.
            self.publish_staged(added).await?;
        }
        let staged = files.added().iter().filter(|_| for_good || !files.unsettled().is_empty());
        let staged = staged.map(|added| self.in_staging(&added.staged));
        for path in files.superseded().iter().cloned().chain(staged) {
            match self.remove(&path).await {
                Err(error) if for_good => return Err(error),
                // No reader looks at it.
                Err(error) => log::debug!("{error}"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn publish_staged(&self, added: &Added) -> Result<()> {
        let (staged, place) = (self.in_staging(&added.staged), self.at(&added.name));
        // In a bucket, who comes second puts the same once more.
        let copied = if self.objects.is_remote {
            self.objects.store.copy(&staged, &place).await
        } else {
            self.objects.store.copy_if_not_exists(&staged, &place).await
        };
        match copied {
            Ok(())
            | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(&added.name, &error)),
        }
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        match self.objects.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                let reason = format!("another file has taken its place, but it can't be removed: {error}");
                Err(self.error(path.filename().unwrap_or_default(), &reason))
            }
        }
    }
}
