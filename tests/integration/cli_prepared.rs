//! Features that a file of `--prepare` defines, definitions as scripts, versions by `latest` and their beginnings, and
//! errors that concern one feature only.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cli_project::{csv, photos};
use crate::support::{Cli, Ran};

fn run(folder: &Path, args: &[&str]) -> Ran {
    Cli::new(folder).args(args).run()
}

fn rows(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

#[test]
fn features_that_are_defined_by_sql_count() {
    let folder = photos();
    // The statement as the program itself writes it.
    let define = run(folder.path(), &["describe", "photo/face", "--format", "sql"]).ok();
    assert!(define.starts_with("CREATE FEATURE") && define.ends_with(";\n"), "{define}");
    fs::write(folder.path().join("define.sql"), define.replace("photo/face", "photo/blur")).unwrap();
    let prepared = |args: &[&str]| run(folder.path(), &[args, &["--prepare", "define.sql"]].concat());
    let status = prepared(&["status", "photo/blur", "--format", "json"]);
    assert_eq!((status.code, &rows(&status)[0]["status"]), (Some(0), &"missing".into()));
    assert!(prepared(&["graph"]).ok().contains("photo/blur"));
    assert!(prepared(&["diff", "--format", "csv"]).ok().contains("\nphoto/blur,photos,added,"));
    let error = prepared(&["delete", "photo/blur", "--where", "true"]).failed();
    assert!(error.contains("photo/blur has no data"), "{error}");
    prepared(&["push", "-q"]).ok();
    assert!(run(folder.path(), &["list", "features"]).ok().contains("photo/blur"));
    let ran = run(folder.path(), &["-f", "define.sql", "push"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("push --prepare FILE"), "{ran:#?}");
}

#[test]
fn a_diff_of_features_that_only_sql_defines_says_what_a_push_does() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let config =
        "project = \"p\"\nstore = \"dev\"\n[stores.dev]\ntype = \"delta\"\nconfig.root_path = \"st\"\n";
    write("metaxy.toml", config);
    write("ab.sql", "CREATE FEATURE a (f) ID COLUMNS (id); CREATE FEATURE b ID COLUMNS (id) FROM a;");
    run(folder.path(), &["push", "-q", "--prepare", "ab.sql"]).ok();
    let rows_of = [
        "INSERT INTO a SELECT 1 AS id, named_struct('f', '1') AS metaxy_provenance_by_field",
        "INSERT INTO b SELECT * FROM resolve_update('b')",
    ];
    Cli::new(folder.path()).sql(&rows_of).run().ok();
    write("a.sql", "CREATE FEATURE a (f CODE VERSION '2') ID COLUMNS (id);");
    let diff = run(folder.path(), &["diff", "--prepare", "a.sql", "--format", "json"]);
    let found: Vec<String> = rows(&diff)
        .iter()
        .map(|row| format!("{} {} {}", row["feature"], row["change"], row["samples"]))
        .collect();
    // `b` stays in the project, and is computed again, too.
    assert_eq!(found, [r#""a" "changed" 1"#, r#""b" "inherited" 1"#]);
    let text = run(folder.path(), &["diff", "--prepare", "a.sql"]).ok();
    let pushed = run(folder.path(), &["push", "-q", "--prepare", "a.sql"]).ok();
    let (title, _) = text.split_once('\n').unwrap();
    assert!(title.ends_with(&format!(" → current {}", pushed.trim())), "{title}, pushed {pushed}");
    let none = run(folder.path(), &["diff", "--prepare", "a.sql", "--exit-code"]);
    assert!(none.code == Some(0) && none.stdout.contains("2 features, no changes"), "{none:#?}");
}

#[test]
fn a_parent_that_is_taken_out_of_its_project_gives_its_children_no_other_version() {
    let folder = photos();
    run(folder.path(), &["push", "-q"]).ok();
    let features = fs::read_to_string(folder.path().join("features.toml")).unwrap();
    let photo = "[[feature]]\nkey = \"photo\"\nid_columns = [\"path\"]\n";
    assert!(features.contains(photo), "{features}");
    fs::write(folder.path().join("features.toml"), features.replace(photo, "")).unwrap();
    let changes = |args: &[&str]| {
        let found = rows(&run(folder.path(), &[&["diff", "--format", "json"], args].concat()));
        found.iter().map(|row| format!("{} {}", row["feature"], row["change"])).collect::<Vec<_>>()
    };
    assert_eq!(changes(&[]), [r#""photo" "removed""#]);
    run(folder.path(), &["push", "-q"]).ok();
    assert_eq!(changes(&[]), [""; 0]);
    // Its rows are still there, and so are those that are computed from them.
    fs::write(folder.path().join("features.toml"), features.replace(photo, "").replace("\"1\"", "\"3\""))
        .unwrap();
    let diff = rows(&run(folder.path(), &["diff", "--format", "json"]));
    assert_eq!((diff.len(), &diff[0]["feature"], &diff[0]["samples"]), (1, &"photo/face".into(), &2.into()));
}

#[test]
fn files_that_are_prepared_take_in_others() {
    let folder = photos();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let graph = |file: &str| run(folder.path(), &["graph", "--minimal", "--prepare", file]);
    write("define.sql", "CREATE FEATURE blur ID COLUMNS (path) FROM photo;\nSELECT 1 AS not_printed;\n");
    write("outer.sql", "-- What is there.\n\\i define.sql\n\\q\nnothing of this is run");
    let drawn = graph("outer.sql").ok();
    assert!(drawn.contains("blur") && !drawn.contains("not_printed"), "{drawn}");
    // Errors have the file and the line; a circle ends.
    write("wrong.sql", "SELECT 1;\n\nSELECT nope;\n");
    assert!(graph("wrong.sql").failed().starts_with("wrong.sql:3: "));
    write("outer.sql", "\\i wrong.sql\n");
    assert!(graph("outer.sql").failed().starts_with("outer.sql:1: wrong.sql:3: "));
    write("circle.sql", "\\i circle.sql\n");
    assert!(graph("circle.sql").failed().contains("files include each other more than 32 deep"));
    write("outer.sql", "SELECT 1;\n\\d\n");
    let error = graph("outer.sql").failed();
    assert!(error.starts_with("outer.sql:2: \\d is for files of -f; "), "{error}");
}

#[test]
fn definitions_are_printed_as_a_script() {
    let folder = photos();
    let script = run(folder.path(), &["describe", "--all-features", "--format", "sql"]).ok();
    assert_eq!(script.matches(";\n").count(), 3, "{script}");
    fs::write(folder.path().join("all.sql"), script).unwrap();
    let versions = "SELECT feature, feature_version FROM system.features ORDER BY 1";
    let expected = csv(folder.path(), versions);
    fs::write(folder.path().join("features.toml"), "").unwrap();
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let found =
        Cli::new(folder.path()).args(["--format", "csv", "-f", "all.sql"]).sql(&[versions]).run().ok();
    assert_eq!(found, expected);
}

#[test]
fn descriptions_of_no_features_have_a_header() {
    let described =
        |folder: &Path, format: &str| run(folder, &["describe", "-q", "--all-features", "--format", format]);
    let described = |folder: &Path, format: &str| {
        let ran = described(folder, format);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.stdout
    };
    let folder = photos();
    let some = described(folder.path(), "csv");
    let header = "feature,table_name,project,version,definition_version,defined_in,is_external,description,id_columns,\
                  fields,parents,children,columns,metadata";
    assert_eq!(some.lines().next(), Some(header));
    let json: Value = serde_json::from_str(&described(folder.path(), "json")).unwrap();
    assert_eq!(json[0].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(","), header);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(described(empty.path(), "csv"), format!("{header}\n"));
    assert_eq!(described(empty.path(), "json"), "[]\n");
}

#[test]
fn versions_that_come_back_are_the_latest() {
    let folder = photos();
    let features = fs::read_to_string(folder.path().join("features.toml")).unwrap();
    let first = features.replace("\"2\"", "\"1\"");
    run(folder.path(), &["push", "-q"]).ok();
    fs::write(folder.path().join("features.toml"), first).unwrap();
    run(folder.path(), &["push", "-q"]).ok();
    let found = rows(&run(folder.path(), &["history", "--format", "json"]));
    assert_eq!((found.len(), &found[1]["is_current"]), (2, &true.into()), "{found:#?}");
    let last = rows(&run(folder.path(), &["history", "--limit", "1", "--format", "json"]));
    assert_eq!(last, found[1..]);
    let none = run(folder.path(), &["history", "--limit", "0", "--format", "csv"]);
    assert_eq!((none.code, none.stderr.as_str()), (Some(0), ""));
    // Both by `latest` and by its beginning.
    let version = found[1]["project_version"].as_str().unwrap();
    let graph = |version: &str| run(folder.path(), &["graph", "--project-version", version]).ok();
    assert_eq!(graph("latest"), graph(version));
    assert_eq!(graph(&version[..4]), graph(version));
    assert_ne!(graph("latest"), graph(found[0]["project_version"].as_str().unwrap()));
}

#[test]
fn files_say_by_their_names_that_they_are_data() {
    let folder = photos();
    for (file, format) in [("g.json", "json"), ("g.csv", "csv")] {
        run(folder.path(), &["graph", "-q", "-o", file]).ok();
        let written = fs::read_to_string(folder.path().join(file)).unwrap();
        assert_eq!(written, run(folder.path(), &["graph", "--format", format]).ok());
    }
    // No file: the standard output.
    for args in [&["graph"][..], &["graph", "--format", "svg"], &["diff", "--format", "csv"]] {
        let printed = run(folder.path(), &[args, &["-o", "-"]].concat()).ok();
        assert_eq!(printed, run(folder.path(), args).ok());
    }
    assert!(!folder.path().join("-").exists());
}

#[test]
fn a_graph_with_a_feature_that_cannot_be_checked_fails() {
    let folder = photos();
    let log = folder.path().join("store/photo/face.delta/_delta_log/00000000000000000000.json");
    fs::write(log, "garbage").unwrap();
    let ran = run(folder.path(), &["graph", "--status"]);
    assert!(ran.stdout.contains("photo/size"), "{ran:#?}");
    assert!(ran.failed().starts_with("status of photo/face: "));
}

#[test]
fn samples_that_are_not_there_concern_one_feature() {
    let folder = photos();
    let ran = run(folder.path(), &["status", "--samples", "photo=nope", "--format", "json"]);
    let found = rows(&ran);
    assert_eq!((ran.code, found.len(), &found[0]["status"]), (Some(1), 3, &"error".into()));
    assert_eq!(found[1]["status"], "needs_update");
    assert!(ran.failed().starts_with("status of photo: "));
}

#[test]
fn a_feature_whose_parents_are_all_optional_is_missing() {
    let folder = photos();
    let more = "[[feature]]\nkey = \"note\"\nid_columns = [\"path\"]\n\n[[feature]]\nkey = \"note/text\"\nid_columns = [\"path\"]\n\
                deps = [{ feature = \"note\", optional = true }]\n";
    fs::write(folder.path().join("features-more.toml"), more).unwrap();
    let ran = run(folder.path(), &["status", "note/text", "--format", "json"]);
    let found = rows(&ran);
    assert_eq!((ran.code, &found[0]["status"]), (Some(0), &"missing".into()), "{ran:#?}");
    assert_eq!(found[0]["note"], "its parent note has no data");
    assert_eq!(run(folder.path(), &["status", "note/text", "--assert-in-sync"]).code, Some(1));
}

#[test]
fn a_store_beside_the_configuration_is_told() {
    let folder = photos();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let ran = run(&below, &["status"]);
    assert!(ran.stderr.contains("store dev: root_path \"store\" starts at the working folder"), "{ran:#?}");
    assert_eq!(run(folder.path(), &["status"]).stderr, "");
}

#[test]
fn a_data_file_that_is_gone_is_told_with_its_table() {
    let folder = photos();
    let table = folder.path().join("store/photo/face.delta");
    for file in fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|ending| ending == "parquet") {
            fs::remove_file(file).unwrap();
        }
    }
    let error = Cli::new(folder.path()).sql(&["SELECT * FROM photo__face"]).run().failed();
    assert!(error.contains("store/photo/face.delta: its data file part-"), "{error}");
}

#[test]
fn the_commands_of_the_prompt_are_of_this_program() {
    let folder = photos();
    let ran = Cli::new(folder.path()).args(["-q"]).run_with_input("\\?\n").ok();
    assert!(ran.contains("quit metaxy-cli") && !ran.contains("datafusion-cli"), "{ran}");
}

#[cfg(unix)]
#[test]
fn a_file_whose_name_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("images/old")).unwrap();
    let name = OsStr::from_bytes(b"caf\xe9.jpg");
    if fs::write(folder.path().join("images/old").join(name), "x").is_err() {
        // This file system takes text only.
        return;
    }
    for location in ["images", "images/**/*.jpg"] {
        let sql = format!("SELECT path FROM files('{location}')");
        let error = Cli::new(folder.path()).sql(&[&sql]).run().failed();
        assert!(error.contains(r"images/old/caf\xE9.jpg") && error.contains("rename it"), "{error}");
    }
    // A pattern leaves it out.
    assert_eq!(csv(folder.path(), "SELECT path FROM files('images/**/*.png')"), "path\n");
}
