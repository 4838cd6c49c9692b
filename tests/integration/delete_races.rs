//! Deletes beside each other and beside writes: what others do to other samples is no reason to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
use datafusion_metaxy::session::{Extension, MetaxySession};
use datafusion_metaxy::store::{DeleteMode, DeleteOptions, MemoryStore, Store};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::{Project, assert_no_strays, column, dev, only, query, run, try_query};

const FEATURES: &str = "[[feature]]\nkey = \"video\"\nid_columns = [\"id\"]\n";
const KINDS: [&str; 3] = ["memory", "delta", "parquet"];
const DELETERS: usize = 8;
/// Samples of each deleter, and of nobody; as many files as samples of one.
const SAMPLES: usize = 6;
const MOST_INSERTS: usize = 60;

/// Where sessions of one process come from: of a folder, or of a store that they share.
enum Place {
    Folder(Project),
    Memory(Arc<Extension>),
}

impl Place {
    fn new(kind: &'static str) -> Self {
        if kind != "memory" {
            return Self::Folder(Project::of_kind(kind, FEATURES, "", ""));
        }
        let spec = FeatureSpec::builder("video").id_columns(["id"]).build().unwrap();
        let definition = FeatureDefinition::declared(spec, "test", Origin::Session);
        let settings = HashSettings::new(HashAlgorithm::XxHash32, 8).unwrap();
        let store = Store::new("dev", Arc::new(MemoryStore::new()), settings, vec![definition]);
        let store = Arc::new(store.with_project("test").unwrap());
        Self::Memory(Extension::from_stores([store]).unwrap())
    }

    async fn session(&self) -> MetaxySession {
        match self {
            Self::Folder(project) => project.session().await,
            Self::Memory(extension) => MetaxySession::over(Arc::clone(extension), None).await.unwrap(),
        }
    }

    /// A table of several files, each with a sample of every deleter and one of nobody.
    async fn filled(kind: &'static str) -> Self {
        let place = Self::new(kind);
        let session = place.session().await;
        for file in 0..SAMPLES {
            let sql = format!(
                "INSERT INTO video SELECT concat('d', value, '-{file}') AS id, value AS deleter, {file} AS file, \
                 named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(0, {DELETERS})"
            );
            query(&session, &sql).await;
        }
        place
    }
}

/// Runs a statement of each deleter in a session of its own, all at the same time, and gives what each has deleted.
async fn all_at_once(place: &Place, statement: impl Fn(usize) -> String) -> Vec<Value> {
    let start = Arc::new(Barrier::new(DELETERS));
    let mut tasks = Vec::new();
    for deleter in 0..DELETERS {
        let (session, start, sql) = (place.session().await, Arc::clone(&start), statement(deleter));
        tasks.push(tokio::spawn(async move {
            start.wait().await;
            try_query(&session, &sql).await.map_err(|error| format!("{sql}: {error}"))
        }));
    }
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(match task.await.unwrap() {
            Ok(rows) => only(&rows),
            Err(error) => json!(error),
        });
    }
    counts
}

async fn left(session: &MetaxySession, table: &str) -> Vec<Value> {
    let sql = format!("SELECT DISTINCT deleter FROM {table} ORDER BY deleter");
    column(&query(session, &sql).await, "deleter")
}

#[test]
fn soft_deletes_of_different_samples_all_succeed() {
    run(async {
        for kind in KINDS {
            let place = Place::filled(kind).await;
            let counts =
                all_at_once(&place, |deleter| format!("DELETE FROM video WHERE deleter = {deleter}")).await;
            assert_eq!(counts, vec![json!(SAMPLES); DELETERS], "{kind}");
            let session = place.session().await;
            assert_eq!(left(&session, "video").await, [json!(DELETERS)], "{kind}");
            let live = query(&session, "SELECT count(*) FROM video").await;
            assert_eq!(only(&live), json!(SAMPLES), "{kind}");
            // Each sample is deleted once.
            let dead = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM history.video \
                        WHERE metaxy_deleted_at IS NOT NULL";
            let expected = json!({"n": DELETERS * SAMPLES, "ids": DELETERS * SAMPLES});
            assert_eq!(query(&session, dead).await, [expected], "{kind}");
            if let Place::Folder(project) = &place
                && kind == "delta"
            {
                assert_no_strays(&project.table("video"));
            }
        }
    });
}

#[test]
fn hard_deletes_of_rows_in_the_same_files_all_succeed() {
    run(async {
        for kind in KINDS {
            let place = Place::filled(kind).await;
            let counts =
                all_at_once(&place, |deleter| format!("DELETE FROM history.video WHERE deleter = {deleter}"))
                    .await;
            assert_eq!(counts, vec![json!(SAMPLES); DELETERS], "{kind}");
            let session = place.session().await;
            assert_eq!(left(&session, "history.video").await, [json!(DELETERS)], "{kind}");
            let rows = query(&session, "SELECT count(*) FROM history.video").await;
            assert_eq!(only(&rows), json!(SAMPLES), "{kind}");
        }
    });
}

/// Half of them softly, half for good.
#[test]
fn soft_and_hard_deletes_together_all_succeed() {
    run(async {
        for kind in KINDS {
            let place = Place::filled(kind).await;
            let counts = all_at_once(&place, |deleter| {
                let table = if deleter % 2 == 0 { "video" } else { "history.video" };
                format!("DELETE FROM {table} WHERE deleter = {deleter}")
            })
            .await;
            assert_eq!(counts, vec![json!(SAMPLES); DELETERS], "{kind}");
            let session = place.session().await;
            assert_eq!(left(&session, "video").await, [json!(DELETERS)], "{kind}");
            let even: Vec<Value> = (0..=DELETERS).step_by(2).map(|deleter| json!(deleter)).collect();
            assert_eq!(left(&session, "history.video").await, even, "{kind}");
        }
    });
}

/// The same from Rust, where no statement layer could help.
#[test]
fn deletes_of_programs_all_succeed() {
    run(async {
        for kind in KINDS {
            let place = Place::filled(kind).await;
            let start = Arc::new(Barrier::new(DELETERS));
            let mut tasks = Vec::new();
            for deleter in 0..DELETERS {
                let (store, start) = (dev(&place.session().await), Arc::clone(&start));
                tasks.push(tokio::spawn(async move {
                    let mode = if deleter % 2 == 0 { DeleteMode::Soft } else { DeleteMode::Hard };
                    let options = DeleteOptions { mode, ..DeleteOptions::default() };
                    let condition = col("deleter").eq(lit(deleter as i64));
                    start.wait().await;
                    store.delete(&SessionContext::new(), "video", condition, &options).await
                }));
            }
            for task in tasks {
                assert_eq!(task.await.unwrap().unwrap(), SAMPLES as u64, "{kind}");
            }
            let session = place.session().await;
            assert_eq!(left(&session, "video").await, [json!(DELETERS)], "{kind}");
        }
    });
}

/// Deletes of one sample after the other while somebody goes on writing others.
#[test]
fn a_delete_gets_through_beside_a_writer() {
    run(async {
        for kind in KINDS {
            for table in ["video", "history.video"] {
                let place = Place::filled(kind).await;
                let (session, writer) = (place.session().await, place.session().await);
                let done = Arc::new(AtomicBool::new(false));
                let stop = Arc::clone(&done);
                let inserts = tokio::spawn(async move {
                    let mut written = 0;
                    // It ends at some time, so that a delete that never gets through is an error and no endless test.
                    while !stop.load(Ordering::Relaxed) && written < MOST_INSERTS {
                        let sql = format!(
                            "INSERT INTO video SELECT 'new-{written}' AS id, 100 AS deleter, 0 AS file, \
                             named_struct('default', 'v') AS metaxy_provenance_by_field"
                        );
                        query(&writer, &sql).await;
                        written += 1;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    written
                });
                let mut outcome = Vec::new();
                for file in 0..SAMPLES {
                    let sql = format!("DELETE FROM {table} WHERE id = 'd0-{file}'");
                    outcome.push(match try_query(&session, &sql).await {
                        Ok(rows) => only(&rows),
                        Err(error) => json!(error.to_string()),
                    });
                }
                done.store(true, Ordering::Relaxed);
                let written = inserts.await.unwrap();
                assert_eq!(outcome, vec![json!(1); SAMPLES], "{kind}: {table}");
                assert!(written > 0);
                let session = place.session().await;
                let gone = query(&session, "SELECT count(*) FROM video WHERE deleter = 0").await;
                assert_eq!(only(&gone), json!(0), "{kind}: {table}");
                let live = query(&session, "SELECT count(*) FROM video").await;
                assert_eq!(only(&live), json!(DELETERS * SAMPLES + written), "{kind}: {table}");
            }
        }
    });
}

/// A sample that is written anew while it is deleted is either still deleted by a later time, or live: never lost.
#[test]
fn deletes_and_writes_of_the_same_samples_end_in_one_of_their_orders() {
    run(async {
        for kind in KINDS {
            let place = Place::filled(kind).await;
            let writer = place.session().await;
            let again = tokio::spawn(async move {
                let sql = format!(
                    "INSERT INTO video SELECT concat('d', value, '-0') AS id, value AS deleter, 7 AS file, \
                     named_struct('default', 'w') AS metaxy_provenance_by_field FROM generate_series(0, {DELETERS})"
                );
                query(&writer, &sql).await;
            });
            let counts =
                all_at_once(&place, |deleter| format!("DELETE FROM video WHERE deleter = {deleter}")).await;
            again.await.unwrap();
            assert_eq!(counts, vec![json!(SAMPLES); DELETERS], "{kind}");
            let session = place.session().await;
            let count = async |condition: &str| {
                only(&query(&session, &format!("SELECT count(*) FROM {condition}")).await)
            };
            // Of the samples that were written once, none is left; what was written meanwhile is all there.
            assert_eq!(count("video WHERE deleter < 8 AND file <> 7").await, json!(0), "{kind}");
            let written = "history.video WHERE file = 7 AND metaxy_deleted_at IS NULL";
            assert_eq!(count(written).await, json!(DELETERS + 1), "{kind}");
            // A delete that comes after a write has seen it: what it writes again is the row of that write.
            let unseen = "history.video AS gone JOIN history.video AS row ON gone.id = row.id \
                          WHERE gone.metaxy_deleted_at > row.metaxy_updated_at AND gone.file <> 7 AND row.file = 7";
            assert_eq!(count(unseen).await, json!(0), "{kind}");
        }
    });
}
