//! The state of a table: how many rows it had, and which transactions had ended by then.
//!
//! Whoever adds rows leaves the number of the transaction on them, Python and `psql` too. So what has come since a state
//! is known, and if all rows of then are still there, nothing has gone.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use futures::StreamExt;
use tokio_postgres::Client;

use super::database::{Database, collect};
use super::relation::Relation;
use crate::error::Result;
use crate::store::{Basis, TableState};

/// A state that was read.
pub(crate) struct Then {
    oid: u32,
    rows: i64,
    /// The first transaction that was under way, the first that hadn't begun, and others under way between them.
    first: i64,
    next: i64,
    open: Vec<i64>,
}

/// What has become of a table since.
pub(crate) struct Since {
    /// How many rows of then have gone.
    pub gone: i64,
    /// How many rows have come.
    pub come: i64,
}

/// The state that the table is in.
///
/// # Errors
/// It can't be read.
pub(crate) async fn state(relation: &Relation, client: &Client) -> Result<TableState> {
    let sql = format!("SELECT txid_current_snapshot()::text, count(*) FROM {}", relation.qualified());
    let row = client.query_one(&sql, &[]).await.map_err(|error| relation.database.failed(&error))?;
    let (snapshot, rows): (String, i64) = (row.get(0), row.get(1));
    Ok(TableState::new(format!("{}/{rows}/{snapshot}", relation.oid)))
}

impl Then {
    /// The state that a text stands for; `None` for that of a table which wasn't there.
    pub(crate) fn parse(state: &TableState) -> Option<Self> {
        let mut parts = state.as_str().split('/');
        let (oid, rows, snapshot) = (parts.next()?, parts.next()?, parts.next()?);
        let mut numbers = snapshot.split(':');
        let (first, next) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let open = numbers.next()?.split(',').filter(|number| !number.is_empty());
        Some(Self {
            oid: oid.parse().ok()?,
            rows: rows.parse().ok()?,
            first,
            next,
            open: open.map(|number| number.parse().ok()).collect::<Option<_>>()?,
        })
    }

    /// Whether it is a state of this table.
    pub(crate) fn is_of(&self, relation: &Relation) -> bool {
        self.oid == relation.oid
    }

    /// The condition on rows that were there then, in the transaction `own`, which has a lock on the table.
    pub(crate) fn was_there(&self, own: i64) -> String {
        // Rows have the last 32 bits of the number only, and `age` is how long ago that was.
        let number = format!("({own} - age(xmin))");
        let open: Vec<String> = self.open.iter().map(i64::to_string).collect();
        let open = if open.is_empty() {
            String::new()
        } else {
            format!(" AND {number} <> ALL (ARRAY[{}]::bigint[])", open.join(", "))
        };
        format!("({number} < {} OR ({number} < {}{open}))", self.first, self.next)
    }

    /// What has become of the table, seen from the transaction `own`.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) async fn since(&self, relation: &Relation, client: &Client, own: i64) -> Result<Since> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE {}), count(*) FROM {}",
            self.was_there(own),
            relation.qualified()
        );
        let row = client.query_one(&sql, &[]).await.map_err(|error| relation.database.failed(&error))?;
        let (left, all): (i64, i64) = (row.get(0), row.get(1));
        // More than there were: they were added by parts of transactions, whose numbers say less.
        Ok(Since { gone: (self.rows - left).abs(), come: all - left })
    }
}

/// The number of the transaction that is under way.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn transaction(database: &Database, client: &Client) -> Result<i64> {
    let row = client.query_one("SELECT txid_current()", &[]).await;
    Ok(row.map_err(|error| database.failed(&error))?.get(0))
}

/// Whether what rows were worked out from still holds; the table is locked.
///
/// # Errors
/// The table can't be read.
pub(crate) async fn still_holds(
    basis: &Basis,
    relation: Option<&Relation>,
    client: &Client,
    ids: &[String],
) -> Result<bool> {
    let (then, relation) = match (Then::parse(&basis.state), relation) {
        (None, None) => return Ok(true),
        (None, Some(relation)) => {
            // The table has come since, with all its rows.
            let all = added(relation, client, "true", ids).await?;
            return basis.survives(futures::stream::iter(all.into_iter().map(Ok)).boxed()).await;
        }
        (Some(then), Some(relation)) if then.is_of(relation) => (then, relation),
        (Some(_), _) => return Ok(false),
    };
    let own = transaction(&relation.database, client).await?;
    let since = then.since(relation, client, own).await?;
    if since.gone != 0 {
        return Ok(false);
    }
    if since.come == 0 {
        return Ok(true);
    }
    if basis.samples.is_none() {
        return Ok(false);
    }
    let condition = format!("NOT {}", then.was_there(own));
    let rows = added(relation, client, &condition, ids).await?;
    basis.survives(futures::stream::iter(rows.into_iter().map(Ok)).boxed()).await
}

/// The ids of rows that meet a condition.
async fn added(
    relation: &Relation,
    client: &Client,
    condition: &str,
    ids: &[String],
) -> Result<Vec<RecordBatch>> {
    let known = ids.iter().filter_map(|id| relation.column(id));
    let fields: Vec<_> =
        known.map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let names: Vec<String> = schema.fields().iter().map(|field| relation.selected(field.name())).collect();
    let sql = format!("SELECT {} FROM {} WHERE {condition}", names.join(", "), relation.qualified());
    collect(&relation.database, client, &sql, &schema).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_tells_transactions_that_had_ended() {
        let then = Then::parse(&TableState::new("16384/10/740:745:741,743")).unwrap();
        assert_eq!(
            then.was_there(800),
            "((800 - age(xmin)) < 740 OR ((800 - age(xmin)) < 745 AND \
             (800 - age(xmin)) <> ALL (ARRAY[741, 743]::bigint[])))"
        );
        assert!(Then::parse(&TableState::default()).is_none());
        assert_eq!(Then::parse(&TableState::new("1/0/7:7:")).unwrap().open, Vec::<i64>::new());
    }
}
