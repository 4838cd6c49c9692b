//! Which row of a sample is the latest: times, then file modification times, file paths and row positions.

use std::fs;
use std::path::Path;

use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::session::MetaxySession;
use datafusion_metaxy::store::{FeatureVersions, ReadOptions};
use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;
use serde_json::{Value, json};
use url::Url;

use crate::delta_foreign::{RAW, Row, stored};
use crate::support::{
    Project, actions, column, dev, feature_version, foreign_write, log, query, rewrite_commit, rows, run,
};

pub const TIME: &str = "2024-01-01T00:00:00.000001";

/// A table with one file per group of rows, each in a commit of its own.
async fn table_of(files: &[&[Row<'_>]]) -> (Project, MetaxySession) {
    let project = Project::new(RAW);
    let session = project.session().await;
    let version = feature_version(&session, "clip/raw").await;
    for rows in files {
        foreign_write(&project.table("clip/raw"), &stored(&version, false, rows)).await;
    }
    (project, session)
}

fn change_add(table: &Path, commit: usize, change: impl Fn(&mut Value)) {
    assert_eq!(actions(&log(table)[commit], "add").len(), 1);
    rewrite_commit(table, commit, |action| {
        if let Some(add) = action.get_mut("add") {
            change(add);
        }
    });
}

/// Gives the file of a commit another name and time.
pub fn move_file(table: &Path, commit: usize, name: &str, time: i64) {
    let old = actions(&log(table)[commit], "add")[0]["path"].as_str().unwrap().to_owned();
    fs::rename(table.join(old), table.join(name)).unwrap();
    change_add(table, commit, |add| {
        add["path"] = json!(name);
        add["modificationTime"] = json!(time);
    });
}

async fn notes(session: &MetaxySession) -> Vec<Value> {
    let rows = query(session, "SELECT note FROM clip__raw ORDER BY note").await;
    // With a filter that is pushed to the files, too.
    let filtered = query(session, "SELECT note FROM clip__raw WHERE video_id = 'v1' ORDER BY note").await;
    assert_eq!(rows, filtered);
    column(&rows, "note")
}

/// The winner of two files of equal row times, each with its name and modification time.
async fn winner(first: (&str, i64), second: (&str, i64)) -> Vec<Value> {
    let row = |note| Row { note, updated_at: TIME, ..Row::default() };
    let (project, session) = table_of(&[&[row("first")], &[row("second")]]).await;
    move_file(&project.table("clip/raw"), 0, first.0, first.1);
    move_file(&project.table("clip/raw"), 1, second.0, second.1);
    notes(&session).await
}

#[test]
fn the_greater_modification_time_wins() {
    run(async {
        assert_eq!(winner(("a.parquet", 1000), ("b.parquet", 2000)).await, [json!("second")]);
        assert_eq!(winner(("a.parquet", 2000), ("b.parquet", 1000)).await, [json!("first")]);
        // Before the path, and as a number: 999 is less than 1000.
        assert_eq!(winner(("b.parquet", 999), ("a.parquet", 1000)).await, [json!("second")]);
        assert_eq!(winner(("a.parquet", 1000), ("b.parquet", 999)).await, [json!("first")]);
    });
}

#[test]
fn then_the_greater_path_wins() {
    run(async {
        assert_eq!(winner(("a.parquet", 1000), ("b.parquet", 1000)).await, [json!("second")]);
        assert_eq!(winner(("b.parquet", 1000), ("a.parquet", 1000)).await, [json!("first")]);
    });
}

#[test]
fn a_later_row_time_beats_everything() {
    run(async {
        let late = Row { note: "late", updated_at: "2024-01-01T00:00:00.000002", ..Row::default() };
        let early = Row { note: "early", updated_at: TIME, ..Row::default() };
        let (project, session) = table_of(&[&[late, early], &[early]]).await;
        move_file(&project.table("clip/raw"), 0, "a.parquet", 1);
        move_file(&project.table("clip/raw"), 1, "b.parquet", 2);
        assert_eq!(notes(&session).await, [json!("late")]);
    });
}

#[test]
fn a_missing_time_is_the_smallest() {
    run(async {
        let untimed = Row { note: "untimed", updated_at: "", ..Row::default() };
        let timed = Row { note: "timed", updated_at: "1969-12-31T23:59:59", ..Row::default() };
        let (_project, session) = table_of(&[&[timed], &[untimed]]).await;
        assert_eq!(notes(&session).await, [json!("timed")]);
    });
}

#[test]
fn a_tombstone_counts_at_the_time_of_the_deletion() {
    run(async {
        let live = Row { note: "live", updated_at: TIME, ..Row::default() };
        // Deleted at the very time of the other row, though updated long before.
        let dead =
            Row { note: "dead", updated_at: "2020-01-01T00:00:00", deleted_at: TIME, ..Row::default() };
        for (times, expected) in [((1, 2), vec![]), ((2, 1), vec![json!("live")])] {
            let (project, session) = table_of(&[&[live], &[dead]]).await;
            move_file(&project.table("clip/raw"), 0, "a.parquet", times.0);
            move_file(&project.table("clip/raw"), 1, "b.parquet", times.1);
            assert_eq!(notes(&session).await, expected, "{times:?}");
        }
    });
}

#[test]
fn within_a_file_the_later_row_wins() {
    run(async {
        let row = |note| Row { note, updated_at: TIME, ..Row::default() };
        let (_project, session) = table_of(&[&[row("3"), row("1"), row("2")]]).await;
        assert_eq!(notes(&session).await, [json!("2")]);
    });
}

/// Appends rows as other programs do, in one file of many row groups.
pub async fn write_in_groups(table: &Path, sql: &str, group: usize) {
    fs::create_dir_all(table).unwrap();
    let batches = SessionContext::new().sql(sql).await.unwrap().collect().await.unwrap();
    let groups = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    DeltaTable::try_from_url(Url::from_directory_path(table).unwrap())
        .await
        .unwrap()
        .write(batches)
        .with_save_mode(SaveMode::Append)
        .with_writer_properties(groups)
        .await
        .unwrap();
}

/// Many row groups, and a session that would like to read them in parallel.
#[test]
fn within_a_file_of_many_row_groups_the_last_row_wins() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        let version = feature_version(&session, "clip/raw").await;
        let table = project.table("clip/raw");
        let names: Vec<String> = (0..200).map(|i| format!("{i:03}")).collect();
        let rows: Vec<Row<'_>> =
            names.iter().map(|note| Row { note, updated_at: TIME, ..Row::default() }).collect();
        write_in_groups(&table, &stored(&version, false, &rows), 5).await;
        assert_eq!(actions(&log(&table)[0], "add").len(), 1);
        for setting in [
            "datafusion.execution.target_partitions = 8",
            "datafusion.optimizer.repartition_file_min_size = 1",
            "datafusion.execution.batch_size = 3",
            "datafusion.execution.parquet.pushdown_filters = true",
        ] {
            query(&session, &format!("SET {setting}")).await;
            assert_eq!(notes(&session).await, [json!("199")], "{setting}");
        }
        // A filter that leaves some row groups out must not change which of the rest is last.
        query(&session, "SET datafusion.execution.target_partitions = 1").await;
        assert_eq!(notes(&session).await, [json!("199")]);
    });
}

/// Rows of two feature versions and deleted ones, each read by asking for it.
#[test]
fn older_versions_history_and_deleted_rows_are_read_when_asked_for() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        let version = feature_version(&session, "clip/raw").await;
        let table = project.table("clip/raw");
        let row = |video_id, note, second: &'static str| Row {
            video_id,
            note,
            updated_at: second,
            ..Row::default()
        };
        let old = [row("v1", "old 1", "2024-01-01T00:00:01"), row("v1", "old 2", "2024-01-01T00:00:02")];
        foreign_write(&table, &stored("older", false, &old)).await;
        let gone = Row { deleted_at: "2024-01-01T00:00:05", ..row("v2", "gone", "2024-01-01T00:00:03") };
        let new = [
            row("v1", "new 1", "2024-01-01T00:00:03"),
            row("v1", "new 2", "2024-01-01T00:00:04"),
            row("v2", "live", "2024-01-01T00:00:03"),
            gone,
        ];
        foreign_write(&table, &stored(&version, false, &new)).await;
        let older = || FeatureVersions::Exactly("older".into());
        for (feature_version, sample_history, deleted, expected) in [
            (FeatureVersions::Current, false, false, &["new 2"][..]),
            (FeatureVersions::Current, false, true, &["gone", "new 2"]),
            (FeatureVersions::Current, true, false, &["live", "new 1", "new 2"]),
            (FeatureVersions::Current, true, true, &["gone", "live", "new 1", "new 2"]),
            (older(), false, false, &["old 2"]),
            (older(), true, false, &["old 1", "old 2"]),
            // The latest row of each sample and version.
            (FeatureVersions::All, false, false, &["new 2", "old 2"]),
            (FeatureVersions::All, true, true, &["gone", "live", "new 1", "new 2", "old 1", "old 2"]),
            (FeatureVersions::Exactly("nope".into()), true, true, &[]),
        ] {
            let options = ReadOptions { feature_version, sample_history, deleted };
            let frame = dev(&session).read(session.context(), "clip/raw", &options).await.unwrap();
            let mut notes: Vec<String> = column(&rows(frame).await.unwrap(), "note")
                .iter()
                .map(|note| note.as_str().unwrap().to_owned())
                .collect();
            notes.sort();
            assert_eq!(notes, expected, "{options:?}");
        }
    });
}
