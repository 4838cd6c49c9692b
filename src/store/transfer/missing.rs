//! The rows of another store that a table does not have yet.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result as DataFusionResult;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, ident, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;

use crate::columns::{ROW_IDENTITY, scalar_type};
use crate::error::Result;
use crate::model::FeatureDefinition;
use crate::operators::Keys;
use crate::store::watched;
use crate::types::storable;

/// What a row of the table costs while rows are looked up in it, in bytes.
const KEY_BYTES: usize = 2 * size_of::<u128>();

/// The rows of `source` that are not among those of `target`, both of this feature, as they are read.
///
/// Only a hash of what tells rows apart is held in memory, of the target's rows: the source may be as wide and as long
/// as it likes, and a copy that is repeated costs no more than the first.
pub(super) async fn missing(
    source: LogicalPlan,
    target: LogicalPlan,
    feature: &FeatureDefinition,
    state: SessionState,
) -> Result<SendableRecordBatchStream> {
    let here = Schema::clone(source.schema().as_arrow());
    let there = Schema::clone(target.schema().as_arrow());
    let columns: Vec<&str> = feature
        .spec
        .id_columns
        .iter()
        .map(String::as_str)
        .chain(ROW_IDENTITY)
        .filter(|name| here.field_with_name(name).is_ok() || there.field_with_name(name).is_ok())
        .collect();
    // Both sides in one type; a column that one side lacks is NULL there.
    let identity = |schema: &Schema| -> Vec<Expr> {
        let column = |(i, column): (usize, &&str)| {
            let data_type = scalar_type(column)
                .or_else(|| Some(storable(here.field_with_name(column).ok()?.data_type())))
                .unwrap_or(DataType::Utf8);
            let value = match schema.field_with_name(column) {
                Ok(_) => ident(*column),
                Err(_) => lit(ScalarValue::Null),
            };
            cast(value, data_type).alias(format!("__metaxy_identity{i}"))
        };
        columns.iter().enumerate().map(column).collect()
    };
    let keys = Keys::new();
    let reservation =
        MemoryConsumer::new("copy[rows of the target]").register(&state.runtime_env().memory_pool);
    let mut known: HashSet<u128> = HashSet::new();
    let target = LogicalPlanBuilder::from(target).project(identity(&there))?.build()?;
    let mut rows =
        watched(format!("looking up {}", feature.key()), DataFrame::new(state.clone(), target)).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        reservation.try_grow(batch.num_rows() * KEY_BYTES)?;
        known.extend(keys.of(batch.columns())?);
    }
    let all = source.schema().columns().into_iter().map(Expr::Column);
    let marked: Vec<Expr> = all.chain(identity(&here)).collect();
    let plan = LogicalPlanBuilder::from(source).project(marked)?.build()?;
    let rows = watched(format!("copying {}", feature.key()), DataFrame::new(state, plan)).await?;
    let shown = here.fields().len();
    let first: Vec<usize> = (0..shown).collect();
    let schema: SchemaRef = Arc::new(rows.schema().project(&first).map_err(DataFusionError::from)?);
    let out = Arc::clone(&schema);
    let rows = rows.map(move |batch| {
        let _held = &reservation;
        unknown(&batch?, shown, &out, &keys, &known)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The rows whose identity, in the columns after the first `shown`, is none of these.
fn unknown(
    batch: &RecordBatch,
    shown: usize,
    schema: &SchemaRef,
    keys: &Keys,
    known: &HashSet<u128>,
) -> DataFusionResult<RecordBatch> {
    let (columns, identity): (&[ArrayRef], &[ArrayRef]) = batch.columns().split_at(shown);
    let keep: BooleanArray = keys.of(identity)?.iter().map(|key| Some(!known.contains(key))).collect();
    let batch = RecordBatch::try_new(Arc::clone(schema), columns.to_vec())?;
    Ok(filter_record_batch(&batch, &keep)?)
}
