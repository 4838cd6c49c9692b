//! `init`: from a folder of images to the list of what has changed in it, and never over somebody's files.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Cli, files_below};

fn images(folder: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("images/more")).unwrap();
    for (name, text) in files {
        fs::write(folder.join("images").join(name), text).unwrap();
    }
}

/// What a script prints, as CSV.
fn script(folder: &Path, name: &str) -> String {
    Cli::new(folder).args(["-q", "--format", "csv", "-f", name]).run().ok()
}

#[test]
fn new_changed_and_removed_images_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder, &[("a.jpg", "sunrise"), ("b.jpg", "harbour"), ("more/c.jpg", "bridge")]);
    let said = Cli::new(folder).args(["init", "images/"]).run().ok();
    assert!(said.starts_with("Wrote metaxy.toml, features.toml, "), "{said}");
    let first = "change,path,size\nnew,images/a.jpg,7\nnew,images/b.jpg,7\nnew,images/more/c.jpg,6\n";
    assert_eq!(script(folder, "changes.sql"), first);
    assert_eq!(script(folder, "changes.sql"), first, "a look changes nothing");
    assert_eq!(script(folder, "update.sql"), "count\n3\ncount\n0\n");
    let nothing = "change,path,size\n";
    assert_eq!(script(folder, "changes.sql"), nothing);

    images(folder, &[("b.jpg", "harbour at night"), ("d.jpg", "market")]);
    fs::remove_file(folder.join("images/more/c.jpg")).unwrap();
    // A copy, or a file that was touched, is not a change.
    fs::copy(folder.join("images/a.jpg"), folder.join("images/copy.jpg")).unwrap();
    fs::rename(folder.join("images/copy.jpg"), folder.join("images/a.jpg")).unwrap();
    let changed =
        "change,path,size\nstale,images/b.jpg,16\nnew,images/d.jpg,6\norphaned,images/more/c.jpg,6\n";
    assert_eq!(script(folder, "changes.sql"), changed);
    for file in ["listing.sql", "changes.sql"] {
        let status = ["status", "--prepare", file, "--samples", "images=images_now", "--format", "csv"];
        let counted = Cli::new(folder).args(status).run().ok();
        assert!(counted.contains("\nimages,needs_update,3,1,1,1,0,1,"), "{counted}");
    }
    assert_eq!(script(folder, "update.sql"), "count\n2\ncount\n1\n");
    assert_eq!(script(folder, "changes.sql"), nothing);
    // A file that comes back.
    images(folder, &[("more/c.jpg", "bridge")]);
    assert_eq!(script(folder, "changes.sql"), "change,path,size\nnew,images/more/c.jpg,6\n");
}

#[test]
fn the_example_in_the_feature_file_is_a_feature() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path(), &[("a.jpg", "sunrise")]);
    Cli::new(folder.path()).args(["init", "images"]).run().ok();
    let text = fs::read_to_string(folder.path().join("features.toml")).unwrap();
    let (commented, rest) = text.split_once("\n# [[feature]]").unwrap();
    let (feature, _) = rest.split_once("\n#\n").unwrap();
    let features = format!("{commented}\n[[feature]]{}\n", feature.replace("\n# ", "\n"));
    fs::write(folder.path().join("features.toml"), features).unwrap();
    script(folder.path(), "update.sql");
    let sql = "SELECT metaxy_increment, path FROM resolve_update('images/thumbnail')";
    let found = Cli::new(folder.path()).args(["--format", "csv"]).sql(&[sql]).run().ok();
    assert_eq!(found, "metaxy_increment,path\nnew,images/a.jpg\n");
}

#[test]
fn no_file_is_overwritten() {
    for taken in ["metaxy.toml", "update.sql"] {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path(), &[]);
        fs::write(folder.path().join(taken), "-- mine").unwrap();
        let error = Cli::new(folder.path()).args(["init", "images"]).env("METAXY_CONFIG", "").run().failed();
        assert_eq!(error, format!("{taken}: is there already; nothing was written"));
        assert_eq!(fs::read_to_string(folder.path().join(taken)).unwrap(), "-- mine");
        assert_eq!(files_below(folder.path()).len(), 1);
    }
}

#[test]
fn folders_and_names_of_all_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("Ada's Photos (2024)");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("x.jpg"), "x").unwrap();
    let files = Cli::new(folder.path()).args(["init", "Ada's Photos (2024)", "--format", "json"]).run().ok();
    let names: serde_json::Value = serde_json::from_str(&files).unwrap();
    assert_eq!(names[0], json!({"file": "metaxy.toml"}));
    let found = script(folder.path(), "changes.sql");
    assert_eq!(found, "change,path,size\nnew,Ada's Photos (2024)/x.jpg,1\n");
    let list = Cli::new(folder.path()).args(["list", "features", "--format", "csv"]).run().ok();
    assert!(list.contains("\nada_s_photos_2024,"), "{list}");

    let named = tempfile::tempdir().unwrap();
    images(named.path(), &[]);
    let args = ["init", "images", "--feature", "image/raw", "--project", "demo"];
    Cli::new(named.path()).args(args).run().ok();
    fs::remove_dir_all(named.path().join("images")).unwrap();
    // A folder that isn't there is an error, never a list of removed files.
    let error = Cli::new(named.path()).args(["-q", "-f", "changes.sql"]).run().failed();
    assert!(error.contains("images"), "{error}");
    images(named.path(), &[("a.jpg", "a")]);
    script(named.path(), "update.sql");
    let list = Cli::new(named.path()).args(["list", "features", "--format", "csv"]).run().ok();
    assert!(list.contains("\nimage/raw,demo,"), "{list}");

    // A folder with the name of an SQL keyword, and one that is written with detours.
    for (name, shown) in [("table", "table"), ("./order/.", "order"), ("Select/../group", "group")] {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join(shown)).unwrap();
        fs::create_dir_all(place.path().join("Select")).unwrap();
        fs::write(place.path().join(shown).join("a.jpg"), "a").unwrap();
        Cli::new(place.path()).args(["init", name]).run().ok();
        assert_eq!(script(place.path(), "changes.sql"), format!("change,path,size\nnew,{shown}/a.jpg,1\n"));
        assert_eq!(script(place.path(), "update.sql"), "count\n1\ncount\n0\n", "{name}");
    }

    images(named.path(), &[("a.jpg", "a")]);
    let ran = Cli::new(named.path()).args(["init", "images/a.jpg"]).run();
    assert!(ran.code == Some(2) && ran.stderr.contains("is a file"), "{ran:#?}");

    for wrong in [&["."][..], &[".."], &["*.jpg"], &[""], &["x", "--project", "a b"], &[]] {
        let nowhere = tempfile::tempdir().unwrap();
        let ran = Cli::new(nowhere.path()).args(["init"]).args(wrong).run();
        assert_eq!(ran.code, Some(2), "{wrong:?}: {ran:#?}");
        assert!(files_below(nowhere.path()).is_empty());
    }
    for key in ["a//b", "A B"] {
        let ran = Cli::new(named.path()).args(["init", "images", "--feature", key]).run();
        assert!(ran.code == Some(2) && ran.stderr.starts_with("error: invalid key"), "{ran:#?}");
        assert!(ran.stderr.contains(key), "{ran:#?}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path(), &[]);
    for (given, problem) in [
        ("imagse", "there is no folder imagse; did you mean images?"),
        ("./images/mroe", "there is no folder images/mroe; did you mean images/more?"),
        ("videos", "there is no folder videos; make it first"),
        ("s3://bucket/images", "s3://bucket/images is no folder of this machine; "),
    ] {
        let ran = Cli::new(folder.path()).args(["init", given]).run();
        assert!(ran.code == Some(2) && ran.stderr.starts_with(&format!("error: {problem}")), "{ran:#?}");
        assert!(files_below(folder.path()).is_empty());
    }
}

#[test]
fn the_folder_of_the_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("metaxy-store/images")).unwrap();
    for given in ["metaxy-store", "./metaxy-store/", "metaxy-store/images"] {
        let ran = Cli::new(folder.path()).args(["init", given]).run();
        let problem = "error: the store of the project goes into metaxy-store, and its files would be listed";
        assert!(ran.code == Some(2) && ran.stderr.starts_with(problem), "{ran:#?}");
        assert!(files_below(folder.path()).is_empty());
    }
}

#[test]
fn a_folder_may_be_named_like_a_place_in_the_scripts() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("{view}")).unwrap();
    fs::write(folder.path().join("{view}/a.jpg"), "a").unwrap();
    Cli::new(folder.path()).args(["init", "{view}"]).run().ok();
    assert_eq!(script(folder.path(), "changes.sql"), "change,path,size\nnew,{view}/a.jpg,1\n");
}

#[test]
fn an_empty_folder_has_no_changes_and_no_rows_to_write() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path(), &[]);
    Cli::new(folder.path()).args(["init", "images"]).run().ok();
    assert_eq!(script(folder.path(), "changes.sql"), "change,path,size\n");
    for _ in 0..2 {
        assert_eq!(script(folder.path(), "update.sql"), "count\n0\ncount\n0\n");
    }
    images(folder.path(), &[("a.jpg", "a")]);
    assert_eq!(script(folder.path(), "update.sql"), "count\n1\ncount\n0\n");
}

/// No object store would show all of these.
#[cfg(unix)]
#[test]
fn files_of_any_name_are_listed() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let names = ["100% #1.jpg", "a\tb", "a\nb", "back\\slash", "del\u{7f}", "scan#1", "ä?", ".hidden"];
    images(folder.path(), &names.map(|name| (name, "x")));
    let inside = folder.path().join("images/more");
    fs::write(inside.join("deep#22"), "deep").unwrap();
    // Links that lead back, to themselves, nowhere, and to a file.
    symlink("../../images", inside.join("back")).unwrap();
    symlink("self", inside.join("self")).unwrap();
    symlink("gone", inside.join("nowhere")).unwrap();
    symlink("deep#22", inside.join("link")).unwrap();
    Cli::new(folder.path()).args(["init", "images"]).run().ok();
    let listed = |sql: &str| {
        let found = Cli::new(folder.path()).args(["--format", "json"]).sql(&[sql]).run().ok();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&found).unwrap();
        let paths = rows.iter().map(|row| row["path"].as_str().unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    let mut all: Vec<String> = names.iter().map(|name| format!("images/{name}")).collect();
    all.sort();
    let mut deep = all.clone();
    deep.extend(["images/more/deep#22".to_owned(), "images/more/link".to_owned()]);
    deep.sort();
    assert_eq!(listed("SELECT path FROM files('images/*')"), all);
    assert_eq!(listed("SELECT path FROM files('images')"), deep);
    assert_eq!(listed("SELECT path FROM files('images/**/*', content_hash => true)"), deep);
    assert_eq!(listed("SELECT path FROM files('images/scan#1')"), ["images/scan#1"]);
    assert_eq!(listed("SELECT path FROM files('images/more/d*')"), ["images/more/deep#22"]);
    let url = format!("file://{}/images/more/*", folder.path().display());
    let url = listed(&format!("SELECT path FROM files('{url}')"));
    assert!(url.len() == 2 && url[0].ends_with("/images/more/deep#22"), "{url:?}");
    let content = "SELECT content AS path FROM files('images/more/deep#22', content => true)";
    assert_eq!(listed(content), ["deep"]);
    assert_eq!(listed("SELECT path FROM files('images/none*')"), [""; 0]);

    assert_eq!(script(folder.path(), "update.sql"), format!("count\n{}\ncount\n0\n", deep.len()));
    fs::write(folder.path().join("images/scan#1"), "y").unwrap();
    assert_eq!(script(folder.path(), "changes.sql"), "change,path,size\nstale,images/scan#1,1\n");
}
