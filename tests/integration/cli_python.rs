//! The Python package's spellings of subcommands and options.

use std::path::Path;

use serde_json::Value;

use crate::cli_project::photos;
use crate::support::{Cli, Ran};

fn run(folder: &Path, args: &[&str]) -> Ran {
    Cli::new(folder).args(args).run()
}

#[test]
fn projects_stand_before_the_subcommand() {
    let folder = photos();
    for args in [
        &["--project", "photos", "metadata", "status", "-f", "csv"][..],
        &["--all-projects", "list", "features", "-f", "csv"],
        &["--project=photos", "graph", "render", "--format", "csv"],
        &["--project", "photos", "history", "-f", "csv"],
        &["--project", "photos", "config", "print", "-f", "csv"],
        &["--project", "photos", "push", "-q"],
    ] {
        run(folder.path(), args).ok();
    }
    let error = run(folder.path(), &["--project", "other", "push"]).failed();
    assert!(error.contains("project other has no features here"), "{error}");
    let ran = run(folder.path(), &["--project", "other", "history"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "Nothing was pushed to this store yet.\n"));
}

#[test]
fn features_and_their_project() {
    let folder = photos();
    for args in [&["photo", "--project", "photos"][..], &["photo", "--all-projects"]] {
        run(folder.path(), &[&["status"], args].concat()).ok();
    }
    let error = run(folder.path(), &["status", "photo", "--project", "other"]).failed();
    assert_eq!(error, "feature photo is of project photos, not of other");
    let ran = run(folder.path(), &["describe", "features"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("name the features"), "{ran:#?}");
}

#[test]
fn configurations_as_toml() {
    let folder = photos();
    let text = run(folder.path(), &["config", "print", "-f", "toml"]).ok();
    let read: toml::Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read["project"].as_str(), Some("photos"));
    assert_eq!(read["stores"]["dev"]["config"]["root_path"].as_str(), Some("store"));
    assert!(text.contains("  # default\n"), "{text}");
}

#[test]
fn pictures() {
    let folder = photos();
    let rendered = run(
        folder.path(),
        &[
            "graph",
            "render",
            "--format",
            "mermaid",
            "--title",
            "All photos",
            "--show-project-version",
            "--no-show-code-versions",
            "--no-show-projects",
            "--no-show-field-versions",
            "--show-fields",
            "-t",
            "graph",
        ],
    )
    .ok();
    assert!(rendered.contains("accTitle: All photos\n"), "{rendered}");
    run(folder.path(), &["graph", "render", "--no-show-project-version"]).ok();
    let args = ["graph-diff", "render", "latest", "current", "--show-changed-fields-only", "--format", "csv"];
    assert!(run(folder.path(), &args).ok().contains("photo/size"));
}

#[test]
fn tags_as_an_object() {
    let folder = photos();
    run(folder.path(), &["push", "--tags", r#"{"git": "abc", "run": 7}"#, "-q"]).ok();
    let ran = run(folder.path(), &["history", "--format", "json"]).ok();
    let rows: Vec<Value> = serde_json::from_str(&ran).unwrap();
    let tags = rows.last().unwrap()["tags"].as_str().unwrap();
    assert!(tags.contains(r#""git": "abc""#) && tags.contains(r#""run": "7""#), "{tags}");
    let wrong = run(folder.path(), &["push", "--tags", "{git}"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("NAME=VALUE"), "{wrong:#?}");
    let again = run(folder.path(), &["push", "--tag", "git=def"]);
    assert!(again.code == Some(0) && again.stderr.contains("no tag"), "{again:#?}");
}
