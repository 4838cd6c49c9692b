//! Parquet stores: what is on disk, writers at the same time, writes that fail half-way, files that are broken.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_metaxy::store::WriteOptions;
use serde_json::{Value, json};

use crate::concurrency::{self, WRITERS, all_at_once, check_rows};
use crate::delta::{FAILING, noise};
use crate::support::{
    self, Project, Ran, column, dev, error, files_below, one_line, only, query, run, try_query,
};

const RAW: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]
"#;

/// A row of `video/raw` with these further columns.
fn insert(id: &str, columns: &str) -> String {
    format!(
        "INSERT INTO video__raw SELECT '{id}' AS video_id, {columns} \
         named_struct('default', 'v-{id}') AS metaxy_provenance_by_field"
    )
}

fn name(number: usize) -> String {
    format!("{number:020}.parquet")
}

/// The path of a data file of `video/raw`.
fn file(project: &Project, number: usize) -> PathBuf {
    project.table("video/raw").join(name(number))
}

/// Fails unless the folder holds the settings and so many data files, and nothing else.
fn assert_files(table: &Path, count: usize) {
    let mut expected: BTreeSet<String> = (1..=count).map(name).collect();
    expected.insert("_metaxy.json".to_owned());
    assert_eq!(files_below(table), expected);
    assert!(!table.join("_staging").exists());
}

/// Each file has one `metaxy_updated_at`, later than that of the file before.
async fn assert_times_follow_numbers(table: &Path, count: usize) {
    let context = SessionContext::new();
    let mut before = i64::MIN;
    for number in 1..=count {
        let path = table.join(name(number));
        let frame =
            context.read_parquet(path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
        let times = frame.select_exprs(&["CAST(metaxy_updated_at AS BIGINT) AS time"]).unwrap();
        let times: BTreeSet<i64> = column(&support::rows(times.distinct().unwrap()).await.unwrap(), "time")
            .iter()
            .map(|time| time.as_i64().unwrap())
            .collect();
        let [time] = times.iter().copied().collect::<Vec<_>>()[..] else { panic!("{number} has {times:?}") };
        assert!(time > before, "{number}: {time} is not after {before}");
        before = time;
    }
}

#[test]
fn layouts() {
    run(async {
        let features = "[[feature]]\nkey = \"a-x/b_c\"\nid_columns = [\"id\"]\n[[feature]]\nkey = \"a-x\"\nid_columns = [\"id\"]";
        for (config, first, second) in
            [("", "a-x/b_c.parquet", "a-x.parquet"), ("layout = \"flat\"", "a_x__b_c.parquet", "a_x.parquet")]
        {
            let project = Project::of_kind("parquet", features, "hash_truncation_length = 9", config);
            let session = project.session().await;
            let row = "SELECT 1 AS id, named_struct('default', 'v') AS metaxy_provenance_by_field";
            query(&session, &format!("INSERT INTO a_x__b_c {row}")).await;
            query(&session, &format!("INSERT INTO \"a-x\" {row}")).await;
            query(&session, &format!("INSERT INTO \"a-x\" {row}")).await;
            let store = project.path().join("store");
            let expected =
                [(first, 1), (first, 0), (second, 0), (second, 1), (second, 2)].map(|(table, n)| {
                    format!("{table}/{}", if n == 0 { "_metaxy.json".to_owned() } else { name(n) })
                });
            assert_eq!(files_below(&store), BTreeSet::from(expected));
            let settings = fs::read_to_string(store.join(first).join("_metaxy.json")).unwrap();
            assert_eq!(settings, r#"{"hash_algorithm":"xxhash32","hash_truncation_length":9}"#);
            let session = project.session().await;
            assert_eq!(query(&session, "SELECT id FROM a_x__b_c").await.len(), 1);
            assert_eq!(only(&query(&session, "SELECT count(*) FROM history.a_x").await), json!(2));
        }
    });
}

#[test]
fn a_folder_with_an_odd_name() {
    run(async {
        let project = Project::parquet(RAW);
        for (root, folder) in
            [("with space", "with space"), ("50%20#1?", "50%20#1?"), ("a+b&ü", "a+b&ü"), ("./x/../y", "y")]
        {
            let root = project.path().join(root);
            project.write(
                "metaxy.toml",
                &format!(
                    "store = \"dev\"\n[stores.dev]\ntype = \"parquet\"\nconfig = {{ root_path = {root:?} }}\n\
                     [ext.datafusion]\nfeatures = [\"features.toml\"]\n"
                ),
            );
            let session = project.session().await;
            query(&session, &insert("v1", "")).await;
            query(&session, &insert("v2", "")).await;
            assert_eq!(query(&session, "SELECT * FROM video__raw").await.len(), 2, "{}", root.display());
            assert_files(&project.path().join(folder).join("video/raw.parquet"), 2);
        }
    });
}

#[test]
fn first_writes_with_different_columns_all_survive() {
    run(async {
        let project = Project::parquet(concurrency::FEATURES);
        for result in all_at_once(&project, |i| vec![concurrency::insert(i, 0)]).await {
            assert_eq!(only(&result.unwrap()), json!(1));
        }
        check_rows(&project, 1).await;
        assert_files(&project.table("video/raw"), WRITERS);
        assert_times_follow_numbers(&project.table("video/raw"), WRITERS).await;
    });
}

#[test]
fn writes_of_separate_processes_all_survive() {
    run(async {
        let project = Project::parquet(concurrency::FEATURES);
        let rounds = 3;
        let children: Vec<_> = (0..WRITERS)
            .map(|i| {
                let statements: Vec<String> =
                    (0..rounds).map(|round| concurrency::insert(i, round)).collect();
                project.cli().sql(&statements.iter().map(String::as_str).collect::<Vec<_>>()).start()
            })
            .collect();
        for child in children {
            Ran::from(child.wait_with_output().unwrap()).ok();
        }
        check_rows(&project, rounds).await;
        assert_files(&project.table("video/raw"), WRITERS * rounds);
        assert_times_follow_numbers(&project.table("video/raw"), WRITERS * rounds).await;
    });
}

#[test]
fn of_contradicting_types_exactly_one_wins() {
    run(async {
        let project = Project::parquet(RAW);
        let value = |i: usize| if i.is_multiple_of(2) { format!("'text{i}'") } else { format!("{i}") };
        let results =
            all_at_once(&project, |i| vec![insert(&format!("w{i}"), &format!("{} AS n,", value(i)))]).await;
        let won: Vec<usize> = (0..WRITERS).filter(|&i| results[i].is_ok()).collect();
        let parity = won.first().expect("somebody wins") % 2;
        assert_eq!(won, (0..WRITERS).filter(|i| i % 2 == parity).collect::<Vec<_>>(), "{results:?}");
        for message in results.iter().filter_map(|result| result.as_ref().err()) {
            for part in ["video/raw", "\"n\"", "string", "bigint"] {
                assert!(message.contains(part), "{part} is not in: {message}");
            }
        }
        let rows = query(&project.session().await, "SELECT video_id, n FROM video__raw").await;
        let found: BTreeSet<String> =
            rows.iter().map(|row| format!("{} {}", row["video_id"], row["n"])).collect();
        let number = |i: usize| if parity == 0 { json!(format!("text{i}")) } else { json!(i) };
        assert_eq!(found, won.iter().map(|&i| format!("\"w{i}\" {}", number(i))).collect());
        assert_files(&project.table("video/raw"), won.len());
    });
}

#[test]
fn of_contradicting_hash_settings_exactly_one_wins() {
    run(async {
        let project = Project::parquet(RAW);
        let mut sessions = Vec::new();
        for algorithm in ["xxhash64", "sha256"] {
            project.configure("", &format!("hash_algorithm = {algorithm:?}"));
            sessions.push(project.session().await);
        }
        let (first, second) = (insert("v1", ""), insert("v2", ""));
        let results = futures::join!(try_query(&sessions[0], &first), try_query(&sessions[1], &second));
        let won = usize::from(results.1.is_ok());
        let lost = if won == 0 { results.1 } else { results.0 };
        let message = one_line(&lost.unwrap_err());
        for part in ["video/raw", "hash_algorithm", "xxhash64", "sha256"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert_files(&project.table("video/raw"), 1);
        let rows = query(&sessions[won], "SELECT video_id FROM video__raw").await;
        assert_eq!(column(&rows, "video_id"), [json!(format!("v{}", won + 1))]);
    });
}

/// Eight writers with one key: `before` is written first, if it is there.
async fn one_write_key(before: Option<String>) {
    let project = Project::parquet(concurrency::FEATURES);
    let existing = usize::from(before.is_some());
    if let Some(sql) = before {
        query(&project.session().await, &sql).await;
    }
    let with_key = |i| vec!["SET metaxy.write_key = 'job 1'".to_owned(), concurrency::insert(i, 0)];
    let results = all_at_once(&project, with_key).await;
    let counts: Vec<u64> =
        results.into_iter().map(|result| only(&result.unwrap()).as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 1, "{counts:?}");
    let winner = counts.iter().position(|&count| count == 1).unwrap();
    let session = project.session().await;
    let rows = query(&session, "SELECT video_id FROM history.video__raw WHERE shared = 'all'").await;
    assert_eq!(column(&rows, "video_id"), [json!(format!("w{winner}-0"))]);
    assert_files(&project.table("video/raw"), 1 + existing);
    // Again, much later; then another key, or none.
    query(&session, "SET metaxy.write_key = 'job 1'").await;
    assert_eq!(only(&query(&session, &concurrency::insert(7, 7)).await), json!(0));
    query(&session, "SET metaxy.write_key = 'job 2'").await;
    assert_eq!(only(&query(&session, &concurrency::insert(1, 1)).await), json!(1));
    assert_eq!(only(&query(&session, &concurrency::insert(1, 2)).await), json!(1));
    assert_files(&project.table("video/raw"), 3 + existing);
}

#[test]
fn a_write_key_creates_a_table_once() {
    run(one_write_key(None));
}

#[test]
fn a_write_key_appends_once() {
    run(one_write_key(Some(insert("first", ""))));
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    run(async {
        let failing = |rows: &str| {
            format!(
                "INSERT INTO video__raw SELECT *, named_struct('default', 'v') AS metaxy_provenance_by_field FROM ({rows})"
            )
        };
        for (what, rows) in FAILING {
            let project = Project::parquet(RAW);
            let session = project.session().await;
            error(&session, &failing(rows)).await;
            assert!(!project.path().join("store").exists(), "{what} in a first write");
            query(&session, &insert("v1", "")).await;
            error(&session, &failing(rows)).await;
            assert_files(&project.table("video/raw"), 1);
            assert_eq!(query(&session, "SELECT * FROM video__raw").await.len(), 1, "{what}");
        }
    });
}

/// So many bytes that a part of the file has been handed to the file system before the check fails.
#[test]
fn a_large_write_that_fails_leaves_nothing() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        let mut state = 42;
        let batches: Vec<RecordBatch> = (0..80)
            .map(|i| {
                let id: ArrayRef = Arc::new(StringArray::from(vec![format!("v{}", i % 79)]));
                let blob: ArrayRef = Arc::new(StringArray::from(vec![noise(1 << 20, &mut state)]));
                let version: ArrayRef = Arc::new(StringArray::from(vec!["v"]));
                let field = Arc::new(Field::new("default", DataType::Utf8, true));
                let provenance: ArrayRef = Arc::new(StructArray::from(vec![(field, version)]));
                RecordBatch::try_from_iter([
                    ("video_id", id),
                    ("blob", blob),
                    ("metaxy_provenance_by_field", provenance),
                ])
                .unwrap()
            })
            .collect();
        let frame = |batches: &[RecordBatch]| session.context().read_batches(batches.to_vec()).unwrap();
        let store = dev(&session);
        let refused = store.write("video/raw", frame(&batches), &WriteOptions::default()).await.unwrap_err();
        assert!(one_line(&refused).contains("video_id=v0"), "{refused}");
        assert!(!project.path().join("store").exists());
        let report = store.write("video/raw", frame(&batches[..79]), &WriteOptions::default()).await.unwrap();
        assert_eq!(report.rows, 79);
        assert_files(&project.table("video/raw"), 1);
        // More than one row group, so that a part was written before the end.
        let written = fs::metadata(file(&project, 1)).unwrap().len();
        assert!(written > 64 << 20, "{written} bytes");
    });
}

#[test]
fn files_of_dead_writers_are_ignored_and_swept_after_a_day() {
    run(async {
        let project = Project::parquet(RAW);
        query(&project.session().await, &insert("v1", "")).await;
        let table = project.table("video/raw");
        fs::create_dir(table.join("_staging")).unwrap();
        let staged = |name: &str, hours: u64| {
            let path = table.join("_staging").join(name);
            fs::write(&path, fs::read(file(&project, 1)).unwrap()).unwrap();
            let time = SystemTime::now() - Duration::from_hours(hours);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        for (name, hours) in [("old.parquet", 25), ("old.parquet#1", 25), ("young.parquet", 23)] {
            staged(name, hours);
        }
        for hidden in ["_hidden.parquet", ".hidden.parquet", "notes.txt"] {
            fs::write(table.join(hidden), "no Parquet at all").unwrap();
        }
        fs::create_dir(table.join("deeper")).unwrap();
        fs::copy(file(&project, 1), table.join("deeper/00000000000000000009.parquet")).unwrap();
        let session = project.session().await;
        assert_eq!(only(&query(&session, "SELECT count(*) FROM history.video__raw").await), json!(1));
        query(&session, &insert("v2", "")).await;
        assert_eq!(only(&query(&session, "SELECT count(*) FROM history.video__raw").await), json!(2));
        assert!(file(&project, 2).exists());
        let staged = files_below(&table.join("_staging"));
        assert_eq!(staged, BTreeSet::from(["young.parquet".to_owned()]));
    });
}

/// A process that is killed when a part of its file is written.
#[test]
fn a_killed_writer_leaves_nothing_visible() {
    run(async {
        let project = Project::parquet(RAW);
        query(&project.session().await, &insert("v1", "")).await;
        let noise = vec!["CAST(random() AS VARCHAR)"; 40].join(" || ");
        let endless = format!(
            "INSERT INTO video__raw SELECT CAST(value AS VARCHAR) AS video_id, {noise} AS x, \
             named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 1000000000)"
        );
        let mut child = project.cli().sql(&[&endless]).start();
        let staging = project.table("video/raw").join("_staging");
        let started = Instant::now();
        while files_below(&staging).is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "the write has ended");
            assert!(started.elapsed() < Duration::from_secs(120), "nothing is staged");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(files_below(&staging).len(), 1, "the file stays behind");
        let session = project.session().await;
        assert_eq!(only(&query(&session, "SELECT count(*) FROM history.video__raw").await), json!(1));
        query(&session, &insert("v2", "")).await;
        assert_eq!(only(&query(&session, "SELECT count(*) FROM history.video__raw").await), json!(2));
        assert!(file(&project, 2).exists());
    });
}

#[test]
fn an_empty_write_creates_nothing() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        let rows = query(&session, &format!("{} WHERE false", insert("v1", ""))).await;
        assert_eq!(only(&rows), json!(0));
        assert!(!project.path().join("store").exists());
        assert!(error(&session, "SELECT * FROM video__raw").await.contains("has no data"));
    });
}

#[test]
fn a_broken_file_is_an_error_that_names_it() {
    run(async {
        let project = Project::parquet(RAW);
        query(&project.session().await, &insert("v1", "")).await;
        query(&project.session().await, &insert("v2", "")).await;
        let path = file(&project, 2);
        let saved = fs::read(&path).unwrap();
        let no_footer = saved[..saved.len() - 9].to_vec();
        let mut wrong_footer = saved.clone();
        let at = saved.len() - 400;
        wrong_footer[at..at + 300].fill(0xff);
        for broken in
            [b"garbage".to_vec(), Vec::new(), saved[..saved.len() / 2].to_vec(), no_footer, wrong_footer]
        {
            fs::write(&path, &broken).unwrap();
            for sql in ["SELECT * FROM video__raw", "SELECT * FROM history.video__raw", &insert("v3", "")] {
                let message = error(&project.session().await, sql).await;
                for part in ["dev", "video/raw", &name(2)] {
                    assert!(message.contains(part), "{part} is not in: {message}");
                }
            }
            fs::write(&path, &saved).unwrap();
        }
        assert_eq!(query(&project.session().await, "SELECT * FROM video__raw").await.len(), 2);
        // A footer that is fine over pages that are not.
        let mut wrong_pages = saved.clone();
        wrong_pages[4..60].fill(0xff);
        fs::write(&path, &wrong_pages).unwrap();
        for sql in ["SELECT * FROM video__raw", "SELECT * FROM history.video__raw"] {
            let message = error(&project.session().await, sql).await;
            for part in ["dev", "video/raw", &name(2), "damaged"] {
                assert!(message.contains(part), "{part} is not in: {message}");
            }
        }
        fs::write(&path, &saved).unwrap();
        assert_files(&project.table("video/raw"), 2);
    });
}

#[test]
fn broken_settings_are_an_error_that_names_them() {
    run(async {
        let project = Project::parquet(RAW);
        query(&project.session().await, &insert("v1", "")).await;
        for broken in ["", "{", "[]", r#"{"hash_algorithm": "xxhash32"}"#] {
            fs::write(project.table("video/raw").join("_metaxy.json"), broken).unwrap();
            for sql in ["SELECT * FROM video__raw", &insert("v2", "")] {
                let message = error(&project.session().await, sql).await;
                assert!(message.contains("video/raw.parquet/_metaxy.json"), "{message}");
            }
        }
        assert_files(&project.table("video/raw"), 1);
    });
}

#[test]
fn other_hash_settings_are_refused() {
    run(async {
        let features = format!(
            "{RAW}\n[[feature]]\nkey = \"video/crop\"\nid_columns = [\"video_id\"]\ndeps = [\"video/raw\"]"
        );
        let project = Project::parquet(&features);
        query(&project.session().await, &insert("v1", "")).await;
        for (top, store, parts) in [
            ("", "hash_algorithm = \"xxhash64\"", ["xxhash32", "xxhash64"]),
            ("hash_truncation_length = 9", "", [" 8", " 9"]),
        ] {
            project.configure(top, store);
            let session = project.session().await;
            for sql in [
                "SELECT * FROM video__raw",
                "SELECT * FROM history.video__raw",
                "SELECT * FROM resolve_update('video/crop')",
                &insert("v2", ""),
            ] {
                let message = error(&session, sql).await;
                for part in ["video/raw", "hash_algorithm", "hash_truncation_length"].iter().chain(&parts) {
                    assert!(message.contains(part), "{part} is not in: {message} ({sql})");
                }
            }
        }
        assert_files(&project.table("video/raw"), 1);
    });
}

#[test]
fn columns_come_in_any_order_and_are_added() {
    run(async {
        let project = Project::parquet(RAW);
        let session = project.session().await;
        query(&session, &insert("v1", "1 AS size, 'a' AS path,")).await;
        query(&session, &insert("v2", "'b' AS path, true AS ok, named_struct('x', 1) AS box,")).await;
        query(&session, &insert("v3", "named_struct('y', 'two') AS box, CAST(3 AS SMALLINT) AS size,")).await;
        let rows = query(
            &project.session().await,
            "SELECT video_id, size, path, ok, box FROM video__raw ORDER BY video_id",
        )
        .await;
        let expected = [
            json!({"video_id": "v1", "size": 1, "path": "a", "ok": null, "box": null}),
            json!({"video_id": "v2", "size": null, "path": "b", "ok": true, "box": {"x": 1, "y": null}}),
            json!({"video_id": "v3", "size": 3, "path": null, "ok": null, "box": {"x": null, "y": "two"}}),
        ];
        assert_eq!(rows, expected);
        let message = error(&session, &insert("v4", "'text' AS size,")).await;
        assert!(message.contains("\"size\" is string, but bigint in the table"), "{message}");
        assert_files(&project.table("video/raw"), 3);
    });
}

#[test]
fn members_of_a_new_field_are_null_in_old_rows() {
    run(async {
        let fields = |names: &str| {
            format!("[[feature]]\nkey = \"video/raw\"\nid_columns = [\"video_id\"]\nfields = [{names}]\n")
        };
        let project = Project::parquet(&fields("\"audio\""));
        let insert = |id: &str, versions: &str| {
            format!(
                "INSERT INTO video__raw SELECT '{id}' AS video_id, named_struct({versions}) AS metaxy_provenance_by_field"
            )
        };
        let old_session = project.session().await;
        query(&old_session, &insert("v1", "'audio', 'a1'")).await;
        // Tables as they are now, for what comes later.
        let store = dev(&old_session);
        let history = store.history_table(&store.feature("video/raw").await.unwrap()).await.unwrap();
        let current = store.current_table(&store.feature("video/raw").await.unwrap()).await.unwrap();
        // The new field alone: not a member in common with the old rows.
        project.write("features.toml", &fields("\"frames\""));
        let session = project.session().await;
        assert_eq!(query(&session, "SELECT * FROM video__raw").await, Vec::<Value>::new());
        query(&session, &insert("v2", "'frames', 'f2'")).await;
        let read = "SELECT video_id, metaxy_provenance_by_field AS p, metaxy_data_version_by_field AS d \
                    FROM history.video__raw ORDER BY video_id";
        let rows = query(&session, read).await;
        assert_eq!(column(&rows, "p"), column(&rows, "d"));
        assert_eq!(
            column(&rows, "p"),
            [json!({"audio": "a1", "frames": null}), json!({"audio": null, "frames": "f2"})]
        );
        // A table opened before sees the new rows, in the columns that it had.
        let context = SessionContext::new();
        let rows = support::rows(context.read_table(Arc::new(history)).unwrap()).await.unwrap();
        let seen: BTreeSet<String> = rows
            .iter()
            .map(|row| format!("{} {}", row["video_id"], row["metaxy_provenance_by_field"]))
            .collect();
        let expected = [r#""v1" {"audio":"a1"}"#, r#""v2" {"audio":null}"#].map(str::to_owned);
        assert_eq!(seen, BTreeSet::from(expected));
        let rows = support::rows(context.read_table(Arc::new(current)).unwrap()).await.unwrap();
        assert_eq!(column(&rows, "video_id"), [json!("v1")]);
    });
}
