//! `graph` and `diff`: the program draws what is in the store and what a push would change.

use std::fs;

use serde_json::Value;

use crate::support::{Cli, Project};

/// Three features; the code version of the frames, and what else is declared.
fn features(frames: u8, more: &str) -> String {
    format!(
        r#"
[[feature]]
key = "video"
id_columns = ["video_id"]
fields = [{{ key = "audio", code_version = "1" }}, {{ key = "frames", code_version = "{frames}" }}]

[[feature]]
key = "video/face"
id_columns = ["video_id"]
deps = ["video"]
fields = [{{ key = "faces", code_version = "1", deps = [{{ feature = "video", fields = ["frames"] }}] }}]

[[feature]]
key = "video/speech"
id_columns = ["video_id"]
deps = [{{ feature = "video", lineage = "N:1", optional = true }}]
fields = [{{ key = "text", deps = [{{ feature = "video", fields = ["audio"] }}] }}]
{more}"#
    )
}

const CAPTION: &str =
    "\n[[feature]]\nkey = \"video/caption\"\nid_columns = [\"video_id\"]\ndeps = [\"video/face\"]\n";

/// A project that was pushed: three videos, two of them with faces, and one of these was deleted again.
fn project() -> Project {
    let project = Project::new(&features(1, ""));
    let statements = [
        "CALL push()",
        "INSERT INTO video SELECT video_id, named_struct('audio', v, 'frames', v) AS metaxy_provenance_by_field \
         FROM (VALUES ('a', 'x'), ('b', 'x'), ('c', 'x')) AS t(video_id, v)",
        "INSERT INTO video__face SELECT * FROM resolve_update('video/face') WHERE video_id <> 'c'",
        "DELETE FROM video__face WHERE video_id = 'b'",
    ];
    Cli::new(project.path()).sql(&statements).run().ok();
    project
}

fn run(project: &Project, args: &[&str]) -> String {
    Cli::new(project.path()).args(args).run().ok()
}

#[test]
fn a_graph_in_every_format() {
    let project = project();
    let text = run(&project, &["graph"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("video ") && lines[0].ends_with("  audio 1, frames 1"), "{text}");
    assert!(lines[1].starts_with("├─ video/face ") && lines[1].ends_with("  faces 1"), "{text}");
    assert!(
        lines[2].starts_with("└─ video/speech (N:1, optional)  ") && lines[2].ends_with("  text"),
        "{text}"
    );
    assert_eq!(lines[3..], ["3 features", "N:1 many rows of the parent become one"]);
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    for (format, start) in [
        ("mermaid", "flowchart TD\n"),
        ("dot", "digraph features {\n"),
        ("svg", "<svg "),
        ("html", "<!DOCTYPE html>"),
    ] {
        let drawn = run(&project, &["graph", "--format", format]);
        assert!(drawn.starts_with(start), "{format}: {drawn}");
        assert!(drawn.contains("video/speech"), "{format}: {drawn}");
        assert_eq!(drawn, run(&project, &["--format", format, "graph"]), "before the subcommand");
        assert_eq!(drawn, run(&project, &["graph", "--as", format]));
    }
}

#[test]
fn a_graph_as_data() {
    let project = project();
    let rows: Value =
        serde_json::from_str(&run(&project, &["graph", "--format", "json", "--status"])).unwrap();
    let rows = rows.as_array().unwrap();
    let keys: Vec<&str> = rows.iter().map(|row| row["feature"].as_str().unwrap()).collect();
    assert_eq!(keys, ["video", "video/face", "video/speech"]);
    assert_eq!(rows[0]["stored"], 3);
    assert_eq!(rows[0]["new"], Value::Null);
    assert_eq!((&rows[1]["new"], &rows[1]["up_to_date"]), (&2.into(), &1.into()));
    assert_eq!(rows[1]["fields"][0]["from"][0], "video.frames");
    assert_eq!(rows[2]["parents"][0]["lineage"], "N:1");
    assert_eq!(rows[2]["parents"][0]["optional"], true);
    let csv = run(&project, &["graph", "-f", "csv"]);
    assert!(csv.starts_with("feature,project,version,fields,parents\nvideo,test,"), "{csv}");
}

#[test]
fn counts_in_the_picture() {
    let text = run(&project(), &["graph", "--status"]);
    assert!(text.contains("  3 samples  ") && text.contains("  2 new, 1 up to date  "), "{text}");
    assert!(text.contains("  3 new  "), "{text}");
}

#[test]
fn a_part_of_the_graph() {
    let project = Project::new(&features(1, CAPTION));
    let keys = |args: &[&str]| {
        let args: Vec<&str> = ["graph", "--format", "json"].iter().chain(args).copied().collect();
        let rows: Value = serde_json::from_str(&run(&project, &args)).unwrap();
        let keys = rows.as_array().unwrap().iter().map(|row| row["feature"].as_str().unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    assert_eq!(keys(&["--feature", "video/face"]), ["video", "video/face", "video/caption"]);
    assert_eq!(keys(&["--feature", "video__face", "--up", "0"]), ["video/face", "video/caption"]);
    assert_eq!(keys(&["--feature", "video", "--down", "1"]), ["video", "video/face", "video/speech"]);
    assert_eq!(
        keys(&["--feature", "video/caption", "--up", "1", "--down", "0"]),
        ["video/face", "video/caption"]
    );
    let error = Cli::new(project.path()).args(["graph", "--feature", "video/fase"]).run();
    assert_eq!(error.code, Some(1));
    assert_eq!(error.stderr, "Error: unknown feature video/fase; did you mean video/face?\n");
    assert_eq!(Cli::new(project.path()).args(["graph", "--up", "1"]).run().code, Some(2));
}

#[test]
fn more_and_less_detail() {
    let project = project();
    let minimal = run(&project, &["graph", "--minimal"]);
    assert_eq!(
        minimal.lines().take(3).collect::<Vec<_>>(),
        ["video", "├─ video/face", "└─ video/speech (N:1, optional)"]
    );
    let verbose = run(&project, &["graph", "--verbose"]);
    assert!(verbose.contains("· faces") && verbose.contains("from video.frames"), "{verbose}");
    let short = run(&project, &["graph", "--no-fields", "--hash-length", "3"]);
    let version = short.lines().next().unwrap().split_whitespace().nth(1).unwrap();
    assert_eq!(version.len(), 3, "{short}");
    let across = run(&project, &["graph", "--as", "dot", "--direction", "LR"]);
    assert!(across.contains("rankdir=LR"));
}

#[test]
fn into_a_file() {
    let project = project();
    let picture = |name: &str| fs::read_to_string(project.path().join(name));
    for (name, start) in [
        ("g.svg", "<svg "),
        ("g.HTML", "<!DOCTYPE"),
        ("g.mmd", "flowchart"),
        ("g.gv", "digraph"),
        ("g.txt", "video "),
    ] {
        let ran = Cli::new(project.path()).args(["graph", "-o", name]).run();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
        assert_eq!(ran.stderr, format!("Wrote {name}.\n"));
        assert!(picture(name).unwrap().starts_with(start), "{name}");
    }
    // Over the old one, quietly, and with a format of its own.
    assert_eq!(run(&project, &["-q", "graph", "-o", "g.svg", "--as", "mermaid"]), "");
    assert!(picture("g.svg").unwrap().starts_with("flowchart"));
    for (args, error) in [
        (["graph", "-o", "picture"], "Error: picture: its name does not say what to write"),
        (["graph", "-o", "no/such/folder/g.svg"], "Error: no/such/folder/g.svg: cannot be written: "),
    ] {
        let ran = Cli::new(project.path()).args(args).run();
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.starts_with(error) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
    let left =
        fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("tmp")).count(), 0);
}

#[test]
fn what_a_push_would_change() {
    let project = project();
    let unchanged = run(&project, &["diff", "--exit-code"]);
    let (title, rest) = unchanged.split_once('\n').unwrap();
    assert!(title.starts_with("Changes of test, latest ") && title.contains(" → current "), "{title}");
    assert!(rest.starts_with("3 features, no changes\n"), "{unchanged}");

    project.write("features.toml", &features(2, CAPTION));
    let text = run(&project, &["diff"]);
    let line =
        |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    let video = line("~ video ");
    assert!(video.contains("  3 samples to recompute  "), "{text}");
    assert!(video.ends_with("  field frames: code version 1 → 2"), "{text}");
    // One of the two faces is deleted.
    let face = line("^ └─ video/face ");
    assert!(face.contains("  1 sample to recompute  ") && face.ends_with("  through video"), "{text}");
    assert!(line("+    └─ video/caption ").ends_with("  default"), "{text}");
    assert!(
        text.contains("4 features, 1 added, 1 changed, 1 changed through parents, 4 samples to recompute\n")
    );
    assert!(text.contains("not shown: 1 unchanged feature\n"), "{text}");

    let code = Cli::new(project.path()).args(["diff", "--exit-code"]).run();
    assert_eq!((code.code, code.stdout), (Some(1), text));
    let rows: Value = serde_json::from_str(&run(&project, &["diff", "--format", "json"])).unwrap();
    let row = |place: usize| {
        let row = &rows[place];
        format!("{} {} {} {}", row["feature"], row["change"], row["samples"], row["why"])
    };
    assert_eq!(row(0), r#""video" "changed" 3 "field frames: code version 1 → 2""#);
    assert_eq!(row(1), r#""video/face" "inherited" 1 "through video""#);
    assert_eq!(row(2), r#""video/caption" "added" null """#);
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_ne!(rows[0]["old_version"], rows[0]["new_version"]);
    let uncounted = run(&project, &["diff", "--no-samples"]);
    assert!(!uncounted.contains("recompute"), "{uncounted}");
}

const PHOTOS: &str = r#"
[[feature]]
key = "photo"
id_columns = ["path"]

[[feature]]
key = "face"
id_columns = ["path"]
deps = [{ feature = "photo"FILTERS }]
fields = [{ key = "faces", code_version = "CODE" }]
"#;

#[test]
fn an_edited_filter_says_which_samples_it_moves() {
    let features = |filters: &str, code: &str| PHOTOS.replace("FILTERS", filters).replace("CODE", code);
    let project = Project::new(&features(r#", filters = ["size > 3"]"#, "1"));
    let sql = |sql: &str| project.cli().sql(&[sql]).run().ok();
    sql("INSERT INTO photo SELECT CAST(value AS VARCHAR) AS path, value AS size,
         named_struct('default', 'v1') AS metaxy_provenance_by_field FROM generate_series(1, 9)");
    run(&project, &["push", "-q"]);
    // Photos 4 to 9, of which 9 is left to do.
    sql("INSERT INTO face SELECT * FROM resolve_update('face') WHERE path <> '9'");
    sql("INSERT INTO photo SELECT path, size, named_struct('default', 'v2') AS metaxy_provenance_by_field
         FROM photo WHERE path = '8'");
    // From now on photos 2 to 6: 2 and 3 are new, 7 and 8 are orphaned, and nobody waits for 9 any more.
    project.write("features.toml", &features(r#", filters = ["size > 1", "size < 7"]"#, "1"));
    let csv = run(&project, &["diff", "--format", "csv"]);
    let line = csv.lines().nth(1).unwrap_or_else(|| panic!("{csv}"));
    assert!(
        csv.starts_with("feature,project,change,old_version,new_version,samples,new,orphaned,why\n"),
        "{csv}"
    );
    assert!(line.starts_with("face,test,edited,") && line.ends_with(",0,2,2,parent photo: filters"), "{csv}");
    let text = run(&project, &["diff"]);
    assert!(text.contains("  2 new, 2 orphaned  ") && text.contains("1 edited, same version"), "{text}");
    let rows: Value = serde_json::from_str(&run(&project, &["diff", "--format", "json"])).unwrap();
    let row = &rows[0];
    assert_eq!((&row["change"], &row["samples"]), (&Value::from("edited"), &Value::from(0)));
    assert_eq!((&row["new"], &row["orphaned"]), (&Value::from(2), &Value::from(2)));
}

#[test]
fn samples_whose_parents_are_gone_are_not_to_be_recomputed() {
    let features = |code: &str| PHOTOS.replace("FILTERS", "").replace("CODE", code);
    let project = Project::new(&features("1"));
    let sql = |sql: &str| project.cli().sql(&[sql]).run().ok();
    sql("INSERT INTO photo SELECT CAST(value AS VARCHAR) AS path,
         named_struct('default', 'v1') AS metaxy_provenance_by_field FROM generate_series(1, 20)");
    run(&project, &["push", "-q"]);
    sql("INSERT INTO face SELECT * FROM resolve_update('face')");
    sql("DELETE FROM photo WHERE path IN ('1', '2')");
    project.write("features.toml", &features("2"));
    let text = run(&project, &["diff"]);
    assert!(text.contains("  18 samples to recompute, 2 orphaned  "), "{text}");
    assert!(text.contains("2 features, 1 changed, 18 samples to recompute\n"), "{text}");
    let csv = run(&project, &["diff", "--format", "csv"]);
    assert!(csv.contains(",18,,2,field faces: code version 1 → 2\n"), "{csv}");
    // A rebase says the same.
    let history = run(&project, &["history", "face", "--format", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let version = history.as_array().unwrap().iter().find_map(|row| row["feature_version"].as_str()).unwrap();
    let rebase = run(&project, &["rebase", "face", "--from", version, "--dry-run", "--format", "csv", "-q"]);
    assert!(rebase.contains("18"), "{rebase}");
}

#[test]
fn removed_features_leave_samples() {
    let project = project();
    let all = features(1, "");
    let without = all.replace("key = \"video/face\"", "key = \"video/head\"");
    project.write("features.toml", &without);
    let rows: Value = serde_json::from_str(&run(&project, &["diff", "--format", "json"])).unwrap();
    let rows: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {}", row["feature"], row["change"], row["samples"]))
        .collect();
    assert_eq!(rows, [r#""video/face" "removed" 1"#, r#""video/head" "added" null"#]);
    let text = run(&project, &["diff"]);
    assert!(text.contains("1 sample left without a definition"), "{text}");
    for (format, part) in [
        ("mermaid", "classDef removed"),
        ("dot", "color=\"#b9524d\""),
        ("svg", "class=\"card removed\""),
        ("html", "class=\"card added\""),
    ] {
        let drawn = run(&project, &["diff", "--as", format]);
        assert!(drawn.contains(part), "{format}: {drawn}");
    }
}

#[test]
fn features_that_a_push_has_removed_are_not_drawn() {
    let project = Project::new(&features(1, CAPTION));
    run(&project, &["push", "-q"]);
    let keys = |args: &[&str]| {
        let rows: Value =
            serde_json::from_str(&run(&project, &[&["graph", "--format", "json"], args].concat())).unwrap();
        let keys = rows.as_array().unwrap().iter().map(|row| row["feature"].as_str().unwrap().to_owned());
        keys.collect::<Vec<_>>().join(" ")
    };
    let children = |feature: &str| {
        let rows: Value =
            serde_json::from_str(&run(&project, &["describe", feature, "--format", "json"])).unwrap();
        rows[0]["children"].to_string()
    };
    assert_eq!(keys(&[]), "video video/face video/caption video/speech");
    assert_eq!(children("video/face"), r#"["video/caption"]"#);
    project.write("features.toml", &features(1, ""));
    run(&project, &["push", "-q"]);
    for args in [&["--status"][..], &[], &["--all-projects"], &["--feature", "video"]] {
        assert_eq!(keys(args), "video video/face video/speech", "{args:?}");
    }
    for format in ["text", "mermaid", "dot", "svg", "html", "table", "csv"] {
        let drawn = run(&project, &["graph", "--format", format]);
        assert!(!drawn.contains("video/caption"), "{format}: {drawn}");
    }
    assert_eq!(children("video/face"), "[]");
    // Who asks for it by name sees it, as its rows can still be read.
    assert_eq!(keys(&["--feature", "video/caption", "--up", "1"]), "video/face video/caption");

    // What the others are computed from is drawn, too.
    let all = features(1, "");
    let (_, rest) = all.split_once("[[feature]]\nkey = \"video/face\"").unwrap();
    project.write("features.toml", &format!("[[feature]]\nkey = \"video/face\"{rest}"));
    run(&project, &["push", "-q"]);
    assert_eq!(keys(&[]), "video video/face video/speech");
    assert!(run(&project, &["graph"]).contains("3 features"));
}

#[test]
fn versions_of_the_past() {
    let project = project();
    let first = run(&project, &["history", "--format", "csv"]);
    let first = csv_cell(&first, "project_version");
    project.write("features.toml", &features(2, ""));
    Cli::new(project.path()).sql(&["CALL push()"]).run().ok();

    let none = run(&project, &["diff", "--exit-code"]);
    assert!(none.contains("\n3 features, no changes\n"), "{none}");
    let begun = &first[..5];
    let past = run(&project, &["diff", begun, "latest", "--format", "csv"]);
    assert!(past.contains("video,test,changed,") && past.contains("\nvideo/face,test,inherited,"), "{past}");
    let back = run(&project, &["diff", "current", &first]);
    assert!(back.contains("code version 2 → 1"), "{back}");
    let drawn = run(&project, &["graph", "--project-version", &first]);
    assert!(drawn.lines().next().unwrap().ends_with("frames 1"), "{drawn}");

    let wrong = Cli::new(project.path()).args(["diff", "0123", "current"]).run();
    assert_eq!(wrong.code, Some(1));
    let expected = format!(
        "Error: store dev: project version \"0123\" is not recorded; pushed versions of project test are {first}, "
    );
    assert!(wrong.stderr.starts_with(&expected), "{}", wrong.stderr);
}

/// The first cell of a column.
fn csv_cell(csv: &str, column: &str) -> String {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().unwrap().iter().position(|name| *name == column).unwrap();
    lines.next().unwrap()[place].to_owned()
}

#[test]
fn before_the_first_push_everything_is_added() {
    let project = Project::new(&features(1, ""));
    let ran = Cli::new(project.path()).args(["diff"]).run();
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.stderr, "Project test was never pushed to store dev.\n");
    assert!(ran.stdout.contains("3 features, 3 added\n"), "{}", ran.stdout);
}

#[test]
fn rows_that_were_written_before_the_first_push_are_counted() {
    let features = |code: &str| PHOTOS.replace("FILTERS", "").replace("CODE", code);
    let project = Project::new(&features("1"));
    let sql = |sql: &str| project.cli().sql(&[sql]).run().ok();
    sql("INSERT INTO photo SELECT CAST(value AS VARCHAR) AS path,
         named_struct('default', 'v1') AS metaxy_provenance_by_field FROM generate_series(1, 5)");
    sql("INSERT INTO face SELECT * FROM resolve_update('face')");
    sql("DELETE FROM photo WHERE path = '1'");
    let diff = || run(&project, &["diff", "-q", "--format", "csv"]);
    // All of it is of the version that would be recorded.
    let csv = diff();
    assert!(csv.contains("photo,test,added,,") && csv.matches(",,,,\n").count() == 2, "{csv}");
    project.write("features.toml", &features("2"));
    let csv = diff();
    let face =
        csv.lines().find(|line| line.starts_with("face,test,added,,")).unwrap_or_else(|| panic!("{csv}"));
    assert!(face.ends_with(",4,,1,"), "{csv}");
    let text = run(&project, &["diff", "-q"]);
    assert!(text.contains("  4 samples to recompute, 1 orphaned  "), "{text}");
    assert!(text.contains("2 features, 2 added, 4 samples to recompute\n"), "{text}");
}

#[test]
fn python_spellings() {
    let project = project();
    assert_eq!(run(&project, &["graph", "render"]), run(&project, &["graph"]));
    let spelled = ["graph", "render", "--format", "graphviz", "--no-show-fields", "--direction", "TB"];
    assert_eq!(run(&project, &spelled), run(&project, &["graph", "--as", "dot", "--no-fields"]));
    assert_eq!(
        run(&project, &["graph", "render", "-f", "terminal", "--type", "cards"]),
        run(&project, &["graph"])
    );
    let diff = run(&project, &["graph-diff", "render", "latest", "current", "--format", "terminal"]);
    assert_eq!(diff, run(&project, &["diff"]));
}

#[test]
fn names_from_a_feature_file_are_only_text() {
    let hostile = r#"
[[feature]]
key = "a"
id_columns = ["<script>alert(1)</script>"]
description = "</title><script>alert(2)</script>\u001b[31m"
fields = [{ key = "f", code_version = "\"]; x --> y\n<img src=x onerror=alert(3)>\u001b[31m" }]
"#;
    let project = Project::new(hostile);
    for format in ["text", "mermaid", "dot", "svg", "html"] {
        let drawn = run(&project, &["graph", "--as", format, "--verbose"]);
        // Text is no markup; to a terminal only control characters mean something.
        let is_markup = drawn.contains("<script>alert") || drawn.contains("<img");
        assert!(format == "text" || !is_markup, "{format}: {drawn}");
        assert!(!drawn.contains('\u{1b}'), "{format}");
        assert!(drawn.contains("onerror"), "the code version is shown in {format}: {drawn}");
    }
}

#[test]
fn without_features() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Cli::new(folder.path()).args(["graph"]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "0 features\n"));
    assert!(ran.stderr.starts_with("Warning: no features are defined"), "{}", ran.stderr);
    let ran = Cli::new(folder.path()).args(["diff"]).run();
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn samples_that_are_computed_again_are_counted_no_longer() {
    let project = project();
    project.write("features.toml", &features(2, ""));
    let statement = "INSERT INTO video SELECT video_id, named_struct('audio', 'x', 'frames', 'x') AS \
                     metaxy_provenance_by_field FROM (VALUES ('a'), ('b')) AS t(video_id)";
    Cli::new(project.path()).sql(&[statement]).run().ok();
    let samples = |text: &str| {
        let rows: Value = serde_json::from_str(text).unwrap();
        (rows[0]["samples"].clone(), rows[1]["samples"].clone())
    };
    let left = samples(&run(&project, &["diff", "--format", "json"]));
    assert_eq!(left, (1.into(), 1.into()));
    // A version without rows in between changes nothing.
    run(&project, &["push", "-q"]);
    project.write("features.toml", &features(3, ""));
    let left = samples(&run(&project, &["diff", "--format", "json"]));
    assert_eq!(left, (3.into(), 1.into()));
}
