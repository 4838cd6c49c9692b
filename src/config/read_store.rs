//! One store: `[stores.NAME]`, with `[ext.datafusion.stores.NAME]` over it.

use super::{
    engine::VersioningEngine,
    keys::names_below,
    model::{Layout, StoreConfig, StoreKind, StoreOverrides},
    secret::Secret,
    suggest::nearest,
    typed::Entry,
};
use crate::error::Result;

/// Types with a short name that this crate opens.
const SHORT_NAMES: [&str; 4] = ["delta", "memory", "parquet", "postgresql"];
/// Other stores that Metaxy has, by the short name one would give them.
const KNOWN_ELSEWHERE: [&str; 6] = ["bigquery", "clickhouse", "duckdb", "ducklake", "iceberg", "lancedb"];
/// Keys of a store that keeps files.
const FILE_KEYS: [&str; 3] = ["root_path", "layout", "storage_options"];
/// Keys of a store that is a database.
const DATABASE_KEYS: [&str; 6] =
    ["connection_string", "connection_params", "schema", "table_prefix", "auto_create_tables", JSON_KEY];
/// Whether Python's PostgreSQL store keeps structs of the user's as JSON, as this program always does.
const JSON_KEY: &str = "auto_cast_struct_for_jsonb";
/// What only a Delta store has besides; for Python.
const DELTA_KEY: &str = "delta_write_options";
/// Every versioning hash there is a name for; which ones a store can compute is the store's business.
const HASH_ALGORITHMS: [&str; 7] = ["xxhash32", "xxhash64", "xxh3_64", "wyhash", "md5", "sha256", "farmhash"];

/// Reads the store `name`.
///
/// # Errors
/// It has no type, a key is unknown, or a value can't be used.
pub(super) fn read_store(
    name: &str,
    entry: &Entry<'_>,
    overrides: Option<&StoreOverrides>,
    auto_create_tables: bool,
) -> Result<StoreConfig> {
    let config_keys = names_below("stores.NAME.config");
    let mut kind = None;
    for (key, below) in entry.entries()? {
        match key {
            "type" => kind = Some(read_kind(&below)?),
            "config" => {}
            _ if config_keys.contains(&key) => {
                return Err(below.error(&format!("belongs one table deeper: [stores.{name}.config]")));
            }
            _ => return Err(below.unknown(key, &names_below("stores.NAME"))),
        }
    }
    let Some(kind) = kind else {
        return Err(entry.error(
            "has no `type`, such as \"delta\"; a store that the extended file has too must be given whole",
        ));
    };
    let mut store = StoreConfig::new(name, kind);
    store.database.auto_create_tables = auto_create_tables;
    if let Some(config) = entry.get("config") {
        for (key, below) in config.entries()? {
            read_setting(&mut store, key, &below, &config_keys)?;
        }
    }
    if let Some(overrides) = overrides {
        store.prefer_native = overrides.prefer_native.or(store.prefer_native);
        store.versioning_engine = overrides.engine.or(store.versioning_engine);
        store.fallback = overrides.fallback.unwrap_or(store.fallback);
    }
    Ok(store)
}

fn read_setting(store: &mut StoreConfig, key: &str, entry: &Entry<'_>, known: &[&str]) -> Result<()> {
    let is_delta = store.kind == StoreKind::Delta;
    let is_database = store.kind == StoreKind::Postgres;
    let has_files = is_delta || store.kind == StoreKind::Parquet;
    match key {
        "fallback_stores" => store.fallback_stores = entry.texts()?,
        "hash_algorithm" => store.hash_algorithm = Some(read_hash(entry)?),
        "prefer_native" => store.prefer_native = Some(entry.flag()?),
        "versioning_engine" => {
            store.versioning_engine = Some(entry.choice(&[
                ("auto", VersioningEngine::Auto),
                ("native", VersioningEngine::Native),
                ("polars", VersioningEngine::Memory),
            ])?);
        }
        "root_path" if has_files => store.root_path = Some(entry.text()?),
        "layout" if has_files => {
            store.layout = entry.choice(&[("nested", Layout::Nested), ("flat", Layout::Flat)])?;
        }
        "storage_options" if has_files => {
            let options = entry.scalars()?;
            store.storage_options =
                options.into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
        }
        "connection_string" if is_database => {
            store.database.connection_string = Some(Secret::new(entry.text()?));
        }
        "connection_params" if is_database => {
            let params = entry.scalars()?;
            store.database.connection_params =
                params.into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
        }
        "schema" if is_database => store.database.schema = Some(entry.text()?),
        "table_prefix" if is_database => store.database.table_prefix = entry.text()?,
        "auto_create_tables" if is_database => store.database.auto_create_tables = entry.flag()?,
        JSON_KEY if is_database => {
            store.other.0.insert(key.to_owned(), entry.node.to_json());
        }
        // Known for this store, or a store whose keys only Python knows.
        _ if (is_delta && key == DELTA_KEY) || matches!(store.kind, StoreKind::Other(_)) => {
            store.other.0.insert(key.to_owned(), entry.node.to_json());
        }
        _ => {
            let fits = |name: &&str| match *name {
                DELTA_KEY => is_delta,
                name if DATABASE_KEYS.contains(&name) => is_database,
                name => has_files || !FILE_KEYS.contains(&name),
            };
            let known: Vec<&str> = known.iter().copied().filter(fits).collect();
            return Err(entry.unknown(key, &known));
        }
    }
    Ok(())
}

/// A short name, or the path of a Python class.
fn read_kind(entry: &Entry<'_>) -> Result<StoreKind> {
    let name = entry.text()?;
    let class = name.rsplit(['.', ':']).next().unwrap_or_default();
    match (name.as_str(), class) {
        ("delta", _) => Ok(StoreKind::Delta),
        ("memory", _) => Ok(StoreKind::Memory),
        ("parquet", _) => Ok(StoreKind::Parquet),
        ("postgresql" | "postgres", _) => Ok(StoreKind::Postgres),
        // The modules moved between versions, the classes kept their names.
        (path, "DeltaMetadataStore") if path.starts_with("metaxy.") => Ok(StoreKind::Delta),
        (path, "InMemoryMetadataStore") if path.starts_with("metaxy.") => Ok(StoreKind::Memory),
        (path, "PostgreSQLMetadataStore") if path.starts_with("metaxy.") => Ok(StoreKind::Postgres),
        (path, class) if class.len() < path.len() || KNOWN_ELSEWHERE.contains(&path) => {
            Ok(StoreKind::Other(name))
        }
        (short, _) => {
            let hint = nearest(short, &SHORT_NAMES)
                .map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
            Err(entry.error(&format!(
                "must be {} or the path of a Python class, not {}{hint}",
                SHORT_NAMES.join(", "),
                entry.shown()
            )))
        }
    }
}

fn read_hash(entry: &Entry<'_>) -> Result<String> {
    entry.choice(&HASH_ALGORITHMS.map(|name| (name, name))).map(str::to_owned)
}
