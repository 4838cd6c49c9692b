//! Optimize and vacuum: beside other writers, with rows of one time, on disk, and what they leave to others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use datafusion::arrow::compute::concat_batches;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::store::{
    Append, DeleteMode, DeleteOptions, MetadataStore, OptimizeOptions, OptimizeProgress, ReadOptions,
    Replacement, Rewrite, Store, TableSnapshot, WriteTime,
};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::deletes::{RAW, backends, history, ids, insert, settings, store, write};
use crate::support::{
    Project, actions, column, error, files_below, log, multiset, one_line, only, query, rewrite_commit, rows,
    run,
};

fn all() -> OptimizeOptions {
    OptimizeOptions { full: true, ..OptimizeOptions::default() }
}

fn folding() -> OptimizeOptions {
    OptimizeOptions { fold_older_than: Some(Duration::ZERO), ..OptimizeOptions::default() }
}

async fn optimize(store: &Arc<Store>, options: &OptimizeOptions) {
    store.optimize(&SessionContext::new(), Some(&["video"]), options).await.unwrap();
}

/// A snapshot of the table, to be written anew as one file.
async fn snapshot(backend: &Arc<dyn MetadataStore>) -> Arc<dyn TableSnapshot> {
    backend.snapshot(&"video".parse().unwrap()).await.unwrap().unwrap()
}

/// Everything in a snapshot as it is, for another file.
async fn rewrite(snapshot: &Arc<dyn TableSnapshot>, drops_rows: bool) -> Rewrite {
    let parts = 0..snapshot.parts().unwrap().len();
    let rows = SessionContext::new().read_table(snapshot.rows_of(parts.clone()).await.unwrap()).unwrap();
    let rows = rows.drop_columns(&["__metaxy_row_order"]).unwrap().collect().await.unwrap();
    let batch = concat_batches(&rows[0].schema(), &rows).unwrap();
    let replacement =
        Replacement { parts, schema: batch.schema(), rows: futures::stream::iter([Ok(batch)]).boxed() };
    Rewrite { replacements: vec![replacement], file_size: 1 << 20, id_columns: vec!["id".into()], drops_rows }
}

#[test]
fn an_append_in_between_survives_and_a_delete_wins() {
    run(async {
        let (_folder, backends) = backends();
        for backend in &backends[1..] {
            let store = store(backend, "1");
            for id in ["a", "b", "c"] {
                write(&store, &[id]).await;
            }
            let context = SessionContext::new();
            let hard = DeleteOptions { mode: DeleteMode::Hard, ..DeleteOptions::default() };
            for drops_rows in [false, true] {
                let overtaken = snapshot(backend).await;
                write(&store, &["d"]).await;
                let work = rewrite(&overtaken, drops_rows).await;
                overtaken.rewrite(work).await.unwrap();
                let count = if drops_rows { 5 } else { 4 };
                assert_eq!(ids(&store, &history()).await.len(), count, "{}", backend.kind());
                // It comes after all that was written anew: it can be deleted.
                let d = col("id").eq(lit("d"));
                assert_eq!(store.delete(&context, "video", d, &DeleteOptions::default()).await.unwrap(), 1);
                assert_eq!(ids(&store, &ReadOptions::default()).await, [json!("a"), json!("b"), json!("c")]);
                store.delete(&context, "video", col("metaxy_deleted_at").is_not_null(), &hard).await.unwrap();
            }
            // Of the same file.
            let overtaken = snapshot(backend).await;
            let work = rewrite(&overtaken, false).await;
            store.delete(&context, "video", col("id").eq(lit("a")), &hard).await.unwrap();
            let before = ids(&store, &history()).await;
            let error = overtaken.rewrite(work).await.unwrap_err();
            assert!(one_line(&error).contains("at the same time; nothing was done"), "{error}");
            assert_eq!(ids(&store, &history()).await, before);
            assert!(!before.contains(&json!("a")));
        }
    });
}

/// What is dropped was worked out from all rows: it may not be dropped when one of them is gone, wherever it was.
#[test]
fn a_fold_needs_all_files_that_it_was_worked_out_from() {
    run(async {
        let (_folder, backends) = backends();
        for backend in &backends[1..] {
            let store = store(backend, "1");
            for id in ["a", "b", "c"] {
                write(&store, &[id]).await;
                // Delta puts files of one millisecond together.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let hard = DeleteOptions { mode: DeleteMode::Hard, ..DeleteOptions::default() };
            for drops_rows in [true, false] {
                let overtaken = snapshot(backend).await;
                let mut work = rewrite(&overtaken, drops_rows).await;
                let last = overtaken.parts().unwrap().len() - 1;
                let rows = overtaken.rows_of(0..last).await.unwrap();
                let rows = SessionContext::new()
                    .read_table(rows)
                    .unwrap()
                    .drop_columns(&["__metaxy_row_order"])
                    .unwrap();
                let rows = rows.collect().await.unwrap();
                work.replacements[0].parts = 0..last;
                work.replacements[0].rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
                // Another file than those that are written anew.
                let gone = store
                    .delete(&SessionContext::new(), "video", col("id").eq(lit("c")), &hard)
                    .await
                    .unwrap();
                assert_eq!(gone, 1);
                let outcome = overtaken.rewrite(work).await;
                assert_eq!(outcome.is_err(), drops_rows, "{}: {outcome:?}", backend.kind());
                write(&store, &["c"]).await;
            }
        }
    });
}

#[test]
fn optimizers_beside_writers_and_deleters_lose_nothing() {
    run(async {
        let (_folder, backends) = backends();
        for backend in backends {
            let shared = store(&backend, "1");
            for start in 0..4 {
                let of_file: Vec<String> = (0..10).map(|i| format!("old-{start}-{i}")).collect();
                write(&shared, &of_file.iter().map(String::as_str).collect::<Vec<_>>()).await;
            }
            let mut tasks = Vec::new();
            for task in 0..2_usize {
                let optimizer = Arc::clone(&shared);
                tasks.push(tokio::spawn(async move {
                    for _ in 0..6 {
                        let context = SessionContext::new();
                        let options = if task == 0 { all() } else { OptimizeOptions::default() };
                        if let Err(error) = optimizer.optimize(&context, Some(&["video"]), &options).await {
                            let error = one_line(&error);
                            let lost =
                                error.contains("at the same time") || error.contains("while it was read");
                            assert!(lost, "{error}");
                        }
                    }
                }));
                let writer = Arc::clone(&shared);
                tasks.push(tokio::spawn(async move {
                    for i in 0..8 {
                        write(&writer, &[&format!("new-{task}-{i}")]).await;
                    }
                }));
            }
            let deleter = Arc::clone(&shared);
            tasks.push(tokio::spawn(async move {
                let hard = DeleteOptions { mode: DeleteMode::Hard, ..DeleteOptions::default() };
                for i in 0..4 {
                    let condition = col("id").like(lit(format!("old-%-{i}")));
                    for attempt in 0.. {
                        match deleter.delete(&SessionContext::new(), "video", condition.clone(), &hard).await
                        {
                            Ok(_) => break,
                            Err(error) => {
                                let error = one_line(&error);
                                let lost =
                                    error.contains("at the same time") || error.contains("while it was read");
                                assert!(lost && attempt < 300, "{error}");
                            }
                        }
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }));
            // Who reads meanwhile sees each row once, and at no time a sample that is gone or not yet there.
            let reader = Arc::clone(&shared);
            tasks.push(tokio::spawn(async move {
                for _ in 0..30 {
                    let read = reader.read(&SessionContext::new(), "video", &history()).await;
                    let Ok(found) = async { rows(read?).await }.await else { continue };
                    let found = column(&found, "id");
                    let counts = multiset(found);
                    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
                    let stays = |id: &&String| {
                        id.contains("old-") && {
                            let last = id.trim_end_matches('"').chars().last();
                            last.is_some_and(|digit| ('4'..='9').contains(&digit))
                        }
                    };
                    let kept = counts.keys().filter(stays).count();
                    assert!(kept == 24, "{counts:?}");
                }
            }));
            for task in tasks {
                task.await.unwrap();
            }
            let left = multiset(ids(&shared, &history()).await);
            assert!(left.values().all(|count| *count == 1), "{left:?}");
            let old = left.keys().filter(|id| id.contains("old")).count();
            assert_eq!((old, left.len() - old), (24, 16), "{}", backend.kind());
            optimize(&shared, &all()).await;
            assert_eq!(multiset(ids(&shared, &history()).await), left);
        }
    });
}

/// Appends rows that all have the same time.
async fn append_tied(
    backend: &Arc<dyn MetadataStore>,
    version: &str,
    note: &str,
    ids: &[usize],
    padding: usize,
) {
    let values: Vec<String> = ids.iter().map(|id| format!("('v{id}')")).collect();
    let mut state = ids.len() as u64;
    let noise = crate::delta::noise(padding, &mut state).replace('\'', "");
    let sql = format!(
        "SELECT id, '{note}' AS note, '{noise}' AS padding, '{version}' AS metaxy_feature_version, \
         arrow_cast('2024-01-01T00:00:00', 'Timestamp(Microsecond, Some(\"UTC\"))') AS metaxy_updated_at, \
         arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS metaxy_deleted_at FROM (VALUES {}) AS t (id)",
        values.join(", ")
    );
    let frame = SessionContext::new().sql(&sql).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batch = concat_batches(&schema, &frame.collect().await.unwrap()).unwrap();
    let append = Append {
        schema,
        rows: futures::stream::iter([Ok(batch)]).boxed(),
        settings: settings(),
        id_columns: vec!["id".into()],
        write_key: None,
        time: WriteTime::Kept,
        only_at: None,
    };
    backend.append(&"video".parse().unwrap(), append).await.unwrap();
}

/// Which note each sample has, from the latest rows.
async fn notes(store: &Arc<Store>) -> BTreeMap<String, String> {
    let frame = store.read(&SessionContext::new(), "video", &ReadOptions::default()).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows(frame).await.unwrap().iter().map(|row| (text(&row["id"]), text(&row["note"]))).collect()
}

/// Of rows with one time the place of their file decides: the small ones move together, the large ones stay in between.
#[test]
fn of_rows_with_one_time_the_same_ones_win() {
    run(async {
        let (_folder, backends) = backends();
        for backend in backends {
            let store = store(&backend, "1");
            let version = store.graph().await.unwrap().feature_version(&"video".parse().unwrap()).unwrap();
            for file in 0..12_usize {
                let ids: Vec<usize> =
                    (0..8).filter(|id| (id + file) % 3 != 0 && (*id < 6 || file < 6)).rev().collect();
                // Every fifth file is too large to be merged.
                let padding = if file % 5 == 4 { 60_000 } else { 10 };
                append_tied(&backend, &version, &format!("n{file:02}"), &ids, padding).await;
            }
            let expected = notes(&store).await;
            assert!(expected.values().any(|note| note != "n11"), "{expected:?}");
            let count = ids(&store, &history()).await.len();
            let merging = OptimizeOptions { file_size: 50_000, ..OptimizeOptions::default() };
            optimize(&store, &merging).await;
            assert_eq!(notes(&store).await, expected, "{}: merged", backend.kind());
            // Among the files that were written anew, and those that come next.
            append_tied(&backend, &version, "n98", &[3], 10).await;
            append_tied(&backend, &version, "n99", &[4], 10).await;
            let mut expected = expected;
            expected.insert("v3".into(), "n98".into());
            expected.insert("v4".into(), "n99".into());
            assert_eq!(notes(&store).await, expected, "{}: appended", backend.kind());
            // Many files again, with rows of one sample in several.
            let splitting = OptimizeOptions { file_size: 1, full: true, ..OptimizeOptions::default() };
            let one_by_one = SessionContext::new_with_config(SessionConfig::new().with_batch_size(1));
            let done = store.optimize(&one_by_one, Some(&["video"]), &splitting).await.unwrap();
            assert!(backend.kind() == "memory" || done[0].files_after > Some(2), "{done:?}");
            assert_eq!(notes(&store).await, expected, "{}: split", backend.kind());
            optimize(&store, &merging).await;
            optimize(&store, &all()).await;
            assert_eq!(notes(&store).await, expected, "{}: all", backend.kind());
            assert_eq!(ids(&store, &history()).await.len(), count + 2);
            // They may have been different samples once, under other id columns: none is folded.
            optimize(&store, &folding()).await;
            assert_eq!(notes(&store).await, expected, "{}: folded", backend.kind());
            assert_eq!(ids(&store, &history()).await.len(), count + 2);
        }
    });
}

#[test]
fn a_delta_table_is_written_anew_in_one_commit() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        query(&session, "SET metaxy.write_key = 'once'").await;
        query(&session, &insert("b")).await;
        for id in ["a", "c", "a"] {
            query(&session, &insert(id)).await;
        }
        let table = project.table("video");
        let commits = log(&table).len();
        query(&session, "CALL optimize('video')").await;
        let commit = &log(&table)[commits..];
        let [commit] = commit else { panic!("{commit:?}") };
        let (removes, adds) = (actions(commit, "remove"), actions(commit, "add"));
        assert_eq!((removes.len(), adds.len()), (4, 1));
        assert!(removes.iter().chain(&adds).all(|action| action["dataChange"] == json!(false)), "{commit:?}");
        assert_eq!(actions(commit, "metaData").len() + actions(commit, "protocol").len(), 0);
        assert_eq!(actions(commit, "commitInfo")[0]["operation"], json!("OPTIMIZE"));
        let stats: Value = serde_json::from_str(adds[0]["stats"].as_str().unwrap()).unwrap();
        assert_eq!((&stats["minValues"]["id"], &stats["maxValues"]["id"]), (&json!("a"), &json!("c")));
        // Rows that are left out are a change of the data.
        query(&session, "CALL optimize('video', fold_older_than => '0')").await;
        let commit = &log(&table)[commits + 1];
        let changes = [actions(commit, "remove"), actions(commit, "add")].concat();
        assert!(
            changes.len() == 2 && changes.iter().all(|action| action["dataChange"] == json!(true)),
            "{commit:?}"
        );
        // What has been written is still known.
        query(&session, "SET metaxy.write_key = 'once'").await;
        assert_eq!(only(&query(&session, &insert("z")).await), json!(0));
        let properties = &log(&table)[0];
        assert_eq!(
            actions(properties, "metaData")[0]["configuration"]["metaxy.hash_algorithm"],
            json!("xxhash32")
        );
        project.configure("", "hash_algorithm = \"md5\"");
        error(&project.session().await, "SELECT * FROM video").await;
    });
}

#[test]
fn a_write_key_outlives_its_parquet_file() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        for (key, id) in [("first", "a"), ("second", "a"), ("third", "b")] {
            query(&session, &format!("SET metaxy.write_key = '{key}'")).await;
            query(&session, &insert(id)).await;
        }
        for work in [
            "CALL optimize('video')",
            "CALL optimize('video', fold_older_than => '0')",
            "DELETE FROM history.video WHERE id = 'b'",
            "CALL optimize('video', full => true)",
        ] {
            query(&session, work).await;
            for key in ["first", "second", "third"] {
                query(&session, &format!("SET metaxy.write_key = '{key}'")).await;
                assert_eq!(only(&query(&session, &insert("z")).await), json!(0), "{key} after {work}");
            }
        }
        assert_eq!(
            column(&query(&project.session().await, "SELECT id FROM history.video").await, "id"),
            [json!("a")]
        );
    });
}

#[test]
fn a_store_s_own_tables_are_optimized_too() {
    run(async {
        for kind in ["delta", "parquet"] {
            let project = Project::of_kind(kind, RAW, "", "");
            let session = project.session().await;
            query(&session, "CALL push()").await;
            query(&session, &insert("a")).await;
            for _ in 0..5 {
                query(&session, "DELETE FROM history.video WHERE id = 'a'").await;
                query(&session, &insert("a")).await;
            }
            let events = query(&session, "SELECT * FROM system.events ORDER BY timestamp").await;
            assert_eq!(events.len(), 6);
            let done = query(&session, "CALL optimize()").await;
            let event = done.iter().find(|row| row["feature"] == json!("metaxy-system/events")).unwrap();
            assert_eq!((&event["files_before"], &event["files_after"]), (&json!(6), &json!(1)), "{kind}");
            assert_eq!(query(&session, "SELECT * FROM system.events ORDER BY timestamp").await, events);
            query(&session, "CALL optimize('metaxy-system/feature_versions', full => true)").await;
            let session = project.session().await;
            let pushed = query(&session, "CALL push()").await;
            assert_eq!(pushed[0]["already_pushed"], json!(true), "{kind}");
        }
    });
}

fn set_age(path: &Path, hours: u64) {
    let time = SystemTime::now() - Duration::from_hours(hours);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn vacuum_removes_what_a_first_write_has_left() {
    run(async {
        for parquet in [false, true] {
            let project = if parquet { Project::parquet(RAW) } else { Project::new(RAW) };
            let session = project.session().await;
            let vacuum = "CALL vacuum('video')";
            assert_eq!(query(&session, vacuum).await, Vec::<Value>::new());
            let table = project.table("video");
            fs::create_dir_all(&table).unwrap();
            for (name, hours) in [("part-0.parquet#1", 8 * 24), ("part-1.parquet#1", 1), ("notes.txt", 1000)]
            {
                fs::write(table.join(name), "not much").unwrap();
                set_age(&table.join(name), hours);
            }
            let gone = query(&session, "CALL vacuum()").await;
            let files: Vec<Value> = column(&gone, "file");
            assert!(
                files.len() == 1 && files[0].as_str().unwrap().ends_with("/part-0.parquet#1"),
                "{files:?}"
            );
            assert!(!table.join("part-0.parquet#1").exists() && table.join("part-1.parquet#1").exists());
            let dry = project.cli().args(["vacuum", "video", "--format", "csv"]).run();
            assert_eq!((dry.code, dry.stdout.as_str()), (Some(0), "feature,file,bytes\n"), "{dry:#?}");
            // And the feature can be written.
            query(&session, &insert("a")).await;
            assert_eq!(query(&session, "SELECT id FROM video").await.len(), 1);
        }
    });
}

#[test]
fn vacuum_removes_what_a_delta_table_has_dropped() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        for id in ["a", "b", "c"] {
            query(&session, &insert(id)).await;
        }
        let table = project.table("video");
        query(&session, "CALL optimize('video')").await;
        assert_eq!(files_below(&table).iter().filter(|file| file.ends_with(".parquet")).count(), 4);
        // What nobody has ever named in the log: of a writer that has died, or of one that is at it.
        let old = ["part-old.parquet", "part-old.parquet#1", ".6a0f2d5e-6a2b-4d3c-9f1e-0123456789ab"];
        for name in old.iter().chain(&["part-young.parquet", "_delta_log/_commit_x.json.tmp"]) {
            fs::write(table.join(name), "not much").unwrap();
        }
        let others = ["notes.txt", "_hidden/x.parquet", ".crc"];
        fs::create_dir(table.join("_hidden")).unwrap();
        for name in others {
            fs::write(table.join(name), "somebody else's").unwrap();
            set_age(&table.join(name), 1000);
        }
        for name in old {
            set_age(&table.join(name), 8 * 24);
        }
        set_age(&table.join("_delta_log/_commit_x.json.tmp"), 8 * 24);
        let short = "retain => '0', allow_short_retention => true";
        let vacuum = |arguments: &str| format!("CALL vacuum('video', {arguments})");
        // By default only what is a week old.
        let gone = query(&session, &vacuum("dry_run => true")).await;
        let names = |rows: &[Value]| multiset(column(rows, "file"));
        let file = |name: &str| json!(format!("video.delta/{name}"));
        let weeks = old.iter().map(|name| file(name)).chain([file("_delta_log/_commit_x.json.tmp")]);
        assert_eq!(names(&gone), multiset(weeks));
        assert!(column(&gone, "bytes").iter().all(|bytes| *bytes == json!(8)));
        assert_eq!(query(&session, &vacuum(&format!("dry_run => true, {short}"))).await.len(), 7);
        let before = files_below(&table);
        let gone = query(&session, &vacuum(short)).await;
        assert_eq!(gone.len(), 7);
        let left = files_below(&table);
        assert_eq!(before.len() - left.len(), 7);
        assert!(
            left.contains("part-young.parquet") && others.iter().all(|name| left.contains(*name)),
            "{left:?}"
        );
        assert_eq!(query(&session, &vacuum(short)).await, Vec::<Value>::new());
        let session = project.session().await;
        assert_eq!(query(&session, "SELECT id FROM history.video").await.len(), 3);
        query(&session, &insert("d")).await;
        assert_eq!(query(&session, "SELECT id FROM video").await.len(), 4);
    });
}

#[test]
fn a_delta_table_can_ask_to_keep_its_files_for_longer() {
    run(async {
        let project = Project::new(RAW);
        query(&project.session().await, &insert("a")).await;
        rewrite_commit(&project.table("video"), 0, |action| {
            if let Some(metadata) = action.get_mut("metaData") {
                metadata["configuration"]["delta.deletedFileRetentionDuration"] = json!("interval 30 days");
            }
        });
        let session = project.session().await;
        let message = error(&session, "CALL vacuum('video')").await;
        for part in ["video.delta", "30 days", "7 days", "allow_short_retention"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert_eq!(query(&session, "CALL vacuum('video', retain => '30 days')").await, Vec::<Value>::new());
    });
}

#[test]
fn partitioned_tables_are_left_to_their_program() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        query(&session, &insert("a")).await;
        query(&session, &insert("b")).await;
        rewrite_commit(&project.table("video"), 0, |action| {
            if let Some(metadata) = action.get_mut("metaData") {
                metadata["partitionColumns"] = json!(["metaxy_materialization_id"]);
            }
        });
        let message = error(&project.session().await, "CALL optimize('video')").await;
        assert!(
            message.contains("video.delta: it is partitioned by \"metaxy_materialization_id\""),
            "{message}"
        );
    });
}

#[test]
fn progress_is_told_and_memory_is_limited() {
    run(async {
        let (_folder, backends) = backends();
        for backend in &backends[1..] {
            let store = store(backend, "1");
            for start in 0..4 {
                let sql = format!(
                    "SELECT CAST((value * 7919) % 30000 AS VARCHAR) || '-{start}' AS id, repeat(CAST(value AS VARCHAR), 60) AS x, \
                     named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 15000)"
                );
                let frame = SessionContext::new().sql(&sql).await.unwrap();
                store
                    .write("video", frame, &datafusion_metaxy::store::WriteOptions::default())
                    .await
                    .unwrap();
            }
            let told = Arc::new(Mutex::new(Vec::new()));
            let hears = Arc::clone(&told);
            let highest = Arc::new(AtomicU64::new(0));
            let options = OptimizeOptions {
                progress: Some(Arc::new(move |progress: &OptimizeProgress| {
                    assert_eq!(progress.feature.to_string(), "video");
                    assert!(progress.rows >= highest.swap(progress.rows, Ordering::SeqCst));
                    hears.lock().unwrap().push(progress.rows);
                })),
                ..OptimizeOptions::default()
            };
            // Much less than the rows take.
            let runtime = RuntimeEnvBuilder::new().with_memory_limit(12 << 20, 1.0).build_arc().unwrap();
            let mut config = SessionConfig::new().with_batch_size(1024);
            config.options_mut().execution.sort_spill_reservation_bytes = 2 << 20;
            let context = SessionContext::new_with_config_rt(config, runtime);
            store.optimize(&context, Some(&["video"]), &options).await.unwrap();
            assert_eq!(told.lock().unwrap().last(), Some(&60_000), "{}", backend.kind());
            assert_eq!(ids(&store, &history()).await.len(), 60_000);
        }
    });
}

#[test]
fn on_the_command_line() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        for id in ["a", "b", "a"] {
            query(&session, &insert(id)).await;
        }
        let csv = |args: &[&str]| project.cli().args(["--format", "csv", "-q"]).args(args).run().ok();
        let dry = csv(&["optimize", "video", "--fold-older-than", "0", "--dry-run"]);
        assert!(dry.lines().any(|line| line.starts_with("video,3,,") && line.ends_with(",,1")), "{dry}");
        let done = csv(&["optimize", "--file-size", "64MB", "--full"]);
        assert!(done.lines().any(|line| line.starts_with("video,3,1,") && line.ends_with(",0")), "{done}");
        assert_eq!(csv(&["vacuum"]), "feature,file,bytes\n");
        let gone = csv(&["vacuum", "video", "--retain", "0", "--allow-short-retention"]);
        assert_eq!(gone.lines().count(), 4, "{gone}");
        let refused = project.cli().args(["vacuum", "--retain", "1h"]).run();
        assert!(
            refused.code == Some(2) && refused.stderr.contains("--allow-short-retention"),
            "{refused:#?}"
        );
        for wrong in [["optimize", "--fold-older-than", "soon"], ["optimize", "--file-size", "0"]] {
            assert_eq!(project.cli().args(wrong).run().code, Some(2), "{wrong:?}");
        }
        let unknown = project.cli().args(["optimize", "vidoe"]).run().failed();
        assert!(unknown.contains("unknown feature vidoe"), "{unknown}");
    });
}

/// A version says nothing about the id columns: rows can have been written under others.
#[test]
fn rows_that_were_written_under_other_ids_are_never_folded() {
    const WIDE: &str = "[[feature]]\nkey = \"p\"\nid_columns = [\"id\", \"n\"]\n";
    const NARROW: &str = "[[feature]]\nkey = \"p\"\nid_columns = [\"id\"]\n";
    run(async {
        for push in [true, false] {
            for project in [Project::new(WIDE), Project::parquet(WIDE)] {
                let session = project.session().await;
                if push {
                    query(&session, "CALL push()").await;
                }
                let insert = "INSERT INTO p SELECT 1 AS id, n, named_struct('default', 'h') AS \
                              metaxy_provenance_by_field FROM (VALUES (1), (2)) AS t(n)";
                query(&session, insert).await;
                project.write("features.toml", NARROW);
                let other = project.session().await;
                let folded = query(&other, "CALL optimize('p', fold_older_than => '0s')").await;
                assert_eq!(folded[0]["rows_folded"], json!(0), "pushed: {push}");
                project.write("features.toml", WIDE);
                let rows = query(&project.session().await, "SELECT n FROM p ORDER BY n").await;
                assert_eq!(column(&rows, "n"), [json!(1), json!(2)], "pushed: {push}");
            }
        }
    });
}
