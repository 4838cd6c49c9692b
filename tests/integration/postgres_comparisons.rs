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
        let (changes, _) = asked(&another(&base).await, &format!("{ALL} WHERE video_id <> 'a'")).await;
        assert!(!changes);
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

/// Whatever is in the table, the answer is the same, and nothing is gone on from.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn records_that_others_have_spoilt_are_no_records() {
    support::run(async {
        for statement in [
            "UPDATE $t SET record = substr(record, 1, 100)",
            "UPDATE $t SET record = ''",
            "UPDATE $t SET record = repeat('[', 1000000)",
            "UPDATE $t SET record = record || repeat(' ', 5000000)",
            "UPDATE $t SET record = replace(record, '\"version\":', '\"version\":-')",
            "UPDATE $t SET record = regexp_replace(record, '\"version\":[0-9]+', '\"version\":18446744073709551615', 'g')",
            "UPDATE $t SET record = regexp_replace(record, '\"version\":[0-9]+', '\"version\":0', 'g')",
            "UPDATE $t SET record = replace(record, '\"keys\":[[', '\"keys\":[[[],')",
            "UPDATE $t SET record = replace(record, '\"keys\":[', '\"keys\":[[],')",
            "UPDATE $t SET record = replace(record, '\"table\":\"', '\"table\":\"x')",
            "UPDATE $t SET question = upper(question) || 'x'",
        ] {
            let base = spoilt("shared_spoilt", statement).await;
            for _ in 0..2 {
                let (changes, rows) = asked(&another(&base).await, ALL).await;
                assert_eq!(rows.len(), 2, "{statement}: {rows:?}");
                if changes {
                    // It has been replaced meanwhile.
                    break;
                }
            }
            let (_, rows) = asked(&base, ALL).await;
            assert_eq!(rows.len(), 2, "{statement}: {rows:?}");
        }
    });
}

/// A store with a record and two new samples, after a statement about `$t`, the table of records, which nobody goes on from
/// then.
async fn spoilt(schema: &str, statement: &str) -> Base {
    let base = filled(schema).await;
    base.run(&[MORE]).await;
    execute(&statement.replace("$t", &format!("{schema}.\"metaxy$comparisons\"")).replace("$s", schema))
        .await;
    let plan = support::query(&another(&base).await.session, &format!("EXPLAIN ANALYZE {ALL}")).await;
    assert!(!plan[0]["plan"].as_str().unwrap().contains("changes_only=1"), "{statement}");
    base
}

/// A table that could run somebody's code, or has another form, is neither read nor written.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn only_a_plain_table_is_used() {
    support::run(async {
        let evil = "CREATE FUNCTION $s.evil() RETURNS timestamptz LANGUAGE plpgsql AS \
                    'BEGIN CREATE TABLE $s.run (); RETURN now(); END'; ";
        let trigger = "CREATE FUNCTION $s.evil() RETURNS trigger LANGUAGE plpgsql AS \
                       'BEGIN CREATE TABLE $s.run (); RETURN NEW; END'; ";
        for statement in [
            format!("{evil}ALTER TABLE $t ALTER COLUMN compared_at SET DEFAULT $s.evil()"),
            format!("{evil}ALTER TABLE $t ADD COLUMN more timestamptz DEFAULT $s.evil(); DROP TABLE $s.run"),
            format!("{evil}ALTER TABLE $t ADD CHECK ($s.evil() > '2000-01-01')  NOT VALID"),
            format!("{trigger}CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION $s.evil()"),
            "CREATE TABLE $s.more (n int); CREATE RULE evil AS ON INSERT TO $t DO INSTEAD INSERT INTO $s.more VALUES (1)"
                .to_owned(),
            "ALTER TABLE $t ENABLE ROW LEVEL SECURITY".to_owned(),
            "CREATE INDEX ON $t (upper(question))".to_owned(),
            "ALTER TABLE $t DROP CONSTRAINT \"metaxy$comparisons_pkey\"".to_owned(),
            "ALTER TABLE $t ALTER COLUMN snapshot TYPE text".to_owned(),
            "ALTER TABLE $t DROP COLUMN record".to_owned(),
            "ALTER TABLE $t RENAME COLUMN record TO records".to_owned(),
            "CREATE TABLE $s.child () INHERITS ($t)".to_owned(),
            "DROP TABLE $t; CREATE TABLE $t ()".to_owned(),
            "DROP TABLE $t; CREATE VIEW $t AS SELECT 'q' AS question, 1::bigint AS snapshot, '' AS record, now() AS compared_at"
                .to_owned(),
            "DROP TABLE $t; CREATE SEQUENCE $t".to_owned(),
        ] {
            let base = spoilt("shared_plain", &statement).await;
            let (changes, rows) = asked(&another(&base).await, ALL).await;
            assert_eq!((changes, rows.len()), (false, 2), "{statement}: {rows:?}");
            assert_eq!(value("to_regclass('shared_plain.run') IS NULL").await, "true", "{statement}");
        }
    });
}

/// Whoever may create tables in the schema can't say what is up to date, nor have others run code.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn a_table_of_somebody_else_is_not_used() {
    support::run(async {
        let base = filled("shared_stranger").await;
        let role = Role::new("stranger").await;
        let table = "shared_stranger.\"metaxy$comparisons\"";
        execute(&format!(
            "CREATE TABLE shared_stranger.kept AS TABLE {table}; DROP TABLE {table}; \
             GRANT USAGE, CREATE ON SCHEMA shared_stranger TO {0}; \
             GRANT SELECT ON shared_stranger.kept, shared_stranger.video, shared_stranger.video__crop TO {0}",
            role.name()
        ))
        .await;
        // A role that owns no feature creates no table by asking.
        let toml = base.project.path().join("metaxy.toml");
        let owned = fs::read_to_string(&toml).unwrap();
        role.takes_over(&base.project);
        let stranger = another(&base).await;
        noted(&stranger).await;
        assert_eq!(value(&format!("to_regclass('{table}') IS NULL")).await, "true");
        fs::write(&toml, owned).unwrap();
        // One that says of the first three samples that they are all there is.
        execute(&format!(
            "SET ROLE {}; CREATE TABLE {table} (question text PRIMARY KEY, snapshot bigint NOT NULL, record text NOT NULL, \
             compared_at timestamptz NOT NULL); INSERT INTO {table} SELECT * FROM shared_stranger.kept; \
             GRANT ALL ON {table} TO PUBLIC",
            role.name()
        ))
        .await;
        let (changes, rows) = asked(&another(&base).await, ALL).await;
        assert_eq!((changes, rows.len()), (false, 0), "{rows:?}");
        let written = format!(
            "SELECT bool_and(t = k) FROM {table} AS t JOIN shared_stranger.kept AS k USING (question)"
        );
        assert_eq!(value(&written).await, "true");
        // As soon as it is the owner's, it counts.
        execute(&format!("ALTER TABLE {table} OWNER TO CURRENT_USER")).await;
        assert_eq!(asked(&another(&base).await, ALL).await, (true, vec![]));
        role.remove().await;
    });
}

/// A member of the role that owns the features creates a table for all members.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn the_table_belongs_to_who_owns_the_features() {
    support::run(async {
        let base = filled("shared_team").await;
        let (team, member) = (Role::new("team").await, Role::new("member").await);
        execute(&format!(
            "DROP TABLE shared_team.\"metaxy$comparisons\"; GRANT {team} TO {member}; \
             GRANT USAGE, CREATE ON SCHEMA shared_team TO {team}; ALTER TABLE shared_team.video OWNER TO {team}; \
             ALTER TABLE shared_team.video__crop OWNER TO {team}",
            team = team.name(),
            member = member.name()
        ))
        .await;
        member.takes_over(&base.project);
        noted(&another(&base).await).await;
        let owner = "SELECT relowner::regrole FROM pg_class WHERE oid = 'shared_team.\"metaxy$comparisons\"'::regclass";
        assert_eq!(value(owner).await, team.name());
        assert_eq!(asked(&another(&base).await, ALL).await, (true, vec![]));
        execute("DROP SCHEMA shared_team CASCADE").await;
        member.remove().await;
        team.remove().await;
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
        // Two locks of 200 ms, and the increment itself.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        lock.rollback().await.unwrap();
        let (_, rows) = asked(&base, ALL).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
    });
}

/// Who only looks leaves the record as it is, but for when it was asked.
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn a_record_is_written_when_there_is_something_to_say() {
    support::run(async {
        let base = filled("shared_quiet").await;
        base.run(&[MORE]).await;
        let snapshot = "SELECT snapshot FROM shared_quiet.\"metaxy$comparisons\"";
        let before = value(snapshot).await;
        for _ in 0..200 {
            assert_eq!(asked(&another(&base).await, ALL).await.1.len(), 2);
            if value(snapshot).await != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let row = "SELECT (xmin, ctid, compared_at) FROM shared_quiet.\"metaxy$comparisons\"";
        let written = value(row).await;
        for _ in 0..3 {
            assert_eq!(asked(&another(&base).await, ALL).await.1.len(), 2);
        }
        assert_eq!(value(row).await, written);
        execute("UPDATE shared_quiet.\"metaxy$comparisons\" SET compared_at = now() - interval '2 days'")
            .await;
        asked(&another(&base).await, ALL).await;
        let asked_now =
            "SELECT compared_at > now() - interval '1 hour' FROM shared_quiet.\"metaxy$comparisons\"";
        assert_eq!(value(asked_now).await, "true");
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
