//! The stores of a configuration, opened when they are first used.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use indexmap::IndexMap;
use tokio::sync::RwLock;

use crate::config::{
    Config, FeatureSelection, Secret, StoreConfig, StoreKind, check_fallbacks, options::MetaxyOptions,
};
use crate::error::{MetaxyError, Result};
use crate::model::{DEFAULT_PROJECT, FeatureDefinition, FeatureKey, load_feature_files};
use crate::records::Records;
use crate::store::{Expectations, LockOptions, OpenStores, Store, Warnings};
use crate::update::IncrementInputs;

/// The stores that a session sees, and what planning needs to know of them.
///
/// DataFusion plans without waiting for anything, but opening tables has to wait. So tables that an increment
/// needs are opened beforehand and kept here until the next statement, or [`refresh`](Self::refresh), opens them
/// again.
#[derive(Debug)]
pub struct Extension {
    pub(super) default_store: String,
    configs: IndexMap<String, StoreConfig>,
    hash_length: usize,
    definitions: Vec<FeatureDefinition>,
    /// The project that writes belong to.
    project: Option<String>,
    expectations: Arc<Expectations>,
    extra_features: Vec<FeatureSelection>,
    options: MetaxyOptions,
    pub(super) stores: Mutex<HashMap<String, Arc<Store>>>,
    /// Features that were defined one by one, for stores that are opened later.
    pub(super) defined: Mutex<Vec<FeatureDefinition>>,
    /// Held by statements while they are planned, so that no definition changes in between.
    pub(super) planning: RwLock<()>,
    inputs: std::sync::RwLock<HashMap<InputsKey, Opened>>,
    warnings: Warnings,
    records: OnceLock<Arc<Records>>,
    /// Itself, for stores that have to open others.
    me: Weak<Extension>,
}

/// Store, feature, and whether samples replace the parents.
type InputsKey = (String, FeatureKey, bool);
/// Tables of an increment, or why they can't be opened.
type Opened = std::result::Result<Arc<IncrementInputs>, String>;

/// A configured store, for listings.
#[derive(Debug, Clone)]
pub struct DescribedStore {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind, as in `type = "delta"`.
    pub kind: String,
    /// Where it is.
    pub location: String,
    /// The algorithm that versions are hashed with.
    pub hash_algorithm: String,
    /// Characters that are kept of a version.
    pub hash_length: usize,
    /// Whether statements use it unless they name another.
    pub is_default: bool,
}

impl Extension {
    /// The stores of a configuration, with the features of its feature files. Nothing is opened yet.
    ///
    /// # Errors
    /// A feature file that can't be used, or session options with wrong values.
    pub fn from_config(config: &Config) -> Result<Arc<Self>> {
        use datafusion::config::ExtensionOptions;

        let project = config.project.as_deref().unwrap_or(DEFAULT_PROJECT);
        let definitions = load_feature_files(&config.feature_files()?, project)?;
        let mut options = MetaxyOptions::default();
        for (name, value) in &config.datafusion.options {
            options
                .set(name.strip_prefix("metaxy.").unwrap_or(name), value)
                .map_err(|error| MetaxyError::Config(error.strip_backtrace()))?;
        }
        let warnings = Warnings::default();
        for warning in &config.warnings {
            warnings.push(warning);
        }
        let extension = Self {
            default_store: config.store.clone(),
            configs: config.stores.clone(),
            hash_length: config.hash_truncation_length,
            definitions,
            project: config.project.clone(),
            expectations: Arc::new(Expectations::from_config(config, &warnings)?),
            extra_features: config.external.extra_features.clone(),
            options,
            stores: Mutex::default(),
            defined: Mutex::default(),
            planning: RwLock::default(),
            inputs: std::sync::RwLock::default(),
            warnings,
            records: OnceLock::new(),
            me: Weak::new(),
        };
        extension.config(&config.store)?;
        Ok(Arc::new_cyclic(|me| Self { me: Weak::clone(me), ..extension }))
    }

    /// Stores that the program has made itself; the first is the default one.
    ///
    /// # Errors
    /// No store at all.
    pub fn from_stores(stores: impl IntoIterator<Item = Arc<Store>>) -> Result<Arc<Self>> {
        let stores: IndexMap<String, Arc<Store>> =
            stores.into_iter().map(|store| (store.name().to_owned(), store)).collect();
        let Some(first) = stores.keys().next() else {
            return Err(MetaxyError::Config("at least one store is needed".into()));
        };
        let configs = stores
            .values()
            .map(|store| {
                (
                    store.name().to_owned(),
                    StoreConfig::new(store.name(), StoreKind::Other(store.kind().into())),
                )
            })
            .collect();
        Ok(Arc::new(Self {
            default_store: first.clone(),
            configs,
            hash_length: stores[0].settings().length,
            definitions: Vec::new(),
            project: None,
            expectations: Arc::default(),
            extra_features: Vec::new(),
            options: MetaxyOptions::default(),
            stores: Mutex::new(stores.into_iter().collect()),
            defined: Mutex::default(),
            planning: RwLock::default(),
            inputs: std::sync::RwLock::default(),
            warnings: Warnings::default(),
            records: OnceLock::new(),
            // These stores have their fallbacks already.
            me: Weak::new(),
        }))
    }

    /// The name of the default store.
    pub fn default_store(&self) -> &str {
        &self.default_store
    }

    /// The project of the configuration, if it names one.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Where the lock file is, or would be; `None` without a configuration.
    pub(crate) fn lock_file(&self) -> Option<PathBuf> {
        self.expectations.path().map(Path::to_owned)
    }

    /// What the configuration says about lock files.
    pub(crate) fn lock_options(&self) -> LockOptions {
        LockOptions { project: self.project.clone(), extra_features: self.extra_features.clone() }
    }

    /// Reads the lock file again, and with it the features of the stores that are in use.
    ///
    /// # Errors
    /// A lock file or a store that can't be read.
    pub(crate) async fn relock(&self) -> Result<()> {
        self.expectations.reload()?;
        let stores: Vec<Arc<Store>> =
            self.stores.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for store in stores.into_iter().filter(|store| store.known_graph().is_some()) {
            store.refresh().await?;
        }
        Ok(())
    }

    /// Defaults of the session options.
    pub fn options(&self) -> &MetaxyOptions {
        &self.options
    }

    /// Has increments leave their records here, and go on from those that are there already. Without it, records last as
    /// long as the extension.
    ///
    /// # Errors
    /// The extension is attached to a session already, or has been told before.
    pub fn keep_records(&self, records: Arc<Records>) -> Result<()> {
        let late = |_| {
            MetaxyError::Invalid("records can only be kept elsewhere before a session has the stores".into())
        };
        self.records.set(records).map_err(late)
    }

    /// What increments have found.
    pub(super) fn records(&self) -> &Arc<Records> {
        self.records.get_or_init(Arc::default)
    }

    /// Messages for the user since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        let stores: Vec<Arc<Store>> =
            self.stores.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        // Stores of the program's own making collect their messages themselves.
        let mut all = self.warnings.take();
        all.extend(stores.iter().flat_map(|store| store.take_warnings()));
        all
    }

    /// Adds a message for the user.
    pub(crate) fn warn(&self, message: &str) {
        self.warnings.push(message);
    }

    /// Names of all stores.
    pub fn store_names(&self) -> impl Iterator<Item = &str> {
        self.configs.keys().map(String::as_str)
    }

    /// A store by name.
    ///
    /// # Errors
    /// No such store, one that this build can't open, or fallback stores that don't fit it.
    pub fn store(&self, name: &str) -> Result<Arc<Store>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(name) {
            return Ok(Arc::clone(store));
        }
        let config = self.config(name)?;
        check_fallbacks(&self.configs, name, self.hash_length)?;
        let mut store =
            Store::from_config(config, self.hash_length, self.definitions.clone(), self.warnings.clone())?;
        if let Some(project) = &self.project {
            store = store.with_project(project)?;
        }
        let opener: Weak<dyn OpenStores> = Weak::<Self>::clone(&self.me);
        let defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let store = store.with_opener(opener).with_expectations(Arc::clone(&self.expectations));
        let store = Arc::new(store.with_defined(defined));
        stores.insert(name.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// The store that a statement names, else the one whose catalog is the session's default, else the default.
    pub(crate) fn store_or_default(&self, named: Option<&str>, catalog: &str) -> Result<Arc<Store>> {
        match named {
            Some(name) => self.store(name),
            None if self.configs.contains_key(catalog) => self.store(catalog),
            None => self.store(&self.default_store),
        }
    }

    fn config(&self, name: &str) -> Result<&StoreConfig> {
        self.configs.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.store_names().collect();
            MetaxyError::UnknownStore {
                store: name.to_owned(),
                reason: if known.is_empty() {
                    "no store is configured".into()
                } else {
                    format!("there are {}", known.join(", "))
                },
            }
        })
    }

    /// Opens the tables that an increment needs, so that it can be planned.
    pub(crate) async fn open_inputs(&self, store: &Arc<Store>, feature: &str, samples: bool) -> Result<()> {
        let definition = store.feature(feature).await?;
        let opened = store.inputs(definition.key(), samples).await?;
        self.keep(store, definition.key().clone(), samples, Ok(Arc::new(opened)));
        Ok(())
    }

    /// The tables of an increment as they were last opened.
    pub(crate) fn known_inputs(
        &self,
        store: &Arc<Store>,
        feature: &str,
        samples: bool,
    ) -> Result<Arc<IncrementInputs>> {
        let not_read = || {
            MetaxyError::Invalid(format!(
                "the features of store {} have not been read; call refresh() after attaching it",
                store.name()
            ))
        };
        let graph = store.known_graph().ok_or_else(not_read)?;
        let key = graph.lookup(feature)?.key().clone();
        let inputs = self.inputs.read().unwrap_or_else(PoisonError::into_inner);
        match inputs.get(&(store.name().to_owned(), key, samples)) {
            Some(Ok(inputs)) => Ok(Arc::clone(inputs)),
            Some(Err(reason)) => Err(MetaxyError::Invalid(reason.clone())),
            None => Err(not_read()),
        }
    }

    /// Reads the features of the default store, and of others that are in use, again and opens their tables.
    ///
    /// # Errors
    /// A store can't be read. An increment whose parents have no data is an error only when it is asked for.
    pub async fn refresh(&self) -> Result<()> {
        let mut stores: Vec<Arc<Store>> =
            self.stores.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        if stores.is_empty() {
            stores.push(self.store(&self.default_store)?);
        }
        for store in stores {
            let graph = store.refresh().await?;
            for definition in graph.iter() {
                for samples in [false, true] {
                    let opened = store.inputs(definition.key(), samples).await;
                    let opened = opened.map(Arc::new).map_err(|error| error.to_string());
                    self.keep(&store, definition.key().clone(), samples, opened);
                }
            }
        }
        Ok(())
    }

    fn keep(&self, store: &Store, feature: FeatureKey, samples: bool, opened: Opened) {
        let key = (store.name().to_owned(), feature, samples);
        self.inputs.write().unwrap_or_else(PoisonError::into_inner).insert(key, opened);
    }

    /// The `storage_options` of the first store whose root is in the bucket of `url`, the default store before others.
    pub(crate) fn storage_options(&self, url: &url::Url) -> Vec<(String, Secret)> {
        let is_there = |config: &&StoreConfig| {
            let root = config.root_path.as_deref().and_then(|root| url::Url::parse(root).ok());
            root.is_some_and(|root| {
                (root.scheme(), root.username(), root.host_str(), root.port())
                    == (url.scheme(), url.username(), url.host_str(), url.port())
            })
        };
        let default = self.configs.get(&self.default_store);
        let found = default.into_iter().chain(self.configs.values()).find(is_there);
        let options = found.into_iter().flat_map(|config| &config.storage_options);
        options.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// All stores, as the configuration has them.
    pub(crate) fn described_stores(&self) -> Vec<DescribedStore> {
        let opened = self.stores.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.configs
            .values()
            .map(|config| {
                let store = opened.get(&config.name);
                DescribedStore {
                    name: config.name.clone(),
                    kind: crate::config::redact(config.kind.name()),
                    location: match (store, &config.root_path) {
                        (Some(store), _) => store.location(),
                        (None, Some(root)) => crate::config::redact(root),
                        (None, None) => String::new(),
                    },
                    hash_algorithm: match store {
                        Some(store) => store.settings().algorithm.to_string(),
                        None => config.hash_algorithm.clone().unwrap_or_else(|| "xxhash32".into()),
                    },
                    hash_length: self.hash_length,
                    is_default: config.name == self.default_store,
                }
            })
            .collect()
    }
}

impl OpenStores for Extension {
    fn open_store(&self, name: &str) -> Result<Arc<Store>> {
        self.store(name)
    }
}
