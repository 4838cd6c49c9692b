//! The comparison: a full join of expected and stored rows, each of which is classified.

use datafusion::common::{Column, JoinType, NullEquality, Result, ScalarValue};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, lit, when};

use super::internal;
use crate::columns::{INCREMENT, PROVENANCE, VERSION_COLUMNS};
use crate::update::description::{CurrentInput, Description, StoredRows};
use crate::update::internal::{STALE, TARGET, orphan_key, stored};
use crate::update::parents::plain;

/// The names that the columns of the two sides have in the join. They differ from each other and from the result's
/// names: optimizer rules that move expressions through a join take names without qualifiers for the same.
fn expected_name(name: &str) -> String {
    format!("__metaxy_left_{name}")
}

fn current_name(name: &str) -> String {
    format!("__metaxy_right_{name}")
}

fn expected(name: &str) -> Expr {
    plain(expected_name(name))
}

fn current(name: &str) -> Expr {
    plain(current_name(name))
}

fn renamed(plan: &LogicalPlan, name: fn(&str) -> String) -> Vec<Expr> {
    plan.schema().fields().iter().map(|f| plain(f.name()).alias(name(f.name()))).collect()
}

fn distinct(left: Expr, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::IsDistinctFrom, Box::new(right)))
}

/// Joins and classifies; rows that are up to date or filtered out drop out.
pub(super) fn compared(
    left: LogicalPlan,
    right: LogicalPlan,
    description: &Description,
    input: &CurrentInput,
) -> Result<LogicalPlan> {
    let ranked = input.rows == StoredRows::Ranked;
    let mut marked = renamed(&left, expected_name);
    marked.push(lit(true).alias(expected_name(internal::EXPECTED)));
    let left = LogicalPlanBuilder::from(left).project(marked)?;
    let columns = renamed(&right, current_name);
    let right = LogicalPlanBuilder::from(right).project(columns)?.build()?;
    let on = |name: fn(&str) -> String| {
        description.keys.iter().map(|k| Column::new_unqualified(name(k))).collect::<Vec<_>>()
    };
    let mut builder = left.join_detailed(
        right,
        JoinType::Full,
        (on(expected_name), on(current_name)),
        None,
        NullEquality::NullEqualsNull,
    )?;
    let class = || increment(description.is_filtered(), ranked);
    builder = builder.filter(class()?.is_not_null())?;
    if ranked {
        // An expected row meets every stored row of its key; one of them speaks for all.
        let first = current(internal::RANK).eq(lit(1_u64));
        builder = builder.filter(
            first.or(current(internal::CURRENT).is_null()).or(expected(internal::EXPECTED).is_null()),
        )?;
    }
    let mut exprs = vec![class()?.alias(INCREMENT)];
    for key in &description.keys {
        exprs.push(coalesce(vec![expected(key), current(key)]).alias(key));
    }
    let user_columns = description.user_columns().map(|(_, column)| column.as_str());
    for name in user_columns.chain(VERSION_COLUMNS) {
        let expr = if input.stored.iter().any(|stored| stored == name) {
            when(expected(internal::EXPECTED).is_not_null(), expected(name))
                .otherwise(current(&stored(name)))?
        } else {
            expected(name)
        };
        exprs.push(expr.alias(name));
    }
    exprs.extend(description.keys.iter().map(|key| current(key).alias(orphan_key(key))));
    builder.project(exprs)?.build()
}

/// The class of a joined row; NULL when it is up to date or filtered out.
fn increment(filtered: bool, ranked: bool) -> Result<Expr> {
    let nothing = lit(ScalarValue::Utf8(None));
    let is_expected = || expected(internal::EXPECTED).is_not_null();
    let is_new = current(internal::CURRENT).is_null();
    let mut class = if filtered {
        let fails = is_expected().and(Expr::Not(Box::new(expected(internal::PASSES))));
        let mut class = when(fails, nothing.clone());
        class.when(is_new, lit("new"))
    } else {
        when(is_new, lit("new"))
    };
    class.when(Expr::Not(Box::new(current(TARGET))), nothing.clone());
    if ranked {
        // A key that an expected row meets passes if any of its stored rows does; an orphan speaks for itself.
        let fails =
            expected(internal::EXPECTED).is_null().and(Expr::Not(Box::new(current(internal::OWN_TARGET))));
        class.when(fails, nothing.clone());
    }
    class.when(expected(internal::EXPECTED).is_null(), lit("orphaned"));
    // An expected provenance that is NULL is never up to date, so a comparison that is NULL-safe is not enough.
    let differs = expected(PROVENANCE)
        .is_null()
        .or(current(internal::UNKNOWN))
        .or(current(STALE))
        .or(distinct(expected(PROVENANCE), current(internal::SMALLEST)))
        .or(distinct(expected(PROVENANCE), current(internal::GREATEST)));
    class.when(differs, lit("stale"));
    class.otherwise(nothing)
}
