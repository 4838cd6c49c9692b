//! System tables belong to nobody's features: they are written by what they record, and no feature can have their names.

use datafusion::logical_expr::lit;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::store::{
    BufferOptions, DeleteMode, DeleteOptions, Event, EventType, Payload, PushOptions, WriteOptions,
    WriteScope,
};

use crate::support::{Project, dev, error, files_below, one_line, query, run};

const FEATURES: &str = "[[feature]]\nkey = \"video\"\nid_columns = [\"id\"]\n";
const TABLES: [&str; 2] = ["feature_versions", "events"];

fn feature(key: &str) -> String {
    format!("{FEATURES}\n[[feature]]\nkey = {key:?}\nid_columns = [\"id\"]\n")
}

#[test]
fn statements_can_not_write_to_system_tables() {
    run(async {
        for kind in ["memory", "delta", "parquet"] {
            let project = match kind {
                "memory" => Project::new(FEATURES),
                _ => Project::of_kind(kind, FEATURES, "", ""),
            };
            if kind == "memory" {
                let config = "store = \"dev\"\nproject = \"test\"\n[stores.dev]\ntype = \"memory\"\n\
                              [ext.datafusion]\nfeatures = [\"features*.toml\"]\n";
                project.write("metaxy.toml", config);
            }
            let session = project.session().await;
            query(&session, "CALL push()").await;
            query(&session, "SET metaxy.allow_cross_project_writes = true").await;
            let before = files_below(project.path());
            for table in TABLES {
                let names = [
                    format!("system.{table}"),
                    format!("dev.system.{table}"),
                    format!("\"metaxy-system/{table}\""),
                    format!("metaxy_system__{table}"),
                    format!("history.metaxy_system__{table}"),
                    format!("history.\"metaxy-system/{table}\""),
                ];
                for name in names {
                    for sql in [
                        format!("INSERT INTO {name} SELECT * FROM system.{table}"),
                        format!("INSERT INTO {name} (project) VALUES ('x')"),
                        format!("DELETE FROM {name}"),
                        format!("DELETE FROM {name} WHERE project = 'test'"),
                        format!("TRUNCATE TABLE {name}"),
                        format!("UPDATE {name} SET project = 'x'"),
                        format!("DROP TABLE {name}"),
                    ] {
                        error(&session, &sql).await;
                    }
                }
                for sql in [
                    format!("INSERT INTO system.{table} SELECT * FROM system.{table}"),
                    format!("DELETE FROM system.{table}"),
                    format!("TRUNCATE TABLE system.{table}"),
                ] {
                    let message = error(&session, &sql).await;
                    assert!(
                        message.contains("system table") && message.contains(table),
                        "{kind}: {sql}: {message}"
                    );
                }
                let rows = query(&session, &format!("SELECT * FROM system.{table}")).await;
                assert_eq!(rows.len(), 1, "{kind}: {table}");
            }
            assert_eq!(files_below(project.path()), before, "{kind}");
        }
    });
}

#[test]
fn programs_can_not_write_to_system_tables() {
    run(async {
        for kind in ["delta", "parquet"] {
            let project = Project::of_kind(kind, FEATURES, "", "");
            let session = project.session().await;
            let store = dev(&session).allow_cross_project_writes();
            store.push(None, &PushOptions::default()).await.unwrap();
            store.record_event(&Event::new("test", EventType::CopyStarted, Payload::Empty)).await.unwrap();
            let before = files_below(project.path());
            let context = SessionContext::new();
            let sql = "SELECT 'a' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field";
            let rows = async || context.sql(sql).await.unwrap();
            let options = WriteOptions::default();
            for table in TABLES {
                for name in [format!("metaxy-system/{table}"), format!("metaxy_system__{table}")] {
                    let mut errors = vec![
                        store.write(&name, rows().await, &options).await.unwrap_err(),
                        store.write_all(vec![(&name, rows().await)], &options).await.unwrap_err(),
                        store.rebase(&context, &name, rows().await, None, &options).await.unwrap_err(),
                        store.drop_rows(&context, &name, &WriteScope::default()).await.unwrap_err(),
                    ];
                    for mode in [DeleteMode::Soft, DeleteMode::Hard] {
                        let delete = DeleteOptions { mode, ..DeleteOptions::default() };
                        errors.push(store.delete(&context, &name, lit(true), &delete).await.unwrap_err());
                    }
                    let batch = rows().await.collect().await.unwrap().remove(0);
                    let writer = store.buffered(BufferOptions::default());
                    errors.push(writer.put(&name, batch).await.unwrap_err());
                    for error in errors {
                        assert!(one_line(&error).contains(&name), "{kind}: {error}");
                    }
                }
            }
            assert_eq!(files_below(project.path()), before, "{kind}");
        }
    });
}

/// Where the tables are: as they are named, and under the names of files in a flat folder.
#[test]
fn no_feature_can_have_the_key_of_a_system_table() {
    run(async {
        for kind in ["delta", "parquet"] {
            for (layout, key) in [
                ("nested", "metaxy-system/feature_versions"),
                ("nested", "metaxy-system/events"),
                ("flat", "metaxy-system/feature_versions"),
                ("flat", "metaxy-system/events"),
                // The file of this one would be that of the system table.
                ("flat", "metaxy_system/feature_versions"),
                ("flat", "metaxy_system/events"),
            ] {
                let config = if layout == "flat" { "layout = \"flat\"" } else { "" };
                let project = Project::of_kind(kind, FEATURES, "", config);
                query(&project.session().await, "CALL push()").await;
                let before = files_below(&project.path().join("store"));
                project.write("features.toml", &feature(key));
                let Err(error) = project.try_session().await else {
                    panic!("{kind}, {layout}: {key} was not refused")
                };
                let error = one_line(&error);
                for part in [key, "system table"] {
                    assert!(error.contains(part), "{kind}, {layout}: {part} is not in: {error}");
                }
                let message = project.cli().sql(&["SELECT 1"]).run().failed();
                assert!(message.contains(key), "{message}");
                assert_eq!(files_below(&project.path().join("store")), before, "{kind}, {layout}: {key}");
                // The project goes on when the feature is gone.
                project.write("features.toml", FEATURES);
                let pushed = query(&project.session().await, "CALL push()").await;
                assert_eq!(pushed[0]["already_pushed"], true, "{kind}, {layout}: {key}");
            }
        }
    });
}
