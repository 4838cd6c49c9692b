//! Records of increments beside the tables they are of: one small table of ours in the same schema.
//!
//! Files in a user's cache are found again by the same user on the same machine. What the database keeps is found by
//! whoever asks the same next, as a job on a machine that was started for it.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::names::{identifier, literal};
use crate::records::{Record, decode, encode, name};

/// Its name. No feature's table can have it: keys have no `$`.
pub(crate) const TABLE: &str = "metaxy$comparisons";
/// Questions whose records are kept; of more, those that were asked the longest time ago are forgotten.
const QUESTIONS: u32 = 1024;
/// How long an increment waits for its record: it is there to save time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a role may do with the records of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparisons {
    /// The schema's name.
    pub schema: String,
    /// Whether there is a table of them.
    pub exist: bool,
    /// Whether they can be read.
    pub readable: bool,
    /// Whether they can be written, after the table has been created where there is none.
    pub writable: bool,
}

/// The statement that creates the table in a schema.
fn ddl(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (question text PRIMARY KEY, snapshot bigint NOT NULL, \
         record bytea NOT NULL, compared_at timestamptz NOT NULL DEFAULT now())",
        identifier(schema),
        identifier(TABLE)
    )
}

impl Comparisons {
    fn table(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(TABLE))
    }

    /// The record of a question, if there is one of a later snapshot than this. Without an answer in time, the
    /// connection is still waiting for it, which is an error.
    ///
    /// # Errors
    /// The database doesn't answer.
    pub(crate) async fn get(
        &self,
        client: &Client,
        question: &str,
        later_than: Option<u64>,
    ) -> Result<Option<Record>, tokio::time::error::Elapsed> {
        if !self.readable {
            return Ok(None);
        }
        let sql = format!("SELECT record FROM {} WHERE question = $1 AND snapshot > $2", self.table());
        let (name, later_than) =
            (name(question), later_than.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1));
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&name, Type::TEXT), (&later_than, Type::INT8)];
        let found = tokio::time::timeout(PATIENCE, client.query_typed(&sql, &values)).await?;
        let found =
            found.inspect_err(|error| log::debug!("no record of a comparison in {}: {error}", self.table()));
        let bytes = found.ok().and_then(|rows| rows.first()?.try_get::<_, Vec<u8>>(0).ok());
        Ok(bytes.and_then(|bytes| decode(&bytes, question)))
    }

    /// Keeps a record in place of an earlier one of its question; whether the connection can serve others afterwards.
    pub(crate) async fn put(&self, client: &Client, record: &Record) -> bool {
        if !self.writable {
            return true;
        }
        let failed = match tokio::time::timeout(PATIENCE, self.keep(client, record)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => return false,
        };
        log::debug!("no record of a comparison in {}: {failed}", self.table());
        client.batch_execute("ROLLBACK").await.is_ok()
    }

    async fn keep(&self, client: &Client, record: &Record) -> Result<(), Error> {
        let Ok(bytes) = encode(record) else { return Ok(()) };
        let table = self.table();
        // Of all that is lost in a crash, this is missed the least.
        client.batch_execute("BEGIN; SET LOCAL synchronous_commit = off").await?;
        if !self.exist {
            let lock = literal(&format!("metaxy/{TABLE}"));
            client
                .batch_execute(&format!("SELECT pg_advisory_xact_lock(hashtextextended({lock}, 0))"))
                .await?;
            client.batch_execute(&ddl(&self.schema)).await?;
        }
        let snapshot =
            record.moments.first().and_then(|moment| i64::try_from(moment.version).ok()).unwrap_or(-1);
        let insert = format!(
            "INSERT INTO {table} AS t (question, snapshot, record) VALUES ($1, $2, $3) ON CONFLICT (question) DO \
             UPDATE SET snapshot = excluded.snapshot, record = excluded.record, compared_at = excluded.compared_at"
        );
        let name = name(&record.question);
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&name, Type::TEXT), (&snapshot, Type::INT8), (&bytes, Type::BYTEA)];
        client.execute_typed(&insert, &values).await?;
        let old = format!(
            "DELETE FROM {table} WHERE question IN (SELECT question FROM {table} ORDER BY compared_at DESC, question \
             OFFSET {QUESTIONS} FOR UPDATE SKIP LOCKED)"
        );
        client.batch_execute(&format!("{old}; COMMIT")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let comparisons = Comparisons { schema: "a\"b".into(), exist: true, readable: true, writable: true };
        assert_eq!(comparisons.table(), "\"a\"\"b\".\"metaxy$comparisons\"");
        assert!(ddl("a\"b").starts_with("CREATE TABLE IF NOT EXISTS \"a\"\"b\".\"metaxy$comparisons\" ("));
    }
}
