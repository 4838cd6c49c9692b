//! PostgreSQL as a store: what SQL files can't say of tables, types, several writers and other stores.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::concurrency::{FEATURES, WRITERS, all_at_once, insert};
use crate::support::{Project, column, error, multiset, postgres, query, run};

/// A connection beside those of the store.
pub async fn server() -> Client {
    let (client, connection) = tokio_postgres::connect(&postgres(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs statements in the schema of a project.
pub async fn beside(project: &Project, sql: &str) -> Client {
    let client = server().await;
    client.batch_execute(&format!("SET search_path = \"{}\"; {sql}", project.schema())).await.unwrap();
    client
}

/// An INSERT of one sample with more columns, each followed by a comma.
fn sample(id: &str, columns: &str) -> String {
    format!(
        "INSERT INTO video__raw SELECT {id} AS video_id, {columns} named_struct('default', 'v') \
         AS metaxy_provenance_by_field"
    )
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn eight_writers_lose_nothing() {
    run(async {
        let project = Project::postgres(FEATURES);
        let results = all_at_once(&project, |i| (0..3).map(|round| insert(i, round)).collect()).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), WRITERS, "{results:?}");
        let session = project.session().await;
        let rows = query(&session, "SELECT video_id, metaxy_updated_at, shared FROM video__raw").await;
        assert_eq!(rows.len(), WRITERS * 3);
        let times: BTreeSet<String> =
            column(&rows, "metaxy_updated_at").iter().map(Value::to_string).collect();
        assert_eq!(times.len(), WRITERS * 3, "every write has a time of its own");
        // Each has brought columns that only it has.
        let rows = query(&session, "SELECT c7_2, c0_0 FROM video__raw WHERE video_id = 'w7-2'").await;
        assert_eq!(rows, [json!({"c7_2": 7, "c0_0": null})]);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_key_makes_one_of_eight_writes() {
    run(async {
        let project = Project::postgres(FEATURES);
        let write = |i: usize| vec!["SET metaxy.write_key = 'once'".to_owned(), insert(i, 0)];
        let results = all_at_once(&project, write).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let session = project.session().await;
        assert_eq!(query(&session, "SELECT video_id FROM history.video__raw").await.len(), 1);
        // The keys of a table go with it.
        beside(&project, "DROP TABLE video__raw").await;
        let session = project.session().await;
        query(&session, "SET metaxy.write_key = 'once'").await;
        query(&session, &insert(1, 0)).await;
        assert_eq!(query(&session, "SELECT video_id FROM video__raw").await.len(), 1);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn without_leave_to_create_tables_the_error_has_the_statements() {
    run(async {
        let project = Project::of_kind("postgresql", FEATURES, "", "");
        let session = project.session().await;
        let admin = server().await;
        let statements = |message: &str| {
            let (_, statements) = message.split_once("or run: ").unwrap_or_else(|| panic!("{message}"));
            statements.to_owned()
        };
        let message = error(&session, &sample("'v1'", "1 AS size,")).await;
        assert!(
            message.contains("its table does not exist, and auto_create_tables is off; turn it on"),
            "{message}"
        );
        // The schema is not there either.
        assert!(statements(&message).starts_with("CREATE SCHEMA IF NOT EXISTS \""), "{message}");
        admin.batch_execute(&statements(&message)).await.unwrap();
        beside(&project, "DROP TABLE video__raw").await;
        let message = error(&session, &sample("'v1'", "1 AS size,")).await;
        assert!(statements(&message).starts_with("CREATE TABLE "), "{message}");
        admin.batch_execute(&statements(&message)).await.unwrap();
        query(&session, &sample("'v1'", "1 AS size,")).await;
        // More fields of versions need no leave, other columns do.
        let message = error(&session, &sample("'v2'", "2 AS size, true AS good,")).await;
        assert!(message.contains("its table lacks columns"), "{message}");
        assert!(statements(&message).ends_with("ADD COLUMN \"good\" boolean;"), "{message}");
        admin.batch_execute(&statements(&message)).await.unwrap();
        query(&session, &sample("'v2'", "2 AS size, true AS good,")).await;
        query(&session, "SET metaxy.write_key = 'k'").await;
        let message = error(&session, &sample("'v3'", "3 AS size,")).await;
        admin.batch_execute(&statements(&message)).await.unwrap();
        query(&session, &sample("'v3'", "3 AS size,")).await;
        let rows = query(&session, "SELECT video_id, size, good FROM video__raw ORDER BY 1").await;
        let row = |id: &str, size: i64| json!({"video_id": id, "size": size, "good": null});
        assert_eq!(rows, [row("v1", 1), json!({"video_id": "v2", "size": 2, "good": true}), row("v3", 3)]);
        // The settings are recorded by those statements, too.
        project.configure("", "hash_algorithm = \"md5\"");
        let message = error(&project.session().await, "SELECT * FROM video__raw").await;
        assert!(message.contains("the table was written with hash_algorithm = \"xxhash32\""), "{message}");
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_schema_that_is_not_there_is_a_warning_unless_it_would_be_created() {
    run(async {
        let project = Project::of_kind("postgresql", FEATURES, "", "");
        let session = project.session().await;
        session.take_warnings();
        let message = error(&session, "SELECT video_id FROM video__raw").await;
        assert!(message.contains("nothing has been written to it yet"), "{message}");
        let warnings = session.take_warnings().join("\n");
        let reason = format!(
            "there is no schema {:?}, so nothing is read; check the store's `schema`",
            project.schema()
        );
        assert!(warnings.contains("store dev") && warnings.contains(&reason), "{warnings}");
        beside(&project, &format!("CREATE SCHEMA {:?}", project.schema())).await;
        let message = error(&session, "SELECT video_id FROM video__raw").await;
        assert!(message.contains("nothing has been written to it yet"), "{message}");
        assert_eq!(session.take_warnings(), [""; 0]);
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        session.take_warnings();
        let message = error(&session, "SELECT video_id FROM video__raw").await;
        assert!(message.contains("nothing has been written to it yet"), "{message}");
        assert_eq!(session.take_warnings(), [""; 0]);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn values_of_all_types_come_back_as_they_were() {
    run(async {
        let project = Project::postgres(FEATURES);
        let columns = "\
            true AS a, arrow_cast(-3, 'Int8') AS b, arrow_cast(-300, 'Int16') AS c, arrow_cast(70000, 'Int32') AS d, \
            -9223372036854775807 AS e, arrow_cast(1.5, 'Float32') AS f, 0.1 AS g, \
            arrow_cast(-12345.678, 'Decimal128(20, 3)') AS h, 'ä\u{1F3AC}''\"\\' AS i, \
            arrow_cast(X'00ff27', 'Binary') AS j, DATE '1901-02-03' AS k, arrow_cast(TIME '10:11:12.131415', 'Time64(Microsecond)') AS l, \
            arrow_cast('1969-12-31T23:59:59.999999', 'Timestamp(Microsecond, None)') AS m, \
            arrow_cast('2026-01-02T03:04:05.000006Z', 'Timestamp(Microsecond, Some(\"UTC\"))') AS n, \
            named_struct('x', 1, 'y', make_array('p', NULL)) AS o, make_array(1.5, NULL) AS p, \
            MAP {'k': 1} AS q, make_array(named_struct('t', DATE '2020-02-02')) AS r, CAST(NULL AS BIGINT) AS s,";
        let session = project.session().await;
        let names = "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s";
        let given = format!("SELECT {columns} 0 AS z");
        let expected = query(&session, &format!("SELECT {names} FROM ({given})")).await;
        query(&session, &sample("'v1'", columns)).await;
        // Before and after the table is opened anew.
        for session in [session, project.session().await] {
            let found = query(&session, &format!("SELECT {names} FROM video__raw")).await;
            assert_eq!(found, expected);
            let stored = query(&session, "SELECT e, h, k, m FROM history.video__raw WHERE m < now()").await;
            assert_eq!(stored.len(), 1);
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn tables_that_others_made_keep_their_types() {
    run(async {
        let project = Project::postgres(FEATURES);
        let schema = project.schema();
        let create = format!(
            "CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"; \
             CREATE TABLE video__raw (row_id bigint GENERATED ALWAYS AS IDENTITY, video_id uuid, note varchar(9), \
             tags text[], price numeric, doc json, metaxy_provenance_by_field jsonb, metaxy_provenance text, \
             metaxy_data_version_by_field jsonb, metaxy_data_version text, metaxy_feature_version text, \
             metaxy_project_version text, metaxy_created_at timestamptz, metaxy_updated_at timestamptz, \
             metaxy_deleted_at timestamptz, metaxy_materialization_id text)"
        );
        server().await.batch_execute(&create).await.unwrap();
        let session = project.session().await;
        let id = "'6b1d7f5e-0f2b-4f3c-9a55-0c1d2e3f4a5b'";
        query(
            &session,
            &sample(id, "'n' AS note, make_array('a', NULL) AS tags, '1.50' AS price, '{\"x\": 1}' AS doc,"),
        )
        .await;
        query(
            &session,
            &sample(id, "'m' AS note, make_array('b') AS tags, '2' AS price, NULL::varchar AS doc,"),
        )
        .await;
        let rows = query(&session, "SELECT row_id, video_id, note, tags, price FROM video__raw").await;
        assert_eq!(
            rows,
            [
                json!({"row_id": 2, "video_id": id.trim_matches('\''), "note": "m", "tags": ["b"], "price": "2"})
            ]
        );
        let rows = query(&session, "SELECT tags, doc FROM history.video__raw WHERE note = 'n'").await;
        assert_eq!(rows, [json!({"tags": ["a", null], "doc": "{\"x\": 1}"})]);
        let fields =
            query(&session, "SELECT metaxy_provenance_by_field['default'] AS v FROM video__raw").await;
        assert_eq!(fields, [json!({"v": "v"})]);
        // Fields that another program adds are found.
        let client = beside(
            &project,
            "UPDATE video__raw SET metaxy_provenance_by_field = metaxy_provenance_by_field || '{\"more\": \"m\"}'",
        )
        .await;
        let session = project.session().await;
        let rows = query(
            &session,
            "SELECT DISTINCT metaxy_provenance_by_field['more'] AS v FROM history.video__raw",
        );
        assert_eq!(rows.await, [json!({"v": "m"})]);
        drop(client);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn many_rows_wait_outside_of_memory() {
    run(async {
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        let many = "INSERT INTO video__raw SELECT 'v' || value AS video_id, repeat('x', 300) AS note, \
                    named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 150000)";
        query(&session, many).await;
        let counted = query(
            &session,
            "SELECT count(*) AS n, count(DISTINCT metaxy_updated_at) AS times, min(length(note)) AS l FROM video__raw",
        )
        .await;
        assert_eq!(counted, [json!({"n": 150_000, "times": 1, "l": 300})]);
        // An error in the middle of the rows leaves nothing.
        let wrong = many.replace("'v' || value", "CASE WHEN value < 149999 THEN 'w' || value END");
        let message = error(&session, &wrong).await;
        assert!(message.contains("NULL in id column video_id"), "{message}");
        let counted = query(&session, "SELECT count(*) AS n FROM history.video__raw").await;
        assert_eq!(counted, [json!({"n": 150_000})]);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn stores_of_different_kinds_fall_back_to_each_other() {
    run(async {
        let features = "[[feature]]\nkey = \"video/raw\"\nid_columns = [\"video_id\"]\n\n\
                        [[feature]]\nkey = \"video/crop\"\nid_columns = [\"video_id\"]\n\
                        deps = [{ feature = \"video/raw\" }]\n";
        for (kind, other) in [("delta", "postgresql"), ("postgresql", "delta")] {
            let project =
                Project::of_kind(kind, features, "auto_create_tables = true", "fallback_stores = [\"prod\"]");
            let text = std::fs::read_to_string(project.path().join("metaxy.toml")).unwrap();
            let place = if other == "delta" {
                format!("root_path = {:?}", project.path().join("prod"))
            } else {
                format!("connection_string = {:?}\nschema = \"{} prod\"", postgres(), project.schema())
            };
            project.write(
                "metaxy.toml",
                &format!("{text}\n[stores.prod]\ntype = {other:?}\n[stores.prod.config]\n{place}\n"),
            );
            let session = project.session().await;
            query(&session, &sample("'v1'", "1 AS size,").replace("video__raw", "prod.features.video__raw"))
                .await;
            let rows = query(&session, "SELECT video_id, size FROM video__raw").await;
            assert_eq!(rows, [json!({"video_id": "v1", "size": 1})], "{kind} over {other}");
            let increment = "SELECT metaxy_increment, video_id, size FROM resolve_update('video/crop')";
            let new = [json!({"metaxy_increment": "new", "video_id": "v1", "size": 1})];
            assert_eq!(query(&session, increment).await, new, "{kind} over {other}");
            query(&session, "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')").await;
            assert!(query(&session, increment).await.is_empty(), "{kind} over {other}");
            // And all of it to the other side.
            query(&session, "CALL prod.system.copy(from_store => 'dev')").await;
            let rows = query(&session, "SELECT video_id, size FROM prod.features.video__crop").await;
            assert_eq!(rows, [json!({"video_id": "v1", "size": 1})], "{kind} over {other}");
            query(&session, "CALL push()").await;
            let pushed = query(&session, "SELECT feature_key FROM system.feature_versions").await;
            assert_eq!(
                multiset(column(&pushed, "feature_key")),
                multiset([json!("video/raw"), json!("video/crop")])
            );
        }
    });
}
