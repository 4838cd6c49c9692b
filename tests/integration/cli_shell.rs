//! What the program gives to a shell: completions that complete, and manual pages that can be read.

use std::path::Path;
use std::process::Command;

use crate::support::{Cli, Ran};

fn printed(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    Cli::new(folder.path()).args(args).run().ok()
}

/// What bash offers for the last of these words.
fn offered(script: &Path, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let asks = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={last}; \
         f=$(complete -p metaxy-cli | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         $f metaxy-cli '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        quoted.join(" "),
        words[last],
        words[last - 1],
    );
    let ran = Ran::from(Command::new("bash").args(["--norc", "-c", &asks]).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_and_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("completions.bash");
    std::fs::write(&script, printed(&["completions", "bash"])).unwrap();
    assert_eq!(offered(&script, &["metaxy-cli", "opti"]), ["optimize"]);
    assert_eq!(offered(&script, &["metaxy-cli", "status", "--ass"]), ["--assert-in-sync"]);
    assert_eq!(offered(&script, &["metaxy-cli", "--store", "dev", "graph", "--sta"]), ["--status"]);
    assert_eq!(offered(&script, &["metaxy-cli", "graph", "--format", "merm"]), ["mermaid"]);
    assert_eq!(offered(&script, &["metaxy-cli", "list", "sto"]), ["stores"]);
    assert_eq!(offered(&script, &["metaxy-cli", "help", "hist"]), ["history"]);
}

#[test]
fn scripts_of_other_shells_agree_with_themselves() {
    let zsh = printed(&["completions", "zsh"]);
    assert!(zsh.starts_with("#compdef metaxy-cli\n") && zsh.contains("_metaxy-cli \"$@\""), "{zsh}");
    let fish = printed(&["completions", "fish"]);
    assert!(fish.contains("complete -c metaxy-cli ") && fish.contains("__fish_metaxy_cli_"), "{fish}");
}

#[test]
fn manual_pages_keep_the_lines_of_examples() {
    let page = printed(&["man"]);
    let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
    assert!(title.contains(&format!("metaxy-cli {}", env!("CARGO_PKG_VERSION"))), "{title}");
    assert!(page.contains("\n.SH EXAMPLES\n") && !page.contains(".SH EXTRA"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    Cli::new(folder.path()).args(["man", "-q", "-o", "."]).run().ok();
    let page = std::fs::read_to_string(folder.path().join("metaxy-cli-status.1")).unwrap();
    let (_, examples) = page.split_once("\n.SH EXAMPLES\n").unwrap();
    assert!(examples.starts_with(".PP\n.nf\n$ metaxy\\-cli status\n+\\-\\-"), "{examples}");
    assert_eq!(examples.matches("\n.fi\n").count(), examples.matches("\n.nf\n").count());
    let groff = Command::new("groff")
        .args(["-man", "-Tascii", "-P-cbou", "metaxy-cli-status.1"])
        .current_dir(folder.path())
        .output();
    // Without groff, the text above has to do.
    let Ok(groff) = groff else { return };
    let groff = Ran::from(groff);
    let lines: Vec<&str> = groff.stdout.lines().map(str::trim).collect();
    let example = lines.iter().position(|line| *line == "$ metaxy-cli status");
    let example = example.unwrap_or_else(|| panic!("no example: {groff:#?}"));
    assert!(
        lines[example + 1].starts_with("+---") && lines[example + 2].starts_with("| feature"),
        "{groff:#?}"
    );
}
