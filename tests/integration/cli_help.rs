//! `--help` of every subcommand: it ends with an example, the example runs, and prints what is shown.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::cli_project::photos;
use crate::docs::{matches, session, shell};
use crate::support::{Cli, repository};

/// The subcommands that `--help` lists.
pub fn subcommands() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let help = Cli::new(folder.path()).args(["--help"]).run().ok();
    let (_, list) = help.split_once("\nCommands:\n").expect("--help lists the subcommands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names: Vec<String> =
        lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.into_iter().filter(|name| name != "help").collect()
}

/// What is indented below the options: commands and what they print.
fn examples(help: &str) -> Vec<(String, String)> {
    let (_, rest) = help.split_once("\nExample").expect("--help ends with an example");
    let mut indented = String::new();
    for line in rest.lines().skip(1) {
        match line.strip_prefix("  ") {
            Some(line) => indented += &format!("{line}\n"),
            None => indented.push('\n'),
        }
    }
    session(&indented)
}

/// A folder in which the example of a subcommand makes sense.
fn folder_for(command: &str) -> TempDir {
    let folder = match command {
        "init" => tempfile::tempdir().unwrap(),
        _ => photos(),
    };
    match command {
        "init" => fs::create_dir(folder.path().join("images")).unwrap(),
        "lock" => another_project(folder.path()),
        _ => {}
    }
    folder
}

/// A feature of another project in the same store, and one here that depends on it.
fn another_project(folder: &Path) {
    let features = fs::read_to_string(folder.join("features.toml")).unwrap();
    let person = "project = \"people\"\n[[feature]]\nkey = \"person\"\nid_columns = [\"name\"]\n";
    fs::write(folder.join("features.toml"), person).unwrap();
    Cli::new(folder).args(["push", "-q"]).env("METAXY_PROJECT", "people").run().ok();
    let owner = "[[feature]]\nkey = \"photo/owner\"\nid_columns = [\"name\"]\ndeps = [\"person\"]\n";
    fs::write(folder.join("features.toml"), features + owner).unwrap();
}

#[test]
fn the_page_of_the_command_line_lists_every_subcommand() {
    let page = fs::read_to_string(repository("docs/cli.md")).unwrap();
    let (start, _) = page.split_once("\n## ").unwrap();
    let cells: Vec<&str> = start
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split(" | ").next())
        .collect();
    for command in subcommands() {
        let (alone, with_more) = (format!("`{command}`"), format!("`{command} "));
        assert!(
            cells.iter().any(|cell| cell.contains(&alone) || cell.contains(&with_more)),
            "{command} is not in docs/cli.md"
        );
    }
}

#[test]
fn the_example_of_every_subcommand_prints_what_it_shows() {
    let commands = subcommands();
    assert!(commands.len() >= 14, "{commands:?}");
    for command in commands {
        let folder = folder_for(&command);
        let help = Cli::new(folder.path()).args([command.as_str(), "--help"]).run().ok();
        assert!(help.contains("--format"), "{command}");
        if command == "sql" {
            // Its examples are those of the program, which have a test of their own.
            let whole = Cli::new(folder.path()).args(["--help"]).run().ok();
            let of = |help: &str| help.split_once("\nExamples:\n").map(|(_, examples)| examples.to_owned());
            assert_eq!(of(&help), of(&whole));
            continue;
        }
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{command} --help shows no example:\n{help}");
        for (example, printed) in examples {
            assert!(example.starts_with(&format!("metaxy-cli {command}")), "{command}: {example}");
            let ran = shell(folder.path(), &example);
            assert_eq!(ran.code, Some(0), "{example}\n{ran:#?}");
            let output = format!("{}{}", ran.stdout, ran.stderr);
            let shown = !printed.trim().is_empty();
            assert!(
                !shown || matches(&printed, &output),
                "{example}\nshould print\n{printed}\nbut prints\n{output}"
            );
        }
    }
}
