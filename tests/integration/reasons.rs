//! Why a sample is in an increment, when definitions have changed: the older ones are in the store's record, or not.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::prelude::SessionContext;
use datafusion_metaxy::config::VersioningEngine;
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, Origin};
use datafusion_metaxy::store::{Append, MemoryStore, MetadataStore, Store, WriteOptions};
use datafusion_metaxy::update::IncrementOptions;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::{rows, run};

fn settings() -> HashSettings {
    HashSettings::new(HashAlgorithm::XxHash64, 16).unwrap()
}

fn video(picture: &str) -> Value {
    json!({"key": "video", "id_columns": ["id"], "fields": ["sound", {"key": "picture", "code_version": picture}]})
}

/// The feature `video/text` with these fields.
fn text(fields: &Value) -> Value {
    json!({"key": "video/text", "id_columns": ["id"], "deps": ["video"], "fields": fields})
}

fn of(parent_fields: &[&str]) -> Value {
    json!([{"feature": "video", "fields": parent_fields}])
}

/// A store over these tables, with the features as they are defined now.
fn store(tables: &Arc<MemoryStore>, specs: &[Value]) -> Arc<Store> {
    let definitions = specs.iter().map(|spec| {
        FeatureDefinition::declared(FeatureSpec::from_value(spec).unwrap(), "demo", Origin::Session)
    });
    let store = Store::new("dev", Arc::clone(tables) as _, settings(), definitions.collect());
    Arc::new(store.with_project("demo").unwrap())
}

/// Writes videos `a`, `b` and `c` with these versions of sound and picture.
async fn write_videos(store: &Arc<Store>, versions: [(&str, &str); 3]) {
    let values: Vec<String> = ["a", "b", "c"]
        .iter()
        .zip(versions)
        .map(|(id, (sound, picture))| {
            format!("('{id}', named_struct('sound', '{sound}', 'picture', '{picture}'))")
        })
        .collect();
    let sql = format!(
        "SELECT column1 AS id, column2 AS metaxy_provenance_by_field FROM (VALUES {})",
        values.join(", ")
    );
    let frame = SessionContext::new().sql(&sql).await.unwrap();
    store.write("video", frame, &WriteOptions::default()).await.unwrap();
}

async fn compute(store: &Arc<Store>) {
    let context = SessionContext::new();
    let due = store.resolve_update(&context, "video/text", &IncrementOptions::default()).await.unwrap();
    store.write("video/text", due, &WriteOptions::default()).await.unwrap();
}

/// Records the store's definition of `video/text`, as a push does.
async fn record(tables: &MemoryStore, store: &Arc<Store>) {
    let feature = FeatureKey::parse("video/text").unwrap();
    let version = store.graph().await.unwrap().feature_version(&feature).unwrap();
    let spec = store.feature("video/text").await.unwrap().spec.to_json();
    let column = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let time = |time: Option<i64>| Arc::new(TimestampMicrosecondArray::from(vec![time])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("project", column("demo")),
        ("feature_key", column("video/text")),
        ("metaxy_feature_version", column(&version)),
        ("metaxy_definition_version", column("d")),
        ("recorded_at", time(Some(1))),
        ("feature_spec", column(&spec.to_string())),
        ("feature_schema", column("{}")),
        ("feature_class_path", column("demo.Text")),
        ("metaxy_project_version", column("p")),
        ("tags", column("{}")),
        ("deleted_at", time(None)),
    ])
    .unwrap();
    let append = Append {
        schema: batch.schema(),
        rows: futures::stream::iter([Ok(batch)]).boxed(),
        settings: settings(),
        id_columns: Vec::new(),
        write_key: None,
        time: datafusion_metaxy::store::WriteTime::Updated,
        only_at: None,
    };
    tables.append(&FeatureKey::parse("metaxy-system/feature_versions").unwrap(), append).await.unwrap();
}

/// Per sample its class and the reason, in which the older version is called V; both executors say the same.
async fn reasons(store: &Arc<Store>, older: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for engine in [VersioningEngine::Native, VersioningEngine::Memory] {
        let options = IncrementOptions {
            explain: true,
            include_pending: true,
            engine: engine.into(),
            ..IncrementOptions::default()
        };
        let frame = store.resolve_update(&SessionContext::new(), "video/text", &options).await.unwrap();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().replace(older, "V");
        let mut found: Vec<String> = rows(frame)
            .await
            .unwrap()
            .iter()
            .map(|row| ["id", "metaxy_increment", "metaxy_reason"].map(|name| text(row, name)).join(" "))
            .collect();
        found.sort();
        answers.push(found);
    }
    assert_eq!(answers[0], answers[1]);
    answers.remove(0)
}

async fn version(store: &Arc<Store>) -> String {
    store.graph().await.unwrap().feature_version(&FeatureKey::parse("video/text").unwrap()).unwrap()
}

/// Fields: `words` of the sound, `scenes` of sound and picture. Then the code of `words` changes, and with it the data of
/// some videos.
async fn code_changes(recorded: bool) -> Vec<String> {
    let tables = Arc::new(MemoryStore::new());
    let fields = |code: &str| {
        json!([
            {"key": "words", "code_version": code, "deps": of(&["sound"])},
            {"key": "scenes", "deps": of(&["sound", "picture"])}
        ])
    };
    let before = store(&tables, &[video("1"), text(&fields("1"))]);
    write_videos(&before, [("s1", "p1"), ("s1", "p1"), ("s1", "p1")]).await;
    compute(&before).await;
    if recorded {
        record(&tables, &before).await;
    }
    let after = store(&tables, &[video("1"), text(&fields("2"))]);
    write_videos(&after, [("s1", "p1"), ("s1", "p2"), ("s2", "p1")]).await;
    reasons(&after, &version(&before).await).await
}

#[test]
fn code_that_changed_is_told_from_data() {
    run(async {
        let head = "the definition changed since feature version V";
        let code = r#"words: code changed from "1" to "2""#;
        assert_eq!(
            code_changes(true).await,
            [
                format!("a new {head}; {code}"),
                format!(
                    "b new {head}; {code}; scenes: data of one or more of video.picture, video.sound changed"
                ),
                format!(
                    "c new {head}; {code}; scenes: data of one or more of video.picture, video.sound changed"
                ),
            ]
        );
        // The same scenes prove the same sound, so that the code of the words must be another.
        assert_eq!(
            code_changes(false).await,
            [
                format!("a new {head}; words: code changed"),
                format!("b new {head}; words: code or data changed; scenes: code or data changed"),
                format!("c new {head}; words: code or data changed; scenes: code or data changed"),
            ]
        );
    });
}

/// The spec stays, but what is computed from the picture has another version since the picture's code changed.
#[test]
fn a_parent_whose_definition_changed() {
    run(async {
        let tables = Arc::new(MemoryStore::new());
        let fields = json!([
            {"key": "words", "deps": of(&["sound"])},
            {"key": "scenes", "deps": of(&["picture"])}
        ]);
        let before = store(&tables, &[video("1"), text(&fields)]);
        write_videos(&before, [("s1", "p1"), ("s1", "p1"), ("s1", "p1")]).await;
        compute(&before).await;
        record(&tables, &before).await;
        let after = store(&tables, &[video("2"), text(&fields)]);
        assert_eq!(reasons(&after, "none").await, [""; 0]);
        write_videos(&after, [("s1", "p1"), ("s1", "p2"), ("s2", "p1")]).await;
        let head = "the definition of a parent changed since feature version V";
        assert_eq!(
            reasons(&after, &version(&before).await).await,
            [
                format!("a new {head}; every field has the provenance that it had"),
                format!("b new {head}; scenes: data of video.picture changed"),
                format!("c new {head}; words: data of video.sound changed"),
            ]
        );
    });
}

/// Fields come and go, and are computed from others.
#[test]
fn fields_that_changed() {
    run(async {
        let tables = Arc::new(MemoryStore::new());
        let before = store(
            &tables,
            &[
                video("1"),
                text(
                    &json!([{"key": "words", "deps": of(&["sound"])}, {"key": "mood", "deps": of(&["sound"])}]),
                ),
            ],
        );
        write_videos(&before, [("s1", "p1"), ("s1", "p1"), ("s1", "p1")]).await;
        compute(&before).await;
        record(&tables, &before).await;
        let after = store(
            &tables,
            &[
                video("1"),
                text(
                    &json!([{"key": "words", "deps": of(&["sound", "picture"])}, {"key": "scenes", "deps": of(&["picture"])}]),
                ),
            ],
        );
        let reason = "the definition changed since feature version V; words: what it is computed from changed; \
                      scenes: a new field; mood: no longer a field";
        let expected = ["a", "b", "c"].map(|id| format!("{id} new {reason}"));
        assert_eq!(reasons(&after, &version(&before).await).await, expected);
    });
}

/// Only a part of a parent changes that the feature is not made of: its samples wait.
#[test]
fn samples_that_wait_say_for_what() {
    run(async {
        let tables = Arc::new(MemoryStore::new());
        let fields = json!([{"key": "words", "deps": of(&["sound"])}]);
        let before = store(&tables, &[video("1"), text(&fields)]);
        write_videos(&before, [("s1", "p1"), ("s1", "p1"), ("s1", "p1")]).await;
        compute(&before).await;
        let after = store(&tables, &[video("2"), text(&fields)]);
        let expected = ["a", "b", "c"].map(|id| format!("{id} pending video is not recomputed yet"));
        assert_eq!(reasons(&after, "none").await, expected);
        write_videos(&after, [("s1", "p2"), ("s2", "p2"), ("s1", "p2")]).await;
        assert_eq!(reasons(&after, "none").await, ["b stale words: data of video.sound changed"]);
    });
}
