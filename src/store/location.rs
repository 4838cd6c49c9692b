//! Where the tables of a store are: a root, the path of each feature below it, and what only local folders need.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use url::Url;

use crate::config::{Layout, StoreConfig};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// How often a probe is made anew when another writer's tidying has removed its folder.
const PROBES: usize = 3;

/// The root of a store whose tables are folders.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    store: String,
    root: Url,
    shown_root: String,
    layout: Layout,
    suffix: &'static str,
}

impl Location {
    /// The place that `config.root_path` names, which need not exist yet; `suffix` ends the name of each table.
    ///
    /// # Errors
    /// When `root_path` is missing or not a path or URL that this build can reach.
    pub(crate) fn try_new(config: &StoreConfig, suffix: &'static str) -> Result<Self> {
        let fail = |reason: String| MetaxyError::Store { store: config.name.clone(), reason };
        let shown_root = config.require_root_path()?.to_owned();
        let root = root_url(&shown_root).map_err(fail)?;
        Ok(Self { store: config.name.clone(), root, shown_root, layout: config.layout, suffix })
    }

    /// The store's name in the configuration.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    /// The root as it was configured.
    pub(crate) fn shown_root(&self) -> &str {
        &self.shown_root
    }

    /// A table's path below the root.
    pub(crate) fn table_path(&self, feature: &FeatureKey) -> String {
        match self.layout {
            Layout::Nested => format!("{}{}", feature.parts().join("/"), self.suffix),
            Layout::Flat => format!("{}{}", feature.table_name(), self.suffix),
        }
    }

    /// A table's URL, with a slash at its end.
    ///
    /// # Errors
    /// A path that can't be part of the root's URL.
    pub(crate) fn table_url(&self, feature: &FeatureKey) -> Result<Url> {
        let path = self.table_path(feature);
        self.root.join(&format!("{path}/")).map_err(|error| MetaxyError::Store {
            store: self.store.clone(),
            reason: format!("{path}: {error}"),
        })
    }

    /// Makes sure that a local table's folder can be written to: the object store's own writer panics when it
    /// can't clean up after a refusal.
    pub(crate) fn check_writable(&self, feature: &FeatureKey) -> Result<()> {
        let Some(folder) = self.folder(&self.table_path(feature)) else { return Ok(()) };
        let mut outcome = probe(&folder);
        for _ in 1..PROBES {
            if !matches!(&outcome, Err(error) if error.kind() == ErrorKind::NotFound) {
                break;
            }
            outcome = probe(&folder);
        }
        outcome.map_err(|error| MetaxyError::Store {
            store: self.store.clone(),
            reason: format!("can't write to folder {}: {error}", folder.display()),
        })
    }

    /// Removes the folder at `path` below the root, and those above it, as far as they are empty.
    pub(crate) fn tidy(&self, path: &str) {
        let (Some(root), Some(folder)) = (self.folder(""), self.folder(path)) else { return };
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&root)) {
            if std::fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    /// Removes the files in the folder at `path` below the root that nobody has written to for so long.
    ///
    /// Of an object store's own unfinished uploads the bucket's rules take care.
    pub(crate) fn sweep(&self, path: &str, age: Duration) {
        let Some(folder) = self.folder(path) else { return };
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                log::debug!("{} stays behind: {error}", entry.path().display());
            }
        }
    }

    /// All files in the folder at `path` below the root and in those below it.
    ///
    /// # Errors
    /// The root is not local, or a folder can't be read.
    pub(crate) fn files_below(&self, path: &str) -> Result<Vec<LocalFile>> {
        let fail = |reason: String| MetaxyError::Store {
            store: self.store.clone(),
            reason: format!("{path}: {reason}"),
        };
        let Some(folder) = self.folder(path) else {
            return Err(fail("files can only be looked for in a local folder".into()));
        };
        let mut found = Vec::new();
        walk(&folder, "", &mut found).map_err(|error| fail(error.to_string()))?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Removes a file that [`files_below`](Self::files_below) has found; one that is gone already is fine.
    ///
    /// # Errors
    /// The file can't be removed.
    pub(crate) fn remove_file(&self, path: &str, file: &LocalFile) -> Result<()> {
        let Some(folder) = self.folder(path) else { return Ok(()) };
        match std::fs::remove_file(folder.join(&file.path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(MetaxyError::Store {
                store: self.store.clone(),
                reason: format!("{path}/{}: the file can't be removed: {error}", file.path),
            }),
            _ => Ok(()),
        }
    }

    /// The local folder at `path` below the root, if the root is local.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        let root = self.root.to_file_path().ok()?;
        Some(if path.is_empty() { root } else { root.join(path) })
    }
}

/// A file below a table's folder.
#[derive(Debug, Clone)]
pub(crate) struct LocalFile {
    /// Where it is below that folder, with slashes.
    pub path: String,
    pub bytes: u64,
    pub modified: SystemTime,
}

impl LocalFile {
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
fn walk(folder: &Path, prefix: &str, found: &mut Vec<LocalFile>) -> std::io::Result<()> {
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
            found.push(LocalFile { path, bytes: metadata.len(), modified: metadata.modified()? });
        }
    }
    Ok(())
}

fn probe(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(folder)?;
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(&probe)
}

fn root_url(root: &str) -> std::result::Result<Url, String> {
    if let Ok(url) = Url::parse(root)
        && url.scheme().len() > 1
    {
        if url.scheme() != "file" {
            return Err(format!(
                "root_path: {}:// is not supported by this build, only local folders",
                url.scheme()
            ));
        }
        let mut url = url;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        return Ok(url);
    }
    let path = std::path::absolute(Path::new(root)).map_err(|error| format!("root_path {root}: {error}"))?;
    Url::from_directory_path(normalized(&path)).map_err(|()| format!("root_path {root}: not a folder's path"))
}

/// The path without `.` and `..` parts, so that it compares equal to what the object store reports.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}
