//! The stored side of an increment: what is compared, and what orphaned rows carry.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, utils::conjunction, utils::disjunction,
};

use super::description::{CurrentInput, StoredRows};
use super::parents::{has_columns, version_of};
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, PROVENANCE, PROVENANCE_BY_FIELD, VERSION_COLUMNS};
use crate::error::{MetaxyError, Result};
use crate::model::Lineage;
use crate::types::same_values;

/// The stored rows under unqualified names, and what they are. `user_columns` are those of the expected side, each
/// with the input that has it.
pub(crate) fn current(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    keys: &[String],
    user_columns: &[(&LogicalPlan, &String)],
    provider: &Arc<dyn TableProvider>,
) -> Result<(LogicalPlan, CurrentInput)> {
    let feature = &inputs.plan.feature.spec;
    let schema = provider.schema();
    let refuse = |reason| MetaxyError::Spec { feature: feature.key.to_string(), reason };
    let column = |name: &str| Expr::Column(Column::new(Some(feature.table_name()), name));
    let mut exprs = Vec::new();
    for key in keys {
        if schema.field_with_name(key).is_err() {
            return Err(refuse(format!(
                "its stored rows have no column {key:?}, on which they are compared with its parents; \
                 write that column too"
            )));
        }
        exprs.push(column(key).alias(key));
    }
    let mut stored = Vec::new();
    for (input, name) in user_columns {
        let wanted = input.schema().field_with_unqualified_name(name)?.data_type().clone();
        if let Ok(field) = schema.field_with_name(name)
            && same_values(field.data_type(), &wanted)
        {
            exprs.push(cast_if(column(name), field.data_type(), &wanted).alias(internal::stored(name)));
            stored.push((*name).clone());
        }
    }
    for name in VERSION_COLUMNS {
        let Ok(field) = schema.field_with_name(name) else { continue };
        let value = if name == PROVENANCE_BY_FIELD || name == DATA_VERSION_BY_FIELD {
            let mut members = Vec::new();
            for field_plan in &inputs.plan.fields {
                let key = field_plan.key.struct_key();
                members.push(lit(key.as_str()));
                members.push(cast(version_of(column(name), field.data_type(), &key), DataType::Utf8));
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
            return Err(refuse(format!("its table has no column {required}")));
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
    let rows = rows(inputs, keys);
    let mut order = Vec::new();
    if rows != StoredRows::Unique {
        for id in feature.id_columns.iter().filter(|id| !keys.contains(id)) {
            order.push(internal::stored_order(id));
            exprs.push(column(id).alias(internal::stored_order(id)));
        }
    }
    let source = provider_as_source(Arc::clone(provider));
    let plan = LogicalPlanBuilder::scan(feature.table_name(), source, None)?.project(exprs)?.build()?;
    let unique = rows == StoredRows::Unique && keys.len() == feature.id_columns.len();
    Ok((plan, CurrentInput { rows, unique, stored, order }))
}

fn rows(inputs: &IncrementInputs, keys: &[String]) -> StoredRows {
    if inputs.plan.feature.spec.id_columns.iter().all(|id| keys.contains(id)) {
        return StoredRows::Unique;
    }
    let expands =
        inputs.plan.parents.iter().any(|parent| matches!(parent.dep.lineage, Lineage::Expansion { .. }));
    if expands { StoredRows::Collapsed } else { StoredRows::Ranked }
}

fn cast_if(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if from == to { expr } else { cast(expr, to.clone()) }
}
