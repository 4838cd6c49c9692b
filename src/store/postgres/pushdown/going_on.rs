//! Running an increment that goes on from an earlier one.
//!
//! One transaction sees one moment: it finds out what has changed since the earlier increment, compares that or
//! everything, and notes of which rows the answer is true.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::metrics::Count;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use tokio_postgres::{Client, SimpleQueryRow};

use super::changes::Changes;
use crate::error::Result;
use crate::records::{Moment, Record};
use crate::store::postgres::database::{Database, Lease, Rows, only_rows};

/// Keys of an answer that are noted at most: they are written into the next statement.
const KEYS: usize = 1 << 14;
/// Bytes of keys that are listed in a statement at most.
const LISTED_BYTES: usize = 4 << 20;
/// Of all rows, one in so many may have changed for the others to be worth being left out.
const ONE_IN: u64 = 8;
/// Transactions after which numbers of earlier ones say nothing: from 2³¹ on they would look like later ones.
const TRANSACTIONS: u64 = 1 << 30;

/// A statement to be run, and how it goes on.
pub(super) struct Run {
    pub database: Arc<Database>,
    pub sql: String,
    /// Whether each row stands for as many as its last column says.
    pub counted: bool,
    pub changes: Arc<Changes>,
    /// Counts when nothing but changes is compared.
    pub went_on: Count,
}

/// The moment that a transaction sees.
struct Now {
    /// Transactions with a number below this one had ended.
    snapshot: u64,
    /// How far the log of writes had got; `None` on a server that follows another one, and has only what is safe.
    written: Option<String>,
    /// Whether the server looks up values in long arrays by their hashes, as all do from version 14 on.
    hashes_arrays: bool,
    /// Each table's identity, with that of the server.
    tables: Vec<String>,
}

/// What there is in a table.
struct Counted {
    rows: u64,
    /// Rows from before a snapshot.
    before: u64,
    /// The same, and when the last of them was written.
    known: String,
}

/// What has to be compared.
enum Compared {
    Everything,
    Changes {
        sql: String,
        /// Whether rows were written since the earlier comparison: without any, its record says all that this one could.
        is_news: bool,
    },
    Nothing,
}

/// The rows of the statement.
///
/// # Errors
/// The server can't be reached or refuses the statement; errors in the middle of it are in the stream.
pub(super) async fn rows(run: Run, schema: SchemaRef) -> Result<SendableRecordBatchStream> {
    let Run { database, sql, counted, changes, went_on } = run;
    let mut lease = database.reader().await?;
    let own = changes.own_record();
    let latest = own.as_deref().and_then(|record| record.moments.first()).map(|moment| moment.version);
    let known = changes.comparisons.get(&database, &lease, &changes.question, &changes.keys, latest).await;
    if known.is_old {
        changes.comparisons.touch(&database, &lease, &changes.question).await;
    }
    let mut earlier: Vec<&Record> = known.record.iter().chain(own.as_deref()).collect();
    earlier.sort_by_key(|record| std::cmp::Reverse(record.moments.first().map(|moment| moment.version)));
    let begun = match begun(&lease, &changes).await {
        Some(now) => {
            compared(&database, &lease, &changes, &now, &earlier).await.map(|compared| (now, compared))
        }
        None => None,
    };
    let Some((now, compared)) = begun else {
        // An old server, or a table that can't be counted: everything can be compared all the same.
        lease.batch_execute("ROLLBACK").await.map_err(|error| database.failed(&error))?;
        return Ok(Rows::of(lease, &sql, &schema).await?.into_stream(schema));
    };
    went_on.add(usize::from(!matches!(compared, Compared::Everything)));
    let (sql, is_news) = match compared {
        Compared::Everything => (sql, true),
        Compared::Changes { sql, is_news } => (sql, is_news),
        Compared::Nothing => {
            end(&mut lease).await;
            return Ok(Box::pin(EmptyRecordBatchStream::new(schema)));
        }
    };
    let rows = Rows::of(lease, &sql, &schema).await?;
    let noted = (changes.all && is_news).then(|| Noted::new(&changes, &schema, counted));
    let going = Going { rows, database, changes, now, noted, is_over: false };
    let stream = futures::stream::try_unfold(going, |mut going| async move {
        let batch = going.next().await.map_err(datafusion::error::DataFusionError::from)?;
        Ok(batch.map(|batch| (batch, going)))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// Begins the transaction; the moment that it sees, if the server can say which that is.
async fn begun(client: &Client, changes: &Changes) -> Option<Now> {
    let asked = async {
        client.batch_execute(&changes.begin()).await?;
        client.simple_query(&changes.moment()).await
    };
    let answer = asked.await.inspect_err(|error| log::debug!("no moment of tables: {error}")).ok()?;
    let row = only_rows(answer).next()?;
    let text = |column: usize| row.try_get(column).ok().flatten();
    let (server, snapshot) = (text(0)?, text(1)?.parse().ok()?);
    let tables = (0..changes.tables.len()).map(|n| Some(format!("{server} {}", text(4 + n)?)));
    let written = text(2).map(str::to_owned);
    let hashes_arrays = text(3).and_then(|version| version.parse::<u32>().ok()) >= Some(140_000);
    Some(Now { snapshot, written, hashes_arrays, tables: tables.collect::<Option<_>>()? })
}

/// Whether a record is of the tables that there are now, and the snapshot it is of.
fn is_of(record: &Record, changes: &Changes, now: &Now) -> Option<u64> {
    let then = record.moments.first()?.version;
    let is_of = |(moment, table): (&Moment, &String)| moment.table == *table && moment.version == then;
    let is_known = record.moments.len() == now.tables.len()
        && record.moments.iter().zip(&now.tables).all(is_of)
        && record.keys.schema().fields() == changes.keys.fields()
        && then <= now.snapshot
        && now.snapshot - then < TRANSACTIONS;
    is_known.then_some(then)
}

/// What has to be compared now, after one of these earlier comparisons, the latest first; `None` if the tables can't be
/// counted.
async fn compared(
    database: &Database,
    client: &Client,
    changes: &Changes,
    now: &Now,
    earlier: &[&Record],
) -> Option<Compared> {
    let mut found = None;
    for record in earlier {
        let Some(then) = is_of(record, changes, now) else { continue };
        let counted = counted(client, changes, then).await?;
        if counted.iter().zip(&record.moments).all(|(counted, moment)| counted.known == moment.commit) {
            found = Some((record, then, counted));
            break;
        }
    }
    let Some((record, then, counted)) = found else { return Some(Compared::Everything) };
    let written: u64 = counted.iter().map(|table| table.rows - table.before).sum();
    let all: u64 = counted.iter().map(|table| table.rows).sum();
    let keys = record.keys.num_rows() as u64;
    if written + keys == 0 {
        return Some(Compared::Nothing);
    }
    if changes.gain && written + keys > all / ONE_IN {
        return Some(Compared::Everything);
    }
    let listed = match now.hashes_arrays && written + keys <= KEYS as u64 {
        true => listed(database, client, changes, then, &record.keys).await.ok()?,
        false => None,
    };
    let statement = listed.map_or_else(|| changes.since(then, &record.keys), Ok);
    Some(statement.map_or(Compared::Everything, |sql| Compared::Changes { sql, is_news: written > 0 }))
}

/// The statement over a list of the keys of rows that were written since a snapshot, and these; `None` if they can't be
/// listed.
///
/// # Errors
/// The rows can't be read, after which nothing else can be read in the transaction.
async fn listed(
    database: &Database,
    client: &Client,
    changes: &Changes,
    snapshot: u64,
    keys: &RecordBatch,
) -> std::result::Result<Option<String>, tokio_postgres::Error> {
    let Some(written) = changes.written(snapshot) else { return Ok(None) };
    let written: Vec<SimpleQueryRow> = only_rows(client.simple_query(&written).await?).collect();
    let keys_of_rows = || {
        let known = cast(keys.column(0), &DataType::Utf8View).ok()?;
        let known = known.as_string_view().iter().map(|key| key.map(str::to_owned));
        let mut listed = known.collect::<Option<BTreeSet<String>>>()?;
        for row in &written {
            let (key, is_null) = (row.get(0)?, row.get(1)?);
            database.has_fetched(key.len() as u64);
            if is_null != "f" {
                return None;
            }
            listed.insert(key.to_owned());
        }
        (listed.iter().map(String::len).sum::<usize>() <= LISTED_BYTES).then_some(listed)
    };
    Ok(keys_of_rows().and_then(|listed| changes.of(&listed).ok()))
}

/// What there is in each table now; `None` if that can't be found out.
async fn counted(client: &Client, changes: &Changes, snapshot: u64) -> Option<Vec<Counted>> {
    let answer = client.simple_query(&changes.counts(snapshot)).await.ok()?;
    let counted = only_rows(answer).map(|row| {
        let number = |column: usize| row.try_get(column).ok().flatten()?.parse::<u64>().ok();
        let (rows, before) = (number(1)?, number(2)?);
        let last = row.try_get(3).ok().flatten().unwrap_or("never");
        Some(Counted { rows, before, known: format!("{before} {last}") })
    });
    counted.collect::<Option<Vec<_>>>().filter(|counted| counted.len() == changes.tables.len())
}

/// Whether nothing of what was seen would be taken back by a crash.
async fn is_safe(client: &Client, now: &Now) -> bool {
    let Some(written) = &now.written else { return true };
    let answer = client.simple_query(&Changes::safe(written)).await.unwrap_or_default();
    only_rows(answer).any(|row| row.try_get(0).ok().flatten() == Some("t"))
}

/// Ends the transaction, after which the connection can serve others.
async fn end(lease: &mut Lease) {
    if lease.batch_execute("COMMIT").await.is_ok() {
        lease.done();
    }
}

/// The keys of an answer.
struct Noted {
    /// Where the key's columns are in the answer; `None` if it has not all of them: then only an empty one is known.
    columns: Option<Vec<usize>>,
    counted: bool,
    keys: Vec<RecordBatch>,
    rows: usize,
}

impl Noted {
    fn new(changes: &Changes, schema: &SchemaRef, counted: bool) -> Self {
        let columns = changes.keys.fields().iter().map(|field| schema.index_of(field.name()).ok());
        Self { columns: columns.collect(), counted, keys: Vec::new(), rows: 0 }
    }

    /// How many samples these rows are.
    fn samples(&self, batch: &RecordBatch) -> usize {
        match batch.columns().last().filter(|_| self.counted) {
            Some(counts) => {
                let counts = counts.as_primitive::<Int64Type>().iter().flatten();
                counts.map(|n| usize::try_from(n).unwrap_or_default()).sum()
            }
            None => batch.num_rows(),
        }
    }
}

/// Rows on their way, and what they say to the next increment.
struct Going {
    rows: Rows,
    database: Arc<Database>,
    changes: Arc<Changes>,
    now: Now,
    noted: Option<Noted>,
    /// Whether the transaction has ended.
    is_over: bool,
}

impl Going {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = self.rows.next().await?;
        if let Some(batch) = &batch {
            self.note(batch);
        }
        // Tables stay locked against being altered for as long as the transaction lasts, and nobody need ask again.
        if self.rows.have_all_come() && !self.is_over {
            self.is_over = true;
            self.end().await;
        }
        Ok(batch)
    }

    /// Notes the keys of rows, unless they are too many or not there.
    fn note(&mut self, batch: &RecordBatch) {
        let Some(mut noted) = self.noted.take() else { return };
        noted.rows += noted.samples(batch);
        if noted.rows == 0 {
            self.noted = Some(noted);
            return;
        }
        let Some(columns) = noted.columns.as_ref().filter(|_| noted.rows <= KEYS) else { return };
        let columns = columns.iter().zip(self.changes.keys.fields());
        let columns = columns.map(|(n, field)| cast(batch.column(*n), field.data_type()));
        let keys = columns.collect::<std::result::Result<Vec<_>, _>>();
        let Ok(keys) = keys.and_then(|keys| RecordBatch::try_new(Arc::clone(&self.changes.keys), keys))
        else {
            return;
        };
        noted.keys.push(keys);
        self.noted = Some(noted);
    }

    /// All rows have come: keeps a record of the answer, if it is true of rows that can be told from later ones.
    async fn end(&mut self) {
        let record = self.record().await;
        if self.rows.lease.batch_execute("COMMIT").await.is_err() {
            return;
        }
        if let Some(record) = record {
            self.changes.comparisons.put(&self.database, &self.rows.lease, &record).await;
            self.changes.keep(record);
        }
        self.rows.lease.done();
    }

    /// What the answer says to the next increment.
    async fn record(&mut self) -> Option<Record> {
        let noted = self.noted.take()?;
        let keys = concat_batches(&self.changes.keys, &noted.keys).ok()?;
        let counted = counted(&self.rows.lease, &self.changes, self.now.snapshot).await?;
        // Rows of transactions that were under way can't be told from later ones.
        if counted.iter().any(|table| table.before != table.rows)
            || !is_safe(&self.rows.lease, &self.now).await
        {
            return None;
        }
        let (tables, version) = (std::mem::take(&mut self.now.tables), self.now.snapshot);
        let moments = tables.into_iter().zip(counted).map(|(table, counted)| Moment {
            table,
            version,
            commit: counted.known,
        });
        Some(Record { question: self.changes.question.clone(), moments: moments.collect(), keys })
    }
}
