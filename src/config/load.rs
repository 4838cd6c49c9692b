//! From the command line, the environment and a file to one [`Config`].

use std::path::{Path, PathBuf};

use super::{
    env::{Environment, apply},
    expand::{Missing, expand_tree},
    extend::read_with_parents,
    find::{absolute, find},
    model::{Config, StoreConfig, StoreKind},
    read::read,
    secret::redact,
    suggest::hint,
    tree::{Node, Origin},
};
use crate::error::{MetaxyError, Result};

/// The store there is when nothing is configured.
const EMBEDDED_STORE: &str = "dev";
/// Its folder, in the working directory.
const EMBEDDED_FOLDER: &str = "metaxy-store";

impl Config {
    /// Reads the configuration: `explicit`, else the file that `METAXY_CONFIG` names, else the first
    /// `metaxy.toml` or `pyproject.toml` with a `[tool.metaxy]` from `start_dir` upwards. `METAXY_*`
    /// variables go over the file. Without a file, and without a store in the environment, it is [`Config::embedded`].
    ///
    /// # Errors
    /// A file can't be read, or a setting is unknown or can't be used; the error names file, key and line, or
    /// the variable.
    pub fn load(explicit: Option<&Path>, start_dir: &Path, env: &Environment) -> Result<Config> {
        let file = find(explicit, start_dir, env)?;
        let (root, folder) = match &file {
            Some(file) => {
                (read_with_parents(file, env)?, file.parent().map_or_else(PathBuf::new, Path::to_owned))
            }
            None => (Node::table(Origin::built_in()), absolute(start_dir)?),
        };
        let mut config = from_tree(root, folder.clone(), env)?;
        if file.is_none() && config.stores.is_empty() {
            config = from_tree(embedded_tree(start_dir), folder, env)?;
        }
        config.file = file;
        Ok(config)
    }

    /// What holds when nothing is configured: one Delta store named `dev` in the folder `metaxy-store`
    /// below `start_dir`, the working directory.
    pub fn embedded(start_dir: &Path) -> Config {
        let mut store = StoreConfig::new(EMBEDDED_STORE, StoreKind::Delta);
        store.root_path = Some(embedded_path(start_dir));
        let mut config = Config::silent(absolute(start_dir).unwrap_or_else(|_| start_dir.to_owned()));
        config.store = EMBEDDED_STORE.to_owned();
        config.stores.insert(EMBEDDED_STORE.to_owned(), store);
        config
    }

    /// The store that is used when none is named.
    ///
    /// # Errors
    /// As [`Config::store`].
    pub fn default_store(&self) -> Result<&StoreConfig> {
        self.store(&self.store)
    }

    /// The store of this name.
    ///
    /// # Errors
    /// There is none: the error lists those there are.
    pub fn store(&self, name: &str) -> Result<&StoreConfig> {
        self.stores.get(name).ok_or_else(|| {
            let place = self.file.as_ref().map_or_else(String::new, |file| format!(" in {}", file.display()));
            let known: Vec<&str> = self.stores.keys().map(String::as_str).collect();
            let reason = if known.is_empty() {
                format!("no store is configured{place}: add [stores.{}] with its type", redact(name))
            } else {
                hint(name, &known)
            };
            MetaxyError::UnknownStore { store: name.to_owned(), reason }
        })
    }
}

fn from_tree(mut root: Node, folder: PathBuf, env: &Environment) -> Result<Config> {
    let mut warnings = Vec::new();
    let mut missing = Vec::new();
    // The environment first: what it replaces needs no expansion and no warning.
    apply(&mut root, env, &mut warnings)?;
    expand_tree(&mut root, "", env, &mut missing);
    let mut config = read(&root, folder)?;
    config.warnings.splice(0..0, warnings);
    for gap in missing {
        warn_about(&mut config, &gap);
    }
    Ok(config)
}

/// A gap in a store that is not in use today bothers nobody until that store is opened.
fn warn_about(config: &mut Config, gap: &Missing) {
    let text = format!("{}: the variable {} is not set, its place stays empty", gap.path, gap.variable);
    let default = config.store.clone();
    let other_store = config
        .stores
        .values_mut()
        .find(|store| store.name != default && gap.path.starts_with(&format!("stores.{}.", store.name)));
    match other_store {
        Some(store) => store.warnings.push(text),
        None => config.warnings.push(text),
    }
}

fn embedded_tree(start_dir: &Path) -> Node {
    let store = serde_json::json!({"type": "delta", "config": {"root_path": embedded_path(start_dir)}});
    let tree = serde_json::json!({"store": EMBEDDED_STORE, "stores": {EMBEDDED_STORE: store}});
    Node::from_json(tree, &Origin::built_in())
}

/// In the working directory the path stays as short as a user would write it.
fn embedded_path(start_dir: &Path) -> String {
    let is_here = start_dir.as_os_str().is_empty() || start_dir == Path::new(".");
    let path = if is_here { PathBuf::from(EMBEDDED_FOLDER) } else { start_dir.join(EMBEDDED_FOLDER) };
    path.display().to_string()
}
