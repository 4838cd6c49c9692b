//! A Parquet folder whose files are replaced, and a crash at every step of it: readers see it as it was before or as it is
//! after, and the next writer finishes what was begun.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::deletes::{RAW, insert};
use crate::support::{Project, copy_folder, files_below, query, run};

/// What is under way: the folder before and after it, the file that decides, and what comes with it.
struct Replacement {
    decides: String,
    replaced: Vec<String>,
    /// Names in the staging folder, and those that the files get.
    added: Vec<(String, String)>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

impl Replacement {
    fn of(after: &Path) -> Self {
        let decides = files_below(after).into_iter().filter(|name| name.ends_with(".parquet"));
        let decides = decides.filter(|name| !name.contains("metaxy-")).max().unwrap();
        let reader = SerializedFileReader::try_from(after.join(&decides).as_path()).unwrap();
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let manifest = pairs.iter().find(|pair| pair.key == "metaxy.replaces").expect("it has a manifest");
        let manifest: Value = serde_json::from_str(manifest.value.as_deref().unwrap()).unwrap();
        let added = manifest["added"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            decides,
            replaced: texts(&manifest["replaced"]),
            added: added.map(|one| (text(&one["staged"]), text(&one["name"]))).collect(),
        }
    }
}

async fn read(project: &Project) -> Vec<Value> {
    let session = project.session().await;
    query(
        &session,
        "SELECT id, metaxy_updated_at, metaxy_deleted_at FROM history.video ORDER BY id, metaxy_updated_at, metaxy_deleted_at",
    )
    .await
}

/// Goes through all states of a replacement that `work` makes of a folder with several files.
async fn every_step(work: &str) {
    let project = Project::parquet(RAW);
    let session = project.session().await;
    for id in ["c", "a", "b", "d"] {
        query(&session, &format!("{} UNION ALL SELECT 'x-{id}', named_struct('default', 'v')", insert(id)))
            .await;
    }
    query(&session, "DELETE FROM video WHERE id = 'b'").await;
    let table = project.table("video");
    let rows_before = read(&project).await;
    // Rows come one by one, so that several files are made of them.
    query(&session, "SET datafusion.execution.batch_size = 1").await;
    let saved = tempfile::tempdir().unwrap();
    let (before, after) = (saved.path().join("before"), saved.path().join("after"));
    copy_folder(&table, &before);
    query(&session, work).await;
    copy_folder(&table, &after);
    let rows_after = read(&project).await;
    let done = Replacement::of(&after);
    assert!(done.added.len() > 1 && done.replaced.len() > 1, "{work}: {:?} {:?}", done.added, done.replaced);
    let steps = 1 + done.added.len() + done.replaced.len();
    for step in 0..=steps {
        // The folder is put back, with everything staged, and then goes on step by step.
        fs::remove_dir_all(&table).unwrap();
        copy_folder(&before, &table);
        fs::create_dir(table.join("_staging")).unwrap();
        let copy = |from: &Path, to: &str| fs::copy(from, table.join(to)).unwrap();
        for (staged, name) in &done.added {
            copy(&after.join(name), &format!("_staging/{staged}"));
        }
        copy(&after.join(&done.decides), "_staging/last.parquet");
        let expected = if step == 0 { &rows_before } else { &rows_after };
        if step > 0 {
            copy(&after.join(&done.decides), &done.decides);
        }
        for (_, name) in done.added.iter().take(step.saturating_sub(1)) {
            copy(&after.join(name), name);
        }
        for name in done.replaced.iter().take(step.saturating_sub(1 + done.added.len())) {
            fs::remove_file(table.join(name)).unwrap();
        }
        let files = files_below(&table);
        assert_eq!(&read(&project).await, expected, "{work}: step {step}");
        assert_eq!(files_below(&table), files, "{work}: reading changes nothing, step {step}");
        // The next writer finishes it.
        query(&project.session().await, &insert("later")).await;
        let left = files_below(&table);
        let named: BTreeSet<&String> = done.replaced.iter().filter(|name| left.contains(*name)).collect();
        if step > 0 {
            assert!(
                named.is_empty() && done.added.iter().all(|(_, name)| left.contains(name)),
                "{work}: {left:?}"
            );
        }
        let now = read(&project).await;
        assert_eq!(now.len(), expected.len() + 1, "{work}: step {step}");
        let others: Vec<Value> = now.into_iter().filter(|row| row["id"] != json!("later")).collect();
        assert_eq!(&others, expected, "{work}: step {step}");
        // And it can be done again.
        query(&project.session().await, "CALL optimize('video', full => true)").await;
        assert_eq!(read(&project).await.len(), expected.len() + 1, "{work}: step {step}");
    }
}

#[test]
fn a_compaction_that_a_crash_cuts_short() {
    run(every_step("CALL optimize('video', full => true, file_size => 1)"));
}

#[test]
fn a_hard_delete_that_a_crash_cuts_short() {
    run(every_step("DELETE FROM history.video WHERE id LIKE 'x-%'"));
}

#[test]
fn a_file_that_came_with_another_and_is_lost_is_named() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        for id in ["a", "b", "c"] {
            query(&session, &insert(id)).await;
        }
        query(&session, "SET datafusion.execution.batch_size = 1").await;
        query(&session, "CALL optimize('video', full => true, file_size => 1)").await;
        let table = project.table("video");
        let done = Replacement::of(&table);
        let (_, name) = &done.added[0];
        fs::remove_file(table.join(name)).unwrap();
        let message = crate::support::error(&project.session().await, "SELECT * FROM video").await;
        assert!(message.contains(name) && message.contains("missing"), "{message}");
    });
}

/// Neither vacuum nor a sweep takes what a replacement still needs.
#[test]
fn vacuum_finishes_a_replacement_before_it_looks_at_staged_files() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        for id in ["a", "b", "c"] {
            query(&session, &insert(id)).await;
        }
        let table = project.table("video");
        let saved = tempfile::tempdir().unwrap();
        copy_folder(&table, saved.path());
        query(&session, "SET datafusion.execution.batch_size = 1").await;
        query(&session, "CALL optimize('video', full => true, file_size => 1)").await;
        let done = Replacement::of(&table);
        fs::create_dir(table.join("_staging")).unwrap();
        let age = |path: &Path| {
            let time = std::time::SystemTime::now() - std::time::Duration::from_hours(1000);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        for (staged, name) in &done.added {
            fs::rename(table.join(name), table.join("_staging").join(staged)).unwrap();
            age(&table.join("_staging").join(staged));
        }
        fs::write(table.join("_staging/dead.parquet"), "").unwrap();
        age(&table.join("_staging/dead.parquet"));
        let old = saved.path().join(&done.replaced[0]);
        fs::copy(old, table.join(&done.replaced[0])).unwrap();
        let session = project.session().await;
        let gone = query(&session, "CALL vacuum('video', dry_run => true)").await;
        assert_eq!(gone.len(), 1, "{gone:?}");
        assert_eq!(gone[0]["file"], json!("video.parquet/_staging/dead.parquet"));
        query(&session, "CALL vacuum('video')").await;
        assert!(!table.join("_staging").exists() && !table.join(&done.replaced[0]).exists());
        assert_eq!(query(&project.session().await, "SELECT id FROM history.video").await.len(), 3);
    });
}
