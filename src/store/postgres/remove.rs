//! A table at one moment, and taking rows out of it for good.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use futures::TryStreamExt;

use super::append::{Write, in_storable_types, transaction};
use super::relation::Relation;
use super::state::{self, Then};
use super::table::PostgresTable;
use super::{PostgresStore, members};
use crate::error::Result;
use crate::model::FeatureKey;
use crate::store::remove::removed_meanwhile;
use crate::store::{Append, RecordedSettings, TableSnapshot, TableState, WriteTime};

/// Rows that one statement deletes.
const AT_ONCE: usize = 20_000;
/// Bits of a row's number that hold its line in a block.
const LINE_BITS: u32 = 16;

/// A table, the state that it was in, and its rows.
#[derive(Debug)]
pub(crate) struct PostgresSnapshot {
    store: PostgresStore,
    feature: FeatureKey,
    state: TableState,
    /// The file that the rows were in before they were read.
    file: Option<u32>,
    rows: Arc<PostgresTable>,
}

impl PostgresSnapshot {
    /// The table as it is now; `None` if there is none.
    ///
    /// # Errors
    /// It can't be read, or rows can't be taken out of it.
    pub(crate) async fn open(store: &PostgresStore, feature: &FeatureKey) -> Result<Option<Self>> {
        let (database, table) = (&store.database, store.table(feature)?);
        let mut lease = database.reader().await?;
        let Some(mut relation) = Relation::find(database, &*lease, &table).await? else {
            lease.done();
            return Ok(None);
        };
        if !relation.is_plain {
            return Err(database.error(format!(
                "{table} is partitioned; delete rows softly, or with PostgreSQL's own tools"
            )));
        }
        let state = state::state(&relation, &lease).await?;
        members::complete(&mut relation, &*lease).await?;
        lease.done();
        let file = relation.file;
        let rows = Arc::new(PostgresTable::new(relation));
        Ok(Some(Self { store: store.clone(), feature: feature.clone(), state, file, rows }))
    }
}

#[async_trait]
impl TableSnapshot for PostgresSnapshot {
    /// What others add from now on may be among the rows: it can't be removed, so that the work begins again.
    fn rows(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.rows) as _
    }

    fn drops_rows_in_place(&self) -> bool {
        true
    }

    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64> {
        let database = &self.store.database;
        let overtaken = || removed_meanwhile(&self.feature);
        let then = Then::parse(&self.state).ok_or_else(overtaken)?;
        let (write, added) = match append {
            Some(append) => {
                let recorded = RecordedSettings::of(append.settings);
                let (schema, rows) = in_storable_types(&append.schema, append.rows);
                let write = Write {
                    store: &self.store,
                    feature: &self.feature,
                    schema,
                    recorded,
                    id_columns: append.id_columns,
                    write_key: None,
                    time: append.time,
                    only_at: None,
                };
                (write, rows.try_collect::<Vec<RecordBatch>>().await?)
            }
            None => (Write::nothing(&self.store, &self.feature), Vec::new()),
        };
        let lease = database.writer().await?;
        transaction(database, lease, async |client| {
            // In another file, other rows may be at those places.
            let same = |now: &Relation| then.is_of(now) && now.file == self.file;
            let relation = write.locked(client).await?.filter(same).ok_or_else(overtaken)?;
            let own = state::transaction(database, client).await?;
            // Which rows may go was worked out from all that there were; what stands in for them, from new ones too.
            let since = then.since(&relation, client, own).await?;
            if since.gone != 0 || (since.come != 0 && !added.is_empty()) {
                return Err(overtaken());
            }
            let sql = format!(
                "DELETE FROM {} WHERE ctid = ANY ($1::text[]::tid[]) AND {}",
                relation.qualified(),
                then.was_there(own)
            );
            for some in rows.chunks(AT_ONCE) {
                let places: Vec<String> = some.iter().map(|row| place(*row)).collect();
                let gone = client.execute(&sql, &[&places]).await.map_err(|error| database.failed(&error))?;
                if gone != some.len() as u64 {
                    return Err(overtaken());
                }
            }
            if !added.is_empty() {
                write.add(client, relation, added).await?;
            }
            Ok(rows.len() as u64)
        })
        .await
    }
}

impl<'a> Write<'a> {
    /// A write of no rows, for its lock.
    fn nothing(store: &'a PostgresStore, feature: &'a FeatureKey) -> Self {
        Self {
            store,
            feature,
            schema: Arc::new(Schema::empty()),
            recorded: RecordedSettings { algorithm: String::new(), length: String::new() },
            id_columns: Vec::new(),
            write_key: None,
            time: WriteTime::Kept,
            only_at: None,
        }
    }
}

/// A row's number as the server writes its place.
fn place(row: u64) -> String {
    format!("({},{})", row >> LINE_BITS, row & ((1 << LINE_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_rows_are_their_places() {
        assert_eq!(place(0x1_0002), "(1,2)");
    }
}
