//! Writes to features of another project: who may, and who may not, from Rust.

use std::sync::Arc;

use datafusion::logical_expr::lit;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
use datafusion_metaxy::store::{DeleteOptions, MemoryStore, Store, WriteOptions, WriteScope};
use tokio::sync::Barrier;

use crate::support::{Project, one_line, run};

/// A store of project `mine` with a feature of it and one of `theirs`.
fn store(project: Option<&str>) -> Arc<Store> {
    let define = |key: &str, project: &str| {
        let spec = FeatureSpec::builder(key).id_columns(["id"]).build().unwrap();
        FeatureDefinition::declared(spec, project, Origin::Session)
    };
    let features = vec![define("own", "mine"), define("other", "theirs"), define("plain", "default")];
    let settings = HashSettings::new(HashAlgorithm::XxHash32, 8).unwrap();
    let store = Store::new("dev", Arc::new(MemoryStore::new()), settings, features);
    Arc::new(match project {
        Some(project) => store.with_project(project).unwrap(),
        None => store,
    })
}

async fn write(store: &Arc<Store>, feature: &str, options: &WriteOptions) -> Result<u64> {
    let rows = SessionContext::new()
        .sql("SELECT 'a' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field")
        .await?;
    Ok(store.write(feature, rows, options).await?.rows)
}

fn refused(result: &Result<u64>) {
    let error = result.as_ref().unwrap_err();
    assert!(matches!(error, MetaxyError::Project { .. }), "{error}");
    let expected =
        "Cannot write to feature other from project 'theirs' when the expected project is 'mine'; ";
    assert!(one_line(error).starts_with(expected), "{error}");
}

#[test]
fn the_permission_is_bound_to_its_holder() {
    run(async {
        let store = store(Some("mine"));
        let (allowed, both) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let holder = tokio::spawn({
            let (store, allowed, both) = (Arc::clone(&store), Arc::clone(&allowed), Arc::clone(&both));
            async move {
                let everywhere = store.allow_cross_project_writes();
                allowed.wait().await;
                let written = write(&everywhere, "other", &WriteOptions::default()).await;
                // What it was made from stays as it was, and so does a handle made of a handle.
                let nested = everywhere.allow_cross_project_writes();
                drop(nested);
                let again = write(&everywhere, "other", &WriteOptions::default()).await;
                both.wait().await;
                (written, again, write(&store, "other", &WriteOptions::default()).await)
            }
        });
        let sharer = tokio::spawn(async move {
            allowed.wait().await;
            // While the other task holds its permission.
            let refused = write(&store, "other", &WriteOptions::default()).await;
            let own = write(&store, "own", &WriteOptions::default()).await;
            both.wait().await;
            (refused, own)
        });
        let (written, again, after) = holder.await.unwrap();
        assert_eq!((written.unwrap(), again.unwrap()), (1, 1));
        refused(&after);
        let (while_held, own) = sharer.await.unwrap();
        refused(&while_held);
        assert_eq!(own.unwrap(), 1);
    });
}

#[test]
fn callers_name_their_project() {
    run(async {
        let store = store(Some("mine"));
        let of = |project: &str| WriteOptions {
            scope: WriteScope { project: Some(project.into()), cross_project: false },
            ..WriteOptions::default()
        };
        assert_eq!(write(&store, "other", &of("theirs")).await.unwrap(), 1);
        refused(&write(&store, "other", &of("mine")).await);
        let error = write(&store, "other", &of("two__parts")).await.unwrap_err();
        assert!(one_line(&error).contains("two__parts"), "{error}");
        assert!(store.take_warnings().is_empty());
    });
}

#[test]
fn without_a_project_it_is_the_default_one_and_a_warning() {
    run(async {
        let store = store(None);
        assert_eq!(write(&store, "plain", &WriteOptions::default()).await.unwrap(), 1);
        let warnings = store.take_warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("no project is set"), "{warnings:?}");
        // Once is enough.
        assert_eq!(write(&store, "plain", &WriteOptions::default()).await.unwrap(), 1);
        assert!(store.take_warnings().is_empty());
        let error = write(&store, "own", &WriteOptions::default()).await.unwrap_err();
        assert!(
            one_line(&error).contains("from project 'mine' when the expected project is 'default'"),
            "{error}"
        );
    });
}

#[test]
fn the_check_comes_before_everything_else() {
    run(async {
        let store = store(Some("mine"));
        let context = SessionContext::new();
        // A query that would fail as soon as it runs, without the columns that a write needs.
        let rows = context.sql("SELECT CAST('x' AS BIGINT) AS nothing").await.unwrap();
        refused(&store.write("other", rows, &WriteOptions::default()).await.map(|report| report.rows));
        // There is no table, which a delete would say next.
        let options = DeleteOptions::default();
        refused(&store.delete(&context, "other", lit(true), &options).await);
        refused(&store.drop_rows(&context, "other", &WriteScope::default()).await);
    });
}

#[test]
fn the_environment_names_the_project() {
    const FEATURES: &str = "project = \"theirs\"\n[[feature]]\nkey = \"a\"\nid_columns = [\"id\"]\n";
    let project = Project::new(FEATURES);
    let insert = "INSERT INTO a SELECT 'x' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field";
    let message = project.cli().sql(&[insert]).run().failed();
    assert!(message.contains("Cannot write to feature a from project 'theirs'"), "{message}");
    project.cli().env("METAXY_PROJECT", "theirs").sql(&[insert]).run().ok();
    project.cli().sql(&["SET metaxy.allow_cross_project_writes = true", insert]).run().ok();
}
