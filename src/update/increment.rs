//! The whole increment: expected rows, compared once with the stored ones.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, lit};

use super::comparison::Comparison;
use super::current::current;
use super::expected::expected;
use super::parents::{has_columns, plain};
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{INCREMENT, VERSION_COLUMNS};
use crate::error::{MetaxyError, Result};

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
    check_global_filters(inputs, options)?;
    let mut expected = expected(inputs, options)?;
    let provider = match &inputs.current {
        Some(provider) if !options.skip_comparison => provider,
        _ => return Ok(all_new(expected.plan, &expected.keys, &expected.user_columns, expected.filtered)?),
    };
    let current = current(inputs, options, &mut expected, provider)?;
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

/// A condition for all tables has to apply to at least one, or it would narrow nothing.
fn check_global_filters(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<()> {
    let tables = inputs.parents.iter().flatten().chain(&inputs.current).map(|table| table.schema());
    let samples = options.samples.as_ref().map(|plan| Arc::clone(plan.schema().inner()));
    let schemas: Vec<_> = tables.chain(samples).collect();
    match options.global_filters.iter().find(|f| !schemas.iter().any(|schema| has_columns(f, schema))) {
        None => Ok(()),
        Some(filter) => Err(MetaxyError::Invalid(format!(
            "global_filters: no table has all the columns of {filter}; give one condition per table with filters"
        ))),
    }
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
