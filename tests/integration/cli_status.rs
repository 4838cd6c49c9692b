//! `status`: counts, exit codes, features that can't be checked, and the samples of roots.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli_project::{CHANGED_LISTING, csv, photos};
use crate::pending;
use crate::support::{Cli, Project, Ran};

fn status(folder: &Path, args: &[&str]) -> Ran {
    Cli::new(folder).args(["status", "--format", "json"]).args(args).run()
}

/// The line of each feature, by its key.
fn lines(ran: &Ran) -> serde_json::Map<String, Value> {
    let rows: Vec<Value> =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"));
    rows.into_iter().map(|row| (row["feature"].as_str().unwrap().to_owned(), row)).collect()
}

fn counts(row: &Value) -> [Value; 7] {
    ["status", "stored", "new", "stale", "orphaned", "up_to_date", "progress"].map(|name| row[name].clone())
}

#[test]
fn counts_of_every_feature_in_every_format() {
    let folder = photos();
    let ran = status(folder.path(), &[]);
    let found = lines(&ran);
    assert_eq!((ran.code, ran.stderr.as_str(), found.len()), (Some(0), "", 3));
    let root =
        [json!("root_feature"), json!(3), json!(null), json!(null), json!(null), json!(null), json!(null)];
    assert_eq!(counts(&found["photo"]), root);
    let face = [json!("needs_update"), json!(2), json!(1), json!(0), json!(0), json!(2), json!(66.6)];
    assert_eq!(counts(&found["photo/face"]), face);
    // Rows of another version of the definition don't count.
    let size = [json!("missing"), json!(0), json!(3), json!(0), json!(0), json!(0), json!(0.0)];
    assert_eq!(counts(&found["photo/size"]), size);

    let table = Cli::new(folder.path()).args(["status", "-q"]).run().ok();
    assert!(table.contains("| photo/face | needs_update | 2      | 1   |"), "{table}");
    let csv = Cli::new(folder.path()).args(["--format", "csv", "status", "photo__face"]).run().ok();
    assert_eq!(
        csv,
        "feature,status,stored,new,stale,orphaned,pending,up_to_date,progress,note\n\
         photo/face,needs_update,2,1,0,0,0,2,66.6,\n"
    );
}

const ALBUMS: &str = r#"
[[feature]]
key = "photo"
id_columns = ["path"]

[[feature]]
key = "album"
id_columns = ["album"]
deps = [{ feature = "photo", lineage = { type = "N:1", on = ["album"] } }]

[[feature]]
key = "tile"
id_columns = ["path", "tile"]
deps = [{ feature = "photo", lineage = { type = "1:N", on = ["path"] } }]
"#;

#[test]
fn what_is_counted_are_samples_whatever_the_lineage() {
    let project = Project::new(ALBUMS);
    let cli = |sql: &str| project.cli().sql(&[sql]).run().ok();
    // 30 photos in three albums.
    cli("INSERT INTO photo SELECT CAST(value AS VARCHAR) AS path, CONCAT('album ', value % 3) AS album,
         named_struct('default', 'v1') AS metaxy_provenance_by_field FROM generate_series(1, 30)");
    let of = |feature: &str| counts(&lines(&status(project.path(), &[feature]))[feature]);
    let none = [json!("missing"), json!(0), json!(3), json!(0), json!(0), json!(0), json!(0.0)];
    assert_eq!(of("album"), none);
    let write = |condition: &str| {
        format!(
            "INSERT INTO album SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY album) AS n
             FROM resolve_update('album')) WHERE n = 1 AND {condition}"
        )
    };
    cli(&write("album = 'album 0'"));
    let one = [json!("needs_update"), json!(1), json!(2), json!(0), json!(0), json!(1), json!(33.3)];
    assert_eq!(of("album"), one);
    cli(&write("true"));
    let all = [json!("up_to_date"), json!(3), json!(0), json!(0), json!(0), json!(3), json!(100.0)];
    assert_eq!(of("album"), all);
    // A photo that leaves its album changes one sample.
    cli("DELETE FROM photo WHERE path = '30'");
    let stale = [json!("needs_update"), json!(3), json!(0), json!(1), json!(0), json!(2), json!(100.0)];
    assert_eq!(of("album"), stale);

    // Of a photo with tiles, the photo is what is compared, and stored are the tiles.
    cli("INSERT INTO tile SELECT * FROM resolve_update('tile') CROSS JOIN (VALUES (1), (2)) AS t(tile)");
    let tiles = of("tile");
    assert_eq!(tiles[0], json!("up_to_date"));
    assert_eq!((&tiles[1], &tiles[5]), (&json!(58), &json!(29)));
    let graph = project.cli().args(["graph", "--status", "--format", "csv"]).run().ok();
    assert!(graph.lines().any(|line| line.starts_with("album,") && line.contains(",0,1,0,0,2,")), "{graph}");
}

#[test]
fn counts_are_those_of_resolve_update() {
    let folder = photos();
    let update = "INSERT INTO photo SELECT * FROM resolve_update('photo', listing) WHERE metaxy_increment <> 'orphaned'";
    let delete = "DELETE FROM photo WHERE path = 'a.jpg'";
    fs::write(folder.path().join("listing.sql"), CHANGED_LISTING).unwrap();
    Cli::new(folder.path()).args(["-f", "listing.sql"]).sql(&[update, delete]).run().ok();
    // Left of the photos are b (changed), c and d (new); faces are there of a and b.
    let row = &lines(&status(folder.path(), &["photo/face"]))["photo/face"];
    assert_eq!(
        counts(row),
        [json!("needs_update"), json!(2), json!(2), json!(1), json!(1), json!(0), json!(33.3)]
    );
    let sql =
        "SELECT metaxy_increment, count(*) AS n FROM resolve_update('photo/face') GROUP BY 1 ORDER BY 1";
    assert_eq!(csv(folder.path(), sql), "metaxy_increment,n\nnew,2\norphaned,1\nstale,1\n");
}

#[test]
fn a_root_is_compared_with_its_samples() {
    let folder = photos();
    fs::write(folder.path().join("listing.sql"), CHANGED_LISTING).unwrap();
    let expected = [json!("needs_update"), json!(3), json!(1), json!(1), json!(1), json!(1), json!(66.6)];
    let prepared = ["photo", "--prepare", "listing.sql", "--samples"];
    for samples in
        ["photo=listing", "photo = SELECT * FROM listing", "photo=(SELECT * FROM listing WHERE true)"]
    {
        let ran = status(folder.path(), &[&prepared[..], &[samples]].concat());
        assert_eq!((ran.code, counts(&lines(&ran)["photo"])), (Some(0), expected.clone()), "{ran:#?}");
    }
    let wrong = |samples: &str| Cli::new(folder.path()).args(["status"]).args(prepared).args([samples]).run();
    for (samples, message) in [
        ("photo=listing; DROP VIEW listing", "neither a table nor one query"),
        ("photo=(SELECT 1); SELECT 2", "neither a table nor one query"),
        ("photo=DELETE FROM photo", "syntax error"),
        ("photo=nowhere", "unknown feature nowhere; there is no table or view of this name either"),
        ("photos=listing", "did you mean photo?"),
        ("photo/face=listing", "is not checked here"),
    ] {
        let error = wrong(samples).failed();
        assert!(error.contains(message), "{samples}: {error}");
    }
    assert_eq!(wrong("listing").code, Some(2));
    assert_eq!(csv(folder.path(), "SELECT count(*) AS n FROM photo"), "n\n3\n");
}

#[test]
fn in_sync_is_an_exit_code() {
    let folder = photos();
    let check = |args: &[&str]| status(folder.path(), &[args, &["--assert-in-sync"]].concat()).code;
    // Something is new; another has no data.
    assert_eq!(check(&["photo/face"]), Some(1));
    assert_eq!(check(&["photo/size"]), Some(1));
    assert_eq!(check(&[]), Some(1));
    let faces = "INSERT INTO photo__face SELECT *, 0 AS faces FROM resolve_update('photo/face')";
    let sizes = "INSERT INTO photo__size SELECT *, 1 AS width FROM resolve_update('photo/size')";
    Cli::new(folder.path()).sql(&[faces, sizes]).run().ok();
    assert_eq!(check(&["photo/face"]), Some(0));
    assert_eq!(check(&[]), Some(0));
    let found = lines(&status(folder.path(), &[]));
    assert_eq!(
        (&found["photo/size"]["status"], &found["photo/size"]["progress"]),
        (&json!("up_to_date"), &json!(100.0))
    );
    // With its samples the root counts, too.
    fs::write(folder.path().join("listing.sql"), CHANGED_LISTING).unwrap();
    let samples = ["photo", "--prepare", "listing.sql", "--samples", "photo=listing"];
    assert_eq!(check(&samples), Some(1));
    assert_eq!(status(folder.path(), &samples).code, Some(0));
    // A stale sample.
    let changed =
        "INSERT INTO photo SELECT * FROM resolve_update('photo', listing) WHERE metaxy_increment = 'stale'";
    Cli::new(folder.path()).args(["-f", "listing.sql"]).sql(&[changed]).run().ok();
    assert_eq!(check(&["photo/face"]), Some(1));
}

#[test]
fn what_waits_for_a_parent_is_pending() {
    let project = Project::new(&pending::features("1"));
    let sql = |sql: &str| project.cli().sql(&[sql]).run().ok();
    let insert = |ids: &str| {
        sql(&format!(
            "INSERT INTO video SELECT column1 AS video_id, named_struct('sound', 's', 'picture', 'p') \
             AS metaxy_provenance_by_field FROM (VALUES {ids})"
        ))
    };
    let of = || {
        let ran = status(project.path(), &["video/text", "--assert-in-sync"]);
        let row = lines(&ran)["video/text"].clone();
        (ran.code, ["status", "pending", "up_to_date"].map(|name| row[name].clone()))
    };
    insert("('a'), ('b')");
    sql("INSERT INTO video__text SELECT * FROM resolve_update('video/text')");
    assert_eq!(of(), (Some(0), [json!("up_to_date"), json!(0), json!(2)]));
    // There is nothing to compute for them now.
    project.write("features.toml", &pending::features("2"));
    assert_eq!(of(), (Some(0), [json!("pending"), json!(2), json!(0)]));
    insert("('a')");
    assert_eq!(of(), (Some(0), [json!("pending"), json!(1), json!(1)]));
    insert("('c')");
    assert_eq!(of(), (Some(1), [json!("needs_update"), json!(1), json!(1)]));
    insert("('b')");
    sql("INSERT INTO video__text SELECT * FROM resolve_update('video/text')");
    assert_eq!(of(), (Some(0), [json!("up_to_date"), json!(0), json!(3)]));
}

#[test]
fn without_any_data_nothing_is_in_sync_and_nothing_fails() {
    let folder = photos();
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let ran = status(folder.path(), &[]);
    let found = lines(&ran);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for feature in ["photo", "photo/face", "photo/size"] {
        assert_eq!((&found[feature]["status"], &found[feature]["stored"]), (&json!("missing"), &json!(0)));
    }
    assert_eq!(found["photo/face"]["note"], "its parent photo has no data");
    for features in [&["photo"][..], &["photo/face"], &[]] {
        let ran = status(folder.path(), &[features, &["--assert-in-sync"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{features:?}");
    }
    // An empty project has nothing that is in sync either.
    fs::write(folder.path().join("features.toml"), "").unwrap();
    let ran = status(folder.path(), &["--assert-in-sync"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "[]\n"));
    assert!(ran.stderr.contains("no features"), "{ran:#?}");
}

#[test]
fn a_feature_that_cannot_be_checked_does_not_stop_the_others() {
    let folder = photos();
    let log = folder.path().join("store/photo/face.delta/_delta_log/00000000000000000000.json");
    fs::write(log, "garbage").unwrap();
    let ran = status(folder.path(), &[]);
    let found = lines(&ran);
    assert_eq!((ran.code, found.len()), (Some(1), 3));
    assert_eq!(found["photo/face"]["status"], "error");
    assert_eq!(found["photo/size"]["status"], "missing");
    let error = ran.failed();
    assert!(error.starts_with("status of photo/face: "), "{error}");
    assert_eq!(found["photo/face"]["note"], error.trim_start_matches("status of photo/face: "));
    assert_eq!(status(folder.path(), &["photo/size"]).code, Some(0));
}

#[test]
fn features_are_chosen_by_name_or_project() {
    let folder = photos();
    let error = status(folder.path(), &["photo/faces"]).failed();
    assert_eq!(error, "unknown feature photo/faces; did you mean photo/face?");
    let error = status(folder.path(), &["--project", "other"]).failed();
    assert!(error.contains("project other has no features here"), "{error}");
    for args in [&["--all-features"][..], &["--all-projects"], &["--project", "photos"]] {
        assert_eq!(lines(&status(folder.path(), args)).len(), 3, "{args:?}");
    }
    let ran = status(folder.path(), &["photo", "--all-features"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    // In the order of the graph, each once.
    let ran = status(folder.path(), &["photo/face", "photo", "photo__face"]);
    assert_eq!(lines(&ran).keys().collect::<Vec<_>>(), ["photo", "photo/face"]);
}

#[test]
fn a_fallback_store_has_the_data_of_a_root() {
    let folder = photos();
    let config = fs::read_to_string(folder.path().join("metaxy.toml")).unwrap();
    let branch = "[stores.branch]\ntype = \"delta\"\n[stores.branch.config]\nroot_path = \"branch\"\nfallback_stores = [\"dev\"]\n";
    fs::write(folder.path().join("metaxy.toml"), format!("{config}{branch}")).unwrap();
    let ran = status(folder.path(), &["--store", "branch"]);
    let found = lines(&ran);
    assert_eq!((&found["photo"]["status"], &found["photo"]["stored"]), (&json!("root_feature"), &json!(3)));
    assert_eq!(found["photo"]["note"], "read from fallback store dev");
    // What is computed is this store's own.
    assert_eq!((&found["photo/face"]["status"], &found["photo/face"]["new"]), (&json!("missing"), &json!(3)));
    assert!(ran.stderr.contains("feature photo is read from fallback store dev"), "{ran:#?}");
}

#[test]
fn conditions_narrow_what_is_asked() {
    let folder = photos();
    let count = |args: &[&str]| {
        let ran = status(folder.path(), &[&["photo", "photo/face"], args].concat());
        let row = lines(&ran)["photo/face"].clone();
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ["new", "stale", "orphaned", "up_to_date"].map(|name| row[name].as_u64().unwrap())
    };
    assert_eq!(count(&[]), [1, 0, 0, 2]);
    assert_eq!(count(&["--global-filter", "path LIKE '%.jpg'"]), [0, 0, 0, 2]);
    assert_eq!(count(&["--global-filter", "path > 'a.jpg'", "--global-filter", "path < 'c'"]), [0, 0, 0, 1]);
    assert_eq!(count(&["--stale-when", "path = 'a.jpg'"]), [1, 1, 0, 1]);
    assert_eq!(count(&["--stale-if", "faces = 1", "--filter", "path = 'a.jpg'"]), [1, 1, 0, 0]);
    // It concerns one feature: the others are checked.
    for wrong in ["nope = 1", "face = 1", "faces > 0; DROP TABLE photo", "faces", "faces > 0 AS x"] {
        let ran = status(folder.path(), &["photo/size", "photo/face", "--filter", wrong]);
        assert_eq!(
            (ran.code, lines(&ran)["photo/face"]["status"].clone()),
            (Some(1), json!("error")),
            "{wrong}"
        );
        assert!(!ran.stderr.contains("Valid fields"), "{ran:#?}");
    }
    for option in ["--filter", "--global-filter", "--stale-when"] {
        for wrong in ["path IN (SELECT 'a.jpg')", "EXISTS (SELECT path FROM photo)"] {
            let error = status(folder.path(), &["photo/face", option, wrong]).failed();
            assert!(
                error.contains("can't be used: it has a subquery, which is not supported here"),
                "{error}"
            );
        }
    }
    let ran = status(folder.path(), &["photo/size", "photo/face", "--filter", "faces > 0"]);
    let found = lines(&ran);
    assert_eq!((&found["photo/face"]["new"], &found["photo/size"]["status"]), (&json!(1), &json!("error")));
}

#[test]
fn what_a_filter_leaves_out_is_counted_nowhere() {
    let folder = photos();
    let sql = |sql: &str| Cli::new(folder.path()).args(["-f", "listing.sql"]).sql(&[sql]).run().ok();
    sql("INSERT INTO photo__face SELECT *, 2 AS faces FROM resolve_update('photo/face')");
    let of = |args: &[&str]| {
        counts(&lines(&status(folder.path(), &[&["photo/face"], args].concat()))["photo/face"])
    };
    let row = |word: &str, numbers: [u64; 5], progress: Value| {
        let [stored, new, stale, orphaned, up_to_date] = numbers.map(|number| json!(number));
        [json!(word), stored, new, stale, orphaned, up_to_date, progress]
    };
    assert_eq!(of(&[]), row("up_to_date", [3, 0, 0, 0, 3], json!(100.0)));
    // One face in a and b, two in c.
    for option in ["--filter", "--global-filter"] {
        assert_eq!(of(&[option, "faces = 1"]), row("up_to_date", [3, 0, 0, 0, 2], json!(100.0)), "{option}");
        assert_eq!(of(&[option, "faces > 2"]), row("up_to_date", [3, 0, 0, 0, 0], Value::Null), "{option}");
    }
    // Now b is stale, c is orphaned and d is new.
    fs::write(folder.path().join("listing.sql"), CHANGED_LISTING).unwrap();
    sql(
        "INSERT INTO photo SELECT * FROM resolve_update('photo', listing) WHERE metaxy_increment <> 'orphaned'",
    );
    sql("DELETE FROM photo WHERE path = 'c.tmp'");
    assert_eq!(of(&[]), row("needs_update", [3, 1, 1, 1, 1], json!(66.6)));
    for (filter, numbers, progress) in [
        ("faces = 1", [3, 1, 1, 0, 1], 66.6),
        ("path = 'a.jpg'", [3, 1, 0, 0, 1], 50.0),
        ("path = 'b.jpg'", [3, 1, 1, 0, 0], 50.0),
        ("faces = 2", [3, 1, 0, 1, 0], 0.0),
    ] {
        assert_eq!(of(&["--filter", filter]), row("needs_update", numbers, json!(progress)), "{filter}");
    }
    // Stale by a condition of the call, too.
    let both = ["--filter", "path < 'b'", "--stale-when", "faces = 1"];
    assert_eq!(of(&both), row("needs_update", [3, 1, 1, 0, 0], json!(50.0)));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it() {
    let folder = photos();
    let endless =
        "SELECT count(*) FROM generate_series(1, 100000000) AS a, generate_series(1, 100000000) AS b";
    fs::write(folder.path().join("endless.sql"), endless).unwrap();
    let child = Cli::new(folder.path()).args(["status", "--prepare", "endless.sql"]).start();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(130), "", ""));
}
