//! Stores in a DataFusion session that a program has already: `cargo run --example embed`.

use std::error::Error;
use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::config::{StoreConfig, StoreKind};
use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
use datafusion_metaxy::session::{Extension, MetaxySession, SessionContextExt};
use datafusion_metaxy::store::{Store, Warnings};

/// Prints what is left to do for a feature, does it, and prints the result.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn Error>> {
    // The program's own session, with a table of its own. `SHOW metaxy.engine` needs the information schema.
    let context = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true));
    let uploads =
        "CREATE TABLE uploads AS SELECT * FROM (VALUES ('a.jpg', 'h1'), ('b.jpg', 'h2')) AS t(path, hash)";
    context.sql(uploads).await?.collect().await?;

    // A store with two features. `Extension::from_config` takes both from a metaxy.toml instead.
    let photo = FeatureSpec::builder("photo").id_columns(["path"]).build()?;
    let thumbnail = FeatureSpec::builder("photo/thumbnail").id_columns(["path"]).dep("photo").build()?;
    let features =
        [photo, thumbnail].map(|spec| FeatureDefinition::declared(spec, "photos", Origin::Session));
    let folder = tempfile::tempdir()?;
    let mut config = StoreConfig::new("media", StoreKind::Delta);
    config.root_path = Some(folder.path().display().to_string());
    config.hash_algorithm = Some("xxhash64".into());
    let store = Store::from_config(&config, 16, features.into(), Warnings::default())?;
    let store = Arc::new(store.with_project("photos")?);

    let extension = Extension::from_stores([store])?;
    context.attach_metaxy(&extension).await?;
    // The layer that INSERT by name needs. It passes on what it doesn't know, so it serves for all statements.
    let session = MetaxySession::attached(context.clone(), extension);

    let write = "INSERT INTO media.features.photo
                 SELECT path, named_struct('default', hash) AS metaxy_provenance_by_field FROM uploads";
    session.sql(write).await?.collect().await?;

    let todo = "SELECT metaxy_increment, path FROM resolve_update('photo/thumbnail') ORDER BY path";
    session.sql(todo).await?.show().await?;

    let work = "INSERT INTO media.features.photo__thumbnail
                SELECT *, concat('small-', path) AS thumbnail FROM resolve_update('photo/thumbnail')
                WHERE metaxy_increment IN ('new', 'stale')";
    session.sql(work).await?.collect().await?;

    // Reading needs no layer.
    let thumbnails = "SELECT path, thumbnail FROM media.features.photo__thumbnail ORDER BY path";
    context.sql(thumbnails).await?.show().await?;
    Ok(())
}
