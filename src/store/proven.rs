//! Conditions that the statistics of a Delta table's files prove: nothing has to be read and compared for them.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use deltalake::DeltaTable;
use serde_json::Value;

use super::delta::DeltaRows;
use super::newest::Latest;
use super::view::{Others, View};
use crate::columns::DELETED_AT;

/// The rows as they are now, and what is left to check of a condition on them.
///
/// Rows are not those of another moment than the statistics: the version is pinned.
pub(super) async fn without_proven(
    rows: &Arc<dyn TableProvider>,
    condition: Option<Expr>,
) -> Result<(Arc<dyn TableProvider>, Option<Expr>)> {
    let Some(delta) = rows.downcast_ref::<DeltaRows>() else { return Ok((Arc::clone(rows), condition)) };
    let now = delta.now().await?;
    let is_proven = match condition.as_ref().and_then(equality) {
        Some((column, value)) => now.each_file(|stats| is_always(stats, column, value))?,
        None => false,
    };
    Ok((Arc::new(now), condition.filter(|_| !is_proven)))
}

/// Whether each id is in the rows once, and whether none of them is a deletion, as far as that is proven.
pub(super) fn are_latest(rows: &Arc<dyn TableProvider>, ids: &[String]) -> Result<(bool, bool)> {
    let Some(delta) = rows.downcast_ref::<DeltaRows>() else { return Ok((false, false)) };
    if !delta.have_each_once(ids)? {
        return Ok((false, false));
    }
    Ok((true, delta.each_file(|stats| is_always_null(stats, DELETED_AT))?))
}

/// The rows for a view of the latest row of each id, which may leave out others.
pub(super) fn for_latest(
    rows: &Arc<dyn TableProvider>,
    ids: &[String],
    view: &View,
) -> Arc<dyn TableProvider> {
    match (rows.downcast_ref::<DeltaRows>(), ids, view) {
        (
            Some(delta),
            [id],
            View { feature_version: Some(version), sample_history: false, others: Others::Hidden, .. },
        ) => {
            let latest = Latest { id: id.clone(), version: version.clone() };
            Arc::new(delta.clone().for_latest(latest))
        }
        _ => Arc::clone(rows),
    }
}

/// A condition that a text column has one value.
fn equality(condition: &Expr) -> Option<(&str, &str)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let (Expr::Column(column), Expr::Literal(value, _)) = (left.as_ref(), right.as_ref()) else {
        return None;
    };
    match value {
        ScalarValue::Utf8(Some(value))
        | ScalarValue::LargeUtf8(Some(value))
        | ScalarValue::Utf8View(Some(value)) => Some((&column.name, value)),
        _ => None,
    }
}

/// Whether all rows of a file have one value. Texts that were cut are shorter than the value, or greater.
pub(super) fn is_always(stats: &Value, column: &str, value: &str) -> bool {
    stats["minValues"][column].as_str() == Some(value)
        && stats["maxValues"][column].as_str() == Some(value)
        && stats["nullCount"][column].as_u64() == Some(0)
}

/// Whether a column is NULL in all rows of a file.
fn is_always_null(stats: &Value, column: &str) -> bool {
    let nulls = stats["nullCount"][column].as_u64();
    nulls.is_some() && nulls == stats["numRecords"].as_u64()
}

/// Whether what `holds` says of the statistics is true of each file; a file without statistics proves nothing.
pub(super) fn each_file(
    table: &DeltaTable,
    files: Option<&[String]>,
    holds: impl Fn(&Value) -> bool,
) -> Result<bool> {
    for file in table.snapshot()?.log_data().iter() {
        if files.is_some_and(|files| !files.iter().any(|path| *path == file.path())) {
            continue;
        }
        let stats = file.stats().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        if !stats.is_some_and(|stats| holds(&stats)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};
    use serde_json::json;

    use super::*;

    #[test]
    fn only_one_value_without_nulls_proves_a_version() {
        let stats = |min: &str, max: &str, nulls: u64| json!({"minValues": {"v": min}, "maxValues": {"v": max}, "nullCount": {"v": nulls}});
        assert!(is_always(&stats("abc", "abc", 0), "v", "abc"));
        assert!(!is_always(&stats("abc", "abd", 0), "v", "abc"));
        assert!(!is_always(&stats("abb", "abc", 0), "v", "abc"));
        assert!(!is_always(&stats("abc", "abc", 1), "v", "abc"));
        assert!(!is_always(&stats("ab", "ac", 0), "v", "abc"), "texts that were cut");
        assert!(!is_always(&json!({"minValues": {"v": "abc"}}), "v", "abc"));
    }

    #[test]
    fn an_equality_names_its_column_and_value() {
        assert_eq!(equality(&col("v").eq(lit("x"))), Some(("v", "x")));
        assert_eq!(equality(&col("v").not_eq(lit("x"))), None);
        assert_eq!(equality(&col("v").eq(col("w"))), None);
        assert_eq!(equality(&col("v").eq(lit(7))), None);
    }
}
