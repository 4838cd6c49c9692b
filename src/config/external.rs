//! The keys about features of other projects: `sync`, `locked`, `extra_features` and the lock file.

use std::path::{Path, PathBuf};

use super::model::Config;
use super::typed::Entry;
use crate::error::Result;

/// The lock file's name where none is given.
const LOCK_FILE: &str = "metaxy.lock";

/// How features of other projects are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalConfig {
    /// Whether their definitions are taken from the store; else what feature files and the lock file say is used.
    pub sync: bool,
    /// Whether a definition in the store that has another version than expected is an error.
    pub locked: bool,
    /// The lock file as it was written; a relative one starts at [`Config::folder`].
    pub lock_path: Option<String>,
    /// Features of the store to lock although none of the project's depends on them.
    pub extra_features: Vec<FeatureSelection>,
}

impl Default for ExternalConfig {
    fn default() -> Self {
        Self { sync: true, locked: false, lock_path: None, extra_features: Vec::new() }
    }
}

/// A choice of features of a store: those of the projects, the ones that are named, or all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureSelection {
    /// Projects of which all features are meant.
    pub projects: Vec<String>,
    /// Keys of features.
    pub keys: Vec<String>,
    /// Every feature.
    pub all: bool,
}

impl Config {
    /// Where the lock file is, or would be.
    pub fn lock_file(&self) -> PathBuf {
        self.folder.join(Path::new(self.external.lock_path.as_deref().unwrap_or(LOCK_FILE)))
    }
}

/// One of `extra_features`.
pub(super) fn read_selection(entry: &Entry<'_>) -> Result<FeatureSelection> {
    let mut selection = FeatureSelection::default();
    for (key, value) in entry.entries()? {
        match key {
            "projects" => selection.projects = value.texts()?,
            "keys" => selection.keys = value.items()?.iter().map(read_key).collect::<Result<_>>()?,
            "all" => selection.all = value.flag()?,
            _ => return Err(value.unknown(key, &["projects", "keys", "all"])),
        }
    }
    if selection == FeatureSelection::default() {
        return Err(entry.error("names no features: give projects, keys or all = true"));
    }
    Ok(selection)
}

/// A feature key as text, or as the list of its parts.
fn read_key(entry: &Entry<'_>) -> Result<String> {
    match entry.items() {
        Ok(_) => Ok(entry.texts()?.join("/")),
        Err(_) => entry.text(),
    }
}
