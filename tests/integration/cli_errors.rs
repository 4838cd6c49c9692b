//! Mistakes at the program: exit code 1, one line that names the culprit, and nothing written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::support::{Cli, Project, Ran, files_below};

const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]

[[feature]]
key = "video/crop"
id_columns = ["video_id"]
deps = ["video/raw"]
"#;

const INSERT: &str = "INSERT INTO video__raw SELECT 'v1' AS video_id, named_struct('default', 'a') AS metaxy_provenance_by_field";

/// Runs something that fails, and looks that its message has these parts and that no file has changed.
fn fails(folder: &Path, parts: &[&str], run: impl FnOnce() -> Ran) {
    let before = files_below(folder);
    let ran = run();
    let message = ran.failed();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert_eq!(files_below(folder), before, "{message}");
}

fn sql_fails(project: &Project, sql: &str, parts: &[&str]) {
    fails(project.path(), parts, || project.cli().sql(&[sql]).run());
}

#[test]
fn wrong_configuration() {
    for (text, parts) in [
        ("store = \"dev", ["line 1", "TOML"]),
        ("store = \"dev\"\nstroe = \"x\"", ["stroe", "line 2"]),
        ("store = 3", ["store", "text"]),
        ("[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_pth = \"x\"", ["root_pth", "line 4"]),
        ("[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_path = 1", ["root_path", "line 4"]),
        ("[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nlayout = \"round\"", ["layout", "round"]),
        ("[stores.dev]\ntype = \"delta\"", ["stores.dev.config.root_path", "missing"]),
        ("hash_truncation_length = 7", ["hash_truncation_length", "8"]),
        ("hash_truncation_length = \"long\"", ["hash_truncation_length", "number"]),
        ("project = \"a__b\"\n[stores.dev]\ntype = \"memory\"", ["project", "a__b"]),
        ("[ext.datafusion]\nengin = \"native\"", ["engin", "line 2"]),
        (
            "[ext.datafusion]\nfeatures = [\"nowhere.toml\"]\n[stores.dev]\ntype = \"memory\"",
            ["features", "nowhere.toml"],
        ),
        (
            "[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_path = \"x\"\nhash_algorithm = \"crc32\"",
            ["hash_algorithm", "crc32"],
        ),
        (
            "[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_path = \"ftp://host/x\"",
            ["dev", "ftp://"],
        ),
        ("extend = \"nowhere.toml\"", ["nowhere.toml", "metaxy.toml"]),
    ] {
        let project = Project::new(FEATURES);
        project.write("metaxy.toml", text);
        sql_fails(&project, "SELECT 1", &parts);
        let other = tempfile::tempdir().unwrap();
        let file = project.path().join("metaxy.toml");
        fails(other.path(), &parts, || {
            Cli::new(other.path()).args(["--config", file.to_str().unwrap()]).sql(&["SELECT 1"]).run()
        });
    }
}

#[test]
fn missing_files() {
    let project = Project::new(FEATURES);
    fails(project.path(), &["nope.sql"], || project.cli().args(["-q", "-f", "nope.sql"]).run());
    // All files are there before anything runs.
    let args = ["-q", "-c", INSERT, "-f", "nope.sql"];
    fails(project.path(), &["nope.sql"], || project.cli().args(args).run());
    fails(project.path(), &["nope.toml"], || {
        project.cli().args(["--config", "nope.toml"]).sql(&["SELECT 1"]).run()
    });
}

#[test]
fn unknown_stores() {
    let project = Project::new(FEATURES);
    for (args, sql) in [
        (&["--store", "prod"][..], "SELECT 1"),
        (&[], "USE STORE prod"),
        (&[], "SELECT * FROM resolve_update('video/crop', store => 'prod')"),
        (&[], "SELECT * FROM prod.features.video__raw"),
        (&[], "INSERT INTO prod.features.video__raw SELECT 'v1' AS video_id"),
    ] {
        fails(project.path(), &["prod", "dev"], || project.cli().args(args).sql(&[sql]).run());
    }
}

/// A store whose type only Python knows is an error when it is used, which says so.
#[test]
fn a_store_of_another_type() {
    let project = Project::new(FEATURES);
    let config = fs::read_to_string(project.path().join("metaxy.toml")).unwrap();
    project.write(
        "metaxy.toml",
        &format!("{config}\n[stores.db]\ntype = \"metaxy.ext.duckdb.DuckDBMetadataStore\"\n"),
    );
    project.cli().sql(&["SELECT * FROM system.features"]).run().ok();
    for sql in [
        "USE STORE db",
        "SELECT * FROM resolve_update('video/crop', store => 'db')",
        "SELECT * FROM db.features.video__raw",
        "INSERT INTO db.features.video__raw SELECT 'v1' AS video_id",
    ] {
        sql_fails(&project, sql, &["db", "metaxy.ext.duckdb.DuckDBMetadataStore", "not supported"]);
    }
}

#[test]
fn unknown_features() {
    let project = Project::new(FEATURES);
    for sql in [
        "SELECT * FROM video__rw",
        "SELECT * FROM \"video/rw\"",
        "SELECT * FROM history.video__rw",
        "SELECT * FROM dev.features.video__rw",
        "SELECT * FROM resolve_update('video/rw')",
        "INSERT INTO video__rw SELECT 1 AS video_id",
    ] {
        let name = if sql.contains('/') { "video/rw" } else { "video__rw" };
        sql_fails(&project, sql, &["unknown feature", name, "video/raw"]);
    }
}

#[test]
fn features_without_data() {
    let project = Project::new(FEATURES);
    for sql in
        ["SELECT * FROM video__raw", "SELECT * FROM history.video__raw", "SELECT count(*) FROM \"video/raw\""]
    {
        sql_fails(&project, sql, &["video/raw", "no data", "dev"]);
    }
    sql_fails(
        &project,
        "SELECT * FROM resolve_update('video/crop')",
        &["video/raw", "video/crop", "no data"],
    );
}

#[test]
fn wrong_calls_of_resolve_update() {
    let project = Project::new(FEATURES);
    project.cli().sql(&[INSERT]).run().ok();
    for (call, parts) in [
        ("resolve_update('video/raw')", &["video/raw", "root", "metaxy_provenance_by_field"][..]),
        ("resolve_update('video/raw', (SELECT 'v1' AS video_id))", &["metaxy_provenance_by_field"]),
        (
            "resolve_update('video/raw', (SELECT 'v1' AS id, named_struct('default', 'a') AS metaxy_provenance_by_field))",
            &["video_id"],
        ),
        ("resolve_update('video/raw', nowhere)", &["nowhere"]),
        ("resolve_update('video/raw', 'nowhere.parquet')", &["nowhere.parquet"]),
        ("resolve_update('video/crop', engine => 'x')", &["engine", "x", "native"]),
        ("resolve_update('video/crop', engin => 'native')", &["engin", "engine"]),
        ("resolve_update('video/crop', filters => MAP {'video/nope': true})", &["video/nope", "video/raw"]),
        ("resolve_update('video/crop', filters => MAP {'video/raw': nope > 1})", &["nope"]),
        ("resolve_update()", &["feature"]),
        ("resolve_update(1)", &["feature", "string"]),
    ] {
        sql_fails(&project, &format!("SELECT * FROM {call}"), parts);
    }
    sql_fails(&project, "SELECT nope FROM resolve_update('video/crop')", &["nope"]);
    sql_fails(&project, "SELECT * FROM files('nowhere')", &["nowhere", "no file or folder"]);
}

#[test]
fn feature_files_with_mistakes() {
    for (text, parts) in [
        (
            "[[feature]]\nkey = \"a\"\nid_column = [\"x\"]",
            &["extra.toml", "line 3", "id_column", "id_columns"][..],
        ),
        ("[[feature]]\nkey = \"a", &["extra.toml", "line 2"]),
        ("[[feature]]\nkey = \"a\"", &["extra.toml", "feature a", "id_columns"]),
        ("[[feature]]\nkey = \"A\"\nid_columns = [\"x\"]", &["extra.toml", "line 2", "A"]),
        ("[[feture]]\nkey = \"a\"\nid_columns = [\"x\"]", &["extra.toml", "feture"]),
        ("[[feature]]\nkey = \"video/raw\"\nid_columns = [\"x\"]", &["video/raw", "extra.toml"]),
        (
            "[[feature]]\nkey = \"a\"\nid_columns = [\"x\"]\ndeps = [\"b\"]\n\
             [[feature]]\nkey = \"b\"\nid_columns = [\"x\"]\ndeps = [\"c\"]\n\
             [[feature]]\nkey = \"c\"\nid_columns = [\"x\"]\ndeps = [\"a\"]",
            &["a -> b -> c -> a"],
        ),
        ("[[feature]]\nkey = \"a\"\nid_columns = [\"x\"]\ndeps = [\"a\"]", &["a -> a"]),
        (
            "[[feature]]\nkey = \"a-b\"\nid_columns = [\"x\"]\n[[feature]]\nkey = \"a_b\"\nid_columns = [\"x\"]",
            &["a-b", "a_b"],
        ),
        (
            "[[feature]]\nkey = \"a\"\nid_columns = [\"x\"]\ndeps = [\"video/raw\", \"video/raw\"]",
            &["feature a", "video/raw"],
        ),
    ] {
        let project = Project::new(FEATURES);
        project.write("features-extra.toml", text);
        sql_fails(&project, "SELECT 1", parts);
    }
}

#[test]
fn rows_that_are_refused() {
    let project = Project::new(FEATURES);
    let provenance = "named_struct('default', 'a') AS metaxy_provenance_by_field";
    for (select, parts) in [
        (format!("SELECT 'v1' AS id, {provenance}"), &["video/raw", "video_id", "missing"][..]),
        ("SELECT 'v1' AS video_id".to_owned(), &["metaxy_provenance_by_field", "missing"]),
        (
            "SELECT 'v1' AS video_id, 'a' AS metaxy_provenance_by_field".to_owned(),
            &["metaxy_provenance_by_field", "struct"],
        ),
        (
            "SELECT 'v1' AS video_id, named_struct('other', 'a') AS metaxy_provenance_by_field".to_owned(),
            &["other", "default"],
        ),
        (format!("SELECT arrow_cast(NULL, 'Utf8') AS video_id, {provenance}"), &["NULL", "video_id"]),
        (
            format!(
                "SELECT 'v1' AS video_id, {provenance} UNION ALL SELECT 'v1', named_struct('default', 'b')"
            ),
            &["video_id=v1"],
        ),
        (
            "SELECT 'v1' AS video_id, named_struct('default', 'a|b') AS metaxy_provenance_by_field"
                .to_owned(),
            &["|", "v1"],
        ),
        (
            "SELECT 'v1' AS video_id, named_struct('default', '') AS metaxy_provenance_by_field".to_owned(),
            &["empty", "v1"],
        ),
        (format!("SELECT 'v1' AS video_id, 1 AS metaxy_mine, {provenance}"), &["metaxy_mine"]),
        (format!("SELECT 'v1' AS video_id, NULL AS note, {provenance}"), &["note", "NULL"]),
        (
            format!("SELECT 'v1' AS video_id, 'orphaned' AS metaxy_increment, {provenance}"),
            &["orphaned", "WHERE metaxy_increment IN ('new', 'stale')"],
        ),
    ] {
        sql_fails(&project, &format!("INSERT INTO video__raw {select}"), parts);
    }
    project.cli().sql(&[INSERT]).run().ok();
    let wrong_type = format!("INSERT INTO video__raw SELECT 5 AS video_id, {provenance}");
    sql_fails(&project, &wrong_type, &["video_id", "bigint", "string"]);
}

#[test]
fn statements_that_are_refused() {
    let project = Project::new(FEATURES);
    project.cli().sql(&[INSERT]).run().ok();
    for (sql, parts) in [
        ("SELEC 1", &["syntax error", "SELEC"][..]),
        ("SELECT 1 SELECT 2", &["syntax error"]),
        ("SELECT 'open", &["syntax error"]),
        ("SET metaxy.engine = 'x'", &["metaxy.engine", "x", "native"]),
        ("SET metaxy.strict_versions = 'x'", &["metaxy.strict_versions"]),
        ("SET metaxy.nope = 'x'", &["metaxy.nope", "metaxy.engine"]),
        ("RESET metaxy.nope", &["metaxy.nope"]),
        ("INSERT INTO history.video__raw SELECT 1", &["history", "read-only"]),
        ("INSERT INTO system.features SELECT 1", &["system"]),
        ("INSERT OVERWRITE video__raw SELECT 1 AS video_id", &["OVERWRITE"]),
        ("UPDATE video__raw SET video_id = 'x'", &["video/raw"]),
        ("TRUNCATE TABLE video__raw", &["video/raw", "history.video__raw"]),
        ("DELETE FROM video__nope", &["video__nope"]),
        ("DELETE FROM video__raw WHERE nope = 1", &["nope"]),
        ("DROP TABLE video__raw", &["video__raw", "feature"]),
        ("CREATE TABLE video__raw AS SELECT 1", &["video__raw"]),
        ("CREATE VIEW video__crop AS SELECT 1", &["video__crop"]),
        ("\\nope", &["\\nope"]),
    ] {
        sql_fails(&project, sql, parts);
    }
    let rows =
        project.cli().args(["--format", "csv"]).sql(&["SELECT video_id FROM history.video__raw"]).run().ok();
    assert_eq!(rows, "video_id\nv1\n");
}

#[test]
fn corrupt_logs() {
    let project = Project::new(FEATURES);
    project.cli().sql(&[INSERT]).run().ok();
    let commit = project.table("video/raw").join("_delta_log/00000000000000000000.json");
    let saved = fs::read(&commit).unwrap();
    for text in ["garbage", "{\"metaData\":{", ""] {
        fs::write(&commit, text).unwrap();
        for sql in ["SELECT * FROM video__raw", INSERT, "SELECT * FROM resolve_update('video/crop')"] {
            sql_fails(&project, sql, &["dev", "video/raw"]);
        }
        // The rest of the session works.
        project.cli().sql(&["SELECT * FROM system.features"]).run().ok();
    }
    fs::write(&commit, &saved).unwrap();
    // A data file that is gone.
    let data =
        files_below(&project.table("video/raw")).into_iter().find(|file| file.ends_with(".parquet")).unwrap();
    fs::remove_file(project.table("video/raw").join(&data)).unwrap();
    sql_fails(&project, "SELECT * FROM video__raw", &[&data]);
}

#[test]
fn a_root_below_a_file() {
    let project = Project::new(FEATURES);
    project.write("file", "not a folder");
    let root = project.path().join("file/store");
    for sql in ["SELECT * FROM video__raw", INSERT] {
        fails(project.path(), &["dev", "file/store"], || {
            project
                .cli()
                .env("METAXY_STORES__DEV__CONFIG__ROOT_PATH", root.to_str().unwrap())
                .sql(&[sql])
                .run()
        });
    }
}

/// The program without the right of root to write everywhere.
fn unprivileged(project: &Project) -> Cli {
    if fs::metadata(project.path()).unwrap().uid() == 0 {
        // Part of util-linux, as every Linux has it.
        let starter = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
        Cli::through(&starter, project.path())
    } else {
        project.cli()
    }
}

fn set_mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn no_permission_to_create_the_store() {
    let project = Project::new(FEATURES);
    set_mode(project.path(), 0o555);
    fails(project.path(), &["dev", "ermission denied"], || unprivileged(&project).sql(&[INSERT]).run());
    set_mode(project.path(), 0o755);
    unprivileged(&project).sql(&[INSERT]).run().ok();
}

#[test]
fn no_permission_on_a_table() {
    let project = Project::new(FEATURES);
    project.cli().sql(&[INSERT]).run().ok();
    let table = project.table("video/raw");
    set_mode(&table, 0o555);
    fails(project.path(), &["dev", "video/raw", "ermission denied"], || {
        unprivileged(&project).sql(&[INSERT]).run()
    });
    set_mode(&table, 0o755);
    // The data can be staged, the commit can't be made.
    set_mode(&table.join("_delta_log"), 0o555);
    fails(project.path(), &["dev", "video/raw", "ermission denied"], || {
        unprivileged(&project).sql(&[INSERT]).run()
    });
    set_mode(&table.join("_delta_log"), 0o000);
    let ran = unprivileged(&project).sql(&["SELECT * FROM video__raw"]).run();
    set_mode(&table.join("_delta_log"), 0o755);
    let message = ran.failed();
    assert!(message.contains("ermission denied"), "{message}");
    unprivileged(&project).sql(&["SELECT * FROM video__raw"]).run().ok();
}
