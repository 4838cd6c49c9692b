//! Secrets stay secret, and names and values stay names and values.

use std::fs;

use serde_json::json;

use crate::support::{Cli, Project, column, error, files_below, query, run};

const FEATURES: &str = "[[feature]]\nkey = \"video\"\nid_columns = [\"id\"]\n\
                        [[feature]]\nkey = \"video/crop\"\nid_columns = [\"id\"]\ndeps = [\"video\"]\n";

const SECRET: &str = "fake-hunter2-secret";

fn insert(id: &str) -> String {
    let id = id.replace('\'', "''");
    format!(
        "INSERT INTO video SELECT '{id}' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field"
    )
}

#[test]
fn a_secret_is_in_no_output() {
    let options = format!(
        "storage_options = {{ AWS_SECRET_ACCESS_KEY = \"{SECRET}\", AWS_SESSION_TOKEN = \"{SECRET}\", \
         azure_storage_sas_key = \"{SECRET}\" }}"
    );
    for kind in ["delta", "parquet"] {
        let project = Project::of_kind(kind, FEATURES, "", &options);
        let broken = project.path().join("broken");
        let text = fs::read_to_string(project.path().join("metaxy.toml")).unwrap();
        let other = format!(
            "{text}\n[stores.remote]\ntype = {kind:?}\n[stores.remote.config]\nroot_path = \
             \"s3://key:{SECRET}@bucket/path?token={SECRET}\"\n{options}\n\
             [stores.broken]\ntype = {kind:?}\n[stores.broken.config]\nroot_path = {broken:?}\n{options}\n"
        );
        fs::write(project.path().join("metaxy.toml"), other).unwrap();
        // A file where the store's folder should be.
        fs::write(&broken, "no folder").unwrap();
        for sql in [
            insert("a").as_str(),
            "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')",
            "SELECT * FROM video",
            "EXPLAIN VERBOSE SELECT * FROM resolve_update('video/crop')",
            "EXPLAIN ANALYZE SELECT * FROM resolve_update('video/crop')",
            "SHOW ALL",
            "SELECT * FROM system.stores",
            "SELECT * FROM system.options",
            "SELECT * FROM information_schema.df_settings",
            "SELECT * FROM system.events",
            "CALL push()",
            "CALL remote.system.push()",
            "CALL copy(from_store => 'remote')",
            "CALL broken.system.copy(from_store => 'dev')",
            "USE STORE remote",
            "SELECT * FROM remote.features.video",
            "SELECT * FROM broken.features.video",
            "INSERT INTO broken.features.video SELECT * FROM video",
            "DELETE FROM history.video WHERE id = 'a'",
            "SELECT * FROM nope",
            "SELEC",
        ] {
            let ran = Cli::new(project.path()).env("RUST_LOG", "trace").sql(&[sql]).run();
            for text in [&ran.stdout, &ran.stderr] {
                assert!(!text.contains(SECRET), "{sql}: {text}");
            }
            // The log is on, or the test would show nothing.
            assert!(ran.stderr.contains("TRACE") || ran.stderr.contains("DEBUG"), "{sql}: {}", ran.stderr);
        }
    }
}

#[test]
fn names_do_not_leave_the_store() {
    run(async {
        for kind in ["delta", "parquet"] {
            let project = Project::of_kind(kind, FEATURES, "", "");
            let session = project.session().await;
            query(&session, &insert("a")).await;
            let before = files_below(project.path());
            for name in [
                "../video",
                "..",
                "video/../../x",
                "/etc/passwd",
                "a/../b",
                "video\u{0}",
                "C:\\x",
                "%2e%2e/x",
            ] {
                for sql in [
                    format!("INSERT INTO \"{name}\" SELECT * FROM video"),
                    format!("DELETE FROM \"{name}\""),
                    format!("DELETE FROM history.\"{name}\""),
                    format!("SELECT * FROM resolve_update('{name}')"),
                    format!("CALL rebase('{name}', from_version => 'x')"),
                    format!("CALL copy('{name}', from_store => '{name}')"),
                ] {
                    error(&session, &sql).await;
                }
                let definition = format!("[[feature]]\nkey = {name:?}\nid_columns = [\"id\"]\n");
                project.write("features2.toml", &definition.replace("\\0", "\\u0000"));
                assert!(project.try_session().await.is_err(), "{name}");
                fs::remove_file(project.path().join("features2.toml")).unwrap();
            }
            assert_eq!(files_below(project.path()), before);
        }
    });
}

#[test]
fn values_are_values() {
    run(async {
        for kind in ["delta", "parquet"] {
            let project = Project::of_kind(kind, FEATURES, "", "");
            let session = project.session().await;
            let hostile =
                ["' OR '1'='1", "'; DROP TABLE video; --", "a\"b`c", "%", "_", "\u{202e}x", "a\\nb"];
            // One that stays.
            query(&session, &insert("harmless")).await;
            for id in hostile {
                query(&session, &insert(id)).await;
            }
            for (done, id) in hostile.iter().enumerate() {
                let id = id.replace('\'', "''");
                for (table, rows) in [("video", 1), ("history.video", 2)] {
                    let deleted = query(&session, &format!("DELETE FROM {table} WHERE id = '{id}'")).await;
                    assert_eq!(column(&deleted, "count"), [json!(rows)], "{id}");
                }
                let left = query(&session, "SELECT count(*) AS n FROM history.video").await;
                assert_eq!(column(&left, "n"), [json!(hostile.len() - done)], "{id}");
            }
        }
    });
}
