//! The golden cases as if they had been written with MD5, which a database can compute, too: every kind of
//! store gives the same increments with every executor, byte for byte.
//!
//! The writes of a case are done once more, one after the other, in memory: what a child stored is hashed anew
//! from what its parents held then. Those rows are what the stores get.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, DELETED_AT, FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD,
    UPDATED_AT,
};
#[cfg(feature = "postgres")]
use datafusion_metaxy::config::Secret;
use datafusion_metaxy::config::{StoreConfig, StoreKind, VersioningEngine};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::FeatureDefinition;
#[cfg(feature = "postgres")]
use datafusion_metaxy::store::PostgresStore;
use datafusion_metaxy::store::{
    Append, DeltaStore, MemoryStore, MetadataStore, ParquetStore, Store, WriteTime,
};
use datafusion_metaxy::update::IncrementOptions;
use futures::StreamExt;
use serde_json::Value;

use crate::conformance::{CASES, Case, counts, names, text};
#[cfg(feature = "postgres")]
use crate::postgres_push::{fresh_schema, url};
use crate::support::{self, dev, multiset, run};

/// The column that says when a row of a case was written, in microseconds.
const WRITTEN: &str = "written";

/// A golden case with MD5 in place of its own hash.
pub struct Rehashed {
    case: Case,
    settings: HashSettings,
    definitions: Vec<FeatureDefinition>,
    /// Which definition's feature got which rows, in the order of the writes.
    writes: Vec<(usize, RecordBatch)>,
    /// The increment of each feature that has parents.
    increments: Vec<(String, BTreeMap<String, usize>)>,
}

impl Rehashed {
    pub async fn new(name: &str) -> Self {
        let case = Case::open(name).await;
        let own = dev(&case.session);
        let graph = own.graph().await.unwrap();
        let definitions = graph.iter().map(|definition| definition.as_ref().clone()).collect();
        let settings = HashSettings::new(HashAlgorithm::Md5, own.settings().length).unwrap();
        let mut rehashed = Self { case, settings, definitions, writes: Vec::new(), increments: Vec::new() };
        let backend: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let memory = rehashed.store(&backend);
        for ((_, at), (schema, mut rows)) in rehashed.history().await {
            rehashed.hash_anew(&memory, at, &mut rows).await;
            let batch = batch(&schema, &rows);
            rehashed.append(&backend, at, &batch).await;
            rehashed.writes.push((at, batch));
        }
        for entry in rehashed.case.entries("resolve").iter().filter(|entry| entry["samples"].is_null()) {
            let feature = text(&entry["feature"]);
            let rows = rehashed.increment(&memory, feature, VersioningEngine::Memory).await;
            // Another hash tells the same samples apart.
            assert_eq!(counts(&rows), entry["counts"], "{name}: counts of {feature}");
            rehashed.increments.push((feature.to_owned(), multiset(rows)));
        }
        assert!(!rehashed.increments.is_empty(), "{name}");
        rehashed.check(&memory).await;
        rehashed
    }

    /// Fails unless an empty store of this configuration gives the same increments when it has the same rows.
    pub async fn check_in(&self, config: &StoreConfig) {
        let backend: Arc<dyn MetadataStore> = match &config.kind {
            StoreKind::Delta => Arc::new(DeltaStore::try_new(config).unwrap()),
            StoreKind::Parquet => Arc::new(ParquetStore::try_new(config).unwrap()),
            #[cfg(feature = "postgres")]
            StoreKind::Postgres => Arc::new(PostgresStore::try_new(config).unwrap()),
            _ => panic!("{config:?}"),
        };
        for (at, batch) in &self.writes {
            self.append(&backend, *at, batch).await;
        }
        self.check(&self.store(&backend)).await;
    }

    async fn check(&self, store: &Arc<Store>) {
        for (feature, expected) in &self.increments {
            for engine in [VersioningEngine::Native, VersioningEngine::Memory] {
                let rows = self.increment(store, feature, engine).await;
                let counted = counts(&rows);
                assert_eq!(multiset(rows), *expected, "{feature}: {} {engine}, {counted}", store.kind());
            }
        }
    }

    /// The increment of a feature, which is one statement where a database is to compute it.
    async fn increment(&self, store: &Arc<Store>, feature: &str, engine: VersioningEngine) -> Vec<Value> {
        let options = IncrementOptions { engine: engine.into(), ..IncrementOptions::default() };
        let frame = store.resolve_update(&SessionContext::new(), feature, &options).await.unwrap();
        let plan = frame.clone().create_physical_plan().await.unwrap();
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        let is_pushed = store.kind() == "postgresql" && engine == VersioningEngine::Native;
        assert_eq!(plan.matches("PostgresExec").count(), usize::from(is_pushed), "{feature}\n{plan}");
        assert!(!(is_pushed && plan.contains("PostgresScanExec")), "{feature}\n{plan}");
        support::rows(frame).await.unwrap()
    }

    fn store(&self, backend: &Arc<dyn MetadataStore>) -> Arc<Store> {
        Arc::new(Store::new("dev", Arc::clone(backend), self.settings, self.definitions.clone()))
    }

    async fn append(&self, backend: &Arc<dyn MetadataStore>, at: usize, batch: &RecordBatch) {
        let definition = &self.definitions[at];
        let append = Append {
            schema: batch.schema(),
            rows: futures::stream::iter([Ok(batch.clone())]).boxed(),
            settings: self.settings,
            id_columns: definition.spec.id_columns.clone(),
            write_key: None,
            time: WriteTime::Kept,
            only_at: None,
        };
        backend.append(definition.key(), append).await.unwrap();
    }

    /// The case's own writes in their order, by their times and the places of their definitions.
    async fn history(&self) -> BTreeMap<(i64, usize), (SchemaRef, Vec<Value>)> {
        let mut writes: BTreeMap<(i64, usize), (SchemaRef, Vec<Value>)> = BTreeMap::new();
        for (at, definition) in self.definitions.iter().enumerate() {
            let sql = format!(
                "SELECT *, CAST(coalesce({DELETED_AT}, {UPDATED_AT}) AS BIGINT) AS {WRITTEN} \
                 FROM history.\"{}\"",
                definition.key().table_name()
            );
            let batches = self.case.session.sql(&sql).await.unwrap().collect().await.unwrap();
            let fields = batches[0].schema();
            let fields = fields.fields().iter().filter(|field| field.name() != WRITTEN);
            let schema = Arc::new(Schema::new(fields.map(|field| plain(field)).collect::<Vec<_>>()));
            for row in support::json(&batches) {
                let time = row[WRITTEN].as_i64().unwrap();
                let write = writes.entry((time, at)).or_insert_with(|| (Arc::clone(&schema), Vec::new()));
                write.1.push(row);
            }
        }
        writes
    }

    /// Gives rows that a feature gets now the versions that their parents make. What doesn't count keeps its
    /// own: rows that say "deleted", rows of older feature versions, and those whose parents are gone for good.
    async fn hash_anew(&self, memory: &Arc<Store>, at: usize, rows: &mut [Value]) {
        let definition = &self.definitions[at];
        if definition.spec.deps.is_empty() {
            return;
        }
        let feature = definition.key().to_string();
        let entries = self.case.entries("resolve");
        let entry = entries.iter().find(|entry| entry["feature"] == feature).unwrap();
        // By these an increment and the rows that are stored of it belong together.
        let keys = names(&entry["keys"]["orphaned"]);
        let options = IncrementOptions { skip_comparison: true, ..IncrementOptions::default() };
        let frame = memory.resolve_update(&SessionContext::new(), &feature, &options).await.unwrap();
        let expected = support::rows(frame).await.unwrap();
        let expected: BTreeMap<String, Value> =
            expected.into_iter().map(|row| (key(&row, &keys), row)).collect();
        let version = memory.graph().await.unwrap().feature_version(definition.key()).unwrap();
        for row in rows {
            let is_live = row[FEATURE_VERSION] == version && row[DELETED_AT].is_null();
            let Some(expected) = expected.get(&key(row, &keys)).filter(|_| is_live) else { continue };
            // What its user has said of the data stays.
            let is_own = row[DATA_VERSION_BY_FIELD] != row[PROVENANCE_BY_FIELD];
            let versions: &[&str] = if is_own {
                &[PROVENANCE_BY_FIELD, PROVENANCE]
            } else {
                &[PROVENANCE_BY_FIELD, PROVENANCE, DATA_VERSION_BY_FIELD, DATA_VERSION]
            };
            for name in versions {
                row[*name] = expected[*name].clone();
            }
        }
    }
}

/// The values of a row in these columns.
fn key(row: &Value, names: &[&str]) -> String {
    Value::Array(names.iter().map(|name| row[*name].clone()).collect()).to_string()
}

/// A column in the type in which stores keep it.
fn plain(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(Arc::new(plain(item)))
        }
        DataType::Struct(members) => DataType::Struct(members.iter().map(|member| plain(member)).collect()),
        other => other.clone(),
    };
    Field::new(field.name(), data_type, true)
}

fn batch(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    decoder.flush().unwrap().unwrap()
}

#[test]
fn stores_in_files_give_the_same_increments_as_one_in_memory() {
    run(async {
        for name in CASES {
            let rehashed = Rehashed::new(name).await;
            for kind in [StoreKind::Delta, StoreKind::Parquet] {
                let folder = tempfile::tempdir().unwrap();
                let root_path = Some(folder.path().display().to_string());
                rehashed.check_in(&StoreConfig { root_path, ..StoreConfig::new("dev", kind) }).await;
            }
        }
    });
}

#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn postgres_gives_the_same_increments_as_a_store_in_memory() {
    run(async {
        for name in CASES {
            let schema = format!("rehashed_{name}");
            fresh_schema(&schema).await;
            let mut config = StoreConfig::new("dev", StoreKind::Postgres);
            config.database.connection_string = Some(Secret::new(url()));
            config.database.schema = Some(schema);
            config.database.auto_create_tables = true;
            Rehashed::new(name).await.check_in(&config).await;
        }
    });
}
