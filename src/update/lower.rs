//! The optimizer rule that turns a comparison into plan nodes that DataFusion runs.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, lit, when};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::comparison::Comparison;
use super::internal;
use super::parents::plain;
use crate::columns::{INCREMENT, PROVENANCE};

/// Replaces each comparison by a full join that classifies its rows.
///
/// It runs after the rules that push filters down, which by then have gone through the comparison.
#[derive(Debug, Default)]
pub struct LowerComparison;

impl OptimizerRule for LowerComparison {
    fn name(&self) -> &str {
        "metaxy_lower_comparison"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Extension(extension) = &plan else {
            return Ok(Transformed::no(plan));
        };
        match extension.node.as_any().downcast_ref::<Comparison>() {
            Some(comparison) => Ok(Transformed::yes(lower(comparison)?)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

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

fn lower(comparison: &Comparison) -> Result<LogicalPlan> {
    let mut marked = renamed(&comparison.expected, expected_name);
    marked.push(lit(true).alias(expected_name(internal::EXPECTED)));
    let left = LogicalPlanBuilder::from(comparison.expected.clone()).project(marked)?;
    let right = LogicalPlanBuilder::from(comparison.current.clone())
        .project(renamed(&comparison.current, current_name))?
        .build()?;
    let on = |name: fn(&str) -> String| {
        comparison.keys.iter().map(|k| Column::new_unqualified(name(k))).collect::<Vec<_>>()
    };
    let mut builder = left.join_detailed(
        right,
        JoinType::Full,
        (on(expected_name), on(current_name)),
        None,
        NullEquality::NullEqualsNull,
    )?;
    builder = builder.filter(increment(comparison)?.is_not_null())?;
    if comparison.ranked {
        // An expected row meets every stored row of its key; one of them speaks for all.
        let first = current(internal::RANK).eq(lit(1_u64));
        builder = builder.filter(
            first.or(current(internal::CURRENT).is_null()).or(expected(internal::EXPECTED).is_null()),
        )?;
    }
    let mut exprs = vec![increment(comparison)?.alias(INCREMENT)];
    for key in &comparison.keys {
        exprs.push(coalesce(vec![expected(key), current(key)]).alias(key));
    }
    for name in &comparison.columns {
        let expr = if comparison.stored.contains(name) {
            when(expected(internal::EXPECTED).is_not_null(), expected(name))
                .otherwise(current(&internal::stored(name)))?
        } else {
            expected(name)
        };
        exprs.push(expr.alias(name));
    }
    let builder = builder.project(exprs)?;
    match conjunction(comparison.volatile.clone()) {
        Some(condition) => builder.filter(condition)?.build(),
        None => builder.build(),
    }
}

/// The class of a joined row; NULL when it is up to date or filtered out.
fn increment(comparison: &Comparison) -> Result<Expr> {
    let nothing = lit(datafusion::common::ScalarValue::Utf8(None));
    let is_expected = || expected(internal::EXPECTED).is_not_null();
    let mut class = None;
    if comparison.filtered {
        let fails = is_expected().and(Expr::Not(Box::new(expected(internal::PASS))));
        class = Some(when(fails, nothing.clone()));
    }
    let is_new = current(internal::CURRENT).is_null();
    let mut class = match class {
        Some(mut class) => class.when(is_new, lit("new")),
        None => when(is_new, lit("new")),
    };
    class.when(Expr::Not(Box::new(current(internal::TARGET))), nothing.clone());
    if comparison.ranked {
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
        .or(current(internal::STALE))
        .or(distinct(expected(PROVENANCE), current(internal::SMALLEST)))
        .or(distinct(expected(PROVENANCE), current(internal::GREATEST)));
    class.when(differs, lit("stale"));
    class.otherwise(nothing)
}
