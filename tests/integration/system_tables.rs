//! Pushes and events: by several processes at once, over tables of others, and loaded again.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_metaxy::model::FeatureKey;
use datafusion_metaxy::store::{Event, EventType, Payload, PushOptions};
use serde_json::{Value, json};

use crate::support::{
    Project, Ran, actions, assert_no_strays, column, dev, foreign_write, log, one_line, only, query, run,
};

const FEATURES: &str = r#"
[[feature]]
key = "clip/raw"
id_columns = ["clip_id"]

[[feature]]
key = "clip/crop"
id_columns = ["clip_id"]
deps = ["clip/raw"]
"#;

const KINDS: [&str; 2] = ["delta", "parquet"];

fn key(text: &str) -> FeatureKey {
    FeatureKey::parse(text).unwrap()
}

fn project(kind: &'static str) -> Project {
    Project::of_kind(kind, FEATURES, "project = \"clips\"", "")
}

async fn count(session: &datafusion_metaxy::session::MetaxySession, table: &str) -> Value {
    only(&query(session, &format!("SELECT count(*) FROM {table}")).await)
}

/// Processes that push the same at the same time record it once, and all but one say that it was there.
#[test]
fn pushes_at_the_same_time_record_once() {
    run(async {
        for kind in KINDS {
            let project = project(kind);
            let push = || project.cli().args(["--format", "csv"]).sql(&["CALL push()"]).start();
            let running: Vec<_> = (0..6).map(|_| push()).collect();
            let mut first = 0;
            for process in running {
                let printed = Ran::from(process.wait_with_output().unwrap()).ok();
                let line = printed.lines().nth(1).unwrap();
                assert!(line.ends_with(",true,[]") || line.ends_with(",false,[]"), "{kind}: {printed}");
                first += usize::from(line.ends_with(",false,[]"));
            }
            assert_eq!(first, 1, "{kind}");
            let session = project.session().await;
            assert_eq!(count(&session, "system.feature_versions").await, 2, "{kind}");
            assert_eq!(count(&session, "system.events").await, 1, "{kind}");
            if kind == "delta" {
                assert_no_strays(&project.table("metaxy-system/feature_versions"));
            }
        }
    });
}

/// Two versions that race are both recorded, and all agree on which is the current one.
#[test]
fn different_pushes_at_the_same_time_are_all_recorded() {
    run(async {
        for kind in KINDS {
            let project = project(kind);
            let mut sessions = Vec::new();
            for version in 0..4 {
                project
                    .write("features.toml", &FEATURES.replace("clip/crop", &format!("clip/crop{version}")));
                sessions.push(project.session().await);
            }
            let pushes = sessions.iter().map(|session| query(session, "CALL push()"));
            let reports = futures::future::join_all(pushes).await;
            let versions: BTreeSet<String> =
                reports.iter().map(|report| report[0]["project_version"].to_string()).collect();
            assert_eq!(versions.len(), 4, "{kind}");
            let session = project.session().await;
            assert_eq!(count(&session, "system.feature_versions").await, 8, "{kind}");
            assert_eq!(count(&session, "system.project_versions WHERE is_current").await, 1, "{kind}");
            // Who looks again afterwards records the current version no second time.
            let current = "SELECT project_version FROM system.project_versions WHERE is_current";
            let current = only(&query(&session, current).await);
            let again = reports.iter().position(|report| report[0]["project_version"] == current).unwrap();
            assert_eq!(query(&sessions[again], "CALL push()").await[0]["already_pushed"], true, "{kind}");
        }
    });
}

#[test]
fn a_push_can_be_loaded_again() {
    run(async {
        for kind in KINDS {
            let project = project(kind);
            let session = project.session().await;
            let first = dev(&session).push(None, &PushOptions::default()).await.unwrap();
            let before = dev(&session).graph().await.unwrap();

            project.write("features.toml", &FEATURES.replace("deps", "fields = [\"x\"]\ndeps"));
            let session = project.session().await;
            let store = dev(&session);
            let second = store.push(Some("clips"), &PushOptions::default()).await.unwrap();
            assert!(!second.already_pushed && second.project_version != first.project_version, "{kind}");

            for (version, expected) in
                [(&first.project_version, before), (&second.project_version, store.graph().await.unwrap())]
            {
                let loaded = store.load_graph("clips", version).await.unwrap();
                assert_eq!(loaded.len(), 2, "{kind}");
                for feature in ["clip/raw", "clip/crop"] {
                    let feature = key(feature);
                    assert_eq!(loaded.get(&feature).unwrap().spec, expected.get(&feature).unwrap().spec);
                    let [loaded, expected] =
                        [&loaded, &expected].map(|g| g.feature_version(&feature).unwrap());
                    assert_eq!(loaded, expected, "{kind}: {feature}");
                }
                assert_eq!(&loaded.project_version("clips").unwrap(), version, "{kind}");
            }
            let error = one_line(&store.load_graph("clips", "nope").await.unwrap_err());
            let pushed = format!("{}, {}", first.project_version, second.project_version);
            assert!(error.contains("\"nope\" is not recorded") && error.ends_with(&pushed), "{error}");
            let error = one_line(&store.load_graph("clops", "nope").await.unwrap_err());
            assert!(error.ends_with("nothing of project clops was pushed"), "{error}");
        }
    });
}

/// A child's version of the past depends on what its parent in another project was then.
#[test]
fn a_loaded_push_has_the_parents_of_its_time() {
    run(async {
        let upstream = |fields: &str| {
            format!(
                "project = \"up\"\n[[feature]]\nkey = \"up/video\"\nid_columns = [\"id\"]\nfields = [{fields}]\n"
            )
        };
        let project =
            Project::new("[[feature]]\nkey = \"crop\"\nid_columns = [\"id\"]\ndeps = [\"up/video\"]\n");
        project.configure("project = \"down\"", "");
        project.write("features_up.toml", &upstream("\"audio\""));
        let session = project.session().await;
        query(&session, "CALL push(project => 'up')").await;
        let report = dev(&session).push(Some("down"), &PushOptions::default()).await.unwrap();
        let then = dev(&session).graph().await.unwrap().feature_version(&key("crop")).unwrap();

        project.write("features_up.toml", &upstream("\"audio\", \"frames\""));
        let session = project.session().await;
        query(&session, "CALL push(project => 'up')").await;
        let store = dev(&session);
        assert_ne!(store.graph().await.unwrap().feature_version(&key("crop")).unwrap(), then);
        let loaded = store.load_graph("down", &report.project_version).await.unwrap();
        assert_eq!(loaded.feature_version(&key("crop")).unwrap(), then);
        // The project's own definitions are the same as ever.
        assert!(store.push(Some("down"), &PushOptions::default()).await.unwrap().already_pushed);
    });
}

/// A table as Python makes it, with a time zone, another order of columns, a broken row, and one from the future.
fn foreign_rows(version: &str, recorded_at: &str, spec: &str) -> String {
    format!(
        "SELECT arrow_cast('{recorded_at}', 'Timestamp(Microsecond, Some(\"UTC\"))') AS recorded_at, \
         'clip/raw' AS feature_key, 'clips' AS project, 'v' AS metaxy_feature_version, \
         'd' AS metaxy_definition_version, '{spec}' AS feature_spec, '{{}}' AS feature_schema, 'a.B' AS \
         feature_class_path, '{version}' AS metaxy_project_version, '{{}}' AS tags"
    )
}

#[test]
fn tables_of_others_are_continued() {
    run(async {
        let project = project("delta");
        let table = project.table("metaxy-system/feature_versions");
        foreign_write(&table, &foreign_rows("theirs", "2124-01-01T00:00:00", "not JSON")).await;
        let session = project.session().await;
        let warnings = session.take_warnings();
        assert!(warnings.iter().any(|w| w.contains("definition of clip/raw skipped")), "{warnings:?}");

        // No deleted_at, and times with a zone: the view has its columns all the same.
        let rows = query(&session, "SELECT * FROM system.feature_versions").await;
        let columns: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
        let own = dev(&session).feature_versions().await.unwrap().unwrap().schema();
        assert!(own.field_with_name("deleted_at").is_err());
        assert_eq!((columns.len(), columns[0].as_str(), columns[10].as_str()), (11, "project", "deleted_at"));
        assert_eq!(rows[0]["recorded_at"], "2124-01-01T00:00:00");

        // Our clock is behind, but the push is the latest.
        query(&session, "CALL push()").await;
        let current =
            query(&session, "SELECT recorded_at FROM system.project_versions WHERE is_current").await;
        assert_eq!(only(&current), "2124-01-01T00:00:00.000001");
        assert_eq!(query(&session, "CALL push()").await[0]["already_pushed"], true);
    });
}

/// Versions of definitions do not depend on how samples are hashed.
#[test]
fn system_tables_have_no_hash_settings() {
    run(async {
        for kind in KINDS {
            let project = project(kind);
            query(&project.session().await, "CALL push()").await;
            project.configure("project = \"clips\"", "hash_algorithm = \"md5\"");
            project.write("features.toml", &FEATURES.replace("clip/crop", "clip/cut"));
            let session = project.session().await;
            assert_eq!(query(&session, "CALL push()").await[0]["already_pushed"], false, "{kind}");
            assert_eq!(count(&session, "system.feature_versions").await, 4, "{kind}");
        }
        let project = project("delta");
        query(&project.session().await, "CALL push()").await;
        for table in ["feature_versions", "events"] {
            let log = log(&project.table(&format!("metaxy-system/{table}")));
            let [created] = actions(&log[0], "metaData")[..] else { panic!("{log:?}") };
            assert_eq!(created["configuration"], json!({"delta.checkpointInterval": "10"}), "{table}");
            let [protocol] = actions(&log[0], "protocol")[..] else { panic!("{log:?}") };
            assert_eq!(
                (&protocol["minReaderVersion"], &protocol["minWriterVersion"]),
                (&json!(3), &json!(7))
            );
        }
    });
}

#[test]
fn what_can_not_be_pushed_is_refused_whole() {
    run(async {
        let orphan =
            format!("{FEATURES}\n[[feature]]\nkey = \"face\"\nid_columns = [\"x\"]\ndeps = [\"gone/up\"]\n");
        let project = Project::with(&orphan, "project = \"clips\"", "");
        let session = project.session().await;
        let error = one_line(&dev(&session).push(None, &PushOptions::default()).await.unwrap_err());
        let expected =
            "feature face depends on gone/up, which is not defined in the feature files or in store dev";
        assert!(error.contains(expected), "{error}");
        assert_eq!(count(&session, "system.feature_versions").await, 0);
        assert_eq!(count(&session, "system.events").await, 0);

        let two = format!("{FEATURES}\n[[feature]]\nkey = \"up\"\nid_columns = [\"x\"]\n");
        let project = Project::new("");
        project.write("features1.toml", &format!("project = \"one\"\n{FEATURES}"));
        project.write("features2.toml", &two.replace("clip/", "other/"));
        let session = project.session().await;
        let error = one_line(&dev(&session).push(None, &PushOptions::default()).await.unwrap_err());
        assert!(error.contains("features of several projects are declared (one, test)"), "{error}");

        let empty = Project::new("");
        let error =
            one_line(&dev(&empty.session().await).push(None, &PushOptions::default()).await.unwrap_err());
        assert!(error.starts_with("nothing to push: no features are declared"), "{error}");
    });
}

#[test]
fn events_are_recorded_in_order_of_time() {
    run(async {
        let project = project("delta");
        let session = project.session().await;
        let store = dev(&session);
        let started = Event::new("clips", EventType::CopyStarted, Payload::Empty).of("run-1");
        store.record_event(&started).await.unwrap();
        let failed = Payload::Error { message: "no \"room\"".to_owned(), rows_affected: Some(2) };
        let failed = Event::new("clips", EventType::CopyFailed, failed).of("run-1").about(key("clip/raw"));
        store.record_event(&failed).await.unwrap();
        let rows = query(
            &session,
            "SELECT execution_id, event_type, feature_key, payload FROM system.events ORDER BY timestamp",
        )
        .await;
        assert_eq!(column(&rows, "event_type"), ["copy_started", "copy_failed"]);
        assert_eq!(column(&rows, "execution_id"), ["run-1", "run-1"]);
        assert_eq!(column(&rows, "feature_key"), [Value::Null, json!("clip/raw")]);
        let payload: Value = serde_json::from_str(rows[1]["payload"].as_str().unwrap()).unwrap();
        assert_eq!(payload, json!({"type": "error", "error_message": "no \"room\"", "rows_affected": 2}));
    });
}

/// Whoever writes together with others loses no event.
#[test]
fn events_of_several_writers_are_all_there() {
    run(async {
        for kind in KINDS {
            let project = project(kind);
            let session = project.session().await;
            let store = dev(&session);
            let mut tasks = Vec::new();
            for i in 0..6 {
                let store = Arc::clone(&store);
                tasks.push(tokio::spawn(async move {
                    let event = Event::new("clips", EventType::HardDeleteCompleted, Payload::RowsAffected(i));
                    store.record_event(&event).await
                }));
            }
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            assert_eq!(count(&session, "system.events").await, 6, "{kind}");
        }
    });
}
