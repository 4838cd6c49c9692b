//! One parent's rows: filtered, renamed, reduced to what the spec selects.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::functions::core::expr_fn::{coalesce, get_field};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, utils::conjunction};

use super::description::{Aggregation, ExpectedInput};
use super::filter::spec_filter;
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{DATA_VERSION_BY_FIELD, VERSION_COLUMNS, WAITING, field_version, is_reserved};
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureKey, Lineage, ParentPlan};

/// An unqualified column, with its case kept.
pub(crate) fn plain(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// A column of the scan of `table`.
fn scanned(table: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(table), name))
}

/// A field's version from a struct or a map; NULL when a struct doesn't have the member.
pub(crate) fn version_of(column: Expr, data_type: &DataType, struct_key: &str) -> Expr {
    match data_type {
        DataType::Struct(fields) if fields.iter().any(|f| f.name() == struct_key) => {
            get_field(column, struct_key)
        }
        DataType::Map(_, _) => cast(get_field(column, struct_key), DataType::Utf8),
        _ => lit(ScalarValue::Utf8(None)),
    }
}

/// The rows of parent number `index` under unqualified names, and what they are; `None` when an optional parent has
/// no table.
pub(crate) fn parent_rows(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    index: usize,
) -> Result<Option<(LogicalPlan, ExpectedInput)>> {
    let parent = &inputs.plan.parents[index];
    let Some(provider) = &inputs.parents[index] else {
        return Ok(None);
    };
    let feature = &inputs.plan.feature.spec;
    let keys = inputs.plan.parent_struct_keys(index);
    let Rows { builder, columns, pass } = filtered_rows(inputs, options, index, provider)?;
    let aggregation = aggregation(inputs, parent, &columns, &keys, index)?;
    let user_columns = selected(parent, &columns, &feature.id_columns, inputs)?;
    let versions: Vec<String> = keys.iter().map(|key| internal::parent_version(index, key)).collect();
    let mut exprs: Vec<Expr> = user_columns.iter().chain(&versions).chain(&pass).map(plain).collect();
    if let Some(aggregation) = &aggregation {
        let ids = parent.renamed_id_columns();
        exprs.extend(ids.iter().zip(&aggregation.order).map(|(id, name)| plain(id).alias(name)));
    }
    let comparison = &inputs.plan.comparison_columns;
    let ids = parent.renamed_id_columns();
    let input = ExpectedInput {
        optional: parent.dep.optional,
        unique: matches!(parent.dep.lineage, Lineage::Identity)
            && ids.len() == comparison.len()
            && ids.iter().all(|id| comparison.contains(id)),
        user_columns,
        pass,
        versions,
        aggregation,
    };
    Ok(Some((builder.project(exprs)?.build()?, input)))
}

/// A parent's rows that meet the filters of the spec.
pub(super) struct Rows {
    pub builder: LogicalPlanBuilder,
    /// The user columns under their new names.
    pub columns: Vec<String>,
    /// The column that says whether a row passes the caller's filters, if there are any.
    pub pass: Option<String>,
}

/// The rows that `provider` has of parent number `index`: user columns, versions, and what the caller asks of them.
pub(super) fn filtered_rows(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    index: usize,
    provider: &Arc<dyn TableProvider>,
) -> Result<Rows> {
    let parent = &inputs.plan.parents[index];
    let feature = &inputs.plan.feature.spec.key;
    let schema = provider.schema();
    let keys = inputs.plan.parent_struct_keys(index);
    let mut conditions = options.filters.get(&parent.dep.feature).cloned().unwrap_or_default();
    conditions.extend(options.global_filters.iter().filter(|f| has_columns(f, &schema)).cloned());
    let pass = (!conditions.is_empty()).then(|| internal::parent_pass(index));
    let (plan, columns) = renamed(feature, parent, provider, &keys, index, conjunction(conditions))?;
    let mut builder = LogicalPlanBuilder::from(plan);
    for text in parent.dep.filters.iter().flatten() {
        let filter = spec_filter(text, builder.schema(), feature, &parent.dep.feature)?;
        builder = builder.filter(filter)?;
    }
    Ok(Rows { builder, columns, pass })
}

/// N:1 lineage, where any version of the parent is needed at all.
fn aggregation(
    inputs: &IncrementInputs,
    parent: &ParentPlan,
    columns: &[String],
    keys: &[String],
    index: usize,
) -> Result<Option<Aggregation>> {
    let Lineage::Aggregation { .. } = &parent.dep.lineage else {
        return Ok(None);
    };
    let groups = parent.input_id_columns(&inputs.plan.feature.spec.id_columns);
    require(columns, &groups, inputs, parent, "aggregates on")?;
    if keys.is_empty() {
        return Ok(None);
    }
    let order = (0..parent.renamed_id_columns().len()).map(|id| internal::parent_order(index, id)).collect();
    Ok(Some(Aggregation { groups, order }))
}

/// A condition meant for every table only applies to those that have its columns.
pub(crate) fn has_columns(filter: &Expr, schema: &SchemaRef) -> bool {
    filter.column_refs().iter().all(|c| schema.field_with_name(&c.name).is_ok())
}

/// The parent's scan with user columns under their new names, and the versions of the fields that are needed.
fn renamed(
    feature: &FeatureKey,
    parent: &ParentPlan,
    provider: &Arc<dyn TableProvider>,
    keys: &[String],
    index: usize,
    condition: Option<Expr>,
) -> Result<(LogicalPlan, Vec<String>)> {
    let table = parent.dep.feature.table_name();
    let schema = provider.schema();
    let mut columns = Vec::new();
    let mut exprs = Vec::new();
    // Filters of a spec may also speak of the parent's versions, under their suffixed names.
    let suffix = parent.dep.feature.column_suffix();
    for field in schema.fields() {
        let name = field.name();
        if VERSION_COLUMNS.contains(&name.as_str()) {
            exprs.push(scanned(&table, name).alias(format!("{name}{suffix}")));
        } else if name == WAITING {
            exprs.push(scanned(&table, name).alias(name));
        } else if !is_reserved(name) {
            let new = parent.dep.renamed(name).to_owned();
            if columns.contains(&new) {
                return Err(MetaxyError::Spec {
                    feature: feature.to_string(),
                    reason: format!(
                        "rename of {}: its table has two columns that would be called {new:?}",
                        parent.dep.feature
                    ),
                });
            }
            exprs.push(scanned(&table, name).alias(&new));
            columns.push(new);
        }
    }
    let versions = schema.field_with_name(DATA_VERSION_BY_FIELD).map(|f| f.data_type().clone());
    for key in keys {
        let hidden = field_version(key);
        let value = match &versions {
            _ if schema.field_with_name(&hidden).is_ok() => scanned(&table, &hidden),
            Ok(data_type) => version_of(scanned(&table, DATA_VERSION_BY_FIELD), data_type, key),
            Err(_) => lit(ScalarValue::Utf8(None)),
        };
        exprs.push(value.alias(internal::parent_version(index, key)));
    }
    if let Some(condition) = condition {
        exprs.push(coalesce(vec![condition, lit(false)]).alias(internal::parent_pass(index)));
    }
    let plan = LogicalPlanBuilder::scan(table, provider_as_source(Arc::clone(provider)), None)?
        .project(exprs)?
        .build()?;
    Ok((plan, columns))
}

/// The columns that the spec's `select` lets through, and those that the join needs.
fn selected(
    parent: &ParentPlan,
    columns: &[String],
    id_columns: &[String],
    inputs: &IncrementInputs,
) -> Result<Vec<String>> {
    let needed = match &parent.dep.lineage {
        Lineage::Identity => parent.renamed_id_columns(),
        _ => parent.input_id_columns(id_columns),
    };
    require(columns, &needed, inputs, parent, "needs")?;
    let Some(select) = &parent.dep.select else {
        return Ok(columns.to_vec());
    };
    require(columns, select, inputs, parent, "selects")?;
    let mut chosen = select.clone();
    // Without an explicit `on`, an aggregation's groups are the feature's ids, which the join needs as well.
    for column in needed {
        if !chosen.contains(&column) {
            chosen.push(column);
        }
    }
    Ok(chosen)
}

fn require(
    columns: &[String],
    wanted: &[String],
    inputs: &IncrementInputs,
    parent: &ParentPlan,
    verb: &str,
) -> Result<()> {
    match wanted.iter().find(|w| !columns.contains(w)) {
        None => Ok(()),
        Some(missing) => Err(MetaxyError::Spec {
            feature: inputs.plan.feature.spec.key.to_string(),
            reason: format!(
                "dependency on {} {verb} column {missing:?}, which its table does not have after renames; it has {}",
                parent.dep.feature,
                columns.join(", ")
            ),
        }),
    }
}
