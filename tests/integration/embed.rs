//! Stores in somebody else's DataFusion session, and stores without SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::MemoryCatalogProvider;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::config::{StoreConfig, StoreKind};
use datafusion_metaxy::error::MetaxyError;
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{
    FeatureDefinition, FeatureDep, FeatureKey, FeatureSpec, FieldSpec, Lineage, Origin,
};
use datafusion_metaxy::session::{Extension, MetaxySession, SessionContextExt, SessionStateBuilderExt};
use datafusion_metaxy::store::{DeltaStore, MemoryStore, MetadataStore, ReadOptions, Store, WriteOptions};
use datafusion_metaxy::update::IncrementOptions;
use serde_json::{Value, json};

use crate::support::{Project, column, one_line, only, rows, run};

const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]

[[feature]]
key = "video/crop"
id_columns = ["video_id"]
deps = ["video/raw"]
"#;

async fn sql(context: &SessionContext, sql: &str) -> Result<Vec<Value>, MetaxyError> {
    rows(context.sql(sql).await?).await
}

async fn write_raw(context: &SessionContext, store: &Arc<Store>, ids: &[&str]) {
    let values: Vec<String> = ids.iter().map(|id| format!("('{id}', '{id}.mp4')")).collect();
    let frame = context
        .sql(&format!(
            "SELECT video_id, path, named_struct('default', path) AS metaxy_provenance_by_field \
             FROM (VALUES {}) AS t(video_id, path)",
            values.join(", ")
        ))
        .await
        .unwrap();
    let report = store.write("video/raw", frame, &WriteOptions::default()).await.unwrap();
    assert_eq!(report.rows, ids.len() as u64);
}

/// A host with settings of its own, a project whose `video/raw` has rows, and its stores attached.
async fn host() -> (Project, SessionContext, Arc<Extension>) {
    let project = Project::new(FEATURES);
    let extension = Extension::from_config(&project.config()).unwrap();
    let host =
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3).with_batch_size(123));
    write_raw(&host, &extension.store("dev").unwrap(), &["v1", "v2"]).await;
    host.attach_metaxy(&extension).await.unwrap();
    (project, host, extension)
}

fn options(context: &SessionContext) -> BTreeMap<String, Option<String>> {
    let config = context.copied_config();
    config.options().entries().into_iter().map(|entry| (entry.key, entry.value)).collect()
}

#[test]
fn attaching_changes_nothing_of_the_host() {
    run(async {
        let project = Project::new(FEATURES);
        let extension = Extension::from_config(&project.config()).unwrap();
        let config = SessionConfig::new().with_target_partitions(3).with_batch_size(123);
        let host = SessionContext::new_with_config(config.with_default_catalog_and_schema("mine", "own"));
        sql(&host, "CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
        let before = options(&host);
        let catalogs = host.catalog_names();
        host.attach_metaxy(&extension).await.unwrap();
        let mut after = options(&host);
        after.retain(|key, _| !key.starts_with("metaxy."));
        assert_eq!(after, before);
        assert_eq!(options(&host)["metaxy.engine"].as_deref(), Some("auto"));
        let mut expected = [catalogs, vec!["dev".to_owned()]].concat();
        expected.sort();
        let mut found = host.catalog_names();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(only(&sql(&host, "SELECT a FROM t").await.unwrap()), json!(1));
        assert_eq!(only(&sql(&host, "SELECT a FROM mine.own.t").await.unwrap()), json!(1));
        sql(&host, "SET metaxy.engine = 'native'").await.unwrap();
        assert!(sql(&host, "SET metaxy.engine = 'x'").await.is_err());
        // Nothing was written either.
        assert!(!project.path().join("store").exists());
    });
}

#[test]
fn reading_and_increments_work_by_full_names() {
    run(async {
        let (_project, host, _extension) = host().await;
        let read =
            sql(&host, "SELECT video_id FROM dev.features.video__raw ORDER BY video_id").await.unwrap();
        assert_eq!(column(&read, "video_id"), [json!("v1"), json!("v2")]);
        let count = sql(&host, "SELECT count(*) FROM dev.history.video__raw").await.unwrap();
        assert_eq!(only(&count), json!(2));
        let features = sql(&host, "SELECT feature FROM dev.system.features ORDER BY feature").await.unwrap();
        assert_eq!(column(&features, "feature"), [json!("video/crop"), json!("video/raw")]);
        for call in ["resolve_update('video/crop')", "resolve_update('video/crop', store => 'dev')"] {
            let kinds = sql(&host, &format!("SELECT metaxy_increment AS i FROM {call}")).await.unwrap();
            assert_eq!(column(&kinds, "i"), vec![json!("new"); 2]);
        }
        // Samples of a table of the host, which only a query can name here.
        sql(
            &host,
            "CREATE TABLE samples AS SELECT * FROM (VALUES ('v2', named_struct('default', 'v2.mp4')), \
             ('v3', named_struct('default', 'v3.mp4'))) AS t(video_id, metaxy_provenance_by_field)",
        )
        .await
        .unwrap();
        let with = |samples: &str| {
            format!(
                "SELECT metaxy_increment AS i, video_id FROM resolve_update('video/raw', {samples}) ORDER BY video_id"
            )
        };
        let rows = sql(&host, &with("(SELECT * FROM samples)")).await.unwrap();
        assert_eq!(column(&rows, "i"), [json!("orphaned"), json!("new")]);
        assert_eq!(column(&rows, "video_id"), [json!("v1"), json!("v3")]);
        let message = one_line(&sql(&host, &with("samples")).await.unwrap_err());
        assert!(message.contains("(SELECT * FROM samples)"), "{message}");
        let hash = sql(&host, "SELECT metaxy_hash('xxhash64', 8, 'a', 'b') AS h").await.unwrap();
        assert_eq!(only(&hash).as_str().unwrap().len(), 8);
    });
}

#[test]
fn refresh_renews_the_snapshot() {
    run(async {
        let project = Project::new(FEATURES);
        let extension = Extension::from_config(&project.config()).unwrap();
        let host = SessionContext::new();
        host.attach_metaxy(&extension).await.unwrap();
        let increment = "SELECT video_id FROM resolve_update('video/crop') ORDER BY video_id";
        // The required parent has no data yet.
        let message = one_line(&sql(&host, increment).await.unwrap_err());
        assert!(message.contains("video/raw") && message.contains("no data"), "{message}");
        let store = extension.store("dev").unwrap();
        write_raw(&host, &store, &["v1"]).await;
        extension.refresh().await.unwrap();
        assert_eq!(column(&sql(&host, increment).await.unwrap(), "video_id"), [json!("v1")]);
        // Another process writes, with a column more.
        let other = project.session().await;
        let insert = "INSERT INTO video__raw SELECT 'v2' AS video_id, 7 AS size, \
                      named_struct('default', 'x') AS metaxy_provenance_by_field";
        crate::support::query(&other, insert).await;
        extension.refresh().await.unwrap();
        let rows =
            sql(&host, "SELECT size FROM resolve_update('video/crop') ORDER BY video_id").await.unwrap();
        assert_eq!(column(&rows, "size"), [Value::Null, json!(7)]);
    });
}

#[test]
fn inserts_by_position_are_refused_unless_names_agree() {
    run(async {
        let (_project, host, _extension) = host().await;
        let table = sql(&host, "SELECT * FROM dev.features.video__raw LIMIT 1").await.unwrap();
        let names: Vec<&String> = table[0].as_object().unwrap().keys().collect();
        assert_eq!(names[..2], ["video_id", "path"]);
        let all = |first: &str, second: &str| {
            let rest: Vec<String> = names[2..].iter().map(|name| format!("\"{name}\"")).collect();
            format!(
                "INSERT INTO dev.features.video__raw SELECT {first}, {second}, {} FROM dev.features.video__raw WHERE video_id = 'v1'",
                rest.join(", ")
            )
        };
        let swapped = all("path", "video_id");
        let aliased = all("path AS path", "video_id AS video_id");
        let renamed = all("concat(video_id, 'x') AS id", "path");
        let by_position = "INSERT INTO dev.features.video__raw VALUES ('v3', 'p', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";
        for statement in [swapped.as_str(), &aliased, &renamed, by_position] {
            let message = one_line(&sql(&host, statement).await.expect_err(statement));
            assert!(
                message.contains("video/raw") && message.contains("column list"),
                "{statement}: {message}"
            );
        }
        assert_eq!(only(&sql(&host, "SELECT count(*) FROM dev.history.video__raw").await.unwrap()), json!(2));

        // Names as the table has them, in its order.
        assert_eq!(
            only(&sql(&host, &all("concat(video_id, 'x') AS video_id", "path")).await.unwrap()),
            json!(1)
        );
        // A column list, in any order.
        let listed = "INSERT INTO dev.features.video__raw (metaxy_provenance_by_field, path, video_id) \
                      SELECT named_struct('default', 'p'), 'listed', 'v9'";
        assert_eq!(only(&sql(&host, listed).await.unwrap()), json!(1));
        let rows =
            sql(&host, "SELECT video_id, path FROM dev.features.video__raw ORDER BY video_id").await.unwrap();
        assert_eq!(column(&rows, "video_id"), [json!("v1"), json!("v1x"), json!("v2"), json!("v9")]);
        assert_eq!(
            column(&rows, "path"),
            [json!("v1.mp4"), json!("v1.mp4"), json!("v2.mp4"), json!("listed")]
        );
        // Other tables of the host go by position as ever.
        sql(&host, "CREATE TABLE t AS SELECT 1 AS a, 2 AS b").await.unwrap();
        sql(&host, "INSERT INTO t SELECT 3 AS b, 4 AS a").await.unwrap();
        assert_eq!(only(&sql(&host, "SELECT b FROM t WHERE a = 3").await.unwrap()), json!(4));
    });
}

#[test]
fn deletes_say_exactly_what_they_mean() {
    run(async {
        let (_project, host, _extension) = host().await;
        for statement in
            ["UPDATE dev.features.video__raw SET path = 'x'", "TRUNCATE TABLE dev.features.video__raw"]
        {
            let message = one_line(&sql(&host, statement).await.expect_err(statement));
            assert!(message.contains("video/raw"), "{message}");
        }
        for (condition, deleted) in [
            ("false", 0),
            ("video_id IN (SELECT 'nothing')", 0),
            ("NOT EXISTS (SELECT 1)", 0),
            ("video_id IN (SELECT 'v1')", 1),
            ("true", 1),
        ] {
            let delete = format!("DELETE FROM dev.features.video__raw WHERE {condition}");
            assert_eq!(only(&sql(&host, &delete).await.unwrap()), json!(deleted), "{condition}");
        }
        let rows = "SELECT count(*) FROM dev.history.video__raw";
        assert_eq!(only(&sql(&host, rows).await.unwrap()), json!(4));
        let delete = "DELETE FROM dev.history.video__raw WHERE video_id IN (SELECT 'v1') AND metaxy_deleted_at IS NULL";
        assert_eq!(only(&sql(&host, delete).await.unwrap()), json!(1));
        assert_eq!(only(&sql(&host, rows).await.unwrap()), json!(3));
    });
}

#[test]
fn a_catalog_of_the_same_name_is_an_error() {
    run(async {
        let project = Project::new(FEATURES);
        let extension = Extension::from_config(&project.config()).unwrap();
        let host = SessionContext::new();
        host.register_catalog("dev", Arc::new(MemoryCatalogProvider::new()));
        let message = one_line(&host.attach_metaxy(&extension).await.unwrap_err());
        assert!(message.contains("\"dev\"") && message.contains("another name"), "{message}");
        // The host's own catalog is still there, and nothing of ours is.
        assert!(host.catalog("dev").unwrap().schema_names().is_empty());
        assert!(sql(&host, "SELECT metaxy_hash('md5', 8, 'a')").await.is_err());
    });
}

#[test]
fn a_state_builder_takes_the_extension() {
    run(async {
        let project = Project::new(FEATURES);
        let extension = Extension::from_config(&project.config()).unwrap();
        let state = SessionStateBuilder::new().with_default_features().with_metaxy(&extension).build();
        let rules = state.optimizers().len();
        let host = SessionContext::new_with_state(state);
        assert!(sql(&host, "SELECT metaxy_hash('md5', 8, 'a')").await.is_ok());
        write_raw(&host, &extension.store("dev").unwrap(), &["v1"]).await;
        host.attach_metaxy(&extension).await.unwrap();
        // Not a second time.
        assert_eq!(host.state().optimizers().len(), rules);
        let rows = sql(&host, "SELECT metaxy_increment FROM resolve_update('video/crop')").await.unwrap();
        assert_eq!(only(&rows), json!("new"));
        let rows = sql(&host, "SELECT path FROM dev.features.video__raw").await.unwrap();
        assert_eq!(only(&rows), json!("v1.mp4"));
    });
}

#[test]
fn the_statement_layer_over_a_host_matches_by_name() {
    run(async {
        let (_project, host, extension) = host().await;
        sql(&host, "CREATE TABLE samples AS SELECT 'a.mp4' AS path, 'v7' AS video_id").await.unwrap();
        let session = MetaxySession::attached(host.clone(), extension);
        let insert = "INSERT INTO dev.features.video__raw SELECT path, named_struct('default', 'x') AS \
                      metaxy_provenance_by_field, video_id FROM samples";
        crate::support::query(&session, insert).await;
        let rows =
            sql(&host, "SELECT path FROM dev.features.video__raw WHERE video_id = 'v7'").await.unwrap();
        assert_eq!(only(&rows), json!("a.mp4"));
        assert_eq!(host.copied_config().options().catalog.default_catalog, "datafusion");
    });
}

/// Videos, their chunks (1:N), and a summary of the chunks (N:1) that also looks at an optional transcript.
fn specs() -> Vec<FeatureDefinition> {
    let video = FeatureSpec::builder("video").id_columns(["video_id"]).field("audio").field("frames");
    let transcript = FeatureSpec::builder("transcript").id_columns(["video_id"]);
    let chunk = FeatureSpec::builder("video/chunk")
        .id_columns(["video_id", "n"])
        .dep(FeatureDep::new("video").rename("path", "video_path").lineage(Lineage::expansion(["video_id"])))
        .field(FieldSpec::new("frames").code_version("2"));
    let summary = FeatureSpec::builder("video/summary")
        .id_columns(["video_id"])
        .dep(FeatureDep::new("video/chunk").select(["video_id"]).lineage(Lineage::aggregation(["video_id"])))
        .dep(FeatureDep::new("transcript").optional())
        .field(FieldSpec::new("text").depends_on_all())
        .description("What happens in it");
    [video, transcript, chunk, summary]
        .map(|spec| FeatureDefinition::declared(spec.build().unwrap(), "demo", Origin::Session))
        .into()
}

async fn counts(
    context: &SessionContext,
    store: &Arc<Store>,
    feature: &str,
    options: &IncrementOptions,
) -> [usize; 3] {
    let found = rows(store.resolve_update(context, feature, options).await.unwrap()).await.unwrap();
    ["new", "stale", "orphaned"]
        .map(|kind| found.iter().filter(|row| row["metaxy_increment"] == kind).count())
}

async fn write_and_resolve(backend: Arc<dyn MetadataStore>) {
    let settings = HashSettings::new(HashAlgorithm::Xxh3_64, 20).unwrap();
    let store = Arc::new(Store::new("mine", backend, settings, specs()).with_project("demo").unwrap());
    let context = SessionContext::new();
    let none = IncrementOptions::default();
    let write = async |feature: &str, sql: &str| {
        let frame = context.sql(sql).await.unwrap();
        store.write(feature, frame, &WriteOptions::default()).await.unwrap().rows
    };
    let videos =
        "SELECT video_id, path, named_struct('frames', f, 'audio', 'a') AS metaxy_provenance_by_field FROM";
    let first = format!("{videos} (VALUES ('v1', 'p1', 'f1'), ('v2', 'p2', 'f2')) AS t(video_id, path, f)");
    assert_eq!(write("video", &first).await, 2);
    assert_eq!(counts(&context, &store, "video/chunk", &none).await, [2, 0, 0]);

    // What is new is computed and written: three chunks of each video.
    let todo = store.resolve_update(&context, "video/chunk", &none).await.unwrap();
    assert!(todo.schema().has_column_with_unqualified_name("video_path"));
    context.register_table("todo", todo.into_view()).unwrap();
    let chunks = "SELECT todo.*, n FROM todo CROSS JOIN generate_series(1, 3) AS t(n)";
    assert_eq!(write("video/chunk", chunks).await, 6);
    assert_eq!(counts(&context, &store, "video/chunk", &none).await, [0, 0, 0]);
    // All rows of a group are in an aggregation's increment; nobody has written a transcript.
    assert_eq!(counts(&context, &store, "video/summary", &none).await, [6, 0, 0]);
    let one = IncrementOptions {
        filters: [(FeatureKey::parse("video/chunk").unwrap(), vec![col("video_id").eq(lit("v1"))])].into(),
        ..IncrementOptions::default()
    };
    assert_eq!(counts(&context, &store, "video/summary", &one).await, [3, 0, 0]);

    // Only the frames of v1 change; a new column comes along.
    let second = format!("{videos} (VALUES ('v1', 'p1', 'f1 changed')) AS t(video_id, path, f)");
    assert_eq!(write("video", &second.replace("SELECT", "SELECT 5 AS size,")).await, 1);
    assert_eq!(counts(&context, &store, "video/chunk", &none).await, [0, 1, 0]);
    // Samples can replace the parents.
    let samples = format!("{videos} (VALUES ('v2', 'p2', 'f2'), ('v3', 'p3', 'f3')) AS t(video_id, path, f)");
    let given = IncrementOptions {
        samples: Some(context.sql(&samples).await.unwrap().into_unoptimized_plan()),
        ..IncrementOptions::default()
    };
    assert_eq!(counts(&context, &store, "video", &given).await, [1, 0, 1]);

    let read = rows(store.read(&context, "video", &ReadOptions::default()).await.unwrap()).await.unwrap();
    assert_eq!(read.len(), 2);
    let v1 = read.iter().find(|row| row["video_id"] == "v1").unwrap();
    assert_eq!((&v1["size"], &v1["metaxy_provenance_by_field"]["frames"]), (&json!(5), &json!("f1 changed")));
    let missing = store.read(&context, "transcript", &ReadOptions::default()).await.unwrap_err();
    assert!(matches!(missing, MetaxyError::FeatureNotFound { .. }), "{missing}");
    let unknown = store.read(&context, "video/chnk", &ReadOptions::default()).await.unwrap_err();
    assert!(
        matches!(&unknown, MetaxyError::UnknownFeature { reason, .. } if reason.contains("video/chunk")),
        "{unknown}"
    );
    let root = store.resolve_update(&context, "video", &none).await.unwrap_err();
    assert!(one_line(&root).contains("root"), "{root}");

    // A key makes a write happen once.
    let once = WriteOptions {
        write_key: Some("k".into()),
        materialization_id: Some("run 7".into()),
        ..WriteOptions::default()
    };
    let keyed = format!("{videos} (VALUES ('v2', 'p2', 'f')) AS t(video_id, path, f)");
    for expected in [1, 0] {
        let frame = context.sql(&keyed).await.unwrap();
        assert_eq!(store.write("video", frame, &once).await.unwrap().rows, expected);
    }
    let read = rows(store.read(&context, "video", &ReadOptions::default()).await.unwrap()).await.unwrap();
    let v2 = read.iter().find(|row| row["video_id"] == "v2").unwrap();
    assert_eq!(v2["metaxy_materialization_id"], "run 7");

    // The same store in a session.
    let extension = Extension::from_stores([Arc::clone(&store)]).unwrap();
    let session = MetaxySession::over(extension, None).await.unwrap();
    let rows = crate::support::query(&session, "SELECT count(*) FROM \"video/chunk\"").await;
    assert_eq!(only(&rows), json!(6));
}

#[test]
fn a_store_in_memory_without_sql() {
    run(async { write_and_resolve(Arc::new(MemoryStore::new())).await });
}

#[test]
fn a_delta_store_without_sql() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let root_path = Some(folder.path().join("new/store").display().to_string());
        let config = StoreConfig { root_path, ..StoreConfig::new("mine", StoreKind::Delta) };
        write_and_resolve(Arc::new(DeltaStore::try_new(&config).unwrap())).await;
        assert!(folder.path().join("new/store/video/chunk.delta/_delta_log").is_dir());
    });
}
