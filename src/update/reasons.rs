//! What has to be known to say why a sample is in an increment.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::sql::unparser::Unparser;

use super::parents::version_of;
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD, WAITING};
use crate::error::Result;
use crate::model::{FeatureSpec, Lineage};

/// What reasons are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reasons {
    /// The feature as it is defined now.
    pub spec: FeatureSpec,
    /// The fields, in the order of the spec.
    pub fields: Vec<ReasonField>,
    /// Whether the samples are the caller's.
    pub given: bool,
    /// Whether stored rows were looked at.
    pub compared: bool,
    /// The input with the stored rows: keys, each field's provenance, the sample's, and for each staleness predicate
    /// whether it holds. `None` if nothing is stored.
    pub stored: Option<usize>,
    /// The staleness predicates, as text.
    pub stale_when: Vec<String>,
    /// The input with the feature's own rows that are live at another feature version, of samples without any row at
    /// the current one: keys, the version, each field's provenance.
    pub earlier: Option<usize>,
    /// The record of definitions: feature version and spec of each of this feature.
    pub past: Option<LogicalPlan>,
}

/// A field, and the fields of parents that it is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReasonField {
    /// The field's key.
    pub name: String,
    pub struct_key: String,
    pub code_version: String,
    pub parents: Vec<ReasonParentField>,
}

/// A field of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReasonParentField {
    /// As in `video/raw.audio`.
    pub name: String,
    /// Whether a sample can have no provenance because of it.
    pub can_be_null: bool,
}

/// What reasons need, with the inputs for them appended to `plans`.
pub(super) fn reasons(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    compared: bool,
    plans: &mut Vec<LogicalPlan>,
) -> Result<Reasons> {
    let mut input = |plan| {
        plans.push(plan);
        plans.len() - 1
    };
    let stored = match &inputs.current {
        Some(provider) if compared => Some(input(stored(inputs, options, provider)?)),
        _ => None,
    };
    let earlier = match &inputs.own {
        Some(own) if compared => Some(input(earlier(inputs, &own.rows)?)),
        _ => None,
    };
    let given = options.samples.is_some();
    Ok(Reasons {
        spec: inputs.plan.feature.spec.clone(),
        fields: fields(inputs, given),
        given,
        compared: !options.skip_comparison,
        stored,
        stale_when: options.stale_when.iter().map(shown).collect(),
        past: match (&inputs.past, earlier) {
            (Some(past), Some(_)) => Some(recorded(inputs, past)?),
            _ => None,
        },
        earlier,
    })
}

fn fields(inputs: &IncrementInputs, given: bool) -> Vec<ReasonField> {
    let fields = inputs.plan.fields.iter().map(|field| {
        let parents = field.parents.iter().filter(|_| !given).map(|parent_field| {
            let dep = &inputs.plan.parents[parent_field.parent].dep;
            // A group without any version has the hash of nothing.
            let grouped = matches!(dep.lineage, Lineage::Aggregation { .. });
            ReasonParentField { name: parent_field.name.clone(), can_be_null: !dep.optional && !grouped }
        });
        ReasonField {
            name: field.key.to_string(),
            struct_key: field.key.struct_key(),
            code_version: field.code_version.clone(),
            parents: parents.collect(),
        }
    });
    fields.collect()
}

/// The feature's own column.
fn own(inputs: &IncrementInputs, name: &str) -> Expr {
    Expr::Column(Column::new(Some(inputs.plan.feature.spec.table_name()), name))
}

/// Keys and each field's provenance.
fn keys_and_fields(inputs: &IncrementInputs, provider: &Arc<dyn TableProvider>) -> Vec<Expr> {
    let mut exprs: Vec<Expr> =
        inputs.plan.comparison_columns.iter().map(|key| own(inputs, key).alias(key)).collect();
    let schema = provider.schema();
    let by_field = schema.field_with_name(PROVENANCE_BY_FIELD).map(|f| f.data_type().clone());
    for field in &inputs.plan.fields {
        let key = field.key.struct_key();
        let data_type = by_field.as_ref().unwrap_or(&DataType::Null);
        let value = version_of(own(inputs, PROVENANCE_BY_FIELD), data_type, &key);
        exprs.push(cast(value, DataType::Utf8).alias(internal::field(&key)));
    }
    exprs
}

fn scan(inputs: &IncrementInputs, provider: &Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
    let source = provider_as_source(Arc::clone(provider));
    Ok(LogicalPlanBuilder::scan(inputs.plan.feature.spec.table_name(), source, None)?)
}

fn stored(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    provider: &Arc<dyn TableProvider>,
) -> Result<LogicalPlan> {
    let mut exprs = keys_and_fields(inputs, provider);
    exprs.push(cast(own(inputs, PROVENANCE), DataType::Utf8).alias(PROVENANCE));
    for (i, predicate) in options.stale_when.iter().enumerate() {
        let holds = coalesce(vec![predicate.clone(), lit(false)]);
        exprs.push(holds.alias(format!("{}{i}", internal::STALE)));
    }
    Ok(scan(inputs, provider)?.project(exprs)?.build()?)
}

fn earlier(inputs: &IncrementInputs, provider: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    let mut exprs = keys_and_fields(inputs, provider);
    exprs.push(cast(own(inputs, FEATURE_VERSION), DataType::Utf8).alias(FEATURE_VERSION));
    Ok(scan(inputs, provider)?.filter(own(inputs, WAITING))?.project(exprs)?.build()?)
}

/// What was recorded of the feature: version and spec.
fn recorded(inputs: &IncrementInputs, past: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    let column = |name: &str| Expr::Column(Column::new(Some(PAST), name));
    let key = inputs.plan.feature.key().to_string();
    Ok(LogicalPlanBuilder::scan(PAST, provider_as_source(Arc::clone(past)), None)?
        .filter(column("feature_key").eq(lit(key)))?
        .project([column(FEATURE_VERSION), column("feature_spec")])?
        .build()?)
}

/// The name of the record of definitions within a plan.
const PAST: &str = "__metaxy_past";

/// A condition as it may have been typed.
fn shown(condition: &Expr) -> String {
    let plain = condition.clone().transform(|e| {
        Ok(match e {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    });
    let plain = plain.map_or_else(|_| condition.clone(), |plain| plain.data);
    let sql = Unparser::default().with_pretty(true).expr_to_sql(&plain);
    sql.map_or_else(|_| plain.to_string(), |sql| sql.to_string())
}
