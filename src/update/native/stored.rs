//! The stored side: at most one row per comparison key, or rows that know they share one.

use datafusion::common::Result;
use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;
use datafusion::functions_aggregate::expr_fn::{bool_or, first_value, max, min};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, SortExpr, WindowFunctionDefinition, lit,
};

use super::internal;
use crate::columns::PROVENANCE;
use crate::update::description::{CurrentInput, Description, StoredRows};
use crate::update::internal::{STALE, TARGET, stored as stored_name};
use crate::update::parents::plain;

/// The stored rows, ready to be compared.
pub(super) fn stored(
    current: &LogicalPlan,
    input: &CurrentInput,
    description: &Description,
) -> Result<LogicalPlan> {
    let builder = LogicalPlanBuilder::from(current.clone());
    let keys = &description.keys;
    let order: Vec<SortExpr> = input.order.iter().map(|id| plain(id).sort(true, true)).collect();
    let plan = match input.rows {
        StoredRows::Unique => unique(builder)?,
        StoredRows::Collapsed => collapsed(builder, keys, &input.stored, &order)?,
        StoredRows::Ranked => ranked(builder, keys, &order)?,
    }
    .build()?;
    let columns = plan.schema().fields().iter().map(|f| plain(f.name()));
    let exprs: Vec<Expr> = columns.chain([lit(true).alias(internal::CURRENT)]).collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn provenance() -> Expr {
    plain(stored_name(PROVENANCE))
}

fn unique(builder: LogicalPlanBuilder) -> Result<LogicalPlanBuilder> {
    let mut exprs: Vec<Expr> = builder.schema().fields().iter().map(|f| plain(f.name())).collect();
    exprs.push(provenance().alias(internal::SMALLEST));
    exprs.push(provenance().alias(internal::GREATEST));
    exprs.push(provenance().is_null().alias(internal::UNKNOWN));
    builder.project(exprs)
}

/// One row per key; a parent passes if any child does, and is stale if any child differs.
fn collapsed(
    builder: LogicalPlanBuilder,
    keys: &[String],
    stored: &[String],
    order: &[SortExpr],
) -> Result<LogicalPlanBuilder> {
    let mut aggregates = vec![
        min(provenance()).alias(internal::SMALLEST),
        max(provenance()).alias(internal::GREATEST),
        bool_or(provenance().is_null()).alias(internal::UNKNOWN),
        bool_or(plain(TARGET)).alias(TARGET),
        bool_or(plain(STALE)).alias(STALE),
    ];
    for name in stored {
        let name = stored_name(name);
        aggregates.push(first_value(plain(&name), order.to_vec()).alias(name));
    }
    builder.aggregate(keys.iter().map(plain), aggregates)
}

/// Every row, with the smallest and greatest provenance of its key and its rank within it.
fn ranked(builder: LogicalPlanBuilder, keys: &[String], order: &[SortExpr]) -> Result<LogicalPlanBuilder> {
    let over = |udaf, argument: Expr, name: &str| -> Result<Expr> {
        let window = WindowFunction::new(WindowFunctionDefinition::AggregateUDF(udaf), vec![argument]);
        Ok(Expr::from(window).partition_by(keys.iter().map(plain).collect()).build()?.alias(name))
    };
    let any_target = "__metaxy_any_target";
    let any_stale = "__metaxy_any_stale";
    let whole_key = vec![
        over(min_udaf(), provenance(), internal::SMALLEST)?,
        over(max_udaf(), provenance(), internal::GREATEST)?,
        over(bool_or_udaf(), provenance().is_null(), internal::UNKNOWN)?,
        over(bool_or_udaf(), plain(TARGET), any_target)?,
        over(bool_or_udaf(), plain(STALE), any_stale)?,
    ];
    let rank = row_number()
        .partition_by(keys.iter().map(plain).collect())
        .order_by(order.to_vec())
        .build()?
        .alias(internal::RANK);
    // A window node has one sort order.
    let builder = builder.window(whole_key)?.window([rank])?;
    let exprs: Vec<Expr> = builder
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .filter(|name| name != any_target && name != any_stale)
        .chain([internal::OWN_TARGET.to_owned()])
        .map(|name| match name.as_str() {
            internal::OWN_TARGET => plain(TARGET).alias(internal::OWN_TARGET),
            TARGET => plain(any_target).alias(TARGET),
            STALE => plain(any_stale).alias(STALE),
            other => plain(other),
        })
        .collect();
    builder.project(exprs)
}
