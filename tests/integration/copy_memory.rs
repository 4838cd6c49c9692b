//! A copy under a memory limit: what is there already is told by its keys, not by holding all rows at once.

use crate::support::Project;

const FEATURES: &str = "[[feature]]\nkey = \"clip\"\nid_columns = [\"id\"]\n";

/// Rows of about two kilobytes: all of them together are more than twice the limit.
const ROWS: usize = 30_000;
const LIMIT: &str = "24m";

fn insert(from: usize, to: usize) -> String {
    format!(
        "INSERT INTO clip SELECT concat('clip ', value) AS id, repeat(md5(CAST(value AS VARCHAR)), 30) AS text, \
         repeat(md5(CAST(value + 1 AS VARCHAR)), 30) AS more, named_struct('default', concat('v', value)) \
         AS metaxy_provenance_by_field FROM generate_series({from}, {to})"
    )
}

/// A project with a second store, of this kind, beside the one that a test project has.
fn project(kind: &'static str, copy: &str) -> Project {
    let project = Project::of_kind(kind, FEATURES, "", "");
    let config = std::fs::read_to_string(project.path().join("metaxy.toml")).unwrap();
    let root = project.path().join("copy");
    let more = format!("\n[stores.copy]\ntype = {copy:?}\n[stores.copy.config]\nroot_path = {root:?}\n");
    project.write("metaxy.toml", &(config + &more));
    project
}

/// Rows that were copied under the limit.
fn copied(project: &Project) -> usize {
    let copy = "CALL copy.system.copy(from_store => 'dev')";
    let printed = project.cli().args(["-m", LIMIT, "--format", "csv"]).sql(&[copy]).run().ok();
    printed.strip_prefix("feature,rows\nclip,").unwrap().trim().parse().unwrap()
}

fn count(project: &Project, store: &str) -> usize {
    let count = format!("SELECT count(*) AS n FROM {store}.history.clip");
    let printed = project.cli().args(["--format", "csv"]).sql(&[&count]).run().ok();
    printed.strip_prefix("n\n").unwrap().trim().parse().unwrap()
}

fn a_copy_and_another_one(kind: &'static str, copy: &str) {
    let project = project(kind, copy);
    project.cli().sql(&[&insert(1, ROWS)]).run().ok();
    assert_eq!(copied(&project), ROWS);
    assert_eq!(copied(&project), 0);
    // One more, and one that is there in another version.
    project.cli().sql(&[&insert(ROWS, ROWS + 1)]).run().ok();
    assert_eq!(copied(&project), 2);
    assert_eq!((count(&project, "dev"), count(&project, "copy")), (ROWS + 2, ROWS + 2));
}

#[test]
fn a_repeated_copy_of_delta_tables_stays_within_the_limit() {
    a_copy_and_another_one("delta", "parquet");
}

#[test]
fn a_repeated_copy_of_parquet_files_stays_within_the_limit() {
    a_copy_and_another_one("parquet", "delta");
}
