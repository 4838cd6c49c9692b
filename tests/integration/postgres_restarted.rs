//! A server that goes down in the middle of work and comes back.
//!
//! Ignored by default. `tests/postgres/start.sh` starts a server for this test alone, beside the one of the others.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokio_postgres::NoTls;

use crate::concurrency::PAIR;
use crate::postgres_faults::at;
use crate::support::{Project, multiset, one_line, query, repository, run, try_query};

/// A server of this test's own, which stops with it.
struct Server {
    port: u16,
    url: String,
}

impl Server {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // One that an interrupted run has left would have another port.
        script(port, &["stop"]);
        Self { port, url: script(port, &[]) }
    }

    fn restart(&self) {
        script(self.port, &["restart"]);
    }

    async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script(self.port, &["stop"]);
    }
}

/// What the script that starts servers prints.
fn script(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new(repository("tests/postgres/start.sh"));
    command.args(arguments).env_remove("METAXY_TEST_POSTGRES").env("METAXY_POSTGRES_PORT", port.to_string());
    let ran = command.env("METAXY_POSTGRES_NAME", "postgres-restarted").output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

/// An INSERT of so many samples that they don't come in one piece.
fn insert(round: usize) -> String {
    format!(
        "INSERT INTO video__raw SELECT 'v' || value AS video_id, repeat('x', 500) AS note, \
         named_struct('default', 'of round {round}') AS metaxy_provenance_by_field FROM range(0, 60000)"
    )
}

const INCREMENT: &str = "SELECT metaxy_increment, count(*) AS n FROM resolve_update('video/crop') GROUP BY 1";

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn work_that_a_restart_ends_is_an_error_and_goes_on_afterwards() {
    run(async {
        let server = Server::start();
        let project: Project = at(PAIR, &server.url);
        let session = Arc::new(project.session().await);
        query(&session, &insert(0)).await;

        // In the middle of an answer.
        let frame = session.sql("SELECT video_id, note FROM history.video__raw").await.unwrap();
        let mut rows = frame.execute_stream().await.unwrap();
        rows.next().await.unwrap().unwrap();
        server.restart();
        let mut rest = Vec::new();
        while let Some(batch) = rows.next().await {
            rest.push(batch.map_err(|error| one_line(&error.into())));
        }
        let message = rest.into_iter().find_map(Result::err).expect("the rest of the rows can't come");
        assert!(message.contains("store dev"), "{message}");
        let all_new = [json!({"metaxy_increment": "new", "n": 60_000})];
        assert_eq!(query(&session, INCREMENT).await, all_new);

        // In the middle of a write, and of an increment: both wait for a table that somebody has locked.
        let history = "SELECT video_id, metaxy_updated_at, metaxy_data_version FROM history.video__raw";
        let before = multiset(query(&session, history).await);
        for sql in
            [insert(1), "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')".to_owned()]
        {
            let holder = server.client().await;
            let table = format!("\"{}\".video__raw", project.schema());
            holder
                .batch_execute(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
                .await
                .unwrap();
            let (writer, statement) = (Arc::clone(&session), sql.clone());
            let write = tokio::spawn(async move { try_query(&writer, &statement).await });
            let watcher = server.client().await;
            let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            while watcher.query(waiting, &[]).await.unwrap().is_empty() {
                assert!(!write.is_finished(), "{sql}: {:?}", write.await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            server.restart();
            let message = one_line(&write.await.unwrap().unwrap_err());
            assert!(message.contains("store dev") && !message.contains("it isn't known"), "{sql}: {message}");
            assert_eq!(multiset(query(&session, history).await), before, "{sql}");
            assert_eq!(query(&session, INCREMENT).await, all_new, "{sql}");
        }

        // What was committed before a crash is there after it, and what was noted of it is still right.
        query(&session, &insert(1)).await;
        query(&session, "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')").await;
        assert_eq!(query(&session, INCREMENT).await.len(), 0);
        server.restart();
        assert_eq!(query(&session, INCREMENT).await.len(), 0);
        query(&session, &insert(2)).await;
        server.restart();
        assert_eq!(query(&session, INCREMENT).await, [json!({"metaxy_increment": "stale", "n": 60_000})]);
    });
}
