//! Whatever is in the tables of a database: it computes what would be computed in memory, or leaves it to that.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use serde_json::Value;

use crate::postgres_push::{Base, CROPS, VIDEOS, execute, url};
use crate::support::{self, column, error, multiset, query};

/// An increment of the crops, whose parents meet a condition.
fn increment(condition: &str, engine: &str) -> String {
    format!(
        "SELECT * FROM resolve_update('video/crop', filters => MAP {{'video': {condition}}}, engine => '{engine}')"
    )
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_database_in_another_encoding_leaves_text_to_us() {
    support::run(async {
        // What it can't hold is not asked for either; and a wildcard is a byte in the last one.
        for (encoding, ids) in [("WIN1252", ["€", "ÿ", "z"]), ("SQL_ASCII", ["日本", "é", "z"])] {
            let database = format!("metaxy_test_{}", encoding.to_lowercase());
            execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
            execute(&format!(
                "CREATE DATABASE {database} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            ))
            .await;
            let url = url();
            let (server, _) = url.rsplit_once('/').unwrap();
            let url = format!("{server}/{database}");
            let base = Base::with("push_encoding", VIDEOS, "hash_algorithm = \"md5\"", &url).await;
            for id in ids {
                let insert = format!(
                    "INSERT INTO video SELECT '{id}' AS video_id, 1 AS size, \
                     named_struct('audio', '{id}', 'frames', 'f') AS metaxy_provenance_by_field"
                );
                base.run(&[&insert]).await;
            }
            let plan = base.explain("SELECT * FROM resolve_update('video/crop')").await;
            let reason = format!("engine=in memory, reason=the encoding of the database is {encoding}");
            assert!(plan.contains(&reason), "{plan}");
            let mut sorted = ids;
            sorted.sort_unstable();
            for (condition, wanted) in [
                ("video_id > 'z'", &sorted[1..]),
                ("video_id <> '\u{1F3AC}'", &sorted[..]),
                ("video_id LIKE '_' AND video_id < 'zz'", &sorted[..1]),
            ] {
                let rows =
                    query(&base.session, &format!("SELECT video_id FROM video WHERE {condition} ORDER BY 1"))
                        .await;
                assert_eq!(column(&rows, "video_id"), wanted, "{encoding}: {condition}");
                let rows =
                    query(&base.session, &format!("{} ORDER BY video_id", increment(condition, "auto")))
                        .await;
                assert_eq!(column(&rows, "video_id"), wanted, "{encoding}: {condition}");
            }
            base.run(&[CROPS]).await;
            assert_eq!(query(&base.session, &increment("true", "auto")).await, Vec::<Value>::new());
            drop(base);
            execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn what_is_no_number_is_less_or_more_than_all_by_its_sign() {
    support::run(async {
        let base = Base::new("push_nan", VIDEOS).await;
        base.run(&["INSERT INTO video SELECT column1 AS video_id, column2 AS score, \
             arrow_cast(column2, 'Float32') AS ratio, named_struct('audio', 'a', 'frames', 'f') AS \
             metaxy_provenance_by_field FROM (VALUES ('a', 0.0/0.0), ('b', -(0.0/0.0)), ('c', 1.5), ('d', -1e30), \
             ('e', NULL), ('f', 1.0/0.0), ('g', -1.0/0.0), ('h', -0.0))"])
            .await;
        let ratio = "arrow_cast(1.0, 'Float32')";
        for (condition, count) in [
            ("score > 1.0", 3),
            ("score < 1.0", 4),
            ("1.0 < score", 3),
            ("NOT (score >= 1.0)", 4),
            ("score <> 1.5", 6),
            ("score NOT IN (1.5, 2.5)", 6),
            ("score BETWEEN -1e300 AND 1e300", 3),
            ("score NOT BETWEEN -1e300 AND 1e300", 4),
            ("coalesce(score, 2.0) < 1.0", 4),
            ("CASE WHEN video_id = 'c' THEN 2.0 ELSE score END < 1.0", 4),
            ("score IS DISTINCT FROM 1.5", 7),
            (format!("ratio > {ratio}").as_str(), 3),
            (format!("ratio < {ratio}").as_str(), 4),
        ] {
            let options = format!(", filters => MAP {{'video': {condition}}}");
            let rows = base.both("video/crop", &options, "").await;
            assert_eq!(rows.len(), count, "{condition}: {rows:?}");
        }
        for condition in ["score > 0.0", "score = ratio", "score BETWEEN score AND 1.0"] {
            let auto = query(&base.session, &increment(condition, "auto")).await;
            let memory = query(&base.session, &increment(condition, "memory")).await;
            assert_eq!(multiset(auto), multiset(memory), "{condition}");
        }
    });
}

/// What all odd values of a versions column are.
const ODD: [&str; 7] = [
    r#"{"audio": "x", "frames": {"a": 1, "b": ["}", null]}}"#,
    r#"{"audio": 1.50, "frames": true}"#,
    r#"{"audio": null}"#,
    "[1, 2]",
    "\"text\"",
    "3",
    "null",
];

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn json_of_other_shapes_gives_the_same_increment() {
    support::run(async {
        let base = Base::new("push_odd", VIDEOS).await;
        for (i, _) in ODD.iter().enumerate() {
            base.run(&[&format!(
                "INSERT INTO video SELECT 'v{i}' AS video_id, named_struct('k', 'v', 'l', 'v') AS texts, \
                 named_struct('k', 'v', 'n', 1) AS mixed, \
                 named_struct('audio', 'a', 'frames', 'f') AS metaxy_provenance_by_field"
            )])
            .await;
        }
        base.run(&[CROPS]).await;
        for (i, odd) in ODD.iter().enumerate() {
            let set = format!(
                "SET search_path = push_odd; UPDATE video SET metaxy_data_version_by_field = '{odd}', \
                 texts = replace(replace('{odd}', 'audio', 'k'), 'frames', 'l')::jsonb WHERE video_id = 'v{i}'; \
                 UPDATE video__crop SET metaxy_provenance_by_field = '{odd}', metaxy_data_version_by_field = '{odd}' \
                 WHERE video_id = 'v{i}'"
            );
            execute(&set).await;
        }
        let rows = base.both("video/crop", "", "").await;
        assert_eq!(rows.len(), ODD.len());
        for condition in ["texts['l'] IS NULL", "texts['l'] = 'true'", "texts['k'] > '0'"] {
            base.both("video/crop", &format!(", filters => MAP {{'video': {condition}}}"), "").await;
        }
        let plan = base.explain(&increment("mixed['k'] = 'v'", "auto")).await;
        assert!(plan.contains("engine=in memory"), "{plan}");
        assert_eq!(query(&base.session, &increment("mixed['k'] = 'v'", "auto")).await.len(), ODD.len());
        // Orphans show what is stored.
        base.run(&["DELETE FROM video WHERE true"]).await;
        assert_eq!(base.both("video/crop", "", "").await.len(), ODD.len());
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn an_infinite_time_is_an_error_that_names_its_column_wherever_it_is_read() {
    support::run(async {
        let base = Base::new("push_infinite", VIDEOS).await;
        base.run(&["INSERT INTO video SELECT 'a' AS video_id, TIMESTAMP '2024-01-01' AS seen, \
             arrow_cast('2026-01-02T03:04:05Z', 'Timestamp(Microsecond, Some(\"UTC\"))') AS moment, \
             DATE '2024-01-01' AS day, named_struct('audio', 'a', 'frames', 'f') AS metaxy_provenance_by_field"])
            .await;
        let conditions = [
            ("seen", "seen > arrow_cast('2024-01-02T00:00:00', 'Timestamp(Microsecond, None)')"),
            (
                "moment",
                "moment > arrow_cast('2024-01-02T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')",
            ),
            ("day", "day > DATE '2024-01-02'"),
        ];
        for (column, condition) in conditions {
            let options = format!(", filters => MAP {{'video': {condition}}}");
            base.both("video/crop", &options, "").await;
            for infinity in ["infinity", "-infinity"] {
                execute(&format!("UPDATE push_infinite.video SET {column} = '{infinity}'")).await;
                for engine in ["native", "memory"] {
                    let message = error(&base.session, &increment(condition, engine)).await;
                    assert!(message.contains(&format!("column \"{column}\"")), "{engine}: {message}");
                    assert!(message.contains("can't be read"), "{engine}: {message}");
                }
            }
            execute(&format!("UPDATE push_infinite.video SET {column} = NULL")).await;
            base.both("video/crop", &options, "").await;
        }
        let left = query(&base.session, &increment("day IS NOT NULL", "native")).await;
        assert_eq!(left, Vec::<Value>::new());
    });
}
