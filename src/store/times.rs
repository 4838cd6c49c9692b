//! The greatest time that a Delta table holds, from its file statistics where they have it.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::catalog::TableProvider;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{cast, col};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use serde_json::Value;

use crate::columns::{DELETED_AT, UPDATED_AT, timestamp};
use crate::error::Result;

/// Microseconds in the millisecond that statistics are cut to.
const WITHIN_MILLISECOND: i64 = 999;

/// The greatest `metaxy_updated_at` or `metaxy_deleted_at` of the table, or a little more, in microseconds.
///
/// Statistics hold milliseconds, so a bound from them is rounded up. Where they lack a column, it is read.
pub(crate) async fn latest_time(table: &DeltaTable) -> Result<Option<i64>> {
    let state = table.snapshot().map_err(datafusion::error::DataFusionError::from)?;
    let mut latest = None;
    let mut unknown = false;
    for file in state.log_data().iter() {
        let stats: Value =
            file.stats().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        match self::latest(&stats) {
            Some(time) => latest = latest.max(time),
            None => unknown = true,
        }
    }
    if unknown { read_latest(table.table_provider().await?).await } else { Ok(latest) }
}

/// The greatest `metaxy_updated_at` or `metaxy_deleted_at` that a file's statistics allow: `Some(None)` for one without
/// times, `None` when they do not tell.
pub(super) fn latest(stats: &Value) -> Option<Option<i64>> {
    Some(bound(stats, UPDATED_AT)?.max(bound(stats, DELETED_AT)?))
}

/// A time in microseconds that no row of a file is before, neither when it was written nor when it was deleted. `None` when
/// its statistics do not tell, or if a row was written at no time.
pub(super) fn earliest(stats: &Value) -> Option<i64> {
    let least = |column: &str| {
        let time = DateTime::parse_from_rfc3339(stats["minValues"][column].as_str()?).ok()?;
        // They may have been cut to milliseconds or rounded up to them.
        Some(time.timestamp_millis() * 1000 - WITHIN_MILLISECOND)
    };
    if stats["nullCount"][UPDATED_AT].as_u64()? > 0 {
        return None;
    }
    match bound(stats, DELETED_AT)? {
        None => least(UPDATED_AT),
        Some(_) => Some(least(UPDATED_AT)?.min(least(DELETED_AT)?)),
    }
}

/// `Some(None)` when all values are NULL, `None` when the statistics do not tell.
fn bound(stats: &Value, column: &str) -> Option<Option<i64>> {
    if let Some(text) = stats["maxValues"][column].as_str() {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        return Some(Some(time.timestamp_millis() * 1000 + WITHIN_MILLISECOND));
    }
    let nulls = stats["nullCount"][column].as_u64()?;
    (stats["numRecords"].as_u64()? == nulls).then_some(None)
}

/// The greatest such time among all rows of a table, in microseconds, rounded down.
pub(crate) async fn read_latest(provider: Arc<dyn TableProvider>) -> Result<Option<i64>> {
    let columns: Vec<&str> = [UPDATED_AT, DELETED_AT]
        .into_iter()
        .filter(|name| provider.schema().field_with_name(name).is_ok())
        .collect();
    if columns.is_empty() {
        return Ok(None);
    }
    let context = SessionContext::new();
    let maxima = columns.iter().map(|name| max(cast(col(*name), timestamp()))).collect();
    let batches = context.read_table(provider)?.aggregate(vec![], maxima)?.collect().await?;
    let mut latest = None;
    for batch in &batches {
        for column in batch.columns() {
            let time = datafusion::arrow::compute::max(column.as_primitive::<TimestampMicrosecondType>());
            latest = latest.max(time);
        }
    }
    Ok(latest)
}

/// The smallest value of a text column that a file's statistics name.
pub(crate) fn smallest_text(stats: &str, column: &str) -> Option<String> {
    let stats: Value = serde_json::from_str(stats).ok()?;
    stats["minValues"][column].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bound_from_statistics_is_rounded_up() {
        let stats = json!({"maxValues": {UPDATED_AT: "2026-01-02T03:04:05.678Z"}});
        let exact = DateTime::parse_from_rfc3339("2026-01-02T03:04:05.678999Z").unwrap();
        assert_eq!(bound(&stats, UPDATED_AT), Some(Some(exact.timestamp_micros())));
    }

    #[test]
    fn no_row_is_before_the_earliest_time() {
        let text = "2026-01-02T03:04:05.678Z";
        let time = DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
        let stats = |minima: Value, nulls: [u64; 2]| {
            let nulls = json!({UPDATED_AT: nulls[0], DELETED_AT: nulls[1]});
            json!({"numRecords": 3, "minValues": minima, "maxValues": minima, "nullCount": nulls})
        };
        let updated = earliest(&stats(json!({UPDATED_AT: text}), [0, 3])).unwrap();
        assert!((time - 999..=time).contains(&updated), "{updated}");
        // A deletion may be earlier.
        let earlier = json!({UPDATED_AT: text, DELETED_AT: "2026-01-01T00:00:00Z"});
        assert!(earliest(&stats(earlier, [0, 1])).unwrap() < time - 86_400_000_000);
        // Without a time a row is before all others.
        assert_eq!(earliest(&stats(json!({UPDATED_AT: text}), [1, 3])), None);
        assert_eq!(earliest(&stats(json!({UPDATED_AT: text}), [0, 1])), None);
        assert_eq!(earliest(&Value::Null), None);
    }

    #[test]
    fn statistics_that_do_not_tell_are_not_taken_for_nulls() {
        assert_eq!(bound(&json!({"numRecords": 3, "nullCount": {DELETED_AT: 3}}), DELETED_AT), Some(None));
        assert_eq!(bound(&json!({"numRecords": 3, "nullCount": {DELETED_AT: 2}}), DELETED_AT), None);
        assert_eq!(bound(&json!({"numRecords": 3}), DELETED_AT), None);
        assert_eq!(bound(&Value::Null, DELETED_AT), None);
    }
}
