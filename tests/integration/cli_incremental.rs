//! What one process has found out helps the next one, and nobody else can read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use datafusion_metaxy::config::{Config, Environment};
use datafusion_metaxy::session::{MetaxySession, SessionOptions};
use tempfile::TempDir;

use crate::support::{CACHE, Cli, files_below};

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
         [[feature]]\nkey = \"b\"\nid_columns = [\"id\"]\ndeps = [\"a\"]\n\
         [[feature]]\nkey = \"c\"\nid_columns = [\"id\"]\n\
         [[feature]]\nkey = \"d\"\nid_columns = [\"id\"]\ndeps = [\"c\"]\n",
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

#[test]
fn what_is_kept_of_an_answer_is_as_large_as_its_keys() {
    let folder = project();
    let folder = folder.path();
    let write = |version: &str, step: u32| {
        let rows = format!(
            "INSERT INTO c SELECT 'a rather long id: ' || (100000000 * value) AS id,
             named_struct('default', '{version}') AS metaxy_provenance_by_field
             FROM generate_series(1, 100000, {step})"
        );
        said(folder, &rows)
    };
    write("v1", 1);
    said(folder, "INSERT INTO d SELECT * FROM resolve_update('d')");
    // A thousand keys of some thirty bytes: what they were read and cut from is not kept with them.
    write("v2", 100);
    said(folder, "SELECT count(*) FROM resolve_update('d')");
    let records = folder.join(CACHE).join("metaxy/increments");
    let sizes: Vec<u64> =
        fs::read_dir(&records).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    let largest = sizes.iter().copied().max().unwrap();
    assert!((10_000..100_000).contains(&largest), "{sizes:?}");
}

/// The answer to a question, which has to be the same without what was found before.
fn same(folder: &Path, sql: &str) -> String {
    let whole = Cli::new(folder).sql(&["SET metaxy.incremental_resolve = false", sql]).run().ok();
    assert_eq!(said(folder, sql), whole, "{sql}");
    whole
}

/// Writes samples of `c` with these numbers: arguments of `generate_series`.
fn write_numbered(folder: &Path, version: &str, numbers: &str) -> String {
    let rows = format!(
        "INSERT INTO c SELECT concat('sample-', lpad(CAST(value AS VARCHAR), 6, '0')) AS id, value AS size,
         named_struct('default', '{version}') AS metaxy_provenance_by_field
         FROM generate_series({numbers})"
    );
    said(folder, &rows)
}

/// Makes pages of a Delta table's files unreadable, those that begin at one of these rows of their row group.
fn damage(table: &Path, files: &BTreeSet<String>, is_bad: impl Fn(i64) -> bool) {
    let files = files.iter().filter(|file| file.ends_with(".parquet") && !file.contains("_delta_log"));
    for file in files.map(|file| table.join(file)) {
        let mut bytes = fs::read(&file).unwrap();
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(&bytes::Bytes::from(bytes.clone())).unwrap();
        let columns = metadata.offset_index().unwrap().iter().flatten();
        for page in
            columns.flat_map(|column| column.page_locations()).filter(|page| is_bad(page.first_row_index))
        {
            let start = usize::try_from(page.offset).unwrap();
            bytes[start..start + usize::try_from(page.compressed_page_size).unwrap()].fill(0xff);
        }
        fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn pages_without_changed_samples_are_not_read() {
    let folder = project();
    let folder = folder.path();
    write_numbered(folder, "v1", "1, 20000");
    said(folder, "INSERT INTO d SELECT * FROM resolve_update('d')");
    said(folder, "SELECT * FROM resolve_update('d')");
    write_numbered(folder, "v2", "7, 900, 100");
    for table in ["st/c.delta", "st/d.delta"] {
        let table = folder.join(table);
        damage(&table, &files_below(&table), |row| row > 0);
    }
    let question = "SELECT metaxy_increment, id, size FROM resolve_update('d')";
    assert_eq!(said(folder, question).matches("stale").count(), 9);
    let everything = ["SET metaxy.incremental_resolve = false", question];
    Cli::new(folder).sql(&everything).run().failed();
}

#[test]
fn samples_that_lie_far_apart_are_found() {
    let folder = project();
    let folder = folder.path();
    let write = |version: &str, numbers: &str| write_numbered(folder, version, numbers);
    // Many pages of a file, and what was found out about all of them.
    write("v1", "1, 20000");
    said(folder, "INSERT INTO d SELECT * FROM resolve_update('d')");
    let classes = |expected: &[(&str, u32)]| {
        let lines: String = expected.iter().map(|(class, rows)| format!("{class},{rows}\n")).collect();
        same(folder, "SELECT * FROM resolve_update('d') ORDER BY id");
        let counts = "SELECT metaxy_increment, count(*) FROM resolve_update('d') GROUP BY 1 ORDER BY 1";
        let printed = Cli::new(folder).sql(&[counts]).args(["--format", "csv"]).env(ON.0, ON.1).run().ok();
        assert_eq!(printed.split_once('\n').map_or("", |(_, rows)| rows), lines);
    };
    classes(&[]);
    write("v2", "7, 20000, 4001");
    classes(&[("stale", 5)]);
    // Rows of one sample in three files; the others are only in the first.
    write("v3", "7, 7");
    said(folder, "DELETE FROM c WHERE id IN ('sample-004008', 'sample-011111')");
    classes(&[("orphaned", 2), ("stale", 4)]);
    said(folder, "DELETE FROM d WHERE id IN ('sample-000003', 'sample-019999')");
    classes(&[("new", 2), ("orphaned", 2), ("stale", 4)]);
    // One that was deleted comes back as it was, another one is new.
    write("v1", "11111, 11111");
    write("v1", "30000, 30000");
    classes(&[("new", 3), ("orphaned", 1), ("stale", 4)]);
    said(folder, "INSERT INTO d SELECT * FROM resolve_update('d') WHERE metaxy_increment <> 'orphaned'");
    classes(&[("orphaned", 1)]);
}

const COMPUTE: &str = "INSERT INTO d SELECT * FROM resolve_update('d') WHERE metaxy_increment <> 'orphaned'";

#[test]
fn what_was_written_anew_is_not_searched_for_in_older_files() {
    let folder = project();
    let folder = folder.path();
    let tables = ["st/c.delta", "st/d.delta"].map(|table| folder.join(table));
    // More rows than are read to find out which samples they are of.
    let write = |version: &str| {
        write_numbered(folder, version, "1, 70000");
        said(folder, COMPUTE);
    };
    write("v1");
    write("v2");
    let older = tables.each_ref().map(|table| files_below(table));
    write("v3");
    said(folder, "SELECT * FROM resolve_update('d')");
    for (table, older) in tables.iter().zip(&older) {
        damage(table, older, |_| true);
    }
    write_numbered(folder, "v4", "7, 60000, 4001");
    let question = "SELECT metaxy_increment, id, size FROM resolve_update('d')";
    assert_eq!(said(folder, question).matches("stale").count(), 15);
    let everything = ["SET metaxy.incremental_resolve = false", question];
    Cli::new(folder).sql(&everything).run().failed();
}

#[test]
fn samples_are_found_in_whichever_large_file_has_them_last() {
    let folder = project();
    let folder = folder.path();
    for (version, numbers) in
        [("v1", "1, 70000"), ("v2", "1, 70000"), ("v3", "30001, 110000"), ("v4", "60001, 150000")]
    {
        write_numbered(folder, version, numbers);
        said(folder, COMPUTE);
    }
    let question = "SELECT * FROM resolve_update('d') ORDER BY id";
    same(folder, question);
    write_numbered(folder, "v5", "5, 160000, 9001");
    said(folder, "DELETE FROM c WHERE id IN ('sample-000020', 'sample-030020', 'sample-060020')");
    said(folder, "DELETE FROM d WHERE id IN ('sample-000030', 'sample-030030', 'sample-060030')");
    let answer = same(folder, question);
    for (class, rows) in [("stale", 17), ("orphaned", 3), ("new", 4)] {
        assert_eq!(answer.matches(&format!(" {class} ")).count(), rows, "{class}: {answer}");
    }
}

#[test]
fn lists_that_look_alike_are_different_questions() {
    let folder = project();
    let tags = "INSERT INTO b SELECT id, metaxy_provenance_by_field,
                CASE id WHEN 4 THEN ['a, b'] WHEN 5 THEN ['a', 'b'] END AS tags FROM b";
    said(folder.path(), tags);
    let one = "SELECT id FROM resolve_update('b', stale_when => tags = ['a, b']) ORDER BY id";
    let two = "SELECT id FROM resolve_update('b', stale_when => tags = ['a', 'b']) ORDER BY id";
    let answers = [one, two, one].map(|question| same(folder.path(), question));
    assert!(answers[0] == answers[2] && answers[0] != answers[1], "{answers:?}");
}

#[test]
fn an_id_that_counts_nowhere_fails_nowhere() {
    let folder = project();
    let folder = folder.path();
    let write = |id: &str| {
        said(
            folder,
            &format!(
                "INSERT INTO c SELECT '{id}' AS id, named_struct('default', '1') AS metaxy_provenance_by_field"
            ),
        )
    };
    for id in ["1", "2", "3", "4"] {
        write(id);
    }
    said(
        folder,
        "INSERT INTO d SELECT CAST(id AS BIGINT) AS id, metaxy_provenance_by_field FROM resolve_update('d')",
    );
    let questions =
        ["SELECT id, metaxy_increment FROM resolve_update('d')", "SELECT * FROM resolve_update('d')"];
    for question in questions {
        same(folder, question);
    }
    // No number, but gone before anybody asks.
    write("abc");
    said(folder, "DELETE FROM c WHERE id = 'abc'");
    for question in questions {
        same(folder, question);
    }
    said(
        folder,
        "INSERT INTO c SELECT '2' AS id, named_struct('default', '2') AS metaxy_provenance_by_field",
    );
    for question in questions {
        assert!(same(folder, question).contains("stale"), "{question}");
    }
}

/// The rows of one feature's folder as they were.
fn set_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to.join("_delta_log")).unwrap();
    fs::create_dir_all(to.join("_delta_log")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join("_delta_log").join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_was_open_before_a_table_was_set_back_leaves_no_record() {
    let folder = project();
    let folder = folder.path();
    let (table, backup) = (folder.join("st/a.delta"), folder.join("backup"));
    fs::create_dir(&backup).unwrap();
    for entry in fs::read_dir(table.join("_delta_log")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), backup.join(entry.file_name())).unwrap();
    }
    let change = |id: u8| {
        format!(
            "INSERT INTO a SELECT {id} AS id, named_struct('default', 'v{id}') AS metaxy_provenance_by_field"
        )
    };
    let question = "SELECT id, metaxy_increment FROM resolve_update('b') ORDER BY id";
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut config = Config::load(None, folder, &Environment::default()).unwrap();
        // In the file it is relative to the working directory.
        config.stores["dev"].root_path = Some(folder.join("st").display().to_string());
        let records = Some(folder.join(CACHE).join("metaxy/increments"));
        let session = MetaxySession::open(config, SessionOptions { records, ..SessionOptions::default() })
            .await
            .unwrap();
        said(folder, &change(2));
        said(folder, &change(3));
        session.sql("SET metaxy.incremental_resolve = true").await.unwrap();
        session.sql(&format!("PREPARE due AS {question}")).await.unwrap();
        session.sql("EXECUTE due").await.unwrap().collect().await.unwrap();
        set_back(&backup, &table);
        for id in [4, 5, 6] {
            said(folder, &change(id));
        }
        session.sql("EXECUTE due").await.unwrap().collect().await.unwrap();
    });
    assert!(same(folder, question).contains('4'));
}
