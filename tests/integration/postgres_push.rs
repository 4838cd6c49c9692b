//! Increments that PostgreSQL computes itself: one statement, the same rows as in memory, and few bytes on the wire.
//!
//! `METAXY_TEST_POSTGRES` holds the URL of a database; `tests/postgres/start.sh` prints one. Each test works in a schema
//! of its own.

use std::sync::Arc;

use datafusion::physical_plan::displayable;
use datafusion_metaxy::config::{Config, Environment, Secret, StoreConfig, StoreKind, VersioningEngine};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::session::{MetaxySession, SessionOptions};
use datafusion_metaxy::store::{Append, MetadataStore, PostgresStore, Store, WriteTime};
use datafusion_metaxy::update::IncrementOptions;
use futures::StreamExt;
use serde_json::Value;

use crate::support::{self, Project, dev, multiset, one_line, query, repository, try_query};

/// The database of the tests.
pub fn url() -> String {
    std::env::var("METAXY_TEST_POSTGRES").expect("METAXY_TEST_POSTGRES holds the URL of a database")
}

/// Runs statements as any other client would.
pub async fn execute(sql: &str) {
    let (client, connection) = tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
}

/// An empty schema; what an earlier run has left there is gone.
pub async fn fresh_schema(name: &str) {
    let quoted = name.replace('"', "\"\"");
    execute(&format!("DROP SCHEMA IF EXISTS \"{quoted}\" CASCADE; CREATE SCHEMA \"{quoted}\"")).await;
}

/// A project whose store is a schema of the database.
pub struct Base {
    pub project: Project,
    pub session: MetaxySession,
}

impl Base {
    pub async fn new(schema: &str, features: &str) -> Self {
        Self::with(schema, features, "hash_algorithm = \"md5\"", &url()).await
    }

    pub async fn with(schema: &str, features: &str, store: &str, url: &str) -> Self {
        fresh_schema(schema).await;
        let project = Project::new(features);
        let text = format!(
            "store = \"dev\"\nproject = \"test\"\n[stores.dev]\ntype = \"postgresql\"\n[stores.dev.config]\n\
             connection_string = {url:?}\nschema = {schema:?}\nauto_create_tables = true\n{store}\n\
             [ext.datafusion]\nfeatures = [\"features*.toml\"]\n"
        );
        project.write("metaxy.toml", &text);
        let session = project.session().await;
        Self { project, session }
    }

    pub async fn run(&self, statements: &[&str]) {
        for sql in statements {
            query(&self.session, sql).await;
        }
    }

    /// The plan of a query in one text.
    pub async fn explain(&self, sql: &str) -> String {
        let rows = query(&self.session, &format!("EXPLAIN {sql}")).await;
        let physical = rows.iter().find(|row| row["plan_type"] == "physical_plan").unwrap();
        physical["plan"].as_str().unwrap().to_owned()
    }

    /// Asks the database and the in-memory executor, which have to agree; the rows.
    pub async fn both(&self, feature: &str, options: &str, rest: &str) -> Vec<Value> {
        let call = |engine: &str| {
            format!("SELECT * FROM resolve_update('{feature}'{options}, engine => '{engine}') {rest}")
        };
        let plan = self.explain(&call("native")).await;
        assert_eq!(plan.matches("PostgresExec").count(), 1, "{plan}");
        assert!(!plan.contains("PostgresScanExec"), "{plan}");
        let native = query(&self.session, &call("native")).await;
        let memory = query(&self.session, &call("memory")).await;
        assert_eq!(multiset(native.clone()), multiset(memory), "{}", call("native"));
        native
    }
}

fn classes(rows: &[Value]) -> Vec<&str> {
    let mut classes: Vec<&str> = rows.iter().map(|row| row["metaxy_increment"].as_str().unwrap()).collect();
    classes.sort_unstable();
    classes
}

pub const VIDEOS: &str = r#"
[[feature]]
key = "video"
id_columns = ["video_id"]
fields = ["audio", "frames"]

[[feature]]
key = "video/crop"
id_columns = ["video_id"]
fields = ["audio", "frames"]
deps = ["video"]
"#;

pub const THREE_VIDEOS: &str = "INSERT INTO video SELECT column1 AS video_id, column2 AS size, \
     named_struct('audio', column3, 'frames', column4) AS metaxy_provenance_by_field \
     FROM (VALUES ('a', 1, 'a1', 'f1'), ('b', 20, 'a2', 'f2'), ('c', 30, 'a3', 'f3'))";
pub const CROPS: &str = "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')";

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn an_increment_is_one_statement() {
    support::run(async {
        let base = Base::new("push_one", VIDEOS).await;
        base.run(&[THREE_VIDEOS]).await;
        assert_eq!(classes(&base.both("video/crop", "", "").await), ["new"; 3]);
        base.run(&[CROPS]).await;
        assert_eq!(base.both("video/crop", "", "").await.len(), 0);
        base.run(&[
            "INSERT INTO video SELECT 'b' AS video_id, 21 AS size, \
             named_struct('audio', 'a2', 'frames', 'f9') AS metaxy_provenance_by_field",
            "DELETE FROM video WHERE video_id = 'c'",
            "INSERT INTO video SELECT 'd' AS video_id, 4 AS size, \
             named_struct('audio', 'a4', 'frames', 'f4') AS metaxy_provenance_by_field",
        ])
        .await;
        let rows = base.both("video/crop", "", "").await;
        assert_eq!(classes(&rows), ["new", "orphaned", "stale"]);
        let plan = base.explain("SELECT * FROM resolve_update('video/crop')").await;
        let lines: Vec<&str> = plan.lines().map(str::trim).collect();
        let at = lines.iter().position(|line| line.starts_with("IncrementExec")).unwrap();
        assert_eq!(
            lines[at],
            "IncrementExec: feature=video/crop, engine=native, reason=PostgreSQL of store dev computes it"
        );
        assert!(lines[at + 1].starts_with("PostgresExec: sql=SELECT "), "{plan}");
        assert_eq!(lines.len(), at + 2, "{plan}");
        for rest in [
            "WHERE metaxy_increment = 'new'",
            "WHERE metaxy_increment IN ('new', 'stale')",
            "WHERE metaxy_increment = 'orphaned'",
            "WHERE video_id > 'b'",
            "WHERE metaxy_increment <> 'new' AND size > 20",
            "ORDER BY video_id",
        ] {
            base.both("video/crop", "", rest).await;
        }
        for options in [
            ", filters => MAP {'video': size > 10}",
            ", global_filters => size > 10",
            ", target_filters => video_id LIKE 'b%'",
            ", stale_when => size < 10",
            ", skip_comparison => true",
            ", include_pending => true",
        ] {
            base.both("video/crop", options, "").await;
        }
        // Whoever only counts fetches counts.
        let counts =
            "SELECT metaxy_increment, count(*) AS n FROM resolve_update('video/crop') GROUP BY 1 ORDER BY 1";
        let rows = query(&base.session, counts).await;
        assert_eq!(rows.len(), 3, "{rows:?}");
        let plan = base
            .explain("SELECT count(*) FROM resolve_update('video/crop') WHERE metaxy_increment <> 'orphaned'")
            .await;
        assert!(plan.contains("count(*) AS n"), "{plan}");
        let limited = base
            .explain("SELECT video_id FROM resolve_update('video/crop', skip_comparison => true) LIMIT 2")
            .await;
        assert!(limited.contains("LIMIT 2"), "{limited}");
        drop(base.project);
    });
}

const GRAPH: &str = r#"
[[feature]]
key = "raw"
id_columns = ["id", "part"]
fields = ["a-x", "b/y"]

[[feature]]
key = "extra"
id_columns = ["id", "part"]

[[feature]]
key = "third"
id_columns = ["key", "part"]

[[feature]]
key = "joined"
id_columns = ["id", "part"]
fields = [{ key = "one" }, { key = "two", code_version = "it's \\ \"2\" %s $1 ü" }]
deps = [
  { feature = "raw", filters = ["bytes > 1"], rename = { size = "bytes" } },
  { feature = "extra", optional = true, select = [] },
  { feature = "third", rename = { key = "id", note = "remark" } },
]

[[feature]]
key = "either"
id_columns = ["id", "part"]
deps = [
  { feature = "raw", optional = true, select = ["size"] },
  { feature = "extra", optional = true, select = [] },
]

[[feature]]
key = "grouped"
id_columns = ["id"]
deps = [{ feature = "raw", lineage = { type = "N:1", on = ["id"] } }]

[[feature]]
key = "expanded"
id_columns = ["id", "part", "piece"]
deps = [{ feature = "raw", lineage = { type = "1:N", on = ["id", "part"] } }]
"#;

fn rows_of(table: &str, id: &str, rows: &str, columns: &str, fields: &str) -> String {
    format!(
        "INSERT INTO {table} SELECT column1 AS {id}, column2 AS part, {columns} {fields} AS metaxy_provenance_by_field \
         FROM (VALUES {rows})"
    )
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn joins_groups_and_expansions_are_the_same_as_in_memory() {
    support::run(async {
        let base = Base::with("push \"graph\" ü $1", GRAPH, "hash_algorithm = \"sha256\"", &url()).await;
        let raw = rows_of(
            "raw",
            "id",
            "('a', 1, 5, 'x'), ('a', 2, 6, 'y'), ('B', 1, 7, 'z'), ('ä', 10, 1, 'w'), ('ä', 9, 8, ' '), \
             ('it''s \\ %', 3, 2, 'v'), ('日本', 3, 2, 'v/')",
            "column3 AS size,",
            "named_struct('a-x', column4, 'b_y', concat(column4, 'b'))",
        );
        let extra =
            rows_of("extra", "id", "('a', 1, 'e1'), ('q', 1, 'e2')", "", "named_struct('default', column3)");
        let third = rows_of(
            "third",
            "key",
            "('a', 1, 't1', 'n'), ('a', 2, 't2', NULL), ('B', 1, 't3', 'n'), ('ä', 9, 't4', '')",
            "column4 AS note,",
            "named_struct('default', column3)",
        );
        base.run(&[&raw, &third]).await;
        // Without the optional parent's table, then with it.
        base.both("joined", "", "").await;
        base.run(&[&extra]).await;
        for feature in ["joined", "either", "grouped", "expanded"] {
            let rows = base.both(feature, "", "").await;
            assert!(!rows.is_empty(), "{feature}");
        }
        base.run(&[
            "INSERT INTO joined SELECT * FROM resolve_update('joined')",
            "INSERT INTO either SELECT * FROM resolve_update('either')",
            "INSERT INTO grouped SELECT DISTINCT ON (id) id, metaxy_provenance_by_field FROM resolve_update('grouped')",
            "INSERT INTO expanded SELECT id, part, piece, metaxy_provenance_by_field \
             FROM resolve_update('expanded') CROSS JOIN (VALUES (1), (2)) AS pieces (piece)",
        ])
        .await;
        for feature in ["joined", "either", "grouped", "expanded"] {
            assert_eq!(base.both(feature, "", "").await, Vec::<Value>::new(), "{feature}");
        }
        let changed = rows_of(
            "raw",
            "id",
            "('a', 2, 6, 'new'), ('new', 2, 6, 'n')",
            "column3 AS size,",
            "named_struct('a-x', column4, 'b_y', concat(column4, 'b'))",
        );
        base.run(&[
            &changed,
            "DELETE FROM raw WHERE id = 'ä' AND part = 9",
            "DELETE FROM extra WHERE id = 'a'",
        ])
        .await;
        for feature in ["joined", "either", "grouped", "expanded"] {
            let rows = base.both(feature, "", "").await;
            assert!(classes(&rows).contains(&"stale"), "{feature}: {rows:?}");
            base.both(feature, ", filters => MAP {'raw': size > 5}", "").await;
            base.both(feature, ", target_filters => id <> 'a'", "").await;
            base.both(feature, ", stale_when => id = 'B'", "WHERE metaxy_increment = 'stale'").await;
            for columns in ["metaxy_increment", "id", "metaxy_provenance_by_field", "metaxy_data_version"] {
                let sql = |engine: &str| {
                    format!("SELECT {columns} FROM resolve_update('{feature}', engine => '{engine}')")
                };
                let (native, memory) =
                    (query(&base.session, &sql("native")).await, query(&base.session, &sql("memory")).await);
                assert_eq!(multiset(native), multiset(memory), "{}", sql("native"));
            }
        }
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn conditions_mean_what_they_mean_here() {
    support::run(async {
        let base = Base::new("push_conditions", VIDEOS).await;
        base.run(&["INSERT INTO video SELECT column1 AS video_id, column2 AS size, column3 AS note, column4 AS score, \
             CAST(column5 AS BOOLEAN) AS good, CAST(column6 AS TIMESTAMP) AS seen, CAST(column6 AS DATE) AS day, \
             named_struct('audio', column1, 'frames', column1) AS metaxy_provenance_by_field FROM (VALUES \
             ('a', 1, 'x', 0.5, true, '2024-01-01T00:00:00'), ('B', -2, NULL, 1.5, NULL, '2024-01-02T00:00:00.5'), \
             ('ä', 30, 'it''s 100 %', NULL, false, NULL), ('a_b', NULL, 'a\\b', -1e300, true, '1969-12-31T23:59:59'), \
             ('日本', 4000000000, '', 2.0, false, '2024-02-29T12:00:00'))"])
            .await;
        for condition in [
            "size > 0",
            "size IS NULL OR note IS NULL",
            "NOT (size > 0)",
            "size IN (1, 30, NULL)",
            "size NOT IN (1, 30)",
            "size BETWEEN -2 AND 1",
            "size > 0.5",
            "size % 3 = 1",
            "note = 'it''s 100 %'",
            "note LIKE '%100 \\%%' OR note LIKE 'it%'",
            "note LIKE 'it_s%'",
            "note NOT LIKE '%x%'",
            "note <> 'x'",
            "note = 'a\\b'",
            "video_id < 'a'",
            "video_id >= 'b'",
            "video_id || note = 'ax'",
            "score > 1.0",
            "score BETWEEN 0.1 AND 1.9",
            "good",
            "good IS NOT TRUE",
            "good IS UNKNOWN OR size = 30",
            "good = false",
            "seen > TIMESTAMP '2024-01-01T12:00:00'",
            "day >= DATE '2024-01-02'",
            "coalesce(note, 'none') = 'none'",
            "CASE WHEN size > 1 THEN 'big' ELSE note END = 'big'",
            "CAST(size AS VARCHAR) = '30'",
            "note IS NOT DISTINCT FROM NULL",
            "note IS DISTINCT FROM 'x'",
            "starts_with(video_id, 'a')",
            "lower(video_id) = 'b'",
            "size * 2 > 10",
            "note ILIKE 'X'",
            "abs(size) = 2",
            "metaxy_data_version_by_field['audio'] = 'a'",
            "true",
        ] {
            let call = |engine: &str| {
                format!(
                    "SELECT * FROM resolve_update('video/crop', filters => MAP {{'video': {condition}}}, \
                     engine => '{engine}')"
                )
            };
            // What can't be translated is computed in memory.
            let auto = query(&base.session, &call("auto")).await;
            let memory = query(&base.session, &call("memory")).await;
            assert_eq!(multiset(auto), multiset(memory), "{condition}");
        }
        let why = |condition: &str| {
            format!("SELECT * FROM resolve_update('video/crop', filters => MAP {{'video': {condition}}})")
        };
        let plan = base.explain(&why("upper(note) = 'X'")).await;
        assert!(plan.contains("engine=in memory, reason=upper("), "{plan}");
        assert!(plan.contains("has no translation into PostgreSQL's SQL"), "{plan}");
        for pushed in ["size > 0 AND note <> 'x'", "good IS NOT TRUE", "score > 1.0", "video_id LIKE 'a%'"] {
            let plan = base.explain(&why(pushed)).await;
            assert!(plan.contains("engine=native"), "{pushed}\n{plan}");
        }
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn what_the_database_cannot_do_is_done_in_memory() {
    support::run(async {
        let base = Base::with("push_not", VIDEOS, "hash_algorithm = \"xxhash64\"", &url()).await;
        base.run(&[THREE_VIDEOS]).await;
        let sql = "SELECT * FROM resolve_update('video/crop')";
        let plan = base.explain(sql).await;
        let reason = "PostgreSQL has no xxhash64; a store with md5 or sha256 computes in the database";
        assert!(plan.contains(&format!("engine=in memory, reason={reason}")), "{plan}");
        assert_eq!(query(&base.session, sql).await.len(), 3);
        let error =
            try_query(&base.session, "SELECT * FROM resolve_update('video/crop', engine => 'native')").await;
        assert_eq!(
            one_line(&error.unwrap_err()),
            format!(
                "engine = native of the call can't be honoured for feature video/crop: {reason}; \
                 leave the engine to 'auto'"
            )
        );

        let base = Base::new("push_samples", VIDEOS).await;
        let sql = "SELECT * FROM resolve_update('video', (SELECT 'a' AS video_id, \
                   named_struct('audio', 'x', 'frames', 'y') AS metaxy_provenance_by_field))";
        let plan = base.explain(sql).await;
        assert!(plan.contains("reason=samples come from the session"), "{plan}");
        base.run(&[&format!("INSERT INTO video {sql}"), CROPS]).await;
        assert_eq!(query(&base.session, sql).await.len(), 0);
        let plan = base.explain("SELECT * FROM resolve_update('video/crop', shard => '1/2')").await;
        assert!(plan.contains("reason=PostgreSQL has not the hash that tells shards apart"), "{plan}");
        base.run(&["SET metaxy.prefer_native = false"]).await;
        let plan = base.explain("SELECT * FROM resolve_update('video/crop')").await;
        assert!(plan.contains("engine=in memory, reason=metaxy.prefer_native = false"), "{plan}");
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn samples_that_wait_for_a_parent_are_pending() {
    support::run(async {
        let base = Base::new("push_pending", VIDEOS).await;
        base.run(&[THREE_VIDEOS, CROPS]).await;
        // A field more makes another version of the videos, not of the crops, which don't depend on it.
        let changed = VIDEOS.replacen("\"frames\"]", "\"frames\", \"text\"]", 1);
        base.project.write("features.toml", &changed);
        let session = base.project.session().await;
        let base = Base { session, project: base.project };
        base.run(&["INSERT INTO video SELECT 'a' AS video_id, 1 AS size, \
             named_struct('audio', 'a1', 'frames', 'f1', 'text', 't1') AS metaxy_provenance_by_field"])
            .await;
        let rows = base.both("video/crop", ", include_pending => true", "").await;
        assert_eq!(classes(&rows), ["pending", "pending"]);
        assert_eq!(base.both("video/crop", "", "").await, Vec::<Value>::new());
    });
}

/// The settings of a case, or MD5 in its place.
fn settings_of(session: &MetaxySession, md5: bool) -> HashSettings {
    let own = dev(session).settings();
    if md5 { HashSettings::new(HashAlgorithm::Md5, own.length).unwrap() } else { own }
}

/// Every conformance case, in a database with md5 and in one with the case's own algorithm where the database has it.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn conformance_cases_are_the_same_from_the_database() {
    support::run(async {
        for name in [
            "aggregation",
            "data_version_override",
            "expansion",
            "optional_deps",
            "renames_filters",
            "video_partial_update",
        ] {
            for md5 in [true, false] {
                conformance(name, md5).await;
            }
        }
    });
}

async fn conformance(name: &str, md5: bool) {
    let folder = tempfile::tempdir().unwrap();
    support::copy_folder(&repository("tests/conformance").join(name), folder.path());
    let mut config = Config::load(None, folder.path(), &Environment::default()).unwrap();
    config.stores["dev"].root_path = Some(folder.path().join("store").display().to_string());
    let own = config.stores["dev"].hash_algorithm.clone().unwrap_or_default();
    let is_pushed = md5 || ["md5", "sha256"].contains(&own.as_str());
    let schema = format!("push_conformance_{name}_{md5}");
    fresh_schema(&schema).await;
    let mut database = StoreConfig::new("dev", StoreKind::Postgres);
    database.database.connection_string = Some(Secret::new(url()));
    database.database.schema = Some(schema);
    database.database.auto_create_tables = true;
    let backend = Arc::new(PostgresStore::try_new(&database).unwrap());
    let delta = MetaxySession::open(config, SessionOptions::default()).await.unwrap();
    let definitions: Vec<_> = dev(&delta).graph().await.unwrap().iter().map(|d| d.as_ref().clone()).collect();
    let settings = settings_of(&delta, md5);
    for definition in &definitions {
        let key = definition.key();
        let sql = format!("SELECT * FROM history.\"{}\"", key.table_name());
        let Ok(frame) = delta.sql(&sql).await else { continue };
        let Ok(batches) = frame.collect().await else { continue };
        let Some(first) = batches.first() else { continue };
        let append = Append {
            schema: first.schema(),
            rows: futures::stream::iter(batches.into_iter().map(Ok)).boxed(),
            settings,
            id_columns: definition.spec.id_columns.clone(),
            write_key: None,
            time: WriteTime::Kept,
            only_at: None,
        };
        backend.append(key, append).await.unwrap();
    }
    let store = Arc::new(Store::new("dev", backend, settings, definitions.clone()));
    let context = delta.context();
    for definition in definitions.iter().filter(|definition| !definition.spec.deps.is_empty()) {
        let feature = definition.key().to_string();
        let mut answers = Vec::new();
        for engine in [VersioningEngine::Auto, VersioningEngine::Memory] {
            let options = IncrementOptions { engine: engine.into(), ..IncrementOptions::default() };
            let frame = store.resolve_update(context, &feature, &options).await.unwrap();
            let plan = frame.clone().create_physical_plan().await.unwrap();
            let plan = displayable(plan.as_ref()).indent(false).to_string();
            let wanted = is_pushed && engine == VersioningEngine::Auto;
            assert_eq!(plan.contains("PostgresExec"), wanted, "{name} {feature}\n{plan}");
            answers.push(multiset(support::rows(frame).await.unwrap()));
        }
        assert_eq!(answers[0], answers[1], "{name} {feature}");
        if !md5 {
            // With the case's own algorithm the same as over Delta.
            let options = IncrementOptions::default();
            let frame = dev(&delta).resolve_update(context, &feature, &options).await.unwrap();
            assert_eq!(answers[0], multiset(support::rows(frame).await.unwrap()), "{name} {feature}");
        }
    }
}
