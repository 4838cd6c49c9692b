//! What goes wrong with a database: every error is one clear line without the password, and nothing is half-written.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::concurrency::{FEATURES, insert};
use crate::postgres::{beside, server};
use crate::support::{Project, error, one_line, postgres, query, run};

const SECRET: &str = "hunter2";

/// A project whose store is at this URL.
pub fn at(features: &str, url: &str) -> Project {
    let project = Project::postgres(features);
    let file = project.path().join("metaxy.toml");
    let text =
        std::fs::read_to_string(&file).unwrap().replace(&format!("{:?}", postgres()), &format!("{url:?}"));
    std::fs::write(&file, text).unwrap();
    project
}

/// The test's URL with another user, password and port.
fn url(user: &str, port: Option<u16>) -> String {
    let (_, place) = postgres().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (server, database) = place.split_once('/').unwrap();
    let (host, own) = server.split_once(':').unwrap();
    let port = port.map_or_else(|| own.to_owned(), |port| port.to_string());
    format!("postgresql://{user}:{SECRET}@{host}:{port}/{database}?connect_timeout=5")
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_server_that_refuses_is_named_without_the_password() {
    run(async {
        // Nobody listens on the port of a socket that is gone.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cases = [
            (url("metaxy", Some(free)), "Connection refused"),
            (url("locked", None), "password authentication failed for user \"locked\""),
            (url("nobody", None), "role \"nobody\" does not exist"),
            (url("metaxy", None).replace("/metaxy?", "/nowhere?"), "database \"nowhere\" does not exist"),
        ];
        for (url, reason) in cases {
            let project = at(FEATURES, &url);
            let message = match project.try_session().await {
                Ok(session) => error(&session, "SELECT * FROM video__raw").await,
                Err(error) => one_line(&error),
            };
            assert!(message.contains(reason) && message.contains("store dev"), "{message}");
            assert!(!message.contains(SECRET), "{message}");
            let shown = project.cli().sql(&["SELECT * FROM video__raw"]).run().failed();
            assert!(!shown.contains(SECRET), "{shown}");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_connection_that_is_lost_is_an_error_and_the_next_query_has_a_new_one() {
    run(async {
        // Connections of other tests stay.
        let name = format!("lost-{}", std::process::id());
        let project = at(FEATURES, &format!("{}?application_name={name}", postgres()));
        let session = project.session().await;
        query(
            &session,
            "INSERT INTO video__raw SELECT 'v' || value AS video_id, repeat('x', 500) AS note, \
             named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 60000)",
        )
        .await;
        let admin = server().await;
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
             AND query LIKE '%{}%'",
            project.schema()
        );
        let frame = session.sql("SELECT video_id, note FROM history.video__raw").await.unwrap();
        let mut rows = frame.execute_stream().await.unwrap();
        rows.next().await.unwrap().unwrap();
        let ended: i64 = admin.query_one(&end, &[]).await.unwrap().get(0);
        assert!(ended > 0);
        let mut message = None;
        while let Some(batch) = rows.next().await {
            if let Err(error) = batch {
                message = Some(one_line(&error.into()));
                break;
            }
        }
        let message = message.expect("the rest of the rows can't come");
        assert!(message.contains("store dev"), "{message}");
        // As after a restart of the server: what is kept is gone.
        let kept = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{name}'"
        );
        for _ in 0..2 {
            let counted = query(&session, "SELECT count(*) AS n FROM video__raw").await;
            assert_eq!(counted, [json!({"n": 60_000})]);
            let ended: i64 = admin.query_one(&kept, &[]).await.unwrap().get(0);
            assert!(ended > 0);
        }
        query(&session, &insert(1, 1)).await;
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn what_the_database_refuses_leaves_nothing_behind() {
    run(async {
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        let rows = |ids: &str| {
            format!(
                "INSERT INTO video__raw SELECT column1 AS video_id, named_struct('default', 'v') \
                 AS metaxy_provenance_by_field FROM (VALUES {ids})"
            )
        };
        query(&session, &rows("('a')")).await;
        beside(&project, "CREATE UNIQUE INDEX only_once ON video__raw (video_id)").await;
        let message = error(&session, &rows("('b'), ('a')")).await;
        assert!(
            message.contains("only_once") && message.contains("Key (video_id)=(a) already exists"),
            "{message}"
        );
        let failing = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
                       $$ BEGIN RAISE EXCEPTION 'no %', NEW.video_id; END $$; \
                       CREATE TRIGGER fail BEFORE INSERT ON video__raw FOR EACH ROW WHEN (NEW.video_id = 'd') \
                       EXECUTE FUNCTION fail()";
        beside(&project, failing).await;
        query(&session, "SET metaxy.write_key = 'k'").await;
        let message = error(&session, &rows("('c'), ('d')")).await;
        assert!(message.contains("no d"), "{message}");
        assert_eq!(
            query(&session, "SELECT video_id FROM history.video__raw").await,
            [json!({"video_id": "a"})]
        );
        // The key is still free.
        query(&session, &rows("('e')")).await;
        assert_eq!(query(&session, "SELECT video_id FROM history.video__raw").await.len(), 2);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn hostile_names_and_values_are_only_names_and_values() {
    run(async {
        let project = Project::postgres(FEATURES);
        let file = project.path().join("metaxy.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let schema = format!("{}\"; DROP SCHEMA public; --", &project.schema()[1..]);
        let prefix = "p'\\\"ä";
        let hostile = text.replace(
            &format!("schema = {:?}", project.schema()),
            &format!("schema = {schema:?}\ntable_prefix = {prefix:?}"),
        );
        std::fs::write(&file, hostile).unwrap();
        let session = project.session().await;
        let ids = ["it''s", "\"; --", "\\", "%s $1", "ä\u{1F3AC}\u{202E}", " "];
        for id in ids {
            query(
                &session,
                &format!(
                    "INSERT INTO video__raw SELECT '{id}' AS video_id, 1 AS \"a\"\"b'c\\\", \
                     named_struct('default', 'v''\"\\') AS metaxy_provenance_by_field"
                ),
            )
            .await;
            let found = query(
                &session,
                &format!(
                    "SELECT \"a\"\"b'c\\\" AS x, metaxy_provenance_by_field['default'] AS v FROM video__raw \
                     WHERE video_id = '{id}'"
                ),
            )
            .await;
            assert_eq!(found, [json!({"x": 1, "v": "v'\"\\"})], "{id}");
        }
        assert_eq!(query(&session, "SELECT video_id FROM video__raw").await.len(), ids.len());
        let message = error(&session, &insert(1, 1).replace("'w1-1'", "'a' || chr(0)")).await;
        assert!(message.contains("NUL"), "{message}");
        let long = "x".repeat(64);
        let message = error(&session, &insert(1, 1).replace("c1_1", &long)).await;
        assert!(message.contains("the name has 64 bytes"), "{message}");
        assert_eq!(query(&session, "SELECT video_id FROM history.video__raw").await.len(), ids.len());
    });
}

#[test]
#[ignore = "needs METAXY_TEST_POSTGRES: .ci/run sets it"]
fn a_stream_that_is_dropped_ends_its_query() {
    run(async {
        let project = Project::postgres(FEATURES);
        let session = project.session().await;
        query(
            &session,
            "INSERT INTO video__raw SELECT 'v' || value AS video_id, repeat('x', 500) AS note, \
             named_struct('default', 'v') AS metaxy_provenance_by_field FROM generate_series(1, 60000)",
        )
        .await;
        let mut rows =
            session.sql("SELECT note FROM history.video__raw").await.unwrap().execute_stream().await.unwrap();
        rows.next().await.unwrap().unwrap();
        let admin = server().await;
        let active = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() \
             AND query LIKE 'COPY%{}%'",
            project.schema()
        );
        let count = async || -> i64 { admin.query_one(&active, &[]).await.unwrap().get(0) };
        assert_eq!(count().await, 1);
        drop(rows);
        for _ in 0..100 {
            if count().await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the query goes on");
    });
}
