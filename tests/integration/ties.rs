//! Of rows with equal times an increment takes the one that a SELECT shows, in both executors: of a parent's rows, and of
//! the stored ones that it compares with.

use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};

use crate::delta_foreign::{RAW, Row, stored};
use crate::delta_order::{TIME, move_file, write_in_groups};
use crate::parquet_foreign::{set_time, write};
use crate::support::{Project, column, feature_version, query, run};

const ENGINES: [&str; 2] = ["native", "memory"];

/// Files with rows of one sample, all of the same time: name, modification time, the rows' notes in their order.
type Files = &'static [(&'static str, u64, &'static [&'static str])];

/// What decides, in files written in this order, and the note of the row that wins.
const TIES: [(&str, Files, &str); 7] = [
    ("modification time", &[("a", 1000, &["first"]), ("b", 2000, &["second"])], "second"),
    ("modification time", &[("a", 2000, &["first"]), ("b", 1000, &["second"])], "first"),
    // As a number, and before the path.
    ("modification time", &[("b", 999, &["first"]), ("a", 1000, &["second"])], "second"),
    ("path", &[("a", 1000, &["first"]), ("b", 1000, &["second"])], "second"),
    ("path", &[("b", 1000, &["first"]), ("a", 1000, &["second"])], "first"),
    ("position", &[("a", 1000, &["1", "2", "9", "3", "4", "8", "5", "6", "7", "first"])], "first"),
    ("position", &[("a", 1000, &["first", "1", "2", "3", "second"]), ("b", 999, &["4", "5"])], "second"),
];

fn path(project: &Project, kind: &str, feature: &str, name: &str) -> std::path::PathBuf {
    let file = format!("{name}.parquet");
    if kind == "delta" { file.into() } else { project.table(feature).join(file) }
}

/// A project, and a session in it that reads files in pieces where it can.
async fn project(kind: &'static str) -> (Project, MetaxySession) {
    let project = Project::of_kind(kind, RAW, "", "");
    let session = project.session().await;
    for setting in [
        "datafusion.execution.target_partitions = 4",
        "datafusion.optimizer.repartition_file_min_size = 1",
        "datafusion.execution.batch_size = 2",
    ] {
        query(&session, &format!("SET {setting}")).await;
    }
    (project, session)
}

/// Makes a feature's table of these files.
async fn fill<'a>(
    project: &Project,
    session: &MetaxySession,
    kind: &str,
    feature: &str,
    files: Files,
    row: impl Fn(&'static str) -> Row<'a>,
) {
    let version = feature_version(session, feature).await;
    for (commit, (name, time, notes)) in files.iter().enumerate() {
        let rows: Vec<Row<'_>> = notes.iter().map(|note| row(note)).collect();
        let (sql, path) = (stored(&version, false, &rows), path(project, kind, feature, name));
        if kind == "delta" {
            let table = project.table(feature);
            write_in_groups(&table, &sql, 2).await;
            move_file(&table, commit, path.to_str().unwrap(), i64::try_from(*time).unwrap());
        } else {
            write(&path, &sql, true, 2).await;
            set_time(&path, *time);
        }
    }
}

#[test]
fn increments_take_the_parent_row_that_a_select_shows() {
    run(async {
        for kind in ["delta", "parquet"] {
            for (tie, files, winner) in TIES {
                let (project, session) = project(kind).await;
                let row = |note| Row { note, audio: note, updated_at: TIME, ..Row::default() };
                fill(&project, &session, kind, "clip/raw", files, row).await;
                let place = format!("{kind}, {tie}, {files:?}");
                let shown = query(&session, "SELECT note FROM clip__raw").await;
                assert_eq!(column(&shown, "note"), [json!(winner)], "{place}");
                for engine in ENGINES {
                    let sql = format!(
                        "SELECT metaxy_increment, note, metaxy_provenance_by_field['audio'] = metaxy_hash('xxhash32', 8, \
                         'audio', '__metaxy_initial__', 'clip/raw.audio', '{winner}') AS same \
                         FROM resolve_update('clip/crop', engine => '{engine}')"
                    );
                    let expected = [json!({"metaxy_increment": "new", "note": winner, "same": true})];
                    assert_eq!(query(&session, &sql).await, expected, "{place}: {engine}");
                    // Of a group, too.
                    let sql = format!(
                        "SELECT metaxy_provenance_by_field['summary'] = metaxy_hash('xxhash32', 8, 'summary', \
                         '__metaxy_initial__', 'clip/raw.audio', metaxy_hash('xxhash32', 8, '{winner}'), \
                         'clip/raw.frames', metaxy_hash('xxhash32', 8, 'f')) AS same \
                         FROM resolve_update('clip/summary', engine => '{engine}')"
                    );
                    assert_eq!(query(&session, &sql).await, [json!({"same": true})], "{place}: {engine}");
                }
            }
        }
    });
}

#[test]
fn increments_compare_with_the_stored_row_that_a_select_shows() {
    run(async {
        for kind in ["delta", "parquet"] {
            for (tie, files, winner) in TIES {
                // What wins is up to date, and then all others are; what is orphaned looks like the winner.
                for winner_is_up_to_date in [true, false] {
                    let (project, session) = project(kind).await;
                    let place = format!("{kind}, {tie}, {files:?}, up to date: {winner_is_up_to_date}");
                    query(
                        &session,
                        "INSERT INTO clip__raw SELECT 'v1' AS video_id, 1 AS n, \
                         named_struct('audio', 'a', 'frames', 'f') AS metaxy_provenance_by_field",
                    )
                    .await;
                    let expected =
                        query(&session, "SELECT metaxy_provenance AS p FROM resolve_update('clip/crop')")
                            .await;
                    let [Value::String(expected)] = &column(&expected, "p")[..] else {
                        panic!("{expected:?}")
                    };
                    let row = |note| Row {
                        note,
                        provenance: if (note == winner) == winner_is_up_to_date {
                            expected
                        } else {
                            "12121212"
                        },
                        updated_at: TIME,
                        ..Row::default()
                    };
                    fill(&project, &session, kind, "clip/crop", files, row).await;
                    let shown = query(&session, "SELECT note FROM clip__crop").await;
                    assert_eq!(column(&shown, "note"), [json!(winner)], "{place}");
                    let stale: &[Value] = if winner_is_up_to_date { &[] } else { &[json!("stale")] };
                    for engine in ENGINES {
                        let sql = format!(
                            "SELECT metaxy_increment FROM resolve_update('clip/crop', engine => '{engine}')"
                        );
                        let found = column(&query(&session, &sql).await, "metaxy_increment");
                        assert_eq!(found, stale, "{place}: {engine}");
                    }
                    if winner_is_up_to_date {
                        continue;
                    }
                    query(&session, "DELETE FROM clip__raw").await;
                    for engine in ENGINES {
                        let sql = format!(
                            "SELECT metaxy_increment, metaxy_provenance FROM resolve_update('clip/crop', engine => '{engine}')"
                        );
                        let orphan =
                            [json!({"metaxy_increment": "orphaned", "metaxy_provenance": "12121212"})];
                        assert_eq!(query(&session, &sql).await, orphan, "{place}: {engine}");
                    }
                }
            }
        }
    });
}
