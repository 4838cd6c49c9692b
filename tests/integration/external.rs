//! Features of other projects: what is expected of them, what the store has, and the lock file.

use datafusion_metaxy::model::{FeatureKey, LockFile};
use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};

use crate::support::{Project, column, dev, error, one_line, query, run};

/// The project that owns `up/video`, its only field called `frames`.
fn upstream(code_version: &str) -> String {
    format!(
        "project = \"up\"\n[[feature]]\nkey = \"up/video\"\nid_columns = [\"id\"]\n\
         fields = [{{ key = \"frames\", code_version = \"{code_version}\" }}]\n"
    )
}

/// The feature as a project that depends on it expects it.
fn expectation(code_version: &str, more: &str) -> String {
    upstream(code_version).replacen("project = \"up\"\n", "", 1)
        + "external = true\nproject = \"up\"\n"
        + more
}

const CROP: &str = "\n[[feature]]\nkey = \"crop\"\nid_columns = [\"id\"]\ndeps = [\"up/video\"]\n";

/// A project `down` over a store to which these definitions of `up` were pushed.
async fn project(pushed: Option<&str>) -> Project {
    let project = Project::new("");
    project.configure("project = \"down\"", "");
    if let Some(code_version) = pushed {
        push(&project, code_version).await;
    }
    project
}

/// Pushes a version of `up`, and takes its file away.
async fn push(project: &Project, code_version: &str) {
    let own = std::fs::read_to_string(project.path().join("features.toml")).unwrap();
    project.write("features.toml", &upstream(code_version));
    let top = std::fs::read_to_string(project.path().join("metaxy.toml")).unwrap();
    project.configure("", "");
    query(&project.session().await, "CALL push(project => 'up')").await;
    project.write("features.toml", &own);
    project.write("metaxy.toml", &top);
}

async fn version(session: &MetaxySession, feature: &str) -> String {
    let graph = dev(session).graph().await.unwrap();
    graph.feature_version(&FeatureKey::parse(feature).unwrap()).unwrap()
}

async fn defined_in(session: &MetaxySession, feature: &str) -> Value {
    let sql = format!("SELECT defined_in FROM system.features WHERE feature = '{feature}'");
    query(session, &sql).await[0]["defined_in"].clone()
}

#[test]
fn what_is_as_expected_needs_no_words() {
    run(async {
        let project = project(Some("1")).await;
        project.write("features.toml", &(expectation("1", "on_version_mismatch = \"error\"\n") + CROP));
        let session = project.session().await;
        assert_eq!(session.take_warnings(), Vec::<String>::new());
        assert_eq!(defined_in(&session, "up/video").await, "store dev");
        // Only one's own features are pushed.
        query(&session, "CALL push()").await;
        let rows = query(
            &session,
            "SELECT feature_key, metaxy_feature_version FROM system.feature_versions WHERE project = 'down'",
        )
        .await;
        assert_eq!(
            rows,
            [json!({"feature_key": "crop", "metaxy_feature_version": version(&session, "crop").await})]
        );
    });
}

#[test]
fn a_mismatch_warns_once() {
    run(async {
        let project = project(Some("2")).await;
        project.write("features.toml", &(expectation("1", "") + CROP));
        let session = project.session().await;
        let warnings = session.take_warnings();
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        let file = project.path().join("features.toml");
        assert!(warning.starts_with(&format!("file {} expects version ", file.display())), "{warning}");
        let actual = version(&session, "up/video").await;
        assert!(
            warning.contains(&format!("of external feature up/video, but store dev has {actual} (frames "))
        );
        dev(&session).refresh().await.unwrap();
        query(&session, "CALL push()").await;
        assert_eq!(session.take_warnings(), Vec::<String>::new());
    });
}

#[test]
fn a_mismatch_is_an_error_where_that_is_wanted() {
    run(async {
        for locked in [false, true] {
            let project = project(Some("2")).await;
            let more = if locked { "" } else { "on_version_mismatch = \"error\"\n" };
            project.write(
                "features.toml",
                &(expectation("1", more)
                    + CROP
                    + &CROP.replace("crop", "own").replace("[\"up/video\"]", "[]")),
            );
            project.configure(
                if locked { "project = \"down\"\nlocked = true" } else { "project = \"down\"" },
                "",
            );
            let session = project.session().await;
            assert_eq!(session.take_warnings(), Vec::<String>::new());
            for sql in [
                "SELECT * FROM up__video",
                "SELECT * FROM crop",
                "SELECT * FROM resolve_update('crop')",
                "CALL push()",
            ] {
                let error = error(&session, sql).await;
                assert!(
                    error.contains("can't be used: file ") && error.contains("but store dev has "),
                    "{sql}: {error}"
                );
            }
            // What has nothing to do with it can be used.
            let rows = query(
                &session,
                "SELECT feature, feature_version IS NULL AS unknown FROM system.features ORDER BY 1",
            )
            .await;
            assert_eq!(column(&rows, "unknown"), [true, false, true]);
            query(&session, "INSERT INTO own SELECT 'a' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field").await;
        }
    });
}

#[test]
fn versions_can_be_told_instead_of_computed() {
    run(async {
        let project = project(Some("7")).await;
        let session = project.session().await;
        let graph = dev(&session).graph().await.unwrap();
        let fields = graph.field_versions(&FeatureKey::parse("up/video").unwrap()).unwrap();
        let told = |version: &str| format!("provenance_by_field = {{ frames = \"{version}\" }}\n");
        project.write("features.toml", &(expectation("1", &told(&fields[0].1)) + CROP));
        assert_eq!(project.session().await.take_warnings(), Vec::<String>::new());
        project.write("features.toml", &(expectation("7", &told("another")) + CROP));
        let warnings = project.session().await.take_warnings();
        assert!(warnings[0].contains(&format!("(frames another, not {})", fields[0].1)), "{warnings:?}");
    });
}

/// While the store has no definition, or isn't asked for it, the declared one is used.
#[test]
fn an_expectation_stands_in() {
    run(async {
        let project = project(None).await;
        project.write("features.toml", &(expectation("1", "") + CROP));
        let session = project.session().await;
        let warnings = session.take_warnings();
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(
            warning.starts_with("external feature up/video is not in store dev; what file "),
            "{warning}"
        );
        let expected = version(&session, "crop").await;

        push(&project, "2").await;
        assert_ne!(version(&project.session().await, "crop").await, expected);
        project.configure("project = \"down\"\nsync = false", "");
        let session = project.session().await;
        assert_eq!(session.take_warnings(), Vec::<String>::new());
        assert_eq!(version(&session, "crop").await, expected);
        assert!(defined_in(&session, "up/video").await.as_str().unwrap().starts_with("file "));
    });
}

#[test]
fn ones_own_definition_wins() {
    run(async {
        let project = project(Some("2")).await;
        project.write("features.toml", &upstream("1"));
        let session = project.session().await;
        assert!(defined_in(&session, "up/video").await.as_str().unwrap().starts_with("file "));
        assert_eq!(session.take_warnings(), Vec::<String>::new());
    });
}

#[test]
fn a_parent_that_is_nowhere_is_named_with_child_and_store() {
    run(async {
        let project = project(None).await;
        project.write("features.toml", CROP);
        let error = error(&project.session().await, "SELECT * FROM resolve_update('crop')").await;
        let expected =
            "feature crop depends on up/video, which is not defined in the feature files or in store dev";
        assert!(error.contains(expected), "{error}");
    });
}

#[test]
fn the_lock_file_is_written_and_checked() {
    run(async {
        let project = project(Some("1")).await;
        project.write("features.toml", CROP);
        let session = project.session().await;
        let change = |session| async move {
            let rows = query(session, "CALL lock()").await;
            let [row] = &rows[..] else { panic!("{rows:?}") };
            assert_eq!((&row["feature"], &row["project"]), (&json!("up/video"), &json!("up")));
            (row["change"].clone(), row["old_version"].clone(), row["new_version"].clone())
        };
        let first = version(&session, "up/video").await;
        assert_eq!(change(&session).await, (json!("added"), Value::Null, json!(first)));
        let file = project.path().join("metaxy.lock");
        let written = std::fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(change(&session).await, (json!("unchanged"), json!(first), json!(first)));
        assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), written, "left alone");

        // Another version in the store: a warning, or an error that names both.
        push(&project, "2").await;
        let session = project.session().await;
        let second = version(&session, "up/video").await;
        let warnings = session.take_warnings();
        let expected = format!(
            "lock file {} expects version {first} of external feature up/video, but store dev has {second} (frames ",
            file.display()
        );
        assert!(warnings.len() == 1 && warnings[0].starts_with(&expected), "{warnings:?}");
        assert!(warnings[0].ends_with("; CALL lock() accepts the store's definition"), "{warnings:?}");
        project.configure("project = \"down\"\nlocked = true", "");
        let session = project.session().await;
        let refused = error(&session, "SELECT * FROM resolve_update('crop')").await;
        assert!(refused.contains(&expected) && refused.contains("feature crop can't be used: "), "{refused}");

        // Which is what makes it right, in this session, too.
        assert_eq!(change(&session).await, (json!("updated"), json!(first), json!(second)));
        let nothing = error(&session, "SELECT * FROM resolve_update('crop')").await;
        assert!(nothing.contains("feature up/video has no data"), "{nothing}");

        // Nothing depends on it any more.
        project.write("features.toml", "");
        let session = project.session().await;
        assert_eq!(change(&session).await, (json!("removed"), json!(second), Value::Null));
        assert_eq!(LockFile::read(&file).unwrap(), Some(LockFile::default()));
    });
}

/// Ancestors are locked too, and one's own project never is.
#[test]
fn what_is_locked() {
    run(async {
        let project = project(Some("1")).await;
        let above = upstream("1")
            + "[[feature]]\nkey = \"up/scene\"\nid_columns = [\"id\"]\ndeps = [\"up/video\"]\n\
                     [[feature]]\nkey = \"up/other\"\nid_columns = [\"id\"]\n";
        project.write("features.toml", &above);
        query(&project.session().await, "CALL push(project => 'up')").await;
        project.write("features.toml", &CROP.replace("up/video", "up/scene"));
        let locked = |rows: &[Value]| column(rows, "feature");
        let rows = query(&project.session().await, "CALL lock()").await;
        assert_eq!(locked(&rows), ["up/scene", "up/video"]);
        // Without the store the lock file is enough.
        project.configure("project = \"down\"\nsync = false", "");
        let session = project.session().await;
        assert_eq!(
            defined_in(&session, "up/scene").await,
            format!("file {}", project.path().join("metaxy.lock").display())
        );
        version(&session, "crop").await;

        project.configure("project = \"down\"\nextra_features = [{ keys = [\"up/other\"] }]", "");
        let elsewhere = project.path().join("elsewhere.lock");
        let call = format!("CALL lock(output => '{}')", elsewhere.display());
        let rows = query(&project.session().await, &call).await;
        assert_eq!(locked(&rows), ["up/other", "up/scene", "up/video"]);
        assert!(elsewhere.is_file());
        project.configure("project = \"up\"", "");
        let error = error(&project.session().await, "CALL lock()").await;
        assert!(
            error.contains("features are not in the store: up/scene (feature crop depends on it)"),
            "{error}"
        );
    });
}

#[test]
fn lock_files_that_can_not_be_used() {
    run(async {
        let project = project(Some("1")).await;
        project.write("features.toml", CROP);
        project.write("metaxy.lock", "[features");
        let error = project.try_session().await.err().map(|error| one_line(&error)).unwrap();
        let file = project.path().join("metaxy.lock").display().to_string();
        assert!(error.starts_with(&format!("{file}: not a lock file: line 1: ")), "{error}");
        assert!(error.ends_with("remove the file and write it again with CALL lock()"), "{error}");

        project.configure("project = \"down\"\nmetaxy_lock_path = \"locks/up.lock\"", "");
        let session = project.session().await;
        let warnings = session.take_warnings();
        assert!(warnings[0].contains("locks/up.lock does not exist; CALL lock() writes it"), "{warnings:?}");
        let refused = crate::support::error(&session, "CALL lock()").await;
        assert!(refused.contains("locks/up.lock: can't be written: "), "{refused}");
        std::fs::create_dir(project.path().join("locks")).unwrap();
        query(&session, "CALL lock()").await;
        assert!(project.path().join("locks/up.lock").is_file());
    });
}
