//! What a configuration says, once it is read: plain structs, and the list of every key there is.

use std::{fmt, path::PathBuf};

use indexmap::IndexMap;

use super::engine::VersioningEngine;
use super::external::ExternalConfig;
use super::secret::{LeftAlone, Secret, redact};
use crate::error::{MetaxyError, Result};

/// Everything `metaxy.toml` and the `METAXY_*` variables say.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from; `None` when there is no file.
    pub file: Option<PathBuf>,
    /// Where relative feature globs start: the file's folder, without a file the working directory.
    pub folder: PathBuf,
    /// The default store's name.
    pub store: String,
    /// All stores, in the order of the file.
    pub stores: IndexMap<String, StoreConfig>,
    /// The project that writes belong to, if one is set.
    pub project: Option<String>,
    /// Characters that are kept of every hash, at least 8.
    pub hash_truncation_length: usize,
    /// Whether opening a store may create its tables.
    pub auto_create_tables: bool,
    /// Whether Arrow `Map` columns stay maps.
    pub enable_map_datatype: bool,
    /// The keys of this crate, under `[ext.datafusion]`.
    pub datafusion: DataFusionConfig,
    /// What is said about features of other projects.
    pub external: ExternalConfig,
    /// Keys only the Python package acts upon (`entrypoints`, `theme`, other `ext` tables, …).
    pub python: LeftAlone,
    /// What a user should hear although the configuration can be used.
    pub warnings: Vec<String>,
}

/// The keys under `[ext.datafusion]`: those the Python package does not know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataFusionConfig {
    /// Globs of feature files; relative ones start at [`Config::folder`].
    pub features: Vec<String>,
    /// What is said here about a store; already merged into its [`StoreConfig`].
    pub stores: IndexMap<String, StoreOverrides>,
    /// Defaults of the `metaxy.*` session options, by name without the prefix.
    pub options: IndexMap<String, String>,
}

/// Settings of one store that are kept out of its own table, so that Python can open the same file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoreOverrides {
    /// As [`StoreConfig::prefer_native`].
    pub prefer_native: Option<bool>,
    /// As [`StoreConfig::versioning_engine`].
    pub engine: Option<VersioningEngine>,
    /// As [`StoreConfig::fallback`].
    pub fallback: Option<FallbackPolicy>,
}

/// One store: its own table, with `[ext.datafusion.stores.NAME]` laid over it.
#[derive(Clone, PartialEq)]
pub struct StoreConfig {
    /// The name it is configured under.
    pub name: String,
    /// What keeps the data.
    pub kind: StoreKind,
    /// The folder or URL that holds the tables, as written: relative to the working directory.
    pub root_path: Option<String>,
    /// How a feature key becomes a path below `root_path`.
    pub layout: Layout,
    /// Options for the object store. Any of them may be a credential.
    pub storage_options: IndexMap<String, Secret>,
    /// Where the database is, for a store that is one.
    pub database: DatabaseConfig,
    /// Stores to read from when a feature is missing here, in order.
    pub fallback_stores: Vec<String>,
    /// What to do when a feature would be read from one of them.
    pub fallback: FallbackPolicy,
    /// The name of the versioning hash; `None` means the store's default.
    pub hash_algorithm: Option<String>,
    /// Where increments are computed; `None` means nothing was said.
    pub versioning_engine: Option<VersioningEngine>,
    /// `false` asks for the in-memory executor; `None` means nothing was said.
    pub prefer_native: Option<bool>,
    /// Keys of the Python store that have no meaning here.
    pub other: LeftAlone,
    /// What a user of this store should hear: a variable in its settings that is not set.
    pub warnings: Vec<String>,
}

impl StoreConfig {
    /// A store of this kind about which nothing else is said.
    pub fn new(name: impl Into<String>, kind: StoreKind) -> Self {
        Self {
            name: name.into(),
            kind,
            root_path: None,
            layout: Layout::default(),
            storage_options: IndexMap::new(),
            database: DatabaseConfig::default(),
            fallback_stores: Vec::new(),
            fallback: FallbackPolicy::default(),
            hash_algorithm: None,
            versioning_engine: None,
            prefer_native: None,
            other: LeftAlone::default(),
            warnings: Vec::new(),
        }
    }

    /// The folder or URL of the tables, for stores that need one.
    ///
    /// # Errors
    /// There is none, or `${VAR}` left nothing of it.
    pub fn require_root_path(&self) -> Result<&str> {
        match self.root_path.as_deref() {
            Some(path) if !path.is_empty() => Ok(path),
            _ => Err(MetaxyError::Store {
                store: self.name.clone(),
                reason: format!(
                    "stores.{}.config.root_path is missing: set it to a folder or URL",
                    self.name
                ),
            }),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            // A URL can carry a user and password.
            .field("root_path", &self.root_path.as_deref().map(redact))
            .field("layout", &self.layout)
            .field("storage_options", &self.storage_options)
            .field("database", &self.database)
            .field("fallback_stores", &self.fallback_stores)
            .field("fallback", &self.fallback)
            .field("hash_algorithm", &self.hash_algorithm)
            .field("versioning_engine", &self.versioning_engine)
            .field("prefer_native", &self.prefer_native)
            .field("other", &self.other)
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// Settings of a store whose tables are in a database.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DatabaseConfig {
    /// The URL of the database; it may carry a password.
    pub connection_string: Option<Secret>,
    /// The same in parts: `host`, `port`, `database`, `user`, `password`, `schema` and the options of a URL.
    pub connection_params: IndexMap<String, Secret>,
    /// The schema in which the tables are; `None` means the connection's.
    pub schema: Option<String>,
    /// What stands before the name of every table.
    pub table_prefix: String,
    /// Whether the store may create and extend tables.
    pub auto_create_tables: bool,
}

/// What keeps a store's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    /// Delta Lake tables below a folder or URL.
    Delta,
    /// Folders of Parquet files below a folder or URL.
    Parquet,
    /// Tables of a PostgreSQL database.
    Postgres,
    /// Tables that live as long as the process.
    Memory,
    /// A type that Python may know and this crate can't open: an error only once the store is used.
    Other(String),
}

impl StoreKind {
    /// The word for it in `type`.
    pub fn name(&self) -> &str {
        match self {
            StoreKind::Delta => "delta",
            StoreKind::Parquet => "parquet",
            StoreKind::Postgres => "postgresql",
            StoreKind::Memory => "memory",
            StoreKind::Other(name) => name,
        }
    }
}

/// How a feature key becomes a path; the kind of store gives the ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `a/b/c.delta`, `a/b/c.parquet`
    #[default]
    Nested,
    /// `a__b__c.delta`, `a__b__c.parquet`
    Flat,
}

/// What to do when a store lacks a feature and its fallback stores would be asked; stricter ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FallbackPolicy {
    /// Read from the fallback store.
    Allow,
    /// The same, and tell the user.
    #[default]
    Warn,
    /// Don't ask the fallback stores.
    Forbid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_shows_no_secret() {
        let store = StoreConfig {
            root_path: Some("s3://id:hunter2@bucket/x".to_owned()),
            storage_options: [("AWS_SECRET_ACCESS_KEY".to_owned(), Secret::new("hunter2"))].into(),
            other: LeftAlone([("password".to_owned(), "hunter2".into())].into()),
            ..StoreConfig::new("dev", StoreKind::Delta)
        };
        assert!(!format!("{store:?}").contains("hunter2"));
    }
}
