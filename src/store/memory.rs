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
use super::stamp::stamped;
use super::{Append, MetadataStore, RecordedSettings, StoredTable};
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
        let mut fields: Vec<_> = table.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        let rows = MemoryRows {
            tables: Arc::clone(&self.tables),
            feature: feature.clone(),
            schema: Arc::new(Schema::new(fields)),
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
        let refuse = |reason| MetaxyError::Write { feature: feature.to_string(), reason };
        let mut table = match tables.get(feature) {
            Some(table) => {
                let mut table = table.clone();
                if let Some(merged) = merge(&table.schema, &rows.schema).map_err(refuse)? {
                    table.schema = Arc::new(merged);
                }
                table
            }
            None => Table {
                schema: Arc::clone(&rows.schema),
                batches: Vec::new(),
                settings: rows.settings,
                write_keys: HashSet::new(),
            },
        };
        let latest = table.batches.iter().flat_map(times).max();
        let time = latest.map_or(i64::MIN, |t| t + 1).max(Utc::now().timestamp_micros());
        for batch in &batches {
            table.batches.push(stamped(batch, time)?);
        }
        table.write_keys.extend(rows.write_key);
        tables.insert(feature.clone(), table);
        Ok(count as u64)
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
        let columns = Schema::new(self.schema.fields()[..self.schema.fields().len() - 1].to_vec());
        let mut next = 0_u64;
        let mut numbered = Vec::new();
        for batch in batches.iter().flatten() {
            let mut arrays = widen(batch, &columns)?;
            let end = next + batch.num_rows() as u64;
            arrays.push(Arc::new(UInt64Array::from_iter_values(next..end)));
            next = end;
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
            numbered.push(batch.map_err(DataFusionError::from)?);
        }
        Ok(numbered)
    }
}

#[async_trait]
impl TableProvider for MemoryRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let table = MemTable::try_new(Arc::clone(&self.schema), vec![self.batches()?])?;
        table.scan(state, projection, filters, limit).await
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
