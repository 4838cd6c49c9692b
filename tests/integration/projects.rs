//! Writes to features of another project: who may, and who may not, from Rust.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::lit;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
use datafusion_metaxy::store::{
    BufferOptions, CopyOptions, DeleteMode, DeleteOptions, FeatureVersions, MemoryStore, ReadOptions, Store,
    WriteOptions, WriteScope,
};
use tokio::sync::Barrier;

use crate::support::{Project, one_line, rows, run};

/// A store of project `mine` with a feature of it, one of `theirs`, and what is computed from that.
fn store(project: Option<&str>) -> Arc<Store> {
    let define = |key: &str, project: &str| {
        let spec = FeatureSpec::builder(key).id_columns(["id"]).build().unwrap();
        FeatureDefinition::declared(spec, project, Origin::Session)
    };
    let child = FeatureSpec::builder("other/child").id_columns(["id"]).dep("other").build().unwrap();
    let child = FeatureDefinition::declared(child, "theirs", Origin::Session);
    let features = vec![define("own", "mine"), define("other", "theirs"), define("plain", "default"), child];
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

async fn sample() -> DataFrame {
    let sql = "SELECT 'a' AS id, named_struct('default', 'v') AS metaxy_provenance_by_field";
    SessionContext::new().sql(sql).await.unwrap()
}

/// A frame that fails as soon as it is planned or run: who has asked for its rows has gone too far.
async fn broken() -> DataFrame {
    SessionContext::new().sql("SELECT CAST('x' AS BIGINT) AS nothing").await.unwrap()
}

async fn batch() -> RecordBatch {
    let batches = sample().await.collect().await.unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

async fn count(store: &Arc<Store>, feature: &str) -> usize {
    let options = ReadOptions { feature_version: FeatureVersions::All, sample_history: true, deleted: true };
    match store.read(&SessionContext::new(), feature, &options).await {
        Ok(frame) => rows(frame).await.unwrap().len(),
        Err(_) => 0,
    }
}

fn of_project<T: std::fmt::Debug>(result: Result<T>, feature: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, MetaxyError::Project { .. }), "{error}");
    let expected =
        format!("Cannot write to feature {feature} from project 'theirs' when the expected project");
    assert!(one_line(&error).starts_with(&expected), "{error}");
}

#[test]
fn every_kind_of_write_is_refused_without_permission() {
    run(async {
        let (store, source) = (store(Some("mine")), store(Some("theirs")));
        write(&source, "other", &WriteOptions::default()).await.unwrap();
        let context = SessionContext::new();
        let options = WriteOptions::default();

        let rebased = store.rebase(&context, "other/child", broken().await, Some("nonsense"), &options).await;
        of_project(rebased, "other/child");
        // Nothing of several features is written, in whatever order they come.
        let all = store.write_all(vec![("own", sample().await), ("other", broken().await)], &options).await;
        of_project(all, "other");
        let all = store.write_all(vec![("other", broken().await), ("own", sample().await)], &options).await;
        of_project(all, "other");
        assert_eq!(count(&store, "own").await, 0);
        of_project(store.copy_from(&source, &context, None, &CopyOptions::default()).await, "other");

        // A buffered writer refuses the batch, and keeps what it has.
        let writer = store.buffered(BufferOptions::default());
        writer.put("own", batch().await).await.unwrap();
        let nothing = RecordBatch::new_empty(broken().await.schema().as_arrow().clone().into());
        of_project(writer.put("other", nothing).await, "other");
        of_project(writer.put("other", batch().await).await, "other");
        assert_eq!(writer.waiting().await, 1);
        writer.close().await.unwrap();
        assert_eq!((count(&store, "own").await, count(&store, "other").await), (1, 0));

        for mode in [DeleteMode::Soft, DeleteMode::Hard] {
            let delete = DeleteOptions { mode, ..DeleteOptions::default() };
            of_project(store.delete(&context, "other", lit(true), &delete).await, "other");
        }
        of_project(store.drop_rows(&context, "other", &WriteScope::default()).await, "other");
    });
}

/// By a handle, and by what the caller says about one call.
#[test]
fn every_kind_of_write_is_allowed_with_permission() {
    run(async {
        for by_handle in [true, false] {
            let (own, source) = (store(Some("mine")), store(Some("theirs")));
            write(&source, "other", &WriteOptions::default()).await.unwrap();
            let store = if by_handle { own.allow_cross_project_writes() } else { Arc::clone(&own) };
            let scope = WriteScope { project: None, cross_project: !by_handle };
            // DataFusion 55 takes names of different inputs for the same when it moves `column['member']`.
            let mut config = SessionConfig::new();
            config.options_mut().optimizer.enable_leaf_expression_pushdown = false;
            let context = SessionContext::new_with_config(config);
            let options = WriteOptions { scope: scope.clone(), ..WriteOptions::default() };

            let copy = CopyOptions { scope: scope.clone(), ..CopyOptions::default() };
            let copied = store.copy_from(&source, &context, None, &copy).await.unwrap();
            assert_eq!(copied.iter().map(|copied| copied.rows).collect::<Vec<_>>(), [1]);
            let written =
                store.write_all(vec![("own", sample().await), ("other", sample().await)], &options).await;
            assert_eq!(written.unwrap().len(), 2);
            // As if it had been computed elsewhere.
            let rebased = store.rebase(&context, "other/child", sample().await, None, &options).await;
            assert_eq!(rebased.unwrap().rows, 1);
            let writer = store.buffered(BufferOptions { write: options, ..BufferOptions::default() });
            writer.put("other", batch().await).await.unwrap();
            writer.close().await.unwrap();
            assert_eq!((count(&own, "other").await, count(&own, "other/child").await), (3, 1));
            let soft = DeleteOptions { scope: scope.clone(), ..DeleteOptions::default() };
            assert_eq!(store.delete(&context, "other", lit(true), &soft).await.unwrap(), 1);
            let hard = DeleteOptions { mode: DeleteMode::Hard, ..soft };
            assert_eq!(store.delete(&context, "other/child", lit(true), &hard).await.unwrap(), 1);
            assert_eq!(store.drop_rows(&context, "other", &scope).await.unwrap(), 4);

            // What the handle was made of may do none of that.
            of_project(write(&own, "other", &WriteOptions::default()).await, "other");
            let writer = own.buffered(BufferOptions::default());
            of_project(writer.put("other", batch().await).await, "other");
        }
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
