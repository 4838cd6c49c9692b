//! From the tree of values to the structs: types, allowed words, unknown keys.

use std::path::{Path, PathBuf};

use glob::Pattern;
use indexmap::IndexMap;

use super::{
    engine::VersioningEngine,
    external::{ExternalConfig, read_selection},
    keys::names_below,
    model::{Config, DataFusionConfig, FallbackPolicy, StoreOverrides},
    options::SESSION_OPTIONS,
    read_store::read_store,
    secret::LeftAlone,
    suggest::nearest,
    tree::{Node, Value},
    typed::Entry,
};
use crate::error::Result;

/// Characters of a hash that have to stay, at least.
const MIN_TRUNCATION_LENGTH: i64 = 8;

impl Config {
    /// A configuration that says nothing, for features below `folder`.
    pub(super) fn silent(folder: PathBuf) -> Self {
        Self {
            file: None,
            folder,
            store: "dev".to_owned(),
            stores: IndexMap::new(),
            project: None,
            hash_truncation_length: 8,
            auto_create_tables: false,
            enable_map_datatype: false,
            datafusion: DataFusionConfig::default(),
            external: ExternalConfig::default(),
            python: LeftAlone::default(),
            warnings: Vec::new(),
        }
    }
}

/// Reads the whole tree.
///
/// # Errors
/// A key is unknown, or its value can't be used.
pub(super) fn read(root: &Node, folder: PathBuf) -> Result<Config> {
    let mut config = Config::silent(folder);
    let known = names_below("");
    let root = Entry::root(root);
    for (key, entry) in root.entries()? {
        match key {
            "store" => config.store = entry.text()?,
            "project" => config.project = Some(read_project(&entry)?),
            "hash_truncation_length" => config.hash_truncation_length = read_length(&entry)?,
            "auto_create_tables" => config.auto_create_tables = entry.flag()?,
            "enable_map_datatype" => config.enable_map_datatype = entry.flag()?,
            "sync" => config.external.sync = entry.flag()?,
            "locked" => config.external.locked = entry.flag()?,
            "metaxy_lock_path" => config.external.lock_path = Some(entry.text()?),
            "extra_features" => {
                let items = entry.items()?;
                config.external.extra_features = items.iter().map(read_selection).collect::<Result<_>>()?;
            }
            "ext" => read_plugins(&mut config, &entry)?,
            // Below: an entry of `ext` may speak of any store.
            "stores" => {}
            _ if known.contains(&key) => {
                config.python.0.insert(key.to_owned(), entry.node.to_json());
            }
            _ if key == "features" || is_option(key) => {
                return Err(
                    entry.error(&format!("unknown key; it belongs under [ext.datafusion] as `{key}`"))
                );
            }
            _ => return Err(entry.unknown(key, &known)),
        }
    }
    if let Some(stores) = root.get("stores") {
        read_stores(&mut config, &stores)?;
    }
    check_overrides(&config, &root)?;
    Ok(config)
}

/// Why `name` can't be a project's name; `None` if it can.
pub fn project_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name can't be empty")
    } else if name.contains("__") {
        Some("the name can't contain two underscores in a row")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        Some("the name has only letters, digits, `_` and `-`")
    } else {
        None
    }
}

fn read_project(entry: &Entry<'_>) -> Result<String> {
    let name = entry.text()?;
    match project_problem(&name) {
        Some(problem) => Err(entry.error(&format!("{} is no project: {problem}", entry.shown()))),
        None => Ok(name),
    }
}

fn read_length(entry: &Entry<'_>) -> Result<usize> {
    let length = entry.whole()?;
    usize::try_from(length)
        .ok()
        .filter(|_| length >= MIN_TRUNCATION_LENGTH)
        .ok_or_else(|| entry.error(&format!("must be at least {MIN_TRUNCATION_LENGTH}, not {length}")))
}

fn read_plugins(config: &mut Config, ext: &Entry<'_>) -> Result<()> {
    let mut others = serde_json::Map::new();
    for (name, plugin) in ext.entries()? {
        if name == "datafusion" {
            config.datafusion = read_datafusion(&plugin, &config.folder)?;
        } else {
            others.insert(name.to_owned(), plugin.node.to_json());
        }
    }
    if !others.is_empty() {
        config.python.0.insert("ext".to_owned(), others.into());
    }
    Ok(())
}

fn read_datafusion(table: &Entry<'_>, folder: &Path) -> Result<DataFusionConfig> {
    let mut datafusion = DataFusionConfig::default();
    for (key, entry) in table.entries()? {
        match key {
            // Every plugin's switch in Python; what is configured here needs none.
            "enable" => {}
            "features" => {
                for item in entry.items()? {
                    datafusion.features.push(read_glob(&item, folder)?);
                }
            }
            "stores" => {
                for (name, overrides) in entry.entries()? {
                    datafusion.stores.insert(name.to_owned(), read_overrides(&overrides)?);
                }
            }
            option if is_option(option) => {
                datafusion.options.insert(option.to_owned(), entry.scalar()?);
            }
            _ => {
                let known: Vec<&str> =
                    names_below("ext.datafusion").into_iter().chain(option_names()).collect();
                return Err(entry.unknown(key, &known));
            }
        }
    }
    Ok(datafusion)
}

/// A glob; one that was inherited stays relative to the file it was written in.
fn read_glob(entry: &Entry<'_>, folder: &Path) -> Result<String> {
    let pattern = entry.text()?;
    Pattern::new(&pattern)
        .map_err(|error| entry.error(&format!("{} is no glob: {}", entry.shown(), error.msg)))?;
    let written_in = entry.node.origin.file().and_then(Path::parent).unwrap_or(folder);
    if written_in == folder || Path::new(&pattern).is_absolute() {
        return Ok(pattern);
    }
    Ok(format!("{}/{pattern}", Pattern::escape(&written_in.display().to_string())))
}

fn read_overrides(table: &Entry<'_>) -> Result<StoreOverrides> {
    let mut overrides = StoreOverrides::default();
    for (key, entry) in table.entries()? {
        match key {
            "prefer_native" => overrides.prefer_native = Some(entry.flag()?),
            "engine" => {
                overrides.engine = Some(entry.choice(&[
                    ("auto", VersioningEngine::Auto),
                    ("native", VersioningEngine::Native),
                    ("memory", VersioningEngine::Memory),
                ])?);
            }
            "fallback" => overrides.fallback = Some(read_fallback(&entry)?),
            _ => return Err(entry.unknown(key, &names_below("ext.datafusion.stores.NAME"))),
        }
    }
    Ok(overrides)
}

fn read_fallback(entry: &Entry<'_>) -> Result<FallbackPolicy> {
    if matches!(entry.node.value, Value::List(_)) {
        return Err(entry.error(
            "must be one of allow, warn, forbid, not a list; the stores go into fallback_stores of the store's own \
             config",
        ));
    }
    entry.choice(&[
        ("allow", FallbackPolicy::Allow),
        ("warn", FallbackPolicy::Warn),
        ("forbid", FallbackPolicy::Forbid),
    ])
}

fn read_stores(config: &mut Config, stores: &Entry<'_>) -> Result<()> {
    let auto_create = config.auto_create_tables;
    for (name, entry) in stores.entries()? {
        match entry.node.origin.name_of_variable() {
            Some(variable) if entry.get("type").is_none() => config.warnings.push(format!(
                "store {name:?} is ignored: {variable} configures it, but nothing says what type it is"
            )),
            _ => {
                let overrides = config.datafusion.stores.get(name);
                config.stores.insert(name.to_owned(), read_store(name, &entry, overrides, auto_create)?);
            }
        }
    }
    Ok(())
}

/// Overrides of a store that doesn't exist are most likely a typing mistake.
fn check_overrides(config: &Config, root: &Entry<'_>) -> Result<()> {
    let Some(stores) = root.get("ext").and_then(|ext| ext.get("datafusion")?.get("stores")) else {
        return Ok(());
    };
    for (name, entry) in stores.entries()? {
        if !config.stores.contains_key(name) {
            let known: Vec<&str> = config.stores.keys().map(String::as_str).collect();
            let hint =
                nearest(name, &known).map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
            return Err(entry.error(&format!("there is no store of this name under [stores]{hint}")));
        }
    }
    Ok(())
}

fn option_names() -> impl Iterator<Item = &'static str> {
    SESSION_OPTIONS.iter().map(|name| name.strip_prefix("metaxy.").unwrap_or(name))
}

fn is_option(name: &str) -> bool {
    option_names().any(|option| option == name)
}
