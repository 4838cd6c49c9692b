//! Delta tables that other programs made: no properties of ours, maps, statistics of any kind, other clocks.

use std::fmt::Write;

use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};

use crate::support::{
    Project, actions, column, error, feature_version, foreign_write, log, multiset, only, query,
    rewrite_commit, run,
};

/// Clips of videos, with what is computed from them.
pub const RAW: &str = r#"
[[feature]]
key = "clip/raw"
id_columns = ["video_id", "n"]
fields = ["audio", "frames"]

[[feature]]
key = "clip/crop"
id_columns = ["video_id", "n"]
deps = ["clip/raw"]
fields = ["audio", "frames"]

[[feature]]
key = "clip/summary"
id_columns = ["video_id"]
deps = [{ feature = "clip/raw", lineage = { type = "N:1", on = ["video_id"] } }]
fields = ["summary"]
"#;

/// A stored row; empty times are NULL, and so is an empty version of the frames.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub video_id: &'a str,
    pub n: i64,
    pub note: &'a str,
    pub audio: &'a str,
    pub frames: &'a str,
    pub provenance: &'a str,
    pub updated_at: &'a str,
    pub deleted_at: &'a str,
}

impl Default for Row<'_> {
    fn default() -> Self {
        Row {
            video_id: "v1",
            n: 1,
            note: "",
            audio: "a",
            frames: "f",
            provenance: "12345678",
            updated_at: "2024-01-01T00:00:00",
            deleted_at: "",
        }
    }
}

/// A query that gives rows as they are stored, in their order; versions as maps if `map`.
pub fn stored(feature_version: &str, map: bool, rows: &[Row<'_>]) -> String {
    let mut values = String::new();
    for row in rows {
        let Row { video_id, n, note, audio, frames, provenance, updated_at, deleted_at } = row;
        let comma = if values.is_empty() { "" } else { ", " };
        write!(
            values,
            "{comma}('{video_id}', {n}, '{note}', '{audio}', '{frames}', '{provenance}', '{updated_at}', '{deleted_at}')"
        )
        .unwrap();
    }
    let versions = if map {
        "CASE WHEN frames = '' THEN map(make_array('audio'), make_array(audio)) \
         ELSE map(make_array('audio', 'frames'), make_array(audio, frames)) END"
    } else {
        "named_struct('audio', audio, 'frames', nullif(frames, ''))"
    };
    let time =
        |column: &str| format!("arrow_cast(nullif({column}, ''), 'Timestamp(Microsecond, Some(\"UTC\"))')");
    format!(
        "SELECT video_id, n, note, {versions} AS metaxy_provenance_by_field, provenance AS metaxy_provenance, \
         {versions} AS metaxy_data_version_by_field, provenance AS metaxy_data_version, \
         '{feature_version}' AS metaxy_feature_version, 'p' AS metaxy_project_version, \
         {updated} AS metaxy_created_at, {updated} AS metaxy_updated_at, {deleted} AS metaxy_deleted_at, \
         arrow_cast(NULL, 'Utf8') AS metaxy_materialization_id \
         FROM (VALUES {values}) AS t(video_id, n, note, audio, frames, provenance, updated_at, deleted_at)",
        updated = time("updated_at"),
        deleted = time("deleted_at"),
    )
}

/// A project whose `clip/raw` has these rows, written by another program.
async fn project_with(map: bool, rows: &[Row<'_>]) -> (Project, MetaxySession) {
    let project = Project::new(RAW);
    let session = project.session().await;
    let version = feature_version(&session, "clip/raw").await;
    foreign_write(&project.table("clip/raw"), &stored(&version, map, rows)).await;
    (project, session)
}

fn insert(video_id: &str) -> String {
    format!(
        "INSERT INTO clip__raw SELECT '{video_id}' AS video_id, 1 AS n, 'ours' AS note, \
         named_struct('audio', 'x', 'frames', 'y') AS metaxy_provenance_by_field"
    )
}

fn clips() -> Vec<Row<'static>> {
    let row = |video_id, n, audio, frames| Row { video_id, n, audio, frames, ..Row::default() };
    vec![
        row("v1", 2, "a12", "f12"),
        row("v1", 10, "a110", "f110"),
        row("v1", 1, "a11", "f11"),
        row("v2", 1, "a21", ""),
        row("v3", 1, "a31", "f31"),
    ]
}

/// What a session answers over parents, and stored rows, whose versions are maps or structs.
async fn answers(map: bool) -> Vec<(&'static str, Vec<Value>)> {
    let (project, session) = project_with(map, &clips()).await;
    let mut answers = Vec::new();
    for sql in [
        "SELECT * FROM resolve_update('clip/crop')",
        "SELECT * FROM resolve_update('clip/summary')",
        "SELECT video_id, n, metaxy_data_version_by_field['audio'] AS a, metaxy_data_version_by_field['frames'] AS f \
         FROM clip__raw",
    ] {
        answers.push((sql, query(&session, sql).await));
    }
    // The same for the stored side: one up to date, one stale, one orphaned.
    let new = query(&session, "SELECT * FROM resolve_update('clip/crop') WHERE video_id = 'v3'").await;
    let current = new[0]["metaxy_provenance"].as_str().unwrap();
    let crops = [
        Row { video_id: "v3", provenance: current, ..Row::default() },
        Row { video_id: "v1", n: 2, provenance: "11111111", ..Row::default() },
        Row { video_id: "v9", provenance: "99999999", audio: "a9", frames: "f9", ..Row::default() },
    ];
    let version = feature_version(&session, "clip/crop").await;
    foreign_write(&project.table("clip/crop"), &stored(&version, map, &crops)).await;
    let sql = "SELECT * FROM resolve_update('clip/crop') ORDER BY video_id, n";
    answers.push((sql, query(&session, sql).await));
    answers
}

#[test]
fn versions_in_maps_are_read_like_structs() {
    run(async {
        let (structs, maps) = (answers(false).await, answers(true).await);
        for ((sql, of_structs), (_, of_maps)) in structs.iter().zip(&maps) {
            assert!(!of_structs.is_empty(), "{sql}");
            assert_eq!(multiset(of_maps.clone()), multiset(of_structs.clone()), "{sql}");
        }
        let (_, increment) = &maps[3];
        let kinds = |kind: &str| increment.iter().filter(|row| row["metaxy_increment"] == kind).count();
        assert_eq!((kinds("new"), kinds("stale"), kinds("orphaned")), (3, 1, 1), "{increment:?}");
        // Groups are hashed in the order of the ids: 10 after 2.
        let (_, summary) = &maps[1];
        assert!(summary.iter().all(|row| row["metaxy_provenance"].is_string()), "{summary:?}");
    });
}

#[test]
fn a_table_of_maps_stays_one() {
    run(async {
        let (project, session) = project_with(true, &clips()).await;
        query(&session, &insert("v7")).await;
        query(
            &session,
            &insert("v8")
                .replace("named_struct('audio', 'x', 'frames', 'y')", "MAP {'frames': 'y', 'audio': 'x'}"),
        )
        .await;
        let rows = query(
            &session,
            "SELECT metaxy_data_version_by_field AS d, metaxy_provenance AS p FROM clip__raw WHERE note = 'ours'",
        )
        .await;
        assert_eq!(column(&rows, "d"), vec![json!({"audio": "x", "frames": "y"}); 2]);
        assert_eq!(rows[0]["p"], rows[1]["p"]);
        let log = log(&project.table("clip/raw"));
        assert_eq!(log.len(), 3);
        for commit in &log[1..] {
            assert!(actions(commit, "metaData").is_empty());
        }
        let history = query(&session, "SELECT count(*) FROM history.clip__raw").await;
        assert_eq!(only(&history), json!(clips().len() + 2));
    });
}

#[test]
fn maps_are_written_to_a_table_of_structs() {
    run(async {
        let (_project, session) = project_with(false, &clips()).await;
        let map = insert("v7")
            .replace("named_struct('audio', 'x', 'frames', 'y')", "MAP {'frames': 'y', 'audio': 'x'}");
        query(&session, &map).await;
        let rows =
            query(&session, "SELECT metaxy_provenance_by_field AS p FROM clip__raw WHERE note = 'ours'")
                .await;
        assert_eq!(column(&rows, "p"), [json!({"audio": "x", "frames": "y"})]);
        // A key that is missing is a version that is missing.
        let short = insert("v8").replace("named_struct('audio', 'x', 'frames', 'y')", "MAP {'audio': 'x'}");
        let message = error(&session, &short).await;
        assert!(message.contains("frames") && message.contains("v8"), "{message}");
    });
}

#[test]
fn a_table_without_our_properties_gets_none() {
    run(async {
        let (project, session) = project_with(false, &clips()).await;
        query(&session, &insert("v7")).await;
        query(&session, &insert("v8").replace("'ours' AS note", "'ours' AS note, 5 AS size")).await;
        let log = log(&project.table("clip/raw"));
        assert_eq!(log.len(), 3);
        assert!(actions(&log[1], "metaData").is_empty());
        assert_eq!(actions(&log[2], "metaData").len(), 1);
        for metadata in log.iter().flat_map(|commit| actions(commit, "metaData")) {
            let configuration = metadata["configuration"].as_object().unwrap();
            assert!(!configuration.keys().any(|key| key.starts_with("metaxy.")), "{configuration:?}");
        }
    });
}

#[test]
fn other_hash_settings_are_told_by_the_shape_of_versions() {
    run(async {
        let refused = [
            ("", "", "abcdef01"),
            ("", "", "123456789"),
            ("hash_truncation_length = 16", "hash_algorithm = \"md5\"", "12345678"),
            ("hash_truncation_length = 16", "hash_algorithm = \"sha256\"", "0123456789ABCDEF"),
        ];
        let accepted = [
            ("", "", "12345678"),
            ("", "", "7"),
            ("hash_truncation_length = 16", "hash_algorithm = \"md5\"", "0123456789abcdef"),
        ];
        let cases = refused.iter().map(|c| (c, false)).chain(accepted.iter().map(|c| (c, true)));
        for ((top, store, provenance), fine) in cases {
            for with_statistics in [true, false] {
                let project = Project::with(RAW, top, store);
                let session = project.session().await;
                let version = feature_version(&session, "clip/raw").await;
                let table = project.table("clip/raw");
                foreign_write(&table, &stored(&version, false, &[Row { provenance, ..Row::default() }]))
                    .await;
                if !with_statistics {
                    drop_statistics(&table);
                }
                let read = "SELECT * FROM clip__raw";
                if fine {
                    assert_eq!(query(&session, read).await.len(), 1);
                    continue;
                }
                for sql in [read, "SELECT * FROM resolve_update('clip/crop')", &insert("v2")] {
                    let message = error(&session, sql).await;
                    for part in ["clip/raw", provenance, "hash_algorithm", "hash_truncation_length"] {
                        assert!(message.contains(part), "{part} is not in: {message}");
                    }
                }
                assert_eq!(log(&table).len(), 1);
            }
        }
    });
}

fn drop_statistics(table: &std::path::Path) {
    rewrite_commit(table, 0, |action| {
        if let Some(add) = action.get_mut("add") {
            assert!(add["stats"].is_string(), "{add}");
            add.as_object_mut().unwrap().shift_remove("stats");
        }
    });
}

/// The microseconds of the rows that we wrote, in the order of their ids.
async fn our_times(session: &MetaxySession) -> Vec<i64> {
    let sql =
        "SELECT CAST(metaxy_updated_at AS BIGINT) AS t FROM clip__raw WHERE note = 'ours' ORDER BY video_id";
    column(&query(session, sql).await, "t").iter().map(|time| time.as_i64().unwrap()).collect()
}

/// Writes twice to a table whose last time is this, and says by how many microseconds the writes come later.
async fn behind_another_clock(row: Row<'_>, with_statistics: bool) -> [i64; 2] {
    let (project, session) = project_with(false, &[row]).await;
    if !with_statistics {
        drop_statistics(&project.table("clip/raw"));
    }
    let latest =
        "SELECT max(CAST(coalesce(metaxy_deleted_at, metaxy_updated_at) AS BIGINT)) FROM history.clip__raw";
    let latest = only(&query(&session, latest).await).as_i64().unwrap();
    query(&session, &insert("v1")).await;
    query(&session, &insert("v2")).await;
    let times = our_times(&session).await;
    let [first, second] = times[..] else { panic!("{times:?}") };
    [first - latest, second - first]
}

#[test]
fn times_go_on_behind_a_clock_that_is_ahead() {
    run(async {
        for updated_at in ["2100-01-01T00:00:00.123999", "2100-01-01T00:00:00.123000", "2100-01-01T00:00:00"]
        {
            let ahead = Row { updated_at, ..Row::default() };
            let [first, second] = behind_another_clock(ahead, true).await;
            // Statistics may be as coarse as a millisecond.
            assert!((1..=1000).contains(&first), "{first} after {updated_at}");
            assert!((1..=1000).contains(&second), "{second} after our own write");
            // Without them the column is read.
            let [first, _] = behind_another_clock(ahead, false).await;
            assert_eq!(first, 1, "after {updated_at}");
        }
    });
}

#[test]
fn a_sample_deleted_by_a_clock_that_is_ahead_comes_back() {
    run(async {
        let dead = Row { deleted_at: "2100-01-01T00:00:00.123999", ..Row::default() };
        for with_statistics in [true, false] {
            // v1 is the sample that was deleted; its new row is seen.
            let [first, second] = behind_another_clock(dead, with_statistics).await;
            assert!(first >= 1 && second >= 1, "{first} {second}");
        }
    });
}

/// Moves the file that a commit adds into a folder, whose name the log has encoded once more.
fn move_file(table: &std::path::Path, version: usize, folder: &str) {
    std::fs::create_dir_all(table.join(folder)).unwrap();
    rewrite_commit(table, version, |action| {
        if let Some(add) = action.get_mut("add") {
            let name = add["path"].as_str().unwrap().to_owned();
            std::fs::rename(table.join(&name), table.join(folder).join(&name)).unwrap();
            add["path"] = json!(format!("{}/{name}", folder.replace('%', "%25")));
        }
    });
}

#[test]
fn files_in_folders_with_odd_names_are_read() {
    run(async {
        for folder in ["k=my%20data", "k=%E6%97%A5", "k=a%5Cb", "k=50%25"] {
            let (project, session) = project_with(false, &clips()).await;
            let tables = ["clip/raw", "clip/crop"].map(|feature| project.table(feature));
            let crops = "INSERT INTO clip__crop SELECT * FROM resolve_update('clip/crop') WHERE n < 10 AND video_id <> 'v2'";
            query(&session, crops).await;
            query(&session, &insert("v1")).await;
            let questions = [
                "SELECT * FROM clip__raw",
                "SELECT * FROM resolve_update('clip/crop')",
                "SELECT * FROM resolve_update('clip/crop') WHERE video_id = 'v1'",
            ];
            let mut expected = Vec::new();
            for question in questions {
                expected.push(multiset(query(&session, question).await));
            }
            for (table, version) in [(&tables[0], 0), (&tables[0], 1), (&tables[1], 0)] {
                move_file(table, version, folder);
            }
            let session = project.session().await;
            query(&session, "SET metaxy.incremental_resolve = true").await;
            for _ in 0..2 {
                for (question, expected) in questions.iter().zip(&expected) {
                    assert_eq!(multiset(query(&session, question).await), *expected, "{folder}: {question}");
                }
            }
            // The next increment goes on from files in such folders.
            query(&session, &insert("v3")).await;
            let changed = query(&session, questions[1]).await;
            query(&session, "SET metaxy.incremental_resolve = false").await;
            assert_eq!(multiset(query(&session, questions[1]).await), multiset(changed), "{folder}");
            query(&session, "DELETE FROM history.clip__raw WHERE video_id = 'v1' AND note = 'ours'").await;
            query(&session, "CALL optimize()").await;
            assert_eq!(query(&session, "SELECT * FROM history.clip__raw").await.len(), clips().len() + 1);
        }
    });
}
