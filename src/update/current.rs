//! The stored side of a comparison: at most one row per comparison key, or rows that know they share one.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::functions_aggregate::expr_fn::{bool_or, first_value, max, min};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition, cast,
    expr::WindowFunction, lit, utils::conjunction, utils::disjunction,
};

use super::expected::{Expected, same_key_types};
use super::parents::{has_columns, plain, version_of};
use super::provenance::field_keys;
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, PROVENANCE, PROVENANCE_BY_FIELD, VERSION_COLUMNS};
use crate::error::{MetaxyError, Result};
use crate::model::Lineage;
use crate::types::same_values;

/// The stored rows, ready to be compared.
pub(crate) struct Current {
    pub plan: LogicalPlan,
    /// Columns that orphaned rows take from the stored row, by their name in the increment.
    pub stored: Vec<String>,
    /// Whether several rows may share a comparison key, told apart by their rank.
    pub ranked: bool,
}

/// How the stored rows relate to the comparison key.
enum Rows {
    /// The key is the feature's id.
    Unique,
    /// Expansion: the children of a parent stand for it together.
    Collapsed,
    /// The key is only a part of the id, and each stored row stays a row of its own.
    Ranked,
}

/// Builds the stored side to be compared with `expected`, whose keys get the types that both sides have in common.
pub(crate) fn current(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    expected: &mut Expected,
    provider: &Arc<dyn TableProvider>,
) -> Result<Current> {
    let feature = &inputs.plan.feature.spec;
    let schema = provider.schema();
    let column = |name: &str| Expr::Column(Column::new(Some(feature.table_name()), name));
    let mut exprs = Vec::new();
    for key in &expected.keys {
        if schema.field_with_name(key).is_err() {
            return Err(MetaxyError::Spec {
                feature: feature.key.to_string(),
                reason: format!(
                    "its stored rows have no column {key:?}, on which they are compared with its parents; \
                     write that column too"
                ),
            });
        }
        exprs.push(column(key).alias(key));
    }
    let mut stored = Vec::new();
    for name in &expected.user_columns {
        let wanted = expected.plan.schema().field_with_unqualified_name(name)?.data_type().clone();
        if let Ok(field) = schema.field_with_name(name)
            && same_values(field.data_type(), &wanted)
        {
            exprs.push(cast_if(column(name), field.data_type(), &wanted).alias(internal::stored(name)));
            stored.push(name.clone());
        }
    }
    let keys = field_keys(&inputs.plan);
    for name in VERSION_COLUMNS {
        let Ok(field) = schema.field_with_name(name) else { continue };
        let value = if name == PROVENANCE_BY_FIELD || name == DATA_VERSION_BY_FIELD {
            let mut members = Vec::new();
            for key in &keys {
                members.push(lit(key.as_str()));
                members.push(cast(version_of(column(name), field.data_type(), key), DataType::Utf8));
            }
            named_struct(members)
        } else {
            cast(column(name), DataType::Utf8)
        };
        exprs.push(value.alias(internal::stored(name)));
        stored.push(name.to_owned());
    }
    for required in [PROVENANCE, DATA_VERSION] {
        if !stored.iter().any(|s| s == required) {
            return Err(MetaxyError::Spec {
                feature: feature.key.to_string(),
                reason: format!("its table has no column {required}"),
            });
        }
    }
    let mut target = options.target_filters.clone();
    let own = options.filters.get(&feature.key).into_iter().flatten();
    target.extend(options.global_filters.iter().chain(own).filter(|f| has_columns(f, &schema)).cloned());
    let holds = |condition: Option<Expr>, default| {
        condition.map_or_else(|| lit(default), |condition| coalesce(vec![condition, lit(false)]))
    };
    exprs.push(holds(conjunction(target), true).alias(internal::TARGET));
    exprs.push(holds(disjunction(options.stale_when.clone()), false).alias(internal::STALE));
    let rows = rows(inputs, &expected.keys);
    // Ids that are no comparison column order the stored rows of a key.
    let others: Vec<String> =
        feature.id_columns.iter().filter(|id| !expected.keys.contains(id)).cloned().collect();
    if !matches!(rows, Rows::Unique) {
        exprs.extend(others.iter().map(|id| column(id).alias(rank_column(id))));
    }
    let builder =
        LogicalPlanBuilder::scan(feature.table_name(), provider_as_source(Arc::clone(provider)), None)?
            .project(exprs)?;
    let order: Vec<_> = others.iter().map(|id| plain(rank_column(id)).sort(true, true)).collect();
    let builder = match rows {
        Rows::Unique => unique(builder)?,
        Rows::Collapsed => collapsed(builder, &expected.keys, &stored, &order)?,
        Rows::Ranked => ranked(builder, &expected.keys, &order)?,
    };
    let (expected_plan, plan) = same_key_types(expected.plan.clone(), builder.build()?, &expected.keys)?;
    expected.plan = expected_plan;
    let exprs: Vec<Expr> = plan
        .schema()
        .fields()
        .iter()
        .map(|f| plain(f.name()))
        .chain([lit(true).alias(internal::CURRENT)])
        .collect();
    let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
    Ok(Current { plan, stored, ranked: matches!(rows, Rows::Ranked) })
}

fn rank_column(id: &str) -> String {
    format!("__metaxy_id_{id}")
}

fn rows(inputs: &IncrementInputs, keys: &[String]) -> Rows {
    if inputs.plan.feature.spec.id_columns.iter().all(|id| keys.contains(id)) {
        return Rows::Unique;
    }
    let expands =
        inputs.plan.parents.iter().any(|parent| matches!(parent.dep.lineage, Lineage::Expansion { .. }));
    if expands { Rows::Collapsed } else { Rows::Ranked }
}

fn cast_if(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if from == to { expr } else { cast(expr, to.clone()) }
}

fn provenance() -> Expr {
    plain(internal::stored(PROVENANCE))
}

fn unique(builder: LogicalPlanBuilder) -> Result<LogicalPlanBuilder> {
    let mut exprs: Vec<Expr> = builder.schema().fields().iter().map(|f| plain(f.name())).collect();
    exprs.push(provenance().alias(internal::SMALLEST));
    exprs.push(provenance().alias(internal::GREATEST));
    exprs.push(provenance().is_null().alias(internal::UNKNOWN));
    Ok(builder.project(exprs)?)
}

/// One row per key; a parent passes if any child does, and is stale if any child differs.
fn collapsed(
    builder: LogicalPlanBuilder,
    keys: &[String],
    stored: &[String],
    order: &[datafusion::logical_expr::SortExpr],
) -> Result<LogicalPlanBuilder> {
    let mut aggregates = vec![
        min(provenance()).alias(internal::SMALLEST),
        max(provenance()).alias(internal::GREATEST),
        bool_or(provenance().is_null()).alias(internal::UNKNOWN),
        bool_or(plain(internal::TARGET)).alias(internal::TARGET),
        bool_or(plain(internal::STALE)).alias(internal::STALE),
    ];
    for name in stored {
        let name = internal::stored(name);
        aggregates.push(first_value(plain(&name), order.to_vec()).alias(name));
    }
    Ok(builder.aggregate(keys.iter().map(plain), aggregates)?)
}

/// Every row, with the smallest and greatest provenance of its key and its rank within it.
fn ranked(
    builder: LogicalPlanBuilder,
    keys: &[String],
    order: &[datafusion::logical_expr::SortExpr],
) -> Result<LogicalPlanBuilder> {
    use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;
    use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};

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
        over(bool_or_udaf(), plain(internal::TARGET), any_target)?,
        over(bool_or_udaf(), plain(internal::STALE), any_stale)?,
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
            internal::OWN_TARGET => plain(internal::TARGET).alias(internal::OWN_TARGET),
            internal::TARGET => plain(any_target).alias(internal::TARGET),
            internal::STALE => plain(any_stale).alias(internal::STALE),
            other => plain(other),
        })
        .collect();
    Ok(builder.project(exprs)?)
}
