//! The keys of writes that are done: one small table of ours beside the feature tables.

use std::sync::Arc;

use tokio_postgres::Client;

use super::database::Database;
use super::names::identifier;
use super::relation::Relation;
use crate::error::Result;

/// Its name. No feature's table can have it: keys have no `$`.
const TABLE: &str = "metaxy$writes";

/// The statement that creates it in a schema. A table is named by its number there, which `pg_dump` knows by name: the
/// keys of a table that was dropped say nothing about the next one.
pub(crate) fn ddl(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (\"table\" regclass NOT NULL, write_key text NOT NULL, \
         written_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (\"table\", write_key))",
        identifier(schema),
        identifier(TABLE)
    )
}

/// Whether the table of keys is there.
///
/// # Errors
/// The catalog can't be read.
pub(crate) async fn exists(database: &Arc<Database>, client: &Client) -> Result<bool> {
    Ok(Relation::find(database, client, TABLE).await?.is_some())
}

/// Whether a write with this key is done.
///
/// # Errors
/// The table of keys can't be read.
pub(crate) async fn is_done(relation: &Relation, client: &Client, key: &str) -> Result<bool> {
    let database = &relation.database;
    if !exists(database, client).await? {
        return Ok(false);
    }
    let sql = format!(
        "SELECT 1 FROM {}.{} WHERE \"table\" = $1::oid AND write_key = $2",
        identifier(&relation.schema),
        identifier(TABLE)
    );
    let found = client.query_opt(&sql, &[&relation.oid, &key]).await;
    Ok(found.map_err(|error| database.failed(&error))?.is_some())
}

/// Records the key, in the transaction of its write.
///
/// # Errors
/// It can't be written.
pub(crate) async fn record(relation: &Relation, client: &Client, key: &str) -> Result<()> {
    let sql = format!(
        "INSERT INTO {}.{} (\"table\", write_key) VALUES ($1::oid, $2)",
        identifier(&relation.schema),
        identifier(TABLE)
    );
    let done = client.execute(&sql, &[&relation.oid, &key]).await;
    done.map(drop).map_err(|error| relation.database.failed(&error))
}
