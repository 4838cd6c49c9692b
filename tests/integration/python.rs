//! The real Python package and we share stores: what one writes, the other finds done, in both directions.
//!
//! Ignored by default: `METAXY_TEST_PYTHON` names an interpreter that has `tests/python/requirements.txt`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_metaxy::config::{Config, Environment};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{self, Cli, Project, multiset, query, repository, run};

/// Features with parents, parents first, and the columns on which their increments are compared.
const CHILDREN: [(&str, &[&str]); 6] = [
    ("video/crop", &["video_id"]),
    ("video/chunk", &["video_id"]),
    ("video/label", &["video_id", "chunk_no"]),
    ("video/summary", &["video_id"]),
    ("video/subtitle", &["video_id"]),
    ("video/public", &["video_id"]),
];

/// All of them, without their keys.
const ALL: [&str; 6] =
    ["video/crop", "video/chunk", "video/label", "video/summary", "video/subtitle", "video/public"];

pub fn start_python(args: &[&str]) -> Output {
    let python = std::env::var("METAXY_TEST_PYTHON").expect("METAXY_TEST_PYTHON names a Python with metaxy");
    let mut command = Command::new(python);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METAXY_")) {
        command.env_remove(name);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").args(args).output().unwrap()
}

pub fn python(args: &[&str]) -> String {
    let output = start_python(args);
    assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The project of `tests/python`, in a folder of its own.
pub struct RoundTrip {
    folder: TempDir,
}

impl RoundTrip {
    pub fn create() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        project.python("create", &[]);
        project
    }

    /// The same over a schema of its own in PostgreSQL.
    #[cfg(feature = "postgres")]
    pub async fn create_in_postgres() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        // Python doesn't quote the name.
        let folder = project.path().file_name().unwrap().display().to_string();
        let schema = format!("python{}", folder.replace('.', "_").to_lowercase());
        let url = support::postgres();
        let created = format!("CREATE SCHEMA \"{schema}\"");
        crate::postgres::server().await.batch_execute(&created).await.unwrap();
        let config =
            std::fs::read_to_string(repository("tests/python/round_trip_project/metaxy.toml")).unwrap();
        let (top, _) = config.split_once("[stores.dev]").unwrap();
        let config = format!(
            "auto_create_tables = true\n{top}[stores.dev]\n\
             type = \"metaxy.ext.postgresql.PostgreSQLMetadataStore\"\n\n[stores.dev.config]\n\
             connection_string = \"{url}?schema={schema}\"\nhash_algorithm = \"xxhash64\"\n"
        );
        std::fs::write(project.path().join("metaxy.toml"), config).unwrap();
        project.python("create", &[]);
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn script(&self) -> String {
        repository("tests/python/round_trip.py").display().to_string()
    }

    pub fn python(&self, command: &str, args: &[&str]) -> String {
        python(&[&[self.script().as_str(), command, self.path().to_str().unwrap()], args].concat())
    }

    /// What Python finds left to do: feature, then new, stale or orphaned, then how many.
    fn left_in_python(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let output = start_python(&[&self.script(), "check-up-to-date", self.path().to_str().unwrap()]);
        let left: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let total: u64 = left.values().flat_map(BTreeMap::values).sum();
        assert_eq!(output.status.success(), total == 0, "{left:?}");
        assert_eq!(left.len(), CHILDREN.len());
        left
    }

    /// Does all that is new or stale with the program, and says how much of it Python has found as well.
    pub async fn write_with_program(&self) -> usize {
        let script = std::fs::read_to_string(repository("tests/python/round_trip.sql")).unwrap();
        let statements: Vec<&str> = script.split(';').filter(|text| !text.trim().is_empty()).collect();
        assert_eq!(statements.len(), CHILDREN.len());
        let mut total = 0;
        for ((feature, _), statement) in CHILDREN.iter().zip(statements) {
            assert!(statement.contains(&format!("resolve_update('{feature}')")), "{statement}");
            // A child's increment is there when its parents are written.
            total += self.compare_increments(&[feature]).await;
            Cli::new(self.path()).args(["-q"]).run_with_input(statement).ok();
        }
        total
    }

    pub fn csv(&self, sql: &str) -> String {
        Cli::new(self.path()).args(["--format", "csv"]).sql(&[sql]).run().ok()
    }

    /// Our increment of a feature.
    fn ours(&self, feature: &str, keys: &[&str]) -> Vec<Value> {
        let columns = [&["metaxy_increment"], keys, &["metaxy_provenance"]].concat().join(", ");
        let sql = format!("SELECT {columns} FROM resolve_update('{feature}')");
        let lines = Cli::new(self.path()).args(["--format", "nd-json"]).sql(&[&sql]).run().ok();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Fails unless both find the same work, feature by feature; says how much that is.
    pub async fn compare_increments(&self, features: &[&str]) -> usize {
        let mut total = 0;
        for (feature, keys) in CHILDREN.iter().filter(|(feature, _)| features.contains(feature)) {
            let ours = self.ours(feature, keys);
            let file = self.path().join("increment.parquet");
            self.python("resolve", &[feature, file.to_str().unwrap()]);
            let context = SessionContext::new();
            let frame =
                context.read_parquet(file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
            let theirs = support::rows(frame).await.unwrap();
            total += theirs.len();
            assert_eq!(multiset(ours), multiset(theirs), "increment of {feature}");
        }
        total
    }

    /// Fails unless both read the same rows.
    fn compare_rows(&self) {
        for (feature, _) in CHILDREN {
            let theirs: Vec<Value> = self
                .python("read", &[feature])
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert!(!theirs.is_empty(), "{feature}");
            let columns: Vec<&String> = theirs[0].as_object().unwrap().keys().collect();
            let sql = format!(
                "SELECT {} FROM \"{feature}\"",
                columns.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
            );
            let lines = Cli::new(self.path()).args(["--format", "nd-json"]).sql(&[&sql]).run().ok();
            let ours = lines.lines().map(|line| serde_json::from_str(line).unwrap());
            assert_eq!(multiset(ours), multiset(theirs), "rows of {feature}");
        }
    }

    /// After we have written: nothing is left for Python but orphans, which it deletes; then nothing at all.
    fn python_has_only_orphans_left(&self) {
        let left = self.left_in_python();
        for (feature, counts) in &left {
            assert_eq!((counts["new"], counts["stale"]), (0, 0), "{feature}: {left:?}");
        }
        assert!(left.values().any(|counts| counts["orphaned"] > 0), "the scenario has orphans: {left:?}");
        self.python("update", &[]);
        assert_eq!(self.left_in_python().values().flat_map(BTreeMap::values).sum::<u64>(), 0);
    }

    fn we_have_nothing_left(&self) {
        for (feature, _) in CHILDREN {
            let out = self.csv(&format!("SELECT count(*) AS n FROM resolve_update('{feature}')"));
            assert_eq!(out, "n\n0\n", "{feature}");
        }
    }
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn python_finds_our_work_done() {
    run(async { ours_then_python(&RoundTrip::create()).await });
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn we_find_the_work_of_python_done() {
    run(async { python_then_ours(&RoundTrip::create()).await });
}

#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs METAXY_TEST_PYTHON and METAXY_TEST_POSTGRES: .ci/run sets them"]
fn python_finds_our_work_done_in_postgres() {
    run(async { ours_then_python(&RoundTrip::create_in_postgres().await).await });
}

#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs METAXY_TEST_PYTHON and METAXY_TEST_POSTGRES: .ci/run sets them"]
fn we_find_the_work_of_python_done_in_postgres() {
    run(async { python_then_ours(&RoundTrip::create_in_postgres().await).await });
}

async fn ours_then_python(project: &RoundTrip) {
    for round in ["create", "touch"] {
        if round == "touch" {
            project.python("touch", &[]);
        }
        assert!(project.write_with_program().await > 0, "{round}");
        project.compare_increments(&ALL).await;
        project.compare_rows();
        project.python_has_only_orphans_left();
        project.we_have_nothing_left();
        project.compare_rows();
    }
}

async fn python_then_ours(project: &RoundTrip) {
    for round in ["create", "touch"] {
        if round == "touch" {
            project.python("touch", &[]);
        }
        // At first there are no chunks, on which the two that are left out depend.
        let first: &[&str] = &["video/crop", "video/chunk", "video/subtitle", "video/public"];
        let features = if round == "touch" { &ALL[..] } else { first };
        assert!(project.compare_increments(features).await > 0, "{round}");
        project.python("update", &[]);
        project.we_have_nothing_left();
        project.compare_rows();
    }
}

/// Soft and hard deletes, what revives a sample, a copy and a rebase: both read the same rows after each.
#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn both_read_the_same_after_deletes_and_copies() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        let sql = |statement: &str| Cli::new(project.path()).sql(&[statement]).run().ok();
        sql("DELETE FROM video__label WHERE chunk_no > 7");
        project.compare_rows();
        project.compare_increments(&ALL).await;
        sql("DELETE FROM history.video__crop WHERE video_id IN (SELECT min(video_id) FROM video__crop)");
        sql("DELETE FROM video__raw WHERE video_id = (SELECT max(video_id) FROM video__raw)");
        project.compare_rows();
        project.compare_increments(&ALL).await;
        // What was deleted is computed again.
        assert!(project.write_with_program().await > 0);
        project.compare_rows();
        project.compare_increments(&ALL).await;

        // Everything in another store, which then is the one that both use.
        let file = project.path().join("metaxy.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        let store = &config[config.find("[stores.dev]").unwrap()..];
        let other = store.replace("stores.dev", "stores.copy").replace("./store", "./copy");
        let with_copy = format!("{config}\n{other}");
        std::fs::write(&file, &with_copy).unwrap();
        sql("CALL copy.system.copy(from_store => 'dev')");
        std::fs::write(&file, with_copy.replace("store = \"dev\"", "store = \"copy\"")).unwrap();
        // Definitions are not copied: they are pushed.
        crate::python_system::metaxy(project.path(), &["push"]);
        project.compare_rows();
        project.compare_increments(&ALL).await;
        let version = project.csv("SELECT DISTINCT metaxy_feature_version FROM video__crop");
        let version = version.lines().last().unwrap();
        // Every sample is there already.
        let rebased = sql(&format!("CALL rebase('video/crop', from_version => '{version}')"));
        assert!(rebased.contains("| video/crop | 0    |"), "{rebased}");
        sql("DELETE FROM history.video__crop");
        project.compare_increments(&["video/crop"]).await;
    });
}

/// Files merged, old rows folded, files of earlier versions gone: both find the same, before and after.
#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn python_reads_what_we_have_optimized() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        project.python("touch", &[]);
        project.compare_increments(&ALL).await;
        let sql = |statement: &str| Cli::new(project.path()).sql(&[statement]).run().ok();
        for work in [
            "CALL optimize()",
            "CALL optimize(full => true, fold_older_than => '0')",
            "CALL vacuum(retain => '0', allow_short_retention => true)",
        ] {
            sql(work);
            project.compare_rows();
            assert!(project.compare_increments(&ALL).await > 0, "{work}");
        }
        project.python("update", &[]);
        project.we_have_nothing_left();
        sql("CALL optimize(fold_older_than => '0')");
        project.compare_rows();
        project.we_have_nothing_left();
        assert_eq!(project.left_in_python().values().flat_map(BTreeMap::values).sum::<u64>(), 0);
    });
}

/// Both write the same samples over and over; the latest row is the same for both.
#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn writes_of_both_follow_each_other() {
    run(async {
        let project = RoundTrip::create();
        project.write_with_program().await;
        project.python("touch", &[]);
        // Our write comes after Python's, and the other way round.
        let insert = "INSERT INTO video__raw SELECT 'v01' AS video_id, '/ours' AS path, 1 AS size, \
                      named_struct('audio', 'ours', 'frames', 'ours') AS metaxy_provenance_by_field";
        Cli::new(project.path()).sql(&[insert]).run().ok();
        assert_eq!(project.csv("SELECT path FROM video__raw WHERE video_id = 'v01'"), "path\n/ours\n");
        project.compare_increments(&ALL).await;
        project.python("touch", &[]);
        assert_eq!(
            project.csv("SELECT path FROM video__raw WHERE video_id = 'v01'"),
            "path\n/videos/1.mp4\n"
        );
        project.compare_increments(&ALL).await;
    });
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn tables_that_we_make_open_in_python() {
    run(async {
        let project = Project::new("[[feature]]\nkey = \"video/raw\"\nid_columns = [\"video_id\"]\n");
        let session = project.session().await;
        let insert = |id: &str, columns: &str| {
            format!(
                "INSERT INTO video__raw SELECT '{id}' AS video_id, {columns} named_struct('default', 'v') AS metaxy_provenance_by_field"
            )
        };
        query(&session, &insert("v1", "")).await;
        query(&session, &insert("v2", "1.5 AS score, make_array('a', 'b') AS tags,")).await;
        // From here on with another protocol.
        query(&session, &insert("v3", "CAST('2024-05-01T10:11:12' AS TIMESTAMP) AS shot_at,")).await;
        query(&session, &insert("v4", "2.5 AS score,")).await;
        let code = "import json, polars, sys\n\
                    rows = polars.read_delta(sys.argv[1]).sort('video_id')\n\
                    print(json.dumps(rows.select('video_id', 'score', 'tags', polars.col('shot_at').cast(str), \
                    polars.col('metaxy_provenance_by_field').struct.field('default')).to_dicts()))";
        let printed = python(&["-c", code, project.table("video/raw").to_str().unwrap()]);
        let row = |id: &str, score: Value, tags: Value, shot_at: Value| json!({"video_id": id, "score": score, "tags": tags, "shot_at": shot_at, "default": "v"});
        let expected = json!([
            row("v1", Value::Null, Value::Null, Value::Null),
            row("v2", json!(1.5), json!(["a", "b"]), Value::Null),
            row("v3", Value::Null, Value::Null, json!("2024-05-01 10:11:12.000000")),
            row("v4", json!(2.5), Value::Null, Value::Null),
        ]);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected);
    });
}

/// The TOML examples of a page that stand behind this mark.
fn marked_examples(page: &str, mark: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository(page)).unwrap();
    let behind = text.split(mark).skip(1);
    behind
        .map(|rest| {
            let code = rest.trim_start().strip_prefix("```toml\n").expect("an example follows the mark");
            code.split_once("```").unwrap().0.to_owned()
        })
        .collect()
}

#[test]
#[ignore = "needs METAXY_TEST_PYTHON: .ci/run sets it"]
fn documented_configurations_load_in_python() {
    let examples = marked_examples("docs/configuration.md", "<!-- opens in Python too -->");
    assert!(!examples.is_empty());
    for example in examples {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("metaxy.toml");
        std::fs::write(&file, &example).unwrap();
        let code = "import json, sys\n\
                    from metaxy import MetaxyConfig\n\
                    config = MetaxyConfig.load(sys.argv[1])\n\
                    print(json.dumps({'store': config.store, 'project': config.project, 'stores': sorted(config.stores), \
                    'length': config.hash_truncation_length}))";
        let theirs: Value = serde_json::from_str(&python(&["-c", code, file.to_str().unwrap()])).unwrap();
        let ours = Config::load(Some(&file), folder.path(), &Environment::default()).unwrap();
        let mut stores: Vec<&String> = ours.stores.keys().collect();
        stores.sort();
        let ours = json!({
            "store": ours.store,
            "project": ours.project,
            "stores": stores,
            "length": ours.hash_truncation_length,
        });
        assert_eq!(ours, theirs, "{example}");
    }
}
