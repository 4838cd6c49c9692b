//! Increments that go on from what somebody else has compared: PostgreSQL keeps the records of comparisons.
//!
//! Ignored by default: `METAXY_TEST_POSTGRES` is the URL of a database.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::postgres_changes::{ALL, MORE, asked, filled, noted};
use crate::postgres_push::{Base, CROPS, THREE_VIDEOS, VIDEOS, execute, url};
use crate::postgres_shared::Role;
use crate::support::{self, Project, repository};

/// The same store, opened by a program that has nothing but its configuration.
async fn another(base: &Base) -> Base {
    let project = Project::new(VIDEOS);
    project.write("metaxy.toml", &fs::read_to_string(base.project.path().join("metaxy.toml")).unwrap());
    let session = project.session().await;
    let other = Base { project, session };
    other.run(&["SET metaxy.incremental_resolve = true"]).await;
    other
}

/// One value of a query by another client.
async fn value(sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap().get(0)
}

async fn records(schema: &str) -> String {
    value(&format!("SELECT count(*) FROM {schema}.\"metaxy$comparisons\"")).await
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn whoever_asks_next_goes_on_from_what_the_database_knows() {
    support::run(async {
        let base = filled("shared_records").await;
        assert_eq!(records("shared_records").await, "1");
        let other = another(&base).await;
        let plan = other.explain(ALL).await;
        let said = "compared=changes since the last comparison, if the database knows one and its rows are still there, ";
        assert!(plan.contains(said), "{plan}");
        assert_eq!(asked(&other, ALL).await, (true, vec![]));
        base.run(&[MORE]).await;
        let (changes, rows) = asked(&another(&base).await, ALL).await;
        assert_eq!((changes, rows.len()), (true, 2), "{rows:?}");
        // The one with a record of its own takes the later one.
        noted(&base).await;
        assert_eq!(asked(&other, ALL).await.1.len(), 2);
        base.run(&["DELETE FROM video WHERE video_id = 'a'"]).await;
        let (changes, rows) = asked(&other, ALL).await;
        assert_eq!((changes, rows.len()), (true, 3), "{rows:?}");
        // Another question has a record of its own.
        asked(&other, &format!("{ALL} WHERE size > 5")).await;
        assert_eq!(asked(&another(&base).await, ALL).await.1.len(), 3);
        // What is not compared any more is not kept either.
        execute("DROP TABLE shared_records.\"metaxy$comparisons\"").await;
        other.run(&["SET metaxy.incremental_resolve = false", ALL]).await;
        assert_eq!(value("to_regclass('shared_records.\"metaxy$comparisons\"') IS NULL").await, "true");
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn the_program_goes_on_from_what_another_machine_has_compared() {
    support::run(async {
        let base = filled("shared_program").await;
        // Where the server is may have several names.
        let toml = base.project.path().join("metaxy.toml");
        let text = fs::read_to_string(&toml).unwrap();
        fs::write(&toml, text.replace("@127.0.0.1", "@localhost")).unwrap();
        let machine = tempfile::tempdir().unwrap();
        let ran = base
            .project
            .cli()
            .env("XDG_CACHE_HOME", &machine.path().display().to_string())
            .sql(&["SET metaxy.incremental_resolve = true", &format!("EXPLAIN ANALYZE {ALL}")])
            .run()
            .ok();
        assert!(ran.contains("changes_only=1"), "{ran}");
    });
}

/// The table is created only where tables may be, and found where somebody else has created it.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn no_table_is_created_without_leave() {
    support::run(async {
        let base = Base::new("shared_leave", VIDEOS).await;
        base.run(&["SET metaxy.incremental_resolve = true", THREE_VIDEOS, CROPS]).await;
        let toml = base.project.path().join("metaxy.toml");
        let text = fs::read_to_string(&toml).unwrap();
        fs::write(&toml, text.replace("auto_create_tables = true", "auto_create_tables = false")).unwrap();
        let careful = another(&base).await;
        assert!(
            careful.explain(ALL).await.contains("compared=everything (there is no earlier comparison), ")
        );
        noted(&careful).await;
        assert_eq!(value("to_regclass('shared_leave.\"metaxy$comparisons\"') IS NULL").await, "true");
        assert_eq!(asked(&another(&base).await, ALL).await, (false, vec![]));
        // The statement of the documentation.
        let page = fs::read_to_string(repository("docs/configuration.md")).unwrap();
        let start = page.find("CREATE TABLE \"metaxy$comparisons\"").expect("the page has the statement");
        let statement = page[start..].split("```").next().unwrap();
        execute(&format!("SET search_path = shared_leave; {statement}")).await;
        noted(&another(&base).await).await;
        assert_eq!(asked(&another(&base).await, ALL).await, (true, vec![]));
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn a_role_that_may_only_read_goes_on_and_leaves_nothing() {
    support::run(async {
        let owner = filled("shared_reader").await;
        let role = Role::new("compares").await;
        execute(&format!(
            "GRANT USAGE ON SCHEMA shared_reader TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA shared_reader TO {0}",
            role.name()
        ))
        .await;
        role.takes_over(&owner.project);
        owner.run(&[MORE]).await;
        let latest = "SELECT max(snapshot) FROM shared_reader.\"metaxy$comparisons\"";
        let before = value(latest).await;
        for _ in 0..3 {
            let reader = another(&owner).await;
            let (changes, rows) = asked(&reader, ALL).await;
            assert_eq!((changes, rows.len()), (true, 2), "{rows:?}");
        }
        assert_eq!(value(latest).await, before);
        // Without leave to read the records, everything is compared.
        execute(&format!("REVOKE ALL ON shared_reader.\"metaxy$comparisons\" FROM {}", role.name())).await;
        let (changes, rows) = asked(&another(&owner).await, ALL).await;
        assert_eq!((changes, rows.len()), (false, 2), "{rows:?}");
        role.remove().await;
    });
}

/// Whatever is in the table, the answer is the same.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn records_that_others_have_spoilt_are_no_records() {
    support::run(async {
        let table = "shared_spoilt.\"metaxy$comparisons\"";
        for statement in [
            "UPDATE $t SET record = substr(record, 1, 100)",
            "UPDATE $t SET record = ''",
            "UPDATE $t SET record = set_byte(record, length(record) / 2, 255 - get_byte(record, length(record) / 2))",
            "UPDATE $t SET question = upper(question)",
            "UPDATE $t SET snapshot = -5",
            "ALTER TABLE $t ALTER COLUMN record TYPE text USING 'r'",
            "ALTER TABLE $t ALTER COLUMN snapshot TYPE text",
            "ALTER TABLE $t DROP COLUMN record",
            "ALTER TABLE $t DROP CONSTRAINT \"metaxy$comparisons_pkey\"; INSERT INTO $t SELECT * FROM $t",
            "DROP TABLE $t; CREATE TABLE $t ()",
            "DROP TABLE $t; CREATE VIEW $t AS SELECT 1 AS question",
            "CREATE FUNCTION shared_spoilt.no() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION ''no''; END'; CREATE TRIGGER no BEFORE UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION \
             shared_spoilt.no()",
        ] {
            let base = filled("shared_spoilt").await;
            base.run(&[MORE]).await;
            execute(&statement.replace("$t", table)).await;
            for _ in 0..2 {
                let (_, rows) = asked(&another(&base).await, ALL).await;
                assert_eq!(rows.len(), 2, "{statement}: {rows:?}");
            }
            let (_, rows) = asked(&base, ALL).await;
            assert_eq!(rows.len(), 2, "{statement}: {rows:?}");
        }
    });
}

/// Whoever keeps the table locked keeps no increment from its answer.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn a_locked_table_of_records_is_not_waited_for() {
    support::run(async {
        let base = filled("shared_locked").await;
        base.run(&[MORE]).await;
        let (mut other, connection) = tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let lock = other.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE shared_locked.\"metaxy$comparisons\"").await.unwrap();
        let start = Instant::now();
        let rows = support::query(&base.session, ALL).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        lock.rollback().await.unwrap();
        let (_, rows) = asked(&base, ALL).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn the_oldest_records_are_forgotten() {
    support::run(async {
        let base = filled("shared_old").await;
        execute(
            "INSERT INTO shared_old.\"metaxy$comparisons\" (question, snapshot, record, compared_at) \
             SELECT 'q' || n, 1, '', now() - n * interval '1 day' FROM generate_series(1, 2000) AS n",
        )
        .await;
        base.run(&[MORE]).await;
        for _ in 0..200 {
            asked(&base, ALL).await;
            if records("shared_old").await == "1024" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(records("shared_old").await, "1024");
        let kept =
            value("SELECT count(*) FROM shared_old.\"metaxy$comparisons\" WHERE question IN ('q1', 'q1000')")
                .await;
        assert_eq!(json!(kept), Value::from("2"));
        assert_eq!(asked(&another(&base).await, ALL).await.1.len(), 2);
    });
}

/// Many ask at once, of a table that isn't there yet.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn many_keep_their_records_at_once() {
    support::run(async {
        let base = filled("shared_many").await;
        base.run(&[MORE]).await;
        execute("DROP TABLE shared_many.\"metaxy$comparisons\"").await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let other = another(&base).await;
            asking.spawn(async move {
                for _ in 0..5 {
                    assert_eq!(support::query(&other.session, ALL).await.len(), 2);
                }
            });
        }
        while let Some(done) = asking.join_next().await {
            done.unwrap();
        }
        // While other tests write, no answer may be noted.
        for _ in 0..200 {
            if value("to_regclass('shared_many.\"metaxy$comparisons\"') IS NOT NULL").await == "true" {
                break;
            }
            assert_eq!(asked(&base, ALL).await.1.len(), 2);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(asked(&another(&base).await, ALL).await.1.len(), 2);
        assert_eq!(records("shared_many").await, "1");
    });
}
