//! Eight writers at once: nothing is lost, written twice, or left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::{self, Project, Ran, actions, assert_no_strays, column, log, query, run, try_query};

pub const WRITERS: usize = 8;

pub const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]
"#;

/// The same with a feature that is made of it.
pub const PAIR: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]

[[feature]]
key = "video/crop"
id_columns = ["video_id"]
deps = ["video/raw"]
"#;

/// One row of writer `i`, with a column that only it has.
pub fn insert(i: usize, round: usize) -> String {
    format!(
        "INSERT INTO video__raw SELECT {i} AS c{i}_{round}, 'w{i}-{round}' AS video_id, 'all' AS shared, \
         named_struct('default', 'v{i}') AS metaxy_provenance_by_field"
    )
}

/// Runs each writer's statements in a session of its own, all at the same time.
pub async fn all_at_once<F>(project: &Project, statements: F) -> Vec<Result<Vec<Value>, String>>
where
    F: Fn(usize) -> Vec<String>,
{
    let start = Arc::new(Barrier::new(WRITERS));
    let mut tasks = Vec::new();
    for i in 0..WRITERS {
        let session: MetaxySession = project.session().await;
        let (start, statements) = (Arc::clone(&start), statements(i));
        tasks.push(tokio::spawn(async move {
            start.wait().await;
            let mut last = Vec::new();
            for sql in statements {
                last = try_query(&session, &sql).await.map_err(|error| support::one_line(&error))?;
            }
            Ok(last)
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// The table is one: a single creation, schemas that only grow, nothing stray, times that follow the commits.
async fn check_table(table: &Path, commits: usize) {
    let log = log(table);
    assert_eq!(log.len(), commits, "one commit per write");
    let created = actions(&log[0], "metaData");
    let [created] = created[..] else { panic!("{} metaData actions in commit 0", created.len()) };
    assert!(created["createdTime"].is_i64(), "{created}");
    let mut columns = BTreeSet::new();
    for (version, commit) in log.iter().enumerate() {
        assert_eq!(
            actions(commit, "protocol").len(),
            usize::from(version == 0),
            "protocol in commit {version}"
        );
        for metadata in actions(commit, "metaData") {
            assert_eq!(metadata["id"], created["id"], "commit {version}");
            assert_eq!(metadata["createdTime"], created["createdTime"], "commit {version}");
            assert_eq!(metadata["configuration"], created["configuration"], "commit {version}");
            let grown = schema_columns(metadata);
            assert!(grown.is_superset(&columns), "commit {version} loses columns");
            columns = grown;
        }
    }
    for i in 0..WRITERS {
        let of_writer = columns.iter().filter(|name| name.starts_with(&format!("c{i}_"))).count();
        assert_eq!(of_writer, commits / WRITERS, "columns of writer {i} in {columns:?}");
    }
    assert_no_strays(table);
    assert_times_follow_commits(table, &log).await;
}

fn schema_columns(metadata: &Value) -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

/// Each commit has one `metaxy_updated_at`, later than that of the commit before.
async fn assert_times_follow_commits(table: &Path, log: &[Vec<Value>]) {
    let context = SessionContext::new();
    let mut before = i64::MIN;
    for (version, commit) in log.iter().enumerate() {
        let mut times = BTreeSet::new();
        for add in actions(commit, "add") {
            let file = table.join(add["path"].as_str().unwrap());
            let frame =
                context.read_parquet(file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
            let times_of_file = context
                .read_table(frame.into_view())
                .unwrap()
                .select_exprs(&["CAST(metaxy_updated_at AS BIGINT) AS time"])
                .unwrap();
            for time in column(&support::rows(times_of_file).await.unwrap(), "time") {
                times.insert(time.as_i64().unwrap());
            }
        }
        let times: Vec<i64> = times.into_iter().collect();
        let [time] = times[..] else { panic!("commit {version} has the times {times:?}") };
        assert!(time > before, "commit {version}: {time} is not after {before}");
        before = time;
    }
}

/// Every row of every round is there, with its own column and no other's.
pub async fn check_rows(project: &Project, rounds: usize) {
    let rows = query(&project.session().await, "SELECT * FROM video__raw").await;
    let mut expected = BTreeSet::new();
    for i in 0..WRITERS {
        expected.extend((0..rounds).map(|round| format!("w{i}-{round}")));
    }
    let found: BTreeSet<String> =
        column(&rows, "video_id").iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(found, expected);
    assert_eq!(rows.len(), expected.len());
    for row in rows {
        let (i, round) = row["video_id"].as_str().unwrap()[1..].split_once('-').unwrap();
        let own = format!("c{i}_{round}");
        for (name, value) in row.as_object().unwrap().iter().filter(|(name, _)| name.starts_with('c')) {
            let expected = if *name == own { json!(i.parse::<i64>().unwrap()) } else { Value::Null };
            assert_eq!(*value, expected, "{name} of {}", row["video_id"]);
        }
        assert_eq!(row["shared"], "all");
    }
}

#[test]
fn first_writes_with_different_columns_all_survive() {
    run(async {
        let project = Project::new(FEATURES);
        for result in all_at_once(&project, |i| vec![insert(i, 0)]).await {
            assert_eq!(support::only(&result.unwrap()), json!(1));
        }
        check_rows(&project, 1).await;
        check_table(&project.table("video/raw"), WRITERS).await;
    });
}

#[test]
fn writes_of_separate_processes_all_survive() {
    run(async {
        let project = Project::new(FEATURES);
        let rounds = 3;
        let children: Vec<_> = (0..WRITERS)
            .map(|i| {
                let statements: Vec<String> = (0..rounds).map(|round| insert(i, round)).collect();
                project.cli().sql(&statements.iter().map(String::as_str).collect::<Vec<_>>()).start()
            })
            .collect();
        for child in children {
            Ran::from(child.wait_with_output().unwrap()).ok();
        }
        check_rows(&project, rounds).await;
        check_table(&project.table("video/raw"), WRITERS * rounds).await;
    });
}

#[test]
fn of_contradicting_types_exactly_one_wins() {
    run(async {
        let project = Project::new(FEATURES);
        let value = |i: usize| if i.is_multiple_of(2) { format!("'text{i}'") } else { format!("{i}") };
        let results = all_at_once(&project, |i| {
            vec![format!(
                "INSERT INTO video__raw SELECT 'w{i}' AS video_id, {} AS n, \
                 named_struct('default', 'v') AS metaxy_provenance_by_field",
                value(i)
            )]
        })
        .await;
        let won: Vec<usize> = (0..WRITERS).filter(|&i| results[i].is_ok()).collect();
        let parity = won.first().expect("somebody wins") % 2;
        assert_eq!(won, (0..WRITERS).filter(|i| i % 2 == parity).collect::<Vec<_>>(), "{results:?}");
        for result in &results {
            let Err(message) = result else { continue };
            for part in ["video/raw", "\"n\"", "string", "bigint"] {
                assert!(message.contains(part), "{part} is not in: {message}");
            }
        }
        let rows = query(&project.session().await, "SELECT video_id, n FROM video__raw").await;
        let found: BTreeMap<String, Value> =
            rows.iter().map(|row| (row["video_id"].as_str().unwrap().to_owned(), row["n"].clone())).collect();
        let expected = won
            .iter()
            .map(|&i| (format!("w{i}"), if parity == 0 { json!(format!("text{i}")) } else { json!(i) }));
        assert_eq!(found, expected.collect());
        assert_eq!(rows.len(), won.len());
        let table = project.table("video/raw");
        assert_eq!(log(&table).len(), won.len());
        assert_no_strays(&table);
    });
}

/// Eight writers with one key: `before` is written first, if it is there.
async fn one_write_key(before: Option<String>) {
    let project = Project::new(FEATURES);
    let existing = usize::from(before.is_some());
    if let Some(sql) = before {
        query(&project.session().await, &sql).await;
    }
    let results =
        all_at_once(&project, |i| vec!["SET metaxy.write_key = 'job 1'".to_owned(), insert(i, 0)]).await;
    let counts: Vec<u64> =
        results.into_iter().map(|result| support::only(&result.unwrap()).as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 1, "{counts:?}");
    let winner = counts.iter().position(|&count| count == 1).unwrap();
    let session = project.session().await;
    let rows = query(&session, "SELECT video_id FROM history.video__raw WHERE shared = 'all'").await;
    assert_eq!(column(&rows, "video_id"), [json!(format!("w{winner}-0"))]);
    let table = project.table("video/raw");
    let log = log(&table);
    assert_eq!(log.len(), 1 + existing);
    let transactions: Vec<&Value> = log.iter().flat_map(|commit| actions(commit, "txn")).collect();
    let [transaction] = transactions[..] else { panic!("{transactions:?}") };
    assert_eq!((&transaction["appId"], &transaction["version"]), (&json!("metaxy/job 1"), &json!(1)));
    assert_no_strays(&table);
    // Another key, or none, is another write.
    query(&session, "SET metaxy.write_key = 'job 2'").await;
    assert_eq!(support::only(&query(&session, &insert(1, 1)).await), json!(1));
    assert_eq!(support::only(&query(&session, &insert(1, 2)).await), json!(1));
}

#[test]
fn a_write_key_creates_a_table_once() {
    run(one_write_key(None));
}

#[test]
fn a_write_key_appends_once() {
    let first = "INSERT INTO video__raw SELECT 'first' AS video_id, \
                 named_struct('default', 'v') AS metaxy_provenance_by_field";
    run(one_write_key(Some(first.to_owned())));
}
