//! Where the tables of a store are: a root, the path of each feature below it, and what only local folders need.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::objects::Remote;
use crate::config::{Layout, StoreConfig, redact};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// How often a probe is made anew when another writer's tidying has removed its folder.
const PROBES: usize = 3;

/// The root of a store whose tables are folders.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    store: String,
    root: Url,
    /// The bucket, for a root that is none on this machine.
    remote: Option<Remote>,
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
        let given = config.require_root_path()?;
        let mut root = root_url(given).map_err(fail)?;
        let mut remote = None;
        if root.scheme() != "file" {
            let options: Vec<_> =
                config.storage_options.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            let reached = Remote::connect(Some(&config.name), &root, &options)
                .map_err(|reason| fail(format!("root_path {}: {reason}", redact(given))))?;
            root = reached.root().clone();
            remote = Some(reached);
        }
        let shown_root = redact(given);
        Ok(Self { store: config.name.clone(), root, remote, shown_root, layout: config.layout, suffix })
    }

    /// The bucket, unless the root is a local folder.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The store's name in the configuration.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    /// The root as a URL with a slash at its end.
    pub(super) fn root(&self) -> &Url {
        &self.root
    }

    /// The root as it was configured, without credentials.
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

    /// The local folder at `path` below the root, if the root is local.
    pub(super) fn folder(&self, path: &str) -> Option<PathBuf> {
        if self.remote.is_some() {
            return None;
        }
        let root = self.root.to_file_path().ok()?;
        Some(if path.is_empty() { root } else { root.join(path) })
    }
}

fn probe(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(folder)?;
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(&probe)
}

fn root_url(root: &str) -> std::result::Result<Url, String> {
    match Url::parse(root) {
        Ok(mut url) if url.scheme().len() > 1 => {
            if !url.path().ends_with('/') {
                url.set_path(&format!("{}/", url.path()));
            }
            return Ok(url);
        }
        // It would be a folder with an odd name.
        Err(error) if looks_like_url(root) => {
            return Err(format!("root_path {}: it is no URL that can be read: {error}", redact(root)));
        }
        _ => {}
    }
    let path = std::path::absolute(Path::new(root)).map_err(|error| format!("root_path {root}: {error}"))?;
    Url::from_directory_path(normalized(&path)).map_err(|()| format!("root_path {root}: not a folder's path"))
}

/// Whether something that could be a scheme begins the text.
fn looks_like_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme.len() > 1 && !scheme.contains(['/', '\\']))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_looks_like_a_url_is_no_folder() {
        for root in
            ["s3://bad bucket/x", "s3://[x/y", "s3 ://bucket/x", "s3://ada:hunter2@bad bucket/x", "://x/y/"]
        {
            let outcome = root_url(root);
            assert_eq!(outcome.is_ok(), root.starts_with(':'), "{root}");
            let Err(error) = outcome else { continue };
            assert!(
                error.starts_with("root_path ") && error.contains("it is no URL that can be read"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        for (root, url) in
            [("s3://bucket/x", "s3://bucket/x/"), ("/a/../b", "file:///b/"), ("/a://b", "file:///a:/b/")]
        {
            assert_eq!(root_url(root).unwrap().as_str(), url);
        }
    }
}
