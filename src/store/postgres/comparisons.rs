//! Records of increments beside the tables they are of: one small table of ours in the same schema.
//!
//! Files in a user's cache are found again by the same user on the same machine. What the database keeps is found by
//! whoever asks the same next, as a job on a machine that was started for it.
//!
//! Whoever may create tables in a schema could put one of this name there first, to say that samples are up to date, or
//! with a trigger that runs as whoever asks. So it has to belong to somebody who decides about the features' tables
//! anyway, and to be nothing but the four columns.

use std::sync::atomic::Ordering;

use datafusion::arrow::datatypes::SchemaRef;
use tokio_postgres::{Client, Error};

use super::database::{Database, only_rows};
use super::names::{identifier, literal};
use crate::records::{Record, from_text, name, to_text};

/// Its name. No feature's table can have it: keys have no `$`.
pub(crate) const TABLE: &str = "metaxy$comparisons";
/// Questions whose records are kept; of more, those that were asked the longest time ago are forgotten.
const QUESTIONS: u32 = 1024;
/// Bytes of a record at most.
const LONGEST: usize = 4 << 20;
/// How long an increment waits for a lock on the table: records are there to save time.
const PATIENCE: &str = "200ms";

/// Whether `k`, in `pg_class`, is a table like that of [`ddl`] and nothing else, which runs nobody's code when it is read or
/// written. `$owner` owns a feature's table, `n` is the schema in `pg_namespace`.
pub(crate) const SOUND: &str = "(k.relkind = 'r' AND NOT k.relhastriggers AND NOT k.relhasrules \
     AND NOT k.relrowsecurity AND NOT k.relhassubclass AND NOT k.relispartition \
     AND (k.relowner IN ($owner, n.nspowner) \
     OR (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = k.relowner)) \
     AND (SELECT string_agg(concat_ws(' ', a.attname, a.atttypid, a.atthasdef), ', ' ORDER BY a.attnum) \
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.oid AND a.attnum > 0) \
     = 'question 25 f, snapshot 20 f, record 25 f, compared_at 1184 f' \
     AND (SELECT string_agg(concat_ws(' ', i.indisprimary, i.indkey), ', ') FROM pg_catalog.pg_index i \
     WHERE i.indrelid = k.oid) = 't 1' \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.conrelid = k.oid AND o.contype NOT IN ('p', 'n')))";

/// What a role may do with the records beside a feature's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparisons {
    /// The schema's name.
    pub schema: String,
    /// Who owns the feature's table: name and number.
    pub owner: (String, u32),
    /// Whether there is a table of them.
    pub exist: bool,
    /// Whether they can be read, and be relied on.
    pub readable: bool,
    /// Whether they can be written, after the table has been created where there is none.
    pub writable: bool,
}

/// What the database knows of a question.
pub(crate) struct Known {
    /// Its record, if it is another one than that which the asker has.
    pub record: Option<Record>,
    /// Whether it is a long time that it was asked.
    pub is_old: bool,
}

/// The statement that creates the table in a schema. It has no defaults: they would run with the rights of who writes.
fn ddl(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (question text PRIMARY KEY, snapshot bigint NOT NULL, \
         record text NOT NULL, compared_at timestamptz NOT NULL)",
        identifier(schema),
        identifier(TABLE)
    )
}

impl Comparisons {
    fn table(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(TABLE))
    }

    /// What is known of a question with these keys, apart from a record of the snapshot `own`; nothing, too, if somebody
    /// has locked the table.
    pub(crate) async fn get(
        &self,
        database: &Database,
        client: &Client,
        question: &str,
        keys: &SchemaRef,
        own: Option<u64>,
    ) -> Known {
        let nothing = Known { record: None, is_old: false };
        if !self.readable {
            return nothing;
        }
        let own = own.map_or_else(|| "-1".to_owned(), |own| own.to_string());
        let sql = format!(
            "BEGIN READ ONLY; SET LOCAL lock_timeout = '{PATIENCE}'; \
             SELECT compared_at < now() - interval '1 day', CASE WHEN snapshot <> {own} \
             AND octet_length(record) <= {LONGEST} THEN record END FROM {} WHERE question = {}; COMMIT",
            self.table(),
            literal(&name(question))
        );
        match client.simple_query(&sql).await {
            Ok(answer) => {
                let Some(row) = only_rows(answer).next() else { return nothing };
                let text = row.try_get(1).ok().flatten();
                database.has_fetched(text.map_or(0, str::len) as u64);
                let is_old = row.try_get(0).ok().flatten() == Some("t");
                Known { record: text.and_then(|text| from_text(text, question, keys)), is_old }
            }
            Err(error) => {
                self.give_up(client, &error).await;
                nothing
            }
        }
    }

    /// Keeps a record in place of an earlier one of its question.
    pub(crate) async fn put(&self, database: &Database, client: &Client, record: &Record) {
        let Some(text) = to_text(record).filter(|text| text.len() <= LONGEST) else { return };
        let snapshot = record.moments.first().map_or(0, |moment| moment.version);
        let table = self.table();
        let statement = format!(
            "INSERT INTO {table} (question, snapshot, record, compared_at) VALUES ({}, {snapshot}, {}, now()) \
             ON CONFLICT (question) DO UPDATE SET snapshot = excluded.snapshot, record = excluded.record, \
             compared_at = excluded.compared_at; \
             DELETE FROM {table} WHERE question IN (SELECT question FROM {table} ORDER BY compared_at DESC, question \
             OFFSET {QUESTIONS} FOR UPDATE SKIP LOCKED)",
            literal(&name(&record.question)),
            literal(&text)
        );
        self.write(database, client, &statement).await;
    }

    /// Says that a question was asked.
    pub(crate) async fn touch(&self, database: &Database, client: &Client, question: &str) {
        let statement = format!(
            "UPDATE {} SET compared_at = now() WHERE question = {}",
            self.table(),
            literal(&name(question))
        );
        self.write(database, client, &statement).await;
    }

    /// Runs a statement if it may be and nobody has locked the table.
    async fn write(&self, database: &Database, client: &Client, statement: &str) {
        let is_refused = !self.exist && database.keeps_no_comparisons.load(Ordering::Relaxed);
        if !self.writable || is_refused {
            return;
        }
        if let Err(error) = self.written(client, statement).await {
            self.give_up(client, &error).await;
            // Where no table can be created now, none can be with the next answer either.
            database.keeps_no_comparisons.fetch_or(!self.exist, Ordering::Relaxed);
        }
    }

    async fn written(&self, client: &Client, statement: &str) -> Result<(), Error> {
        let (table, (owner, number)) = (self.table(), &self.owner);
        let mut begin = format!("BEGIN; SET LOCAL lock_timeout = '{PATIENCE}'");
        if !self.exist {
            let lock = literal(&format!("metaxy/{TABLE}"));
            begin.push_str(&format!(
                "; SELECT pg_advisory_xact_lock(hashtextextended({lock}, 0)); {}; ALTER TABLE {table} OWNER TO {}",
                ddl(&self.schema),
                identifier(owner)
            ));
        }
        // Under the lock, nobody can make anything else of the table.
        begin.push_str(&format!("; LOCK TABLE {table} IN ROW EXCLUSIVE MODE"));
        client.batch_execute(&begin).await?;
        let sound = format!(
            "SELECT FROM pg_catalog.pg_class k JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace \
             WHERE k.oid = {}::regclass AND {}",
            literal(&table),
            SOUND.replace("$owner", &number.to_string())
        );
        let is_sound = only_rows(client.simple_query(&sound).await?).next().is_some();
        let end = if is_sound { format!("{statement}; COMMIT") } else { "ROLLBACK".to_owned() };
        client.batch_execute(&end).await
    }

    /// Ends a transaction in which a statement has failed.
    async fn give_up(&self, client: &Client, error: &Error) {
        log::debug!("no record of a comparison in {}: {error}", self.table());
        if let Err(error) = client.batch_execute("ROLLBACK").await {
            log::debug!("no end of a transaction: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let comparisons = Comparisons {
            schema: "a\"b".into(),
            owner: ("ada".into(), 10),
            exist: true,
            readable: true,
            writable: true,
        };
        assert_eq!(comparisons.table(), "\"a\"\"b\".\"metaxy$comparisons\"");
        assert!(ddl("a\"b").starts_with("CREATE TABLE IF NOT EXISTS \"a\"\"b\".\"metaxy$comparisons\" ("));
    }
}
