//! Whatever is in the tables of a database: it computes what would be computed in memory, or leaves it to that.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use serde_json::{Value, json};

use crate::postgres_push::{Base, CROPS, THREE_VIDEOS, VIDEOS, execute, url};
use crate::support::{self, column, error, multiset, query};

/// An increment of the crops, whose parents meet a condition.
fn increment(condition: &str, engine: &str) -> String {
    format!("SELECT * FROM resolve_update('video/crop', filters => MAP {{'video': {condition}}}, engine => '{engine}')")
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
                let rows = query(&base.session, &format!("SELECT video_id FROM video WHERE {condition} ORDER BY 1"));
                assert_eq!(column(&rows.await, "video_id"), wanted, "{encoding}: {condition}");
                let rows = query(&base.session, &format!("{} ORDER BY video_id", increment(condition, "auto")));
                assert_eq!(column(&rows.await, "video_id"), wanted, "{encoding}: {condition}");
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
