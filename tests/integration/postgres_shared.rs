//! A database is never ours alone: tables that others rewrite, defaults that others set, and roles that may do little.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::time::Duration;

use serde_json::{Value, json};

use crate::concurrency::FEATURES;
use crate::postgres::{beside, server};
use crate::support::{Project, column, query, run, try_query};

/// Twenty samples, from v10 to v29.
fn twenty(size: i64) -> String {
    format!(
        "INSERT INTO video__raw SELECT 'v' || (value + 9) AS video_id, {size} AS size, \
         named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 20)"
    )
}

/// Runs a statement that waits for the lock of the table until others have done this with it.
async fn overtaken(project: &Project, sql: &'static str, meanwhile: impl AsyncFnOnce(&str)) -> Vec<Value> {
    let schema = project.schema();
    let admin = server().await;
    let lock = format!("hashtextextended('metaxy/{schema}/video__raw', 0)");
    admin.batch_execute(&format!("SELECT pg_advisory_lock({lock})")).await.unwrap();
    let session = project.session().await;
    let statement = tokio::spawn(async move { try_query(&session, sql).await });
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%{schema}%'"
    );
    while admin.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(!statement.is_finished(), "{:?}", statement.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    meanwhile(&format!("\"{schema}\".video__raw")).await;
    admin.batch_execute(&format!("SELECT pg_advisory_unlock({lock})")).await.unwrap();
    statement.await.unwrap().unwrap()
}

async fn vacuum_full(table: &str) {
    server().await.batch_execute(&format!("VACUUM FULL {table}")).await.unwrap();
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_hard_delete_takes_the_rows_it_was_asked_for_out_of_a_table_that_is_rewritten_meanwhile() {
    run(async {
        let project = Project::postgres(FEATURES);
        query(&project.session().await, &twenty(1)).await;
        beside(&project, "DELETE FROM video__raw WHERE video_id < 'v15'").await;
        let sql = "DELETE FROM history.video__raw WHERE video_id IN ('v17', 'v18')";
        overtaken(&project, sql, vacuum_full).await;
        let left = query(&project.session().await, "SELECT video_id FROM video__raw ORDER BY 1").await;
        let wanted: Vec<Value> =
            (15..30).filter(|id| ![17, 18].contains(id)).map(|id| json!(format!("v{id}"))).collect();
        assert_eq!(column(&left, "video_id"), wanted);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn folding_drops_only_old_rows_of_a_table_that_is_rewritten_meanwhile() {
    run(async {
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        query(&session, &twenty(1)).await;
        beside(&project, "DELETE FROM video__raw WHERE video_id < 'v15'").await;
        query(&session, &twenty(2)).await;
        overtaken(&project, "CALL optimize('video/raw', fold_older_than => '0s')", vacuum_full).await;
        let left = query(&session, "SELECT size, count(*) AS n FROM history.video__raw GROUP BY 1").await;
        assert_eq!(left, [json!({"size": 2, "n": 20})]);
    });
}
