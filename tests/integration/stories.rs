//! The stories in `sql/`: they run as their comments say, and print what `tests/stories` has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use tempfile::TempDir;

use crate::support::{Cli, copy_folder, files_below, repository};

/// The stories whose stores are in memory.
const TOLD_AFRESH: [&str; 4] = ["02_partial_update", "03_lineage", "04_fallback", "05_operations"];

/// A copy of what the stories work on.
fn scratch() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sql", "src"] {
        copy_folder(&repository(name), &folder.path().join(name));
    }
    fs::copy(repository("metaxy.toml"), folder.path().join("metaxy.toml")).unwrap();
    folder
}

fn tell(folder: &Path, story: &str) -> String {
    Cli::new(folder).args(["-q", "-f", &format!("sql/{story}.sql")]).run().ok()
}

fn expected(story: &str) -> String {
    fs::read_to_string(repository(&format!("tests/stories/{story}.out"))).unwrap()
}

/// The cells of printed tables, without the lines around them, whose length depends on what is in them.
fn cells(printed: &str) -> Vec<Vec<String>> {
    let rows = printed.lines().filter(|line| !line.starts_with("+-"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What the first story prints about these files, worked out without it.
fn quickstart(folder: &Path, increment: &[(&str, usize)], computed: usize) -> Vec<Vec<String>> {
    let word = Regex::new(r"\w+").unwrap();
    let mut files: Vec<(usize, String, usize)> = rust_files(folder)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(folder.join(&path)).unwrap();
            (text.matches('\n').count(), path, word.find_iter(&text).count())
        })
        .collect();
    files.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut text = expected("01_quickstart");
    let lines: String = increment.iter().map(|(kind, count)| format!("| {kind} | {count} |\n")).collect();
    text = text.replace("| new              | {files} |\n", &lines).replace("{files}", &computed.to_string());
    for (n, (lines, path, words)) in files.iter().take(3).enumerate() {
        for (name, value) in [("path", path), ("lines", &lines.to_string()), ("words", &words.to_string())] {
            text = text.replace(&format!("{{{name}{}}}", n + 1), value);
        }
    }
    assert!(!text.contains('{'), "{text}");
    cells(&text)
}

fn rust_files(folder: &Path) -> Vec<String> {
    let files = files_below(&folder.join("src")).into_iter().filter(|file| file.ends_with(".rs"));
    files.map(|file| format!("src/{file}")).collect()
}

#[test]
fn every_story_is_told_here() {
    let names = |folder: &str, suffix: &str| -> BTreeSet<String> {
        let files = files_below(&repository(folder)).into_iter();
        files.filter_map(|file| file.strip_suffix(suffix).map(str::to_owned)).collect()
    };
    let stories = names("sql", ".sql");
    assert_eq!(stories, names("tests/stories", ".out"));
    assert!(TOLD_AFRESH.iter().all(|story| stories.contains(*story)));
    assert_eq!(stories.len(), TOLD_AFRESH.len() + 1, "the first one is told below, the others afresh");
}

#[test]
fn quickstart_computes_what_is_new_and_edited_only() {
    let folder = scratch();
    let folder = folder.path();
    let all = rust_files(folder).len();
    assert!(all > 50, "{all} files");
    assert_eq!(cells(&tell(folder, "01_quickstart")), quickstart(folder, &[("new", all)], all));
    assert!(folder.join("scratch/quickstart/source/file.delta").is_dir());

    // Nothing has changed; a file that is only touched hasn't either.
    assert_eq!(cells(&tell(folder, "01_quickstart")), quickstart(folder, &[], 0));
    let main = folder.join("src/main.rs");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, &text).unwrap();
    assert_eq!(cells(&tell(folder, "01_quickstart")), quickstart(folder, &[], 0));

    // An edited file is computed again, alone.
    fs::write(&main, format!("{text}// edited\n")).unwrap();
    let listing = "(SELECT path, size, named_struct('default', content_hash) AS metaxy_provenance_by_field \
                   FROM files('src/**/*.rs', content_hash => true))";
    let todo = format!("SELECT metaxy_increment, path FROM resolve_update('source/file', {listing})");
    let csv = || Cli::new(folder).args(["-q", "--format", "csv"]);
    let out = csv().args(["-c", &todo]).run().ok();
    assert_eq!(out, "metaxy_increment,path\nstale,src/main.rs\n");
    assert_eq!(cells(&tell(folder, "01_quickstart")), quickstart(folder, &[("stale", 1)], 1));
    let lines = text.matches('\n').count() + 1;
    let out = csv().args(["-c", "SELECT lines FROM source__stats WHERE path = 'src/main.rs'"]).run().ok();
    assert_eq!(out, format!("lines\n{lines}\n"));

    // One more file, and one that is gone.
    fs::write(folder.join("src/zzz.rs"), "fn main() {}\n").unwrap();
    fs::remove_file(folder.join("src/columns.rs")).unwrap();
    let out = csv().args(["-c", &format!("{todo} ORDER BY path")]).run().ok();
    assert_eq!(out, "metaxy_increment,path\norphaned,src/columns.rs\nnew,src/zzz.rs\n");
    let told = cells(&tell(folder, "01_quickstart"));
    assert_eq!(told[..3], quickstart(folder, &[("new", 1), ("orphaned", 1)], 1)[..3]);
    assert_eq!(told[3..7], ["count", "1", "count", "1"].map(|cell| vec![cell.to_owned()]));
}

#[test]
fn the_others_start_afresh_each_time() {
    let folder = scratch();
    for story in TOLD_AFRESH {
        // Twice: its stores are gone when the program ends.
        for _ in 0..2 {
            assert_eq!(tell(folder.path(), story), expected(story), "{story}");
        }
    }
    assert!(!folder.path().join("scratch").exists(), "nothing on disk");
}
