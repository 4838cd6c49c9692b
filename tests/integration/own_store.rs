//! The store of `examples/own_store.rs`: what a third party writes from the documentation of the trait works in full.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
use datafusion_metaxy::session::{Extension, MetaxySession};
use datafusion_metaxy::store::Store;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Barrier;

use crate::support::{self, column, only, query, run, try_query};

#[path = "../../examples/own_store.rs"]
#[allow(unused, reason = "the main function is run by a process of its own")]
mod example;

/// A session over the store in that folder.
async fn session(folder: &TempDir) -> MetaxySession {
    let raw = FeatureSpec::builder("raw").id_columns(["id"]).build().unwrap();
    let child = FeatureSpec::builder("child").id_columns(["id"]).dep("raw").build().unwrap();
    let features = [raw, child].map(|spec| FeatureDefinition::declared(spec, "test", Origin::Session));
    let backend = Arc::new(example::ArrowFiles(folder.path().to_owned()));
    let settings = HashSettings::new(HashAlgorithm::XxHash64, 16).unwrap();
    let store = Store::new("own", backend, settings, features.into()).with_project("test").unwrap();
    let extension = Extension::from_stores([Arc::new(store)]).unwrap();
    MetaxySession::over(extension, None).await.unwrap()
}

fn insert(id: &str, more: &str) -> String {
    format!(
        "INSERT INTO raw SELECT '{id}' AS id, named_struct('default', 'h') AS metaxy_provenance_by_field{more}"
    )
}

#[test]
fn main_prints_what_is_left_to_do() {
    // What libraries print to the standard output can be read from another process only.
    let ran = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "own_store::run_main", "--nocapture", "--quiet"])
        .output()
        .unwrap();
    let output = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{output}");
    for row in ["| new              | b.jpg |", "| orphaned         | a.jpg |"] {
        assert!(output.contains(row), "{output}");
    }
}

#[test]
fn run_main() {
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    let run = || example::main().map_err(|error| error.to_string());
    assert_eq!(thread.spawn(run).unwrap().join().unwrap(), Ok(()));
}

#[test]
fn eight_writers_lose_nothing_and_a_key_counts_once() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let start = Arc::new(Barrier::new(8));
        let mut tasks = Vec::new();
        for i in 0..8 {
            let (session, start) = (session(&folder).await, Arc::clone(&start));
            tasks.push(tokio::spawn(async move {
                start.wait().await;
                query(&session, &insert(&format!("w{i}"), &format!(", {i} AS c{i}"))).await;
                query(&session, "SET metaxy.write_key = 'once'").await;
                query(&session, &insert("same", "")).await;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let session = session(&folder).await;
        let rows = query(&session, "SELECT * FROM history.raw").await;
        let ids = column(&rows, "id");
        let set: BTreeSet<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!((ids.len(), set.len()), (9, 9), "{ids:?}");
        let times: BTreeSet<String> =
            column(&rows, "metaxy_updated_at").iter().map(ToString::to_string).collect();
        assert_eq!(times.len(), 9, "each write has a time of its own");
        assert!(rows.iter().filter(|row| row["id"] == "w3").all(|row| row["c3"] == 3 && row["c4"].is_null()));
    });
}

#[test]
fn rows_are_deleted_softly_and_what_others_need_is_found() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        for id in ["a", "b"] {
            query(&session, &insert(id, "")).await;
        }
        let work =
            "INSERT INTO child SELECT * FROM resolve_update('child') WHERE metaxy_increment <> 'orphaned'";
        query(&session, work).await;
        query(&session, "DELETE FROM raw WHERE id = 'a'").await;
        let rows = query(&session, "SELECT metaxy_increment, id FROM resolve_update('child')").await;
        assert_eq!(rows, [json!({"metaxy_increment": "orphaned", "id": "a"})]);
        assert_eq!(only(&query(&session, "SELECT count(*) FROM raw").await), json!(1));
        let text = support::one_line(
            &try_query(&session, "DELETE FROM history.raw WHERE id = 'a'").await.unwrap_err(),
        );
        assert!(text.contains("Arrow files can't remove rows"), "{text}");
    });
}
