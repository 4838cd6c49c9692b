//! The Python package reads a store after each of our operations, and agrees with us on the live rows.
//!
//! Ignored by default, as the tests in `python.rs`.

use std::collections::BTreeMap;

use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::config::Config;
use datafusion_metaxy::session::MetaxySession;
use datafusion_metaxy::store::{BufferOptions, WriteOptions};
use serde_json::Value;

use crate::python::RoundTrip;
use crate::python_system::metaxy;
use crate::support::{Cli, dev, multiset, run};

/// All features, and their ids.
const FEATURES: [(&str, &str); 9] = [
    ("video/raw", "video_id"),
    ("video/transcript", "video_id"),
    ("video/license", "id"),
    ("video/crop", "video_id"),
    ("video/chunk", "video_id, chunk_no"),
    ("video/label", "video_id, chunk_no"),
    ("video/summary", "video_id"),
    ("video/subtitle", "video_id"),
    ("video/public", "video_id"),
];

/// Of each feature, how many rows are live.
type Counts = BTreeMap<&'static str, usize>;

fn sql(project: &RoundTrip, statements: &[&str]) -> String {
    Cli::new(project.path()).args(["--format", "csv"]).sql(statements).run().ok()
}

/// Fails unless Python and we see the same live rows of every feature.
fn compare(project: &RoundTrip, after: &str) -> Counts {
    let printed = project.python("read-all", &[]);
    let mut theirs: BTreeMap<String, Vec<Value>> =
        serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(theirs.len(), FEATURES.len());
    let mut counts = Counts::new();
    for (feature, ids) in FEATURES {
        let query = format!("SELECT {ids}, metaxy_provenance, metaxy_data_version FROM \"{feature}\"");
        let lines = Cli::new(project.path()).args(["--format", "nd-json"]).sql(&[&query]).run().ok();
        let ours: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        counts.insert(feature, ours.len());
        assert_eq!(multiset(ours), multiset(theirs.remove(feature).unwrap()), "{feature} after {after}");
    }
    counts
}

fn is_live(project: &RoundTrip, video: &str) -> bool {
    let rows = project.csv(&format!("SELECT count(*) AS n FROM video__raw WHERE video_id = '{video}'"));
    rows == "n\n1\n"
}

fn crop_version(project: &RoundTrip) -> String {
    let version = "SELECT metaxy_feature_version FROM system.feature_versions WHERE feature_key = 'video/crop' \
                   ORDER BY recorded_at DESC LIMIT 1";
    project.csv(version).lines().last().unwrap().to_owned()
}

/// Changes the code of the crops' frames, and lets Python push that.
fn change_crops(project: &RoundTrip) {
    let file = project.path().join("features.py");
    let text = std::fs::read_to_string(&file).unwrap();
    let (old, new) = ("key=\"frames\", code_version=\"2\"", "key=\"frames\", code_version=\"3\"");
    assert_eq!(text.matches(old).count(), 1);
    std::fs::write(&file, text.replace(old, new)).unwrap();
    metaxy(project.path(), &["push"]);
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn a_sample_that_we_have_deleted_lives_again_when_python_writes_it() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        sql(&project, &["DELETE FROM video__raw WHERE video_id IN ('v01', 'v02')"]);
        let deleted = compare(&project, "a soft delete");
        assert!(!is_live(&project, "v01") && !is_live(&project, "v02"));
        project.python("write-one-raw", &["1", "v7"]);
        let revived = compare(&project, "a write of Python");
        assert_eq!(revived["video/raw"], deleted["video/raw"] + 1);
        assert!(is_live(&project, "v01") && !is_live(&project, "v02"));
        // The same version as before is a life, too.
        project.python("write-one-raw", &["2", "v1"]);
        assert_eq!(compare(&project, "a write of Python")["video/raw"], deleted["video/raw"] + 2);
        assert!(project.compare_increments(&["video/crop"]).await > 0);
    });
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn both_read_the_same_after_a_rebase_and_deletes_at_the_new_version() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        let before = compare(&project, "the first writes");
        let old = crop_version(&project);
        change_crops(&project);
        let new = crop_version(&project);
        assert_ne!(old, new);
        assert_eq!(compare(&project, "a change of the code")["video/crop"], 0);

        let rebased = sql(&project, &[&format!("CALL rebase('video/crop', from_version => '{old}')")]);
        // The crop of the video that was deleted has no parent.
        let rows: usize = rebased.trim().strip_prefix("feature,rows\nvideo/crop,").unwrap().parse().unwrap();
        assert!(rows > 0 && rows <= before["video/crop"], "{rebased}");
        assert_eq!(compare(&project, "a rebase")["video/crop"], rows);
        // What was taken over is done, for both.
        project.compare_increments(&["video/crop"]).await;
        assert_eq!(project.csv("SELECT count(*) AS n FROM resolve_update('video/crop')"), "n\n0\n");

        // A row at the new version goes for good, and one at the old version stays, hidden.
        let gone = project.csv("SELECT min(video_id) AS id FROM video__crop");
        let gone = gone.lines().last().unwrap();
        let at_new = format!(
            "DELETE FROM history.video__crop WHERE video_id = '{gone}' AND metaxy_feature_version = '{new}'"
        );
        assert_eq!(sql(&project, &[&at_new]), "count\n1\n");
        let left = format!(
            "SELECT metaxy_feature_version = '{new}' AS new, metaxy_deleted_at IS NOT NULL AS dead \
             FROM history.video__crop WHERE video_id = '{gone}' ORDER BY 1 DESC LIMIT 1"
        );
        assert_eq!(project.csv(&left), "new,dead\ntrue,true\n", "a tombstone");
        assert_eq!(compare(&project, "a hard delete at the new version")["video/crop"], rows - 1);
        project.compare_increments(&["video/crop", "video/public"]).await;
        // Computed again, by Python.
        project.python("update", &[]);
        compare(&project, "an update of Python");
        assert_eq!(project.csv("SELECT count(*) AS n FROM resolve_update('video/crop')"), "n\n0\n");

        // Everything goes, and is written again.
        sql(&project, &["TRUNCATE TABLE history.video__crop", "TRUNCATE TABLE history.video__public"]);
        let dropped = compare(&project, "a drop");
        assert_eq!((dropped["video/crop"], dropped["video/public"]), (0, 0));
        project.compare_increments(&["video/crop"]).await;
        assert!(project.write_with_program().await > 0);
        let again = compare(&project, "writing again");
        assert!(again["video/crop"] > 0 && again["video/public"] > 0, "{again:?}");
        // And by Python, into a table that we have emptied.
        sql(&project, &["TRUNCATE TABLE history.video__crop"]);
        project.python("update", &[]);
        assert_eq!(compare(&project, "an update of Python")["video/crop"], again["video/crop"]);
    });
}

async fn session(project: &RoundTrip) -> MetaxySession {
    let root = project.path().join("store");
    let env = [("METAXY_STORES__DEV__CONFIG__ROOT_PATH", root.to_str().unwrap())].into_iter().collect();
    let config = Config::load(Some(&project.path().join("metaxy.toml")), project.path(), &env).unwrap();
    MetaxySession::open(config, Default::default()).await.unwrap()
}

async fn raws(numbers: std::ops::Range<u32>) -> DataFrame {
    let rows: Vec<String> = numbers
        .map(|n| format!("('v{n}', '/ours/{n}.mp4', {n}, named_struct('audio', 'a{n}', 'frames', 'f{n}'))"))
        .collect();
    let sql = format!(
        "SELECT column1 AS video_id, column2 AS path, column3 AS size, column4 AS metaxy_provenance_by_field \
         FROM (VALUES {})",
        rows.join(", ")
    );
    SessionContext::new().sql(&sql).await.unwrap()
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn both_read_the_same_after_every_kind_of_write() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        let before = compare(&project, "the first writes")["video/raw"];

        // With a key: the retry adds nothing.
        let insert = "INSERT INTO video__raw SELECT 'v50' AS video_id, '/ours' AS path, 1 AS size, \
                      named_struct('audio', 'a', 'frames', 'f') AS metaxy_provenance_by_field";
        for _ in 0..2 {
            sql(&project, &["SET metaxy.write_key = 'load'", insert]);
            assert_eq!(compare(&project, "a write with a key")["video/raw"], before + 1);
        }
        assert_eq!(
            project.csv("SELECT count(*) AS n FROM history.video__raw WHERE video_id = 'v50'"),
            "n\n1\n"
        );

        // Several features in one call.
        let store = dev(&session(&project).await);
        let transcript = SessionContext::new()
            .sql(
                "SELECT 'v60' AS video_id, 'de' AS language, named_struct('text', 't') AS metaxy_provenance_by_field",
            )
            .await
            .unwrap();
        let options = WriteOptions { materialization_id: Some("run".into()), ..WriteOptions::default() };
        let writes = vec![("video/raw", raws(60..63).await), ("video/transcript", transcript)];
        assert_eq!(store.write_all(writes, &options).await.unwrap().len(), 2);
        assert_eq!(compare(&project, "write_all")["video/raw"], before + 4);

        // Collected, some of them twice.
        let writer = store.buffered(BufferOptions { rows: 3, ..BufferOptions::default() });
        for numbers in [70..72, 71..74, 74..75, 70..71] {
            for batch in raws(numbers).await.collect().await.unwrap() {
                writer.put("video/raw", batch).await.unwrap();
            }
        }
        writer.close().await.unwrap();
        assert_eq!(compare(&project, "a buffered writer")["video/raw"], before + 9);
        // For Python there is as much to do as for us, and what it does is done.
        assert!(project.compare_increments(&["video/crop", "video/chunk", "video/subtitle"]).await > 0);
        project.python("update", &[]);
        compare(&project, "an update of Python");
        assert_eq!(project.csv("SELECT count(*) AS n FROM resolve_update('video/crop')"), "n\n0\n");
    });
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn both_read_the_same_after_copies_into_a_store_that_has_rows() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        let file = project.path().join("metaxy.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        let store = &config[config.find("[stores.dev]").unwrap()..];
        let other = store.replace("stores.dev", "stores.copy").replace("./store", "./copy");
        let with_copy = format!("{config}\n{other}");
        let use_copy = with_copy.replace("store = \"dev\"", "store = \"copy\"");
        assert_ne!(with_copy, use_copy);
        let original = compare(&project, "the first writes");

        // In the other store Python has written videos of its own, one of them under an id that is here as well.
        std::fs::write(&file, &use_copy).unwrap();
        metaxy(project.path(), &["push"]);
        project.python("write-one-raw", &["1", "elsewhere"]);
        project.python("write-one-raw", &["77", "elsewhere"]);
        let copy = "CALL copy.system.copy(from_store => 'dev')";
        sql(&project, &[copy]);
        let counts = compare(&project, "a copy");
        assert_eq!(counts["video/raw"], original["video/raw"] + 1);
        assert_eq!(counts["video/label"], original["video/label"]);
        // The row that is later than what was copied counts, wherever it was written.
        project.compare_increments(&["video/crop", "video/chunk", "video/subtitle"]).await;

        // More happens here and there, and is copied as well; nothing twice.
        std::fs::write(&file, &with_copy).unwrap();
        sql(&project, &["DELETE FROM video__raw WHERE video_id = 'v05'"]);
        project.python("touch", &[]);
        compare(&project, "a touch of Python");
        std::fs::write(&file, &use_copy).unwrap();
        sql(&project, &["DELETE FROM video__crop WHERE video_id = 'v03'"]);
        sql(&project, &[copy]);
        compare(&project, "another copy");
        assert!(!is_live(&project, "v05"));
        let rows = sql(&project, &[copy]);
        assert!(rows.lines().skip(1).all(|line| line.ends_with(",0")), "{rows}");
        compare(&project, "a copy of nothing");
        project.python("update", &[]);
        compare(&project, "an update of Python");
    });
}
