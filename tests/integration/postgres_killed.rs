//! A connection that the server ends in the middle of a write: one clear error, nothing half-written, and
//! nothing in the way of the same statement when it comes again.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::concurrency::{FEATURES, insert};
use crate::postgres::{beside, server};
use crate::support::{Project, multiset, one_line, query, run, try_query};

const SAMPLES: usize = 20_000;
const DELETE: &str = "DELETE FROM video__raw WHERE video_id LIKE 'v%'";

/// A write of many samples, each with a note of so many bytes.
fn many(bytes: usize) -> String {
    format!(
        "INSERT INTO video__raw SELECT 'v' || value AS video_id, repeat('x', {bytes}) AS note, \
         named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, {SAMPLES})"
    )
}

/// A project with one sample, and those that these statements write.
async fn with(statements: &[String]) -> Project {
    let project = Project::postgres(FEATURES);
    let session = project.session().await;
    query(&session, &insert(1, 1)).await;
    for sql in statements {
        query(&session, sql).await;
    }
    project
}

/// All rows of the history, with what there is of them besides notes.
async fn history(project: &Project) -> Vec<Value> {
    let sql = "SELECT video_id, metaxy_updated_at, metaxy_deleted_at, metaxy_data_version \
               FROM history.video__raw";
    query(&project.session().await, sql).await
}

/// How many samples there are, and rows of their history.
async fn counted(project: &Project) -> (Value, Value) {
    let session = project.session().await;
    let count = async |table: &str| {
        let sql = format!("SELECT count(*) AS n, count(DISTINCT video_id) AS ids FROM {table}");
        query(&session, &sql).await.remove(0)
    };
    (count("video__raw").await, count("history.video__raw").await)
}

/// Runs a statement that has to wait for what `hold` takes, ends its connection while it does, and runs it
/// again. The connection was at a statement that begins with `at`.
async fn ended_and_again(project: &Project, sql: &str, hold: &str, at: &str) {
    let before = multiset(history(project).await);
    let holder = beside(project, &format!("BEGIN; {hold}")).await;
    let held: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let session = Arc::new(project.session().await);
    let (writer, statement) = (Arc::clone(&session), sql.to_owned());
    let write = tokio::spawn(async move { try_query(&writer, &statement).await });
    // In a transaction, the holder itself would see the same connections all the time.
    let admin = server().await;
    let waiting = "SELECT pid, query FROM pg_stat_activity WHERE backend_type = 'client backend' \
                   AND $1 = ANY (pg_blocking_pids(pid))";
    let (pid, asked): (i32, String) = loop {
        if let Some(row) = admin.query_opt(waiting, &[&held]).await.unwrap() {
            break (row.get(0), row.get(1));
        }
        if write.is_finished() {
            let outcome = write.await;
            panic!("{sql}: {outcome:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(asked.starts_with(at) && asked.contains(&project.schema()), "{sql}: {asked}");
    let ended = admin.query_one("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    assert!(ended.get::<_, bool>(0), "{sql}");
    let message = one_line(&write.await.unwrap().unwrap_err());
    assert!(message.contains("store dev"), "{sql}: {message}");
    // It was never told to commit.
    assert!(!message.contains("it isn't known"), "{sql}: {message}");
    assert_eq!(multiset(history(project).await), before, "{sql}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    // Nothing comes later either.
    assert_eq!(multiset(history(project).await), before, "{sql}");
    query(&session, sql).await;
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_write_that_is_ended_while_it_waits_for_the_table_leaves_nothing() {
    run(async {
        let hold = "LOCK TABLE video__raw IN EXCLUSIVE MODE";
        let at = "LOCK TABLE ";
        let one = |n: usize| json!({"n": n, "ids": n});
        let project = with(&[]).await;
        ended_and_again(&project, &many(10), hold, at).await;
        assert_eq!(counted(&project).await, (one(SAMPLES + 1), one(SAMPLES + 1)));
        ended_and_again(&project, DELETE, hold, at).await;
        let rows = json!({"n": 2 * SAMPLES + 1, "ids": SAMPLES + 1});
        assert_eq!(counted(&project).await, (one(1), rows));
        // And for good.
        ended_and_again(&project, "DELETE FROM history.video__raw WHERE video_id LIKE 'v%'", hold, at).await;
        assert_eq!(counted(&project).await, (one(1), one(1)));
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_write_that_is_ended_between_its_rows_leaves_nothing() {
    run(async {
        // Few bytes are sent straight into the table, many wait in another one first.
        for (before, sql, at) in [
            (vec![], many(10), "COPY "),
            (vec![], many(4000), "INSERT INTO "),
            (vec![many(10)], DELETE.to_owned(), "COPY "),
        ] {
            let project = with(&before).await;
            let lock = format!("pg_advisory_xact_lock(hashtextextended('{}', 0))", project.schema());
            // One row of many waits, when others are there already.
            let trigger = format!(
                "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN PERFORM {lock}; RETURN NEW; END $$; \
                 CREATE TRIGGER held BEFORE INSERT ON video__raw FOR EACH ROW \
                 WHEN (NEW.video_id = 'v15000') EXECUTE FUNCTION held()"
            );
            beside(&project, &trigger).await;
            ended_and_again(&project, &sql, &format!("SELECT {lock}"), at).await;
            let all = json!({"n": SAMPLES + 1, "ids": SAMPLES + 1});
            let expected = if sql == DELETE {
                (json!({"n": 1, "ids": 1}), json!({"n": 2 * SAMPLES + 1, "ids": SAMPLES + 1}))
            } else {
                (all.clone(), all)
            };
            assert_eq!(counted(&project).await, expected, "{sql}");
        }
    });
}
