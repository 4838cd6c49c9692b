//! The documentation: what it shows is run here, and has to give what is printed there.
//!
//! A comment before a code block says what the block is:
//!
//! - `<!-- file: NAME -->`: a file of this name in the folder in which the page's commands run;
//! - `<!-- same as: PATH -->`: the same text as this file of the repository;
//! - `<!-- printed by: PATH -->`: what the example at this path prints;
//! - `<!-- run after FILE -->`: SQL that runs without an error in a session that has run this file before.
//!
//! In a block of `sh` the lines that start with `$ ` are commands (`> ` goes on), and what follows is their output,
//! both streams; `…` stands for any text in a line. Other blocks of `sh` are for reading.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use datafusion::config::ExtensionOptions;
use datafusion_metaxy::config::options::{MetaxyOptions, SESSION_OPTIONS};
use datafusion_metaxy::error::Result;
use datafusion_metaxy::model::{FeatureDefinition, FeatureGraph, load_feature_files};
use regex::Regex;

use crate::support::{Cli, Ran, repository};

#[path = "../../examples/embed.rs"]
mod embed;

/// A fenced block of a page.
struct Block {
    /// The comment before it, or nothing.
    comment: String,
    language: String,
    text: String,
}

impl Block {
    /// What the comment says after this word.
    fn comment(&self, word: &str) -> Option<&str> {
        self.comment.strip_prefix(word).map(str::trim)
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository(page)).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let (mut comment, mut open) = (String::new(), false);
    for line in text.lines() {
        match (line.strip_prefix("```"), blocks.last_mut()) {
            (Some(""), _) if open => open = false,
            (Some(language), _) => {
                let comment = std::mem::take(&mut comment);
                blocks.push(Block { comment, language: language.to_owned(), text: String::new() });
                open = true;
            }
            (None, Some(block)) if open => writeln!(block.text, "{line}").unwrap(),
            (None, _) => {
                let inner = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                comment = inner.unwrap_or_default().trim().to_owned();
            }
        }
    }
    assert!(!open, "{page}: a code block without an end");
    blocks
}

/// Runs everything on a page that can be run, in order and in one folder.
fn run_page(page: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut commands = 0;
    for block in blocks(page) {
        if let Some(name) = block.comment("file:") {
            fs::write(folder.path().join(name), &block.text).unwrap();
        } else if let Some(file) = block.comment("run after") {
            let sql = folder.path().join("block.sql");
            fs::write(&sql, &block.text).unwrap();
            Cli::new(folder.path()).args(["-q", "-f", file, "-f", "block.sql"]).run().ok();
            fs::remove_file(sql).unwrap();
        } else if block.language == "sh" {
            for (command, printed) in session(&block.text) {
                check_command(page, folder.path(), &command, &printed);
                commands += 1;
            }
        } else {
            assert_ne!(block.language, "sql", "{page}: say how this can be run:\n{}", block.text);
        }
    }
    assert!(commands > 0, "{page} shows no command");
}

/// The commands of a block with what they print.
pub fn session(text: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
            (Some(command), ..) => commands.push((command.to_owned(), String::new())),
            (None, Some(more), Some((command, printed))) if printed.is_empty() => {
                *command += &format!("\n{more}");
            }
            (None, _, Some((_, printed))) => *printed += &format!("{line}\n"),
            // A block without commands is for reading.
            (None, _, None) => {}
        }
    }
    commands
}

pub fn shell(folder: &Path, command: &str) -> Ran {
    // The program comes first on the path: sh knows it as $0.
    let script = format!("PATH=\"${{0%/*}}:$PATH\"\n{command}");
    Cli::through(&["sh", "-c", &script], folder).run()
}

fn check_command(page: &str, folder: &Path, command: &str, printed: &str) {
    let ran = shell(folder, command);
    let says = |start: &str| printed.lines().any(|line| line.starts_with(start));
    let code = if says("error: ") { 2 } else { i32::from(says("Error: ")) };
    assert_eq!(ran.code, Some(code), "{page}: {command}\n{ran:#?}");
    let output = format!("{}{}", ran.stdout, ran.stderr);
    assert!(matches(printed, &output), "{page}: {command}\nshould print\n{printed}\nbut prints\n{output}");
}

/// Whether an output is what was written down, but for spaces at the end of a line and lines at the end.
pub fn matches(written: &str, output: &str) -> bool {
    let lines =
        |text: &str| text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (written, output) = (lines(written), lines(output));
    written.len() == output.len()
        && written.iter().zip(&output).all(|(written, line)| {
            let pattern: Vec<String> = written.split('…').map(regex::escape).collect();
            Regex::new(&format!("^{}$", pattern.join(".*"))).unwrap().is_match(line)
        })
}

#[test]
fn the_harness_finds_differences() {
    assert!(matches("| a |\nElapsed … seconds.\n", "| a |\nElapsed 0.1 seconds. \n\n"));
    assert!(!matches("| a |\n", "| b |\n"));
    assert!(!matches("| a |\n", "| a |\n| b |\n"));
    assert!(!matches("Elapsed … seconds.\n", "Elapsed 0.1 hours.\n"));
    let found = session("$ one \"a\n> b\"\nprinted\n> as it is\n$ two\n");
    let expected = [("one \"a\nb\"", "printed\n> as it is\n"), ("two", "")];
    assert_eq!(found, expected.map(|(command, printed)| (command.to_owned(), printed.to_owned())));
}

#[test]
fn readme_sessions_print_what_they_show() {
    run_page("README.md");
}

#[test]
fn feature_reference_sessions_print_what_they_show() {
    run_page("docs/features.md");
}

#[test]
fn fallback_sessions_print_what_they_show() {
    run_page("docs/fallback_stores.md");
}

#[test]
fn increment_sessions_print_what_they_show() {
    run_page("docs/increments.md");
}

#[test]
fn executor_sessions_print_what_they_show() {
    run_page("docs/executors.md");
}

#[test]
fn operation_sessions_print_what_they_show() {
    run_page("docs/operations.md");
}

#[test]
fn system_table_sessions_print_what_they_show() {
    run_page("docs/system_tables.md");
}

#[test]
fn picture_sessions_print_what_they_show() {
    run_page("docs/pictures.md");
}

#[test]
fn command_line_sessions_print_what_they_show() {
    run_page("docs/cli.md");
}

#[test]
fn readme_shows_the_example() {
    let blocks = blocks("README.md");
    let shown: Vec<&Block> = blocks.iter().filter(|block| block.language == "rust").collect();
    assert!(!shown.is_empty());
    for block in shown {
        let path = block.comment("same as:").expect("every Rust block is a file of the repository");
        assert_eq!(block.text, fs::read_to_string(repository(path)).unwrap(), "{path}");
    }
}

#[test]
fn example() {
    // As the main thread of a program: a test's own thread has a smaller stack.
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    let run = || embed::main().map_err(|error| error.to_string());
    assert_eq!(thread.spawn(run).unwrap().join().unwrap(), Ok(()));
}

#[test]
fn readme_shows_what_the_example_prints() {
    let blocks = blocks("README.md");
    let shown =
        blocks.iter().find(|block| block.comment("printed by:") == Some("examples/embed.rs")).unwrap();
    // What libraries print to the standard output can be read from another process only.
    let ran = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "docs::example", "--nocapture", "--quiet"])
        .output()
        .unwrap();
    let output = String::from_utf8(ran.stdout).unwrap();
    assert!(
        ran.status.success() && output.contains(&shown.text),
        "{output}\ndoes not contain\n{}",
        shown.text
    );
}

#[test]
fn readme_lists_the_session_options() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| `metaxy."))
        .map(|line| line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect())
        .collect();
    let defaults = MetaxyOptions::default().entries();
    assert_eq!(rows.len(), SESSION_OPTIONS.len());
    for (row, entry) in rows.iter().zip(defaults) {
        let default = entry.value.filter(|value| !value.is_empty()).unwrap_or_else(|| "none".into());
        assert_eq!(row[..2], [entry.key.as_str(), default.as_str()]);
    }
}

/// The examples that `--help` ends with: commands, each with what is said about it.
fn help_examples(help: &str) -> Vec<(String, String)> {
    let (_, rest) = help.split_once("\nExamples:\n").expect("--help has examples");
    let mut lines = rest.lines().take_while(|line| !line.is_empty()).peekable();
    let mut examples = Vec::new();
    while let Some(command) = lines.next() {
        let mut about = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("      ")) {
            about += line.trim();
        }
        examples.push((command.trim().to_owned(), about));
    }
    examples
}

/// A folder in which the examples of `--help` make sense.
fn project_for_help() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let stores = ["dev", "prod"].map(|name| {
        format!("[stores.{name}]\ntype = \"delta\"\n[stores.{name}.config]\nroot_path = \"{name}\"\n")
    });
    let features = "[ext.datafusion]\nfeatures = [\"features.toml\"]\n";
    write("metaxy.toml", &format!("project = \"demo\"\nstore = \"dev\"\n{}{features}", stores.concat()));
    let feature = |rest: &str| format!("[[feature]]\nid_columns = [\"video_id\"]\n{rest}\n");
    let (raw, crop) = (feature("key = \"video\""), feature("key = \"video/crop\"\ndeps = [\"video\"]"));
    write("features.toml", &(raw + &crop));
    write(
        "prepare.sql",
        "INSERT INTO video SELECT 'v1' AS video_id, named_struct('default', 'x') AS metaxy_provenance_by_field;",
    );
    write("nightly.sql", "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop');");
    folder
}

#[test]
fn help_examples_run() {
    let folder = project_for_help();
    Cli::new(folder.path()).args(["-f", "prepare.sql"]).run().ok();
    let help = Cli::new(folder.path()).args(["--help"]).run().ok();
    let examples = help_examples(&help);
    let commands: Vec<&str> = examples.iter().map(|(command, _)| command.as_str()).collect();
    let [prompt, file, scripts] = commands[..] else { panic!("another number of examples: {commands:?}") };

    // A prompt needs a terminal, but its commands can be piped in.
    assert_eq!(prompt, "metaxy-cli");
    let listed = Cli::new(folder.path()).run_with_input("\\?\n\\q\nthis is never reached\n").ok();
    assert!(listed.contains("| \\q ") && listed.contains("| \\d name "), "{listed}");

    shell(folder.path(), file).ok();
    let (_, name) = file.rsplit_once("> ").expect("the output goes into a file");
    let todo = fs::read_to_string(folder.path().join(name)).unwrap();
    let found: Vec<&str> = todo.lines().filter(|line| line.contains("new")).collect();
    assert!(found.len() == 1 && found[0].contains("v1"), "{todo}");

    shell(folder.path(), scripts).ok();
    assert!(
        folder.path().join("prod/video/crop.delta").is_dir()
            && !folder.path().join("dev/video/crop.delta").exists()
    );
    // "the first error ends the run with exit code 1"
    fs::write(folder.path().join("prepare.sql"), "SELECT nothing;").unwrap();
    fs::write(folder.path().join("nightly.sql"), "SELECT 'reached';").unwrap();
    let ran = shell(folder.path(), scripts);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:#?}");

    // What is said below the examples.
    let nowhere = tempfile::tempdir().unwrap();
    let stores =
        Cli::new(nowhere.path()).args(["--format", "csv"]).sql(&["SELECT * FROM system.stores"]).run().ok();
    let row = stores.lines().nth(1).unwrap();
    assert!(row.starts_with("dev,delta,") && row.contains("metaxy-store,"), "{stores}");
}

fn load(text: &str) -> Result<Vec<FeatureDefinition>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("features.toml");
    fs::write(&file, text).unwrap();
    load_feature_files(&[file], "default")
}

#[test]
fn feature_files_in_the_documentation_load() {
    let pages = [
        "README.md",
        "docs/features.md",
        "docs/fallback_stores.md",
        "docs/executors.md",
        "docs/system_tables.md",
    ];
    let files: Vec<Block> =
        pages.into_iter().flat_map(blocks).filter(|block| block.text.contains("[[feature]]")).collect();
    assert!(files.len() >= 5);
    for block in &files {
        let found = load(&block.text).unwrap_or_else(|error| panic!("{error}\n{}", block.text));
        assert!(FeatureGraph::new(found, 8).is_ok(), "{}", block.text);
    }
    let form = |name: &str| load(&files.iter().find(|block| block.comment == name).unwrap().text).unwrap();
    let (short, long) = (form("short form"), form("long form"));
    assert_eq!(short[0].spec, long[0].spec);
}

#[test]
fn the_complete_example_fits_together() {
    let blocks = blocks("docs/features.md");
    let example = blocks.iter().find(|block| block.comment("file:") == Some("features.toml")).unwrap();
    let graph = FeatureGraph::new(load(&example.text).unwrap(), 8).unwrap();
    let features: Vec<_> = graph.iter().collect();
    assert_eq!(features.len(), 4);
    for feature in features {
        assert_eq!(feature.project, "clips");
        let plan = graph.plan(feature.key()).unwrap();
        assert_eq!(plan.is_root(), feature.spec.deps.is_empty());
    }
}

/// The keys that errors list are all explained.
#[test]
fn the_reference_has_every_key() {
    let page = fs::read_to_string(repository("docs/features.md")).unwrap();
    let feature = "[[feature]]\nkey = \"a\"\nid_columns = [\"x\"]\n";
    let parent = format!("{feature}[[feature.deps]]\nfeature = \"p\"\n");
    let field = format!("{feature}[[feature.fields]]\nkey = \"f\"\n");
    for (heading, text) in [
        ("Keys of a feature", feature.to_owned()),
        ("Keys of a field", field.clone()),
        ("Keys of a field", format!("{field}[[feature.fields.deps]]\nfeature = \"p\"\n")),
        ("Keys of a parent", parent.clone()),
        ("Lineage", format!("{parent}[feature.deps.lineage]\ntype = \"N:1\"\n")),
        ("Lineage", format!("{parent}[feature.deps.lineage]\ntype = \"1:N\"\non = [\"x\"]\n")),
        ("Mappings", format!("{parent}[feature.deps.fields_mapping]\ntype = \"default\"\n")),
        ("Mappings", format!("{parent}[feature.deps.fields_mapping]\ntype = \"specific\"\nmapping = {{}}\n")),
    ] {
        let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let error = load(&format!("{text}nonsense = 1\n")).unwrap_err().to_string();
        let (_, known) = error.split_once("known here: ").unwrap_or_else(|| panic!("{error}"));
        for key in known.split(", ") {
            assert!(section.contains(&format!("`{key}`")), "{heading}: {key} is not explained");
        }
    }
}
