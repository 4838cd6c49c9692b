//! A store that lives as long as the process: for tests, and for embedding.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StructArray, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;

use super::delta_schema::merge;
use super::remove::{removed_meanwhile, without};
use super::stamp::stamped;
use super::{
    Append, Basis, MetadataStore, RecordedSettings, StoredTable, TableSnapshot, TableState, WriteTime,
};
use crate::boxed::{self, BoxFuture};
use crate::columns::{DELETED_AT, ROW_ORDER, UPDATED_AT};
use crate::error::{MetaxyError, Result};
use crate::hash::HashSettings;
use crate::model::FeatureKey;

/// Feature tables as Arrow batches in this process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Arc<Tables>,
}

#[derive(Debug, Default)]
struct Tables(Mutex<HashMap<FeatureKey, Table>>);

impl Tables {
    fn lock(&self) -> MutexGuard<'_, HashMap<FeatureKey, Table>> {
        // A poisoned lock still guards a whole table: it is only changed in one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
struct Table {
    /// Changes with every removal: the numbers of rows do, too.
    removals: u64,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    settings: HashSettings,
    write_keys: HashSet<String>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl MetadataStore for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn format(&self) -> &'static str {
        "a store in memory"
    }

    fn location(&self) -> String {
        "memory".into()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let Some(table) = self.tables.lock().get(feature).cloned() else {
            return Ok(None);
        };
        let rows = MemoryRows {
            tables: Arc::clone(&self.tables),
            feature: feature.clone(),
            schema: table.numbered_schema(),
        };
        Ok(Some(StoredTable {
            provider: Arc::new(rows),
            recorded: Some(RecordedSettings {
                algorithm: table.settings.algorithm.to_string(),
                length: table.settings.length.to_string(),
            }),
            sample_version: None,
        }))
    }

    async fn state(&self, feature: &FeatureKey) -> Result<TableState> {
        Ok(self.tables.lock().get(feature).map(Table::state).unwrap_or_default())
    }

    async fn snapshot(&self, feature: &FeatureKey) -> Result<Option<Arc<dyn TableSnapshot>>> {
        let Some(table) = self.tables.lock().get(feature).cloned() else {
            return Ok(None);
        };
        let schema = table.numbered_schema();
        let rows = MemTable::try_new(Arc::clone(&schema), vec![numbered(&table.batches, &schema)?])?;
        let (tables, feature) = (Arc::clone(&self.tables), feature.clone());
        Ok(Some(Arc::new(MemorySnapshot { tables, feature, table, rows: Arc::new(rows) })))
    }

    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64> {
        let known = |tables: &HashMap<FeatureKey, Table>, key: &Option<String>| {
            key.as_ref().is_some_and(|key| tables.get(feature).is_some_and(|t| t.write_keys.contains(key)))
        };
        if known(&self.tables.lock(), &rows.write_key) {
            return Ok(0);
        }
        let batches: Vec<RecordBatch> = rows.rows.try_collect().await?;
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if count == 0 {
            return Ok(0);
        }
        let mut tables = self.tables.lock();
        if known(&tables, &rows.write_key) {
            return Ok(0);
        }
        let now = tables.get(feature);
        if let Some(basis) = &rows.only_at
            && !now.map_or(Ok(basis.state == TableState::default()), |table| table.still_holds(basis))?
        {
            return Err(MetaxyError::Changed { feature: feature.to_string() });
        }
        let mut table = match tables.get(feature) {
            Some(table) => table.clone(),
            None => Table {
                removals: 0,
                schema: Arc::clone(&rows.schema),
                batches: Vec::new(),
                settings: rows.settings,
                write_keys: HashSet::new(),
            },
        };
        table.add(feature, &rows.schema, &batches, rows.time)?;
        table.write_keys.extend(rows.write_key);
        tables.insert(feature.clone(), table);
        Ok(count as u64)
    }
}

impl Table {
    fn state(&self) -> TableState {
        TableState::new(format!("{}/{}", self.removals, self.batches.len()))
    }

    /// Whether nothing was removed since, and what was added is of other samples.
    fn still_holds(&self, basis: &Basis) -> Result<bool> {
        if self.state() == basis.state {
            return Ok(true);
        }
        let then = basis.state.as_str().split_once('/').unwrap_or(("0", "0"));
        let (Ok(removals), Ok(batches)) = (then.0.parse::<u64>(), then.1.parse::<usize>()) else {
            return Ok(false);
        };
        let (Some(samples), Some(added)) = (&basis.samples, self.batches.get(batches..)) else {
            return Ok(false);
        };
        if self.removals != removals {
            return Ok(false);
        }
        for batch in added {
            if samples.any_in(batch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds rows under one time, and the columns that the table lacks.
    fn add(
        &mut self,
        feature: &FeatureKey,
        schema: &Schema,
        batches: &[RecordBatch],
        column: WriteTime,
    ) -> Result<()> {
        let refuse = |reason| MetaxyError::Write { feature: feature.to_string(), reason };
        if let Some(merged) = merge(&self.schema, schema).map_err(refuse)? {
            self.schema = Arc::new(merged);
        }
        let latest = self.batches.iter().flat_map(times).max();
        let time = latest.map_or(i64::MIN, |t| t + 1).max(Utc::now().timestamp_micros());
        for batch in batches {
            self.batches.push(stamped(batch, column, time)?);
        }
        Ok(())
    }

    /// Columns, with the row order as the last one.
    fn numbered_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        Arc::new(Schema::new(fields))
    }
}

/// A table at one moment.
#[derive(Debug)]
struct MemorySnapshot {
    tables: Arc<Tables>,
    feature: FeatureKey,
    table: Table,
    rows: Arc<MemTable>,
}

#[async_trait]
impl TableSnapshot for MemorySnapshot {
    fn rows(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.rows) as _
    }

    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64> {
        self.removed(rows, append).await
    }
}

impl MemorySnapshot {
    /// Takes rows out, as [`TableSnapshot::remove`] says.
    fn removed<'a>(&'a self, rows: &'a [u64], append: Option<Append>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let added = match append {
                Some(append) => {
                    Some((append.schema, append.time, append.rows.try_collect::<Vec<RecordBatch>>().await?))
                }
                None => None,
            };
            let mut tables = self.tables.lock();
            // What is appended was worked out from all rows there were.
            let same = |now: &&Table| {
                now.removals == self.table.removals && (added.is_none() || now.state() == self.table.state())
            };
            let Some(mut table) = tables.get(&self.feature).filter(same).cloned() else {
                return Err(removed_meanwhile(&self.feature));
            };
            let mut start = 0_u64;
            for batch in &mut table.batches {
                let end = start + batch.num_rows() as u64;
                let gone = &rows[rows.partition_point(|&r| r < start)..rows.partition_point(|&r| r < end)];
                if !gone.is_empty() {
                    *batch = without(batch, gone.iter().map(|row| row - start))?;
                }
                start = end;
            }
            table.batches.retain(|batch| batch.num_rows() > 0);
            table.removals += 1;
            if let Some((schema, time, batches)) = added {
                table.add(&self.feature, &schema, &batches, time)?;
            }
            tables.insert(self.feature.clone(), table);
            Ok(rows.len() as u64)
        })
    }
}

/// All rows of a table, read as they are at the time of the scan.
#[derive(Debug)]
struct MemoryRows {
    tables: Arc<Tables>,
    feature: FeatureKey,
    /// The table's columns when it was opened, and the row order.
    schema: SchemaRef,
}

impl MemoryRows {
    fn batches(&self) -> Result<Vec<RecordBatch>> {
        let batches = self.tables.lock().get(&self.feature).map(|table| table.batches.clone());
        numbered(&batches.unwrap_or_default(), &self.schema)
    }
}

/// The rows in the columns of `schema`, of which the last is their number.
fn numbered(batches: &[RecordBatch], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let columns = Schema::new(schema.fields()[..schema.fields().len() - 1].to_vec());
    let mut next = 0_u64;
    let mut numbered = Vec::new();
    for batch in batches {
        let mut arrays = widen(batch, &columns)?;
        let end = next + batch.num_rows() as u64;
        arrays.push(Arc::new(UInt64Array::from_iter_values(next..end)));
        next = end;
        let batch = RecordBatch::try_new(Arc::clone(schema), arrays);
        numbered.push(batch.map_err(DataFusionError::from)?);
    }
    Ok(numbered)
}

#[async_trait]
impl TableProvider for MemoryRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    boxed::scan!(planned);
}

impl MemoryRows {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, datafusion::common::Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let table = MemTable::try_new(Arc::clone(&self.schema), vec![self.batches()?])?;
            table.scan(state, projection, filters, limit).await
        })
    }
}

/// The columns of a batch as a table with more columns, or struct members, has them.
fn widen(batch: &RecordBatch, schema: &Schema) -> Result<Vec<ArrayRef>> {
    schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => widen_column(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect()
}

fn widen_column(column: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if column.data_type() == target {
        return Ok(Arc::clone(column));
    }
    match target {
        DataType::Struct(fields) if matches!(column.data_type(), DataType::Struct(_)) => {
            let given = column.as_struct();
            let members = fields
                .iter()
                .map(|field| match given.column_by_name(field.name()) {
                    Some(member) => widen_column(member, field.data_type()),
                    None => Ok(new_null_array(field.data_type(), column.len())),
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::new(fields.clone(), members, given.nulls().cloned())))
        }
        _ => Ok(cast(column, target).map_err(DataFusionError::from)?),
    }
}

fn times(batch: &RecordBatch) -> impl Iterator<Item = i64> {
    [UPDATED_AT, DELETED_AT].into_iter().filter_map(|name| {
        datafusion::arrow::compute::max(
            batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?,
        )
    })
}
