//! Files on the local disk: listing and reading them as the operating system does.
//!
//! Not by way of an object store: that takes names which end in `#` and digits for parts of unfinished uploads, and does
//! not show them; and one name with a line break in it would make a whole listing fail.

use std::fs::{DirEntry, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use chrono::{DateTime, Utc};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use glob::Pattern;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::Url;

use super::files_found::{Content, Digesting, Found, FoundAt, MATCHING};
use crate::error::MetaxyError;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// A place on the local disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// The folder, or the only file.
    root: PathBuf,
    /// What shown paths start with.
    prefix: String,
    /// What files have to match below the folder.
    pattern: Option<Pattern>,
}

impl Disk {
    /// The files at a folder, a file or a pattern of the disk; `None` if the location is elsewhere.
    pub(super) fn of(location: &str) -> Result<Option<Self>> {
        let is_url = location.starts_with("file://");
        if location.contains("://") && !is_url {
            return Ok(None);
        }
        let path = |text: &str| -> Result<PathBuf> {
            if !is_url {
                return Ok(PathBuf::from(if text.is_empty() { "." } else { text }));
            }
            let url = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
            url.ok_or_else(|| invalid(&format!("{location} is no path on this machine")))
        };
        if let Some(wildcard) = location.find(['*', '?', '[']) {
            let (prefix, rest) =
                location.split_at(location[..wildcard].rfind('/').map_or(0, |slash| slash + 1));
            let pattern =
                Pattern::new(rest).map_err(|error| invalid(&format!("pattern {location}: {error}")))?;
            return Ok(Some(Self { root: path(prefix)?, prefix: prefix.to_owned(), pattern: Some(pattern) }));
        }
        let root = path(location)?;
        let Ok(metadata) = root.metadata() else {
            return Err(invalid(&format!("there is no file or folder {location}")));
        };
        let prefix = match metadata.is_dir() {
            true => format!("{}/", location.trim_end_matches('/')),
            false => location[..location.rfind('/').map_or(0, |slash| slash + 1)].to_owned(),
        };
        Ok(Some(Self { root, prefix, pattern: None }))
    }

    /// Whether a session's object store for files is this disk, and not one that shows a part of it, say.
    pub(super) fn is(store: &dyn ObjectStore) -> bool {
        store.to_string() == LocalFileSystem::new().to_string()
    }

    /// All files, in the order of their paths.
    pub(super) async fn list(&self) -> Result<Vec<Found>> {
        let (disk, wanted) = (self.clone(), Arc::new(()));
        let watched = Arc::downgrade(&wanted);
        let found = blocking(move || disk.walk(&watched)).await;
        drop(wanted);
        found
    }

    fn walk(&self, wanted: &Weak<()>) -> Result<Vec<Found>> {
        let root = match self.root.metadata() {
            Ok(metadata) => metadata,
            // As in a bucket, where nothing is in a folder that nobody has made.
            Err(error) if is_gone(&error) && self.pattern.is_some() => return Ok(Vec::new()),
            Err(error) => return Err(unread(&self.root, &error)),
        };
        let mut found = Vec::new();
        if !root.is_dir() {
            if self.pattern.is_none() {
                if !root.is_file() {
                    return Err(invalid(&format!("{:?} is neither a file nor a folder", self.root)));
                }
                let name = self.root.file_name().map(|name| name.to_string_lossy().into_owned());
                found.push(self.found(&name.unwrap_or_default(), self.root.clone(), &root));
            }
            return Ok(found);
        }
        let real = self.root.canonicalize().map_err(|error| unread(&self.root, &error))?;
        let mut folders = vec![Folder {
            path: self.root.clone(),
            below: String::new(),
            real: Rc::new(Real { path: real, above: None }),
        }];
        while let Some(folder) = folders.pop() {
            let entries = match folder.path.read_dir() {
                Ok(entries) => entries,
                // Removed meanwhile.
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(unread(&folder.path, &error)),
            };
            for entry in entries {
                if wanted.strong_count() == 0 {
                    return Ok(Vec::new());
                }
                let entry = entry.map_err(|error| unread(&folder.path, &error))?;
                self.take(&folder, &entry, &mut folders, &mut found)?;
            }
        }
        found.sort_by(|a, b| a.shown.cmp(&b.shown));
        Ok(found)
    }

    /// Adds an entry of a folder to the files, or to the folders that are still to be looked into.
    fn take(
        &self,
        folder: &Folder,
        entry: &DirEntry,
        folders: &mut Vec<Folder>,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let path = entry.path();
        // What a link leads to counts as if it were here; one that leads nowhere, or to itself, is no file.
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if path.is_symlink() && error.kind() != ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(unread(&path, &error)),
        };
        let name = entry.file_name();
        let below = format!("{}{}", folder.below, name.to_string_lossy());
        let is_wanted = match metadata.is_dir() {
            true => self.goes_below(&below),
            false => {
                metadata.is_file() && self.pattern.as_ref().is_none_or(|p| p.matches_with(&below, MATCHING))
            }
        };
        if !is_wanted {
            return Ok(());
        }
        if name.to_str().is_none() {
            return Err(invalid(&format!("the name of {path:?} is no text in UTF-8; rename it")));
        }
        if metadata.is_file() {
            found.push(self.found(&below, path, &metadata));
            return Ok(());
        }
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let real = match is_link {
            true => path.canonicalize().map_err(|error| unread(&path, &error))?,
            false => folder.real.path.join(&name),
        };
        // A link may lead back to where it was reached from.
        if !folder.real.has(&real) {
            let real = Rc::new(Real { path: real, above: Some(Rc::clone(&folder.real)) });
            folders.push(Folder { path, below: format!("{below}/"), real });
        }
        Ok(())
    }

    /// Whether files in this folder can match.
    fn goes_below(&self, folder: &str) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        let parts = |text: &str| text.matches('/').count();
        pattern.as_str().contains("**") || parts(folder) < parts(pattern.as_str())
    }

    fn found(&self, below: &str, path: PathBuf, metadata: &Metadata) -> Found {
        Found {
            shown: format!("{}{below}", self.prefix),
            size: metadata.len(),
            modified: metadata.modified().map_or(DateTime::<Utc>::UNIX_EPOCH, DateTime::from),
            e_tag: Some(e_tag(metadata)),
            at: FoundAt::Disk(path),
        }
    }
}

/// A folder that is still to be looked into.
struct Folder {
    path: PathBuf,
    /// Its path below the root, with a slash at its end.
    below: String,
    real: Rc<Real>,
}

/// Where a folder is without links, and where those are through which it was reached.
struct Real {
    path: PathBuf,
    above: Option<Rc<Real>>,
}

impl Real {
    fn has(&self, path: &Path) -> bool {
        let mut place = Some(self);
        while let Some(real) = place {
            if real.path == path {
                return true;
            }
            place = real.above.as_deref();
        }
        false
    }
}

/// Reads a file once; `None` if it is gone.
pub(super) async fn read(path: PathBuf, keep: bool) -> Result<Option<Content>> {
    // Who doesn't wait any longer doesn't want the rest of a large file to be read either.
    let wanted = Arc::new(());
    let watched = Arc::downgrade(&wanted);
    let content = blocking(move || {
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(unread(&path, &error)),
        };
        let mut digesting = Digesting::new(keep);
        let mut chunk = vec![0; CHUNK];
        while watched.strong_count() > 0 {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(Some(digesting.finish())),
                Ok(bytes) => digesting.add(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unread(&path, &error)),
            }
        }
        Ok(None)
    })
    .await;
    drop(wanted);
    content
}

/// What changes whenever the file does, in the form of many web servers: inode, time, size.
fn e_tag(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{:x}-{:x}-{:x}", inode(metadata), modified.unwrap_or_default().as_micros(), metadata.len())
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn invalid(reason: &str) -> DataFusionError {
    MetaxyError::Invalid(format!("files: {reason}")).into()
}

fn unread(path: &Path, error: &std::io::Error) -> DataFusionError {
    invalid(&format!("{path:?} can't be read: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DataFusionError::External(Box::new(error)))?
}
