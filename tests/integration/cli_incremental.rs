//! What one process has found out helps the next one, and nobody else can read it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{CACHE, Cli};

const ON: (&str, &str) = ("METAXY_EXT__DATAFUSION__INCREMENTAL_RESOLVE", "true");

fn said(folder: &Path, sql: &str) -> String {
    Cli::new(folder).sql(&[sql]).env(ON.0, ON.1).run().ok()
}

fn way(folder: &Path) -> String {
    let plan = said(folder, "EXPLAIN FORMAT INDENT SELECT * FROM resolve_update('b')");
    let (_, way) = plan.split_once("compared=").unwrap_or_else(|| panic!("{plan}"));
    way.split_once(')').unwrap().0.to_owned() + ")"
}

/// Ten samples, of which one is stale.
fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "metaxy.toml",
        "project = \"p\"\nstore = \"dev\"\n[stores.dev]\ntype = \"delta\"\nconfig.root_path = \"st\"\n\
         [ext.datafusion]\nfeatures = [\"features.toml\"]\n",
    );
    write(
        "features.toml",
        "project = \"p\"\n[[feature]]\nkey = \"a\"\nid_columns = [\"id\"]\n\
         [[feature]]\nkey = \"b\"\nid_columns = [\"id\"]\ndeps = [\"a\"]\n",
    );
    let rows = |version: &str, last: u8| {
        format!(
            "INSERT INTO a SELECT value AS id, named_struct('default', '{version}') AS metaxy_provenance_by_field
             FROM generate_series(1, {last})"
        )
    };
    let computed = "INSERT INTO b SELECT * FROM resolve_update('b')";
    Cli::new(folder.path()).sql(&[&rows("v1", 10), computed, &rows("v2", 1)]).run().ok();
    folder
}

#[test]
fn a_process_goes_on_from_what_another_one_has_found() {
    let folder = project();
    let folder = folder.path();
    let question = "SELECT * FROM resolve_update('b')";
    assert_eq!(way(folder), "everything (there is no earlier comparison)");
    let first = said(folder, question);
    assert_eq!(way(folder), "changes since the last comparison (files=0)");
    assert_eq!(said(folder, question), first);
    let records = folder.join(CACHE).join("metaxy/increments");
    assert_eq!(fs::read_dir(&records).unwrap().count(), 1);
    fs::remove_dir_all(&records).unwrap();
    assert_eq!(way(folder), "everything (there is no earlier comparison)");
    assert_eq!(said(folder, question), first);
    // Without a place for it there is none, and that is all.
    fs::remove_dir_all(folder.join(CACHE)).unwrap();
    fs::write(folder.join(CACHE), "").unwrap();
    assert_eq!(said(folder, question), first);
    assert_eq!(way(folder), "everything (there is no earlier comparison)");
}
