//! Feature definitions in SQL: what lasts, what other projects are protected from, and what happens in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::prelude::SessionContext;
use datafusion_metaxy::config::Environment;
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, Origin};
use datafusion_metaxy::session::{Extension, MetaxySession, SessionContextExt};
use datafusion_metaxy::store::{MemoryStore, Store};
use serde_json::{Value, json};

use crate::support::{Cli, Project, column, dev, error, one_line, only, query, run};

const VIDEO: &str = "CREATE FEATURE video (audio, frames) ID COLUMNS (video_id)";
const CROP: &str = "CREATE FEATURE \"video/crop\" (frames CODE VERSION '1') ID COLUMNS (video_id) FROM video";

async fn features(session: &MetaxySession) -> Vec<Value> {
    column(&query(session, "SELECT feature FROM system.features ORDER BY feature").await, "feature")
}

/// A memory store, as a program makes it.
fn memory() -> Arc<Store> {
    let settings = HashSettings::new(HashAlgorithm::XxHash64, 16).unwrap();
    Arc::new(
        Store::new("dev", Arc::new(MemoryStore::new()), settings, Vec::new()).with_project("test").unwrap(),
    )
}

#[test]
fn a_definition_lasts_as_long_as_the_session_until_it_is_pushed() {
    run(async {
        let project = Project::new("");
        let session = project.session().await;
        query(&session, VIDEO).await;
        assert_eq!(features(&session).await, ["video"]);
        assert!(features(&project.session().await).await.is_empty(), "nothing is stored");

        let pushed = query(&session, "CALL push()").await;
        assert_eq!(pushed[0]["already_pushed"], json!(false));
        let session = project.session().await;
        let known = query(&session, "SELECT feature, defined_in FROM system.features").await;
        assert_eq!(known, [json!({"feature": "video", "defined_in": "store dev"})]);

        // What comes later joins the project: it is pushed together with what was pushed before.
        query(&session, CROP).await;
        let pushed = query(&session, "CALL push()").await;
        assert_eq!(pushed[0]["already_pushed"], json!(false));
        let versions = "SELECT features FROM system.project_versions WHERE is_current";
        assert_eq!(only(&query(&session, versions).await), json!(2));
        // The same script again: no error, and nothing new.
        let session = project.session().await;
        query(&session, VIDEO).await;
        query(&session, CROP).await;
        let again = query(&session, "CALL push()").await;
        assert_eq!((&again[0]["already_pushed"], &again[0]["updated_features"]), (&json!(true), &json!([])));
        assert_eq!(again[0]["project_version"], pushed[0]["project_version"]);

        // As from a file.
        let file = "[[feature]]\nkey = \"video\"\nid_columns = [\"video_id\"]\nfields = [\"audio\", \"frames\"]\n\
                    [[feature]]\nkey = \"video/crop\"\nid_columns = [\"video_id\"]\ndeps = [\"video\"]\n\
                    fields = [{ key = \"frames\", code_version = \"1\" }]\n";
        project.write("features.toml", file);
        let from_file = query(&project.session().await, "CALL push()").await;
        assert_eq!(from_file[0], again[0]);
        let shown = query(&project.session().await, "SHOW CREATE FEATURE video__crop").await;
        let expected = "CREATE FEATURE \"video/crop\" (\n    frames CODE VERSION '1'\n)\nID COLUMNS (video_id)\nFROM video";
        assert_eq!(shown, [json!({"feature": "video/crop", "definition": expected})]);
    });
}

#[test]
fn dropping_what_was_pushed_says_that_it_is_still_there() {
    run(async {
        let project = Project::new("");
        let session = project.session().await;
        query(&session, VIDEO).await;
        query(&session, "CALL push()").await;
        session.take_warnings();
        query(&session, "DROP FEATURE video").await;
        assert_eq!(
            session.take_warnings(),
            ["feature video: store dev still has the definition that was pushed to it"]
        );
        assert_eq!(features(&session).await, ["video"]);
        let refused = error(&session, "DROP FEATURE video").await;
        assert!(
            refused.starts_with("feature video comes from store dev; DROP FEATURE takes back"),
            "{refused}"
        );
    });
}

#[test]
fn features_of_other_projects_are_not_taken_by_accident() {
    run(async {
        let project = Project::with("", "project = \"up\"", "");
        let up = project.session().await;
        query(&up, VIDEO).await;
        query(&up, "CALL push()").await;

        project.configure("project = \"mine\"", "");
        let session = project.session().await;
        let refused = error(&session, VIDEO).await;
        assert!(
            refused.starts_with(
                "feature video belongs to project up, which has pushed it to store dev; CREATE EXTERNAL"
            ),
            "{refused}"
        );
        query(&session, &VIDEO.replace("FEATURE", "FEATURE IF NOT EXISTS")).await;
        assert_eq!(only(&query(&session, "SELECT project FROM system.features").await), json!("up"));
        query(&session, CROP).await;

        // An expectation is compared with what the store has.
        let expected =
            "CREATE EXTERNAL FEATURE video (audio, frames CODE VERSION '2') ID COLUMNS (video_id) PROJECT up";
        query(&session, expected).await;
        let warnings = session.take_warnings();
        assert!(warnings.iter().any(|w| w.starts_with("this session expects version ")), "{warnings:?}");
        assert_eq!(
            only(&query(&session, "SELECT project FROM system.features WHERE feature = 'video'").await),
            json!("up")
        );
        let strict = format!("{} ON MISMATCH ERROR", expected.replace("CREATE", "CREATE OR REPLACE"));
        let refused = error(&session, &strict).await;
        assert!(refused.contains("feature video can't be used: this session expects version"), "{refused}");

        // Whoever means it can.
        query(&session, &VIDEO.replace("CREATE", "CREATE OR REPLACE")).await;
        let projects =
            column(&query(&session, "SELECT project FROM system.features ORDER BY feature").await, "project");
        assert_eq!(projects, ["mine", "mine"]);
    });
}

#[test]
fn expectations_stand_in_for_what_the_store_lacks() {
    run(async {
        let project = Project::new("");
        let session = project.session().await;
        let shot = "CREATE EXTERNAL FEATURE \"camera/shot\" (pixels PROVENANCE 'abc') ID COLUMNS (shot) PROJECT camera";
        query(&session, shot).await;
        query(&session, "CREATE FEATURE face ID COLUMNS (shot) FROM camera__shot").await;
        let shown = query(&session, "SHOW CREATE FEATURE camera__shot").await;
        let expected = "CREATE EXTERNAL FEATURE \"camera/shot\" (\n    pixels PROVENANCE 'abc'\n)\nID COLUMNS (shot)\nPROJECT camera";
        assert_eq!(shown[0]["definition"], json!(expected));
        let told = "DESCRIBE FEATURE \"camera/shot\"";
        let field = query(&session, told).await.into_iter().find(|row| row["item"] == "field").unwrap();
        assert!(field["value"].as_str().unwrap().contains("version abc"), "{field}");
        query(&session, "CALL push()").await;
        let pushed = query(&session, "SELECT feature_key FROM system.feature_versions").await;
        assert_eq!(only(&pushed), json!("face"));
    });
}

#[test]
fn a_program_defines_features_too() {
    run(async {
        let extension = Extension::from_stores([memory()]).unwrap();
        let define = |key: &str, parent: Option<&str>| {
            let spec = FeatureSpec::builder(key).id_columns(["id"]);
            let spec = match parent {
                Some(parent) => spec.dep(parent),
                None => spec,
            };
            FeatureDefinition::declared(spec.build().unwrap(), "test", Origin::Session)
        };
        let refused = extension.define(define("b", Some("a"))).await.unwrap_err();
        assert!(one_line(&refused).starts_with("feature graph: feature b depends on a"), "{refused}");
        extension.define(define("a", None)).await.unwrap();
        extension.define(define("b", Some("a"))).await.unwrap();
        extension.define(define("a", None)).await.unwrap();

        // In a session without our layer the definitions are seen after a refresh.
        let context = SessionContext::new();
        context.attach_metaxy(&extension).await.unwrap();
        extension.define(define("c", Some("b"))).await.unwrap();
        extension.refresh().await.unwrap();
        let sql = "SELECT * FROM resolve_update('a', (SELECT 'x' AS id, named_struct('default', 'v') AS \
                   metaxy_provenance_by_field), store => 'dev')";
        assert_eq!(context.sql(sql).await.unwrap().count().await.unwrap(), 1);
        let features = context.sql("SELECT feature FROM dev.system.features").await.unwrap();
        assert_eq!(features.count().await.unwrap(), 3);

        let key = |text: &str| FeatureKey::parse(text).unwrap();
        let refused = extension.forget(&key("b")).await.unwrap_err();
        assert!(one_line(&refused).contains("b can't be dropped: c depends on it"), "{refused}");
        extension.forget(&key("c")).await.unwrap();
        extension.forget(&key("b")).await.unwrap();
        assert!(extension.store("dev").unwrap().feature("b").await.is_err());
        assert!(extension.forget(&key("b")).await.is_err());

        // And with it, in SQL: features belong to the store's project.
        let session = MetaxySession::attached(context, extension);
        query(&session, "CREATE FEATURE d ID COLUMNS (id) FROM a").await;
        let owner = "SELECT project FROM dev.system.features WHERE feature = 'd'";
        assert_eq!(only(&query(&session, owner).await), json!("test"));
    });
}

#[test]
fn statements_see_all_of_a_change_or_nothing() {
    run(async {
        let extension = Extension::from_stores([memory()]).unwrap();
        let session = MetaxySession::over(extension, None).await.unwrap();
        let define = |version: u32| {
            format!("CREATE OR REPLACE FEATURE b (f CODE VERSION '{version}') ID COLUMNS (id) FROM a")
        };
        query(&session, "CREATE FEATURE a ID COLUMNS (id)").await;
        query(&session, &define(0)).await;
        query(
            &session,
            "INSERT INTO a SELECT 'x' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field",
        )
        .await;
        for version in [0, 1] {
            query(&session, &define(version)).await;
            query(&session, "INSERT INTO b SELECT * FROM resolve_update('b')").await;
        }
        // Both versions have been computed: whichever holds, nothing is left to do. The new definition with the rows
        // of the old one, or the other way round, would be a new sample.
        let done = Arc::new(AtomicBool::new(false));
        let changes = tokio::spawn({
            let (session, done) = (session.clone(), Arc::clone(&done));
            async move {
                for round in 0..200 {
                    query(&session, &define(round % 2)).await;
                    tokio::task::yield_now().await;
                }
                done.store(true, Ordering::Relaxed);
            }
        });
        let mut asked = 0;
        while !done.load(Ordering::Relaxed) {
            assert!(query(&session, "SELECT * FROM resolve_update('b')").await.is_empty());
            assert_eq!(query(&session, "SELECT id FROM b").await.len(), 1);
            asked += 1;
        }
        changes.await.unwrap();
        assert!(asked > 1, "asked {asked} times");
    });
}

#[test]
fn rows_are_stamped_with_the_definition_that_they_were_computed_by() {
    run(async {
        let extension = Extension::from_stores([memory()]).unwrap();
        let session = MetaxySession::over(extension, None).await.unwrap();
        query(&session, "CREATE FEATURE a ID COLUMNS (id)").await;
        query(&session, "CREATE FEATURE b (f CODE VERSION '1') ID COLUMNS (id) FROM a").await;
        query(
            &session,
            "INSERT INTO a SELECT 'x' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field",
        )
        .await;
        let old = crate::support::feature_version(&session, "b").await;
        // Planned before the definition changes, run after it.
        let insert = session.sql("INSERT INTO b SELECT * FROM resolve_update('b')").await.unwrap();
        query(&session, "CREATE OR REPLACE FEATURE b (f CODE VERSION '2') ID COLUMNS (id) FROM a").await;
        insert.collect().await.unwrap();
        let stamped = query(&session, "SELECT metaxy_feature_version FROM history.b").await;
        assert_eq!(only(&stamped), json!(old));
        let todo = query(&session, "SELECT metaxy_increment FROM resolve_update('b')").await;
        assert_eq!(only(&todo), json!("new"));
        assert_ne!(crate::support::feature_version(&session, "b").await, old);
    });
}

/// What Python has pushed: printed, and defined anew in an empty store, it has the versions that Python gave it.
#[test]
fn pushed_features_are_printed_with_their_versions() {
    run(async {
        for case in ["aggregation", "expansion", "optional_deps", "renames_filters", "video_partial_update"] {
            let folder = crate::support::repository("tests/conformance").join(case);
            let mut config =
                datafusion_metaxy::config::Config::load(None, &folder, &Environment::default()).unwrap();
            config.stores["dev"].root_path = Some(folder.join("store").display().to_string());
            let pushed = MetaxySession::open(config.clone(), Default::default()).await.unwrap();
            let empty = tempfile::tempdir().unwrap();
            config.stores["dev"].root_path = Some(empty.path().display().to_string());
            let fresh = MetaxySession::open(config, Default::default()).await.unwrap();
            let listing =
                "SELECT feature, feature_version, id_columns, fields, parents, project FROM system.features";
            let known = query(&pushed, listing).await;
            assert!(known.len() > 1, "{case}");
            for feature in column(&known, "feature") {
                let key = feature.as_str().unwrap();
                let shown = query(&pushed, &format!("SHOW CREATE FEATURE \"{key}\"")).await;
                query(&fresh, shown[0]["definition"].as_str().unwrap()).await;
                let key = FeatureKey::parse(key).unwrap();
                let (old, new) = (dev(&pushed).graph().await.unwrap(), dev(&fresh).graph().await.unwrap());
                assert_eq!(old.spec_version(&key).unwrap(), new.spec_version(&key).unwrap(), "{key}");
                assert_eq!(old.field_versions(&key).unwrap(), new.field_versions(&key).unwrap(), "{key}");
            }
            assert_eq!(query(&fresh, listing).await, known, "{case}");
        }
    });
}

#[test]
fn what_a_definition_names_is_checked_when_it_is_made() {
    let project = Project::new("[[feature]]\nkey = \"video\"\nid_columns = [\"id\"]\n");
    let refused = |sql: &str| project.cli().sql(&[sql]).run().failed();
    let broken = refused("CREATE FEATURE b ID COLUMNS (id) FROM video WHERE 'size >'");
    assert!(broken.contains(r#"feature b: filter "size >" on parent video: "#), "{broken}");
    let typo = refused("CREATE FEATURE b ID COLUMNS (id) FROM vidio");
    assert!(
        typo.ends_with(
            "depends on vidio, which is not defined in the feature files or in store dev; did you mean video?"
        ),
        "{typo}"
    );
}

#[test]
fn at_the_prompt_and_from_files() {
    let project = Project::new("");
    let script = "-- Two features.\nCREATE FEATURE video\n  ID COLUMNS (video_id); -- the root\n\
                  CREATE FEATURE \"video/crop\" ID COLUMNS (video_id) FROM video\n  WHERE name <> 'a;b'; SHOW FEATURES;";
    project.write("define.sql", script);
    let csv = |cli: Cli| cli.args(["-q", "--format", "csv"]);
    let shown = csv(project.cli())
        .args(["-f", "define.sql", "-c", "SELECT count(*) AS n FROM system.features"])
        .run()
        .ok();
    assert!(shown.contains("\nvideo/crop,test,") && shown.ends_with("n\n2\n"), "{shown}");
    let wrong = "SELECT 1;\n\nCREATE FEATURE x\n  PRIMARY KEY (a);\n";
    project.write("wrong.sql", wrong);
    let failed = project.cli().args(["-q", "-f", "wrong.sql"]).run().failed();
    assert!(failed.starts_with("wrong.sql:3: "), "{failed}");
    assert!(failed.contains("found: PRIMARY at Line: 4, Column: 3"), "{failed}");
}

#[test]
fn a_feature_that_was_removed_from_its_project_does_not_come_back() {
    run(async {
        let project = Project::new("[[feature]]\nkey = \"p\"\nid_columns = [\"id\"]\n");
        let session = project.session().await;
        query(&session, VIDEO).await;
        query(&session, "CALL push()").await;
        // Without the feature that only a session had: it is taken out of the project.
        query(&project.session().await, "CALL push()").await;
        let sizes = "SELECT features FROM system.project_versions WHERE is_current";
        assert_eq!(only(&query(&project.session().await, sizes).await), json!(1));

        project.write("features.toml", "");
        let session = project.session().await;
        query(&session, CROP.replace("FROM video", "").as_str()).await;
        query(&session, "CALL push()").await;
        assert_eq!(only(&query(&session, sizes).await), json!(2), "p and video/crop");
        // It is still known, for those who have its rows.
        let defined = "SELECT defined_in FROM system.features WHERE feature = 'video'";
        assert_eq!(only(&query(&session, defined).await), json!("store dev, removed from its project"));
        let listed = project.cli().args(["status", "--format", "json"]).run().ok();
        assert!(!listed.contains("\"video\"") && listed.contains("\"video/crop\""), "{listed}");
    });
}
