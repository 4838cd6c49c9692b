//! The whole increment: expected rows, compared once with the stored ones.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, lit};

use super::comparison::Comparison;
use super::current::current;
use super::expected::expected;
use super::parents::plain;
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{INCREMENT, VERSION_COLUMNS};
use crate::error::Result;

/// The plan of `resolve_update`.
///
/// Its columns: `metaxy_increment`, the comparison columns, the expected side's user columns, then provenance and
/// data versions. Orphaned rows fill those names from the stored row where name and type match. The plan needs
/// the optimizer rule [`LowerComparison`](super::LowerComparison) to run.
///
/// # Errors
/// A root feature without samples, samples without ids or versions, a column that two parents share, a spec that
/// names a column which its parent lacks.
pub fn increment(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<LogicalPlan> {
    let expected = expected(inputs, options)?;
    let provider = match &inputs.current {
        Some(provider) if !options.skip_comparison => provider,
        _ => return Ok(all_new(expected.plan, &expected.keys, &expected.user_columns, expected.filtered)?),
    };
    let current = current(inputs, options, &expected, provider)?;
    let node = Comparison::try_new(
        expected.plan,
        current.plan,
        expected.keys,
        &expected.user_columns,
        current.stored,
        expected.filtered,
        current.ranked,
    )?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// Nothing to compare with: what is expected is new.
fn all_new(
    plan: LogicalPlan,
    keys: &[String],
    user_columns: &[String],
    filtered: bool,
) -> datafusion::common::Result<LogicalPlan> {
    let mut builder = LogicalPlanBuilder::from(plan);
    if filtered {
        builder = builder.filter(plain(internal::PASS))?;
    }
    let columns = keys.iter().chain(user_columns).map(String::as_str).chain(VERSION_COLUMNS);
    let exprs: Vec<Expr> = std::iter::once(lit("new").alias(INCREMENT)).chain(columns.map(plain)).collect();
    builder.project(exprs)?.build()
}
