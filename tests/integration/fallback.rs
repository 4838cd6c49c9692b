//! Fallback stores: the warnings, what configurations are refused, and stores without SQL.

use std::sync::Arc;

use datafusion::arrow::compute::concat_batches;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::config::FallbackPolicy;
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, FieldSpec, Origin};
use datafusion_metaxy::session::{Extension, MetaxySession, SessionContextExt};
use datafusion_metaxy::store::{
    Append, DeltaStore, FeatureVersions, MemoryStore, MetadataStore, ReadOptions, Store, WriteOptions,
    WriteTime,
};
use datafusion_metaxy::update::IncrementOptions;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::{Project, column, error, foreign_write, one_line, only, query, rows, run};

const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]

[[feature]]
key = "video/crop"
id_columns = ["video_id"]
deps = ["video/raw"]
"#;

/// A project of Delta stores, the first one the default; each with further lines of its `config` table.
fn project(stores: &[(&str, &str)], more: &str) -> Project {
    let project = Project::new(FEATURES);
    let mut text = format!("store = {:?}\nproject = \"test\"\n", stores[0].0);
    for (name, config) in stores {
        let root = project.path().join(name);
        text += &format!(
            "[stores.{name}]\ntype = \"delta\"\n[stores.{name}.config]\nroot_path = {root:?}\n{config}\n"
        );
    }
    project.write("metaxy.toml", &format!("{text}[ext.datafusion]\nfeatures = [\"features.toml\"]\n{more}"));
    project
}

const CHAIN: [(&str, &str); 3] =
    [("dev", "fallback_stores = ['prod']"), ("prod", "fallback_stores = ['archive']"), ("archive", "")];

fn insert(store: &str, id: &str) -> String {
    format!(
        "INSERT INTO {store}.features.video__raw SELECT '{id}' AS video_id, \
         named_struct('default', 'v1') AS metaxy_provenance_by_field"
    )
}

fn warning(store: &str, lacking: &str) -> String {
    format!("feature video/raw is read from fallback store {store}: {lacking}")
}

#[test]
fn each_statement_warns_once_for_each_feature() {
    run(async {
        let project = project(&CHAIN, "");
        let session = project.session().await;
        query(&session, &insert("archive", "a")).await;
        assert_eq!(session.take_warnings(), [""; 0]);
        let archive = warning("archive", "store dev has no table of it, store prod has no table of it");
        for sql in [
            "SELECT * FROM video__raw",
            "SELECT count(*) FROM history.video__raw",
            "SELECT * FROM video__raw AS a JOIN video__raw AS b ON a.video_id = b.video_id",
            "SELECT * FROM resolve_update('video/crop') AS c JOIN video__raw AS r ON c.video_id = r.video_id",
            "SELECT * FROM resolve_update('video/crop') UNION ALL SELECT * FROM resolve_update('video/crop')",
            "CREATE TABLE copied AS SELECT video_id FROM video__raw",
            "EXPLAIN SELECT * FROM video__raw",
        ] {
            query(&session, sql).await;
            assert_eq!(session.take_warnings(), [archive.as_str()], "{sql}");
        }
        // Many statements whose warnings nobody has taken.
        query(&session, "SELECT * FROM video__raw").await;
        query(&session, "SELECT * FROM video__raw").await;
        assert_eq!(session.take_warnings(), [archive.as_str()]);

        query(&session, &insert("prod", "p")).await;
        query(&session, "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')").await;
        assert_eq!(session.take_warnings(), [warning("prod", "store dev has no table of it")]);
        query(&session, "SELECT * FROM video__crop").await;
        query(&session, &insert("dev", "d")).await;
        query(&session, "SELECT * FROM resolve_update('video/crop')").await;
        assert_eq!(session.take_warnings(), [""; 0]);
    });
}

#[test]
fn listings_warn_of_nothing() {
    run(async {
        let project = project(&CHAIN, "");
        let session = project.session().await;
        query(&session, &insert("archive", "a")).await;
        for sql in [
            "SHOW TABLES",
            "SELECT * FROM information_schema.tables",
            "DESCRIBE video__raw",
            "SELECT * FROM system.features",
            "SELECT * FROM system.resolution('video/crop')",
            "CREATE VIEW v AS SELECT * FROM video__raw",
        ] {
            query(&session, sql).await;
        }
        let columns = "SELECT column_name FROM information_schema.columns \
                       WHERE table_catalog = 'dev' AND table_name = 'video__raw' AND column_name = 'video_id'";
        // It is open: the column is not a column that every feature has.
        assert!(!query(&session, columns).await.is_empty());
        assert_eq!(session.take_warnings(), [""; 0]);
        query(&session, "SELECT * FROM v").await;
        assert_eq!(session.take_warnings().len(), 1);
    });
}

#[test]
fn the_program_prints_the_warning_after_its_statement() {
    let project = project(&CHAIN, "");
    project.cli().sql(&[&insert("archive", "a")]).run().ok();
    let select = "SELECT video_id FROM video__raw";
    let ran = project.cli().args(["--format", "csv"]).sql(&[select, "SELECT 1 AS n", select]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "video_id\na\nn\n1\nvideo_id\na\n"));
    let line = format!(
        "Warning: {}\n",
        warning("archive", "store dev has no table of it, store prod has no table of it")
    );
    assert_eq!(ran.stderr, line.repeat(2));
}

/// What reading `video__raw` from `dev` gives under policies of `dev` and `prod`, when only `archive` has it.
async fn under(dev: &str, prod: &str) -> (Result<Vec<Value>>, Vec<String>) {
    let policies = format!(
        "[ext.datafusion.stores.dev]\nfallback = '{dev}'\n[ext.datafusion.stores.prod]\nfallback = '{prod}'\n"
    );
    let project = project(&CHAIN, &policies);
    let session = project.session().await;
    query(&session, &insert("archive", "a")).await;
    let read = crate::support::try_query(&session, "SELECT video_id FROM video__raw").await;
    (read, session.take_warnings())
}

#[test]
fn the_strictest_policy_on_the_way_counts() {
    run(async {
        let found = [json!({"video_id": "a"})];
        let (read, warnings) = under("allow", "allow").await;
        assert_eq!((read.unwrap().as_slice(), warnings.len()), (&found[..], 0));
        for (dev, prod) in [("allow", "warn"), ("warn", "allow"), ("warn", "warn")] {
            let (read, warnings) = under(dev, prod).await;
            assert_eq!((read.unwrap().as_slice(), warnings.len()), (&found[..], 1), "{dev} {prod}");
        }
        let (read, warnings) = under("allow", "forbid").await;
        assert_eq!(
            one_line(&read.unwrap_err()),
            "feature video/raw has no data in store dev, store prod; nothing has been written to it yet; \
             store archive was not asked, since store prod has fallback = \"forbid\""
        );
        assert_eq!(warnings, [""; 0]);
        let (read, _) = under("forbid", "allow").await;
        assert_eq!(
            one_line(&read.unwrap_err()),
            "feature video/raw has no data in store dev; nothing has been written to it yet; \
             store prod was not asked, since store dev has fallback = \"forbid\""
        );
    });
}

#[test]
fn chains_that_cannot_work_are_refused_when_their_store_is_used() {
    run(async {
        for (stores, expected) in [
            (
                [("dev", "fallback_stores = ['b']"), ("b", "fallback_stores = ['dev']")],
                "store b: its fallback stores go in a circle: dev -> b -> dev; take one of them out of fallback_stores",
            ),
            (
                [("dev", "fallback_stores = ['nowhere']"), ("b", "")],
                "store dev: fallback_stores names \"nowhere\", and there is no such store; known: ",
            ),
            (
                [("dev", "fallback_stores = ['b']"), ("b", "hash_algorithm = 'md5'")],
                "store dev: it has hash_algorithm = \"xxhash32\" and hash_truncation_length = 8, but its fallback \
                 store b has hash_algorithm = \"md5\" and hash_truncation_length = 8; stores that share data need \
                 the same",
            ),
        ] {
            let project = project(&stores, "");
            let refused = |message: &str| assert!(message.starts_with(expected), "{message}");
            refused(&one_line(&project.try_session().await.err().unwrap()));
            refused(&project.cli().sql(&["SELECT 1"]).run().failed());
            // Nobody minds before it is used.
            let mut spare = stores.to_vec();
            spare.insert(0, ("main", ""));
            let session = self::project(&spare, "").session().await;
            query(&session, "SELECT count(*) FROM system.features").await;
            refused(&error(&session, "USE STORE dev").await);
            refused(&error(&session, "SELECT * FROM dev.features.video__raw").await);
            refused(&error(&session, "SELECT * FROM resolve_update('video/crop', store => 'dev')").await);
        }
    });
}

#[test]
fn fallback_stores_are_opened_when_they_are_needed() {
    run(async {
        let stores = [("dev", "fallback_stores = ['py']")];
        let python = "[stores.py]\ntype = \"metaxy.ext.duckdb.DuckDBMetadataStore\"\n";
        let project = project(&stores, python);
        let session = project.session().await;
        let message = error(&session, "SELECT * FROM video__raw").await;
        assert!(message.starts_with("store py: type ") && message.contains("not supported"), "{message}");
        query(&session, &insert("dev", "d")).await;
        assert_eq!(query(&session, "SELECT * FROM resolve_update('video/crop')").await.len(), 1);
    });
}

#[test]
fn a_table_that_cannot_be_read_is_not_missing() {
    run(async {
        let project = project(&CHAIN, "");
        let session = project.session().await;
        query(&session, &insert("dev", "d")).await;
        query(&session, &insert("prod", "p")).await;
        project.write("dev/video/raw.delta/_delta_log/00000000000000000000.json", "garbage");
        let message = error(&session, "SELECT * FROM video__raw").await;
        assert!(message.starts_with("store dev: video/raw.delta: "), "{message}");
        error(&session, "SELECT * FROM resolve_update('video/crop')").await;
        error(&session, "SELECT * FROM system.resolution('video/crop')").await;
    });
}

#[test]
fn definitions_never_come_from_a_fallback() {
    run(async {
        let project = project(&CHAIN, "");
        let spec = FeatureSpec::builder("pushed").id_columns(["id"]).build().unwrap().to_json();
        let table = project.path().join("prod/metaxy-system/feature_versions.delta");
        let row = format!(
            "SELECT 'p' AS project, 'pushed' AS feature_key, now() AS recorded_at, '{spec}' AS feature_spec, \
             '{{}}' AS feature_schema, '' AS feature_class_path, CAST(NULL AS TIMESTAMP) AS deleted_at"
        );
        foreign_write(&table, &row).await;
        let session = project.session().await;
        let known =
            |store: &str| format!("SELECT count(*) FROM {store}.system.features WHERE feature = 'pushed'");
        assert_eq!(only(&query(&session, &known("prod")).await), json!(1));
        assert_eq!(only(&query(&session, &known("dev")).await), json!(0));
        let pushed = "SELECT count(*) FROM dev.system.feature_versions";
        assert_eq!(only(&query(&session, pushed).await), json!(0));
        assert!(error(&session, "SELECT * FROM pushed").await.contains("unknown feature pushed"));
    });
}

#[test]
fn a_session_of_someone_elses_has_fallbacks_too() {
    run(async {
        let project = project(&CHAIN, "");
        let extension = Extension::from_config(&project.config()).unwrap();
        let writer = MetaxySession::over(Arc::clone(&extension), None).await.unwrap();
        query(&writer, &insert("archive", "a")).await;
        let host = SessionContext::new();
        host.attach_metaxy(&extension).await.unwrap();
        assert_eq!(extension.take_warnings(), [""; 0]);
        let sql = async |sql: &str| rows(host.sql(sql).await.unwrap()).await.unwrap();
        for from in ["dev.features.video__raw", "resolve_update('video/crop')", "dev.history.video__raw"] {
            let ids = sql(&format!("SELECT video_id FROM {from}")).await;
            assert_eq!(column(&ids, "video_id"), [json!("a")], "{from}");
            assert_eq!(extension.take_warnings().len(), 1, "{from}");
        }
        let store = "SELECT store FROM dev.system.resolution('video/crop')";
        assert_eq!(only(&sql(store).await), json!("archive"));
        query(&writer, &insert("dev", "d")).await;
        assert_eq!(only(&sql(store).await), json!("dev"));
        extension.refresh().await.unwrap();
        let ids = sql("SELECT video_id FROM resolve_update('video/crop')").await;
        assert_eq!(column(&ids, "video_id"), [json!("d")]);
        assert_eq!(extension.take_warnings(), [""; 0]);
    });
}

fn definitions(code_version: &str) -> Vec<FeatureDefinition> {
    let field = FieldSpec::new("default").code_version(code_version);
    let raw = FeatureSpec::builder("video/raw").id_columns(["video_id"]).field(field).build().unwrap();
    let crop = FeatureSpec::builder("video/crop").id_columns(["video_id"]).dep("video/raw").build().unwrap();
    [raw, crop].map(|spec| FeatureDefinition::declared(spec, "demo", Origin::Session)).into()
}

fn store(name: &str, backend: &Arc<dyn MetadataStore>, code_version: &str) -> Store {
    let settings = HashSettings::new(HashAlgorithm::XxHash64, 16).unwrap();
    Store::new(name, Arc::clone(backend), settings, definitions(code_version)).with_project("demo").unwrap()
}

/// Backends for three stores, in memory and as Delta tables.
fn backends(folder: &std::path::Path) -> [[Arc<dyn MetadataStore>; 3]; 2] {
    use datafusion_metaxy::config::{StoreConfig, StoreKind};
    let delta = |name: &str| -> Arc<dyn MetadataStore> {
        let root_path = Some(folder.join(name).display().to_string());
        Arc::new(
            DeltaStore::try_new(&StoreConfig { root_path, ..StoreConfig::new(name, StoreKind::Delta) })
                .unwrap(),
        )
    };
    let memory = || -> Arc<dyn MetadataStore> { Arc::new(MemoryStore::new()) };
    [[memory(), memory(), memory()], [delta("a"), delta("b"), delta("c")]]
}

async fn write(store: &Arc<Store>, id: &str) {
    let frame = SessionContext::new()
        .sql(&format!(
            "SELECT '{id}' AS video_id, named_struct('default', 'v1') AS metaxy_provenance_by_field"
        ))
        .await
        .unwrap();
    store.write("video/raw", frame, &WriteOptions::default()).await.unwrap();
}

async fn read(store: &Arc<Store>, options: &ReadOptions) -> Result<Vec<Value>> {
    let frame = store.read(&SessionContext::new(), "video/raw", options).await?;
    let mut ids = column(&rows(frame).await?, "video_id");
    ids.sort_by_key(ToString::to_string);
    Ok(ids)
}

#[test]
fn rows_of_other_versions_do_not_count() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for [dev, prod, _] in backends(folder.path()) {
            let old = Arc::new(store("dev", &dev, "1"));
            write(&old, "old").await;
            let old_version =
                old.graph().await.unwrap().feature_version(&FeatureKey::parse("video/raw").unwrap()).unwrap();
            let prod = Arc::new(store("prod", &prod, "2"));
            let dev = store("dev", &dev, "2").with_fallback_stores(vec![Arc::clone(&prod)]).unwrap();
            let dev = Arc::new(dev);
            let current = ReadOptions::default();
            let message = one_line(&read(&dev, &current).await.unwrap_err());
            assert_eq!(
                message,
                "feature video/raw has no data in store dev, store prod; store dev has no row of its current version"
            );
            write(&prod, "new").await;
            assert_eq!(read(&dev, &current).await.unwrap(), [json!("new")]);
            assert_eq!(dev.take_warnings(), [warning("prod", "store dev has no row of its current version")]);
            let inputs = dev.inputs(&FeatureKey::parse("video/crop").unwrap(), false).await.unwrap();
            assert_eq!(inputs.fallbacks, [Some("prod".to_owned())]);
            let inputs = dev.inputs(&FeatureKey::parse("video/crop").unwrap(), true).await.unwrap();
            assert_eq!((inputs.fallbacks.len(), inputs.fallbacks[0].as_ref()), (1, None));

            // Rows of a version that the caller names, and of any.
            let exactly = |version: &str| ReadOptions {
                feature_version: FeatureVersions::Exactly(version.into()),
                ..ReadOptions::default()
            };
            assert_eq!(read(&dev, &exactly(&old_version)).await.unwrap(), [json!("old")]);
            let all = ReadOptions { feature_version: FeatureVersions::All, ..ReadOptions::default() };
            assert_eq!(read(&dev, &all).await.unwrap(), [json!("old")]);
            let message = one_line(&read(&dev, &exactly("nonsense")).await.unwrap_err());
            assert!(message.ends_with("; store prod has no row of its version nonsense"), "{message}");
            assert_eq!(dev.take_warnings(), [""; 0]);
        }
    });
}

/// Appends the rows of one store's table to another's, as deleted ones.
async fn append_deleted(from: &Arc<dyn MetadataStore>, to: &Arc<dyn MetadataStore>, settings: HashSettings) {
    let feature = FeatureKey::parse("video/raw").unwrap();
    let table = from.open(&feature).await.unwrap().unwrap();
    let context = SessionContext::new();
    context.register_table("stored", table.provider).unwrap();
    let frame = context
        .sql("SELECT * EXCEPT (__metaxy_row_order) REPLACE (metaxy_updated_at AS metaxy_deleted_at) FROM stored")
        .await
        .unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let rows = concat_batches(&schema, &frame.collect().await.unwrap()).unwrap();
    let append = Append {
        schema,
        rows: futures::stream::iter([Ok(rows)]).boxed(),
        settings,
        id_columns: vec!["video_id".into()],
        write_key: None,
        time: WriteTime::Updated,
        only_at: None,
    };
    assert_eq!(to.append(&feature, append).await.unwrap(), 1);
}

#[test]
fn deleted_rows_count() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for [backend, prod, scratch] in backends(folder.path()) {
            let prod = Arc::new(store("prod", &prod, "1"));
            write(&prod, "p").await;
            // Rows are made in another store, and arrive in dev as deleted ones.
            let maker = Arc::new(store("maker", &scratch, "1"));
            write(&maker, "d").await;
            append_deleted(&scratch, &backend, maker.settings()).await;
            let dev =
                Arc::new(store("dev", &backend, "1").with_fallback_stores(vec![Arc::clone(&prod)]).unwrap());
            assert_eq!(read(&dev, &ReadOptions::default()).await.unwrap(), [json!(null); 0]);
            assert_eq!(dev.resolution("video/crop").await.unwrap()[0].reason, "store dev has it");
            assert_eq!(dev.take_warnings(), [""; 0]);
        }
    });
}

#[test]
fn stores_of_a_chain_hash_alike() {
    let backend: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let settings = |algorithm, length| HashSettings::new(algorithm, length).unwrap();
    let dev = || store("dev", &backend, "1");
    for (other, shown) in [
        (settings(HashAlgorithm::Md5, 16), "hash_algorithm = \"md5\" and hash_truncation_length = 16"),
        (
            settings(HashAlgorithm::XxHash64, 12),
            "hash_algorithm = \"xxhash64\" and hash_truncation_length = 12",
        ),
    ] {
        let other = Arc::new(Store::new("prod", Arc::clone(&backend), other, Vec::new()));
        let error = dev().with_fallback_stores(vec![other]).unwrap_err();
        assert_eq!(
            one_line(&error),
            format!(
                "store dev: it has hash_algorithm = \"xxhash64\" and hash_truncation_length = 16, but its fallback \
                 store prod has {shown}; stores that share data need the same"
            )
        );
    }
}

#[test]
fn stores_without_sql_have_fallbacks_and_a_policy() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let context = SessionContext::new();
        for [dev, left, right] in backends(folder.path()) {
            let right = Arc::new(store("right", &right, "1"));
            let left = store("left", &left, "1").with_fallback_stores(vec![Arc::clone(&right)]).unwrap();
            let left = Arc::new(left);
            let dev = |policy| {
                let stores = vec![Arc::clone(&left), Arc::clone(&right)];
                Arc::new(
                    store("dev", &dev, "1")
                        .with_fallback_policy(policy)
                        .with_fallback_stores(stores)
                        .unwrap(),
                )
            };
            // Each store is asked once, whichever way leads to it.
            let warned = dev(FallbackPolicy::Warn);
            let missing = read(&warned, &ReadOptions::default()).await.unwrap_err();
            assert!(
                matches!(&missing, MetaxyError::FeatureNotFound { stores, .. }
                    if *stores == ["store dev", "store left", "store right"]),
                "{missing}"
            );
            write(&right, "r").await;
            let increment = |store: Arc<Store>| {
                let context = context.clone();
                async move {
                    let options = IncrementOptions::default();
                    store
                        .resolve_update(&context, "video/crop", &options)
                        .await?
                        .count()
                        .await
                        .map_err(Into::into)
                }
            };
            let found: Result<usize> = increment(Arc::clone(&warned)).await;
            assert_eq!(found.unwrap(), 1);
            // A session over such stores gives out their warnings.
            let session = MetaxySession::over(Extension::from_stores([Arc::clone(&warned)]).unwrap(), None)
                .await
                .unwrap();
            let lacking = "store dev has no table of it, store left has no table of it";
            assert_eq!(session.take_warnings(), [warning("right", lacking)]);
            let [parent] = &warned.resolution("video/crop").await.unwrap()[..] else { panic!("one parent") };
            assert_eq!((parent.store.as_deref(), parent.is_fallback), (Some("right"), true));
            assert_eq!(parent.searched, ["dev", "left", "right"]);

            // What left does for itself warns, whatever dev says.
            let allowed = dev(FallbackPolicy::Allow);
            increment(Arc::clone(&allowed)).await.unwrap();
            assert_eq!(allowed.take_warnings().len(), 1);
            let forbidden = dev(FallbackPolicy::Forbid);
            let message = one_line(&increment(forbidden).await.unwrap_err());
            assert!(message.contains("store left, store right were not asked"), "{message}");
        }
    });
}
