//! Deletes from Rust, beside other writers, and after a crash.

use std::fs;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use datafusion_metaxy::config::{StoreConfig, StoreKind};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, FieldSpec, Origin};
use datafusion_metaxy::store::{
    Append, DeleteMode, DeleteOptions, DeltaStore, FeatureVersions, MemoryStore, MetadataStore, ParquetStore,
    ReadOptions, Store, WriteOptions, WriteScope, WriteTime,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Project, column, one_line, query, rows, run};

pub fn settings() -> HashSettings {
    HashSettings::new(HashAlgorithm::XxHash32, 8).unwrap()
}

/// A store over `backend` in which the feature has this code version.
pub fn store(backend: &Arc<dyn MetadataStore>, code_version: &str) -> Arc<Store> {
    let field = FieldSpec::new("default").code_version(code_version);
    let spec = FeatureSpec::builder("video").id_columns(["id"]).field(field).build().unwrap();
    let definition = FeatureDefinition::declared(spec, "test", Origin::Session);
    let store = Store::new("dev", Arc::clone(backend), settings(), vec![definition]);
    Arc::new(store.with_project("test").unwrap())
}

/// One of each kind of store, in a folder that has to live as long.
pub fn backends() -> (TempDir, Vec<Arc<dyn MetadataStore>>) {
    let folder = tempfile::tempdir().unwrap();
    let config = |kind: StoreKind, name: &str| {
        let root_path = Some(folder.path().join(name).display().to_string());
        StoreConfig { root_path, ..StoreConfig::new("dev", kind) }
    };
    let delta = DeltaStore::try_new(&config(StoreKind::Delta, "delta")).unwrap();
    let parquet = ParquetStore::try_new(&config(StoreKind::Parquet, "parquet")).unwrap();
    (folder, vec![Arc::new(MemoryStore::new()), Arc::new(delta), Arc::new(parquet)])
}

pub async fn write(store: &Arc<Store>, ids: &[&str]) {
    let values: Vec<String> = ids.iter().map(|id| format!("('{id}')")).collect();
    let sql = format!(
        "SELECT id, named_struct('default', 'v') AS metaxy_provenance_by_field FROM (VALUES {}) AS t (id)",
        values.join(", ")
    );
    let frame = SessionContext::new().sql(&sql).await.unwrap();
    store.write("video", frame, &WriteOptions::default()).await.unwrap();
}

pub async fn ids(store: &Arc<Store>, options: &ReadOptions) -> Vec<Value> {
    let frame = store.read(&SessionContext::new(), "video", options).await.unwrap();
    let mut ids = column(&rows(frame).await.unwrap(), "id");
    ids.sort_by_key(Value::to_string);
    ids
}

pub fn history() -> ReadOptions {
    ReadOptions { feature_version: FeatureVersions::All, sample_history: true, deleted: true }
}

#[test]
fn feature_versions_of_a_delete() {
    run(async {
        let (_folder, backends) = backends();
        for backend in backends {
            let context = SessionContext::new();
            let old = store(&backend, "1");
            write(&old, &["a", "b", "c"]).await;
            let new = store(&backend, "2");
            write(&new, &["a", "b"]).await;
            let options =
                |mode, feature_versions| DeleteOptions { mode, feature_versions, ..DeleteOptions::default() };
            // The current version only, unless asked.
            let delete = options(DeleteMode::Soft, FeatureVersions::Current);
            assert_eq!(new.delete(&context, "video", col("id").eq(lit("a")), &delete).await.unwrap(), 1);
            assert_eq!(ids(&new, &ReadOptions::default()).await, [json!("b")]);
            assert_eq!(ids(&old, &ReadOptions::default()).await, [json!("a"), json!("b"), json!("c")]);
            let delete = options(DeleteMode::Soft, FeatureVersions::All);
            assert_eq!(new.delete(&context, "video", col("id").eq(lit("b")), &delete).await.unwrap(), 2);
            assert_eq!(ids(&old, &ReadOptions::default()).await, [json!("a"), json!("c")]);
            let version = old.graph().await.unwrap().feature_version(&"video".parse().unwrap()).unwrap();
            let delete = options(DeleteMode::Hard, FeatureVersions::Exactly(version));
            assert_eq!(new.delete(&context, "video", col("id").eq(lit("c")), &delete).await.unwrap(), 1);
            assert_eq!(ids(&old, &ReadOptions::default()).await, [json!("a")]);
            // The write and the delete of `a` at the current version; its live older row is hidden by a new one.
            let delete = options(DeleteMode::Hard, FeatureVersions::Current);
            assert_eq!(new.delete(&context, "video", col("id").eq(lit("a")), &delete).await.unwrap(), 2);
            let deleted = ReadOptions { deleted: true, ..ReadOptions::default() };
            assert_eq!(ids(&new, &deleted).await, [json!("a"), json!("b")]);
            let everything = ids(&new, &history()).await.len() as u64;
            let dropped = new.drop_rows(&context, "video", &WriteScope::default()).await.unwrap();
            assert_eq!(dropped, everything);
            assert_eq!(ids(&new, &history()).await, Vec::<Value>::new());
        }
    });
}

/// All rows of the feature with their times put off, as if a clock ahead of ours had written them.
async fn append_later(backend: &Arc<dyn MetadataStore>, deleted: bool) {
    let feature = FeatureKey::parse("video").unwrap();
    let table = backend.open(&feature).await.unwrap().unwrap();
    let context = SessionContext::new();
    context.register_table("stored", table.provider).unwrap();
    let (updated, gone) =
        ("metaxy_updated_at + INTERVAL '2 hours'", "metaxy_updated_at + INTERVAL '3 hours'");
    let gone = if deleted { gone } else { "metaxy_deleted_at" };
    let frame = context
        .sql(&format!(
            "SELECT * EXCEPT (__metaxy_row_order) REPLACE ({updated} AS metaxy_updated_at, {gone} AS metaxy_deleted_at) \
             FROM stored"
        ))
        .await
        .unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batch: RecordBatch = concat_batches(&schema, &frame.collect().await.unwrap()).unwrap();
    let append = Append {
        schema,
        rows: futures::stream::iter([Ok(batch)]).boxed(),
        settings: settings(),
        id_columns: vec!["id".into()],
        write_key: None,
        time: WriteTime::Kept,
        only_at: None,
    };
    backend.append(&feature, append).await.unwrap();
}

#[test]
fn a_write_revives_what_a_clock_ahead_of_ours_has_deleted() {
    run(async {
        let (_folder, backends) = backends();
        for backend in backends {
            let store = store(&backend, "1");
            write(&store, &["a"]).await;
            append_later(&backend, true).await;
            assert_eq!(ids(&store, &ReadOptions::default()).await, Vec::<Value>::new(), "{}", backend.kind());
            write(&store, &["a"]).await;
            assert_eq!(ids(&store, &ReadOptions::default()).await, [json!("a")], "{}", backend.kind());
            // And a delete goes after a write from such a clock.
            append_later(&backend, false).await;
            let delete = DeleteOptions::default();
            let context = SessionContext::new();
            assert_eq!(store.delete(&context, "video", lit(true), &delete).await.unwrap(), 1);
            assert_eq!(ids(&store, &ReadOptions::default()).await, Vec::<Value>::new(), "{}", backend.kind());
        }
    });
}

#[test]
fn deletes_beside_writers_lose_nothing() {
    run(async {
        let (_folder, backends) = backends();
        for backend in backends {
            let shared = store(&backend, "1");
            for start in 0..4 {
                let of_file: Vec<String> = (0..25).map(|i| format!("old-{start}-{i:02}")).collect();
                write(&shared, &of_file.iter().map(String::as_str).collect::<Vec<_>>()).await;
            }
            let mut tasks = Vec::new();
            for task in 0..4_usize {
                let deleter = Arc::clone(&shared);
                tasks.push(tokio::spawn(async move {
                    let delete = DeleteOptions { mode: DeleteMode::Hard, ..DeleteOptions::default() };
                    let condition = col("id")
                        .like(lit(format!("old-%-{task}%")))
                        .or(col("id").like(lit(format!("old-%-2{task}"))));
                    // A lost race is an error that asks to try again, not a half-done delete that passes for whole.
                    for _ in 0..200 {
                        match deleter
                            .delete(&SessionContext::new(), "video", condition.clone(), &delete)
                            .await
                        {
                            Ok(_) => return,
                            Err(error) => {
                                let error = one_line(&error);
                                let lost =
                                    error.contains("at the same time") || error.contains("while it was read");
                                assert!(lost, "{error}");
                            }
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                    panic!("a delete never got through");
                }));
                let writer = Arc::clone(&shared);
                tasks.push(tokio::spawn(async move {
                    for i in 0..5 {
                        write(&writer, &[&format!("new-{task}-{i}")]).await;
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            let left = ids(&shared, &history()).await;
            let old = left.iter().filter(|id| id.as_str().unwrap().starts_with("old")).count();
            let new = left.len() - old;
            // 0x, 1x and 2x are gone of each file.
            assert_eq!((old, new), (0, 20), "{}", backend.kind());
        }
    });
}

#[test]
fn a_delete_does_not_take_what_is_written_meanwhile() {
    run(async {
        let (_folder, backends) = backends();
        for backend in backends {
            let store = store(&backend, "1");
            write(&store, &["a", "b"]).await;
            // A delete that has read its rows and has not written yet.
            let extension = datafusion_metaxy::session::Extension::from_stores([Arc::clone(&store)]).unwrap();
            let host = SessionContext::new();
            datafusion_metaxy::session::SessionContextExt::attach_metaxy(&host, &extension).await.unwrap();
            // It is about the row that there is now, and finds another one in its place.
            let now = chrono::Utc::now().to_rfc3339();
            let sql = format!(
                "DELETE FROM dev.features.video WHERE id = 'a' AND metaxy_updated_at < TIMESTAMP '{now}'"
            );
            let plan = host.sql(&sql).await.unwrap();
            let plan = plan.create_physical_plan().await.unwrap();
            write(&store, &["a"]).await;
            let deleted = datafusion::physical_plan::collect(plan, host.task_ctx()).await.unwrap();
            let deleted =
                deleted[0].column(0).as_primitive::<datafusion::arrow::datatypes::UInt64Type>().value(0);
            assert_eq!(deleted, 0);
            assert_eq!(
                ids(&store, &ReadOptions::default()).await,
                [json!("a"), json!("b")],
                "{}",
                backend.kind()
            );
        }
    });
}

/// Both files change in one step, or none does: no row of a sample is there without the later one that deletes it.
#[test]
fn a_parquet_delete_over_several_files_is_one_step() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        query(&session, &format!("{} UNION ALL SELECT 'b', named_struct('default', 'v')", insert("a"))).await;
        query(&session, "DELETE FROM video WHERE id = 'a'").await;
        query(&session, "DELETE FROM history.video WHERE id = 'b'").await;
        let count = "SELECT count(*) AS n FROM history.video";
        // There is no folder for the new files.
        fs::write(project.table("video").join("_staging"), "").unwrap();
        crate::support::error(&session, "DELETE FROM history.video").await;
        assert_eq!(column(&query(&session, count).await, "n"), [json!(2)]);
        assert_eq!(query(&session, "SELECT id FROM video").await, Vec::<Value>::new());
        fs::remove_file(project.table("video").join("_staging")).unwrap();
        query(&session, "DELETE FROM history.video").await;
        // What is left says that there was something: a fallback store must not serve it again.
        assert_eq!(column(&query(&session, count).await, "n"), [json!(1)]);
        assert_eq!(query(&session, "SELECT id FROM video").await, Vec::<Value>::new());
    });
}

pub const RAW: &str = "[[feature]]\nkey = \"video\"\nid_columns = [\"id\"]\n";

pub fn insert(id: &str) -> String {
    format!(
        "INSERT INTO video SELECT '{id}' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field"
    )
}

#[test]
fn a_parquet_file_that_a_crash_left_behind_is_not_read() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        query(&session, &format!("{} UNION ALL SELECT 'b', named_struct('default', 'v')", insert("a"))).await;
        let folder = project.table("video");
        let file = folder.join("00000000000000000001.parquet");
        let before = fs::read(&file).unwrap();
        query(&session, "DELETE FROM history.video WHERE id = 'a'").await;
        assert!(!file.exists() && folder.join("00000000000000000002.parquet").exists());
        // As if the delete had stopped before it removed the old file.
        fs::write(&file, before).unwrap();
        let read = "SELECT id FROM history.video";
        assert_eq!(column(&query(&project.session().await, read).await, "id"), [json!("b")]);
        // The next write tidies up, and its number is its own.
        query(&session, &insert("c")).await;
        assert!(!file.exists());
        let mut ids = column(&query(&session, read).await, "id");
        ids.sort_by_key(Value::to_string);
        assert_eq!(ids, [json!("b"), json!("c")]);
        // A file without rows keeps its number.
        query(&session, "DELETE FROM history.video").await;
        query(&session, &insert("d")).await;
        assert_eq!(column(&query(&project.session().await, read).await, "id"), [json!("d")]);
        assert!(folder.join("00000000000000000005.parquet").exists());
    });
}

#[test]
fn a_delta_delete_is_one_commit_that_leaves_no_stray_file() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        for id in ["a", "b", "c"] {
            query(&session, &insert(id)).await;
        }
        query(&session, "DELETE FROM history.video WHERE id IN ('a', 'c')").await;
        let log = crate::support::log(&project.table("video"));
        assert_eq!(log.len(), 4);
        assert_eq!(crate::support::actions(&log[3], "remove").len(), 2);
        assert_eq!(column(&query(&session, "SELECT id FROM history.video").await, "id"), [json!("b")]);
        query(&session, &insert("d")).await;
        let count = "SELECT count(*) AS n FROM history.video";
        assert_eq!(column(&query(&session, count).await, "n"), [json!(2)]);
    });
}
