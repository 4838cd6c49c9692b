//! The native executor: an increment as a plan of DataFusion's own nodes.

mod aggregation;
mod compare;
mod joined;
mod provenance;
mod stored;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit, utils::conjunction};

use super::node::Increment;
use super::parents::plain;
use crate::columns::{INCREMENT, VERSION_COLUMNS};

/// Columns that exist only inside a native plan.
mod internal {
    /// TRUE in expected rows.
    pub const EXPECTED: &str = "__metaxy_expected";
    /// TRUE in stored rows.
    pub const CURRENT: &str = "__metaxy_current";
    /// Whether an expected row passes the filters on all its parents.
    pub const PASSES: &str = "__metaxy_passes";
    /// Whether this one of several stored rows of a key passes the target filters.
    pub const OWN_TARGET: &str = "__metaxy_own_target";
    /// Smallest and greatest stored provenance of a comparison key, and whether one is NULL.
    pub const SMALLEST: &str = "__metaxy_smallest";
    /// See [`SMALLEST`].
    pub const GREATEST: &str = "__metaxy_greatest";
    /// See [`SMALLEST`].
    pub const UNKNOWN: &str = "__metaxy_unknown";
    /// 1 for the stored row that stands for its comparison key when several share it.
    pub const RANK: &str = "__metaxy_rank";
}

/// The increment as joins, windows and projections; its columns are those of the node, in their order, and where rows
/// are compared then the keys of orphaned ones.
pub(crate) fn native_plan(increment: &Increment) -> Result<LogicalPlan> {
    let description = increment.description.as_ref();
    let expected = joined::expected(increment)?;
    let plan = match (increment.current(), &description.current) {
        (Some(current), Some(input)) => {
            compare::compared(expected, stored::stored(current, input, description)?, description, input)?
        }
        _ => all_new(expected, increment)?,
    };
    match conjunction(increment.volatile.clone()) {
        Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        None => Ok(plan),
    }
}

/// Nothing to compare with: what is expected is new.
fn all_new(expected: LogicalPlan, increment: &Increment) -> Result<LogicalPlan> {
    let description = increment.description.as_ref();
    let mut builder = LogicalPlanBuilder::from(expected);
    if description.is_filtered() {
        builder = builder.filter(plain(internal::PASSES))?;
    }
    let user_columns = description.user_columns().map(|(_, column)| column.as_str());
    let columns = description.keys.iter().map(String::as_str).chain(user_columns).chain(VERSION_COLUMNS);
    let exprs: Vec<Expr> = std::iter::once(lit("new").alias(INCREMENT)).chain(columns.map(plain)).collect();
    builder.project(exprs)?.build()
}
