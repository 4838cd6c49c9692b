//! Increments that PostgreSQL computes from what has changed since an earlier one.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::postgres_push::{Base, CROPS, THREE_VIDEOS, VIDEOS, execute};
use crate::support::{self, column, multiset, query};

pub const ALL: &str = "SELECT * FROM resolve_update('video/crop')";
const COUNTS: &str = "SELECT metaxy_increment, count(*) AS n FROM resolve_update('video/crop') GROUP BY 1";
pub const MORE: &str = "INSERT INTO video SELECT column1 AS video_id, column2 AS size, named_struct('audio', column3, \
     'frames', column4) AS metaxy_provenance_by_field FROM (VALUES ('b', 21, 'a2', 'f9'), ('d', 4, 'a4', 'f4'))";

/// Whether nothing but changes is compared for a query, and its rows, which have to be those of everything.
pub async fn asked(base: &Base, sql: &str) -> (bool, Vec<Value>) {
    let plan = query(&base.session, &format!("EXPLAIN ANALYZE {sql}")).await;
    let plan = plan[0]["plan"].as_str().unwrap().to_owned();
    let rows = query(&base.session, sql).await;
    base.run(&["SET metaxy.incremental_resolve = false"]).await;
    let everything = query(&base.session, sql).await;
    base.run(&["SET metaxy.incremental_resolve = true"]).await;
    assert_eq!(multiset(rows.clone()), multiset(everything), "{sql}\n{plan}");
    (plan.contains("changes_only=1"), rows)
}

/// Asks until an answer is noted. None is while any transaction of the server is under way that is as old as a row, and
/// other tests have some.
pub async fn noted(base: &Base) {
    for _ in 0..200 {
        if asked(base, ALL).await.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no increment goes on from an earlier one");
}

pub async fn filled(schema: &str) -> Base {
    let base = Base::new(schema, VIDEOS).await;
    base.run(&["SET metaxy.incremental_resolve = true", THREE_VIDEOS, CROPS]).await;
    noted(&base).await;
    base
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn nothing_but_changes_is_compared() {
    support::run(async {
        let base = filled("changes_only").await;
        let plan = base.explain(ALL).await;
        let said = "PostgresExec: compared=changes since the last comparison, if its rows are still there, sql=SELECT ";
        assert!(plan.contains(said), "{plan}");
        for _ in 0..2 {
            assert_eq!(asked(&base, ALL).await, (true, vec![]));
            assert_eq!(asked(&base, COUNTS).await, (true, vec![]));
        }
        base.run(&[MORE, "DELETE FROM video WHERE video_id = 'c'"]).await;
        for rest in ["", " WHERE metaxy_increment = 'stale'", " WHERE size > 5", " ORDER BY video_id LIMIT 2"]
        {
            let (changes, rows) = asked(&base, &format!("{ALL}{rest}")).await;
            // A condition on samples is another question, which nobody has asked before.
            assert!(changes || rest.contains("size"), "{rest}");
            assert!(!rows.is_empty(), "{rest}");
        }
        let (changes, counts) = asked(&base, COUNTS).await;
        assert_eq!((changes, counts.len()), (true, 3));
        // What is written is no longer due, and what isn't still is.
        base.run(&["INSERT INTO video__crop SELECT * FROM resolve_update('video/crop') WHERE metaxy_increment = 'new'"])
            .await;
        let (changes, rows) = asked(&base, ALL).await;
        assert_eq!((changes, rows.len()), (true, 2), "{rows:?}");
        noted(&base).await;
        assert_eq!(asked(&base, ALL).await.1.len(), 2);
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn what_rows_numbers_do_not_show_has_everything_compared() {
    support::run(async {
        for (n, statement) in [
            "DELETE FROM $s.video WHERE video_id = 'a'",
            "UPDATE $s.video SET size = size + 1 WHERE video_id = 'b'",
            "UPDATE $s.video__crop SET metaxy_provenance = 'x' WHERE video_id = 'c'",
            "WITH gone AS (DELETE FROM $s.video WHERE video_id = 'a' RETURNING *) INSERT INTO $s.video \
             SELECT * FROM gone",
            "VACUUM FULL $s.video",
            "TRUNCATE $s.video__crop",
            "ALTER TABLE $s.video ADD COLUMN more text DEFAULT 'm'",
            "ALTER TABLE $s.video DROP COLUMN size; ALTER TABLE $s.video ADD COLUMN size bigint DEFAULT 7",
            "CREATE TYPE $s.mood AS ENUM ('x'); ALTER TABLE $s.video ADD COLUMN mood $s.mood",
            "CREATE TABLE $s.more () INHERITS ($s.video)",
            "ALTER TABLE $s.video ENABLE ROW LEVEL SECURITY",
            "CREATE TABLE $s.copy (LIKE $s.video INCLUDING ALL); INSERT INTO $s.copy SELECT * FROM $s.video; \
             DROP TABLE $s.video; ALTER TABLE $s.copy RENAME TO video",
        ]
        .into_iter()
        .enumerate()
        {
            let schema = format!("changes_not_{n}");
            let base = filled(&schema).await;
            execute(&statement.replace("$s", &schema)).await;
            let (changes, _) = asked(&base, ALL).await;
            assert!(!changes, "{statement}");
            base.run(&[MORE]).await;
            asked(&base, ALL).await;
            asked(&base, COUNTS).await;
            drop(base);
            execute(&format!("DROP SCHEMA {schema} CASCADE")).await;
        }
    });
}

/// Changed keys are written into a statement.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn keys_are_only_values_whatever_is_in_them() {
    support::run(async {
        let ids = ["", "NULL", "it''s", "\"", "\\", "\\\"", "{a,b}", " x ", "ä🎬", "$1", "E''\\''"];
        let write = |ids: &[&str], version: &str| {
            let rows: Vec<String> = ids.iter().map(|id| format!("('{id}')")).collect();
            format!(
                "INSERT INTO video SELECT column1 AS video_id, 1 AS size, named_struct('audio', '{version}', 'frames', 'f') \
                 AS metaxy_provenance_by_field FROM (VALUES {})",
                rows.join(", ")
            )
        };
        let base = filled("changes_hostile").await;
        base.run(&[&write(&ids, "v1")]).await;
        let (changes, rows) = asked(&base, ALL).await;
        assert_eq!((changes, rows.len()), (true, ids.len()));
        base.run(&[CROPS, &write(&ids, "v2"), "DELETE FROM video WHERE video_id IN ('\\', 'a')"]).await;
        let (changes, rows) = asked(&base, ALL).await;
        let of = |class: &str| rows.iter().filter(|row| row["metaxy_increment"] == class).count();
        assert_eq!((changes, of("stale"), of("orphaned")), (true, ids.len() - 1, 2), "{rows:?}");
        // A key that is NULL has no place in a list.
        execute(
            "INSERT INTO changes_hostile.video (size, metaxy_provenance_by_field, metaxy_provenance, \
             metaxy_data_version_by_field, metaxy_data_version, metaxy_feature_version, metaxy_updated_at) \
             SELECT size, metaxy_provenance_by_field, metaxy_provenance, metaxy_data_version_by_field, \
             metaxy_data_version, metaxy_feature_version, metaxy_updated_at FROM changes_hostile.video LIMIT 1",
        )
        .await;
        let (changes, with_null) = asked(&base, ALL).await;
        assert_eq!((changes, with_null.len()), (true, rows.len() + 1), "{with_null:?}");
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn keys_of_numbers_and_of_several_columns_go_on_as_well() {
    support::run(async {
        for (name, ids, frame) in [
            ("one", "\"frame\"", "value"),
            ("small", "\"frame\"", "CAST(value AS SMALLINT)"),
            ("two", "\"video_id\", \"frame\"", "value"),
        ] {
            let feature = |key: &str, deps: &str| {
                format!(
                    "[[feature]]\nkey = \"{key}\"\nid_columns = [{ids}]\nfields = [\"audio\", \"frames\"]\n{deps}\n"
                )
            };
            let features = feature("video", "") + &feature("video/crop", "deps = [\"video\"]");
            let write = |numbers: &str, version: &str| {
                format!(
                    "INSERT INTO video SELECT {frame} AS frame, 'v' || (value % 7) AS video_id, named_struct('audio', '{version}', \
                     'frames', 'f') AS metaxy_provenance_by_field FROM range({numbers})"
                )
            };
            let base = Base::new(&format!("changes_numbers_{name}"), &features).await;
            base.run(&["SET metaxy.incremental_resolve = true", &write("-50, 50", "v1"), CROPS]).await;
            noted(&base).await;
            base.run(&[&write("-60, 50, 11", "v2"), "DELETE FROM video WHERE frame IN (0, 3)"]).await;
            let (changes, rows) = asked(&base, ALL).await;
            let of = |class: &str| rows.iter().filter(|row| row["metaxy_increment"] == class).count();
            assert_eq!(
                (changes, of("new"), of("stale"), of("orphaned")),
                (true, 1, 9, 2),
                "{name}: {rows:?}"
            );
        }
    });
}

/// A row that is written before an answer and committed after it has a number that is less than those of rows in the
/// answer.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn rows_of_a_long_transaction_are_not_overlooked() {
    support::run(async {
        let base = filled("changes_long").await;
        let (mut other, connection) =
            tokio_postgres::connect(&crate::postgres_push::url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let late = other.transaction().await.unwrap();
        // With a number of its own for what is written below a savepoint.
        late.batch_execute(
            "INSERT INTO changes_long.video SELECT * FROM changes_long.video WHERE video_id = 'a'; SAVEPOINT s; \
             INSERT INTO changes_long.video (video_id, size, metaxy_provenance_by_field, metaxy_provenance, \
             metaxy_data_version_by_field, metaxy_data_version, metaxy_feature_version, metaxy_updated_at) \
             SELECT 'late', size, metaxy_provenance_by_field, metaxy_provenance, metaxy_data_version_by_field, \
             metaxy_data_version, metaxy_feature_version, metaxy_updated_at FROM changes_long.video LIMIT 1; RELEASE s",
        )
        .await
        .unwrap();
        // Writes here wait for each other; this one doesn't.
        execute(
            "INSERT INTO changes_long.video (video_id, size, metaxy_provenance_by_field, metaxy_provenance, \
             metaxy_data_version_by_field, metaxy_data_version, metaxy_feature_version, metaxy_updated_at) \
             SELECT 'early', size, metaxy_provenance_by_field, metaxy_provenance, metaxy_data_version_by_field, \
             metaxy_data_version, metaxy_feature_version, metaxy_updated_at FROM changes_long.video LIMIT 1",
        )
        .await;
        for _ in 0..3 {
            assert_eq!(column(&asked(&base, ALL).await.1, "video_id"), ["early"]);
        }
        base.run(&[CROPS]).await;
        for _ in 0..3 {
            assert_eq!(asked(&base, ALL).await.1, Vec::<Value>::new());
        }
        late.commit().await.unwrap();
        assert_eq!(column(&asked(&base, ALL).await.1, "video_id"), ["late"]);
    });
}

/// Whoever asks for no more rows than there are keeps nobody from altering a table.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn a_table_can_be_altered_while_its_rows_are_looked_at() {
    support::run(async {
        let base = filled("changes_locks").await;
        base.run(&[MORE]).await;
        let mut rows = base.session.sql(ALL).await.unwrap().execute_stream().await.unwrap();
        let first = rows.next().await.unwrap().unwrap();
        assert_eq!(first.num_rows(), 2);
        let altered =
            execute("SET lock_timeout = '20s'; ALTER TABLE changes_locks.video ADD COLUMN more int");
        altered.await;
        assert!(rows.next().await.is_none());
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn small_tables_are_compared_as_a_whole_unless_told_otherwise() {
    support::run(async {
        let base = Base::new("changes_small", VIDEOS).await;
        base.run(&[THREE_VIDEOS, CROPS]).await;
        let plan = base.explain(ALL).await;
        assert!(plan.contains("PostgresExec: sql=SELECT "), "{plan}");
    });
}
