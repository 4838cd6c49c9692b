//! Which samples need a row that says "deleted" when their rows of the current feature version go.
//!
//! Live rows of older versions would otherwise look like samples that are merely not recomputed yet. And a feature
//! whose deleted samples are all forgotten would look like one that was never written, which a fallback store serves.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemTable;
use datafusion::common::JoinType;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::{bool_or, max};
use datafusion::logical_expr::{Expr, ExprFunctionExt, cast, col, ident, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;

use crate::columns::{DELETED_AT, FEATURE_VERSION, ROW_ORDER, UPDATED_AT, timestamp};
use crate::error::Result;
use crate::model::FeatureDefinition;
use crate::store::unfiltered::Unfiltered;
use crate::store::{Append, Store, TableSnapshot, WriteTime};
use crate::types::storable;

const REMOVED: &str = "__metaxy_removed";
const TIME: &str = "__metaxy_time";
const CURRENT_GONE: &str = "__metaxy_current_gone";
const CURRENT_LEFT: &str = "__metaxy_current_left";
const LIVE_GONE: &str = "__metaxy_live_gone";
const OLDER_LIVE: &str = "__metaxy_older_live";
const LIVE: &str = "__metaxy_live";
const DEAD: &str = "__metaxy_dead";
const GONE: &str = "__metaxy_gone";
const STAYS: &str = "__metaxy_stays";
const LATEST_LIVE_GONE: &str = "__metaxy_latest_live_gone";
const LATEST_DEAD_GONE: &str = "__metaxy_latest_dead_gone";
const LATEST_DEAD: &str = "__metaxy_latest_dead";

/// The rows to append when the rows of these numbers are removed; `None` when there are none.
pub(super) async fn tombstones(
    store: &Store,
    definition: &FeatureDefinition,
    snapshot: &Arc<dyn TableSnapshot>,
    removed: &[u64],
    runtime: Arc<RuntimeEnv>,
) -> Result<Option<Append>> {
    let stored = snapshot.rows().schema();
    let ids = &definition.spec.id_columns;
    let needed = [FEATURE_VERSION, UPDATED_AT, DELETED_AT];
    if ids.iter().map(String::as_str).chain(needed).any(|name| stored.field_with_name(name).is_err()) {
        return Ok(None);
    }
    let current = store.graph().await?.feature_version(definition.key())?;
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    let samples = samples(&context, ids, snapshot, removed, &current)?.cache().await?;
    let needs = col(CURRENT_GONE).and(Expr::Not(Box::new(col(CURRENT_LEFT))));
    let mut rows = samples.clone().filter(needs.clone().and(col(OLDER_LIVE)))?.collect().await?;
    if rows.iter().all(|batch| batch.num_rows() == 0) {
        // Forgetting what was deleted must not make the feature look as if it had never been written.
        let left = samples.clone().filter(col(CURRENT_LEFT).or(col(LIVE_GONE)))?.limit(0, Some(1))?;
        if left.count().await? > 0 {
            return Ok(None);
        }
        rows = samples
            .filter(needs)?
            .sort(vec![col(TIME).sort(false, false)])?
            .limit(0, Some(1))?
            .collect()
            .await?;
    }
    if rows.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(None);
    }
    let mut fields: Vec<Field> = Vec::new();
    for name in ids {
        fields.push(Field::new(
            name,
            storable(stored.field_with_name(name).map_err(DataFusionError::from)?.data_type()),
            true,
        ));
    }
    fields.push(Field::new(FEATURE_VERSION, DataType::Utf8, true));
    fields.push(Field::new(UPDATED_AT, timestamp(), true));
    fields.push(Field::new(DELETED_AT, timestamp(), true));
    let schema = Arc::new(Schema::new(fields));
    let batches = rows
        .iter()
        .map(|batch| {
            let version = ScalarValue::from(current.as_str()).to_array_of_size(batch.num_rows())?;
            let time = batch.column_by_name(TIME).ok_or_else(|| DataFusionError::Internal(TIME.into()))?;
            let mut columns = batch.columns()[..ids.len()].to_vec();
            columns.extend([version, Arc::clone(time), Arc::clone(time)]);
            let fitted = columns
                .iter()
                .zip(schema.fields())
                .map(|(column, field)| datafusion::arrow::compute::cast(column, field.data_type()));
            let fitted = fitted.collect::<std::result::Result<_, _>>().map_err(DataFusionError::from)?;
            Ok(RecordBatch::try_new(Arc::clone(&schema), fitted).map_err(DataFusionError::from)?)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(Append {
        schema,
        rows: futures::stream::iter(batches).map(Ok).boxed(),
        settings: store.settings(),
        id_columns: ids.clone(),
        write_key: None,
        time: WriteTime::Deleted,
        only_at: None,
    }))
}

/// For each sample: whether rows of the current version go, whether some stay, and what is live at older versions.
fn samples(
    context: &SessionContext,
    ids: &[String],
    snapshot: &Arc<dyn TableSnapshot>,
    removed: &[u64],
    current: &str,
) -> Result<DataFrame> {
    let schema = Arc::new(Schema::new(vec![Field::new(REMOVED, DataType::UInt64, false)]));
    let numbers = Arc::new(UInt64Array::from(removed.to_vec()));
    let numbers = RecordBatch::try_new(Arc::clone(&schema), vec![numbers]).map_err(DataFusionError::from)?;
    let removed = context.read_table(Arc::new(MemTable::try_new(schema, vec![vec![numbers]])?))?;
    let id_columns = || ids.iter().map(ident);
    let columns = id_columns().chain([
        ident(ROW_ORDER),
        cast(col(FEATURE_VERSION), DataType::Utf8).alias(FEATURE_VERSION),
        coalesce(vec![cast(col(DELETED_AT), timestamp()), cast(col(UPDATED_AT), timestamp())]).alias(TIME),
        col(DELETED_AT).is_not_null().alias(DEAD),
    ]);
    let rows = context
        .read_table(Arc::new(Unfiltered(snapshot.rows())))?
        .select(columns.collect::<Vec<_>>())?
        .join(removed, JoinType::Left, &[ROW_ORDER], &[REMOVED], None)?;
    let is_gone = || col(REMOVED).is_not_null();
    let stays = || col(REMOVED).is_null();
    let is_current = || lit(current).eq(col(FEATURE_VERSION));
    let latest = |which: Expr| max(col(TIME)).filter(which).build();
    let groups: Vec<Expr> = id_columns().chain([col(FEATURE_VERSION)]).collect();
    let by_version = rows.aggregate(
        groups,
        vec![
            bool_or(is_gone()).alias(GONE),
            bool_or(stays()).alias(STAYS),
            latest(is_gone().and(Expr::Not(Box::new(col(DEAD)))))?.alias(LATEST_LIVE_GONE),
            latest(is_gone().and(col(DEAD)))?.alias(LATEST_DEAD_GONE),
            latest(is_gone())?.alias(TIME),
            latest(stays().and(Expr::Not(Box::new(col(DEAD)))))?.alias(LIVE),
            latest(stays().and(col(DEAD)))?.alias(LATEST_DEAD),
        ],
    )?;
    // Live when the delete came, and not only long ago.
    let live_gone = col(LATEST_LIVE_GONE)
        .is_not_null()
        .and(col(LATEST_DEAD_GONE).is_null().or(col(LATEST_LIVE_GONE).gt(col(LATEST_DEAD_GONE))));
    let live = col(LIVE).is_not_null().and(col(LATEST_DEAD).is_null().or(col(LIVE).gt_eq(col(LATEST_DEAD))));
    Ok(by_version.aggregate(
        id_columns().collect(),
        vec![
            bool_or(is_current().and(col(GONE))).alias(CURRENT_GONE),
            bool_or(is_current().and(col(STAYS))).alias(CURRENT_LEFT),
            bool_or(is_current().and(live_gone)).alias(LIVE_GONE),
            bool_or(Expr::Not(Box::new(is_current())).and(live)).alias(OLDER_LIVE),
            max(col(TIME)).filter(is_current()).build()?.alias(TIME),
        ],
    )?)
}
