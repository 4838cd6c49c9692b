//! The third outcome of a push: the version is there already, but some of its features are recorded otherwise.

use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};

use crate::support::{Project, column, dev, foreign_write, query, run};

const CROP: &str = "[[feature]]\nkey = \"clip/crop\"\nid_columns = [\"clip_id\"]\ndeps = [\"clip/raw\"]\n";

/// A project of two features, with this description of the first.
fn features(description: &str) -> String {
    format!(
        "[[feature]]\nkey = \"clip/raw\"\nid_columns = [\"clip_id\"]\ndescription = \"{description}\"\n{CROP}"
    )
}

/// Two descriptions under which the definition of `clip/raw` has different versions, and the project has the same one:
/// versions are cut to 32 bits here, and these two were looked for.
const TWINS: [&str; 2] = ["Clips, take 44213", "Clips, take 50563"];
const TWINS_VERSION: &str = "5660f913";

async fn push(session: &MetaxySession) -> Value {
    let mut rows = query(session, "CALL push()").await;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn report(version: &str, already_pushed: bool, updated: &[&str]) -> Value {
    json!({
        "project": "clips",
        "project_version": version,
        "already_pushed": already_pushed,
        "updated_features": updated,
    })
}

async fn recorded(session: &MetaxySession) -> Vec<Value> {
    let sql = "SELECT feature_key FROM system.feature_versions ORDER BY recorded_at, feature_key";
    column(&query(session, sql).await, "feature_key")
}

#[test]
fn of_a_version_that_is_there_only_what_differs_is_recorded() {
    run(async {
        for kind in ["delta", "parquet"] {
            let project = Project::of_kind(kind, &features(TWINS[0]), "project = \"clips\"", "");
            let session = project.session().await;
            assert_eq!(push(&session).await, report(TWINS_VERSION, false, &[]), "{kind}");
            assert_eq!(push(&session).await, report(TWINS_VERSION, true, &[]), "{kind}");
            assert_eq!(recorded(&session).await, ["clip/crop", "clip/raw"], "{kind}");

            project.write("features.toml", &features(TWINS[1]));
            let session = project.session().await;
            assert_eq!(push(&session).await, report(TWINS_VERSION, true, &["clip/raw"]), "{kind}");
            assert_eq!(recorded(&session).await, ["clip/crop", "clip/raw", "clip/raw"], "{kind}");
            // What has been recorded now is what counts.
            assert_eq!(push(&session).await, report(TWINS_VERSION, true, &[]), "{kind}");
            let graph = dev(&session).load_graph("clips", TWINS_VERSION).await.unwrap();
            let key = "clip/raw".parse().unwrap();
            assert_eq!(graph.len(), 2, "{kind}");
            assert_eq!(graph.get(&key).unwrap().spec.description.as_deref(), Some(TWINS[1]), "{kind}");
            let versions =
                query(&session, "SELECT project_version, features, is_current FROM system.project_versions")
                    .await;
            let expected = json!({"project_version": TWINS_VERSION, "features": 2, "is_current": true});
            assert_eq!(versions, [expected], "{kind}");
            let events =
                query(&session, "SELECT event_type, payload FROM system.events ORDER BY timestamp").await;
            assert_eq!(column(&events, "event_type"), ["push_completed"; 2], "{kind}");
            let payload = |rows: u64| format!(r#"{{"type":"rows_affected","rows_affected":{rows}}}"#);
            assert_eq!(column(&events, "payload"), [payload(2), payload(1)], "{kind}");

            // And back: the version was recorded before, but not last.
            project.write("features.toml", &features(TWINS[0]));
            let session = project.session().await;
            assert_eq!(push(&session).await, report(TWINS_VERSION, true, &["clip/raw"]), "{kind}");
            assert_eq!(push(&session).await, report(TWINS_VERSION, true, &[]), "{kind}");
        }
    });
}

/// A table that another program has made: the version is ours, one definition is not, and one is missing.
#[test]
fn what_others_have_recorded_otherwise_or_not_at_all_is_added() {
    run(async {
        for (have_crop, updated) in [(true, &["clip/raw"][..]), (false, &["clip/crop", "clip/raw"])] {
            let project = Project::of_kind("delta", &features("Clips"), "project = \"clips\"", "");
            let session = project.session().await;
            let graph = dev(&session).graph().await.unwrap();
            let version = graph.project_version("clips").unwrap();
            let row = |feature: &str, definition: &str| {
                format!(
                    "SELECT 'clips' AS project, '{feature}' AS feature_key, 'f' AS metaxy_feature_version, \
                     '{definition}' AS metaxy_definition_version, \
                     arrow_cast('2024-01-01T00:00:00', 'Timestamp(Microsecond, None)') AS recorded_at, \
                     '{{\"key\": \"{feature}\", \"id_columns\": [\"clip_id\"]}}' AS feature_spec, '{{}}' AS feature_schema, \
                     'a.B' AS feature_class_path, '{version}' AS metaxy_project_version, '{{}}' AS tags, \
                     arrow_cast(NULL, 'Timestamp(Microsecond, None)') AS deleted_at"
                )
            };
            let mut rows = vec![row("clip/raw", "other")];
            if have_crop {
                let key = "clip/crop".parse().unwrap();
                rows.push(row("clip/crop", &graph.definition_version(&key).unwrap()));
            }
            let table = project.table("metaxy-system/feature_versions");
            foreign_write(&table, &rows.join(" UNION ALL ")).await;

            let session = project.session().await;
            let mut found = push(&session).await;
            let features = found["updated_features"].as_array_mut().unwrap();
            features.sort_by_key(Value::to_string);
            assert_eq!(found, report(&version, true, updated));
            assert_eq!(push(&session).await, report(&version, true, &[]));
            assert_eq!(recorded(&session).await.len(), rows.len() + updated.len());
        }
    });
}
