//! The golden cases of `tests/conformance`: what the Python package answers over six small stores.
//!
//! No feature files are used; the definitions come from the stores themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_metaxy::config::{Config, Environment, StoreConfig};
use datafusion_metaxy::model::{FeatureGraph, FeatureKey, FieldKey};
use datafusion_metaxy::session::{MetaxySession, SessionOptions};
#[cfg(feature = "postgres")]
use datafusion_metaxy::{
    config::{Secret, StoreKind},
    hash::{HashAlgorithm, HashSettings},
    store::{Append, DeltaStore, MetadataStore, PostgresStore, WriteTime},
};
#[cfg(feature = "postgres")]
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{self, Cli, copy_folder, dev, multiset, query, repository};

const HASHES: [&str; 2] = ["metaxy_provenance", "metaxy_provenance_by_field"];

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// The cases that are tested here.
        pub const CASES: &[&str] = &[$(stringify!($name)),*];

        $(mod $name {
            #[test]
            fn read() {
                crate::support::run(async { super::read(&super::Case::open(stringify!($name)).await).await });
            }

            #[test]
            fn resolve() {
                crate::support::run(async { super::resolve(&super::Case::open(stringify!($name)).await).await });
            }

            #[test]
            fn resolve_with_registered_samples() {
                crate::support::run(super::registered_samples(stringify!($name)));
            }

            #[test]
            fn versions() {
                crate::support::run(super::versions(stringify!($name)));
            }

            #[cfg(feature = "postgres")]
            #[test]
            #[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
            fn in_postgres() {
                crate::support::run(super::in_postgres(stringify!($name)));
            }

            #[test]
            fn copy_to_parquet() {
                crate::support::run(super::copy_to_parquet(stringify!($name)));
            }
        })*
    };
}

cases!(aggregation, data_version_override, expansion, optional_deps, renames_filters, video_partial_update,);

#[test]
fn no_case_is_forgotten() {
    let folders: BTreeSet<String> = fs::read_dir(repository("tests/conformance"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, CASES.iter().map(|case| (*case).to_owned()).collect());
}

/// A copy of a case and a session over it.
pub struct Case {
    folder: TempDir,
    pub session: MetaxySession,
    index: Vec<Value>,
}

impl Case {
    pub async fn open(name: &str) -> Self {
        Self::open_at(name, async |_, _| {}).await
    }

    /// The case with its store somewhere else: `place` gets its folder, and says where in the store's configuration.
    pub async fn open_at(name: &str, place: impl AsyncFnOnce(&Path, &mut StoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&repository("tests/conformance").join(name), folder.path());
        let mut config = Config::load(None, folder.path(), &Environment::default()).unwrap();
        // In the file it is relative to the working directory.
        let store = folder.path().join("store");
        config.stores["dev"].root_path = Some(store.display().to_string());
        place(&store, &mut config.stores["dev"]).await;
        let session = MetaxySession::open(config, SessionOptions::default()).await.unwrap();
        let index = read_json(&folder.path().join("expected/index.json"));
        Self { index: index.as_array().unwrap().clone(), folder, session }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn entries(&self, what: &str) -> Vec<Value> {
        let entries: Vec<Value> = self.index.iter().filter(|entry| entry["what"] == what).cloned().collect();
        assert!(!entries.is_empty(), "no {what} in index.json");
        entries
    }

    async fn expected(&self, entry: &Value) -> Vec<Value> {
        let mut rows = parquet(&self.path().join("expected").join(text(&entry["file"]))).await;
        for row in rows.iter_mut().map(|row| row.as_object_mut().unwrap()) {
            for (name, value) in row.iter_mut().filter(|(name, _)| name.ends_with("_by_field")) {
                // Structs are JSON text in these files.
                let parsed = value.as_str().map(serde_json::from_str::<Value>);
                *value = parsed
                    .transpose()
                    .unwrap_or_else(|error| panic!("{name}: {error}"))
                    .unwrap_or(Value::Null);
            }
        }
        rows
    }

    /// Compares an increment with the expected one, on the columns that count.
    async fn check_increment(&self, entry: &Value, rows: &[Value]) {
        let feature = text(&entry["feature"]);
        let expected = self.expected(entry).await;
        let expected = multiset(expected.iter().map(|row| compared(entry, row)));
        assert_eq!(multiset(rows.iter().map(|row| compared(entry, row))), expected, "increment of {feature}");
        assert_eq!(counts(rows), entry["counts"], "counts of {feature}");
    }
}

/// What a row of an increment is compared on: orphaned rows on keys and hashes only.
fn compared(entry: &Value, row: &Value) -> Value {
    let orphaned = row["metaxy_increment"] == "orphaned";
    let keys = names(&entry["keys"][if orphaned { "orphaned" } else { "new" }]);
    let user = if orphaned { Vec::new() } else { names(&entry["user"]) };
    let columns = ["metaxy_increment"].into_iter().chain(keys).chain(user).chain(HASHES);
    let pick =
        |name: &str| (name.to_owned(), row.get(name).unwrap_or_else(|| panic!("no {name}: {row}")).clone());
    Value::Object(columns.map(pick).collect::<Map<_, _>>())
}

pub fn counts(rows: &[Value]) -> Value {
    let count = |kind: &str| rows.iter().filter(|row| row["metaxy_increment"] == kind).count();
    json!({"new": count("new"), "stale": count("stale"), "orphaned": count("orphaned")})
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("text expected: {value}"))
}

pub fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

async fn parquet(path: &Path) -> Vec<Value> {
    let path = path.to_str().unwrap();
    let frame = SessionContext::new().read_parquet(path, ParquetReadOptions::default()).await.unwrap();
    support::rows(frame).await.unwrap()
}

pub async fn read(case: &Case) {
    for entry in case.entries("read") {
        let columns: Vec<String> =
            names(&entry["columns"]).iter().map(|name| format!("\"{name}\"")).collect();
        let sql = format!("SELECT {} FROM {}", columns.join(", "), text(&entry["table"]));
        let rows = query(&case.session, &sql).await;
        let expected = case.expected(&entry).await;
        assert_eq!(json!(rows.len()), entry["rows"], "{sql}");
        assert_eq!(multiset(rows), multiset(expected), "{sql}");
    }
}

/// The case's tables and definitions in PostgreSQL, with each executor.
#[cfg(feature = "postgres")]
async fn in_postgres(name: &str) {
    let mut case = Case::open(name).await;
    let mut config = Config::load(None, case.path(), &Environment::default()).unwrap();
    config.stores["dev"].root_path = Some(case.path().join("store").display().to_string());
    let mut copy = StoreConfig::new("copy", StoreKind::Postgres);
    copy.hash_algorithm = config.stores["dev"].hash_algorithm.clone();
    copy.database.connection_string = Some(Secret::new(support::postgres()));
    copy.database.schema = Some(case.path().file_name().unwrap().display().to_string());
    copy.database.auto_create_tables = true;
    config.stores.insert("copy".to_owned(), copy);
    case.session = MetaxySession::open(config.clone(), SessionOptions::default()).await.unwrap();
    query(&case.session, "CALL copy.system.copy(from_store => 'dev')").await;
    copy_definitions(&config).await;
    config.store = "copy".to_owned();
    case.session = MetaxySession::open(config, SessionOptions::default()).await.unwrap();
    read(&case).await;
    // A database computes nothing over samples of the session, so that native would be an error.
    for engine in ["auto", "memory"] {
        query(&case.session, &format!("SET metaxy.engine = '{engine}'")).await;
        resolve(&case).await;
    }
}

/// A copy leaves out the record of definitions: in another store they are pushed.
#[cfg(feature = "postgres")]
async fn copy_definitions(config: &Config) {
    let key = FeatureKey::parse("metaxy-system/feature_versions").unwrap();
    let recorded = DeltaStore::try_new(&config.stores["dev"]).unwrap().open(&key).await.unwrap().unwrap();
    let frame = SessionContext::new().read_table(recorded.provider).unwrap();
    let frame = frame.drop_columns(&["__metaxy_row_order"]).unwrap();
    let rows = frame.collect().await.unwrap();
    let append = Append {
        schema: rows[0].schema(),
        rows: futures::stream::iter(rows.into_iter().map(Ok)).boxed(),
        settings: HashSettings::new(HashAlgorithm::XxHash32, 8).unwrap(),
        id_columns: Vec::new(),
        write_key: None,
        time: WriteTime::Kept,
        only_at: None,
    };
    PostgresStore::try_new(&config.stores["copy"]).unwrap().append(&key, append).await.unwrap();
}

pub async fn resolve(case: &Case) {
    for entry in case.entries("resolve") {
        let feature = text(&entry["feature"]);
        let sql = match entry["samples"].as_str() {
            None => format!("SELECT * FROM resolve_update('{feature}')"),
            Some(samples) => {
                let samples = case.path().join(samples);
                format!("SELECT * FROM resolve_update('{feature}', '{}')", samples.display())
            }
        };
        case.check_increment(&entry, &query(&case.session, &sql).await).await;
    }
    // Every feature that has parents is covered.
    let graph = dev(&case.session).graph().await.unwrap();
    let covered: BTreeSet<_> =
        case.entries("resolve").iter().map(|e| text(&e["feature"]).to_owned()).collect();
    for definition in graph.iter().filter(|definition| !definition.spec.deps.is_empty()) {
        assert!(covered.contains(&definition.key().to_string()), "{}", definition.key());
    }
}

async fn registered_samples(name: &str) {
    let case = Case::open(name).await;
    let mut found = false;
    for entry in case.entries("resolve").into_iter().filter(|entry| entry["samples"].is_string()) {
        let path = case.path().join(text(&entry["samples"]));
        let context = case.session.context();
        let frame =
            context.read_parquet(path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
        context.register_table("given_samples", frame.into_view()).unwrap();
        let feature = text(&entry["feature"]);
        for samples in ["given_samples", "'given_samples'", "(SELECT * FROM given_samples)"] {
            let sql = format!("SELECT * FROM resolve_update('{feature}', samples => {samples})");
            case.check_increment(&entry, &query(&case.session, &sql).await).await;
        }
        context.deregister_table("given_samples").unwrap();
        found = true;
    }
    assert!(found, "no root feature with samples in this case");
}

async fn versions(name: &str) {
    let case = Case::open(name).await;
    let graph = dev(&case.session).graph().await.unwrap();
    let expected = read_json(&case.path().join("expected/versions.json"));
    for (feature, expected) in expected["features"].as_object().unwrap() {
        let key = FeatureKey::parse(feature).unwrap();
        assert_eq!(feature_versions(&graph, &key), *expected, "{feature}");
    }
    assert_eq!(graph.len(), expected["features"].as_object().unwrap().len());
    for (project, version) in expected["project_versions"].as_object().unwrap() {
        assert_eq!(graph.project_version(project).unwrap(), text(version), "{project}");
    }
    let project = case.session_project(&graph);
    assert_eq!(graph.project_version(&project).unwrap(), text(&expected["project_version"]));
}

impl Case {
    /// The project that all features of the case belong to.
    fn session_project(&self, graph: &FeatureGraph) -> String {
        let config = Config::load(None, self.path(), &Environment::default()).unwrap();
        let project = config.project.unwrap();
        assert!(graph.iter().all(|definition| definition.project == project));
        project
    }
}

fn feature_versions(graph: &FeatureGraph, key: &FeatureKey) -> Value {
    let definition = graph.get(key).unwrap();
    let field = |field: &FieldKey| (field.to_string(), json!(graph.field_version(key, field).unwrap()));
    json!({
        "feature_version": graph.feature_version(key).unwrap(),
        "feature_version_by_field":
            definition.spec.fields.iter().map(|f| field(&f.key)).collect::<Map<_, _>>(),
        "definition_version": graph.definition_version(key).unwrap(),
        "project": definition.project,
    })
}

/// The program, with the case's own `metaxy.toml` and the case's folder as its working directory.
async fn copy_to_parquet(name: &str) {
    let case = Case::open(name).await;
    let mut statements = Vec::new();
    let mut written = Vec::new();
    for entry in case.entries("resolve") {
        let calls = match entry["samples"].as_str() {
            None => vec![String::new()],
            Some(samples) => vec![format!(", '{samples}'"), format!(", (SELECT * FROM '{samples}')")],
        };
        for samples in calls {
            let file = format!("out{}.parquet", written.len());
            statements.push(format!(
                "COPY (SELECT * FROM resolve_update('{}'{samples})) TO '{file}' STORED AS PARQUET",
                text(&entry["feature"])
            ));
            written.push((file, entry.clone()));
        }
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    Cli::new(case.path()).sql(&statements).run().ok();
    for (file, entry) in written {
        let rows = parquet(&case.path().join(file)).await;
        case.check_increment(&entry, &rows).await;
    }
}
