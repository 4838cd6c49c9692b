//! Parquet stores with files that other programs made: other layouts, no keys of ours, statistics or none, ties.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use datafusion::common::config::TableParquetOptions;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};

use crate::delta_foreign::{RAW, Row, stored};
use crate::delta_order::TIME;
use crate::support::{Project, column, error, feature_version, files_below, multiset, only, query, run};

/// Writes the rows of a query to a file, as other programs do, with at most so many rows in a group.
pub async fn write(path: &Path, sql: &str, statistics: bool, group: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut options = TableParquetOptions::default();
    options.global.statistics_enabled = Some(if statistics { "page" } else { "none" }.to_owned());
    options.global.max_row_group_size = group;
    let frame = SessionContext::new().sql(sql).await.unwrap();
    let one_file = DataFrameWriteOptions::new().with_single_file_output(true);
    frame.write_parquet(path.to_str().unwrap(), one_file, Some(options)).await.unwrap();
}

async fn put(project: &Project, name: &str, sql: &str) -> PathBuf {
    let path = project.table("clip/raw").join(name);
    write(&path, sql, true, 1000).await;
    path
}

fn insert(video_id: &str) -> String {
    format!(
        "INSERT INTO clip__raw SELECT '{video_id}' AS video_id, 1 AS n, 'ours' AS note, \
         named_struct('audio', 'x', 'frames', 'y') AS metaxy_provenance_by_field"
    )
}

async fn project() -> (Project, MetaxySession, String) {
    let project = Project::parquet(RAW);
    let session = project.session().await;
    let version = feature_version(&session, "clip/raw").await;
    (project, session, version)
}

#[test]
fn a_foreign_file_among_ours_is_read() {
    run(async {
        let (project, session, version) = project().await;
        query(&session, &insert("v1")).await;
        let rows = [Row { video_id: "v2", note: "theirs", ..Row::default() }];
        put(&project, "part-0.zstd.parquet", &stored(&version, false, &rows)).await;
        let read = "SELECT video_id, note FROM clip__raw ORDER BY video_id";
        let expected =
            [json!({"video_id": "v1", "note": "ours"}), json!({"video_id": "v2", "note": "theirs"})];
        assert_eq!(query(&session, read).await, expected);
        // The next write takes the next number, and the settings stay.
        query(&session, &insert("v3")).await;
        assert_eq!(query(&project.session().await, read).await.len(), 3);
        let expected = [
            "00000000000000000001.parquet",
            "00000000000000000002.parquet",
            "_metaxy.json",
            "part-0.zstd.parquet",
        ];
        assert_eq!(files_below(&project.table("clip/raw")), expected.map(str::to_owned).into());
    });
}

#[test]
fn a_folder_without_our_settings_gets_none() {
    run(async {
        let (project, session, version) = project().await;
        put(&project, "x.parquet", &stored(&version, false, &[Row::default()])).await;
        query(&session, &insert("v7")).await;
        assert_eq!(query(&session, "SELECT * FROM clip__raw").await.len(), 2);
        let expected = ["00000000000000000001.parquet", "x.parquet"].map(str::to_owned);
        assert_eq!(files_below(&project.table("clip/raw")), BTreeSet::from(expected));
    });
}

#[test]
fn other_hash_settings_are_told_by_the_shape_of_versions() {
    run(async {
        for (provenance, fine) in [("12345678", true), ("7", true), ("abcdef01", false), ("123456789", false)]
        {
            for statistics in [true, false] {
                let (project, session, version) = project().await;
                let sql = stored(&version, false, &[Row { provenance, ..Row::default() }]);
                write(&project.table("clip/raw").join("x.parquet"), &sql, statistics, 10).await;
                for sql in ["SELECT * FROM clip__raw", &insert("v2")] {
                    if fine {
                        query(&session, sql).await;
                        continue;
                    }
                    let message = error(&session, sql).await;
                    for part in ["clip/raw", provenance, "hash_algorithm", "hash_truncation_length"] {
                        assert!(message.contains(part), "{part} is not in: {message}");
                    }
                }
            }
        }
    });
}

/// The times of our rows, in the order of their ids.
async fn our_times(session: &MetaxySession) -> Vec<i64> {
    let sql =
        "SELECT CAST(metaxy_updated_at AS BIGINT) AS t FROM clip__raw WHERE note = 'ours' ORDER BY video_id";
    column(&query(session, sql).await, "t").iter().map(|time| time.as_i64().unwrap()).collect()
}

#[test]
fn times_go_on_behind_a_clock_that_is_ahead() {
    run(async {
        let ahead = "2100-01-01T00:00:00.123999";
        let updated = Row { updated_at: ahead, ..Row::default() };
        let deleted = Row { deleted_at: ahead, ..Row::default() };
        let to = |unit: &str| format!("'Timestamp({unit}, Some(\"UTC\"))'");
        for row in [updated, deleted] {
            for statistics in [true, false] {
                for unit in ["Microsecond", "Nanosecond"] {
                    let (project, session, version) = project().await;
                    let sql = stored(&version, false, &[row]).replace(&to("Microsecond"), &to(unit));
                    assert!(sql.contains(unit));
                    write(&project.table("clip/raw").join("x.parquet"), &sql, statistics, 10).await;
                    let latest = "SELECT max(CAST(coalesce(metaxy_deleted_at, metaxy_updated_at) AS BIGINT)) \
                                  FROM history.clip__raw";
                    let latest = only(&query(&session, latest).await).as_i64().unwrap();
                    query(&session, &insert("v1")).await;
                    query(&session, &insert("v2")).await;
                    assert_eq!(our_times(&session).await, [latest + 1, latest + 2], "{unit} {statistics}");
                }
            }
        }
    });
}

#[test]
fn versions_in_maps_are_read_and_written() {
    run(async {
        let mut answers = Vec::new();
        for map in [false, true] {
            let (project, session, version) = project().await;
            let rows = [Row::default(), Row { video_id: "v2", frames: "", ..Row::default() }];
            put(&project, "x.parquet", &stored(&version, map, &rows)).await;
            query(&session, &insert("v7")).await;
            let sql = "SELECT video_id, metaxy_data_version_by_field['audio'] AS a, \
                       metaxy_data_version_by_field['frames'] AS f FROM clip__raw";
            answers.push(multiset(query(&session, sql).await));
        }
        assert_eq!(answers[0].len(), 3);
        assert_eq!(answers[0], answers[1]);
    });
}

#[test]
fn other_layouts_of_the_same_types_are_read() {
    run(async {
        let (project, session, version) = project().await;
        query(&session, &insert("v1").replace("1 AS n,", "1 AS n, 5 AS size, make_array('t') AS tags,"))
            .await;
        let theirs = stored(&version, false, &[Row { video_id: "v2", ..Row::default() }]).replace(
            "SELECT video_id, n,",
            "SELECT arrow_cast(video_id, 'LargeUtf8') AS video_id, arrow_cast(n, 'UInt32') AS n, \
             arrow_cast(6, 'UInt8') AS size, NULL AS untyped, \
             arrow_cast(make_array('u', NULL), 'LargeList(Utf8View)') AS tags,",
        );
        put(&project, "x.parquet", &theirs).await;
        let read = "SELECT video_id, n, size, tags FROM clip__raw ORDER BY n, video_id";
        let expected = [
            json!({"video_id": "v1", "n": 1, "size": 5, "tags": ["t"]}),
            json!({"video_id": "v2", "n": 1, "size": 6, "tags": ["u", null]}),
        ];
        assert_eq!(query(&project.session().await, read).await, expected);
    });
}

#[test]
fn a_file_that_contradicts_the_others_is_named() {
    run(async {
        let (project, session, version) = project().await;
        query(&session, &insert("v1")).await;
        let theirs = stored(&version, false, &[Row::default()])
            .replace("SELECT video_id, n,", "SELECT video_id, 'x' AS n,");
        put(&project, "x.parquet", &theirs).await;
        for sql in ["SELECT * FROM clip__raw", &insert("v2")] {
            let message = error(&project.session().await, sql).await;
            for part in ["clip/raw.parquet/x.parquet", "\"n\"", "string", "bigint"] {
                assert!(message.contains(part), "{part} is not in: {message}");
            }
        }
    });
}

pub fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

async fn notes(session: &MetaxySession) -> Vec<Value> {
    let rows = query(session, "SELECT note FROM clip__raw ORDER BY note").await;
    // With a filter that is pushed to the files, too.
    let filtered = query(session, "SELECT note FROM clip__raw WHERE video_id = 'v1' ORDER BY note").await;
    assert_eq!(rows, filtered);
    column(&rows, "note")
}

#[test]
fn of_equal_times_the_later_file_wins_then_the_greater_name() {
    run(async {
        for (first, second, winner) in [
            (("a", 1000), ("b", 2000), "second"),
            (("a", 2000), ("b", 1000), "first"),
            (("b", 999), ("a", 1000), "second"),
            (("a", 1000), ("b", 1000), "second"),
            (("b", 1000), ("a", 1000), "first"),
        ] {
            let (project, session, version) = project().await;
            for ((name, seconds), note) in [(first, "first"), (second, "second")] {
                let row = Row { note, updated_at: TIME, ..Row::default() };
                let path = put(&project, &format!("{name}.parquet"), &stored(&version, false, &[row])).await;
                set_time(&path, seconds);
            }
            assert_eq!(notes(&session).await, [json!(winner)], "{first:?} {second:?}");
        }
    });
}

/// Many files, one of many row groups, and a session that would like to read them in parallel.
#[test]
fn within_a_file_the_last_row_wins() {
    run(async {
        let (project, session, version) = project().await;
        let names: Vec<String> = (0..200).map(|i| format!("{i:03}")).collect();
        let rows: Vec<Row<'_>> =
            names.iter().map(|note| Row { note, updated_at: TIME, ..Row::default() }).collect();
        let last = project.table("clip/raw").join("0-last.parquet");
        write(&last, &stored(&version, false, &rows), true, 5).await;
        set_time(&last, 5000);
        for i in 0..20 {
            let row = Row { note: "early", updated_at: TIME, ..Row::default() };
            let path = put(&project, &format!("{i}.parquet"), &stored(&version, false, &[row])).await;
            set_time(&path, 1000 + i);
        }
        for setting in [
            "datafusion.execution.target_partitions = 8",
            "datafusion.optimizer.repartition_file_min_size = 1",
            "datafusion.execution.batch_size = 3",
            "datafusion.execution.parquet.pushdown_filters = true",
            "datafusion.execution.target_partitions = 1",
        ] {
            query(&session, &format!("SET {setting}")).await;
            assert_eq!(notes(&session).await, [json!("199")], "{setting}");
        }
        let history = query(&session, "SELECT count(*) FROM history.clip__raw").await;
        assert_eq!(only(&history), json!(220));
    });
}
