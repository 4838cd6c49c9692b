//! Copies between stores, and rebases to another feature version.

use std::sync::{Arc, Mutex};

use datafusion::logical_expr::{col, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::config::{StoreConfig, StoreKind};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, FieldSpec, Origin};
use datafusion_metaxy::store::{
    CopyOptions, DeleteOptions, DeltaStore, FeatureVersions, MemoryStore, MetadataStore, ParquetStore,
    ReadOptions, Store, WriteOptions,
};
use datafusion_metaxy::update::IncrementOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{column, multiset, one_line, rows, run};

fn settings() -> HashSettings {
    HashSettings::new(HashAlgorithm::XxHash32, 8).unwrap()
}

/// A root and a child whose field has this code version.
fn features(code_version: &str) -> Vec<FeatureDefinition> {
    let root = FeatureSpec::builder("video").id_columns(["id"]).build().unwrap();
    let audio = FieldSpec::new("audio").code_version(code_version);
    let child = FeatureSpec::builder("video/crop")
        .id_columns(["id"])
        .dep("video")
        .field(audio)
        .field("frames")
        .build()
        .unwrap();
    [root, child].map(|spec| FeatureDefinition::declared(spec, "test", Origin::Session)).into()
}

fn store(name: &str, backend: &Arc<dyn MetadataStore>, code_version: &str) -> Arc<Store> {
    let store = Store::new(name, Arc::clone(backend), settings(), features(code_version));
    Arc::new(store.with_project("test").unwrap())
}

fn backends(folder: &TempDir) -> Vec<Arc<dyn MetadataStore>> {
    let config = |kind: StoreKind, name: &str| {
        let root_path = Some(folder.path().join(name).display().to_string());
        StoreConfig { root_path, ..StoreConfig::new("s", kind) }
    };
    let delta = DeltaStore::try_new(&config(StoreKind::Delta, "delta")).unwrap();
    let parquet = ParquetStore::try_new(&config(StoreKind::Parquet, "parquet")).unwrap();
    vec![Arc::new(MemoryStore::new()), Arc::new(delta), Arc::new(parquet)]
}

async fn write(store: &Arc<Store>, ids: &[&str], version: &str, note: i64) {
    let values: Vec<String> = ids.iter().map(|id| format!("('{id}')")).collect();
    let sql = format!(
        "SELECT id, {note} AS note, named_struct('default', '{version}') AS metaxy_provenance_by_field \
         FROM (VALUES {}) AS t (id)",
        values.join(", ")
    );
    let frame = SessionContext::new().sql(&sql).await.unwrap();
    store.write("video", frame, &WriteOptions::default()).await.unwrap();
}

async fn resolve_and_write(store: &Arc<Store>) -> u64 {
    let context = SessionContext::new();
    let increment = store.resolve_update(&context, "video/crop", &IncrementOptions::default()).await.unwrap();
    let increment = increment.filter(col("metaxy_increment").not_eq(lit("orphaned"))).unwrap();
    store.write("video/crop", increment, &WriteOptions::default()).await.unwrap().rows
}

async fn history(store: &Arc<Store>, feature: &str) -> Vec<Value> {
    let options = ReadOptions { feature_version: FeatureVersions::All, sample_history: true, deleted: true };
    rows(store.read(&SessionContext::new(), feature, &options).await.unwrap()).await.unwrap()
}

#[test]
fn nothing_of_a_history_is_lost_and_nothing_is_added_twice() {
    run(async {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for from in backends(&here) {
            let old = store("from", &from, "1");
            write(&old, &["a", "b", "c"], "v1", 1).await;
            resolve_and_write(&old).await;
            write(&old, &["a"], "v2", 2).await;
            let source = store("from", &from, "2");
            resolve_and_write(&source).await;
            let context = SessionContext::new();
            let delete = DeleteOptions::default();
            source.delete(&context, "video", col("id").eq(lit("b")), &delete).await.unwrap();
            for to in backends(&there) {
                let place = format!("{} to {}", from.kind(), to.kind());
                let target = store("to", &to, "2");
                let seen = Arc::new(Mutex::new(Vec::new()));
                let told = Arc::clone(&seen);
                let options = CopyOptions {
                    progress: Some(Arc::new(move |progress| told.lock().unwrap().push(progress.clone()))),
                    ..CopyOptions::default()
                };
                // One feature first, as a copy that was interrupted leaves it.
                let copied =
                    target.copy_from(&source, &context, Some(&["video/crop"]), &options).await.unwrap();
                assert_eq!(copied.len(), 1, "{place}");
                let first = copied[0].rows;
                assert_eq!(first as usize, history(&source, "video/crop").await.len(), "{place}");
                let copied = target.copy_from(&source, &context, None, &options).await.unwrap();
                let counts: Vec<(String, u64)> =
                    copied.iter().map(|c| (c.feature.to_string(), c.rows)).collect();
                // Dependents first; what was there is not copied again.
                assert_eq!(counts, [("video/crop".to_owned(), 0), ("video".to_owned(), 5)], "{place}");
                assert_eq!(seen.lock().unwrap().iter().map(|p| p.rows).max(), Some(first.max(5)), "{place}");
                for feature in ["video", "video/crop"] {
                    let same = multiset(history(&target, feature).await);
                    assert_eq!(same, multiset(history(&source, feature).await), "{place}: {feature}");
                }
                let increment = |store: Arc<Store>| async move {
                    let options = IncrementOptions::default();
                    let frame =
                        store.resolve_update(&SessionContext::new(), "video/crop", &options).await.unwrap();
                    multiset(rows(frame).await.unwrap())
                };
                assert_eq!(
                    increment(Arc::clone(&target)).await,
                    increment(Arc::clone(&source)).await,
                    "{place}"
                );
                let again = target.copy_from(&source, &context, None, &options).await.unwrap();
                assert!(again.iter().all(|copied| copied.rows == 0), "{place}: {again:?}");
                // A write here goes on from there; what comes later is copied, and covers nothing up.
                write(&target, &["b"], "v9", 9).await;
                assert_eq!(ids(&target).await, ["a", "b", "c"], "{place}");
                target.copy_from(&source, &context, None, &options).await.unwrap();
                assert_eq!(ids(&target).await, ["a", "b", "c"], "{place}");
                target.drop_rows(&context, "video", &Default::default()).await.unwrap();
                target.drop_rows(&context, "video/crop", &Default::default()).await.unwrap();
            }
            drop(source);
        }
    });
}

#[test]
fn copies_at_the_same_time_add_rows_once() {
    run(async {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let from = backends(&here).remove(0);
        let source = store("from", &from, "1");
        write(&source, &["a", "b", "c"], "v1", 1).await;
        write(&source, &["a"], "v2", 2).await;
        for to in backends(&there) {
            let target = store("to", &to, "1");
            // Newer than anything that is copied.
            write(&target, &["x"], "v1", 1).await;
            let copies: Vec<_> = (0..4)
                .map(|_| {
                    let (target, source) = (Arc::clone(&target), Arc::clone(&source));
                    tokio::spawn(async move {
                        let options = CopyOptions::default();
                        let copied =
                            target.copy_from(&source, &SessionContext::new(), None, &options).await.unwrap();
                        copied.iter().map(|copied| copied.rows).sum::<u64>()
                    })
                })
                .collect();
            let mut rows = 0;
            for copy in copies {
                rows += copy.await.unwrap();
            }
            assert_eq!((rows, history(&target, "video").await.len()), (4, 5), "{}", to.kind());
        }
    });
}

async fn ids(store: &Arc<Store>) -> Vec<String> {
    let frame = store.read(&SessionContext::new(), "video", &ReadOptions::default()).await.unwrap();
    let mut ids: Vec<String> =
        column(&rows(frame).await.unwrap(), "id").iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn parts_of_a_copy() {
    run(async {
        let memory = || Arc::new(MemoryStore::new()) as Arc<dyn MetadataStore>;
        let source = store("from", &memory(), "1");
        write(&source, &["a", "b"], "v1", 1).await;
        write(&source, &["a"], "v2", 2).await;
        let context = SessionContext::new();
        let key = FeatureKey::parse("video").unwrap();
        let latest = CopyOptions {
            sample_history: false,
            filters: [(key, vec![col("id").eq(lit("a"))])].into(),
            global_filters: vec![col("note").gt(lit(0))],
            ..CopyOptions::default()
        };
        let target = store("to", &memory(), "1");
        let copied = target.copy_from(&source, &context, None, &latest).await.unwrap();
        assert_eq!((copied.len(), copied[0].rows), (1, 1));
        assert_eq!(column(&history(&target, "video").await, "note"), [json!(2)]);

        // What can't be copied, each before anything is.
        let fails = async |target: &Arc<Store>, features: Option<&[&str]>, part: &str| {
            let error =
                target.copy_from(&source, &context, features, &CopyOptions::default()).await.unwrap_err();
            assert!(one_line(&error).contains(part), "{error}");
        };
        let target = store("to", &memory(), "1");
        fails(&target, Some(&["video/crop", "video"]), "video/crop has no data in store from").await;
        fails(&target, Some(&["video/nope"]), "video/nope").await;
        let other = HashSettings::new(HashAlgorithm::Md5, 8).unwrap();
        let other = Store::new("to", memory(), other, features("1")).with_project("test").unwrap();
        fails(&Arc::new(other), None, "hash_algorithm = \"md5\"").await;
        let theirs = Store::new("to", memory(), settings(), Vec::new()).with_project("theirs").unwrap();
        fails(&Arc::new(theirs), None, "Cannot write to feature").await;
    });
}

#[test]
fn a_rebase_keeps_what_was_computed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for backend in backends(&folder) {
            let old = store("dev", &backend, "1");
            write(&old, &["a", "b", "c"], "v1", 1).await;
            let context = SessionContext::new();
            // `b` has a data version of its own in one field.
            let increment =
                old.resolve_update(&context, "video/crop", &IncrementOptions::default()).await.unwrap();
            // DataFusion 55 takes names of different inputs for the same when it moves `column['member']`.
            let mut config = SessionConfig::new();
            config.options_mut().optimizer.enable_leaf_expression_pushdown = false;
            let context = SessionContext::new_with_config(config);
            context.register_table("increment", increment.into_view()).unwrap();
            let computed = context
                .sql(
                    "SELECT id, 'face of ' || id AS face, metaxy_provenance_by_field, named_struct( \
                       'audio', CASE id WHEN 'b' THEN 'mine' ELSE metaxy_provenance_by_field['audio'] END, \
                       'frames', metaxy_provenance_by_field['frames']) AS metaxy_data_version_by_field \
                     FROM increment",
                )
                .await
                .unwrap();
            old.write("video/crop", computed, &WriteOptions::default()).await.unwrap();
            let version = |store: Arc<Store>| async move {
                store
                    .graph()
                    .await
                    .unwrap()
                    .feature_version(&FeatureKey::parse("video/crop").unwrap())
                    .unwrap()
            };
            let old_version = version(Arc::clone(&old)).await;

            let new = store("dev", &backend, "2");
            let new_version = version(Arc::clone(&new)).await;
            assert_ne!(old_version, new_version);
            // `c` was computed anew meanwhile, and `a` has lost its parent.
            let delete = DeleteOptions::default();
            new.delete(&context, "video", col("id").eq(lit("a")), &delete).await.unwrap();
            let fresh =
                new.resolve_update(&context, "video/crop", &IncrementOptions::default()).await.unwrap();
            let fresh = fresh.filter(col("id").eq(lit("c"))).unwrap();
            new.write("video/crop", fresh, &WriteOptions::default()).await.unwrap();

            let from = ReadOptions {
                feature_version: FeatureVersions::Exactly(old_version),
                ..ReadOptions::default()
            };
            let existing = async || new.read(&context, "video/crop", &from).await.unwrap();
            let preview = new.rebased(&context, "video/crop", existing().await, None).await.unwrap();
            assert_eq!(column(&rows(preview).await.unwrap(), "id"), [json!("b")], "{}", backend.kind());
            let options = WriteOptions::default();
            let report =
                new.rebase(&context, "video/crop", existing().await, Some(&new_version), &options).await;
            assert_eq!(report.unwrap().rows, 1);
            let again = new.rebase(&context, "video/crop", existing().await, None, &options).await;
            assert_eq!(again.unwrap().rows, 0, "nothing twice");

            let left =
                new.resolve_update(&context, "video/crop", &IncrementOptions::default()).await.unwrap();
            assert_eq!(rows(left).await.unwrap(), Vec::<Value>::new());
            let frame = new.read(&context, "video/crop", &ReadOptions::default()).await.unwrap();
            let frame = frame.filter(col("id").eq(lit("b"))).unwrap();
            let row = rows(frame).await.unwrap().remove(0);
            assert_eq!(row["face"], json!("face of b"));
            let (provenance, versions) =
                (&row["metaxy_provenance_by_field"], &row["metaxy_data_version_by_field"]);
            assert_eq!(versions["audio"], json!("mine"));
            assert_eq!(versions["frames"], provenance["frames"]);

            let roots = async |feature: &str, to: Option<&str>| {
                let rows = new.read(&context, "video", &ReadOptions::default()).await.unwrap();
                one_line(&new.rebase(&context, feature, rows, to, &options).await.unwrap_err())
            };
            assert!(roots("video", None).await.contains("a root feature can't be rebased"));
            assert!(roots("video/crop", Some("nonsense")).await.contains("nonsense"));
        }
    });
}

/// The context is the caller's, who need not know what DataFusion's optimizer makes of struct members.
#[test]
fn a_rebase_works_in_any_session() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for backend in backends(&folder) {
            let old = store("dev", &backend, "1");
            write(&old, &["a", "b"], "v1", 1).await;
            resolve_and_write(&old).await;
            let new = store("dev", &backend, "2");
            let context = SessionContext::new();
            let key = FeatureKey::parse("video/crop").unwrap();
            let version = old.graph().await.unwrap().feature_version(&key).unwrap();
            let from =
                ReadOptions { feature_version: FeatureVersions::Exactly(version), ..ReadOptions::default() };
            let rows_of = async || new.read(&context, "video/crop", &from).await.unwrap();
            let preview = new.rebased(&context, "video/crop", rows_of().await, None).await.unwrap();
            assert_eq!(rows(preview).await.unwrap().len(), 2, "{}", backend.kind());
            let options = WriteOptions::default();
            let report = new.rebase(&context, "video/crop", rows_of().await, None, &options).await.unwrap();
            assert_eq!(report.rows, 2, "{}", backend.kind());
        }
    });
}

/// Rows that were never stored.
#[test]
fn rows_of_the_callers_are_rebased_in_any_session() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for backend in backends(&folder) {
            let store = store("dev", &backend, "1");
            write(&store, &["a", "b"], "v1", 1).await;
            let context = SessionContext::new();
            let given = context
                .sql("SELECT 'a' AS id, named_struct('audio', 'x', 'frames', 'y') AS metaxy_provenance_by_field")
                .await
                .unwrap();
            let options = WriteOptions::default();
            let report = store.rebase(&context, "video/crop", given, None, &options).await.unwrap();
            assert_eq!(report.rows, 1, "{}", backend.kind());
        }
    });
}
