//! A database is never ours alone: tables that others rewrite, defaults that others set, and roles that may do little.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::time::Duration;

use serde_json::{Value, json};

use crate::concurrency::{FEATURES, WRITERS, all_at_once, insert};
use crate::postgres::{beside, server};
use crate::postgres_faults::at;
use crate::support::{Project, column, error, postgres, query, run, try_query};

/// Twenty samples, from v10 to v29.
fn twenty(size: i64) -> String {
    format!(
        "INSERT INTO video__raw SELECT 'v' || (value + 9) AS video_id, {size} AS size, \
         named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 20)"
    )
}

/// Runs a statement that waits for the lock of the table until another client has done this with it, which is `$T` there.
async fn overtaken(project: &Project, sql: &'static str, meanwhile: &str) -> Vec<Value> {
    let schema = project.schema();
    let admin = server().await;
    let lock = format!("hashtextextended('metaxy/{schema}/video__raw', 0)");
    admin.batch_execute(&format!("SELECT pg_advisory_lock({lock})")).await.unwrap();
    let session = project.session().await;
    let statement = tokio::spawn(async move { try_query(&session, sql).await });
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%{schema}%'"
    );
    while admin.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        if statement.is_finished() {
            let outcome = statement.await;
            panic!("{outcome:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let meanwhile = meanwhile.replace("$T", &format!("\"{schema}\".video__raw"));
    server().await.batch_execute(&meanwhile).await.unwrap();
    admin.batch_execute(&format!("SELECT pg_advisory_unlock({lock})")).await.unwrap();
    statement.await.unwrap().unwrap()
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_hard_delete_takes_the_rows_it_was_asked_for_out_of_a_table_that_is_rewritten_meanwhile() {
    run(async {
        let project = Project::postgres(FEATURES);
        query(&project.session().await, &twenty(1)).await;
        beside(&project, "DELETE FROM video__raw WHERE video_id < 'v15'").await;
        let sql = "DELETE FROM history.video__raw WHERE video_id IN ('v17', 'v18')";
        overtaken(&project, sql, "VACUUM FULL $T").await;
        let left = query(&project.session().await, "SELECT video_id FROM video__raw ORDER BY 1").await;
        let wanted: Vec<Value> =
            (15..30).filter(|id| ![17, 18].contains(id)).map(|id| json!(format!("v{id}"))).collect();
        assert_eq!(column(&left, "video_id"), wanted);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn folding_drops_only_old_rows_of_a_table_that_is_rewritten_meanwhile() {
    run(async {
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        query(&session, &twenty(1)).await;
        beside(&project, "DELETE FROM video__raw WHERE video_id < 'v15'").await;
        query(&session, &twenty(2)).await;
        overtaken(&project, "CALL optimize('video/raw', fold_older_than => '0s')", "VACUUM FULL $T").await;
        let left = query(&session, "SELECT size, count(*) AS n FROM history.video__raw GROUP BY 1").await;
        assert_eq!(left, [json!({"size": 2, "n": 20})]);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn writers_agree_under_any_default_of_isolation() {
    run(async {
        for level in ["repeatable read", "serializable"] {
            let level = level.replace(' ', "%5C%20");
            let project =
                at(FEATURES, &format!("{}?options=-c%20default_transaction_isolation%3D{level}", postgres()));
            // The first writes, which create the table and its columns, and others after them.
            let results = all_at_once(&project, |i| (0..3).map(|round| insert(i, round)).collect()).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), WRITERS, "{results:?}");
            let session = project.session().await;
            let times = "SELECT count(DISTINCT metaxy_updated_at) AS n FROM history.video__raw";
            assert_eq!(query(&session, times).await, [json!({"n": WRITERS * 3})]);
            let once = |i| vec!["SET metaxy.write_key = 'once'".to_owned(), insert(i, 9)];
            let results = all_at_once(&project, once).await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            let counted = query(&session, "SELECT count(*) AS n FROM history.video__raw").await;
            assert_eq!(counted, [json!({"n": WRITERS * 3 + 1})]);
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_delete_leaves_a_row_alone_that_came_while_it_waited() {
    run(async {
        let level = "default_transaction_isolation%3Drepeatable%5C%20read";
        let project = at(FEATURES, &format!("{}?options=-c%20{level}", postgres()));
        query(&project.session().await, &twenty(1)).await;
        let newer = "CREATE TEMPORARY TABLE newer AS SELECT * FROM $T WHERE video_id = 'v12'; \
                     UPDATE newer SET size = 2, metaxy_updated_at = now(); INSERT INTO $T SELECT * FROM newer";
        overtaken(&project, "DELETE FROM video__raw WHERE size = 1", newer).await;
        let left = query(&project.session().await, "SELECT video_id, size FROM video__raw").await;
        assert_eq!(left, [json!({"video_id": "v12", "size": 2})]);
    });
}

/// A role that may do what `grants` say, in which `$S` is the schema of a project; dropped in the end.
pub struct Role(String);

impl Role {
    pub async fn new(name: &str) -> Self {
        let role = Self(format!("metaxy_{name}_{}", std::process::id()));
        server().await.batch_execute(&format!("CREATE ROLE {} LOGIN", role.0)).await.unwrap();
        role
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub async fn may(&self, project: &Project, grants: &[&str]) {
        for grant in grants {
            let grant = grant.replace("$S", &format!("\"{}\"", project.schema()));
            server().await.batch_execute(&format!("GRANT {grant} TO {}", self.0)).await.unwrap();
        }
    }

    /// Works on the project's tables from now on as this role.
    pub fn takes_over(&self, project: &Project) {
        let url = postgres();
        let (_, place) = url.split_once('@').unwrap();
        let file = project.path().join("metaxy.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(&url, &format!("postgresql://{}@{place}", self.0))).unwrap();
    }

    pub async fn remove(self) {
        let sql = format!("DROP OWNED BY {0}; DROP ROLE {0}", self.0);
        server().await.batch_execute(&sql).await.unwrap();
    }
}

/// One sample of some writer, with more columns, each followed by a comma.
fn one(id: &str, columns: &str, fields: &str) -> String {
    format!(
        "INSERT INTO video__raw SELECT '{id}' AS video_id, {columns} named_struct({fields}) \
         AS metaxy_provenance_by_field"
    )
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_table_is_created_in_a_schema_that_is_there_without_leave_to_create_schemas() {
    run(async {
        let (project, role) = (Project::postgres(FEATURES), Role::new("creates").await);
        server().await.batch_execute(&format!("CREATE SCHEMA \"{}\"", project.schema())).await.unwrap();
        role.may(&project, &["USAGE, CREATE ON SCHEMA $S"]).await;
        role.takes_over(&project);
        let session = project.session().await;
        query(&session, &one("a", "", "'default', 'v'")).await;
        assert_eq!(query(&session, "SELECT video_id FROM video__raw").await, [json!({"video_id": "a"})]);
        role.remove().await;
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_role_that_may_only_add_rows_writes() {
    run(async {
        let (project, role) = (Project::postgres(FEATURES), Role::new("appends").await);
        let owner = project.session().await;
        query(&owner, "SET metaxy.write_key = 'first'").await;
        query(&owner, &one("owner", "1 AS size,", "'default', 'v'")).await;
        role.may(&project, &["USAGE ON SCHEMA $S", "SELECT ON ALL TABLES IN SCHEMA $S"]).await;
        role.takes_over(&project);
        let session = project.session().await;
        let message = error(&session, &one("a", "2 AS size,", "'default', 'v'")).await;
        assert!(message.contains("permission denied for table video__raw"), "{message}");
        assert!(message.contains("to write INSERT too"), "{message}");
        role.may(&project, &["INSERT ON ALL TABLES IN SCHEMA $S"]).await;
        let write = |i: usize| {
            (0..3).map(|n| one(&format!("w{i}-{n}"), "2 AS size,", "'default', 'v'")).collect::<Vec<_>>()
        };
        let results = all_at_once(&project, write).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let once = |i: usize| {
            vec![
                "SET metaxy.write_key = 'once'".to_owned(),
                one(&format!("k{i}"), "3 AS size,", "'default', 'v'"),
            ]
        };
        let results = all_at_once(&project, once).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let counted =
            "SELECT count(*) AS n, count(DISTINCT metaxy_updated_at) AS times FROM history.video__raw";
        let n = WRITERS * 3 + 2;
        assert_eq!(query(&session, counted).await, [json!({"n": n, "times": n})]);
        // Other fields of the versions need nothing of the owner.
        let fields = FEATURES.replace("id_columns", "fields = [\"default\", \"more\"]\nid_columns");
        project.write("features.toml", &fields);
        let session = project.session().await;
        query(&session, &one("more", "4 AS size,", "'default', 'v', 'more', 'w'")).await;
        let more = "SELECT metaxy_provenance_by_field['more'] AS v FROM video__raw";
        assert_eq!(query(&session, more).await, [json!({"v": "w"})]);
        // A soft delete adds rows; a column can't be added, nor a row taken out.
        query(&session, "DELETE FROM video__raw WHERE video_id = 'more'").await;
        assert_eq!(query(&session, more).await, Vec::<Value>::new());
        let message = error(&session, &one("b", "true AS good,", "'default', 'v', 'more', 'w'")).await;
        assert!(message.contains("must be owner of table video__raw"), "{message}");
        assert!(message.contains("let somebody run who may: ALTER TABLE "), "{message}");
        let message = error(&session, "DELETE FROM history.video__raw WHERE size = 2").await;
        assert!(message.contains("permission denied") && message.contains("history DELETE too"), "{message}");
        role.remove().await;
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn values_that_do_not_come_back_are_refused_or_told_of_by_their_column() {
    run(async {
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        let day = |days: i64| format!("arrow_cast(arrow_cast({days}, 'Int32'), 'Date32') AS day,");
        let time = |micros: i64| format!("arrow_cast({micros}, 'Timestamp(Microsecond, None)') AS seen,");
        for columns in [day(-2_147_472_691), day(2_147_483_647), time(i64::MIN + 946_684_800_000_000)] {
            let message = error(&session, &one("a", &columns, "'default', 'v'")).await;
            assert!(message.contains("too far off for PostgreSQL"), "{message}");
            assert!(message.contains("column \"day\"") || message.contains("column \"seen\""), "{message}");
        }
        query(&session, &one("a", &format!("{}{}", day(-700_000), time(0)), "'default', 'v'")).await;
        let grid =
            "ALTER TABLE video__raw ADD COLUMN grid int[]; UPDATE video__raw SET grid = '{{1, 2}, {3, 4}}'";
        beside(&project, grid).await;
        let session = project.session().await;
        let rows = query(&session, "SELECT video_id, day FROM video__raw").await;
        assert_eq!(rows, [json!({"video_id": "a", "day": "0053-06-19"})]);
        let message = error(&session, "SELECT * FROM video__raw").await;
        assert!(
            message.contains("column \"grid\": an array of more than one dimension can't be read"),
            "{message}"
        );
    });
}
