//! Subcommands that read, and those that push, delete, copy, rebase and lock: what they print, do and refuse.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cli_project::{csv, photos};
use crate::support::{Cli, Ran, files_below};

fn run(folder: &Path, args: &[&str]) -> Ran {
    Cli::new(folder).args(args).run()
}

fn rows(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

/// An error in the arguments: exit code 2, one message, nothing on the standard output.
fn usage(folder: &Path, args: &[&str]) -> String {
    let ran = run(folder, args);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:#?}");
    assert!(ran.stderr.starts_with("error: ") && !ran.stderr.contains("panicked"), "{args:?}: {ran:#?}");
    ran.stderr
}

#[test]
fn sql_is_a_subcommand_and_the_default() {
    let folder = photos();
    let statement = ["-q", "--format", "csv", "-c", "SELECT count(*) AS n FROM photo"];
    assert_eq!(run(folder.path(), &statement).ok(), "n\n3\n");
    assert_eq!(run(folder.path(), &[&["sql"], &statement[..]].concat()).ok(), "n\n3\n");
    let piped =
        Cli::new(folder.path()).args(["sql", "-q", "--format", "tsv"]).run_with_input("SELECT 1 AS n");
    assert_eq!(piped.ok(), "n\n1\n");
    for wrong in
        [&["-c", "SELECT 1", "push"][..], &["-f", "listing.sql", "list", "features"], &["--color", "push"]]
    {
        assert!(usage(folder.path(), wrong).contains("can't stand before the subcommand"), "{wrong:?}");
    }
    assert!(usage(folder.path(), &["--format", "tsv", "status"]).contains("table, json, csv"));
    assert!(usage(folder.path(), &["pusch"]).contains("'push'"));
}

#[test]
fn push_records_and_prints_the_version() {
    let folder = photos();
    let first = run(folder.path(), &["push", "--tag", "git=abc", "-t", "by=ada=lovelace"]);
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), "Recorded project photos in store dev.\n"));
    let version = first.stdout.trim_end();
    let sql = "SELECT project_version FROM system.project_versions WHERE is_current";
    assert_eq!(csv(folder.path(), sql), format!("project_version\n{version}\n"));
    let tags = csv(folder.path(), "SELECT tags FROM system.project_versions WHERE is_current");
    assert!(tags.contains("\"\"git\"\": \"\"abc\"\"") && tags.contains("ada=lovelace"), "{tags}");

    let again = run(folder.path(), &["push", "-q"]);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), (first.stdout.as_str(), ""));
    let again = rows(&run(folder.path(), &["push", "--format", "json"]));
    let expected = json!([{
        "project": "photos", "project_version": version, "already_pushed": true, "updated_features": []
    }]);
    assert_eq!(json!(again), expected);
    // To another store, in the Python package's words.
    let other = run(folder.path(), &["push", "--store", "prod", "--tags.git", "def"]);
    assert_eq!((other.code, other.stdout.trim_end()), (Some(0), version));
    let tags = csv(folder.path(), "SELECT tags FROM prod.system.project_versions");
    assert!(tags.contains("def"), "{tags}");
    for wrong in [&["push", "--tag", "git"][..], &["push", "--tag", "=x"]] {
        assert!(usage(folder.path(), wrong).contains("NAME=VALUE"));
    }
    let reserved = run(folder.path(), &["push", "--tag", "metaxy=1"]).failed();
    assert!(reserved.contains("metaxy"), "{reserved}");
}

#[test]
fn lists() {
    let folder = photos();
    let features = rows(&run(folder.path(), &["list", "features", "--format", "json"]));
    let keys: Vec<&str> = features.iter().map(|row| row["feature"].as_str().unwrap()).collect();
    assert_eq!(keys, ["photo", "photo/face", "photo/size"]);
    assert_eq!((&features[1]["project"], &features[1]["parents"]), (&json!("photos"), &json!("photo")));
    let known = "SELECT feature, feature_version FROM system.features ORDER BY 1";
    let versions: String = features.iter().fold("feature,feature_version\n".to_owned(), |text, row| {
        text + &format!("{},{}\n", row["feature"].as_str().unwrap(), row["version"].as_str().unwrap())
    });
    assert_eq!(csv(folder.path(), known), versions);
    let verbose = rows(&run(folder.path(), &["list", "feature", "-v", "--format=json"]));
    assert_eq!(
        (&verbose[1]["id_columns"], &verbose[1]["fields"], &verbose[1]["description"]),
        (&json!("path"), &json!("faces"), &json!("Faces that are found in a photo"))
    );
    let stores = run(folder.path(), &["list", "stores", "-f", "csv"]).ok();
    let expected =
        "store,type,location,fallback_stores,is_default\ndev,delta,store,,true\nprod,delta,prod,,false\n";
    assert_eq!(stores, expected);
    let stores = run(folder.path(), &["--store", "prod", "list", "store", "--format", "plain"]).ok();
    assert!(stores.contains("| prod  | delta | prod     |                 | true       |"), "{stores}");
    usage(folder.path(), &["list"]);
    usage(folder.path(), &["list", "tables"]);
}

#[test]
fn descriptions() {
    let folder = photos();
    let face = &rows(&run(folder.path(), &["describe", "photo/face", "--format", "json"]))[0];
    assert_eq!(face["fields"][0]["field"], "faces");
    assert_eq!(face["fields"][0]["code_version"], "1");
    assert_eq!(face["fields"][0]["depends_on"], json!(["photo.default"]));
    assert_eq!(face["parents"][0]["feature"], "photo");
    assert_eq!(face["columns"][1]["column"], "faces");
    let text = run(folder.path(), &["describe", "photo", "photo/face"]).ok();
    for line in
        ["photo\n", "\n  children:    photo/face, photo/size\n", "\n\nphoto/face\n", "  parents:     photo\n"]
    {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let all = run(folder.path(), &["describe", "--all-features", "--format", "csv"]).ok();
    assert_eq!(all.lines().count(), 4, "{all}");
    assert_eq!(
        run(folder.path(), &["describe", "features", "photo"]).ok(),
        run(folder.path(), &["describe", "photo"]).ok()
    );
    let error = run(folder.path(), &["describe", "photos"]).failed();
    assert_eq!(error, "unknown feature photos; did you mean photo?");
    usage(folder.path(), &["describe"]);
}

#[test]
fn a_soft_delete_and_its_dry_run() {
    let folder = photos();
    let delete =
        |more: &[&str]| run(folder.path(), &[&["delete", "photo", "--format", "csv"], more].concat());
    let live = || csv(folder.path(), "SELECT path FROM photo ORDER BY path");
    let before = files_below(folder.path());
    let ran = delete(&["--where", "path LIKE '%.jpg'", "--where", "path > 'a.jpg'", "--dry-run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "feature,rows\nphoto,1\n"));
    assert_eq!(ran.stderr, "This was a dry run: nothing was deleted.\n");
    assert_eq!(files_below(folder.path()), before);
    assert_eq!(delete(&["--where", "path LIKE '%.tmp'", "-q"]).ok(), "feature,rows\nphoto,1\n");
    assert_eq!(live(), "path\na.jpg\nb.jpg\n");
    assert_eq!(delete(&["--where", "path LIKE '%.tmp'", "-q"]).ok(), "feature,rows\nphoto,0\n");
    for more in [&["--soft"][..], &["--hard", "--yes"], &["--with-feature-history"]] {
        let ran = delete(&[&["--where", "path = 'nothing'"], more].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "feature,rows\nphoto,0\n"));
        assert_eq!(ran.stderr, "No rows met the condition: nothing was deleted.\n");
    }
    // A view of a file, and a subquery.
    fs::write(folder.path().join("gone.sql"), "CREATE VIEW gone AS SELECT 'b.jpg' AS path").unwrap();
    let gone = ["--prepare", "gone.sql", "--where", "path IN (SELECT path FROM gone)", "-q"];
    assert_eq!(delete(&gone).ok(), "feature,rows\nphoto,1\n");
    assert_eq!(live(), "path\na.jpg\n");
    assert_eq!(csv(folder.path(), "SELECT count(*) AS n FROM history.photo"), "n\n5\n");
}

#[test]
fn a_condition_is_one_expression() {
    let folder = photos();
    for hostile in [
        "1=1; DROP TABLE photo",
        "1=1; DELETE FROM photo__face",
        "1=1) OR (1=1",
        "1=1 /* ",
        "",
        "; DELETE FROM photo",
        "1=1 UNION SELECT 1",
        "path = 'a.jpg' AS x",
        "nope = 1",
        "path",
    ] {
        for more in [&["--yes"][..], &["--hard", "--yes"], &["--dry-run"], &["--with-feature-history"]] {
            let args = [&["delete", "photo", "photo/face", "--where", hostile], more].concat();
            let ran = run(folder.path(), &args);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{hostile}: {ran:#?}");
            ran.failed();
        }
    }
    let left = "SELECT (SELECT count(*) FROM history.photo) + (SELECT count(*) FROM photo__face) AS n";
    assert_eq!(csv(folder.path(), left), "n\n5\n");
    // What stands behind a comment can't get into the statement.
    let ran = run(
        folder.path(),
        &["delete", "photo", "--where", "path = 'a.jpg' -- or not", "--format", "csv", "-q"],
    );
    assert_eq!(ran.ok(), "feature,rows\nphoto,1\n");
    // Conditions mean what they say, one by one.
    for (conditions, rows) in [
        (&["--where", "1 = - -1"][..], 2),
        (&["--where", "path = 'c.tmp' OR path = 'b.jpg' -- both", "--where", "path < 'c' /* one */"], 1),
    ] {
        let args = [&["delete", "photo", "--dry-run", "--format", "csv", "-q"], conditions].concat();
        assert_eq!(run(folder.path(), &args).ok(), format!("feature,rows\nphoto,{rows}\n"));
    }
}

#[test]
fn conditions_of_a_copy_ask_no_tables() {
    let folder = photos();
    let copy = |condition| {
        let args = ["copy", "photo", "--from", "dev", "--to", "prod", "--dry-run", "-q", "--format", "csv"];
        run(folder.path(), &[&args[..], &["--where", condition]].concat())
    };
    assert_eq!(copy("path IN (SELECT 'a.jpg')").ok(), "feature,rows\nphoto,1\n");
    let error = copy("path IN (SELECT path FROM photo__face)").failed();
    assert!(error.contains("can't be used: its subquery can't ask for tables"), "{error}");
}

#[test]
fn a_column_that_is_not_there_is_told_without_all_that_are() {
    let folder = photos();
    let all = ["delete", "photo", "--yes"];
    for more in [&["--dry-run"][..], &[], &["--hard"], &["--with-feature-history"]] {
        let error =
            |condition| run(folder.path(), &[&all[..], more, &["--where", condition]].concat()).failed();
        assert_eq!(error("nope = 1"), r#"condition "nope = 1" can't be used: No field named nope"#);
        let near = error("metaxy_provenanc = '1'");
        assert!(near.contains("Did you mean") && near.ends_with("'?"), "{near}");
    }
}

#[test]
fn a_hard_delete_wants_to_be_confirmed() {
    let folder = photos();
    let all = || csv(folder.path(), "SELECT count(*) AS n FROM history.photo");
    let hard = ["delete", "photo", "--hard", "--where", "path = 'a.jpg'"];
    assert!(usage(folder.path(), &hard).contains("--hard needs --yes"));
    assert!(usage(folder.path(), &["delete", "photo"]).contains("without --where needs --yes"));
    assert!(usage(folder.path(), &["delete", "--where", "true"]).contains("--all-features"));
    assert_eq!(all(), "n\n3\n");
    assert!(
        run(folder.path(), &[&hard[..], &["--dry-run", "-q"]].concat()).ok().contains("| photo   | 1    |")
    );
    assert_eq!(all(), "n\n3\n");
    let ran = run(folder.path(), &[&hard[..], &["--yes"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "Rows were removed for good.\n"));
    assert_eq!(all(), "n\n2\n");
    // All rows of two features.
    let ran =
        run(folder.path(), &["metadata", "delete", "photo/face", "photo", "--hard", "-y", "-q", "-f", "csv"]);
    assert_eq!(ran.ok(), "feature,rows\nphoto,2\nphoto/face,2\n");
    assert_eq!(all(), "n\n0\n");
}

#[test]
fn at_a_terminal_a_hard_delete_asks() {
    let folder = photos();
    let answer = |answer: &str| {
        let program = env!("CARGO_BIN_EXE_metaxy-cli");
        let mut process = Command::new("script")
            .args([
                "-qefc",
                &format!("'{program}' delete photo --hard --where \"path='a.jpg'\""),
                "/dev/null",
            ])
            .current_dir(folder.path())
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux starts");
        use std::io::Write;
        process.stdin.as_mut().unwrap().write_all(format!("{answer}\n").as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let all = || csv(folder.path(), "SELECT count(*) AS n FROM history.photo");
    for no in ["n", "", "yse"] {
        let (code, screen) = answer(no);
        assert_eq!(code, Some(1), "{screen}");
        assert!(
            screen.contains("Delete 1 row(s) of photo for good? [y/N]")
                && screen.contains("Nothing was deleted"),
            "{screen}"
        );
    }
    assert_eq!(all(), "n\n3\n");
    let (code, screen) = answer("y");
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(all(), "n\n2\n");
}

#[test]
fn old_versions_are_deleted_when_that_is_said() {
    let folder = photos();
    let history = || {
        csv(
            folder.path(),
            "SELECT count(*) AS n, count(metaxy_deleted_at) AS deleted FROM history.photo__size",
        )
    };
    let delete = |more: &[&str]| {
        run(
            folder.path(),
            &[&["delete", "photo/size", "--where", "path = 'a.jpg'", "-q", "--format", "csv"], more].concat(),
        )
        .ok()
    };
    assert_eq!(history(), "n,deleted\n3,0\n");
    // All rows are of another version of the definition.
    assert_eq!(delete(&[]), "feature,rows\nphoto/size,0\n");
    assert_eq!(delete(&["--hard", "--yes"]), "feature,rows\nphoto/size,0\n");
    assert_eq!(delete(&["--with-feature-history", "--dry-run"]), "feature,rows\nphoto/size,1\n");
    assert_eq!(delete(&["--with-feature-history"]), "feature,rows\nphoto/size,1\n");
    assert_eq!(history(), "n,deleted\n4,1\n");
    assert_eq!(delete(&["--with-feature-history", "--hard", "--yes"]), "feature,rows\nphoto/size,2\n");
    assert_eq!(history(), "n,deleted\n2,0\n");
}

#[test]
fn features_of_other_projects_stay_as_they_are() {
    let folder = photos();
    let mine = fs::read_to_string(folder.path().join("metaxy.toml")).unwrap();
    let features = fs::read_to_string(folder.path().join("features.toml")).unwrap();
    fs::write(folder.path().join("features.toml"), format!("project = \"photos\"\n{features}")).unwrap();
    fs::write(folder.path().join("metaxy.toml"), mine.replace("project = \"photos\"", "project = \"other\""))
        .unwrap();
    let error = run(folder.path(), &["delete", "photo", "--where", "true"]).failed();
    assert!(error.contains("Cannot write to feature photo from project 'photos'"), "{error}");
    let error = run(folder.path(), &["copy", "photo", "--from", "dev", "--to", "prod"]).failed();
    assert!(error.contains("Cannot write to feature photo"), "{error}");
    let ran = run(folder.path(), &["list", "features"]);
    assert!(ran.stderr.contains("project other has no features") && ran.code == Some(0), "{ran:#?}");
    assert_eq!(csv(folder.path(), "SELECT count(*) AS n FROM photo"), "n\n3\n");
}

#[test]
fn copies() {
    let folder = photos();
    let copy = |more: &[&str]| run(folder.path(), &[&["copy", "--format", "csv"], more].concat());
    Cli::new(folder.path()).sql(&["DELETE FROM photo WHERE path = 'c.tmp'"]).run().ok();
    let first =
        copy(&["photo", "photo/face", "--from", "dev", "--to", "prod", "--where", "path <> 'a.jpg'"]).ok();
    assert_eq!(first, "feature,rows\nphoto/face,1\nphoto,3\n");
    let rest = copy(&["--all-features", "--from", "dev", "--to", "prod"]).ok();
    assert_eq!(rest, "feature,rows\nphoto/size,3\nphoto/face,1\nphoto,1\n");
    assert_eq!(copy(&["photo", "--from", "dev", "--store", "prod"]).ok(), "feature,rows\nphoto,0\n");
    let both =
        "SELECT count(*) AS n FROM (SELECT * FROM dev.history.photo EXCEPT SELECT * FROM prod.history.photo)";
    assert_eq!(csv(folder.path(), both), "n\n0\n");
    // The latest rows at the current version: none of photo/size.
    let aliases = ["--no-with-feature-history", "--no-with-sample-history"];
    let again = run(
        folder.path(),
        &[&["metadata", "copy", "photo/size", "--from", "prod", "--to", "dev", "-f", "csv"], &aliases[..]]
            .concat(),
    );
    assert_eq!(again.ok(), "feature,rows\nphoto/size,0\n");

    assert!(usage(folder.path(), &["copy", "photo", "--from", "dev"]).contains("both store dev"));
    assert!(usage(folder.path(), &["copy", "--from", "prod"]).contains("--all-features"));
    usage(folder.path(), &["copy", "photo"]);
    let error = copy(&["photo", "--from", "prd", "--to", "dev"]).failed();
    assert!(error.contains("unknown store") && error.contains("prod"), "{error}");
    let error =
        copy(&["photo", "--from", "dev", "--to", "prod", "--where", "1=1; DROP TABLE photo"]).failed();
    assert!(error.starts_with("condition "), "{error}");
}

#[test]
fn rebases() {
    let folder = photos();
    let version = csv(folder.path(), "SELECT DISTINCT metaxy_feature_version FROM history.photo__size");
    let version = version.lines().nth(1).unwrap();
    let rebase = |more: &[&str]| {
        run(folder.path(), &[&["rebase", "photo/size", "--format", "csv", "--from", version], more].concat())
    };
    let ran = rebase(&["--dry-run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "feature,rows\nphoto/size,3\n"));
    assert_eq!(ran.stderr, "This was a dry run: nothing was written.\n");
    assert_eq!(csv(folder.path(), "SELECT count(*) AS n FROM history.photo__size"), "n\n3\n");
    assert_eq!(rebase(&[]).ok(), "feature,rows\nphoto/size,3\n");
    assert_eq!(run(folder.path(), &["status", "photo/size", "--assert-in-sync", "-q"]).code, Some(0));
    let error = run(folder.path(), &["metadata", "rebase", "photo/size", "--from", "it's'); DROP"]).failed();
    assert!(error.contains("no live rows of feature photo/size at version it's'); DROP"), "{error}");
    usage(folder.path(), &["rebase", "photo/size"]);
}

#[test]
fn histories() {
    let folder = photos();
    Cli::new(folder.path()).args(["delete", "photo", "--where", "path = 'c.tmp'", "-q"]).run().ok();
    let photo = rows(&run(folder.path(), &["history", "photo", "--format", "json"]));
    let told: Vec<(&str, &Value)> =
        photo.iter().map(|row| (row["event"].as_str().unwrap(), &row["rows"])).collect();
    assert_eq!(
        told,
        [("push_completed", &Value::Null), ("rows_written", &json!(3)), ("rows_deleted", &json!(1))]
    );
    let times: Vec<&str> = photo.iter().map(|row| row["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times[0].starts_with("20"), "{times:?}");
    let last = run(folder.path(), &["history", "photo", "--limit", "1", "--format", "csv"]).ok();
    assert!(last.lines().count() == 2 && last.contains("rows_deleted"), "{last}");
    // What is recorded about a feature.
    Cli::new(folder.path())
        .args(["delete", "photo", "--hard", "--where", "path = 'c.tmp'", "-y", "-q"])
        .run()
        .ok();
    let ran = run(folder.path(), &["history", "photo"]).ok();
    assert!(ran.contains("hard_delete_completed") && ran.contains("rows_affected"), "{ran}");

    let pushes = rows(&run(folder.path(), &["history", "--format", "json"]));
    assert_eq!(
        (pushes.len(), &pushes[0]["features"], &pushes[0]["is_current"]),
        (1, &json!(3), &json!(true))
    );
    let ran = run(folder.path(), &["history", "--store", "prod"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "Nothing was pushed to this store yet.\n"));
    let error = run(folder.path(), &["history", "photo/fac"]).failed();
    assert!(error.contains("did you mean photo/face?"), "{error}");
}

#[test]
fn configurations_without_secrets() {
    let folder = photos();
    let secret = "hunter2-not-to-be-seen";
    let config = fs::read_to_string(folder.path().join("metaxy.toml")).unwrap();
    let db = format!(
        "[stores.db]\ntype = \"x.y.Z\"\n[stores.db.config]\nconnection_string = \"postgres://ada:{secret}@host/x\"\n"
    );
    let s3 = format!(
        "[stores.s3]\ntype = \"delta\"\n[stores.s3.config]\nroot_path = \"s3://ada:{secret}@bucket/x?sig={secret}\"\n"
    );
    // In places where no URL belongs.
    let url = format!("postgresql://ada:{secret}@host/x");
    let odd = format!("[stores.odd]\ntype = \"{url}\"\n");
    fs::write(folder.path().join("metaxy.toml"), format!("{config}{db}{s3}{odd}")).unwrap();
    for args in [
        &["list", "stores"][..],
        &["list", "features", "--store", "s3"],
        &["list", "features", "--store", url.as_str()],
        &["status", "--store", "odd"],
        &["status", "--store", "s3"],
        &["push", "--store", "db"],
        &["copy", "--all-features", "--from", "s3", "--to", "dev"],
        &["delete", "photo", "--where", "true", "--store", "s3"],
        &["history", "--store", "db"],
    ] {
        let ran = run(folder.path(), args);
        assert!(!ran.stderr.contains(secret) && !ran.stdout.contains(secret), "{ran:#?}");
        assert!(ran.code == Some(if args == ["list", "stores"] { 0 } else { 1 }), "{ran:#?}");
    }
    for format in ["table", "json", "csv"] {
        let ran = Cli::new(folder.path())
            .args(["config", "--store", "prod", "--format", format])
            .env("METAXY_STORES__DEV__CONFIG__STORAGE_OPTIONS__TOKEN", secret)
            .env("METAXY_HASH_TRUNCATION_LENGTH", "12")
            .env("METAXY_EXT__DATAFUSION__ALLOW_CROSS_PROJECT_WRITES", "true")
            .run();
        assert!(!ran.stderr.contains(secret) && !ran.stdout.contains(secret), "{ran:#?}");
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        if format == "json" {
            let found = rows(&ran);
            let setting = |key: &str| {
                let row =
                    found.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}: {found:#?}"));
                (row["value"].clone(), row["origin"].as_str().unwrap().to_owned())
            };
            assert_eq!(setting("store"), (json!("prod"), "--store".to_owned()));
            assert_eq!(
                setting("hash_truncation_length"),
                (json!(12), "METAXY_HASH_TRUNCATION_LENGTH".to_owned())
            );
            // Flags are flags, not texts.
            assert_eq!(setting("ext.datafusion.strict_versions").0, json!(true));
            assert_eq!(setting("ext.datafusion.allow_cross_project_writes").0, json!(true));
            assert_eq!(setting("ext.datafusion.prefer_native").0, json!(null));
            assert_eq!(setting("stores.db.config.connection_string").0, "***");
            assert_eq!(
                setting("stores.dev.config.hash_algorithm"),
                (json!("xxhash32"), "default".to_owned())
            );
            let (root, origin) = setting("stores.dev.config.root_path");
            assert!(root == "store" && origin.ends_with("metaxy.toml:9"), "{origin}");
        }
    }
    assert_eq!(
        run(folder.path(), &["config", "print", "-f", "csv"]).stdout,
        run(folder.path(), &["config", "--format", "csv"]).stdout
    );
    let error = run(folder.path(), &["config", "--store", "prud"]).failed();
    assert!(error.contains("did you mean \"prod\"?"), "{error}");
}

#[test]
fn results_without_rows_are_valid_in_every_format() {
    let folder = photos();
    let printed = |format: &str, sql: &str| run(folder.path(), &["-q", "--format", format, "-c", sql]).ok();
    let none = "SELECT path, 1 AS n, metaxy_provenance_by_field FROM photo WHERE path = 'nothing'";
    assert_eq!(printed("json", none), "[]\n");
    assert_eq!(printed("csv", none), "path,n,metaxy_provenance_by_field\n");
    assert_eq!(printed("tsv", none), "path\tn\tmetaxy_provenance_by_field\n");
    assert_eq!(printed("nd-json", none), "");
    assert!(printed("table", none).contains("| path | n | metaxy_provenance_by_field |"));
    // A statement that has no result prints none.
    for format in ["json", "csv", "tsv", "table"] {
        assert_eq!(printed(format, "CREATE VIEW v AS SELECT 1 AS x"), "", "{format}");
    }
}

#[test]
fn wrong_arguments_are_told_before_missing_data() {
    let folder = photos();
    fs::write(
        folder.path().join("features-more.toml"),
        "[[feature]]\nkey = \"root\"\nid_columns = [\"id\"]\n[[feature]]\nkey = \"child\"\nid_columns = [\"id\"]\ndeps = [\"root\"]\n",
    )
    .unwrap();
    for (arguments, problem) in [
        ("'child', foo => 1", "unknown argument foo"),
        ("'child', shard => '9/8'", "9/8"),
        ("'child', engine => 'steam'", "steam"),
        ("'child', explain => 'perhaps'", "explain must be true or false"),
    ] {
        let sql = format!("SELECT * FROM resolve_update({arguments})");
        let error = Cli::new(folder.path()).sql(&[&sql]).run().failed();
        assert!(error.contains(problem) && !error.contains("no data"), "{sql}: {error}");
    }
    let error = Cli::new(folder.path()).sql(&["SELECT * FROM resolve_update('child')"]).run().failed();
    assert!(error.contains("feature root has no data in store dev"), "{error}");
}

#[test]
fn lock_files() {
    let folder = photos();
    let ran = run(folder.path(), &["lock", "--format", "json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "[]\n"), "{ran:#?}");
    let people = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(folder.path().join("metaxy.toml")).unwrap();
    let store = folder.path().join("store");
    let config = config
        .replace("project = \"photos\"", "project = \"people\"")
        .replace("\"store\"", &format!("{store:?}"));
    fs::write(people.path().join("metaxy.toml"), config).unwrap();
    fs::write(
        people.path().join("features.toml"),
        "[[feature]]\nkey = \"person\"\nid_columns = [\"name\"]\n",
    )
    .unwrap();
    run(people.path(), &["push", "-q"]).ok();
    let owner = "[[feature]]\nkey = \"photo/owner\"\nid_columns = [\"name\"]\ndeps = [\"person\"]\n";
    fs::write(folder.path().join("features-more.toml"), owner).unwrap();
    let changes = rows(&run(folder.path(), &["lock", "-o", "it's.lock", "--format", "json"]));
    assert_eq!((&changes[0]["feature"], &changes[0]["change"]), (&json!("person"), &json!("added")));
    assert!(folder.path().join("it's.lock").is_file());
}

#[test]
fn completions_and_manual_pages_know_every_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    let commands = crate::cli_help::subcommands();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(folder.path(), &["completions", shell]).ok();
        for command in &commands {
            assert!(script.contains(command.as_str()), "{command} is not in the completions of {shell}");
        }
    }
    let page = run(folder.path(), &["man"]).ok();
    assert!(page.contains(".TH metaxy-cli 1"), "{page}");
    let pages = folder.path().join("pages");
    fs::write(folder.path().join("taken"), "").unwrap();
    assert!(run(folder.path(), &["man", "--output", "taken"]).failed().contains("taken"));
    // The folder is made, and may be there.
    assert_eq!(run(folder.path(), &["man", "-q", "--output", "pages"]).ok(), "");
    assert_eq!(run(folder.path(), &["man", "-q", "--output", "pages"]).ok(), "");
    for command in &commands {
        let text = fs::read_to_string(pages.join(format!("metaxy-cli-{command}.1"))).unwrap();
        assert!(text.contains("\n.SH EXAMPLES\n"), "{command}");
        assert!(page.contains(&format!("metaxy\\-cli\\-{command}(1)")), "{command} is not in\n{page}");
    }
    usage(folder.path(), &["completions", "tcsh"]);
}
