//! The configuration as a whole: files and variables in, a [`Config`] or an error out.

use std::{fs, path::Path};

use super::*;
use crate::error::Result;

const PAGE: &str = include_str!("../../docs/configuration.md");
const DELTA_CLASS: &str = "metaxy.ext.polars.handlers.delta.DeltaMetadataStore";

/// Loads `toml` as `metaxy.toml` under these variables.
fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("metaxy.toml"), toml).unwrap();
    Config::load(None, folder.path(), &env.iter().copied().collect())
}

fn error(toml: &str, env: &[(&str, &str)]) -> String {
    let message = load(toml, env).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn everything_at_once() {
    let config = load(
        "store = 'prod'\nproject = 'p-1'\nhash_truncation_length = 12\nauto_create_tables = true\n\
         entrypoints = ['x']\nsync = false\nlocked = true\nmetaxy_lock_path = 'l/up.lock'\n\
         extra_features = [{projects = ['p']}, {keys = ['a/b', ['c', 'd']]}]\ntheme = 'dark'\n\
         [stores.prod]\ntype = 'delta'\n[stores.prod.config]\nroot_path = '${ROOT:-s3://b}/m'\nlayout = 'flat'\n\
         hash_algorithm = 'md5'\nfallback_stores = ['dev']\nversioning_engine = 'polars'\nprefer_native = true\n\
         delta_write_options = {max_workers = 4}\n\
         [stores.prod.config.storage_options]\nAWS_REGION = 'r'\ntimeout = 5\n\
         [stores.dev]\ntype = 'memory'\n\
         [ext.datafusion]\nenable = true\nfeatures = ['features/*.toml']\nengine = 'memory'\n\
         [ext.datafusion.stores.prod]\nprefer_native = false\nengine = 'native'\nfallback = 'forbid'\n\
         [ext.sqlmodel]\nenable = true\nanything = 1\n",
        &[],
    )
    .unwrap();
    assert_eq!(config.stores.keys().collect::<Vec<_>>(), ["prod", "dev"]);
    assert_eq!(config.project.as_deref(), Some("p-1"));
    assert_eq!((config.hash_truncation_length, config.auto_create_tables), (12, true));
    assert_eq!(config.datafusion.options["engine"], "memory");
    assert_eq!(config.datafusion.features, ["features/*.toml"]);
    assert_eq!(config.python.0.keys().collect::<Vec<_>>(), ["entrypoints", "theme", "ext"]);
    assert_eq!(config.warnings, Vec::<String>::new());
    assert!(config.external.locked && !config.external.sync);
    assert_eq!(config.lock_file(), config.folder.join("l/up.lock"));
    let keys = ["a/b".to_owned(), "c/d".to_owned()];
    assert_eq!(config.external.extra_features[1].keys, keys);

    let store = config.default_store().unwrap();
    assert_eq!(store.require_root_path().unwrap(), "s3://b/m");
    assert_eq!((store.layout, store.hash_algorithm.as_deref()), (Layout::Flat, Some("md5")));
    assert_eq!(store.storage_options["timeout"].expose(), "5");
    // What is said under ext.datafusion goes over the store's own words.
    assert_eq!(store.prefer_native, Some(false));
    assert_eq!(store.versioning_engine, Some(VersioningEngine::Native));
    assert_eq!(
        (store.fallback_stores.as_slice(), store.fallback),
        (&["dev".to_owned()][..], FallbackPolicy::Forbid)
    );
    assert_eq!(config.stores["dev"].fallback, FallbackPolicy::Warn);
    assert!(store.other.0.contains_key("delta_write_options"));
}

#[test]
fn store_types_have_two_spellings() {
    let kind = |name: &str| {
        load(&format!("[stores.dev]\ntype = '{name}'\n"), &[]).map(|c| c.stores["dev"].kind.clone())
    };
    let old = "metaxy.ext.metadata_stores.delta.DeltaMetadataStore";
    for name in ["delta", DELTA_CLASS, old] {
        assert_eq!(kind(name).unwrap(), StoreKind::Delta);
    }
    assert_eq!(kind("memory").unwrap(), StoreKind::Memory);
    assert_eq!(kind("parquet").unwrap(), StoreKind::Parquet);
    for name in ["postgresql", "postgres", "metaxy.ext.postgresql.PostgreSQLMetadataStore"] {
        assert_eq!(kind(name).unwrap(), StoreKind::Postgres);
    }
    for name in ["metaxy.ext.duckdb.DuckDBMetadataStore", "duckdb", "own.stores.DeltaMetadataStore"] {
        assert_eq!(kind(name).unwrap(), StoreKind::Other(name.to_owned()));
    }
    let message = kind("detla").unwrap_err().to_string();
    assert!(
        message.contains("stores.dev.type (line 2)") && message.ends_with("did you mean \"delta\"?"),
        "{message}"
    );
}

#[test]
fn a_parquet_store_has_the_keys_of_files() {
    let toml = "[stores.dev]\ntype = 'parquet'\n[stores.dev.config]\nroot_path = 'r'\nlayout = 'flat'\n\
                storage_options = {a = 'hunter2'}\n";
    let config = load(toml, &[]).unwrap();
    let store = &config.stores["dev"];
    assert_eq!((store.root_path.as_deref(), store.layout), (Some("r"), Layout::Flat));
    assert_eq!(store.storage_options["a"].expose(), "hunter2");
    let message = error(&format!("{toml}delta_write_options = {{}}"), &[]);
    assert!(
        message.contains("stores.dev.config.delta_write_options") && message.contains("unknown key"),
        "{message}"
    );
}

#[test]
fn stores_of_python_alone_keep_their_keys() {
    let toml = "[stores.dev]\ntype = 'a.B'\n[stores.dev.config]\nconnection_string = 'pg://u:hunter2@h/d'\n";
    let config = load(toml, &[]).unwrap();
    assert!(config.stores["dev"].other.0.contains_key("connection_string"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_environment_goes_over_the_file() {
    let toml = format!(
        "project = 'a'\n[stores.dev]\ntype = '{DELTA_CLASS}'\n[stores.dev.config]\nroot_path = 'r'\n"
    );
    let config = load(
        &toml,
        &[
            ("METAXY_STORES__dev__CONFIG__ROOT_PATH", "${NOT_EXPANDED}"),
            ("METAXY_STORES__DEV__CONFIG__STORAGE_OPTIONS", r#"{"a": "b"}"#),
            ("METAXY_PROJECT", "b"),
            ("METAXY_HASH_TRUNCATION_LENGTH", "16"),
            ("METAXY_EXT__DATAFUSION__ENGINE", "memory"),
            ("METAXY_EXT__DATAFUSION__STORES__DEV__PREFER_NATIVE", "false"),
        ],
    )
    .unwrap();
    let store = config.default_store().unwrap();
    assert_eq!(store.root_path.as_deref(), Some("${NOT_EXPANDED}"));
    assert_eq!(store.storage_options["a"].expose(), "b");
    assert_eq!(store.prefer_native, Some(false));
    assert_eq!((config.project.as_deref(), config.hash_truncation_length), (Some("b"), 16));
    assert_eq!(config.datafusion.options["engine"], "memory");
}

#[test]
fn a_store_without_type_is_ignored_or_refused() {
    let env = [("METAXY_STORES__PROD__CONFIG__CONNECTION_STRING", "hunter2")];
    let config = load("[stores.dev]\ntype = 'memory'\n", &env).unwrap();
    assert_eq!(config.stores.keys().collect::<Vec<_>>(), ["dev"]);
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("\"prod\"") && config.warnings[0].contains(env[0].0));
    assert!(!config.warnings[0].contains("hunter2"));

    let message = error("[stores.dev.config]\nroot_path = 'r'\n", &[]);
    assert!(message.contains("stores.dev (line 1): has no `type`"), "{message}");
}

#[test]
fn variables_that_are_not_set() {
    let toml = "[stores.dev]\ntype = 'delta'\nconfig = {root_path = '${GONE}'}\n\
                [stores.prod]\ntype = 'delta'\nconfig = {root_path = '${GONE_TOO}'}\n";
    let config = load(toml, &[]).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].starts_with("stores.dev.config.root_path: the variable GONE"));
    assert_eq!(config.stores["prod"].warnings.len(), 1);
    let message = config.default_store().unwrap().require_root_path().unwrap_err().to_string();
    assert!(message.contains("stores.dev.config.root_path is missing"), "{message}");
    // A value from the environment replaces the gap.
    let env = [("METAXY_STORES__DEV__CONFIG__ROOT_PATH", "x")];
    assert_eq!(load(toml, &env).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn values_that_cannot_be_used() {
    let dev = "[stores.dev]\ntype = 'delta'\n[stores.dev.config]\n";
    let cases = [
        ("hash_truncation_length = 7", "hash_truncation_length (line 1): must be at least 8, not 7"),
        ("hash_truncation_length = 'x'", "must be a whole number, not \"x\""),
        ("auto_create_tables = 'maybe'", "must be true or false, not \"maybe\""),
        (
            "\nproject = 'a__b'",
            "project (line 2): \"a__b\" is no project: the name can't contain two underscores in a row",
        ),
        ("project = 'a/b'", "only letters, digits"),
        ("project = ''", "can't be empty"),
        ("stores = 1", "stores (line 1): must be a table, not a number"),
        (
            &format!("{dev}layout = 'nestd'"),
            "stores.dev.config.layout (line 4): must be one of nested, flat, not \"nestd\"; did you mean \"nested\"?",
        ),
        (&format!("{dev}fallback_stores = 'prod'"), "must be a list, not text"),
        (&format!("{dev}versioning_engine = 'memory'"), "must be one of auto, native, polars"),
        (&format!("{dev}hash_algorithm = 'xxhash46'"), "did you mean \"xxhash64\"?"),
        (&format!("{dev}root_path = 5"), "must be text, not a number"),
        (
            &format!("{dev}storage_options = {{a = ['hunter2']}}"),
            "storage_options.a (line 4): must be text, a number or a flag, not a list",
        ),
        ("[ext.datafusion]\nfeatures = ['a', 3]", "ext.datafusion.features (line 2): must be text"),
        ("[ext.datafusion]\nfeatures = ['***']", "is no glob"),
        ("[ext.datafusion.stores.prd]\n[stores.prod]\ntype = 'memory'", "did you mean \"prod\"?"),
        (
            &format!("{dev}[ext.datafusion.stores.dev]\nengine = 'polars'"),
            "must be one of auto, native, memory",
        ),
    ];
    for (toml, expected) in cases {
        let message = error(toml, &[]);
        assert!(message.contains(expected), "{toml}: {message}");
        assert!(message.contains("metaxy.toml: ") && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn unknown_keys() {
    let dev = "[stores.dev]\ntype = 'delta'\n";
    let cases = [
        ("projct = 'a'", "projct (line 1): unknown key; did you mean \"project\"?"),
        ("features = []", "it belongs under [ext.datafusion]"),
        ("[ext.datafusion]\nfeature = []", "did you mean \"features\"?"),
        ("[ext.datafusion]\nengin = 'memory'", "did you mean \"engine\"?"),
        (&format!("{dev}root_path = 'r'"), "belongs one table deeper: [stores.dev.config]"),
        (&format!("{dev}typ = 'x'"), "did you mean \"type\"?"),
        (
            &format!("{dev}config = {{root_pth = 'x'}}"),
            "stores.dev.config.root_pth (line 3): unknown key; did you mean \"root_path\"?",
        ),
        (&format!("{dev}[ext.datafusion.stores.dev]\nfalback = 'warn'"), "did you mean \"fallback\"?"),
        (
            &format!("{dev}[ext.datafusion.stores.dev]\nfallback = ['prod']"),
            "fallback (line 4): must be one of allow, warn, forbid, not a list; the stores go into fallback_stores",
        ),
        (
            &format!("{dev}[ext.datafusion.stores.dev]\nfallback = 'forbit'"),
            "must be one of allow, warn, forbid, not \"forbit\"; did you mean \"forbid\"?",
        ),
        ("[stores.m]\ntype = 'memory'\nconfig = {layout = 'flat'}", "known: fallback_stores, hash_algorithm"),
    ];
    for (toml, expected) in cases {
        let message = error(toml, &[]);
        assert!(message.contains(expected), "{toml}: {message}");
    }
    let message = error("", &[("METAXY_EXT__DATAFUSION__ENGIN", "memory")]);
    assert_eq!(
        message,
        "configuration: METAXY_EXT__DATAFUSION__ENGIN (ext.datafusion.engin): unknown key; did you mean \"engine\"?"
    );
}

#[test]
fn keys_of_python_alone_are_never_an_error() {
    load("entrypoints = 3\ntheme = 1.5\n[ext.dagster]\nx = []\n", &[]).unwrap();
}

#[test]
fn external_features() {
    assert!(load("", &[]).unwrap().external.sync);
    let config = load("", &[("METAXY_LOCKED", "yes"), ("METAXY_SYNC", "0")]).unwrap();
    assert!(config.external.locked && !config.external.sync);
    assert_eq!(config.lock_file(), config.folder.join("metaxy.lock"));
    for (toml, expected) in [
        ("sync = 'x'", "sync (line 1): must be true or false"),
        ("extra_features = [{}]", "extra_features (line 1): names no features"),
        ("extra_features = [{project = ['p']}]", "unknown key; did you mean \"projects\"?"),
        ("extra_features = 'all'", "extra_features (line 1): must be a list"),
        ("metaxy_lock_path = 3", "metaxy_lock_path (line 1): must be text"),
    ] {
        let message = error(toml, &[]);
        assert!(message.contains(expected), "{toml}: {message}");
    }
}

#[test]
fn secrets_stay_hidden() {
    let toml = "[stores.dev]\ntype = 'delta'\n[stores.dev.config]\nroot_path = 's3://u:hunter2@b/x'\n\
                storage_options = {AWS_SECRET_ACCESS_KEY = '${PASS}'}\n";
    let config = load(toml, &[("PASS", "hunter2")]).unwrap();
    assert_eq!(config.stores["dev"].storage_options["AWS_SECRET_ACCESS_KEY"].expose(), "hunter2");
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    // A secret that lands in the wrong key by `${VAR}` is quoted as it is written.
    let message =
        error("[stores.dev]\ntype = 'delta'\nconfig = {layout = '${PASS}'}", &[("PASS", "hunter2")]);
    assert!(message.contains("not \"${PASS}\"") && !message.contains("hunter2"), "{message}");
}

#[test]
fn without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let load =
        |env: &[(&str, &str)]| Config::load(None, folder.path(), &env.iter().copied().collect()).unwrap();
    assert_eq!(load(&[]), Config::embedded(folder.path()));
    assert_eq!(Config::embedded(Path::new("")).stores["dev"].root_path.as_deref(), Some("metaxy-store"));
    assert_eq!(load(&[("METAXY_PROJECT", "p")]).project.as_deref(), Some("p"));
    let moved = load(&[("METAXY_STORES__DEV__CONFIG__ROOT_PATH", "/m")]);
    assert_eq!(moved.default_store().unwrap().root_path.as_deref(), Some("/m"));
    // Stores of the environment take the place of the embedded one.
    let own = load(&[("METAXY_STORES__DEV__TYPE", "memory")]);
    assert_eq!(own.stores.keys().collect::<Vec<_>>(), ["dev"]);
    assert_eq!(own.default_store().unwrap().kind, StoreKind::Memory);
}

#[test]
fn stores_by_name() {
    let config = load("[stores.prod]\ntype = 'memory'\n", &[]).unwrap();
    assert!(config.store("prod").is_ok());
    let message = config.store("prd").unwrap_err().to_string();
    assert_eq!(message, "unknown store \"prd\"; did you mean \"prod\"?");
    assert!(config.default_store().unwrap_err().to_string().ends_with("known: prod"));
    // A URL in the place of a name may have a password.
    let message = config.store("postgresql://ada:hunter2@host/x").unwrap_err().to_string();
    assert_eq!(message, "unknown store \"postgresql://***@host/x\"; known: prod");
    assert!(load("", &[]).unwrap().default_store().unwrap_err().to_string().contains("add [stores.dev]"));
}

#[test]
fn inherited_features_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("base/metaxy.toml", "[ext.datafusion]\nfeatures = ['f/*.toml']\n"),
        ("base/f/a.toml", ""),
        ("own/metaxy.toml", "extend = '../base/metaxy.toml'\n"),
    ] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
    }
    let config = Config::load(None, &folder.path().join("own"), &Environment::default()).unwrap();
    let files = config.feature_files().unwrap();
    assert_eq!(files.len(), 1);
    assert!(files[0].ends_with("base/f/a.toml"), "{files:?}");
}

/// The rows of the page's tables whose first cell is a key.
fn documented_keys() -> Vec<&'static str> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(key, _)| key).collect()
}

#[test]
fn the_page_lists_every_key() {
    let (mut known, mut documented) = (known_keys(), documented_keys());
    known.sort_unstable();
    documented.sort_unstable();
    assert_eq!(documented, known);
}

#[test]
fn the_examples_on_the_page_load() {
    let blocks: Vec<&str> =
        PAGE.split("```toml").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 2);
    for block in blocks {
        let config = load(block, &[]).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new(), "{block}");
        let store = config.default_store().unwrap();
        assert!(store.require_root_path().is_ok() || store.kind == StoreKind::Postgres, "{block}");
    }
}
