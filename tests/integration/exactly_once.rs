//! Eight processes resolve and write the same feature at once while some are killed: nothing is lost, nothing shows
//! in part, a key writes once.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Project, column, only, query, run, try_query};

const WORKERS: usize = 8;
const SAMPLES: usize = 300;
const ROUNDS: usize = 3;

const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["id"]

[[feature]]
key = "video/crop"
id_columns = ["id"]
deps = ["video/raw"]
"#;

/// Pseudo-random numbers, the same in each run with a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[allow(clippy::print_stderr, reason = "a failure can be repeated with it")]
fn seed() -> u64 {
    let given = std::env::var("METAXY_PROPERTY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    eprintln!("METAXY_PROPERTY_SEED={seed}");
    seed
}

fn worker(project: &Project, id: &str, key: Option<&str>) -> Child {
    let id = format!("SET metaxy.materialization_id = '{id}'");
    let key = format!("SET metaxy.write_key = '{}'", key.unwrap_or_default());
    let write = "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')";
    project.cli().sql(&[&id, &key, write]).start()
}

/// Reads again and again: each sample once, each write whole.
async fn watch(project: Arc<Project>, done: Arc<AtomicBool>) -> usize {
    let session = project.session().await;
    let mut reads = 0;
    while !done.load(Ordering::Relaxed) {
        let current = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM video__crop";
        let history = "SELECT count(*) AS n FROM history.video__crop GROUP BY metaxy_updated_at";
        // Before the first write there is nothing to read.
        if let Ok(rows) = try_query(&session, current).await {
            let counts = (&rows[0]["n"], &rows[0]["ids"]);
            assert!(
                counts == (&json!(SAMPLES), &json!(SAMPLES)) || counts == (&json!(0), &json!(0)),
                "{counts:?}"
            );
            let writes = column(&query(&session, history).await, "n");
            assert!(writes.iter().all(|rows| *rows == json!(SAMPLES)), "{writes:?}");
            reads += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reads
}

async fn hammer(kind: &'static str, keys: bool) {
    let project = Arc::new(Project::of_kind(kind, FEATURES, "", ""));
    let session = project.session().await;
    let mut random = Random(seed());
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(Arc::clone(&project), Arc::clone(&done)));
    for round in 0..ROUNDS {
        let samples = format!(
            "INSERT INTO video__raw SELECT 's' || value AS id, \
             named_struct('default', 'v{round}') AS metaxy_provenance_by_field FROM generate_series(1, {SAMPLES})"
        );
        query(&session, &samples).await;
        let key = keys.then(|| format!("round-{round}"));
        let mut workers: Vec<Child> =
            (0..WORKERS).map(|i| worker(&project, &format!("{round}-{i}"), key.as_deref())).collect();
        // Half of them die, each at a time of its own.
        for worker in &mut workers[..WORKERS / 2] {
            tokio::time::sleep(Duration::from_millis(random.below(500))).await;
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        for worker in &mut workers[WORKERS / 2..] {
            assert!(worker.wait().unwrap().success());
        }
        let left = "SELECT count(*) FROM resolve_update('video/crop')";
        assert_eq!(only(&query(&session, left).await), json!(0), "round {round}");
        let ids = "SELECT count(DISTINCT id) FROM video__crop";
        assert_eq!(only(&query(&session, ids).await), json!(SAMPLES), "round {round}");
        if keys {
            let rows = only(&query(&session, "SELECT count(*) FROM history.video__crop").await);
            assert_eq!(rows, json!(SAMPLES * (round + 1)), "a key writes once");
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 0);
    // Each write has all samples of one worker.
    let writes = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM history.video__crop GROUP BY metaxy_materialization_id";
    for row in query(&session, writes).await {
        assert_eq!((&row["n"], &row["ids"]), (&json!(SAMPLES), &json!(SAMPLES)));
    }
    let empty: Vec<Value> =
        query(&session, "SELECT * FROM resolve_update('video/crop', engine => 'native')").await;
    assert_eq!(empty, Vec::<Value>::new());
}

#[test]
fn workers_that_are_killed_lose_nothing_on_delta() {
    run(hammer("delta", false));
}

#[test]
fn workers_that_are_killed_lose_nothing_on_parquet() {
    run(hammer("parquet", false));
}

#[test]
fn a_key_writes_once_whoever_dies() {
    run(async {
        hammer("delta", true).await;
        hammer("parquet", true).await;
    });
}
