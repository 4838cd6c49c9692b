//! A write: one transaction, in which the table is locked once all rows are there.
//!
//! A few rows wait in memory, more of them in a temporary table, so that nobody waits for whoever makes them. Under the
//! lock, the key, the settings, what the rows were worked out from, the columns and the times are looked at: nobody can
//! change them before the commit.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::database::{Database, Lease};
use super::encode::{self, HEAD, TAIL, Targets};
use super::errors::describe;
use super::names::{identifier, literal};
use super::relation::{Relation, is_versions, schema_exists};
use super::state::still_holds;
use super::types::PostgresType;
use super::{PostgresStore, ddl, writes};
use crate::columns::{DELETED_AT, UPDATED_AT};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::store::delta_schema::merge;
use crate::store::stamp::{later_than, stamped};
use crate::store::{Append, Basis, RecordedSettings, WriteTime};
use crate::types::storable;

/// Bytes of rows that wait in memory.
const IN_MEMORY: usize = 32 << 20;
/// Rows that are encoded at a time, and bytes that are sent at a time.
const ROWS: usize = 1024;
const CHUNK: usize = 256 << 10;
/// The table in which more rows wait, and the number of each there.
const STAGE: &str = "\"pg_temp\".\"metaxy$staged\"";

/// Rows that are complete and wait for the lock.
enum Rows {
    Memory(Vec<RecordBatch>),
    Staged(u64),
}

/// What is known of a write besides its rows.
pub(crate) struct Write<'a> {
    pub(crate) store: &'a PostgresStore,
    pub(crate) feature: &'a FeatureKey,
    pub(crate) schema: SchemaRef,
    pub(crate) recorded: RecordedSettings,
    pub(crate) id_columns: Vec<String>,
    pub(crate) write_key: Option<String>,
    pub(crate) time: WriteTime,
    pub(crate) only_at: Option<Basis>,
}

/// Appends rows to the feature's table.
///
/// # Errors
/// Of the rows, of the database, or what is checked; then nothing is written.
pub(crate) async fn append(store: &PostgresStore, feature: &FeatureKey, rows: Append) -> Result<u64> {
    let Append { schema, rows, settings, id_columns, write_key, time, only_at } = rows;
    let (schema, mut rows) = in_storable_types(&schema, rows);
    if let Some(key) = &write_key
        && store.is_written(feature, key).await?
    {
        return Ok(0);
    }
    let recorded = RecordedSettings::of(settings);
    let write = Write { store, feature, schema, recorded, id_columns, write_key, time, only_at };
    let (mut batches, mut bytes) = (Vec::new(), 0);
    let mut more = false;
    while let Some(batch) = rows.next().await.transpose()? {
        if batch.num_rows() > 0 {
            bytes += batch.get_array_memory_size();
            batches.push(batch);
        }
        if bytes > IN_MEMORY {
            more = true;
            break;
        }
    }
    if batches.is_empty() {
        return Ok(0);
    }
    let database = &store.database;
    let lease = database.writer().await?;
    transaction(database, lease, async |client| {
        let waiting = if more {
            let first = futures::stream::iter(std::mem::take(&mut batches).into_iter().map(Ok));
            Rows::Staged(write.stage(client, first.chain(rows)).await?)
        } else {
            Rows::Memory(std::mem::take(&mut batches))
        };
        let relation = write.locked(client).await?;
        write.finish(client, relation, waiting).await
    })
    .await
}

/// The same rows, without what is only another layout of a type.
pub(crate) fn in_storable_types(
    schema: &SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
) -> (SchemaRef, BoxStream<'static, Result<RecordBatch>>) {
    let field = |field: &FieldRef| Field::new(field.name(), storable(field.data_type()), field.is_nullable());
    let storable = Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()));
    if storable.fields() == schema.fields() {
        return (storable, rows);
    }
    let wanted = Arc::clone(&storable);
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let columns = batch.columns().iter().zip(wanted.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<_, ArrowError>>().map_err(DataFusionError::from)?;
        Ok(RecordBatch::try_new(Arc::clone(&wanted), columns).map_err(DataFusionError::from)?)
    });
    (storable, rows.boxed())
}

/// Begins a transaction that sees under a lock what others did while it was waited for, whatever the default is of the
/// database or the role.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Runs `work` in a transaction, which counts if it succeeds and otherwise leaves no trace.
///
/// # Errors
/// That of `work`, or the database doesn't commit.
pub(crate) async fn transaction<T>(
    database: &Database,
    mut lease: Lease,
    work: impl AsyncFnOnce(&Client) -> Result<T>,
) -> Result<T> {
    lease.batch_execute(BEGIN).await.map_err(|error| database.failed(&error))?;
    match work(&lease).await {
        Ok(outcome) => {
            lease.batch_execute("COMMIT").await.map_err(|error| {
                let what = if error.as_db_error().is_some() {
                    "nothing was written"
                } else {
                    "it isn't known whether the write was done; look before you repeat it, or use a write key"
                };
                database.error(format!("{}; {what}", describe(&error)))
            })?;
            lease.done();
            Ok(outcome)
        }
        Err(error) => {
            // Else the connection is closed, which ends the transaction as well.
            if lease.batch_execute("ROLLBACK").await.is_ok() {
                lease.done();
            }
            Err(error)
        }
    }
}

impl Write<'_> {
    fn database(&self) -> &Arc<Database> {
        &self.store.database
    }

    fn refused(&self, reason: String) -> MetaxyError {
        MetaxyError::Write { feature: self.feature.to_string(), reason }
    }

    async fn execute(&self, client: &Client, sql: &str) -> Result<()> {
        client.batch_execute(sql).await.map_err(|error| self.database().failed(&error))
    }

    /// Puts rows into a temporary table.
    async fn stage(
        &self,
        client: &Client,
        rows: impl futures::Stream<Item = Result<RecordBatch>>,
    ) -> Result<u64> {
        let create = ddl::stage(STAGE, &self.schema).map_err(|reason| self.refused(reason))?;
        self.execute(client, &create.replace("\"pg_temp\".", "")).await?;
        let targets = self.schema.fields().iter().map(|field| (field.name().clone(), staged(field)));
        self.copy(client, STAGE, &targets.collect(), rows).await
    }

    /// The feature's table, which nobody else writes to from here on; `None` if there is none.
    ///
    /// # Errors
    /// It can't be locked.
    pub(crate) async fn locked(&self, client: &Client) -> Result<Option<Relation>> {
        let table = self.store.table(self.feature)?;
        // Of a table that isn't there yet only its name can be locked.
        let name = format!("metaxy/{}/{table}", self.database().schema().unwrap_or_default());
        self.execute(
            client,
            &format!("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))", literal(&name)),
        )
        .await?;
        let Some(relation) = Relation::find(self.database(), client, &table).await? else {
            return Ok(None);
        };
        // Who may only add rows can't lock others out. Those that know us wait all the same, for the name.
        let mode = if relation.is_lockable { "SHARE ROW EXCLUSIVE" } else { "ROW EXCLUSIVE" };
        let lock = format!("LOCK TABLE {} IN {mode} MODE", relation.qualified());
        self.execute(client, &lock).await?;
        // Its columns may have been others while the lock was waited for.
        Relation::find(self.database(), client, &table).await
    }

    /// Checks what has to hold, makes the table fit and adds the rows.
    async fn finish(&self, client: &Client, relation: Option<Relation>, rows: Rows) -> Result<u64> {
        if let (Some(key), Some(relation)) = (&self.write_key, &relation)
            && writes::is_done(relation, client, key).await?
        {
            return Ok(0);
        }
        if let Some(basis) = &self.only_at
            && !still_holds(basis, relation.as_ref(), client, &self.id_columns).await?
        {
            return Err(MetaxyError::Changed { feature: self.feature.to_string() });
        }
        let relation = self.fitting(client, relation).await?;
        let count = self.insert(client, &relation, rows).await?;
        if let Some(key) = &self.write_key {
            self.keep_keys(client, &relation).await?;
            writes::record(&relation, client, key).await?;
        }
        Ok(count)
    }

    /// Adds rows that are worked out already to a table that is locked.
    ///
    /// # Errors
    /// As [`append`].
    pub(crate) async fn add(
        &self,
        client: &Client,
        relation: Relation,
        rows: Vec<RecordBatch>,
    ) -> Result<u64> {
        let relation = self.fitting(client, Some(relation)).await?;
        self.insert(client, &relation, Rows::Memory(rows)).await
    }

    /// The table with all columns that the rows have.
    async fn fitting(&self, client: &Client, relation: Option<Relation>) -> Result<Relation> {
        // System tables have no versions of samples.
        let recorded = (!self.feature.is_system()).then_some(&self.recorded);
        let statements = match &relation {
            None => {
                let schema = self
                    .database()
                    .schema()
                    .map_or_else(String::new, |name| format!("{}.", identifier(name)));
                let create = ddl::create(&schema, &self.store.table(self.feature)?, &self.schema, recorded);
                let mut statements = create.map_err(|reason| self.refused(reason))?;
                // Even where there is one, to create it if there is none needs leave to create schemas.
                if let Some(schema) = self.database().schema()
                    && !schema_exists(self.database(), client, schema).await?
                {
                    statements.insert(0, format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(schema)));
                }
                statements
            }
            Some(relation) => {
                if let (Some(of_table), Some(_)) = (&relation.recorded, recorded) {
                    of_table.check_same(&self.recorded).map_err(|reason| self.refused(reason))?;
                }
                let merged = self.merged(relation)?;
                ddl::extend(relation, &merged).map_err(|reason| self.refused(reason))?
            }
        };
        if let (Some(relation), true) = (&relation, statements.is_empty()) {
            return Ok(relation.clone());
        }
        if !self.store.auto_create {
            let what = if relation.is_some() { "lacks columns" } else { "does not exist" };
            return Err(self.refused(format!(
                "its table {what}, and auto_create_tables is off; turn it on in the store's config, or run: {};",
                statements.join("; ")
            )));
        }
        // All stores of a database may create the same schema at the same time.
        if relation.is_none() && self.database().schema().is_some() {
            self.execute(client, "SELECT pg_advisory_xact_lock(hashtextextended('metaxy/schema', 0))")
                .await?;
        }
        client.batch_execute(&statements.join(";\n")).await.map_err(|error| {
            if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                return self.database().failed(&error);
            }
            self.refused(format!(
                "{}; let somebody run who may: {};",
                describe(&error),
                statements.join("; ")
            ))
        })?;
        let table = self.store.table(self.feature)?;
        let found = Relation::find(self.database(), client, &table).await?;
        found.ok_or_else(|| {
            self.refused("there is no schema to create its table in; name one in the store's config".into())
        })
    }

    /// The columns of the table, and those of the rows that it lacks.
    fn merged(&self, relation: &Relation) -> Result<Schema> {
        let mut given = Vec::new();
        for field in self.schema.fields() {
            let fits_all = relation.column(field.name()).is_some_and(|column| {
                is_versions(&column.name) && !(column.recorded && self.store.auto_create && relation.is_own)
                    || column.postgres.is_json() && !column.recorded && is_nested(field)
            });
            // JSON takes any fields; which ones there are is found without a record, too.
            if !fits_all {
                given.push(Arc::clone(field));
            }
        }
        let table = relation.stored_schema();
        let merged = merge(&table, &Schema::new(given)).map_err(|reason| self.refused(reason))?;
        Ok(merged.unwrap_or(table))
    }

    /// Adds the rows under one time.
    async fn insert(&self, client: &Client, relation: &Relation, rows: Rows) -> Result<u64> {
        let time = match self.time.column() {
            Some(_) => Some(later_than(latest_time(relation, client).await?)),
            None => None,
        };
        let mut targets = Targets::new();
        for field in self.schema.fields() {
            let column = relation.column(field.name());
            let column = column.ok_or_else(|| self.refused(format!("column {:?} is gone", field.name())))?;
            targets.push((column.name.clone(), column.postgres.clone()));
        }
        let direct = |(_, target): &(String, PostgresType)| {
            !matches!(target, PostgresType::Other(_) | PostgresType::Array(_, _))
        };
        match rows {
            Rows::Memory(batches) => {
                let batches = batches.iter().map(|batch| match time {
                    Some(time) => stamped(batch, self.time, time.timestamp_micros()),
                    None => Ok(batch.clone()),
                });
                let batches = futures::stream::iter(batches.collect::<Vec<_>>());
                if targets.iter().all(direct) {
                    return self.copy(client, &relation.qualified(), &targets, batches).await;
                }
                let count = self.stage(client, batches).await?;
                self.move_staged(client, relation, &targets, None).await?;
                Ok(count)
            }
            Rows::Staged(count) => {
                let time = time.map(|time| time.format("%Y-%m-%d %H:%M:%S%.6f").to_string());
                self.move_staged(client, relation, &targets, time).await?;
                Ok(count)
            }
        }
    }

    /// Adds the rows that wait in the temporary table, with this time in UTC if there is one.
    async fn move_staged(
        &self,
        client: &Client,
        relation: &Relation,
        targets: &Targets,
        time: Option<String>,
    ) -> Result<()> {
        let value = |(name, target): &(String, PostgresType)| {
            let column = identifier(name);
            match (target, &time) {
                (_, Some(time)) if Some(name.as_str()) == self.time.column() => match target {
                    PostgresType::TimestampTz => format!("timestamptz '{time}+00'"),
                    _ => format!("timestamp '{time}'"),
                },
                (PostgresType::Other(sql_type), _) => format!("{column}::{sql_type}"),
                (PostgresType::Array(sql_type, _), _) => format!(
                    "CASE WHEN {column} IS NOT NULL THEN \
                     ARRAY(SELECT jsonb_array_elements_text({column}))::{sql_type} END"
                ),
                (PostgresType::Json, _) => format!("{column}::json"),
                (PostgresType::Jsonb, _) => format!("{column}::jsonb"),
                _ => column,
            }
        };
        let names: Vec<String> = targets.iter().map(|(name, _)| identifier(name)).collect();
        let values: Vec<String> = targets.iter().map(value).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {STAGE} ORDER BY ctid",
            relation.qualified(),
            names.join(", "),
            values.join(", ")
        );
        self.execute(client, &sql).await
    }

    /// Copies rows into a table and returns how many.
    async fn copy(
        &self,
        client: &Client,
        table: &str,
        targets: &Targets,
        rows: impl futures::Stream<Item = Result<RecordBatch>>,
    ) -> Result<u64> {
        let failed = |error: tokio_postgres::Error| self.database().failed(&error);
        let names: Vec<String> = targets.iter().map(|(name, _)| identifier(name)).collect();
        let sql = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", names.join(", "));
        let sink = client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?;
        let (mut sink, mut rows) = (std::pin::pin!(sink), std::pin::pin!(rows));
        let mut out = HEAD.to_vec();
        while let Some(batch) = rows.next().await.transpose()? {
            for start in (0..batch.num_rows()).step_by(ROWS) {
                let part = batch.slice(start, ROWS.min(batch.num_rows() - start));
                encode::rows(&part, targets, &mut out).map_err(|reason| self.refused(reason))?;
                if out.len() >= CHUNK {
                    sink.send(std::mem::take(&mut out).into()).await.map_err(failed)?;
                }
            }
        }
        out.extend_from_slice(TAIL);
        sink.send(out.into()).await.map_err(failed)?;
        sink.finish().await.map_err(failed)
    }

    /// Makes sure that there is a place for the keys of writes.
    async fn keep_keys(&self, client: &Client, relation: &Relation) -> Result<()> {
        if writes::exists(self.database(), client).await? {
            return Ok(());
        }
        let create = writes::ddl(&relation.schema);
        if !self.store.auto_create {
            return Err(self.refused(format!(
                "there is no table for the keys of writes, and auto_create_tables is off; turn it on in the store's \
                 config, or run: {create};"
            )));
        }
        self.execute(client, "SELECT pg_advisory_xact_lock(hashtextextended('metaxy/writes', 0))").await?;
        self.execute(client, &create).await
    }
}

fn is_nested(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _))
}

/// What a column is in the temporary table, as [`ddl::stage`] makes it.
fn staged(field: &Field) -> PostgresType {
    match field.data_type() {
        DataType::Boolean => PostgresType::Bool,
        DataType::Int8 | DataType::Int16 => PostgresType::Int2,
        DataType::Int32 => PostgresType::Int4,
        DataType::Int64 => PostgresType::Int8,
        DataType::Float32 => PostgresType::Float4,
        DataType::Float64 => PostgresType::Float8,
        DataType::Decimal128(precision, scale) => PostgresType::Numeric(*precision, *scale),
        DataType::Binary => PostgresType::Bytea,
        DataType::Date32 => PostgresType::Date,
        DataType::Time64(_) => PostgresType::Time,
        DataType::Timestamp(_, None) => PostgresType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PostgresType::TimestampTz,
        DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) => PostgresType::Jsonb,
        _ => PostgresType::Text,
    }
}

/// The greatest time that the table holds, in microseconds.
async fn latest_time(relation: &Relation, client: &Client) -> Result<Option<i64>> {
    let known = [UPDATED_AT, DELETED_AT].into_iter().filter(|name| relation.column(name).is_some());
    let greatest: Vec<String> = known.map(|name| format!("max({})::timestamptz", identifier(name))).collect();
    if greatest.is_empty() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT (extract(epoch FROM greatest({})) * 1000000)::bigint FROM {}",
        greatest.join(", "),
        relation.qualified()
    );
    let row = client.query_one(&sql, &[]).await.map_err(|error| relation.database.failed(&error))?;
    Ok(row.get(0))
}
