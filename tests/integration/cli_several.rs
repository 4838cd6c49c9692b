//! `delete` and `copy` of several features at a time: all is checked first, and what is counted is what is done.

use std::fs;
use std::path::Path;

use crate::cli_project::{csv, photos};
use crate::support::{Cli, Ran, files_below};

fn run(folder: &Path, args: &[&str]) -> Ran {
    Cli::new(folder).args(["--format", "csv", "-q"]).args(args).run()
}

/// A store that has nothing of its own and shows what is in `dev`.
fn with_branch(folder: &Path) {
    let config = fs::read_to_string(folder.join("metaxy.toml")).unwrap();
    let branch = "[stores.branch]\ntype = \"delta\"\n[stores.branch.config]\nroot_path = \"branch\"\nfallback_stores = [\"dev\"]\n";
    fs::write(folder.join("metaxy.toml"), format!("{config}{branch}")).unwrap();
}

/// The features under another project than the configured one.
fn with_other_owner(folder: &Path, feature: &str) {
    let text = fs::read_to_string(folder.join("features.toml")).unwrap();
    let parts: Vec<&str> = text.split("\n[[feature]]").collect();
    let (theirs, ours): (Vec<&str>, Vec<&str>) =
        parts.iter().skip(1).partition(|part| part.contains(&format!("key = \"{feature}\"\n")));
    let of = |parts: &[&str]| parts.iter().map(|part| format!("\n[[feature]]{part}")).collect::<String>();
    fs::write(folder.join("features.toml"), of(&ours)).unwrap();
    fs::write(folder.join("features-theirs.toml"), format!("project = \"theirs\"\n{}", of(&theirs))).unwrap();
}

#[test]
fn one_delete_does_not_change_what_the_next_one_finds() {
    // Photos without a face, and their faces: once the photos are gone, every face is one without a photo.
    let conditions = [
        "path IN (SELECT path FROM photo WHERE path < 'b')",
        "EXISTS (SELECT 1 FROM photo AS p WHERE p.path = 'a.jpg')",
        "path = (SELECT min(path) FROM photo)",
    ];
    for condition in conditions {
        for mode in [&[][..], &["--hard", "--yes"], &["--hard", "--with-feature-history", "--yes"]] {
            let folder = photos();
            let delete = |more: &[&str]| {
                let named = ["delete", "photo", "photo/face", "--where", condition];
                run(folder.path(), &[&named[..], mode, more].concat()).ok()
            };
            let left =
                "SELECT (SELECT count(*) FROM photo) AS photos, (SELECT count(*) FROM photo__face) AS faces";
            let before = csv(folder.path(), left);
            let dry = delete(&["--dry-run"]);
            assert_eq!(csv(folder.path(), left), before, "{condition}");
            assert_eq!(delete(&[]), dry, "{condition} {mode:?}");
            let gone: Vec<usize> =
                dry.lines().skip(1).map(|l| l.rsplit(',').next().unwrap().parse().unwrap()).collect();
            let expected = format!("photos,faces\n{},{}\n", 3 - gone[0], 2 - gone[1]);
            assert_eq!(csv(folder.path(), left), expected, "{condition} {mode:?}");
            assert!(gone[1] > 0, "{dry}");
        }
    }
}

#[test]
fn a_dry_run_refuses_what_the_delete_would_refuse() {
    let folder = photos();
    with_branch(folder.path());
    for more in
        [&["--dry-run"][..], &["--yes"], &["--hard", "--dry-run"], &["--with-feature-history", "--dry-run"]]
    {
        let args = [&["delete", "photo", "--where", "true", "--store", "branch"], more].concat();
        let error = run(folder.path(), &args).failed();
        assert!(error.contains("fallback store dev") && error.contains("only read"), "{more:?}: {error}");
    }
    // Nothing of the first feature goes when the second one is another project's.
    with_other_owner(folder.path(), "photo/face");
    for more in [&["--dry-run"][..], &[]] {
        let args = [&["delete", "photo", "photo/face", "--where", "path = 'a.jpg'"], more].concat();
        let error = run(folder.path(), &args).failed();
        assert!(error.contains("Cannot write to feature photo/face"), "{error}");
    }
    assert_eq!(csv(folder.path(), "SELECT count(*) AS n FROM photo"), "n\n3\n");
}

#[test]
fn all_features_are_those_that_were_written() {
    let folder = photos();
    let more = "[[feature]]\nkey = \"photo/empty\"\nid_columns = [\"path\"]\ndeps = [\"photo\"]\n";
    fs::write(folder.path().join("features-more.toml"), more).unwrap();
    with_branch(folder.path());
    let first = |args: &[&str]| run(folder.path(), args).ok();
    let copy = ["copy", "--all-features", "--from", "dev", "--to", "prod", "--where", "path = 'a.jpg'"];
    let copied = "feature,rows\nphoto/size,1\nphoto/face,1\nphoto,1\n";
    assert_eq!(first(&[&copy[..], &["--dry-run"]].concat()), copied);
    assert_eq!(first(&copy), copied);
    let delete = ["delete", "--all-features", "--where", "path = 'a.jpg'"];
    let deleted = "feature,rows\nphoto,1\nphoto/face,1\nphoto/size,0\n";
    assert_eq!(first(&[&delete[..], &["--dry-run"]].concat()), deleted);
    assert_eq!(first(&delete), deleted);
    // A condition has to fit what there is.
    let error = run(folder.path(), &["delete", "--all-features", "--where", "faces = 1"]).failed();
    assert!(error.contains("faces"), "{error}");
    // One that is named has to be there.
    let error = run(folder.path(), &["delete", "photo/empty", "--where", "true"]).failed();
    assert!(error.contains("photo/empty has no data"), "{error}");
    // A branch has nothing of its own yet.
    assert_eq!(
        first(&["delete", "--all-features", "--where", "true", "--store", "branch"]),
        "feature,rows\n"
    );
}

#[test]
fn a_copy_can_be_tried() {
    let folder = photos();
    let before = files_below(folder.path());
    let ran = Cli::new(folder.path())
        .args([
            "copy",
            "photo",
            "photo/face",
            "--from",
            "dev",
            "--to",
            "prod",
            "--dry-run",
            "--format",
            "csv",
        ])
        .run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "feature,rows\nphoto/face,2\nphoto,3\n"));
    assert_eq!(ran.stderr, "This was a dry run: nothing was copied.\n");
    let call = "CALL prod.system.copy(from_store => 'dev', dry_run => true)";
    assert_eq!(csv(folder.path(), call), "feature,rows\nphoto/size,3\nphoto/face,2\nphoto,3\n");
    assert_eq!(files_below(folder.path()), before);
    run(folder.path(), &["copy", "photo", "--from", "dev", "--to", "prod"]).ok();
    assert_eq!(csv(folder.path(), call), "feature,rows\nphoto/size,3\nphoto/face,2\nphoto,0\n");
}
