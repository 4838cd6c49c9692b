//! Workers that divide an increment: each sample is computed by exactly one of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::concurrency::{WRITERS, all_at_once};
use crate::support::{Project, column, only, query, run};

const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]

[[feature]]
key = "video/crop"
id_columns = ["video_id"]
deps = ["video/raw"]
"#;

/// Videos 1 to 200; crops of 1 to 100, of which those up to 50 are up to date; crops 201 to 210 have no video.
async fn fill(project: &Project) {
    let session = project.session().await;
    let videos = |from: u32, to: u32, version: &str| {
        format!(
            "INSERT INTO video__raw SELECT value AS video_id, named_struct('default', '{version}') \
             AS metaxy_provenance_by_field FROM generate_series({from}, {to})"
        )
    };
    query(&session, &videos(1, 200, "v1")).await;
    query(
        &session,
        "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop') WHERE video_id <= 100",
    )
    .await;
    query(&session, &videos(51, 100, "v2")).await;
    query(
        &session,
        "INSERT INTO video__crop SELECT value AS video_id, named_struct('default', 'p') \
         AS metaxy_provenance_by_field FROM generate_series(201, 210)",
    )
    .await;
}

async fn workers_compute_everything_once(project: Project) {
    fill(&project).await;
    let session = project.session().await;
    let classes =
        "SELECT metaxy_increment, count(*) AS n FROM resolve_update('video/crop') GROUP BY 1 ORDER BY 1";
    assert_eq!(column(&query(&session, classes).await, "n"), [json!(100), json!(10), json!(50)]);
    let results = all_at_once(&project, |i| {
        vec![format!(
            "INSERT INTO video__crop SELECT *, {i} AS worker \
             FROM resolve_update('video/crop', shard => '{}/{WRITERS}') WHERE metaxy_increment IN ('new', 'stale')",
            i + 1
        )]
    })
    .await;
    let written: Vec<u64> =
        results.into_iter().map(|result| only(&result.unwrap()).as_u64().unwrap()).collect();
    assert_eq!(written.iter().sum::<u64>(), 150, "{written:?}");
    assert!(written.iter().all(|&rows| rows > 0), "{written:?}");
    let session = project.session().await;
    let rows = query(&session, "SELECT video_id FROM history.video__crop WHERE worker IS NOT NULL").await;
    let ids = column(&rows, "video_id");
    let distinct: BTreeSet<u64> = ids.iter().filter_map(Value::as_u64).collect();
    assert_eq!((ids.len(), distinct), (150, (51..=200).collect()));
    let left = query(&session, "SELECT DISTINCT metaxy_increment FROM resolve_update('video/crop')").await;
    assert_eq!(column(&left, "metaxy_increment"), [json!("orphaned")]);
}

#[test]
fn workers_over_delta_tables() {
    run(workers_compute_everything_once(Project::new(FEATURES)));
}

#[test]
fn workers_over_parquet_files() {
    run(workers_compute_everything_once(Project::parquet(FEATURES)));
}

/// Four shards, of which the program asks for one each in a process of its own.
#[test]
fn processes_agree_on_shards() {
    run(async {
        let project = Project::new(FEATURES);
        fill(&project).await;
        let ask = |shard: usize, engine: &str| {
            let sql = format!(
                "SELECT video_id FROM resolve_update('video/crop', shard => '{shard}/4', engine => '{engine}') \
                 ORDER BY video_id"
            );
            project.cli().args(["--format", "csv"]).sql(&[&sql]).run().ok()
        };
        let mut all = BTreeSet::new();
        let mut count = 0;
        for shard in 1..=4 {
            let ids = ask(shard, "memory");
            assert_eq!(ids, ask(shard, "native"));
            let ids: Vec<u32> = ids.lines().skip(1).map(|id| id.parse().unwrap()).collect();
            count += ids.len();
            all.extend(ids);
        }
        assert_eq!((count, all), (160, (51..=210).collect()));
    });
}
