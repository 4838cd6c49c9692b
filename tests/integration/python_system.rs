//! System tables and lock files that we share with the Python package, in both directions.
//!
//! Ignored by default, as the tests in `python.rs`.

use std::path::Path;
use std::sync::Arc;

use datafusion_metaxy::model::{FeatureDefinition, FeatureGraph, LockFile};
use datafusion_metaxy::store::{MemoryStore, PushOptions, Store};
use serde_json::{Value, json};

use crate::python::{RoundTrip, python, start_python};
use crate::support::{Cli, Project, column, dev, query, repository, rows, run};

/// A project of ours whose store Python opens as well.
const CONFIG: &str = r#"
project = "clips"
store = "dev"
hash_truncation_length = 12
extra_features = [{ all = true }]

[stores.dev]
type = "metaxy.ext.polars.handlers.delta.DeltaMetadataStore"

[stores.dev.config]
root_path = "./store"

[ext.datafusion]
features = ["features*.toml"]
"#;

const FEATURES: &str = r#"
[[feature]]
key = "clip/raw"
id_columns = ["clip_id"]
fields = ["audio", { key = "frames", code_version = "2" }]
description = "Für später"
metadata = { team = "media", weights = [0.5, 1e16] }

[[feature]]
key = "clip/crop"
id_columns = ["clip_id"]

[[feature.deps]]
feature = "clip/raw"
rename = { size = "bytes" }
filters = ["bytes > 1"]
lineage = { type = "N:1", on = ["clip_id"] }
"#;

fn script(command: &str, folder: &Path, args: &[&str]) -> Value {
    let script = repository("tests/python/system_tables.py").display().to_string();
    let printed = python(&[&[script.as_str(), command, folder.to_str().unwrap()], args].concat());
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

/// Python's own program in a project.
pub fn metaxy(folder: &Path, args: &[&str]) -> String {
    let code = "import os, sys\nos.chdir(sys.argv[1])\nsys.argv = ['metaxy', *sys.argv[2:]]\n\
                from metaxy.cli.app import main\nmain()";
    let output = start_python(&[&["-c", code, folder.to_str().unwrap()], args].concat());
    assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn python_finds_what_we_have_pushed() {
    run(async {
        let project = Project::new(FEATURES);
        project.write("metaxy.toml", CONFIG);
        let push = |sql: &str| {
            let printed = Cli::new(project.path()).args(["--format", "nd-json"]).sql(&[sql]).run().ok();
            serde_json::from_str::<Value>(printed.trim()).unwrap()
        };
        let report = push("CALL push(tags => MAP {'git': 'abc'})");
        assert_eq!(report["already_pushed"], false);
        let version = report["project_version"].as_str().unwrap().to_owned();

        let shown = script("show", project.path(), &[]);
        let listed = Cli::new(project.path())
            .args(["--format", "nd-json"])
            .sql(&["SELECT feature_key, metaxy_feature_version, metaxy_definition_version FROM system.feature_versions"])
            .run()
            .ok();
        for line in listed.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let feature = row["feature_key"].as_str().unwrap();
            assert_eq!(shown["features"][feature], row["metaxy_feature_version"], "{feature}");
            assert_eq!(shown["definitions"][feature], row["metaxy_definition_version"], "{feature}");
            assert_eq!(shown["columns"][feature], json!(["clip_id"]));
        }
        assert_eq!(shown["snapshots"], json!({version.as_str(): 2}));
        assert_eq!(shown["loaded"], json!([["clip/crop", "clip/raw"]]));
        assert_eq!(
            shown["events"],
            json!([["clips", "push_completed", {"type": "rows_affected", "rows_affected": 2}]])
        );
        let columns = ["project", "execution_id", "event_type", "timestamp", "feature_key", "payload"];
        assert_eq!(shown["event_columns"], json!(columns));
        let listed = metaxy(project.path(), &["--sync", "list", "features"]);
        let drawn = metaxy(project.path(), &["--sync", "graph", "render", "--format", "terminal"]);
        for feature in ["clip/raw", "clip/crop"] {
            assert!(listed.contains(feature) && drawn.contains(feature), "{feature}: {listed}\n{drawn}");
        }
        assert!(metaxy(project.path(), &["history"]).contains(&version));

        // To Python it is the version that was pushed last, too.
        let again = script("push", project.path(), &["clips"]);
        assert_eq!(
            again,
            json!({"project_version": version, "already_pushed": true, "updated_features": []})
        );
        assert_eq!(push("CALL push()")["already_pushed"], true);
    });
}

/// Definitions of Python, pushed by us, make the rows that Python has made.
#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn we_find_what_python_has_pushed() {
    run(async {
        let project = RoundTrip::create();
        let config = datafusion_metaxy::config::Config::load(
            Some(&project.path().join("metaxy.toml")),
            project.path(),
            &[("METAXY_STORES__DEV__CONFIG__ROOT_PATH", project.path().join("store").to_str().unwrap())]
                .into_iter()
                .collect(),
        )
        .unwrap();
        let session =
            datafusion_metaxy::session::MetaxySession::open(config, Default::default()).await.unwrap();
        let theirs = dev(&session);
        let [version] = &theirs.project_versions().await.unwrap()[..] else { panic!("one push expected") };
        assert_eq!((version.project.as_str(), version.features, version.is_current), ("round_trip", 9, true));
        let graph = theirs.load_graph("round_trip", &version.version).await.unwrap();
        assert_eq!(graph.project_version("round_trip").unwrap(), version.version);

        let definitions: Vec<FeatureDefinition> = graph.iter().map(|found| found.as_ref().clone()).collect();
        let ours = Arc::new(Store::new("ours", Arc::new(MemoryStore::new()), theirs.settings(), definitions));
        let report = ours.push(None, &PushOptions::default()).await.unwrap();
        assert_eq!(report.project_version, version.version);
        let columns = "project, feature_key, metaxy_feature_version, metaxy_definition_version, feature_spec, \
                       feature_schema, feature_class_path, metaxy_project_version, deleted_at";
        let read = async |store: &Store| {
            let table = store.feature_versions().await.unwrap().unwrap();
            let context = datafusion::prelude::SessionContext::new();
            context.register_table("t", table).unwrap();
            rows(context.sql(&format!("SELECT {columns} FROM t ORDER BY feature_key")).await.unwrap())
                .await
                .unwrap()
        };
        let (our_rows, their_rows) = (read(&ours).await, read(&theirs).await);
        assert_eq!(our_rows.len(), 9);
        assert_eq!(our_rows, their_rows);

        let tags = query(&session, "SELECT DISTINCT tags FROM system.feature_versions").await;
        assert_eq!(column(&tags, "tags"), [r#"{"metaxy": "{\"version\": \"0.1.11\"}"}"#]);
    });
}

/// A project of ours below the round trip's, in a folder and with a store of which both know.
fn downstream(upstream: &RoundTrip) -> Project {
    let project = Project::new("");
    let store = upstream.path().join("store");
    let config = CONFIG.replace("./store", store.to_str().unwrap()).replace("clips", "down");
    let config = config.replace("extra_features = [{ all = true }]", "entrypoints = [\"down\"]");
    project.write(
        "metaxy.toml",
        &config.replace("[stores.dev.config]", "[stores.dev.config]\nhash_algorithm = \"xxhash64\""),
    );
    project.write(
        "features.toml",
        "[[feature]]\nkey = \"down/face\"\nid_columns = [\"video_id\"]\ndeps = [\"video/crop\", \"video/summary\"]\n",
    );
    project.write(
        "down.py",
        "import metaxy as mx\n__metaxy_project__ = \"down\"\n\
         class Face(mx.BaseFeature, spec=mx.FeatureSpec(key=\"down/face\", id_columns=[\"video_id\"], \
         deps=[mx.FeatureDep(feature=\"video/crop\"), mx.FeatureDep(feature=\"video/summary\")], \
         fields=[\"default\"])):\n    video_id: str\n",
    );
    project
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn lock_files_are_shared() {
    run(async {
        let upstream = RoundTrip::create();
        let project = downstream(&upstream);
        let file = project.path().join("metaxy.lock");
        let locked = ["video/chunk", "video/crop", "video/raw", "video/summary"];

        // Python's, which we have nothing to add to.
        metaxy(project.path(), &["lock"]);
        let theirs = std::fs::read_to_string(&file).unwrap();
        let parsed = LockFile::read(&file).unwrap().unwrap();
        assert_eq!(parsed.features.keys().map(ToString::to_string).collect::<Vec<_>>(), locked);
        let session = project.session().await;
        let rows = query(&session, "CALL lock()").await;
        assert_eq!(column(&rows, "feature"), locked);
        assert_eq!(column(&rows, "change"), ["unchanged"; 4]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
        assert_eq!(session.take_warnings(), Vec::<String>::new());

        // Ours, which says the same and which Python takes for its own.
        std::fs::remove_file(&file).unwrap();
        query(&session, "CALL lock()").await;
        let ours = LockFile::read(&file).unwrap().unwrap();
        assert_eq!(ours, parsed);
        let graph = FeatureGraph::new(ours.features.values().map(|f| f.definition.clone()), 12).unwrap();
        assert_eq!(graph.len(), 4);
        let diff = script("diff-lock", project.path(), &[]);
        assert_eq!(diff["unchanged_count"], 4, "{diff}");
        assert_eq!(diff["loaded"].as_object().unwrap().len(), 4, "{diff}");
        assert!(metaxy(project.path(), &["lock"]).contains("up to date"));
    });
}
