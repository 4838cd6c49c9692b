//! Writing several features in one call, and rows that are collected before they are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::prelude::SessionContext;
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, Origin};
use datafusion_metaxy::store::{
    Append, BufferOptions, FeatureVersions, MemoryStore, MetadataStore, ReadOptions, Store, StoredTable,
    WriteOptions,
};
use serde_json::json;

use crate::support::{column, one_line, rows, run};

/// A store in memory some of whose commits fail: before they are made, or after.
#[derive(Debug, Default)]
struct Unreliable {
    store: MemoryStore,
    fail_before: AtomicUsize,
    fail_after: AtomicUsize,
}

fn counts_down(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl MetadataStore for Unreliable {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn format(&self) -> &'static str {
        "an unreliable store"
    }

    fn location(&self) -> String {
        "memory".into()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        self.store.open(feature).await
    }

    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64> {
        let lost = |reason: &str| MetaxyError::Store { store: "dev".into(), reason: reason.into() };
        if counts_down(&self.fail_before) {
            return Err(lost("no connection"));
        }
        let written = self.store.append(feature, rows).await?;
        if counts_down(&self.fail_after) { Err(lost("connection lost")) } else { Ok(written) }
    }
}

fn store(backend: &Arc<Unreliable>) -> Arc<Store> {
    let root = FeatureSpec::builder("video").id_columns(["id"]).build().unwrap();
    let child = FeatureSpec::builder("video/crop").id_columns(["id"]).dep("video").build().unwrap();
    let features = [root, child].map(|spec| FeatureDefinition::declared(spec, "test", Origin::Session));
    let settings = HashSettings::new(HashAlgorithm::XxHash32, 8).unwrap();
    let backend = Arc::clone(backend) as Arc<dyn MetadataStore>;
    Arc::new(Store::new("dev", backend, settings, features.into()).with_project("test").unwrap())
}

fn batch(ids: &[&str], version: Option<&str>) -> RecordBatch {
    let versions: ArrayRef = Arc::new(StringArray::from(vec![version; ids.len()]));
    let field = Arc::new(Field::new("default", DataType::Utf8, true));
    let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
    let versions: ArrayRef = Arc::new(StructArray::from(vec![(field, versions)]));
    RecordBatch::try_from_iter([("id", ids), ("metaxy_provenance_by_field", versions)]).unwrap()
}

async fn ids(store: &Arc<Store>, feature: &str, options: &ReadOptions) -> Vec<String> {
    let Ok(frame) = store.read(&SessionContext::new(), feature, options).await else { return Vec::new() };
    let mut ids: Vec<String> =
        column(&rows(frame).await.unwrap(), "id").iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn history() -> ReadOptions {
    ReadOptions { feature_version: FeatureVersions::All, sample_history: true, deleted: true }
}

fn never() -> BufferOptions {
    BufferOptions { rows: 1000, age: Duration::from_hours(1), write: WriteOptions::default() }
}

#[test]
fn rows_are_written_by_number_by_age_and_at_the_end() {
    run(async {
        let store = store(&Arc::default());
        let writer = store.buffered(BufferOptions { rows: 3, ..never() });
        writer.put("video", batch(&["a"], Some("v"))).await.unwrap();
        writer.put("video", batch(&["b"], Some("v"))).await.unwrap();
        assert_eq!((writer.waiting().await, ids(&store, "video", &history()).await.len()), (2, 0));
        writer.put("video", batch(&["c", "d"], Some("v"))).await.unwrap();
        assert_eq!((writer.waiting().await, ids(&store, "video", &history()).await.len()), (0, 4));
        writer.put("video/crop", batch(&["a"], Some("v"))).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(ids(&store, "video/crop", &history()).await, ["a"]);

        let writer = store.buffered(BufferOptions { age: Duration::from_millis(50), ..never() });
        writer.put("video", batch(&["e"], Some("v"))).await.unwrap();
        for _ in 0..200 {
            if writer.waiting().await == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(ids(&store, "video", &ReadOptions::default()).await, ["a", "b", "c", "d", "e"]);
    });
}

#[test]
fn what_breaks_a_rule_is_refused_at_once_and_the_rest_goes_on() {
    run(async {
        let store = store(&Arc::default());
        let writer = store.buffered(never());
        writer.put("video", batch(&["a"], Some("v"))).await.unwrap();
        for (feature, rows, part) in [
            ("video", batch(&["b"], None), "NULL in metaxy_provenance_by_field.default"),
            ("video", batch(&["b", "b"], Some("v")), "an id that another row of this write has"),
            ("nope", batch(&["b"], Some("v")), "nope"),
        ] {
            let error = writer.put(feature, rows).await.unwrap_err();
            assert!(one_line(&error).contains(part), "{error}");
        }
        assert_eq!(writer.waiting().await, 1);
        // The same sample again is a later write of it, not an error.
        writer.put("video", batch(&["a"], Some("w"))).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(ids(&store, "video", &history()).await, ["a", "a"]);
        let frame = store.read(&SessionContext::new(), "video", &ReadOptions::default()).await.unwrap();
        let latest = rows(frame).await.unwrap().remove(0);
        assert_eq!(latest["metaxy_provenance_by_field"], json!({"default": "w"}));
    });
}

#[test]
fn rows_that_could_not_be_written_stay() {
    run(async {
        let backend = Arc::new(Unreliable::default());
        let store = store(&backend);
        let writer = store.buffered(BufferOptions { rows: 2, ..never() });
        backend.fail_before.store(2, Ordering::SeqCst);
        writer.put("video", batch(&["a"], Some("v"))).await.unwrap();
        let error = writer.put("video", batch(&["b"], Some("v"))).await.unwrap_err();
        assert!(one_line(&error).contains("2 row(s) could not be written"), "{error}");
        assert!(error.to_string().contains("no connection"), "{error}");
        assert!(matches!(error, MetaxyError::Waiting { rows: 2, .. }), "{error:?}");
        assert_eq!(writer.waiting().await, 2);
        // A batch that breaks a rule is not among them, and says so.
        let refused = writer.put("video", batch(&["b"], None)).await.unwrap_err();
        assert!(matches!(refused, MetaxyError::Write { .. }), "{refused:?}");
        assert!(matches!(writer.flush().await, Err(MetaxyError::Waiting { rows: 2, .. })));
        writer.flush().await.unwrap();
        // The commit got through, and its answer didn't: the retry does not make it twice.
        backend.fail_after.store(1, Ordering::SeqCst);
        assert!(writer.put("video", batch(&["c", "d"], Some("v"))).await.is_err());
        writer.put("video", batch(&["e", "f"], Some("v"))).await.unwrap();
        assert_eq!(ids(&store, "video", &history()).await, ["a", "b", "c", "d", "e", "f"]);

        // A writer that ends gives back what it could not write.
        backend.fail_before.store(1, Ordering::SeqCst);
        writer.put("video", batch(&["g"], Some("v"))).await.unwrap();
        let unwritten = writer.close().await.unwrap_err();
        assert!(unwritten.error.to_string().contains("no connection"));
        let [left] = &unwritten.rows[..] else { panic!("{unwritten:?}") };
        assert_eq!((left.feature.to_string().as_str(), left.batches[0].num_rows()), ("video", 1));
        let options = WriteOptions { write_key: Some(left.write_key.clone()), ..WriteOptions::default() };
        for expected in [1, 0] {
            let frame = SessionContext::new().read_batches(left.batches.clone()).unwrap();
            assert_eq!(store.write("video", frame, &options).await.unwrap().rows, expected);
        }
    });
}

#[test]
fn an_error_of_the_background_comes_back() {
    run(async {
        let backend = Arc::new(Unreliable::default());
        let store = store(&backend);
        let writer = store.buffered(BufferOptions { age: Duration::from_millis(20), ..never() });
        backend.fail_before.store(usize::MAX, Ordering::SeqCst);
        writer.put("video", batch(&["a"], Some("v"))).await.unwrap();
        let mut heard = false;
        for i in 0..200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Err(error) = writer.put("video/crop", batch(&[&format!("x{i}")], Some("v"))).await {
                assert!(one_line(&error).contains("no connection"), "{error}");
                heard = true;
                break;
            }
        }
        assert!(heard);
        backend.fail_before.store(0, Ordering::SeqCst);
        writer.close().await.unwrap();
        assert_eq!(ids(&store, "video", &history()).await, ["a"]);
    });
}

#[test]
fn a_parent_does_not_overtake_rows_of_its_dependents() {
    run(async {
        let store = store(&Arc::default());
        let writer = store.buffered(BufferOptions { rows: 2, ..never() });
        writer.put("video/crop", batch(&["a"], Some("v"))).await.unwrap();
        writer.put("video", batch(&["a"], Some("v"))).await.unwrap();
        assert_eq!(writer.waiting().await, 2);
        // Only the parent has enough rows; what waits of the child is written with it, and first.
        writer.put("video", batch(&["b"], Some("v"))).await.unwrap();
        assert_eq!(writer.waiting().await, 0);
        assert_eq!(ids(&store, "video/crop", &history()).await, ["a"]);
        // The other way round nothing has to be.
        writer.put("video", batch(&["c"], Some("v"))).await.unwrap();
        writer.put("video/crop", batch(&["b", "c"], Some("v"))).await.unwrap();
        assert_eq!(writer.waiting().await, 1);
        writer.close().await.unwrap();
    });
}

#[test]
fn dependents_are_written_before_their_parents() {
    run(async {
        let backend = Arc::new(Unreliable::default());
        let store = store(&backend);
        let context = SessionContext::new();
        let frame = |ids: &[&str]| context.read_batch(batch(ids, Some("v"))).unwrap();
        backend.fail_after.store(1, Ordering::SeqCst);
        let options = WriteOptions { write_key: Some("call".into()), ..WriteOptions::default() };
        let error =
            store.write_all(vec![("video", frame(&["a"])), ("video/crop", frame(&["a"]))], &options).await;
        assert!(error.is_err());
        // The child was first, and its commit is there although the call failed.
        assert_eq!(ids(&store, "video", &history()).await, [""; 0]);
        assert_eq!(ids(&store, "video/crop", &history()).await, ["a"]);
        let reports = store
            .write_all(vec![("video", frame(&["a"])), ("video/crop", frame(&["a"]))], &options)
            .await
            .unwrap();
        let written: Vec<(String, u64)> = reports.iter().map(|(key, r)| (key.to_string(), r.rows)).collect();
        assert_eq!(written, [("video/crop".to_owned(), 0), ("video".to_owned(), 1)]);
        let twice = store.write_all(vec![("video", frame(&["b"])), ("video", frame(&["c"]))], &options).await;
        assert!(one_line(&twice.unwrap_err()).contains("given twice"));
    });
}
